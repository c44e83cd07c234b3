//! A cache that cannot be written, read or made is a value to go on from, never a wrong entry.

use std::fs;
use std::io::Write;
use std::process::Command;

use iact_cache::{
    Digest, DigestFunction, Keep, LocalOptions, LocalStore, Lookup, Store, StoreError, StoredResult,
    VerifyOptions,
};

use crate::{Space, action, hit, is_root, set_mode};

fn mount(point: &std::path::Path, options: &str) -> bool {
    is_root()
        && Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(point)
            .status()
            .is_ok_and(|s| s.success())
}

fn unmount(point: &std::path::Path) {
    assert!(Command::new("umount").arg(point).status().unwrap().success());
}

#[test]
fn opening_and_reading_create_nothing() {
    let space = Space::new();
    let store = space.store();
    assert_eq!(store.lookup(&action("x")).unwrap(), Lookup::Miss);
    assert!(matches!(store.read_blob(&action("x"), &mut Vec::new()), Err(StoreError::NotFound(_))));
    assert_eq!(store.missing_blobs(&[action("x")]).unwrap().len(), 1);
    assert!(
        store.usage().is_ok() && store.list().unwrap().is_empty() && !store.forget(&action("x")).unwrap()
    );
    store.record_uses(&[action("x")], 1).unwrap();
    store.verify(&VerifyOptions { one_in: 1, seed: 0, repair: true, threads: 1 }).unwrap();
    store.clear().unwrap();
    assert_eq!(store.batch().commit().unwrap(), iact_cache::Committed::default());
    assert!(!space.cache.exists());
}

#[test]
fn a_cache_is_its_owners_alone() {
    let space = Space::new();
    space.store().put_result(&action("x"), &StoredResult::default()).unwrap();
    use std::os::unix::fs::MetadataExt;
    for path in crate::files(&space.cache) {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o077, 0, "{}", path.display());
    }
    assert_eq!(fs::metadata(&space.cache).unwrap().mode() & 0o777, 0o700);
    assert!(
        fs::read_to_string(space.cache.join("CACHEDIR.TAG"))
            .unwrap()
            .starts_with("Signature: 8a477f597d28d172789f06886806bc55")
    );
    let is_refused = || {
        let opened = LocalStore::open(&space.cache, LocalOptions::default());
        matches!(opened, Err(StoreError::Unavailable(_)))
    };
    set_mode(&space.cache, 0o777);
    assert!(is_refused(), "others may write it");
    set_mode(&space.cache, 0o700);
    assert!(!is_refused());
    if is_root() {
        std::os::unix::fs::chown(&space.cache, Some(65534), None).unwrap();
        assert!(is_refused(), "it is somebody else's");
    }
}

#[test]
fn a_file_where_the_cache_should_be_is_an_error_that_names_it() {
    let space = Space::new();
    fs::write(&space.cache, "a file").unwrap();
    let error = LocalStore::open(&space.cache, LocalOptions::default()).unwrap_err();
    assert!(error.to_string().contains(space.cache.to_str().unwrap()), "{error}");
    fs::remove_file(&space.cache).unwrap();
    let store = space.store();
    fs::write(&space.cache, "a file, later").unwrap();
    assert!(store.lookup(&action("x")).is_err());
    let batch = store.batch();
    assert_eq!(batch.put_bytes(b"blob"), Digest::of(DigestFunction::Blake3, b"blob"));
    assert!(batch.commit().is_err());
}

#[test]
fn a_read_only_cache_still_gives_hits() {
    let space = Space::new();
    space.write("a", "1");
    let (result, collected) = space.keep(&space.store(), "x", &["a"]);
    fs::remove_file(space.root.join("a")).unwrap();
    let options = LocalOptions { read_only: true, ..LocalOptions::default() };
    let store = LocalStore::open(&space.cache, options).unwrap();
    assert_eq!(hit(&store, "x").as_ref(), Some(&result));
    space.restore(&store, &result).unwrap();
    let batch = store.batch();
    let again = space.workspace().collect(&["a"], Keep::In(&batch), 1).unwrap();
    assert_eq!(again.outputs, collected.outputs);
    batch.commit().unwrap();
    let batch = store.batch();
    batch.put_bytes(b"new");
    assert!(matches!(batch.commit(), Err(StoreError::Unavailable(_))));
    store.record_uses(&[action("x")], 1).unwrap();
    assert!(!space.cache.join("uses").exists());
}

#[test]
fn a_read_only_file_system_still_gives_hits() {
    let space = Space::new();
    fs::create_dir(&space.cache).unwrap();
    set_mode(&space.cache, 0o700);
    if !mount(&space.cache, "size=1M,mode=0700") {
        println!("skipped: cannot mount a file system");
        return;
    }
    space.write("a", "1");
    let (result, _) = space.keep(&space.store(), "x", &["a"]);
    let remounted =
        Command::new("mount").args(["-o", "remount,ro"]).arg(&space.cache).status().unwrap().success();
    fs::remove_file(space.root.join("a")).unwrap();
    let store = space.store();
    let (found, restored) = (hit(&store, "x"), space.restore(&store, &result));
    let batch = store.batch();
    batch.put_bytes(b"new");
    let committed = batch.commit();
    drop(store);
    unmount(&space.cache);
    assert!(remounted);
    assert_eq!(found.as_ref(), Some(&result));
    restored.unwrap();
    assert!(matches!(committed, Err(StoreError::Io { .. })));
}

#[test]
fn a_full_disk_keeps_nothing_partial_and_digests_come_out_all_the_same() {
    let space = Space::new();
    fs::create_dir(&space.cache).unwrap();
    if !mount(&space.cache, "size=256k,mode=0700") {
        println!("skipped: cannot mount a file system");
        return;
    }
    let store = space.store();
    space.write("small", "fits");
    let (small, _) = space.keep(&store, "small", &["small"]);
    for (name, size) in [("one", 100_000), ("large", 600_000)] {
        space.write(name, vec![name.as_bytes()[0]; size]);
    }
    space.write("many/last", "x");
    for number in 0..100 {
        space.write(&format!("many/{number}"), vec![number; 5000]);
    }
    let mut errors = Vec::new();
    for (name, paths) in [("x", ["large"]), ("y", ["many"])] {
        let batch = store.batch();
        let collected = space.workspace().collect(&paths, Keep::In(&batch), 2).unwrap();
        let digests =
            space.workspace().collect(&paths, Keep::DigestsOnly(DigestFunction::Blake3), 1).unwrap();
        assert_eq!(collected, digests);
        batch.put_result(&action(name), &StoredResult { outputs: collected.outputs, ..Default::default() });
        errors.push(batch.commit());
    }
    let after = (hit(&store, "x"), hit(&store, "y"), store.usage().unwrap().results);
    let damaged =
        store.verify(&VerifyOptions { one_in: 1, seed: 0, repair: false, threads: 1 }).unwrap().damaged;
    let room = store.batch();
    room.put_bytes(&[9; 50_000]);
    let room = room.commit();
    let restored = space.restore(&store, &small);
    drop(store);
    unmount(&space.cache);
    for error in errors {
        assert!(
            matches!(error, Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull)
        );
    }
    assert_eq!(after, (None, None, 1));
    assert_eq!(damaged, []);
    assert_eq!(room.unwrap().blobs, 1, "the space of what failed is free again");
    restored.unwrap();
}

#[test]
fn a_full_workspace_stays_as_it_was() {
    let space = Space::new();
    let store = space.store();
    space.write("big", vec![1; 400_000]);
    let (result, _) = space.keep(&store, "x", &["big"]);
    fs::remove_file(space.root.join("big")).unwrap();
    if !mount(&space.root, "size=256k") {
        println!("skipped: cannot mount a file system");
        return;
    }
    space.write("big", "mine");
    let restored = space.restore(&store, &result);
    let now = space.read("big");
    let left = fs::read_dir(space.root.join(".iact/stage")).unwrap().count();
    unmount(&space.root);
    assert!(restored.is_err());
    assert_eq!((now.as_str(), left), ("mine", 0));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_an_output() {
    let space = Space::new();
    space.write("growing", vec![0; 30_000_000]);
    let path = space.root.join("growing");
    let done = std::sync::atomic::AtomicBool::new(false);
    let refused = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(b"x").unwrap();
            }
        });
        while fs::metadata(&path).unwrap().len() == 30_000_000 {}
        let keep = || Keep::DigestsOnly(DigestFunction::Blake3);
        let collect = || space.workspace().collect(&["growing"], keep(), 1);
        // On a busy machine the writer may have had no turn meanwhile; then what was read is right.
        let refused = (0..100).map(|_| collect()).find_map(|collected| match collected {
            Ok(collected) => {
                let file = &collected.files[0];
                let mut bytes = vec![0; 30_000_000];
                bytes.resize(file.facts.size as usize, b'x');
                let digest = Digest::of(DigestFunction::Blake3, &bytes);
                assert_eq!(file.node, iact_cache::Node::File { digest, executable: false });
                None
            }
            Err(error) => Some(error),
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        refused
    });
    assert!(matches!(refused, Some(iact_cache::CollectError::Changed(_))), "{refused:?}");
}
