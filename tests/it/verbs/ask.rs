//! Questions: list, show, graph, log, check, why, completions.

use super::{chain, each, json, out};
use crate::space::{Space, snapshot};
use std::process::{Command, Stdio};

#[test]
fn questions_write_nothing_and_run_nothing() {
    let (built, fresh) = (chain(), chain());
    built.build(&["all"]);
    built.write("a.txt", "2\n");
    built.trail();
    for space in [&built, &fresh] {
        let before = (snapshot(&space.ws), snapshot(&space.cache));
        for args in [
            &["list"][..],
            &["list", "--json"],
            &["show", "b"],
            &["show", "b", "--json"],
            &["graph"],
            &["graph", "b", "--format", "mermaid"],
            &["status"],
            &["why", "all"],
            &["why", "b", "--json"],
            &["check"],
            &["log", "b"],
            &["cache", "du"],
            &["cache", "ls"],
            &["cache", "verify"],
            &["clean", "-n"],
            &["complete", "--", "build", ""],
            &["completions", "fish"],
            &["schema"],
            &["man"],
        ] {
            let run = space.iact(args).run();
            assert!(matches!(run.code, Some(0 | 1 | 3)), "{args:?}: {run}");
            assert_eq!((snapshot(&space.ws), snapshot(&space.cache)), before, "{args:?}");
        }
        assert_eq!(space.trail(), [""; 0]);
    }
    assert!(!fresh.cache.exists());
}

#[test]
fn a_list_has_groups_descriptions_and_other_names() {
    let space = chain();
    assert_eq!(out(&space, &["list"]), "a      Make a [also first]\n\nlater\n  b\n  all\n");
    let all = json(&space, &["list", "--json"], 0);
    assert_eq!(each(&all, "target"), ["a", "b", "all"]);
    assert_eq!(all[0]["aliases"][0], "first");
    assert_eq!(each(&json(&space, &["list", "--json", "--tag", "ci"], 0), "target"), ["a"]);
    let run = space.iact(["list", "--tag", "cj"]).run().expect_code(2);
    assert!(run.err.contains("`ci`"), "{run}");
}

#[test]
fn a_bare_iact_builds_what_is_default_and_else_lists() {
    let space = chain();
    assert_eq!(out(&space, &[]), out(&space, &["list"]));
    space.iact(["build"]).run().expect_code(2);
    space.iactfile(&format!("[workspace]\ndefault = [\"all\"]\n{}", super::CHAIN));
    space.iact([""; 0]).run().expect_code(0);
    assert_eq!(space.trail(), ["a", "b"]);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let space = Space::bare();
    let targets =
        (0..3000).map(|n| format!("[target.t{n}]\ndescription = \"fills a pipe\"\nrun = \"true\"\n"));
    space.iactfile(&targets.collect::<String>());
    let mut list = space.program(crate::space::IACT);
    let mut list = list.arg("list").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let head = Command::new("head").arg("-1").stdin(list.stdout.take().unwrap()).output().unwrap();
    let ended = list.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&head.stdout).lines().count(), 1);
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn show_tells_what_is_declared_found_and_done_and_no_value_of_a_variable() {
    let space = chain();
    let before = json(&space, &["show", "a", "--json"], 0);
    assert!(before["instances"][0]["last_run"].is_null());
    space.build(&["a"]);
    let run = space.iact(["show", "first", "--json"]).env("FLAG", "hidden value").run().expect_code(0);
    assert!(!run.out.contains("hidden value"), "{run}");
    let shown: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((&shown["target"], &shown["declared_at"]), (&"a".into(), &"Iactfile.toml:2".into()));
    let instance = &shown["instances"][0];
    assert_eq!(instance["input_files"], serde_json::json!(["a.txt", "src/x", "src/y"]));
    assert_eq!(instance["last_run"]["fingerprint"].as_str().map(str::len), Some(64));
    let parts = instance["fingerprint_parts"].as_array().unwrap();
    assert!(
        parts.iter().any(|part| part["part"] == "env" && part["name"] == "FLAG" && part["value"] == "set")
    );
    let run = space.iact(["show", "nothing"]).run().expect_code(2);
    assert!(run.err.contains("`nothing` is not a target"), "{run}");
}

#[test]
fn show_tells_a_target_whose_tool_is_missing() {
    let space = Space::new("[target.t]\ninputs = []\ntools = [\"no-such-tool\"]\nrun = \"no-such-tool\"\n");
    let text = out(&space, &["show", "t"]);
    assert!(text.contains("not on PATH"), "{text}");
}

#[test]
fn a_graph_is_drawn_for_goals_or_for_everything() {
    let space = chain();
    space.iactfile(&format!("{}[target.alone]\nafter = [\"a\"]\nrun = \"true\"\n", super::CHAIN));
    let all = json(&space, &["graph", "--format", "json"], 0);
    assert_eq!(all["nodes"].as_array().unwrap().len(), 4);
    let some = json(&space, &["graph", "--format", "json", "b"], 0);
    assert_eq!(each(&some["nodes"], "name"), ["a", "b"]);
    assert_eq!(some["edges"], serde_json::json!([{"from": "b", "to": "a", "kind": "dep"}]));
    let dot = out(&space, &["graph"]);
    assert!(dot.contains("\"alone\" -> \"a\" [style = dashed]"), "{dot}");
}

#[test]
fn a_log_is_replayed_stream_by_stream_from_the_workspace_or_the_cache() {
    let space = chain();
    let run = space.iact(["log", "a"]).run().expect_code(1);
    assert!(run.err.contains("no log") && run.out.is_empty(), "{run}");
    space.build(&["all"]);
    for gone in ["", ".iact/log", ".iact"] {
        if !gone.is_empty() {
            space.remove(gone);
        }
        let run = space.iact(["log", "a"]).run().expect_code(0);
        assert_eq!((run.out.as_str(), run.err.as_str()), ("said\n", "shouted\n"), "without {gone:?}");
    }
    assert!(!space.has(".iact"));
}

#[test]
fn a_failure_has_a_log_too_and_a_group_those_of_its_members() {
    let space = Space::new(
        "[target.bad]\nrun = \"echo why; exit 3\"\n[target.good]\ninputs = []\nrun = \"echo fine\"\n\
         [target.all]\ndeps = [\"bad\", \"good\"]\n",
    );
    space.try_build(&["all", "-k"]).expect_code(1);
    let run = space.iact(["log", "all"]).run().expect_code(0);
    assert_eq!(run.out, "why\nfine\n");
    assert!(run.err.contains("bad:") && run.err.contains("good:"), "{run}");
}

#[test]
fn check_finds_what_a_build_of_anything_would_refuse() {
    let space = chain();
    assert_eq!(out(&space, &["check"]), "no mistakes in 3 targets\n");
    for (more, place, said) in [
        ("[target.c]\ndeps = [\"bb\"]\n", 20, "`bb`"),
        ("[target.c]\nrun = \"{{ nope }}\"\n", 20, "nope"),
        ("[target.c]\nrun = \"{{ nope\"\n", 20, ""),
        ("[target.c]\nfor_each = \"none/*\"\nrun = \"{{ nope }} {{ file }}\"\n", 21, "nope"),
        ("[target.c]\ninputs = [\"no-such\"]\nrun = \"true\"\n", 20, "no-such"),
        ("[target.c]\ninputs = [\"src/*\"]\noutputs = [\"src/z\"]\nrun = \"true\"\n", 20, "src/z"),
        ("[target.c]\nrnu = \"true\"\n", 20, "run"),
        ("[target.c]\nrun = \"true\"\n[workspace]\ndefault = [\"d\"]\n", 22, "`d`"),
    ] {
        space.iactfile(&format!("{}{more}", super::CHAIN));
        let run = space.iact(["check"]).run().expect_code(2);
        assert!(
            run.err.contains(&format!("Iactfile.toml:{place}:")) && run.err.contains(said),
            "{more}: {run}"
        );
        let told = json(&space, &["check", "--json"], 2);
        assert_eq!((&told["ok"], &told["mistakes"][0]["line"]), (&false.into(), &place.into()), "{more}");
    }
}

#[test]
fn why_names_everything_that_moved_and_the_root_cause_first() {
    let space = chain();
    let run = out(&space, &["why", "b"]);
    assert!(run.contains("b would run: first build"), "{run}");
    space.build(&["all"]);
    assert_eq!(out(&space, &["why", "a"]).lines().next(), Some("a is up to date"));
    space.write("a.txt", "2\n");
    space.write("src/z", "");
    space.remove("src/y");
    space.remove("out/a");
    let run = space.iact(["why", "all"]).env("FLAG", "secret").run().expect_code(0);
    assert!(!run.out.contains("secret"), "{run}");
    let of = |text: &str| run.out.find(text).unwrap_or_else(|| panic!("no `{text}` in {run}"));
    assert!(of("a would run: input changed: a.txt") < of("b would run: dependency changed: out/a of a"));
    for moved in ["~ input a.txt", "+ input src/z", "- input src/y", "~ environment FLAG", "- output out/a"] {
        of(moved);
    }
    let told = json(&space, &["why", "b", "--json"], 0);
    assert_eq!(told[0]["causes"][0]["target"], "a");
    assert_eq!(told[0]["causes"][0]["difference"]["inputs"].as_array().unwrap().len(), 3);
    assert_eq!(space.trail(), ["a", "b"], "of the build before the questions");
}

#[test]
fn why_goes_through_groups_to_the_cause() {
    let space = chain();
    space.iactfile(
        &super::CHAIN
            .replace("deps = [\"a\"]", "deps = [\"both\"]")
            .replace("[target.all]", "[target.both]\ndeps = [\"a\"]\n[target.all]"),
    );
    space.build(&["b"]);
    space.write("a.txt", "2\n");
    let told = json(&space, &["why", "b", "--json"], 0);
    assert_eq!(told[0]["reason"]["target"], "a");
    assert_eq!(told[0]["causes"][0]["reason"]["path"], "a.txt");
}

#[test]
fn a_dependency_to_be_restored_to_something_else_makes_its_dependents_stale() {
    let space = chain();
    space.build(&["b"]);
    space.write("a.txt", "2\n");
    space.build(&["b"]);
    space.write("a.txt", "1\n");
    let rows = json(&space, &["status", "b", "--json"], 3);
    let decisions: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| row["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["restore", "run"]);
    let planned = |args: &[&str]| {
        let run = space.iact([&["build", "-n", "--json", "b"], args].concat()).run().expect_code(0);
        run.events.iter().filter_map(|event| Some(event["decision"].as_str()?.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(planned(&[]), decisions);
    assert_eq!(planned(&["--no-cache"]), ["run", "run"]);
    space.trail();
    space.build(&["b"]);
    assert_eq!(space.trail(), [""; 0], "both came from the cache");
}

#[test]
fn why_against_a_summary_tells_whether_and_where_fingerprints_differ() {
    let space = chain();
    space.build(&["b", "--summary", "../summary.json"]);
    let relation = |target: &str| {
        let told = json(&space, &["why", target, "--against", "../summary.json", "--json"], 0);
        (told[0]["relation"].clone(), told[0]["first_different"].clone())
    };
    assert_eq!(relation("b"), ("same".into(), serde_json::Value::Null));
    space.write("a.txt", "2\n");
    assert_eq!(relation("a"), ("different".into(), "a".into()));
    assert_eq!(relation("b"), ("unknown".into(), "a".into()));
    space.build(&["b"]);
    assert_eq!(relation("b"), ("different".into(), "a".into()));
    let text = out(&space, &["why", "b", "--against", "../summary.json"]);
    assert!(text.contains("the first to differ is a"), "{text}");
    space.write("x.json", "[]");
    space.iact(["why", "b", "--against", "x.json"]).run().expect_code(2);
}

#[test]
fn completions_offer_names_with_their_descriptions_and_survive_a_broken_iactfile() {
    let space = chain();
    let text = out(&space, &["complete", "--", "build", ""]);
    assert!(
        text.lines().any(|line| line == "a\tMake a") && text.lines().any(|line| line == "first\tMake a"),
        "{text}"
    );
    space.write("Iactfile.toml", "[target.\n");
    assert_eq!(out(&space, &["complete", "--", "build", ""]), "");
    assert!(out(&space, &["complete", "--", "li"]).starts_with("list\t"));
}

#[test]
fn twice_verbose_tells_decisions_look_ups_and_processes_and_no_flag_tells_nothing() {
    let space = chain();
    let run = space.iact(["build", "a", "-vv"]).run().expect_code(0);
    for told in ["decided", "looked up", "starting", "ended"] {
        assert!(run.err.contains(told), "{told}: {run}");
    }
    space.write("a.txt", "2\n");
    let run = space.iact(["build", "a"]).env("RUST_LOG", "debug").run().expect_code(0);
    assert!(!run.err.contains("DEBUG"), "{run}");
}

#[test]
fn an_answer_that_cannot_be_written_is_a_failure_and_one_that_nobody_reads_is_none() {
    let space = chain();
    for words in [
        "list",
        "list --json",
        "status",
        "why a",
        "show a",
        "graph",
        "-n a",
        "schema",
        "man",
        "--version",
        "--help",
    ] {
        let below = |script: &str| {
            let words: Vec<&str> = words.split(' ').collect();
            space.iact(&words).below(&["bash", "-c", script, "bash"]).run()
        };
        let full = below("exec \"$@\" > /dev/full").expect_code(1);
        assert!(full.err.contains("error: cannot write the answer: No space left"), "{words}: {full}");
        let unread =
            below("set -o pipefail; \"$@\" | true; exit $(( ${PIPESTATUS[0]} == 1 ))").expect_code(0);
        assert_eq!(unread.err, "", "{words}");
    }
}

#[test]
fn a_target_that_always_runs_has_no_fingerprint() {
    let space = Space::new("[target.t]\nrun = \"true\"\n");
    space.build(&["t"]);
    let shown = json(&space, &["show", "t", "--json"], 0);
    assert!(shown["instances"][0]["last_run"]["fingerprint"].is_null(), "{shown}");
    for words in [&["show", "t"], &["why", "t"]] {
        assert!(!out(&space, words).contains("0000"), "{words:?}");
    }
}

#[test]
fn a_current_folder_that_is_gone_is_named_so() {
    let space = chain();
    let gone = "mkdir gone; cd gone; rmdir \"$PWD\"; exec \"$@\"";
    let run = space.iact(["list"]).below(&["bash", "-c", gone, "bash"]).run().expect_code(2);
    assert!(run.err.contains("the current folder is gone"), "{run}");
    let elsewhere = space.ws.to_str().unwrap();
    space.iact(["list", "-C", elsewhere]).below(&["bash", "-c", gone, "bash"]).run().expect_code(0);
}
