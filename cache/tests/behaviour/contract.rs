//! What every store promises, whatever it is made of.

use std::io::{self, Write};

use iact_cache::{
    Digest, DigestFunction, Fault, LocalOptions, LocalStore, Lookup, MemoryStore, OutputEntry, OutputKind,
    Store, StoreError, StoredResult,
};

use crate::{Space, action};

/// Runs a check over every kind of store; the second argument damages a stored blob.
fn over_all(check: impl Fn(&dyn Store, &dyn Fn(&Digest))) {
    for function in [DigestFunction::Blake3, DigestFunction::Sha256] {
        let memory = MemoryStore::new(function);
        check(&memory, &|blob| memory.damage(blob));
        for durable in [false, true] {
            let space = Space::new();
            let options = LocalOptions { digest: function, durable, read_only: false };
            let local = LocalStore::open(&space.cache, options).unwrap();
            check(&local, &|blob| {
                let path = local.path().join("cas").join(&blob.hex()[..2]).join(blob.hex());
                let mut bytes = std::fs::read(&path).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                std::fs::write(path, bytes).unwrap();
            });
        }
    }
}

fn result(blob: Digest) -> StoredResult {
    StoredResult {
        outputs: vec![
            OutputEntry { path: "a/b".into(), kind: OutputKind::File { digest: blob, executable: true } },
            OutputEntry { path: "a/d".into(), kind: OutputKind::Directory { tree: blob, root: blob } },
            OutputEntry { path: "c".into(), kind: OutputKind::Symlink { target: b"../\xff".to_vec() } },
        ],
        stdout: Some(blob),
        stderr: None,
        exports: vec![("KEY".into(), "value\n".into()), ("A".into(), String::new())],
        duration_ms: 1234,
        finished_unix_ms: 1_700_000_000_123,
        made_by: "ci".into(),
    }
}

fn read(store: &dyn Store, blob: &Digest) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    store.read_blob(blob, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn what_was_put_comes_back() {
    over_all(|store, _| {
        for size in [0, 1, 100, 128 * 1024, 256 * 1024, 256 * 1024 + 1, 1_000_000] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let blob = Digest::of(store.digest_function(), &bytes);
            let expected = if size == 0 { vec![] } else { vec![blob] };
            assert_eq!(store.missing_blobs(&[blob]).unwrap(), expected, "the empty blob is everywhere");
            store.put_blob(&blob, &mut bytes.as_slice()).unwrap();
            store.put_blob(&blob, &mut bytes.as_slice()).unwrap();
            assert_eq!(store.missing_blobs(&[blob]).unwrap(), []);
            assert!(read(store, &blob).unwrap() == bytes, "{size}");
            let file = tempfile::tempfile().unwrap();
            store.copy_blob(&blob, &file).unwrap();
            assert_eq!(file.metadata().unwrap().len(), size);
        }
    });
}

#[test]
fn a_result_comes_back_whole_and_the_last_one_wins() {
    over_all(|store, _| {
        let blob = Digest::of(store.digest_function(), b"blob");
        assert_eq!(store.lookup(&action("a")).unwrap(), Lookup::Miss);
        store.put_blob(&blob, &mut b"blob".as_slice()).unwrap();
        store.put_result(&action("a"), &StoredResult::default()).unwrap();
        store.put_result(&action("a"), &result(blob)).unwrap();
        assert_eq!(store.lookup(&action("a")).unwrap(), Lookup::Hit(result(blob)));
        assert_eq!(store.lookup(&action("b")).unwrap(), Lookup::Miss);
    });
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    over_all(|store, _| {
        let blob = Digest::of(store.digest_function(), b"never put");
        assert!(matches!(read(store, &blob), Err(StoreError::NotFound(found)) if found == blob));
        assert_eq!(store.missing_blobs(&[blob, blob]).unwrap(), [blob, blob]);
    });
}

#[test]
fn bytes_of_another_digest_are_refused() {
    over_all(|store, _| {
        let blob = Digest::of(store.digest_function(), b"right");
        for wrong in [b"wrong".as_slice(), b"", b"right and more", b"righ"] {
            assert!(matches!(store.put_blob(&blob, &mut &*wrong), Err(StoreError::Corrupt { .. })));
            assert!(matches!(read(store, &blob), Err(StoreError::NotFound(_))));
        }
        let endless = &mut io::repeat(7);
        assert!(matches!(store.put_blob(&blob, endless), Err(StoreError::Corrupt { .. })));
    });
}

#[test]
fn a_damaged_blob_is_reported_once_and_mended_when_stored_again() {
    over_all(|store, damage| {
        for size in [10, 700_000] {
            let bytes = vec![3; size];
            let blob = Digest::of(store.digest_function(), &bytes);
            store.put_blob(&blob, &mut bytes.as_slice()).unwrap();
            damage(&blob);
            assert!(
                matches!(read(store, &blob), Err(StoreError::Corrupt { expected, .. }) if expected == blob)
            );
            assert!(matches!(read(store, &blob), Err(StoreError::NotFound(_))));
            store.put_blob(&blob, &mut bytes.as_slice()).unwrap();
            assert!(read(store, &blob).unwrap() == bytes);
            damage(&blob);
            store.put_blob(&blob, &mut bytes.as_slice()).unwrap();
            assert!(read(store, &blob).unwrap() == bytes, "mended even if nobody had read it");
        }
    });
}

#[test]
fn a_reader_that_fails_leaves_the_blob_alone() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    over_all(|store, _| {
        let blob = Digest::of(store.digest_function(), b"blob");
        store.put_blob(&blob, &mut b"blob".as_slice()).unwrap();
        assert!(matches!(store.read_blob(&blob, &mut Full), Err(StoreError::Write(_))));
        assert_eq!(read(store, &blob).unwrap(), b"blob");
    });
}

#[test]
fn the_script_of_a_memory_store_fails_the_call_it_names() {
    let store = MemoryStore::new(DigestFunction::Blake3);
    let blob = Digest::of(DigestFunction::Blake3, b"blob");
    store.put_blob(&blob, &mut b"blob".as_slice()).unwrap();
    store.fail_at(1, Fault::Unavailable);
    store.fail_at(2, Fault::Damage);
    assert!(read(&store, &blob).is_ok());
    assert!(matches!(read(&store, &blob), Err(StoreError::Unavailable(_))));
    assert!(matches!(read(&store, &blob), Err(StoreError::Corrupt { .. })));
    assert!(matches!(read(&store, &blob), Err(StoreError::NotFound(_))));
    assert_eq!(store.calls(), 5);
}
