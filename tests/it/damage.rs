//! Nothing that happens to `.iact` or to the cache is an error of the build, loses or falsifies anything: the outputs are
//! right, and the run after that has nothing to do.

use crate::mounted::Mounted;
use crate::space::{
    IACT, Space, files, harm, harm_at, is_root, overwrite, remove, set_mode, skipped, snapshot, tree,
};
use std::path::{Path, PathBuf};

const TWO: &str = r#"
[target.a]
inputs = ["a.txt"]
outputs = ["out/a"]
run = "echo a >> @LOG@; grep -v '^#' a.txt > out/a; echo said"
[target.b]
deps = ["a"]
inputs = ["b.txt"]
outputs = ["out/b", "out/d"]
run = "echo b >> @LOG@; cat out/a b.txt > out/b; mkdir out/d; cp out/b out/d/copy; ln -s copy out/d/link"
"#;

pub(crate) fn two() -> Space {
    let space = Space::new(TWO);
    space.write("a.txt", "1\n");
    space.write("b.txt", "2\n");
    space
}

#[track_caller]
pub(crate) fn assert_right(space: &Space, case: &str) {
    assert_eq!(tree(&space.path("out/a"))[""], "file - 1\n", "{case}");
    assert_eq!(tree(&space.path("out/b"))[""], "file - 1\n2\n", "{case}");
    let below = tree(&space.path("out/d"));
    assert_eq!((below["copy"].as_str(), below["link"].as_str()), ("file - 1\n2\n", "link copy"), "{case}");
    assert_eq!(below.len(), 3, "{case}");
}

/// Of so many bytes one in `stride` is tried each time, others for every run of the tests; all of them with
/// `IACT_EVERY_BYTE`.
pub(crate) fn bytes_tried(length: usize, stride: usize) -> Vec<usize> {
    let stride = if std::env::var_os("IACT_EVERY_BYTE").is_some() { 1 } else { stride };
    let first = std::process::id() as usize % stride;
    (first..length).step_by(stride).collect()
}

/// Runs `each` for every number below `end`, on two threads with a workspace each.
pub(crate) fn on_two_threads(end: usize, each: impl Fn(&Space, usize) + Sync) {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2)
            .map(|first| {
                let each = &each;
                scope.spawn(move || {
                    let space = two();
                    space.build(&["b"]);
                    space.trail();
                    (first..end).step_by(2).for_each(|at| each(&space, at));
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("damage makes no difference");
        }
    });
}

/// Puts damaged bytes in the place of the journal and builds twice.
fn survives_journal(space: &Space, bytes: &[u8], case: &str) {
    std::fs::write(space.journal(), bytes).unwrap();
    let run = space.build(&["b"]);
    assert_right(space, case);
    assert_eq!(space.trail(), [""; 0], "{case}: the cache has everything: {run}");
    let again = space.build(&["b"]);
    assert_eq!(again.kinds(), ["up_to_date"], "{case}, built again: {again}");
    assert_eq!(again.warnings(), [""; 0], "{case}, built again");
}

fn journal_of(space: &Space) -> Vec<u8> {
    std::fs::read(space.journal()).unwrap()
}

fn journal_length() -> usize {
    let space = two();
    space.build(&["b"]);
    journal_of(&space).len()
}

#[test]
fn a_journal_cut_anywhere_costs_no_result() {
    let tried = bytes_tried(journal_length(), 4);
    on_two_threads(tried.len(), |space, at| {
        let at = tried[at];
        let bytes = journal_of(space);
        survives_journal(space, &bytes[..at.min(bytes.len())], &format!("cut at {at}"));
    });
}

#[test]
fn a_journal_with_any_byte_changed_costs_no_result() {
    let tried = bytes_tried(journal_length(), 4);
    on_two_threads(tried.len(), |space, at| {
        let at = tried[at];
        space.remove(".iact");
        space.build(&["b"]);
        let mut bytes = journal_of(space);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (at % 8);
        }
        survives_journal(space, &bytes, &format!("bit {} of byte {at}", at % 8));
    });
}

#[test]
fn a_journal_full_of_nonsense_costs_no_result() {
    let space = two();
    space.build(&["b"]);
    space.trail();
    let good = journal_of(&space);
    let mut huge_frame = good[..16].to_vec();
    huge_frame.extend([0xff; 64]);
    let mut twice = good.clone();
    twice.extend_from_slice(&good[16..]);
    let mut swapped = good.clone();
    let middle = good.len() / 2;
    swapped.rotate_left(middle);
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("zeros", vec![0; 4096]),
        ("text", b"iact journal 9\n and more".to_vec()),
        ("a frame of four gigabytes", huge_frame),
        ("all frames twice", twice),
        ("halves swapped", swapped),
    ] {
        survives_journal(&space, &bytes, what);
    }
}

pub(crate) fn length(path: &Path) -> usize {
    std::fs::metadata(path).unwrap().len() as usize
}

/// The file, and where in it, of the byte that has this number among the bytes of all.
pub(crate) fn place(all: &[PathBuf], mut number: usize) -> Option<(&PathBuf, usize)> {
    all.iter().find_map(|path| {
        let here = length(path);
        if number < here {
            return Some((path, number));
        }
        number -= here;
        None
    })
}

#[test]
fn every_file_of_the_cache_may_be_changed_or_cut_anywhere() {
    let space = two();
    space.build(&["b"]);
    let files = space.cache_files();
    let tried = bytes_tried(files.iter().map(|path| length(path)).sum(), 24);
    assert!(tried.len() > 30, "{tried:?}");
    // And each file once, however short it is.
    on_two_threads(2 * (tried.len() + files.len()), |space, at| {
        let (cut, number) = (at % 2 == 1, at / 2);
        let all = space.cache_files();
        let found = match tried.get(number) {
            Some(&number) => place(&all, number),
            None => all.get(number - tried.len()).filter(|path| length(path) > 0).map(|path| (path, 0)),
        };
        let Some((path, position)) = found else { return };
        harm_at(path, position, 1 << (number % 8), cut);
        let name = path.strip_prefix(&space.cache).unwrap().display();
        let case = format!("byte {position} of {name}, cut {cut}");
        space.remove("out");
        space.build(&["b"]);
        assert_right(space, &case);
        space.trail();
        space.remove("out");
        let mended = space.build(&["b"]);
        assert_right(space, &case);
        assert_eq!(space.trail(), [""; 0], "{case}: it is mended: {mended}");
        assert_eq!(mended.warnings(), [""; 0], "{case}: it is mended");
    });
}

#[test]
fn every_file_of_the_cache_may_vanish_or_be_something_else() {
    let space = two();
    space.build(&["b"]);
    type Accident = fn(&Path);
    let accidents: [(&str, Accident); 5] = [
        ("gone", |path| remove(path)),
        ("empty", |path| overwrite(path, b"")),
        ("a folder", |path| {
            remove(path);
            std::fs::create_dir_all(path.join("inside")).unwrap();
        }),
        ("a dangling link", |path| {
            remove(path);
            std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap();
        }),
        ("a link to a device", |path| {
            remove(path);
            std::os::unix::fs::symlink("/dev/zero", path).unwrap();
        }),
    ];
    for (what, accident) in accidents {
        for path in space.cache_files() {
            let case = format!("{} is {what}", path.strip_prefix(&space.cache).unwrap().display());
            if !path.is_file() {
                continue;
            }
            accident(&path);
            space.remove("out");
            space.build(&["b"]);
            assert_right(&space, &case);
            space.trail();
            space.remove("out");
            space.build(&["b"]);
            assert_right(&space, &case);
            assert_eq!(space.trail(), [""; 0], "{case}: it is mended");
        }
    }
}

#[test]
fn two_blobs_that_changed_places_are_noticed() {
    let space = two();
    space.build(&["b"]);
    space.trail();
    let blobs: Vec<PathBuf> = space
        .cache_files()
        .into_iter()
        .filter(|path| path.components().any(|part| part.as_os_str() == "cas"))
        .collect();
    assert!(blobs.len() > 2, "{blobs:?}");
    for pair in blobs.windows(2) {
        let [first, second] = [std::fs::read(&pair[0]).unwrap(), std::fs::read(&pair[1]).unwrap()];
        overwrite(&pair[0], &second);
        overwrite(&pair[1], &first);
        space.remove("out");
        space.build(&["b"]);
        assert_right(&space, "two blobs changed places");
    }
}

/// As whoever has no rights: the superuser may everything.
fn nobody(space: &Space, args: &[&str]) -> crate::space::Run {
    let iact = space.iact(["build", "--json"].iter().chain(args));
    if is_root() {
        iact.below(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]).run()
    } else {
        iact.run()
    }
}

/// Gives a whole folder to the user that [`nobody`] runs as.
fn give_away(folder: &Path) {
    if is_root() {
        let given = std::process::Command::new("chown").arg("-R").arg("65534:65534").arg(folder).status();
        assert!(given.unwrap().success());
    }
}

/// Whether another user may start the program at all.
fn others_may_start_it() -> bool {
    let tried = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", IACT, "--version"])
        .output();
    !is_root() || tried.is_ok_and(|tried| tried.status.success())
}

#[test]
fn a_memory_without_rights_costs_time_only() {
    if !others_may_start_it() {
        return skipped("another user cannot start the program here");
    }
    let space = two();
    set_mode(space.base(), 0o755);
    give_away(space.base());
    nobody(&space, &["b"]).expect_code(0);
    for mode in [0o000, 0o500] {
        set_mode(&space.path(".iact"), mode);
        space.write("a.txt", format!("{mode}\n"));
        let run = nobody(&space, &["b"]).expect_code(0);
        assert_eq!(space.read("out/a"), format!("{mode}\n"), "{run}");
        // Without the right to make files the ones that are there do.
        assert_eq!(run.warnings().is_empty(), mode == 0o500, "it is said: {run}");
        set_mode(&space.path(".iact"), 0o755);
    }
    set_mode(&space.journal(), 0o000);
    space.write("a.txt", "1\n");
    nobody(&space, &["b"]).expect_code(0);
    assert_right(&space, "a journal without rights");
}

#[test]
fn a_cache_without_rights_costs_time_only() {
    if !others_may_start_it() {
        return skipped("another user cannot start the program here");
    }
    let space = two();
    set_mode(space.base(), 0o755);
    give_away(space.base());
    nobody(&space, &["b"]).expect_code(0);
    space.trail();
    // Inner ones first: who is not root gets no further than a closed one.
    let mut folders = folders_below(&space.cache);
    folders.push(space.cache.clone());
    folders.iter().for_each(|folder| set_mode(folder, 0o500));
    space.remove("out");
    let run = nobody(&space, &["b"]).expect_code(0);
    assert_eq!(run.kinds(), ["cached"], "a read-only cache still gives: {run}");
    assert_right(&space, "a read-only cache");
    space.write("a.txt", "3\n");
    let run = nobody(&space, &["b"]).expect_code(0);
    assert_eq!(run.kinds(), ["executed"], "{run}");
    assert_eq!(space.read("out/b"), "3\n2\n");
    assert_eq!(run.warnings().len(), 1, "said once: {run}");
    folders.iter().for_each(|folder| set_mode(folder, 0o000));
    space.write("a.txt", "4\n");
    nobody(&space, &["b"]).expect_code(0);
    assert_eq!(space.read("out/b"), "4\n2\n");
    folders.iter().rev().for_each(|folder| set_mode(folder, 0o700));
}

fn folders_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(folders_below(&entry.path()));
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_read_only_workspace_is_built_as_far_as_it_can_be() {
    if !others_may_start_it() {
        return skipped("another user cannot start the program here");
    }
    let space = Space::new("[target.t]\ninputs = [\"in\"]\nrun = \"cat in; echo t >> @LOG@\"\n");
    space.write("in", "1");
    set_mode(space.base(), 0o755);
    give_away(space.base());
    set_mode(&space.ws, 0o555);
    for _ in 0..2 {
        // The log cannot be kept, and a result without its whole log is not stored.
        let run = nobody(&space, &["t"]).expect_code(0);
        assert_eq!(run.kinds(), ["executed"], "{run}");
        assert_eq!((run.output("t", "stdout").as_str(), space.trail().len()), ("1", 1), "{run}");
    }
    set_mode(&space.ws, 0o755);
}

#[test]
fn a_full_cache_disk_costs_the_entry_and_nothing_else() {
    let space = Space::new(
        "[target.t]\ninputs = [\"in\"]\noutputs = [\"o\", \"d\"]\n\
         run = \"echo t >> @LOG@; head -c 3000000 /dev/zero | tr '\\\\0' x > o; cat in >> o; mkdir d; for i in $(seq 40); do echo $i > d/$i; done\"\n\
         [target.small]\ninputs = [\"in\"]\noutputs = [\"s\"]\nrun = \"echo small >> @LOG@; cp in s\"\n",
    );
    space.write("in", "1");
    for (what, options) in
        [("bytes", "size=1M"), ("names", "size=64M,nr_inodes=30"), ("few names", "size=64M,nr_inodes=20")]
    {
        let Some(_mounted) = Mounted::tmpfs(&space.cache, options) else {
            return skipped("no file system can be mounted here");
        };
        for content in ["1", "2"] {
            space.write("in", content);
            let run = space.build(&["t"]);
            assert_eq!(run.kinds(), ["executed"], "{what}: {run}");
            let said = run.warnings();
            assert!(said.iter().any(|said| said.contains("not stored")), "{what}: it is said: {run}");
            assert!(space.read("o").ends_with(content) && space.has("d/40"), "{what}");
            assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "{what}");
        }
        space.trail();
        let (ws, before) = (space.path("o"), std::fs::read(space.path("o")).unwrap());
        remove(&ws);
        let run = space.build(&["t"]);
        assert_eq!(std::fs::read(&ws).unwrap(), before, "{what}: {run}");
        assert_eq!(space.trail(), ["t"], "{what}: half an entry is none");
        let left: Vec<_> = files(&space.cache.join("tmp"));
        assert!(left.is_empty(), "{what}: {left:?}");
    }
}

#[test]
fn what_is_too_large_for_the_disk_of_the_cache_costs_no_other_entry() {
    let copies: String = (0..4)
        .map(|n| format!("[target.s{n}]\ninputs = [\"in\"]\noutputs = [\"s{n}\"]\nrun = \"cp in s{n}; echo {n} >> s{n}\"\n"))
        .collect();
    let space = Space::new(&format!(
        "{copies}[target.large]\nafter = [\"s0\", \"s1\"]\ninputs = [\"in\"]\noutputs = [\"l\"]\nrun = \"head -c 3000000 /dev/zero > l\"\n\
         [target.all]\ndeps = [\"s0\", \"s1\", \"large\", \"s2\", \"s3\"]\n"
    ));
    space.write("in", "1");
    let Some(_mounted) = Mounted::tmpfs(&space.cache, "size=1M") else {
        return skipped("no file system can be mounted here");
    };
    let run = space.build(&["all"]);
    assert_eq!(run.warnings().iter().filter(|said| said.contains("not stored")).count(), 1, "{run}");
    for name in ["s0", "s1", "s2", "s3", "l"] {
        remove(&space.path(name));
    }
    let outcomes = space.build(&["all"]).outcomes();
    for name in ["s0", "s1", "s2", "s3"] {
        assert_eq!(outcomes[name], "cached", "{name}");
    }
    assert_eq!(outcomes["large"], "executed");
}

#[test]
fn a_full_workspace_disk_fails_the_action_and_the_next_build_is_right() {
    let space = Space::new("[target.t]\ninputs = [\"in\"]\noutputs = [\"o\"]\nrun = \"cat in in in > o\"\n");
    let iactfile = space.read("Iactfile.toml");
    let Some(_mounted) = Mounted::tmpfs(&space.ws, "size=1M") else {
        return skipped("no file system can be mounted here");
    };
    space.write("Iactfile.toml", iactfile);
    space.write("in", vec![b'x'; 400_000]);
    for _ in 0..2 {
        let run = space.try_build(&["t"]).expect_code(1);
        assert_eq!(run.kinds(), ["failed"], "{run}");
    }
    space.write("in", vec![b'x'; 100_000]);
    assert_eq!(space.build(&["t"]).kinds(), ["executed"]);
    assert_eq!(space.read("o").len(), 300_000);
    // No room to restore into: the action runs, and fails the same way.
    space.remove("o");
    space.write("ballast", vec![0; 800_000]);
    space.try_build(&["t"]).expect_code(1);
    space.remove("ballast");
    assert_eq!(space.build(&["t"]).kinds(), ["cached"]);
}

#[test]
fn what_only_asks_writes_nothing_into_damaged_memory() {
    let space = two();
    space.build(&["b"]);
    harm(&space.journal(), true);
    let (ws, cache) = (snapshot(&space.ws), snapshot(&space.cache));
    for args in [vec!["status", "b"], vec!["why", "b"], vec!["build", "-n", "b"]] {
        let run = space.iact(&args).run();
        assert!(matches!(run.code, Some(0 | 3)), "{args:?}: {run}");
    }
    assert!(snapshot(&space.ws) == ws && snapshot(&space.cache) == cache);
}
