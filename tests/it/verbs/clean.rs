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
    let outside = space.base().join("outside");
    std::fs::create_dir(&outside).unwrap();
    for name in ["a", "b", "file"] {
        std::fs::write(outside.join(name), "precious").unwrap();
    }
    space.remove("made");
    symlink(&outside, space.path("made")).unwrap();
    space.remove("out");
    symlink(&outside, space.path("out")).unwrap();
    assert_eq!(
        out(&space, &["clean"]),
        "removed made\n",
        "the link itself, and nothing behind the other one"
    );
    assert!(space.has("out") && std::fs::read_dir(&outside).unwrap().count() == 3);
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
    assert!(space.has("made/mine") && space.has("out/b") && run.err.contains("left alone"), "{run}");
    let space = built();
    space.iactfile(&format!("{}[target.c]\ninputs = [\"out/*\"]\nrun = \"true\"\n", without_b()));
    assert_eq!(out(&space, &["clean"]), "removed out/a\n");
    assert!(space.has("out/b"));
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
