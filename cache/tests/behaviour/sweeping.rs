//! Limits hold, the last used stays, and what is pinned stays whatever happens.

use std::fs;

use iact_cache::{Digest, DigestFunction, LocalOptions, LocalStore, Store, StoredResult, SweepPolicy};

use crate::{Space, action, hit};

pub(crate) const LATER: u64 = u64::MAX / 4;

pub(crate) fn policy() -> SweepPolicy {
    SweepPolicy { grace_ms: 0, ..SweepPolicy::unlimited(LATER) }
}

/// Stores a result named `name` with a blob of its own of 10 kB.
pub(crate) fn fill(store: &LocalStore, name: &str) {
    let batch = store.batch();
    let stdout = batch.put_bytes(name.repeat(10_000 / name.len()).as_bytes());
    batch.put_result(&action(name), &StoredResult { stdout: Some(stdout), ..Default::default() });
    batch.commit().unwrap();
}

pub(crate) fn names(store: &LocalStore) -> Vec<String> {
    let all = (0..10).map(|n| format!("r{n}"));
    all.filter(|name| hit(store, name).is_some()).collect()
}

#[test]
fn the_least_recently_used_go_first_with_their_blobs() {
    let space = Space::new();
    let store = space.store();
    for n in 0..10 {
        fill(&store, &format!("r{n}"));
        store.record_uses(&[action(&format!("r{n}"))], LATER - 100 + n).unwrap();
    }
    store.record_uses(&[action("r0"), action("r1")], LATER - 1).unwrap();
    let swept = store.sweep(&SweepPolicy { max_bytes: Some(45_000), ..policy() }).unwrap();
    assert_eq!((swept.results, swept.blobs), (6, 6));
    assert_eq!(names(&store), ["r0", "r1", "r8", "r9"]);
    let usage = store.usage().unwrap();
    assert_eq!((usage.blobs, usage.blob_bytes + usage.result_bytes), (4, swept.kept_bytes));
    assert!(fs::metadata(space.cache.join("uses")).unwrap().len() == 4 * 48, "one record per result is left");
    let order: Vec<Digest> = store.list().unwrap().iter().map(|listed| listed.action).collect();
    assert_eq!(&order[2..], [action("r9"), action("r8")]);
}

#[test]
fn uses_that_cannot_be_read_end_a_sweep_and_what_stands_in_their_place_makes_room() {
    let space = Space::new();
    let store = space.store();
    fill(&store, "r0");
    let uses = space.cache.join("uses");
    let _ = fs::remove_file(&uses);
    fs::create_dir(&uses).unwrap();
    let by_age = SweepPolicy { max_age_ms: Some(1000), ..policy() };
    assert!(store.sweep(&by_age).is_err(), "nobody knows what is old");
    assert_eq!(names(&store), ["r0"]);
    store.record_uses(&[action("r0")], LATER - 10).unwrap();
    store.sweep(&by_age).unwrap();
    assert_eq!((names(&store), uses.is_file()), (vec!["r0".to_owned()], true));
}

#[test]
fn age_is_counted_from_the_last_use() {
    let space = Space::new();
    let store = space.store();
    for n in 0..4 {
        fill(&store, &format!("r{n}"));
    }
    store.record_uses(&[action("r2")], LATER - 10).unwrap();
    store.sweep(&SweepPolicy { max_age_ms: Some(1000), ..policy() }).unwrap();
    assert_eq!(names(&store), ["r2"]);
}

#[test]
fn a_shared_blob_stays_as_long_as_one_result_needs_it() {
    let space = Space::new();
    let store = space.store();
    space.write("out/shared", "shared");
    space.keep(&store, "r0", &["out"]);
    space.write("out/more", "more");
    let (result, _) = space.keep(&store, "r1", &["out"]);
    store.record_uses(&[action("r1")], LATER - 1).unwrap();
    store.sweep(&SweepPolicy { max_age_ms: Some(1000), ..policy() }).unwrap();
    assert_eq!(names(&store), ["r1"]);
    fs::remove_dir_all(space.root.join("out")).unwrap();
    space.restore(&store, &result).unwrap();
    store.forget(&action("r1")).unwrap();
    assert!(!store.forget(&action("r1")).unwrap());
    store.sweep(&policy()).unwrap();
    assert_eq!(store.usage().unwrap(), iact_cache::Usage::default());
}

#[test]
fn what_is_pinned_stays_until_every_owner_has_unpinned_it() {
    let space = Space::new();
    let store = space.store();
    fill(&store, "r0");
    fill(&store, "r1");
    for owner in ["one", "other"] {
        store.pin(&action("r0"), owner).unwrap();
        store.pin(&action("r0"), owner).unwrap();
    }
    let nothing = SweepPolicy { max_bytes: Some(0), max_age_ms: Some(0), ..policy() };
    store.sweep(&nothing).unwrap();
    store.unpin(&action("r0"), "one").unwrap();
    store.sweep(&nothing).unwrap();
    assert_eq!(names(&store), ["r0"]);
    store.unpin(&action("r0"), "other").unwrap();
    store.unpin(&action("r0"), "other").unwrap();
    store.sweep(&nothing).unwrap();
    assert_eq!(names(&store), Vec::<String>::new());
}

/// What a pinned result needs is not known if its tree is damaged; that it cannot come to be known must end no sweep.
#[test]
fn a_pinned_result_whose_tree_is_no_file_ends_no_sweep() {
    let space = Space::new();
    let store = space.store();
    for path in ["a/lost", "b/stays", "c"] {
        space.write(path, path);
    }
    let (result, _) = space.keep(&store, "pinned", &["a", "b", "c"]);
    store.pin(&action("pinned"), "owner").unwrap();
    fill(&store, "r0");
    let tree = result.blobs().next().unwrap();
    let tree = space.cache.join("cas").join(&tree.hex()[..2]).join(tree.hex());
    fs::remove_file(&tree).unwrap();
    std::os::unix::fs::symlink("/nowhere", &tree).unwrap();
    let swept = store.sweep(&SweepPolicy { max_bytes: Some(0), ..policy() }).unwrap();
    assert_eq!((swept.trouble, names(&store)), (None, Vec::<String>::new()));
    assert_eq!(hit(&store, "pinned"), Some(result), "what is pinned stays");
    assert!(tree.symlink_metadata().is_err(), "and the damage is out of the way");
    for path in ["b/stays", "c"] {
        let blob = Digest::of(store.digest_function(), path.as_bytes());
        store.read_blob(&blob, &mut Vec::new()).expect("so does what it needs, as far as that is known");
    }
}

#[test]
fn a_young_blob_without_a_result_is_left_alone() {
    let space = Space::new();
    let store = space.store();
    let blob = Digest::of(DigestFunction::Blake3, b"early");
    store.put_blob(&blob, &mut b"early".as_slice()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    store.sweep(&SweepPolicy { max_bytes: Some(0), ..SweepPolicy::unlimited(now) }).unwrap();
    assert_eq!(store.missing_blobs(&[blob]).unwrap(), []);
    store.sweep(&SweepPolicy::unlimited(now + 4_000_000)).unwrap();
    assert_eq!(store.missing_blobs(&[blob]).unwrap(), [blob]);
}

#[test]
fn no_result_goes_to_make_room_for_blobs_without_one() {
    let space = Space::new();
    let store = space.store();
    let orphan = store.batch();
    orphan.put_bytes(&[7; 100_000]);
    orphan.commit().unwrap();
    fill(&store, "r0");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let limits = SweepPolicy { max_bytes: Some(50_000), ..SweepPolicy::unlimited(now) };
    store.sweep(&limits).unwrap();
    assert_eq!(names(&store), ["r0"]);
    store.sweep(&SweepPolicy { now_unix_ms: now + 4_000_000, ..limits }).unwrap();
    assert_eq!((names(&store), store.usage().unwrap().blobs), (vec!["r0".to_owned()], 1));
}

#[test]
fn what_a_wrong_clock_dated_goes_as_if_used_when_it_was_first_seen() {
    let space = Space::new();
    let store = space.store();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let later = |days: u64| now.as_millis() as u64 + days * 86_400_000;
    for n in 0..3 {
        fill(&store, &format!("r{n}"));
    }
    let ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(400 * 86_400);
    for file in
        crate::files(&space.cache.join("ac")).into_iter().chain(crate::files(&space.cache.join("cas")))
    {
        fs::File::open(file).unwrap().set_modified(ahead).unwrap();
    }
    store.record_uses(&[action("r1")], later(300)).unwrap();
    let aged =
        |days| SweepPolicy { max_age_ms: Some(30 * 86_400_000), ..SweepPolicy::unlimited(later(days)) };
    store.sweep(&aged(1)).unwrap();
    assert_eq!(names(&store), ["r0", "r1", "r2"]);
    store.record_uses(&[action("r2")], later(20)).unwrap();
    store.sweep(&aged(40)).unwrap();
    assert_eq!(names(&store), ["r2"]);
}

/// Whoever may do anything can still not remove what is immutable.
#[test]
fn what_cannot_be_removed_costs_only_itself() {
    let space = Space::new();
    let store = space.store();
    for n in 0..6 {
        fill(&store, &format!("r{n}"));
        store.record_uses(&[action(&format!("r{n}"))], LATER - 100 + n).unwrap();
    }
    let fixed = space.cache.join("ac").join(&action("r0").hex()[..2]).join(action("r0").hex());
    let chattr = |flag: &str| {
        std::process::Command::new("chattr")
            .arg(flag)
            .arg(&fixed)
            .output()
            .is_ok_and(|ran| ran.status.success())
    };
    if !chattr("+i") {
        println!("skipped: no file can be made immutable");
        return;
    }
    let swept = store.sweep(&SweepPolicy { max_bytes: Some(0), ..policy() }).unwrap();
    let (names, usage) = (names(&store), store.usage().unwrap());
    let blob = store.read_blob(&hit(&store, "r0").unwrap().stdout.unwrap(), &mut Vec::new());
    assert!(chattr("-i"));
    assert_eq!((names, swept.results, swept.blobs), (vec!["r0".to_owned()], 5, 5));
    assert!(swept.trouble.unwrap().contains("Operation not permitted"));
    assert_eq!(swept.kept_bytes, usage.blob_bytes + usage.result_bytes);
    blob.unwrap();
    store.sweep(&SweepPolicy { max_bytes: Some(0), ..policy() }).unwrap();
    assert_eq!(store.usage().unwrap(), iact_cache::Usage::default());
}

#[test]
fn a_run_pays_for_a_sweep_only_when_the_limit_is_exceeded() {
    let space = Space::new();
    let store = space.store();
    let limits = SweepPolicy { max_bytes: Some(55_000), ..policy() };
    for n in 0..5 {
        fill(&store, &format!("r{n}"));
        assert_eq!(store.sweep_if_needed(&limits).unwrap(), None);
    }
    fill(&store, "r5");
    let swept = store.sweep_if_needed(&limits).unwrap().unwrap();
    assert!(swept.kept_bytes <= 49_500 && swept.kept_bytes > 39_000, "{swept:?}");
    assert_eq!(store.sweep_if_needed(&limits).unwrap(), None);
    // The count is derived: damaged or gone, it is made again.
    for damage in [Some("rubbish"), None] {
        match damage {
            Some(text) => fs::write(space.cache.join("total"), text).unwrap(),
            None => fs::remove_file(space.cache.join("total")).unwrap(),
        }
        assert_eq!(store.sweep_if_needed(&limits).unwrap().unwrap().results, 0);
        assert_eq!(store.sweep_if_needed(&limits).unwrap(), None);
    }
}

/// A sweep while the clock was ahead is none to wait for.
#[test]
fn a_clock_that_was_ahead_once_puts_off_no_sweep() {
    let space = Space::new();
    let store = space.store();
    fill(&store, "r0");
    store.record_uses(&[action("r0")], LATER - 10).unwrap();
    store.sweep(&SweepPolicy { now_unix_ms: LATER * 2, ..policy() }).unwrap();
    let aged = SweepPolicy { max_age_ms: Some(1_000), ..policy() };
    assert!(store.sweep_if_needed(&aged).unwrap().is_some());
    assert_eq!(store.sweep_if_needed(&aged).unwrap(), None, "once a day is enough");
}

#[test]
fn what_was_put_aside_counts_towards_the_limit_and_goes_first() {
    let space = Space::new();
    let store = space.store();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let limits = SweepPolicy { max_bytes: Some(50_000), ..SweepPolicy::unlimited(now) };
    let aside = |name: &str| space.cache.join("quarantine").join(name);
    fs::create_dir_all(aside("1-folder/deep")).unwrap();
    fs::write(aside("1-folder/deep/file"), [1; 9_000]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(aside("0-later"), [0; 9_000]).unwrap();
    for n in 0..3 {
        fill(&store, &format!("r{n}"));
    }
    assert_eq!(store.usage().unwrap().quarantine_bytes, 18_000);
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    store.sweep(&limits).unwrap();
    assert!(aside("1-folder").exists() && aside("0-later").exists(), "there is room for all of it");
    let tell = |store: &LocalStore| (names(store), aside("1-folder").exists(), aside("0-later").exists());
    fill(&store, "r3");
    let swept = store.sweep_if_needed(&limits).unwrap().expect("it is counted");
    assert_eq!((swept.results, swept.freed_bytes), (0, 18_000));
    assert_eq!(tell(&store), (all(&["r0", "r1", "r2", "r3"]), false, false));
    fs::create_dir(aside("1-folder")).unwrap();
    fs::write(aside("1-folder/file"), [1; 9_000]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(aside("0-later"), [0; 9_000]).unwrap();
    store.sweep(&limits).unwrap();
    assert_eq!(tell(&store), (all(&["r0", "r1", "r2", "r3"]), false, true), "what came first goes first");
    store.sweep(&SweepPolicy { max_bytes: None, now_unix_ms: now + 8 * 86_400_000, ..limits }).unwrap();
    assert_eq!(
        tell(&store),
        (all(&["r0", "r1", "r2", "r3"]), false, false),
        "nothing stays longer than a week"
    );
}

#[test]
fn a_long_list_of_uses_is_made_short() {
    let space = Space::new();
    let store = space.store();
    fill(&store, "r0");
    store.record_uses(&[action("r0"), action("gone")], LATER).unwrap();
    let uses = space.cache.join("uses");
    let record = fs::read(&uses).unwrap();
    fs::write(&uses, record.repeat((16 << 20) / record.len())).unwrap();
    store.record_uses(&[action("r0"), action("r0")], LATER + 1).unwrap();
    assert_eq!(fs::metadata(&uses).unwrap().len(), 2 * 48);
    assert_eq!(store.list().unwrap()[0].used_unix_ms, LATER + 1);
}

#[test]
fn clearing_leaves_an_empty_cache_that_works() {
    let space = Space::new();
    let store = space.store();
    fill(&store, "r0");
    store.clear().unwrap();
    assert_eq!(store.usage().unwrap(), iact_cache::Usage::default());
    fill(&store, "r0");
    assert_eq!(names(&store), ["r0"]);
    assert_eq!(store.list().unwrap()[0].action, action("r0"));
}

#[test]
fn what_is_stored_while_a_cache_is_being_cleared_counts() {
    let space = Space::new();
    let store = space.store();
    fill(&store, "r0");
    let aside = space.cache.join("quarantine");
    fs::create_dir_all(&aside).unwrap();
    for n in 0..5_000 {
        fs::write(aside.join(n.to_string()), "").unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| store.clear().unwrap());
        while space.cache.join("ac").exists() {
            std::thread::yield_now();
        }
        fill(&space.store(), "r1");
    });
    assert_eq!(names(&store), ["r1"]);
    let small = SweepPolicy { max_bytes: Some(5_000), ..policy() };
    assert!(store.sweep_if_needed(&small).unwrap().is_some(), "it takes more room than there is");
}

/// What a sweep can know from before (`stock`) makes no difference: beside a cache whose notes are lost, or harmed, before each.
#[test]
fn a_sweep_does_the_same_whether_it_remembers_or_not() {
    let spaces = [Space::new(), Space::new()];
    let stores = [spaces[0].store(), spaces[1].store()];
    let mut seed = 5_u64;
    let mut dice = |end: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % end
    };
    let mut now = LATER;
    for step in 0..150 {
        now += 1000;
        let (what, name, other) = (dice(10), format!("r{}", dice(10)), format!("r{}", dice(10)));
        let (limited, aged, graced) = (dice(4) == 0, dice(4) == 0, dice(3) == 0);
        let sweeps = dice(3) == 0;
        let rests = dice(30) == 0;
        for (space, store) in spaces.iter().zip(&stores) {
            match what {
                0 => drop(store.forget(&action(&name)).unwrap()),
                1 => {
                    let batch = store.batch();
                    batch.put_bytes(format!("orphan of {name}").as_bytes());
                    batch.commit().unwrap();
                }
                2 => store.pin(&action(&name), "owner").unwrap(),
                3 => store.unpin(&action(&name), "owner").unwrap(),
                4 => {
                    let batch = store.batch();
                    let stdout = batch.put_bytes(b"shared by all of them");
                    let result = StoredResult { stdout: Some(stdout), ..Default::default() };
                    batch.put_result(&action(&name), &result);
                    batch.put_result(&action(&other), &result);
                    batch.commit().unwrap();
                }
                5 => {
                    let blobs = space.cache.join("cas");
                    let folders =
                        fs::read_dir(&blobs).into_iter().flatten().map(|folder| folder.unwrap().path());
                    let mut files: Vec<_> = folders
                        .flat_map(|folder| fs::read_dir(folder).unwrap())
                        .map(|f| f.unwrap().path())
                        .collect();
                    files.sort();
                    files.first().into_iter().for_each(|file| fs::remove_file(file).unwrap());
                }
                _ => fill(store, &name),
            }
            store.record_uses(&[action(&name)], now).unwrap();
        }
        if rests {
            std::thread::sleep(std::time::Duration::from_millis(2_100));
        }
        if !sweeps {
            continue;
        }
        let stock = spaces[1].cache.join("stock");
        match step % 2 {
            0 => drop(fs::remove_file(&stock)),
            _ => drop(fs::write(&stock, "harmed")),
        }
        let policy = SweepPolicy {
            max_bytes: limited.then_some(45_000),
            max_age_ms: aged.then_some(20_000),
            grace_ms: if graced { 0 } else { LATER / 2 },
            now_unix_ms: now,
        };
        let [first, second] = [&stores[0], &stores[1]].map(|store| {
            let swept = store.sweep(&policy).unwrap();
            (swept, names(store), store.usage().unwrap())
        });
        assert_eq!(first, second, "step {step}: {policy:?}");
    }
}

/// Not a test of its own: a sweep in a process of its own, when a test starts it.
#[test]
fn one_sweep() {
    let Some(cache) = std::env::var_os("IACT_TEST_SWEEP") else { return };
    let kilobytes = |what: &str| -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let before = kilobytes("VmHWM:");
    LocalStore::open(cache, LocalOptions::default()).unwrap().sweep(&policy()).unwrap();
    let grown = kilobytes("VmHWM:") - before;
    assert!(grown < 12_000, "it took {grown} kB");
}

/// Many results that need the same files: what a sweep remembers is results and blobs, not each with each.
#[test]
#[cfg(target_os = "linux")]
fn the_memory_of_a_sweep_does_not_grow_with_what_each_result_needs() {
    let space = Space::new();
    let store = space.store();
    for n in 0..2_000 {
        space.write(&format!("out/{n}"), n.to_string());
    }
    let (result, _) = space.keep(&store, "r0", &["out"]);
    for n in 1..400 {
        store.put_result(&action(&format!("r{n}")), &result).unwrap();
    }
    let mut sweep = std::process::Command::new(std::env::current_exe().unwrap());
    sweep.args(["--exact", "sweeping::one_sweep"]).env("IACT_TEST_SWEEP", &space.cache);
    let swept = sweep.output().unwrap();
    assert!(swept.status.success(), "{}", String::from_utf8_lossy(&swept.stdout));
}
