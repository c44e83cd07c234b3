//! Programs and what they say of themselves, as a part of the fingerprint.

use crate::space::{Space, is_root, set_mode, skipped};
use std::os::unix::fs::symlink;

fn with_tool(iactfile: &str) -> (Space, String) {
    let space = Space::new(iactfile);
    let folder = space.base().join("bin");
    std::fs::create_dir(&folder).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    (space, path)
}

fn put(space: &Space, name: &str, says: &str) {
    let path = space.base().join(name);
    std::fs::write(&path, format!("#!/bin/sh\necho {says}\n")).unwrap();
    set_mode(&path, 0o755);
}

#[test]
fn the_content_of_a_tool_counts_and_its_place_does_not() {
    let (space, path) = with_tool(
        "[target.t]\ninputs = []\noutputs = ['o']\ntools = ['mytool']\nrun = 'mytool > o; echo t >> @LOG@'\n",
    );
    let build = |path: &str| space.iact(["build", "--json", "t"]).env("PATH", path).run();
    let missing = build(&path).expect_code(4);
    assert!(missing.err.contains("`mytool`") && missing.err.contains("Iactfile.toml:4:"), "{missing}");
    assert!(!space.has(".iact") || space.trail().is_empty());
    put(&space, "bin/mytool", "1");
    assert_eq!(build(&path).expect_code(0).kinds(), ["executed"]);
    put(&space, "bin/mytool", "2");
    let run = build(&path).expect_code(0);
    assert_eq!((run.reason("t").as_str(), space.read("o").as_str()), ("tool_changed mytool", "2\n"));
    put(&space, "bin/mytool", "1");
    assert_eq!(build(&path).expect_code(0).kinds(), ["cached"]);
    // The same program at the end of a link in another folder.
    std::fs::create_dir(space.base().join("bin2")).unwrap();
    std::fs::rename(space.base().join("bin/mytool"), space.base().join("bin2/real")).unwrap();
    symlink("../bin2/real", space.base().join("bin/mytool")).unwrap();
    space.trail();
    build(&path).expect_code(0);
    assert!(space.trail().is_empty(), "where the program lies makes no difference");
    // Another one earlier on PATH.
    std::fs::create_dir(space.base().join("first")).unwrap();
    put(&space, "first/mytool", "3");
    let earlier = format!("{}:{path}", space.base().join("first").display());
    let run = build(&earlier).expect_code(0);
    assert_eq!((run.reason("t").as_str(), space.read("o").as_str()), ("tool_changed mytool", "3\n"), "{run}");
}

#[test]
fn tools_of_one_text_in_two_folders_are_two_programs() {
    let target = "[target.t]\ninputs = []\noutputs = ['o']\ntools = ['./gen']\nrun = './gen > o'\n";
    let space = Space::new(&format!("[workspace]\ninclude = ['b']\n{target}deps = ['b:t']\n"));
    space.iactfile_in("b", target);
    for (own, other) in [("1", "1"), ("1", "2"), ("3", "2"), ("2", "3")] {
        for (name, says) in [("gen", own), ("b/gen", other)] {
            space.write(name, format!("#!/bin/sh\necho {says}\n"));
            set_mode(&space.path(name), 0o755);
        }
        space.build(&["t"]);
        assert_eq!((space.read("o"), space.read("b/o")), (format!("{own}\n"), format!("{other}\n")));
    }
    space.remove("b/gen");
    let missing = space.try_build(&["t"]).expect_code(4);
    assert!(missing.err.contains("`b/gen`"), "{missing}");
}

#[test]
fn a_tool_that_is_replaced_while_it_is_used_makes_nothing_that_is_kept() {
    let (space, path) = with_tool(
        "[target.t]\ninputs = []\noutputs = ['o']\ntools = ['mytool']\nrun = 'mytool > o; test ! -e new || mv new @BASE@/bin/mytool'\n",
    );
    put(&space, "bin/mytool", "1");
    put(&space, "new", "2");
    std::fs::rename(space.base().join("new"), space.path("new")).unwrap();
    let build = || space.iact(["build", "--json", "t"]).env("PATH", &path).run().expect_code(0);
    let run = build();
    assert!(run.warnings().iter().any(|warning| warning.contains("mytool` changed")), "{run}");
    let run = build();
    assert_eq!((run.kinds(), space.read("o").as_str()), (vec!["executed".to_owned()], "2\n"), "{run}");
    assert_eq!(build().kinds(), ["up_to_date"]);
}

#[test]
fn a_tool_may_be_made_by_a_dependency_and_by_nobody_else() {
    let text = "[target.gen]\ninputs = ['seed']\noutputs = ['bin/gen']\nrun = 'cp seed bin/gen; chmod +x bin/gen'\n\
        [target.t]\ndeps = ['gen']\ninputs = []\noutputs = ['o']\ntools = ['./bin/gen']\nrun = './bin/gen > o'\n";
    let space = Space::new(text);
    for says in ["1", "2", "1"] {
        space.write("seed", format!("#!/bin/sh\necho {says}\n"));
        space.build(&["t"]);
        assert_eq!(space.read("o"), format!("{says}\n"));
        let again = space.build(&["t"]);
        assert_eq!(again.kinds(), ["up_to_date"], "{again}");
    }
    space.iactfile(&text.replace("deps = ['gen']\n", ""));
    let run = space.try_build(&["t"]).expect_code(2);
    assert!(run.err.contains("the tool `bin/gen` of `t` is made by `gen`"), "{run}");
}

#[test]
fn what_a_probe_prints_counts_and_its_failure_fails_the_target() {
    let space = Space::new(
        "[target.t]\ninputs = []\noutputs = ['o']\nprobes = ['cat @BASE@/version', 'echo noise >&2']\nrun = 'cp @BASE@/version o; echo t >> @LOG@'\n[target.child]\ndeps = ['t']\nrun = 'echo child >> @LOG@'\n",
    );
    let version = space.base().join("version");
    std::fs::write(&version, "1").unwrap();
    space.build(&["t"]);
    assert_eq!(space.outcome("t"), "up_to_date");
    std::fs::write(&version, "2").unwrap();
    let run = space.build(&["t"]);
    assert_eq!(run.reason("t"), "probe_changed cat {}/version".replace("{}", space.base().to_str().unwrap()));
    std::fs::write(&version, "1").unwrap();
    assert_eq!((space.outcome("t"), space.read("o")), ("cached".into(), "1".into()));
    std::fs::remove_file(&version).unwrap();
    space.trail();
    let run = space.try_build(&["child"]).expect_code(1);
    assert_eq!((run.with("failed"), run.with("skipped")), (vec!["t".into()], vec!["child".into()]), "{run}");
    assert!(run.said().contains("cat "), "the probe is named: {run}");
    assert!(space.trail().is_empty());
}

#[test]
fn a_missing_tool_takes_the_answer_from_whoever_needs_it_and_no_other() {
    let space = Space::new(
        "[target.all]\ndeps = ['a', 'b', 'c']\n[target.a]\ninputs = []\nrun = 'true'\n[target.b]\ninputs = []\ntools = ['no-such-1']\nrun = 'true'\n[target.c]\ninputs = []\ntools = ['no-such-2', 'no-such-1']\nrun = 'true'\n",
    );
    space.build(&["a"]);
    let status = space.iact(["status"]).run().expect_code(3);
    assert_eq!(
        status.out,
        "b  stale: the tool `no-such-1` is not on PATH\nc  stale: the tool `no-such-2` is not on PATH\n"
    );
    let why = space.iact(["why", "b"]).run().expect_code(0);
    assert!(why.out.contains("`no-such-1` is not on PATH"), "{why}");
    assert!(space.iact(["why", "a"]).run().expect_code(0).out.contains("up to date"));
    let dry = space.iact(["-n", "all"]).run().expect_code(0);
    assert!(dry.said().contains("`no-such-2` is not on PATH"), "{dry}");
    // A build starts nothing, and tells all that is missing at once.
    let build = space.try_build(&["all"]).expect_code(4);
    assert!(build.err.contains("`no-such-1` of `b`") && build.err.contains("`no-such-2` of `c`"), "{build}");
    assert!(!build.out.contains("started"), "{build}");
}

#[test]
fn all_of_what_a_probe_prints_counts() {
    let text = "[target.t]\ninputs = []\noutputs = ['o']\nrun = 'cat tail > o'\n\
                probes = ['head -c 3000000 /dev/zero; cat tail']\n";
    let space = Space::new(text);
    let other = space.checkout("other");
    other.iactfile(text);
    for (space, tail) in [(&space, "1"), (&space, "2"), (&other, "3"), (&other, "1")] {
        space.write("tail", tail);
        let run = space.build(&["t"]);
        assert_eq!(space.read("o"), tail, "{run}");
    }
}

#[test]
fn a_tool_that_may_be_run_and_not_read_is_an_error() {
    let (space, path) = with_tool(
        "[target.t]\ninputs = []\noutputs = ['o']\ntools = ['mytool']\nrun = 'mytool; echo t >> @LOG@; touch o'\n",
    );
    let tool = space.base().join("bin/mytool");
    std::fs::copy("/bin/true", &tool).unwrap();
    set_mode(&tool, 0o111);
    set_mode(space.base(), 0o755);
    let mut wrapper = vec!["env"];
    if is_root() {
        wrapper = vec!["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
        let given =
            std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(space.base()).status();
        let runs = space.iact(["--version"]).below(&wrapper).run().code == Some(0);
        if !given.is_ok_and(|status| status.success()) || !runs {
            return skipped("this program cannot be run as somebody else");
        }
    }
    let run = space.iact(["build", "--json", "t"]).env("PATH", &path).below(&wrapper).run().expect_code(1);
    assert!(run.said().contains("mytool") && run.said().contains("cannot be read"), "{run}");
    assert!(space.trail().is_empty(), "{run}");
    set_mode(&tool, 0o555);
    space.iact(["build", "--json", "t"]).env("PATH", &path).below(&wrapper).run().expect_code(0);
    assert_eq!(space.trail(), ["t"]);
}
