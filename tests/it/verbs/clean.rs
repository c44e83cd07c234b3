//! `clean` removes outputs, and nothing else.

use super::{chain, json, out};
use crate::space::{IACT, Space};
use std::os::unix::fs::symlink;

#[test]
fn clean_removes_the_outputs_of_targets_and_a_build_brings_them_back() {
    let space = chain();
    space.build(&["all"]);
    space.write("out/mine", "kept");
    assert_eq!(out(&space, &["clean", "-n", "b"]), "would remove made\nwould remove out/b\n");
    assert!(space.has("out/b"));
    assert_eq!(out(&space, &["clean", "all"]), "removed made\nremoved out/b\n", "a group is its members");
    assert!(space.has("out/a") && !space.has("made"));
    assert_eq!(json(&space, &["clean", "--json"], 0)["removed"], serde_json::json!(["out/a"]));
    assert!(space.has("out/mine") && space.has("a.txt") && space.has("src/x"));
    space.trail();
    assert_eq!(space.build(&["all"]).kinds(), ["cached"]);
    assert!(space.has("made/deep/file") && space.trail().is_empty());
}

#[test]
fn clean_never_follows_a_link() {
    let space = chain();
    space.build(&["all"]);
    for name in ["made", "out"] {
        let outside = space.base().join(name);
        std::fs::rename(space.path(name), &outside).unwrap();
        symlink(&outside, space.path(name)).unwrap();
    }
    assert_eq!(out(&space, &["clean"]), "", "all of it is as it was made, behind links");
    for path in ["made/deep/file", "out/a", "out/b"] {
        assert!(space.has(path), "{path}");
    }
}

#[test]
fn what_was_declared_once_goes_only_as_it_was_made_and_if_nobody_reads_it() {
    let without_b = || {
        let text = super::CHAIN;
        let (head, tail) = (text.find("[target.b]").unwrap(), text.find("[target.all]").unwrap());
        format!("{}{}", &text[..head], text[tail..].replace("[\"b\"]", "[\"a\"]"))
    };
    let built = || {
        let space = chain();
        space.build(&["all"]);
        space.iactfile(&without_b());
        space
    };
    let space = built();
    assert_eq!(out(&space, &["clean"]), "removed made\nremoved out/a\nremoved out/b\n");
    let space = built();
    space.write("made/mine", "kept");
    let run = space.iact(["clean"]).run().expect_code(0);
    assert!(space.has("made/mine") && !space.has("out/b"), "{run}");
    assert!(run.err.contains("left alone, since it is not what `b` made any more: made\n"), "{run}");
    let space = built();
    space.iactfile(&format!("{}[target.c]\ninputs = [\"out/*\"]\nrun = \"true\"\n", without_b()));
    assert_eq!(out(&space, &["clean"]), "removed made\nremoved out/a\n");
    assert!(space.has("out/b"));
}

#[test]
fn what_a_target_made_once_and_is_a_source_by_now_stays() {
    let once = "[target.t]\ninputs = []\noutputs = ['gen', 'tool.sh', 'cfg.h', 'sub']\n\
        run = 'mkdir gen sub; touch gen/x.c cfg.h; printf \"#!/bin/sh\\n\" > tool.sh; chmod +x tool.sh; printf \"[target.s]\\nrun = 1\\n\" | sed \"s/1/\\x27:\\x27/\" > sub/Iactfile.toml'\n";
    let users = [
        ("[target.use]\ninputs = ['gen/*.c']\nrun = 'true'\n", "gen"),
        ("[target.use]\ninputs = ['gen']\nrun = 'true'\n", "gen"),
        ("[target.use]\ninputs = ['gen/x.c']\nrun = 'true'\n", "gen"),
        ("[target.use]\ninputs = []\ntools = ['./tool.sh']\nrun = 'true'\n", "tool.sh"),
        (
            "[target.use]\ninputs = []\noutputs = ['o']\ndepfile = 'd'\nrun = 'touch o; echo o: cfg.h > d'\n",
            "cfg.h",
        ),
        ("[workspace]\ninclude = ['sub']\n[target.use]\nrun = 'true'\n", "sub"),
    ];
    for (user, stays) in users {
        let space = Space::new(once);
        space.build(&["t"]);
        space.iactfile(user);
        space.build(&["use"]);
        let run = space.iact(["clean"]).run().expect_code(0);
        for path in ["gen", "tool.sh", "cfg.h", "sub"] {
            assert_eq!(space.has(path), path == stays, "{path}, {user}: {run}");
        }
    }
}

#[test]
fn what_is_declared_goes_only_if_iact_made_it_and_nobody_changed_it_since() {
    type Change = fn(&Space);
    let rows: [(&str, Change, &str, &str); 7] = [
        ("as it was made", |_| {}, "made out/a out/b", ""),
        ("edited", |space| drop(space.write("out/a", "mine")), "made out/b", "what `a` made any more: out/a"),
        (
            "a stray",
            |space| drop(space.write("made/deep/x", "mine")),
            "out/a out/b",
            "what `b` made any more: made",
        ),
        (
            "a repository",
            |space| drop(space.write("made/.git/HEAD", "")),
            "out/a out/b",
            "what `b` made any more: made",
        ),
        ("its other output is gone", |space| space.remove("made"), "out/a out/b", ""),
        ("never built", |space| space.remove(".iact"), "", "nothing is remembered of how it was made: out/a"),
        (
            "renamed",
            |space| {
                space.iactfile(&super::CHAIN.replace("target.a]", "target.c]").replace("[\"a\"]", "[\"c\"]"))
            },
            "made out/a out/b",
            "",
        ),
    ];
    for (what, change, removed, left) in rows {
        let space = chain();
        space.build(&["all"]);
        change(&space);
        let said = |verb: &str| {
            removed.split_whitespace().map(|path| format!("{verb} {path}\n")).collect::<String>()
        };
        assert_eq!(out(&space, &["clean", "-n"]), said("would remove"), "{what}");
        let run = space.iact(["clean"]).run().expect_code(0);
        assert_eq!(run.out, said("removed"), "{what}: {run}");
        assert!(run.err.contains(left) && run.err.contains("left alone") != left.is_empty(), "{what}: {run}");
    }
}

#[test]
fn clean_refuses_names_that_nobody_has() {
    let space = Space::new("[target.t]\ninputs = []\noutputs = [\"o\"]\nrun = \"touch o\"\n");
    space.build(&["t"]);
    space.iact(["clean", "tt"]).run().expect_code(2);
    assert!(space.has("o"));
}

#[test]
fn clean_does_not_remove_what_a_build_is_at_work_on() {
    let space = Space::new(&format!(
        "[target.a]\ninputs = []\noutputs = ['o']\nrun = 'touch o'\n\
         [target.cleans]\ndeps = ['a']\nrun = '{IACT} clean a'\n\
         [target.looks]\ndeps = ['a']\nrun = '{IACT} clean -n a'\n"
    ));
    let run = space.try_build(&["cleans"]).expect_code(1);
    assert!(space.has("o") && run.said().contains("would wait for the other"), "{run}");
    let run = space.build(&["looks"]);
    assert!(run.said().contains("would remove o"), "{run}");
}
