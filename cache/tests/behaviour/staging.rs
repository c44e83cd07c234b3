//! Restoring is all or nothing, exact, and never leaves the workspace.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use iact_cache::{
    CollectError, Digest, DigestFunction, Fault, Keep, MemoryStore, Node, OutputEntry, OutputKind,
    RestoreError, RestoreOptions, Store, StoredResult, TreeBuilder,
};

use crate::round_trip::snapshot;
use crate::{Space, set_mode};

/// A memory store with everything a result of `space` needs.
fn in_memory(space: &Space, paths: &[&str]) -> (MemoryStore, StoredResult) {
    let local = space.store();
    let (result, collected) = space.keep(&local, "x", paths);
    let memory = MemoryStore::new(DigestFunction::Blake3);
    let files = collected.files.iter().filter_map(|file| match file.node {
        Node::File { digest, .. } => Some(digest),
        _ => None,
    });
    for blob in result.blobs().chain(files) {
        let mut bytes = Vec::new();
        local.read_blob(&blob, &mut bytes).unwrap();
        memory.put_blob(&blob, &mut bytes.as_slice()).unwrap();
    }
    (memory, result)
}

#[test]
fn if_any_call_of_the_store_fails_the_workspace_stays_as_it_was() {
    let space = Space::new();
    for path in ["out/a", "out/d/b", "out/d/c", "single"] {
        space.write(path, path);
    }
    let (store, result) = in_memory(&space, &["out", "single"]);
    let after = snapshot(&space.root);
    for fault in [Fault::Unavailable, Fault::Io(std::io::ErrorKind::Other)] {
        for nth in 0.. {
            fs::remove_dir_all(space.root.join("out")).unwrap();
            space.write("out/d", "a file now");
            space.write("out/stale", "stale");
            space.write("single", "mine");
            let before = snapshot(&space.root);
            let start = store.calls();
            store.fail_at(nth, fault);
            let restored = space.restore(&store, &result);
            if store.calls() - start <= nth {
                restored.unwrap();
                // The fault still to come is none of the next restore's.
                let _ = store.lookup(&crate::action("x"));
                break;
            }
            assert!(matches!(restored, Err(RestoreError::Store(_))), "call {nth}");
            assert_eq!(snapshot(&space.root), before, "call {nth}");
        }
        space.restore(&store, &result).unwrap();
        assert_eq!(snapshot(&space.root), after);
    }
}

#[test]
fn what_is_right_already_is_not_touched() {
    let space = Space::new();
    let store = space.store();
    space.write("out/same", "same");
    space.write("out/other", "other");
    let (result, _) = space.keep(&store, "x", &["out"]);
    space.write("out/other", "edited");
    let inode = |path: &str| fs::metadata(space.root.join(path)).unwrap().ino();
    let (same, other) = (inode("out/same"), inode("out/other"));
    assert_eq!(space.restore(&store, &result).unwrap().installed, 1);
    assert_eq!(inode("out/same"), same);
    assert_ne!(inode("out/other"), other);
    set_mode(&space.root.join("out/same"), 0o755);
    assert_eq!(space.restore(&store, &result).unwrap().installed, 1, "the permission counts");
    assert_eq!(fs::metadata(space.root.join("out/same")).unwrap().mode() & 0o111, 0);
}

#[test]
fn a_known_digest_saves_reading() {
    let space = Space::new();
    let store = space.store();
    space.write("a", "1");
    let (result, _) = space.keep(&store, "x", &["a"]);
    space.write("a", "2");
    let lie = Digest::of(DigestFunction::Blake3, b"1");
    let options =
        RestoreOptions { known: &|path, _| (path == b"a").then_some(lie), threads: 1, absent: false };
    assert_eq!(space.workspace().restore(&store, &result.outputs, &options).unwrap().installed, 0);
    assert_eq!(space.read("a"), "2");
}

#[test]
fn writing_into_a_restored_file_never_reaches_the_cache() {
    let space = Space::new();
    let store = space.store();
    for (path, size) in [("small", 10), ("large", 500_000)] {
        space.write(path, vec![1; size]);
    }
    let (result, _) = space.keep(&store, "x", &["large", "small"]);
    for path in ["small", "large"] {
        fs::remove_file(space.root.join(path)).unwrap();
    }
    space.restore(&store, &result).unwrap();
    for path in ["small", "large"] {
        let full = space.root.join(path);
        assert_eq!(fs::metadata(&full).unwrap().nlink(), 1);
        fs::write(&full, "changed in place").unwrap();
    }
    space.restore(&store, &result).unwrap();
    assert_eq!(fs::read(space.root.join("large")).unwrap(), vec![1; 500_000]);
}

#[test]
fn a_link_in_the_place_of_a_parent_is_refused_and_nothing_is_written_through_it() {
    let space = Space::new();
    let store = space.store();
    space.write("out/deep/a", "1");
    let (result, _) = space.keep(&store, "x", &["out/deep/a"]);
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir_all(space.root.join("out")).unwrap();
    for target in [outside.path().to_str().unwrap(), "elsewhere"] {
        fs::create_dir_all(space.root.join("elsewhere")).unwrap();
        symlink(target, space.root.join("out")).unwrap();
        assert!(matches!(space.restore(&store, &result), Err(RestoreError::InTheWay(_))));
        let collected =
            space.workspace().collect(&["out/deep/a"], Keep::DigestsOnly(DigestFunction::Blake3), 1);
        assert!(matches!(collected, Err(CollectError::ThroughLink(_))));
        fs::remove_file(space.root.join("out")).unwrap();
    }
    space.write("out", "a file");
    assert!(matches!(space.restore(&store, &result), Err(RestoreError::InTheWay(_))));
    assert_eq!(
        fs::read_dir(outside.path()).unwrap().count()
            + fs::read_dir(space.root.join("elsewhere")).unwrap().count(),
        0
    );
}

#[test]
fn a_link_inside_a_declared_folder_is_replaced_and_what_it_pointed_to_is_left_alone() {
    let space = Space::new();
    let store = space.store();
    space.write("out/d/a", "1");
    let (result, _) = space.keep(&store, "x", &["out"]);
    let after = snapshot(&space.root);
    for inside in ["out/d", "out/d/a", "out"] {
        space.write("src/a", "precious");
        let path = space.root.join(inside);
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        symlink(space.root.join("src"), &path).unwrap();
        space.restore(&store, &result).unwrap();
        assert_eq!(space.read("src/a"), "precious");
        fs::remove_dir_all(space.root.join("src")).unwrap();
        assert_eq!(snapshot(&space.root), after);
    }
}

#[test]
fn hostile_paths_in_a_result_are_refused() {
    let space = Space::new();
    let store = space.store();
    let blob = Digest::of(DigestFunction::Blake3, b"evil");
    store.put_blob(&blob, &mut b"evil".as_slice()).unwrap();
    for path in ["../evil", "/evil", "a/../../evil", "", ".", "a//b", "a/", "a\0b", &"x".repeat(300)] {
        let kind = OutputKind::File { digest: blob, executable: false };
        let result =
            StoredResult { outputs: vec![OutputEntry { path: path.into(), kind }], ..Default::default() };
        assert!(matches!(space.restore(&store, &result), Err(RestoreError::Tree(_))), "{path:?}");
        assert!(StoredResult::decode(&result.encode()).is_err(), "{path:?}");
    }
    assert_eq!(snapshot(&space.root).len(), 0);
}

#[test]
fn a_folder_swapped_for_a_link_meanwhile_never_leads_outside() {
    let space = Space::new();
    let store = space.store();
    space.write("out/d/a", "1");
    let (result, _) = space.keep(&store, "x", &["out/d/a"]);
    let outside = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (real, link) = (space.root.join("out/d"), space.root.join("out/link"));
    symlink(outside.path(), &link).unwrap();
    // A restore between two renames makes the folder anew, and it would be in the way of every other swap.
    let put = |from: &Path, to: &Path| {
        if fs::rename(from, to).is_err() && from.exists() && to.is_dir() && !to.is_symlink() {
            let _ = fs::remove_dir_all(to).and_then(|()| fs::rename(from, to));
        }
    };
    let done = AtomicBool::new(false);
    // Only those count after which the link was there.
    let asked = std::env::var("IACT_TRY_SWAPS").map_or(10_000, |swaps| swaps.parse().unwrap());
    let swaps = AtomicUsize::new(0);
    let mut escaped = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let aside = space.root.join("out/aside");
            while !done.load(Ordering::Relaxed) {
                let _ = fs::rename(&real, &aside);
                put(&link, &real);
                if real.is_symlink() {
                    let _ = fs::rename(&real, &link);
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
                put(&aside, &real);
            }
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) || swaps.load(Ordering::Relaxed) < asked {
            let _ = space.restore(&store, &result);
            escaped += fs::read_dir(outside.path()).unwrap().count();
            let _ = fs::remove_file(space.root.join("out/d/a"));
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(escaped, 0);
}

#[test]
fn what_cannot_be_stored_is_an_error_that_names_it() {
    let space = Space::new();
    let collect =
        |paths: &[&str]| space.workspace().collect(paths, Keep::DigestsOnly(DigestFunction::Blake3), 1);
    space.write("out/a", "1");
    rustix::fs::mkfifoat(rustix::fs::CWD, space.root.join("out/fifo"), rustix::fs::Mode::RWXU).unwrap();
    let error = collect(&["out"]).unwrap_err();
    assert_eq!(error.to_string(), "output `out/fifo` is a FIFO, which cannot be stored");
    assert!(matches!(collect(&["out/fifo"]), Err(CollectError::NotStorable { .. })));
    assert!(
        matches!(collect(&["out/a", "nothing"]), Err(CollectError::MissingOutput(path)) if path == "nothing")
    );
    assert!(matches!(collect(&["no/thing"]), Err(CollectError::MissingOutput(_))));
    assert!(matches!(collect(&["../out"]), Err(CollectError::Tree(_))));
}

#[test]
fn digests_only_are_the_digests_of_storing() {
    let space = Space::new();
    let store = space.store();
    for number in 0..200 {
        space.write(&format!("out/{}/{number}", number % 7), vec![number as u8; number * 1000]);
    }
    let (_, kept) = space.keep(&store, "x", &["out"]);
    let digests = space.workspace().collect(&["out"], Keep::DigestsOnly(DigestFunction::Blake3), 2).unwrap();
    assert_eq!(digests, kept);
    let mut builder = TreeBuilder::new();
    for file in digests.files {
        builder.insert(file.path, file.node).unwrap();
    }
    let OutputKind::Directory { root, .. } = digests.outputs[0].kind else { panic!("a folder") };
    let mut outer = TreeBuilder::new();
    outer.insert("out", Node::Directory { digest: root }).unwrap();
    assert_eq!(
        builder.finish(DigestFunction::Blake3, None).unwrap(),
        outer.finish(DigestFunction::Blake3, None).unwrap(),
        "a folder's digest stands for the folder"
    );
}

#[test]
fn restored_programs_run_at_once_while_other_threads_start_processes() {
    let space = Space::new();
    let store = space.store();
    for name in ["bin/true", "bin/other"] {
        space.write(name, fs::read("/bin/true").unwrap());
        set_mode(&space.root.join(name), 0o755);
    }
    let (result, _) = space.keep(&store, "x", &["bin"]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                Command::new("/bin/true").status().unwrap();
            }
        });
        let all_run = (0..150).all(|_| {
            fs::remove_dir_all(space.root.join("bin")).unwrap();
            space.restore(&store, &result).unwrap();
            Command::new(space.root.join("bin/true")).status().is_ok_and(|status| status.success())
        });
        done.store(true, Ordering::Relaxed);
        assert!(all_run);
    });
}

/// A file system at `mnt` in the workspace, as long as this lives.
struct Mounted(PathBuf);

impl Mounted {
    #[allow(clippy::print_stdout, reason = "what is skipped is said")]
    fn new(space: &Space) -> Option<Self> {
        let point = space.root.join("mnt");
        fs::create_dir_all(&point).unwrap();
        let mounted = crate::is_root()
            && Command::new("mount")
                .args(["-t", "tmpfs", "none"])
                .arg(&point)
                .status()
                .is_ok_and(|s| s.success());
        if !mounted {
            println!("skipped: cannot mount a file system");
        }
        mounted.then_some(Self(point))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_file_system_mounted_inside_the_workspace_is_restored_into() {
    let space = Space::new();
    let store = space.store();
    space.write("mnt/out/d/a", "1");
    space.write("mnt/single", "2");
    symlink("nowhere", space.root.join("mnt/out/link")).unwrap();
    let (result, _) = space.keep(&store, "x", &["mnt/out", "mnt/single"]);
    let after = snapshot(&space.root);
    fs::remove_dir_all(space.root.join("mnt")).unwrap();
    let Some(_mounted) = Mounted::new(&space) else { return };
    space.write("mnt/out/stale", "s");
    space.restore(&store, &result).unwrap();
    assert_eq!(snapshot(&space.root), after);
}

#[test]
fn what_a_killed_restore_left_beside_a_place_is_no_output_and_goes() {
    let space = Space::new();
    let store = space.store();
    let Some(_mounted) = Mounted::new(&space) else { return };
    space.write("mnt/out/a", "1");
    space.write("mnt/single", "2");
    let (result, _) = space.keep(&store, "x", &["mnt/out", "mnt/single"]);
    space.write("mnt/.iact-stage/1-dead/0-1", "litter");
    space.write("mnt/.iact-stage/2-living/0-1", "of somebody else");
    space.write("mnt/out/.iact-stage/1-dead/0-1", "litter");
    let living = fs::File::open(space.root.join("mnt/.iact-stage/2-living")).unwrap();
    rustix::fs::flock(&living, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let (again, _) = space.keep(&store, "y", &["mnt/out", "mnt/single"]);
    assert_eq!(again.outputs, result.outputs);
    space.write("mnt/single", "another");
    space.restore(&store, &result).unwrap();
    let left = fs::read_dir(space.root.join("mnt/.iact-stage")).unwrap();
    assert_eq!(left.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>(), ["2-living"]);
    assert!(!space.root.join("mnt/out/.iact-stage").exists());
    drop(living);
    space.write("mnt/single", "another");
    space.restore(&store, &result).unwrap();
    assert!(!space.root.join("mnt/.iact-stage").exists());
}
