//! Nothing that happens to the memory (`.iact`) beside its journal is an error of the build, or keeps an edit from being noticed.

use crate::damage::{assert_right, bytes_tried, length, on_two_threads, place, two};
use crate::space::{Space, files, harm, harm_at, remove, until};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What the memory holds beside the journal and logs: proofs, graphs, what depends on what.
fn memory_files(space: &Space) -> Vec<PathBuf> {
    let mut found = files(&space.path(".iact"));
    found.retain(|path| {
        *path != space.journal() && !path.starts_with(space.path(".iact/log")) && length(path) > 0
    });
    found
}

/// Builds until all of that is there: a proof is made of what has been at rest for two seconds.
fn remember(space: &Space) -> Vec<PathBuf> {
    until("the memory is complete", || {
        space.write("a.txt", "1\n");
        space.build(&["b"]);
        space.build(&["b"]);
        let has = |folder: &str| !files(&space.path(".iact").join(folder)).is_empty();
        let all = has("still") && has("reach") && has("graph");
        if !all {
            std::thread::sleep(Duration::from_millis(1_100));
        }
        all
    });
    memory_files(space)
}

#[test]
fn old_logs_of_targets_that_are_gone_go_when_a_new_one_comes() {
    let talks = |names: &[&str]| {
        let target = |name: &&str| format!("[target.{name}]\ninputs = []\nrun = 'echo {name}'\n");
        names.iter().map(target).collect::<String>()
    };
    let space = Space::new(&talks(&["stays", "old", "young"]));
    space.build(&["stays", "old", "young"]);
    let logs = || files(&space.path(".iact/log"));
    let log_of = |name: &str| {
        let is_of = |path: &PathBuf| {
            String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(&format!("{name}\n"))
        };
        logs().into_iter().find(is_of)
    };
    for name in ["stays", "old"] {
        crate::space::set_time(&log_of(name).unwrap(), 1_000_000_000);
    }
    space.build(&["young"]);
    assert!(log_of("old").is_some(), "as long as it is a target");
    space.write("Iactfile.toml", talks(&["stays", "new"]));
    space.build(&["new"]);
    let left = ["stays", "old", "young", "new"].map(|name| log_of(name).is_some());
    assert_eq!(left, [true, false, true, true]);
}

/// An edit after the damage has to be noticed as well: what depends on a file must not be forgotten.
#[test]
fn every_file_of_the_memory_may_be_changed_or_cut_anywhere() {
    let space = two();
    let tried = bytes_tried(remember(&space).iter().map(|path| length(path)).sum(), 40);
    let harmed = AtomicUsize::new(0);
    on_two_threads(2 * tried.len(), |space, at| {
        let (cut, number) = (at % 2 == 1, tried[at / 2]);
        let all = remember(space);
        let Some((path, position)) = place(&all, number) else { return };
        harm_at(path, position, 1 << (number % 8), cut);
        harmed.fetch_add(1, Ordering::Relaxed);
        let name = path.strip_prefix(&space.ws).unwrap().display();
        let case = format!("byte {position} of {name}, cut {cut}");
        if at / 2 % 2 == 0 {
            space.build(&["b"]);
            assert_right(space, &case);
        }
        space.write("a.txt", "9\n");
        let run = space.build(&["b"]);
        assert_eq!(space.read("out/a") + &space.read("out/b"), "9\n9\n2\n", "{case}: {run}");
        let again = space.build(&["b"]);
        assert_eq!(
            (again.kinds(), again.warnings().len()),
            (vec!["up_to_date".into()], 0),
            "{case}: {again}"
        );
    });
    assert!(harmed.into_inner() > tried.len(), "most places are there each time");
}

#[test]
fn the_memory_may_be_anything() {
    type Accident = fn(&Space);
    let accidents: [(&str, Accident); 7] = [
        ("a file", |space| {
            space.remove(".iact");
            space.write(".iact", "in the way");
        }),
        ("a dangling link", |space| {
            space.remove(".iact");
            std::os::unix::fs::symlink("nowhere", space.path(".iact")).unwrap();
        }),
        ("with a folder as journal", |space| {
            remove(&space.journal());
            std::fs::create_dir_all(space.journal().join("x")).unwrap();
        }),
        ("with a folder as lock", |space| {
            space.remove(".iact/lock");
            std::fs::create_dir_all(space.path(".iact/lock")).unwrap();
        }),
        ("with nonsense as lock", |space| drop(space.write(".iact/lock", vec![0xff; 1000]))),
        ("with a file as log folder", |space| {
            space.remove(".iact/log");
            space.write(".iact/log", "in the way");
        }),
        ("with every file damaged", |space| {
            files(&space.path(".iact")).iter().for_each(|path| harm(path, true));
        }),
    ];
    for (what, accident) in accidents {
        let space = two();
        space.build(&["b"]);
        accident(&space);
        for content in ["9\n", "1\n"] {
            space.write("a.txt", content);
            let run = space.build(&["b"]);
            assert_eq!(space.read("out/a"), content, "{what}: {run}");
        }
        assert_right(&space, what);
    }
}
