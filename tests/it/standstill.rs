//! An unchanged request is answered from stats alone, a changed one from the graph as it was resolved before; whatever either
//! depends on, the answer changes when that does.

use crate::space::{Space, set_mode, snapshot};
use std::time::Duration;

const WORKSPACE: &str = r#"
[workspace]
include = ["more/*"]
[target.glob]
inputs = ["src/**/*.c", "!src/skip/**"]
outputs = ["out/list", "out/tree/"]
tools = ["mytool"]
pass_env = ["GIVEN"]
run = "echo glob >> $TRAIL; find src -name '*.c' | sort > out/list; mkdir -p out/tree; echo x > out/tree/x"
untracked_env = ["TRAIL"]
[target.literal]
deps = ["glob"]
inputs = ["one.txt", "folder", "link"]
run = "echo literal >> $TRAIL"
untracked_env = ["TRAIL"]
[target.each]
for_each = "each/*.sh"
run = "echo {{ file }} >> $TRAIL"
untracked_env = ["TRAIL"]
[target.all]
deps = ["literal", "each", "more/a:t"]
"#;

const INCLUDED: &str =
    "[target.t]\ninputs = [\"x\"]\nuntracked_env = [\"TRAIL\"]\nrun = \"echo more >> $TRAIL\"\n";

fn workspace() -> Space {
    let space = Space::new(WORKSPACE);
    for (path, text) in [
        ("src/a.c", "a"),
        ("src/deep/b.c", "b"),
        (".gitignore", "*.o\n"),
        ("one.txt", "1"),
        ("folder/f", "f"),
        ("target.txt", "through"),
        ("each/a.sh", "1"),
        ("more/a/x", "x"),
        ("bin/mytool", "#!/bin/sh\n"),
    ] {
        space.write(path, text);
    }
    space.iactfile_in("more/a", INCLUDED);
    set_mode(&space.path("bin/mytool"), 0o755);
    std::os::unix::fs::symlink("target.txt", space.path("link")).unwrap();
    space
}

fn run(space: &Space, given: &str) -> crate::space::Run {
    let path = format!("{}:{}", space.path("bin").display(), std::env::var("PATH").unwrap());
    let all = space.iact(["build", "--json", "all"]).env("GIVEN", given).env("PATH", path);
    all.env("TRAIL", space.base().join("trail.log")).run().expect_code(0)
}

/// What is done to a workspace at rest, and which targets must not be called up to date then.
type Change = (&'static str, fn(&Space), &'static [&'static str]);

const CHANGES: &[Change] = &[
    ("nothing", |_| {}, &[]),
    ("a file is touched", |s| drop(s.write("one.txt", "1")), &[]),
    ("a literal input", |s| drop(s.write("one.txt", "2")), &["literal"]),
    ("a file in a literal folder", |s| drop(s.write("folder/f", "g")), &["literal"]),
    ("a new file in a literal folder", |s| drop(s.write("folder/deep/new", "")), &["literal"]),
    ("what a link leads to", |s| drop(s.write("target.txt", "other")), &["literal"]),
    ("a matched file", |s| drop(s.write("src/deep/b.c", "z")), &["glob"]),
    ("a new match", |s| drop(s.write("src/deep/new.c", "")), &["glob"]),
    ("a new match in a new folder", |s| drop(s.write("src/far/down/new.c", "")), &["glob"]),
    ("a match gone", |s| s.remove("src/a.c"), &["glob"]),
    ("a match that is ignored now", |s| drop(s.write(".gitignore", "*.o\nb.c\n")), &["glob"]),
    ("a new .gitignore", |s| drop(s.write("src/deep/.gitignore", "b.c\n")), &["glob"]),
    ("a new file of for_each", |s| drop(s.write("each/b.sh", "1")), &["each[each/b.sh]"]),
    ("a new Iactfile among the included", |s| s.iactfile_in("more/b", INCLUDED), &[]),
    (
        "an included Iactfile",
        |s| s.iactfile_in("more/a", &INCLUDED.replace("more >>", "other >>")),
        &["more/a:t"],
    ),
    ("the Iactfile", |s| s.iactfile(&WORKSPACE.replace("echo glob", "echo  glob")), &["glob"]),
    ("an output gone", |s| s.remove("out/list"), &["glob"]),
    ("an output edited", |s| drop(s.write("out/tree/x", "edited")), &["glob"]),
    ("a stray in an output folder", |s| drop(s.write("out/tree/stray", "")), &["glob"]),
    ("a tool", |s| drop(s.write("bin/mytool", "#!/bin/sh\ntrue\n")), &["glob"]),
    (
        "the journal is lost",
        |s| s.remove(".iact/journal"),
        &["glob", "literal", "each[each/a.sh]", "more/a:t"],
    ),
    (
        "the proof is damaged",
        |s| {
            for file in crate::space::files(&s.path(".iact/still")) {
                crate::space::harm(&file, false);
            }
        },
        &[],
    ),
    (
        "proof and graph are damaged",
        |s| {
            for file in crate::space::files(&s.path(".iact/still")).iter().chain(&kept(s)) {
                crate::space::harm(file, false);
            }
        },
        &[],
    ),
];

fn kept(space: &Space) -> Vec<std::path::PathBuf> {
    let files = |folder: &str| crate::space::files(&space.path(folder));
    [files(".iact/graph"), files(".iact/reach")].concat()
}

/// Whether a build, after what was done to the workspace, took its graph from the last one; and what it did.
fn built(space: &Space) -> (bool, crate::space::Run) {
    let path = format!("{}:{}", space.path("bin").display(), std::env::var("PATH").unwrap());
    let all = space.iact(["build", "-vv", "--json", "all"]).env("GIVEN", "1").env("PATH", path);
    let run = all.env("TRAIL", space.base().join("trail.log")).run();
    let is_kept = ["the graph was kept", "what moved reaches"].iter().any(|said| run.err.contains(said));
    (is_kept, run)
}

#[test]
fn a_kept_graph_does_what_the_whole_one_would() {
    let edit = |space: &Space| drop(space.write("one.txt", "edited"));
    let (with, without) = (workspace(), workspace());
    for space in [&with, &without] {
        run(space, "1");
    }
    std::thread::sleep(Duration::from_millis(2_300));
    for space in [&with, &without] {
        run(space, "1");
        edit(space);
    }
    kept(&without).iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let ((is_kept, short), (is_whole, long)) = (built(&with), built(&without));
    assert_eq!((is_kept, is_whole), (true, false));
    assert_eq!(short.outcomes(), long.outcomes());
    assert_eq!(short.outcomes()["literal"], "executed");
    for target in short.outcomes().keys() {
        assert_eq!(short.fingerprint(target), long.fingerprint(target), "{target}");
    }
    assert!(built(&with).0, "it holds on after a build that did something");
    // A mistake is told with its place, whichever way was taken.
    with.remove("one.txt");
    let (_, wrong) = built(&with);
    assert!(wrong.err.contains("Iactfile.toml:") && wrong.err.contains("one.txt"), "{}", wrong.err);
    edit(&with);
    // What others could have written decides nothing.
    kept(&with).iter().for_each(|file| set_mode(file, 0o666));
    assert!(!built(&with).0);
    with.iactfile(&WORKSPACE.replace("echo glob", "echo more"));
    let (is_kept, other) = built(&with);
    assert!(!is_kept && other.outcomes()["glob"] == "executed");
}

#[test]
fn it_holds_exactly_until_something_moves() {
    let spaces: Vec<(Space, &Change)> = CHANGES.iter().map(|change| (workspace(), change)).collect();
    let variable = workspace();
    for space in spaces.iter().map(|(space, _)| space).chain([&variable]) {
        run(space, "1");
    }
    // Times younger than two seconds prove nothing.
    std::thread::sleep(Duration::from_millis(2_300));
    for (space, (name, change, stale)) in &spaces {
        run(space, "1");
        assert_eq!(crate::space::files(&space.path(".iact/still")).len(), 1, "{name}: no proof was made");
        assert_eq!(crate::space::files(&space.path(".iact/graph")).len(), 1, "{name}: no graph was kept");
        change(space);
        let after = run(space, "1");
        let moved: Vec<String> = after
            .outcomes()
            .into_iter()
            .filter(|(_, outcome)| outcome != "up_to_date")
            .map(|(target, _)| target)
            .collect();
        for target in *stale {
            assert!(
                moved.iter().any(|one| one == target),
                "{name}: `{target}` was called up to date: {moved:?}"
            );
        }
        assert!(!stale.is_empty() || moved.is_empty(), "{name}: {moved:?}");
    }
    run(&variable, "1");
    assert_eq!(run(&variable, "2").reason("glob"), "env_changed GIVEN");
}

#[test]
fn an_answer_from_a_proof_writes_nothing_and_says_the_same() {
    let space = workspace();
    run(&space, "1");
    std::thread::sleep(Duration::from_millis(2_300));
    let long_way = run(&space, "1");
    let before = snapshot(&space.path("."));
    let short_way = run(&space, "1");
    assert_eq!(snapshot(&space.path(".")), before, "something was written");
    assert_eq!(short_way.outcomes(), long_way.outcomes());
    for target in short_way.outcomes().keys() {
        assert_eq!(short_way.fingerprint(target), long_way.fingerprint(target));
    }
}

/// A graph in which much can be reached: sources, what is made of them, what is made of that, and a group.
const MANY: &str = r#"
[target.a]
inputs = ["src/a", "src/both"]
outputs = ["out/a"]
run = "echo a >> $TRAIL; ! grep -q bad src/a && cat src/a src/both > out/a"
untracked_env = ["TRAIL"]
[target.b]
inputs = ["src/b*"]
outputs = ["out/b"]
run = "echo b >> $TRAIL; head -qc 1 src/b* > out/b"
untracked_env = ["TRAIL"]
[target.both]
deps = ["a", "b"]
outputs = ["out/both"]
inputs = []
run = "echo both >> $TRAIL; cat out/a out/b > out/both"
untracked_env = ["TRAIL"]
[target.some]
deps = ["a", "b"]
[target.depfile]
deps = ["some"]
inputs = ["src/main"]
outputs = ["out/main"]
depfile = "out/d"
run = "echo depfile >> $TRAIL; cat src/main src/header out/a > out/main; echo 'x: src/main src/header' > out/d"
untracked_env = ["TRAIL"]
[target.all]
deps = ["both", "depfile"]
"#;

#[test]
fn what_an_edit_reaches_is_what_the_long_way_finds() {
    let mut dice = crate::dice::Dice::new(7);
    let (short, long) = (Space::new(MANY), Space::new(MANY));
    let files = ["src/a", "src/both", "src/b1", "src/b2", "src/main", "src/header"];
    let made = ["out/a", "out/b", "out/both", "out/main"];
    let both = |path: &str, text: &str| {
        for space in [&short, &long] {
            space.write(path, text);
        }
    };
    files.iter().for_each(|path| both(path, "0\n"));
    let mut reached = 0;
    for step in 0..90 {
        let texts = ["1\n", "2\n", "bad\n", "longer than before\n"];
        for _ in 0..dice.below(3) {
            let text = texts[dice.below(texts.len())];
            match dice.below(12) {
                0 => both(made[dice.below(made.len())], text),
                1 => {
                    let path = made[dice.below(made.len())];
                    [&short, &long]
                        .iter()
                        .filter(|space| space.has(path))
                        .for_each(|space| space.remove(path));
                }
                2 => both("src/b3", text),
                3 if short.has("src/b3") => [&short, &long].iter().for_each(|space| space.remove("src/b3")),
                _ => both(files[dice.below(files.len())], text),
            }
        }
        if dice.below(12) == 0 {
            std::thread::sleep(Duration::from_millis(2_300));
        }
        for name in [".iact/still", ".iact/reach", ".iact/graph"] {
            let _ = std::fs::remove_dir_all(long.path(name));
        }
        let goal = ["all", "all", "all", "both"][dice.below(4)];
        // Of what runs beside a failure chance would decide.
        let runs = [&short, &long].map(|space| {
            let iact = space.iact(["build", "-k", "-vv", "--json", goal]);
            iact.env("TRAIL", space.base().join("trail.log")).run()
        });
        reached += usize::from(runs[0].err.contains("what moved reaches"));
        assert_eq!(runs[0].code, runs[1].code, "step {step}\n{}\n{}", runs[0], runs[1]);
        assert_eq!(runs[0].outcomes(), runs[1].outcomes(), "step {step}\n{}\n{}", runs[0], runs[1]);
        for path in made {
            let read = |space: &Space| std::fs::read(space.path(path)).ok();
            assert!(runs[0].code != Some(0) || read(&short) == read(&long), "step {step}: {path}");
        }
    }
    assert!(reached > 20, "the short way was taken {reached} times");
}
