//! `severity`: what a failure means for the run.

use crate::space::Space;

#[test]
fn a_harmless_failure_is_a_failure_that_stops_nobody() {
    for (severity, code, dependent) in
        [("error", 1, "skipped"), ("warn", 0, "executed"), ("info", 0, "executed")]
    {
        let space = Space::new(&format!(
            "[target.t]\nseverity = \"{severity}\"\nrun = 'exit 3'\n\
             [target.d]\ndeps = ['t']\nrun = 'echo d >> @LOG@'\n"
        ));
        let run = space.try_build(&["-k", "d"]).expect_code(code);
        assert_eq!(run.outcomes()["t"], "failed", "{severity}: {run}");
        assert_eq!(run.outcomes()["d"], dependent, "{severity}: {run}");
        assert_eq!(run.finished("t")["exit_code"], 3);
        let told = run.finished("t")["severity"].as_str().unwrap_or("error").to_owned();
        assert_eq!(told, severity);
        let ended = run.events.last().unwrap();
        assert_eq!((ended["ok"].as_bool(), ended["failed"].as_u64()), (Some(code == 0), Some(1)), "{run}");
    }
}

#[test]
fn a_harmless_failure_is_not_cached_and_its_dependents_results_are_not_either() {
    let space = Space::new(
        "[target.t]\nseverity = 'warn'\ninputs = []\noutputs = ['o']\nrun = 'echo t >> @LOG@; test -e @BASE@/fixed; echo 1 > o'\n\
         [target.d]\ninputs = []\noutputs = ['p']\ndeps = ['t']\nrun = 'echo d >> @LOG@; cat o > p || true'\n",
    );
    space.build(&["d"]);
    space.build(&["d"]);
    assert_eq!(space.trail(), ["t", "d", "t", "d"]);
    space.write("../fixed", "");
    space.build(&["d"]);
    assert_eq!((space.trail(), space.read("p")), (vec!["t".into(), "d".into()], "1\n".into()));
    assert_eq!(space.build(&["d"]).kinds(), ["up_to_date"]);
}

#[test]
fn a_harmless_failure_does_not_stop_what_has_nothing_to_do_with_it() {
    let space = Space::new(
        "[target.a]\nseverity = 'warn'\nrun = 'exit 1'\n[target.b]\nafter = ['a']\nrun = 'echo b >> @LOG@'\n\
         [target.slow]\nseverity = 'info'\ntimeout = '100ms'\nrun = 'sleep 60'\n[target.all]\ndeps = ['a', 'b', 'slow']\n",
    );
    let run = space.build(&["-j1", "all"]);
    assert_eq!(run.with("failed"), ["a", "slow"], "{run}");
    assert_eq!(space.trail(), ["b"]);
}

#[test]
fn people_are_told_which_failures_matter() {
    let space = Space::new("[target.t]\nseverity = 'warn'\nrun = 'exit 3'\n");
    let run = space.iact(["build", "t"]).run().expect_code(0);
    assert!(run.err.contains("warn: t failed (exit 3)"), "{run}");
    let run = space.iact(["build", "t"]).env("GITHUB_ACTIONS", "true").env("CI", "true").run().expect_code(0);
    assert!(run.out.contains("::warning") || run.err.contains("::warning"), "{run}");
    assert!(!run.out.contains("::error") && !run.err.contains("::error"), "{run}");
}
