//! `on_failure` and `finally`.

use crate::space::{Space, mark, until};
use rustix::process::Signal;

const CLEANUPS: &str = "[target.undo]\nrun = 'echo undo $IACT_EXIT_CODE >> @LOG@'\n[target.report]\nrun = 'echo report ${IACT_EXIT_CODE-} >> @LOG@'\n";

fn space(run: &str, more: &str) -> Space {
    Space::new(&format!("[target.t]\n{run}\non_failure = ['undo']\nfinally = ['report']\n{CLEANUPS}{more}"))
}

#[test]
fn they_run_after_what_happened_and_are_told_the_exit_code() {
    let rows: [(&str, i32, &[&str]); 7] = [
        ("run = 'exit 9'", 1, &["undo 9", "report 9"]),
        ("run = 'true'", 0, &["report 0"]),
        ("timeout = '100ms'\nrun = 'sleep 60'", 124, &["undo 124", "report 124"]),
        ("run = 'kill -KILL $$'", 1, &["undo 1", "report 1"]),
        ("severity = 'warn'\nrun = 'exit 9'", 0, &["undo 9", "report 9"]),
        ("check = 'false'\nrun = 'true'", 1, &["undo 1", "report 1"]),
        ("when = { exists = 'no' }\nrun = 'true'", 0, &[]),
    ];
    for (run, code, ran) in rows {
        let space = space(run, "");
        let run = space.try_build(&["t"]).expect_code(code);
        assert_eq!(space.trail(), ran, "{run}");
        assert_eq!(run.outcomes().len(), 3, "each action of the plan has its outcome: {run}");
        assert_eq!(run.events[0]["actions"], 3);
    }
}

#[test]
fn what_was_not_started_has_nothing_to_clean_up() {
    let space = space(
        "inputs = []\nrun = 'echo t >> @LOG@'",
        "[target.bad]\nrun = 'exit 1'\n[target.late]\ndeps = ['bad']\nrun = 'true'\nfinally = ['report']\non_failure = ['undo']\n",
    );
    space.build(&["t"]);
    assert_eq!(space.trail(), ["t", "report 0"]);
    let run = space.build(&["t"]);
    assert_eq!(run.outcomes()["report"], "skipped", "up to date: {run}");
    space.remove(".iact");
    assert_eq!(space.build(&["t"]).outcomes()["t"], "cached");
    space.try_build(&["late"]).expect_code(1);
    assert_eq!(space.trail(), Vec::<String>::new());
}

#[test]
fn they_survive_the_failure_that_stops_the_run_and_their_own_failure_fails_it() {
    let space = space("run = 'true'", "[target.other]\nafter = ['t']\nrun = 'echo other >> @LOG@'\n");
    space.iactfile(&format!(
        "[target.t]\nrun = 'exit 2'\non_failure = ['undo']\nfinally = ['broken', 'report']\n\
         [target.broken]\nrun = 'echo broken >> @LOG@; exit 5'\n[target.other]\nafter = ['t']\nrun = 'echo other >> @LOG@'\n{CLEANUPS}"
    ));
    let run = space.try_build(&["-j1", "t", "other"]).expect_code(1);
    assert_eq!(run.outcomes()["other"], "cancelled", "{run}");
    let mut trail = space.trail();
    assert_eq!(trail.remove(0), "undo 2");
    trail.sort();
    assert_eq!(trail, ["broken", "report 2"]);
    space.iactfile(&format!(
        "[target.t]\nrun = 'true'\nfinally = ['broken']\n[target.broken]\nrun = 'exit 5'\n{CLEANUPS}"
    ));
    let run = space.try_build(&["t"]).expect_code(1);
    assert_eq!(
        (run.with("executed"), run.with("failed")),
        (vec!["t".into()], vec!["broken".into()]),
        "{run}"
    );
}

#[test]
fn they_are_ordinary_targets_with_dependencies_and_cleanups_of_their_own() {
    let space = Space::new(
        "[target.t]\ndeps = ['shared']\nrun = 'echo t >> @LOG@; exit 1'\non_failure = ['undo']\n\
         [target.undo]\ndeps = ['tool', 'shared']\nrun = 'echo undo >> @LOG@'\nfinally = ['after']\n\
         [target.tool]\nrun = 'echo tool >> @LOG@'\n[target.shared]\nrun = 'echo shared >> @LOG@'\n[target.after]\nrun = 'echo after >> @LOG@'\n",
    );
    space.try_build(&["t"]).expect_code(1);
    assert_eq!(space.trail(), ["shared", "t", "tool", "undo", "after"]);
    space.iactfile("[target.t]\nrun = 'true'\non_failure = ['undo']\n[target.undo]\ndeps = ['tool']\nrun = 'echo undo >> @LOG@'\n[target.tool]\nrun = 'echo tool >> @LOG@'\n");
    let run = space.build(&["t"]);
    assert_eq!(run.with("skipped"), ["tool", "undo"], "{run}");
    assert_eq!(space.trail(), Vec::<String>::new());
}

#[test]
fn a_group_has_cleanups_and_two_owners_share_one() {
    let space = Space::new(&format!(
        "[target.a]\nrun = 'sleep 0.2; echo a >> @LOG@'\n[target.b]\nrun = 'exit 4'\n[target.ci]\ndeps = ['a', 'b']\nfinally = ['report']\n{CLEANUPS}"
    ));
    space.try_build(&["-k", "-j2", "ci"]).expect_code(1);
    assert_eq!(space.trail(), ["a", "report 4"]);
    space.iactfile(&format!(
        "[target.a]\nrun = 'echo a >> @LOG@'\nfinally = ['report']\n[target.b]\nrun = 'sleep 0.2; echo b >> @LOG@'\nfinally = ['report']\n{CLEANUPS}"
    ));
    space.build(&["-j2", "a", "b"]);
    assert_eq!(space.trail(), ["a", "b", "report 0"]);
}

#[test]
fn a_cleanup_that_is_a_goal_runs_anyway() {
    let space = space("inputs = []\nrun = 'echo t >> @LOG@'", "");
    space.build(&["t", "report"]);
    space.build(&["report", "t"]);
    assert_eq!(space.trail(), ["t", "report 0", "report"]);
}

#[test]
fn they_are_told_what_was_exported_even_before_a_failure() {
    let space = Space::new(
        "[target.t]\nexports = ['color', 'id']\nrun = 'echo color=green > $IACT_EXPORTS; exit 1'\non_failure = ['undo']\n\
         [target.undo]\nrun = 'echo undo $color ${id-none} >> @LOG@'\n",
    );
    space.try_build(&["t"]).expect_code(1);
    assert_eq!(space.trail(), ["undo green none"]);
}

#[test]
fn one_that_is_called_for_really_runs_each_time_whatever_its_inputs() {
    let space = Space::new(
        "[target.deploy]\nrun = 'echo new > live; exit 1'\non_failure = ['undo']\nfinally = ['report']\n\
         [target.undo]\ninputs = ['good']\nrun = 'echo undo >> @LOG@; cp good live'\n\
         [target.report]\ninputs = []\noutputs = ['report']\nrun = 'echo report >> @LOG@; cp $IACT_SUMMARY report'\n",
    );
    space.write("good", "good");
    for forgotten in [false, false, true] {
        if forgotten {
            space.remove(".iact");
        }
        let run = space.try_build(&["deploy"]).expect_code(1);
        assert_eq!(space.trail(), ["undo", "report"], "{run}");
        assert_eq!((space.read("live").as_str(), run.reason("undo").as_str()), ("good", "always"), "{run}");
        assert!(space.read("report").contains("\"deploy\""), "{run}");
        space.remove("report");
    }
    space.iact(["status", "deploy"]).run().expect_code(0);
    let run = space.iact(["build", "-n", "--json", "deploy"]).run().expect_code(0);
    let planned = run.events.iter().find(|event| event["target"] == "report").unwrap();
    assert_eq!(
        (planned["decision"].as_str(), planned["reason"]["kind"].as_str()),
        (Some("run"), Some("always"))
    );
    // As a goal it is a target like any other, and nothing of what it did as a cleanup counts.
    for outcome in ["executed", "up_to_date"] {
        assert_eq!(space.build(&["undo"]).outcomes()["undo"], outcome);
    }
}

#[test]
fn what_a_cleanup_declares_is_stronger_than_what_it_is_told() {
    for (declared, sees) in [
        ("", "PATH=/nope V=z"),
        ("env = { PATH = '/usr/bin:/bin', V = 'own' }", "PATH=/usr/bin:/bin V=own"),
        ("pass_env = ['V']", "PATH=/nope V=caller"),
        ("untracked_env = ['V']", "PATH=/nope V=caller"),
        ("secrets = ['V']", "PATH=/nope V=***"),
    ] {
        let space = Space::new(&format!(
            "[target.a]\nexports = ['PATH', 'V']\nrun = 'echo PATH=/nope > $IACT_EXPORTS; echo V=z >> $IACT_EXPORTS'\nfinally = ['c']\n\
             [target.b]\ndeps = ['a']\nexports = ['V']\nrun = 'echo V=a > $IACT_EXPORTS'\nfinally = ['c']\n\
             [target.c]\nshell = ['/bin/sh', '-c']\n{declared}\nrun = 'echo PATH=$PATH V=$V'\n"
        ));
        let run = space.iact(["build", "--json", "b"]).env("V", "caller").run().expect_code(0);
        assert_eq!(run.output("c", "stdout").trim(), sees, "{declared}: {run}");
    }
}

#[test]
fn an_interrupted_target_is_cleaned_up_after() {
    let space = space(&format!("run = 'touch @BASE@/begun; sleep {}'", mark()), "");
    let started = space.iact(["build", "--json", "t"]).start();
    until("it has begun", || space.base().join("begun").exists());
    started.signal_group(Signal::INT);
    let run = started.wait();
    assert_eq!(run.signal, Some(2), "{run}");
    assert_eq!(space.trail(), ["undo 130", "report 130"], "{run}");
    assert_eq!(run.outcomes()["t"], "cancelled");
}

#[test]
fn a_cleanup_outlives_the_first_signal_and_not_the_second() {
    let slow = "[target.undo]\nrun = 'touch @BASE@/begun; until test -e @BASE@/go; do sleep 0.02; done; echo undo >> @LOG@'\n";
    let iactfile = format!(
        "[target.t]\nrun = 'exit 1'\non_failure = ['undo']\nfinally = ['report']\n{slow}[target.report]\nrun = 'echo report >> @LOG@'\n"
    );
    for signals in [1, 2] {
        let space = Space::new(&iactfile);
        let started = space.iact(["build", "--json", "t"]).start();
        until("the cleanup has begun", || space.base().join("begun").exists());
        started.signal(Signal::INT);
        std::thread::sleep(std::time::Duration::from_millis(300));
        if signals == 2 {
            started.signal(Signal::INT);
        } else {
            space.write("../go", "");
        }
        let run = started.wait();
        assert_eq!(run.signal, Some(2), "{run}");
        let expected: &[&str] = if signals == 1 { &["undo", "report"] } else { &[] };
        assert_eq!(space.trail(), expected, "{run}");
    }
}

#[test]
fn a_cleanup_its_owner_depends_on_is_a_cycle() {
    let space =
        Space::new("[target.t]\ndeps = ['c']\nrun = 'true'\nfinally = ['c']\n[target.c]\nrun = 'true'\n");
    let run = space.try_build(&["t"]).expect_code(2);
    assert!(run.err.contains("cycle"), "{run}");
}

#[test]
fn a_dry_run_tells_of_them() {
    let space = space("run = 'true'", "");
    let run = space.iact(["build", "-n", "--json", "t"]).run().expect_code(0);
    let planned: Vec<(&str, &str)> = run
        .events
        .iter()
        .filter(|event| event["event"] == "planned")
        .map(|event| (event["target"].as_str().unwrap(), event["decision"].as_str().unwrap()))
        .collect();
    assert_eq!(planned, [("t", "run"), ("undo", "skip"), ("report", "run")]);
}

#[test]
fn a_cleanup_may_use_the_services_of_its_owner_even_after_an_interrupt() {
    let space = Space::new(&format!(
        "[service.s]\nrun = 'touch @BASE@/up; trap \"rm @BASE@/up; exit\" TERM; while :; do sleep 0.02; done'\nready = {{ run = 'test -e @BASE@/up' }}\n\
         [target.t]\nservices = ['s']\nrun = 'touch @BASE@/begun; sleep {}'\nfinally = ['c']\n\
         [target.c]\nservices = ['s']\nrun = 'test -e @BASE@/up; echo c >> @LOG@'\n",
        mark()
    ));
    let started = space.iact(["build", "--json", "t"]).start();
    until("it has begun", || space.base().join("begun").exists());
    started.signal(Signal::INT);
    let run = started.wait();
    assert_eq!((space.trail(), run.signal), (vec!["c".into()], Some(2)), "{run}");
    assert!(!space.base().join("up").exists(), "the service has ended");
}

#[test]
fn they_are_told_how_everything_ended_so_far() {
    let space = Space::new(
        "[target.fine]\ninputs = []\nrun = 'true'\n[target.bad]\ndeps = ['fine']\nrun = 'exit 3'\n\
         [target.all]\ndeps = ['fine', 'bad']\nfinally = ['report']\n\
         [target.report]\nrun = 'cp $IACT_SUMMARY @BASE@/told.json'\n",
    );
    space.try_build(&["all"]).expect_code(1);
    let text = std::fs::read(space.base().join("told.json")).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let rows = told["targets"].as_array().unwrap().iter();
    let mut ends: Vec<(&str, &str)> =
        rows.map(|row| (row["target"].as_str().unwrap(), row["outcome"].as_str().unwrap())).collect();
    ends.sort_unstable();
    assert_eq!(ends, [("bad", "failed"), ("fine", "executed")]);
    assert_eq!((told["schema"].as_u64(), told["failed"].as_u64()), (Some(1), Some(1)));
}
