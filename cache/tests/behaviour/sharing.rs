//! Any number of threads and processes may use one cache at once.

use std::fs;
use std::process::Command;

use iact_cache::{
    Digest, Keep, LocalOptions, LocalStore, Lock, Store, StoredResult, SweepPolicy, VerifyOptions,
};

use crate::{Space, action, hit};

const EVERYTHING: VerifyOptions = VerifyOptions { one_in: 1, seed: 0, repair: false, threads: 2 };

#[test]
fn many_threads_add_to_one_batch_and_equal_blobs_are_kept_once() {
    let space = Space::new();
    let store = space.store();
    let batch = store.batch();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..100_u32 {
                    batch.put_bytes(&number.to_le_bytes());
                }
            });
        }
    });
    let committed = batch.commit().unwrap();
    assert_eq!((committed.blobs, committed.bytes), (100, 400));
    assert_eq!(store.usage().unwrap().blobs, 100);
    assert_eq!(store.verify(&EVERYTHING).unwrap().damaged, []);
    let again = store.batch();
    again.put_bytes(&7_u32.to_le_bytes());
    assert_eq!(again.commit().unwrap().blobs, 0, "what is there is not written again");
}

/// Not a test of its own: what one of several processes does, when a test starts it.
#[test]
fn one_of_several_processes() {
    let Ok(cache) = std::env::var("IACT_TEST_CACHE") else { return };
    let store = LocalStore::open(cache, LocalOptions { durable: false, ..LocalOptions::default() }).unwrap();
    for round in 0..60 {
        let batch = store.batch();
        let blobs: Vec<Digest> = (0..10).map(|n| batch.put_bytes(&vec![n; 2000 + round % 5])).collect();
        batch.put_result(
            &action("shared"),
            &StoredResult { stdout: Some(blobs[round % 10]), ..Default::default() },
        );
        batch.commit().unwrap();
        if let Some(result) = hit(&store, "shared") {
            for blob in result.blobs() {
                let _ = store
                    .read_blob(&blob, &mut Vec::new())
                    .inspect_err(|error| assert!(error.to_string().contains("is not in")));
            }
        }
        if round % 7 == 0 {
            store
                .sweep(&SweepPolicy {
                    max_bytes: Some(10_000),
                    max_age_ms: None,
                    grace_ms: 0,
                    now_unix_ms: u64::MAX / 2,
                })
                .unwrap();
        }
    }
}

fn start_one(space: &Space) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "sharing::one_of_several_processes"]).env("IACT_TEST_CACHE", &space.cache);
    command.stdout(std::process::Stdio::null()).spawn().unwrap()
}

#[test]
fn a_process_killed_at_any_point_leaves_no_damage_and_no_litter() {
    let space = Space::new();
    for round in 0..15 {
        let mut process = start_one(&space);
        std::thread::sleep(std::time::Duration::from_millis(5 + round * 7 % 40));
        process.kill().unwrap();
        process.wait().unwrap();
        let damaged = space.store().verify(&EVERYTHING).unwrap().damaged;
        assert!(damaged.iter().all(|damage| damage.reason == "a blob of it is missing"), "{damaged:?}");
    }
    let store = space.store();
    store.put_result(&action("y"), &StoredResult::default()).unwrap();
    assert!(hit(&store, "y").is_some());
    drop(store);
    assert_eq!(fs::read_dir(space.cache.join("tmp")).unwrap().count(), 0);
}

#[test]
fn processes_store_read_and_sweep_at_once_without_damage() {
    let space = Space::new();
    let processes: Vec<_> = (0..3).map(|_| start_one(&space)).collect();
    for mut process in processes {
        assert!(process.wait().unwrap().success());
    }
    let store = space.store();
    assert_eq!(store.verify(&EVERYTHING).unwrap().damaged, []);
    store.sweep(&SweepPolicy { grace_ms: 0, ..SweepPolicy::unlimited(u64::MAX / 2) }).unwrap();
    assert_eq!(store.verify(&EVERYTHING).unwrap().damaged, []);
    drop(store);
    assert_eq!(fs::read_dir(space.cache.join("tmp")).unwrap().count(), 0);
}

/// What a sweep removes between the look at a blob and the publishing of the result that relies on it is there in the end.
#[test]
fn a_blob_that_is_relied_on_outlives_any_sweep() {
    let space = Space::new();
    let (store, other) = (space.store(), space.store());
    let nothing =
        SweepPolicy { max_bytes: Some(0), max_age_ms: None, grace_ms: 0, now_unix_ms: u64::MAX / 2 };
    let keep = |name: &str, between: &dyn Fn()| {
        let batch = store.batch();
        let part = batch.part();
        let stdout = part.put_bytes(b"relied on");
        between();
        part.put_result(&action(name), &StoredResult { stdout: Some(stdout), ..Default::default() });
        part.join().unwrap();
        between();
        batch.commit().unwrap();
        stdout
    };
    let blob = keep("first", &|| {});
    keep("second", &|| drop(other.sweep(&nothing).unwrap()));
    store.read_blob(&blob, &mut Vec::new()).unwrap();
    assert_eq!(store.verify(&EVERYTHING).unwrap().damaged, []);
    // Where there is no second name it is written anew: a folder cannot have one.
    let path = space.cache.join("cas").join(&blob.hex()[..2]).join(blob.hex());
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    keep("third", &|| {});
    store.read_blob(&blob, &mut Vec::new()).unwrap();
    let scratch = fs::read_dir(space.cache.join("tmp")).unwrap().map(|folder| folder.unwrap().path());
    assert_eq!(
        scratch.map(|folder| fs::read_dir(folder).unwrap().count()).sum::<usize>(),
        0,
        "nothing is held"
    );
}

/// Whoever publishes is over in a moment, unless he was stopped: then a run leaves the sweep to a later one.
#[test]
fn a_run_waits_for_nobody_who_does_not_come_to_an_end_of_publishing() {
    let space = Space::new();
    let store = space.store();
    store.put_result(&action("x"), &StoredResult::default()).unwrap();
    let stopped = fs::File::open(&space.cache).unwrap();
    rustix::fs::flock(&stopped, rustix::fs::FlockOperation::LockShared).unwrap();
    let limits = SweepPolicy { max_bytes: Some(0), ..SweepPolicy::unlimited(u64::MAX / 2) };
    let began = std::time::Instant::now();
    assert_eq!(store.sweep_if_needed(&limits).unwrap(), None);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    drop(stopped);
    assert_eq!(store.sweep_if_needed(&limits).unwrap().unwrap().results, 1);
}

#[test]
fn litter_of_the_dead_goes_and_that_of_the_living_stays() {
    let space = Space::new();
    let living = space.store();
    let batch = living.batch();
    batch.put_bytes(b"not committed yet");
    fs::create_dir(space.cache.join("tmp/1-dead")).unwrap();
    fs::write(space.cache.join("tmp/1-dead/0"), "litter").unwrap();
    space.store().sweep(&SweepPolicy::unlimited(u64::MAX / 2)).unwrap();
    assert!(!space.cache.join("tmp/1-dead").exists());
    assert_eq!(batch.commit().unwrap().blobs, 1);
    drop(living);
    assert_eq!(fs::read_dir(space.cache.join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_batch_that_is_dropped_leaves_nothing() {
    let space = Space::new();
    let store = space.store();
    space.write("a", vec![1; 300_000]);
    let batch = store.batch();
    space.workspace().collect(&["a"], Keep::In(&batch), 1).unwrap();
    batch.put_result(&action("x"), &StoredResult::default());
    drop(batch);
    assert_eq!(hit(&store, "x"), None);
    assert_eq!(store.usage().unwrap().blobs, 0);
    let scratch = fs::read_dir(space.cache.join("tmp")).unwrap().next().unwrap().unwrap();
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_lock_is_held_by_one_and_its_file_stays() {
    let space = Space::new();
    let path = space.root.join("lock");
    let held = Lock::try_acquire(&path).unwrap().unwrap();
    assert!(Lock::try_acquire(&path).unwrap().is_none());
    assert_eq!(Lock::holder(&path), Some(std::process::id()));
    drop(held);
    assert!(path.exists());
    assert!(Lock::try_acquire(&path).unwrap().is_some());
}
