//! Damage of any kind is noticed once, counts as absence, and is mended.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use iact_cache::{Digest, LocalStore, Lookup, Store, StoreError, StoredResult, VerifyOptions};
use rustix::fs::{FileType, Mode};

use crate::{Space, action, files, hit};

const EVERYTHING: VerifyOptions = VerifyOptions { one_in: 1, seed: 0, repair: false, threads: 2 };

/// Every truncation and every flip of a byte.
fn damages(sound: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..sound.len()).map(|length| sound[..length].to_vec());
    let flipped = (0..sound.len()).map(|at| {
        let mut bytes = sound.to_vec();
        bytes[at] ^= 1 << (at % 8);
        bytes
    });
    cut.chain(flipped).chain([[sound, b"x"].concat()])
}

fn entry(cache: &Path, kind: &str, digest: &Digest) -> PathBuf {
    cache.join(kind).join(&digest.hex()[..2]).join(digest.hex())
}

#[test]
fn every_damage_to_a_result_is_a_miss_once_quarantined_and_mended() {
    let space = Space::new();
    let store = space.store();
    space.write("out/a", "content");
    let (result, _) = space.keep(&store, "x", &["out/a"]);
    let path = entry(&space.cache, "ac", &action("x"));
    let sound = fs::read(&path).unwrap();
    for damaged in damages(&sound) {
        fs::write(&path, &damaged).unwrap();
        assert_eq!(store.verify(&EVERYTHING).unwrap().damaged.len(), 1);
        assert!(matches!(store.lookup(&action("x")).unwrap(), Lookup::Damaged { .. }));
        assert_eq!(store.lookup(&action("x")).unwrap(), Lookup::Miss);
        assert_eq!(fs::read(space.cache.join("quarantine").join(action("x").hex())).unwrap(), damaged);
        store.put_result(&action("x"), &result).unwrap();
        assert_eq!(hit(&store, "x").as_ref(), Some(&result));
    }
}

#[test]
fn every_damage_to_a_blob_is_a_miss_once_quarantined_and_mended() {
    let space = Space::new();
    let store = space.store();
    space.write("out/a", "some content");
    let (result, _) = space.keep(&store, "x", &["out/a"]);
    let blob = result.blobs().next().unwrap();
    let path = entry(&space.cache, "cas", &blob);
    for damaged in damages(b"some content") {
        fs::write(&path, &damaged).unwrap();
        let found = Digest::of(store.digest_function(), &damaged);
        let read = || store.read_blob(&blob, &mut Vec::new());
        assert!(matches!(read(), Err(StoreError::Corrupt { found: other, .. }) if other == found));
        assert!(matches!(read(), Err(StoreError::NotFound(_))));
        store.put_blob(&blob, &mut b"some content".as_slice()).unwrap();
        read().unwrap();
        // And without anybody having read it, by a process that had not seen it sound.
        fs::write(&path, &damaged).unwrap();
        let (again, _) = space.keep(&space.store(), "x", &["out/a"]);
        assert_eq!(again, result);
        read().unwrap();
    }
}

/// Puts something in the place of an entry that certainly is none.
fn put_no_file(what: FileType, place: &Path) {
    fs::remove_file(place).unwrap();
    match what {
        FileType::Symlink => std::os::unix::fs::symlink("/etc/passwd", place).unwrap(),
        FileType::Directory => fs::create_dir_all(place.join("with/more")).unwrap(),
        _ => rustix::fs::mknodat(rustix::fs::CWD, place, what, Mode::from_raw_mode(0o600), 0).unwrap(),
    }
}

#[test]
fn what_is_no_file_in_the_place_of_an_entry_is_damage_like_any_other() {
    let space = Space::new();
    let store = space.store();
    space.write("out/a", "content");
    let (result, _) = space.keep(&store, "x", &["out"]);
    let tree = result.blobs().next().unwrap();
    for (kind, digest) in [("ac", action("x")), ("cas", tree)] {
        let path = entry(&space.cache, kind, &digest);
        for what in [FileType::Symlink, FileType::Directory, FileType::Fifo, FileType::Socket] {
            put_no_file(what, &path);
            if kind == "ac" {
                assert!(matches!(store.lookup(&action("x")).unwrap(), Lookup::Damaged { .. }), "{what:?}");
            } else {
                assert_eq!(store.missing_blobs(&[tree]).unwrap(), [tree], "{what:?}");
                let read = store.read_blob(&tree, &mut Vec::new());
                assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{what:?}: {read:?}");
            }
            assert!(path.symlink_metadata().is_err(), "{what:?} is out of the way");
            let aside = space.cache.join("quarantine").join(digest.hex());
            assert_eq!(FileType::from_raw_mode(aside.symlink_metadata().unwrap().mode()), what);
            space.keep(&store, "x", &["out"]);
            assert_eq!(store.verify(&EVERYTHING).unwrap().damaged, [], "{what:?}");
        }
    }
}

/// Whoever finds damage looks, and moves it; somebody may mend it in between.
#[test]
fn what_is_mended_while_damage_is_put_aside_stays() {
    let space = Space::new();
    let (reader, writer) = (space.store(), space.store());
    let path = entry(&space.cache, "ac", &action("x"));
    let sound = StoredResult::default();
    for round in 0..400 {
        writer.put_result(&action("x"), &sound).unwrap();
        fs::write(&path, "damaged").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| while hit(&reader, "x").is_none() && path.exists() {});
            writer.put_result(&action("x"), &sound).unwrap();
        });
        assert_eq!(hit(&writer, "x").as_ref(), Some(&sound), "round {round}");
    }
}

/// A repair lists everything before it moves anything; somebody may mend what it has found in between.
#[test]
fn what_is_mended_while_a_repair_lists_stays() {
    let space = Space::new();
    let store = space.store();
    let place = space.cache.join("cas/00").join("00".to_owned() + &"1".repeat(62));
    let last = space.cache.join("cas/ff");
    for folder in [place.parent().unwrap(), &last] {
        fs::create_dir_all(folder).unwrap();
    }
    // They take a while to list.
    for number in 0..5_000 {
        fs::write(last.join(format!("ff{number:062x}")), "").unwrap();
    }
    let mended = space.cache.join("mended");
    for round in 0..10 {
        let _ = fs::remove_file(&place);
        fs::create_dir(&place).unwrap();
        fs::write(&mended, "").unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| store.verify(&VerifyOptions { repair: true, one_in: u64::MAX, ..EVERYTHING }));
            std::thread::sleep(std::time::Duration::from_millis(round));
            // As who stores it does.
            let _ = fs::remove_dir(&place);
            fs::rename(&mended, &place).unwrap();
        });
        assert!(place.is_file(), "round {round}");
    }
}

#[test]
fn an_entry_under_the_name_of_another_is_damaged() {
    let space = Space::new();
    let store = space.store();
    for name in ["x", "y"] {
        space.write("out", name);
        space.keep(&store, name, &["out"]);
    }
    for kind in ["ac", "cas"] {
        let swap = files(&space.cache.join(kind));
        let (a, b) = (fs::read(&swap[0]).unwrap(), fs::read(&swap[1]).unwrap());
        fs::write(&swap[0], b).unwrap();
        fs::write(&swap[1], a).unwrap();
    }
    assert!(matches!(store.lookup(&action("x")).unwrap(), Lookup::Damaged { .. }));
    assert_eq!(store.verify(&EVERYTHING).unwrap().damaged.len(), 3);
}

#[test]
fn all_files_damaged_at_once_or_one_by_one_come_right_again() {
    let space = Space::new();
    space.write("out/a", "1");
    space.write("out/d/b", "2");
    let run = |store: &LocalStore| {
        let _ = fs::remove_dir_all(space.root.join("out"));
        let sound = hit(store, "x").is_some_and(|result| space.restore(store, &result).is_ok());
        if !sound {
            space.write("out/a", "1");
            space.write("out/d/b", "2");
            space.keep(store, "x", &["out"]);
        }
        store.record_uses(&[action("x")], 1).unwrap();
        store
            .sweep_if_needed(&iact_cache::SweepPolicy {
                max_bytes: Some(1 << 30),
                ..iact_cache::SweepPolicy::unlimited(1)
            })
            .unwrap();
        sound
    };
    assert!(!run(&space.store()));
    let harm = |path: &Path, cut: bool| {
        let mut bytes = fs::read(path).unwrap();
        if let Some(middle) = bytes.len().checked_sub(1).map(|last| last.div_ceil(2)) {
            bytes[middle] ^= 0xff;
            bytes.truncate(if cut { middle } else { usize::MAX });
            fs::write(path, bytes).unwrap();
        }
    };
    for cut in [false, true] {
        files(&space.cache).iter().for_each(|path| harm(path, cut));
        assert!(!run(&space.store()), "everything is damaged");
        assert!(run(&space.store()));
        for path in files(&space.cache).into_iter().filter(|path| path.exists()) {
            harm(&path, cut);
            run(&space.store());
            assert!(run(&space.store()), "{}", path.display());
            assert_eq!((space.read("out/a"), space.read("out/d/b")), ("1".into(), "2".into()));
        }
    }
}

#[test]
fn verifying_names_all_damage_and_repairs_it_on_request() {
    let space = Space::new();
    let store = space.store();
    for number in 0..20 {
        space.write("out/f", number.to_string());
        space.keep(&store, &number.to_string(), &["out"]);
    }
    assert_eq!(store.verify(&EVERYTHING).unwrap().damaged, []);
    let blobs = files(&space.cache.join("cas"));
    let results = files(&space.cache.join("ac"));
    let mut harmed: Vec<PathBuf> = Vec::new();
    for path in blobs.iter().take(7).chain(results.iter().take(3)) {
        let mut bytes = fs::read(path).unwrap();
        bytes[0] ^= 4;
        fs::write(path, bytes).unwrap();
        harmed.push(path.strip_prefix(&space.cache).unwrap().to_owned());
    }
    fs::write(space.cache.join("cas/ff-stray"), "stray").unwrap();
    harmed.push("cas/ff-stray".into());
    let found = store.verify(&VerifyOptions { repair: true, ..EVERYTHING }).unwrap().damaged;
    for path in &harmed {
        assert!(found.iter().any(|damage| Path::new(&damage.path) == path), "{}", path.display());
    }
    assert!(found.iter().all(|damage| damage.is_aside), "{found:?}");
    let left = store.verify(&EVERYTHING).unwrap().damaged;
    assert_eq!(left, []);
    assert_eq!(fs::read_to_string(space.cache.join("quarantine/cas-ff-stray")).unwrap(), "stray");
    let sample = store.verify(&VerifyOptions { one_in: 1 << 40, ..EVERYTHING }).unwrap();
    assert!(sample.checked < 20 + blobs.len() / 2);
}

#[test]
fn a_result_whose_blobs_are_gone_is_found_out_before_anything_changes() {
    let space = Space::new();
    let store = space.store();
    space.write("out/a", "1");
    space.write("out/b", "2");
    let (result, _): (StoredResult, _) = space.keep(&store, "x", &["out"]);
    let blob = Digest::of(store.digest_function(), b"2");
    fs::remove_file(entry(&space.cache, "cas", &blob)).unwrap();
    assert_eq!(store.verify(&EVERYTHING).unwrap().damaged.len(), 1);
    fs::write(space.root.join("out/b"), "mine").unwrap();
    fs::remove_file(space.root.join("out/a")).unwrap();
    assert!(space.restore(&store, &result).is_err());
    assert_eq!(space.read("out/b"), "mine");
    assert!(!space.root.join("out/a").exists());
}

#[test]
fn a_file_in_the_place_of_any_folder_of_the_cache_makes_room() {
    for place in ["ac", "cas", "tmp", "quarantine", "pins", "ac/xx", "cas/xx"] {
        let space = Space::new();
        space.write("out/a", "1");
        let (result, _) = space.keep(&space.store(), "x", &["out/a"]);
        let hex =
            if place.starts_with("ac") { action("x").hex() } else { result.blobs().next().unwrap().hex() };
        let place = space.cache.join(place.replace("xx", &hex[..2]));
        let _ = fs::remove_dir_all(&place);
        fs::write(&place, "in the way").unwrap();
        let store = space.store();
        store.usage().unwrap();
        store.verify(&EVERYTHING).unwrap();
        let _ = hit(&store, "x").map(|result| space.restore(&store, &result).is_ok());
        space.keep(&store, "x", &["out/a"]);
        store.pin(&action("x"), "somebody").unwrap();
        store.sweep(&iact_cache::SweepPolicy::unlimited(1)).unwrap();
        space.restore(&store, &hit(&store, "x").unwrap()).unwrap();
        assert_eq!(store.verify(&EVERYTHING).unwrap().damaged, [], "{}", place.display());
    }
}
