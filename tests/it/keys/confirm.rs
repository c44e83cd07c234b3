//! `confirm`: a person or a flag says yes before anything runs.

use super::terminal::on_terminal;
use crate::space::Space;

const DEPLOY: &str = "[target.first]\nrun = 'echo first >> @LOG@'\n\
    [target.d]\ndeps = ['first']\nconfirm = 'Deploy to {{ where }}?'\nvars = { where = 'production' }\nrun = 'echo d >> @LOG@'\n";

#[test]
fn without_a_terminal_only_a_flag_says_yes() {
    let space = Space::new(DEPLOY);
    for (args, code) in [
        (&["d"][..], 4),
        (&["d", "--approve", "first"], 4),
        (&["d", "--approve", "nobody"], 2),
        (&["d", "--yes"], 0),
        (&["d", "--approve", "d"], 0),
    ] {
        let run = space.try_build(args).expect_code(code);
        let expected: &[&str] = if code == 0 { &["first", "d"] } else { &[] };
        assert_eq!(space.trail(), expected, "{args:?}: {run}");
        if code == 4 {
            assert!(run.err.contains("Deploy to production?") && run.err.contains("--approve d"), "{run}");
        }
    }
    let lines: Vec<serde_json::Value> =
        space.read(".iact/confirmed").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let how: Vec<&str> = lines.iter().map(|line| line["how"].as_str().unwrap()).collect();
    assert_eq!(how, ["--yes", "--approve"]);
    assert!(lines.iter().all(|line| line["target"] == "d" && line["question"] == "Deploy to production?"));
    assert!(
        lines[0]["who"].as_str().unwrap().contains("tester") && lines[0]["unix_ms"].as_u64().unwrap() > 0
    );
}

#[test]
fn on_a_terminal_a_person_is_asked() {
    for (typed, code, ran) in [("y\n", 0, true), ("yes\n", 0, true), ("n\n", 4, false), ("\n", 4, false)] {
        let space = Space::new(DEPLOY);
        let (seen, ended) = on_terminal(&space, "build d", "[y/N]", typed);
        assert!(seen.contains("d: Deploy to production? [y/N]"), "{seen}");
        assert_eq!(ended, code, "{typed:?}: {seen}");
        assert_eq!(space.trail().len(), if ran { 2 } else { 0 }, "{typed:?}: {seen}");
        assert_eq!(space.has(".iact/confirmed"), ran);
    }
}

#[test]
fn nobody_is_asked_about_what_does_not_run() {
    let space = Space::new(
        "[target.d]\nconfirm = 'Sure?'\ninputs = []\noutputs = ['o']\nrun = 'echo d >> @LOG@; echo > o'\n",
    );
    space.iact(["build", "-n", "d"]).run().expect_code(0);
    space.build(&["d", "--yes"]);
    assert_eq!(space.build(&["d"]).outcomes()["d"], "up_to_date");
    space.remove("o");
    assert_eq!(space.build(&["d"]).outcomes()["d"], "cached");
    space.try_build(&["d", "--force"]).expect_code(4);
    assert_eq!(space.trail(), ["d"]);
    assert_eq!(space.read(".iact/confirmed").lines().count(), 1);
}

#[test]
fn a_cleanup_is_confirmed_beforehand() {
    let space = Space::new(
        "[target.t]\nrun = 'echo t >> @LOG@; exit 1'\non_failure = ['undo']\n[target.undo]\nconfirm = 'Undo?'\nrun = 'echo undo >> @LOG@'\n",
    );
    space.try_build(&["t"]).expect_code(4);
    assert_eq!(space.trail(), Vec::<String>::new());
    space.try_build(&["t", "--approve", "undo"]).expect_code(1);
    assert_eq!(space.trail(), ["t", "undo"]);
}

const EXPORTER: &str = "[target.v]\ninputs = ['i']\nexports = ['v']\nrun = 'echo v=$(cat i) > $IACT_EXPORTS'\n\
    [target.u]\ndeps = ['v']\ninputs = []\nconfirm = 'Sure?'\nrun = \"echo {{ exports('v').v }} >> @LOG@\"\n\
    [target.w]\ndeps = ['v']\ninputs = []\nconfirm = 'Sure?'\nrun = 'echo w >> @LOG@'\n";

const MAYBE: &str = "[target.v]\nwhen = { exists = 'flag' }\ninputs = ['i']\noutputs = ['o']\nrun = 'cp i o'\n\
    [target.u]\ndeps = ['v']\ninputs = []\nconfirm = 'Sure?'\nrun = 'echo u >> @LOG@'\n";

#[test]
fn what_runs_for_a_value_or_a_skip_is_foretold_and_asked_about_before_anything_starts() {
    type Change = fn(&Space);
    let rows: [(&str, Change, &str, Option<&str>); 5] = [
        (EXPORTER, |_| {}, "u", None),
        (EXPORTER, |space| drop(space.write("i", "2")), "u", Some("2")),
        (EXPORTER, |space| drop(space.write("i", "2")), "w", None),
        (MAYBE, |_| {}, "u", None),
        (MAYBE, |space| space.remove("flag"), "u", Some("u")),
    ];
    for (iactfile, change, goal, runs) in rows {
        let space = Space::new(iactfile);
        space.write("i", "1");
        space.write("flag", "");
        space.build(&[goal, "--yes"]);
        change(&space);
        space.trail();
        let run = space.iact(["build", "-n", "-v", "--json", goal]).run().expect_code(0);
        let planned = run.events.iter().find(|event| event["target"] == goal).unwrap();
        assert_eq!(planned["decision"] == "run", runs.is_some(), "{run}");
        space.iact(["why", goal]).run().expect_code(0);
        space.try_build(&[goal]).expect_code(if runs.is_some() { 4 } else { 0 });
        assert!(space.trail().is_empty());
        space.build(&[goal, "--yes"]);
        assert_eq!(space.trail(), runs.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_flag_says_yes_to_what_was_not_foretold_and_that_is_noted() {
    let space = Space::new(
        "[target.d]\nconfirm = 'Sure?'\ninputs = []\noutputs = ['o']\nrun = 'echo d >> @LOG@; echo made > o'\n",
    );
    space.build(&["d", "--yes"]);
    for (flags, code) in [(&["--yes"][..], 0), (&["--approve", "d"], 0), (&[], 1)] {
        space.remove("o");
        for file in space.cache_files().iter().filter(|file| file.to_string_lossy().contains("/cas/")) {
            crate::space::overwrite(file, b"X");
        }
        space.trail();
        let noted = || space.read(".iact/confirmed").lines().count();
        let before = noted();
        let run = space.try_build(&[&["d"], flags].concat()).expect_code(code);
        assert_eq!((space.trail().len(), noted() - before), if code == 0 { (1, 1) } else { (0, 0) }, "{run}");
        assert!(code == 0 || run.said().contains("it was not confirmed"), "{run}");
    }
}
