//! `retry`, and `memory`.

use crate::space::{Space, mark, until};
use rustix::process::Signal;
use std::time::Duration;

#[test]
fn a_failed_command_runs_again_as_often_as_it_is_worth() {
    let rows = [
        ("attempts = 3", "test $n -ge 3", 0, 3),
        ("attempts = 3", "exit 5", 1, 3),
        ("attempts = 1", "exit 5", 1, 1),
        ("attempts = 5", "exit 0", 0, 1),
        ("attempts = 3, on_exit = [75]", "exit 5", 1, 1),
        ("attempts = 3, on_exit = [75]", "exit 75", 1, 3),
        ("attempts = 3, on_exit = [75]", "if [ $n = 1 ]; then exit 75; fi; exit 6", 1, 2),
        ("attempts = 2", "kill -KILL $$", 1, 2),
    ];
    for (retry, script, code, times) in rows {
        let space = Space::new(&format!(
            "[target.t]\nretry = {{ {retry}, delay = '10ms' }}\nrun = 'echo x >> @LOG@; n=$(grep -c x @LOG@); {script}'\n"
        ));
        let run = space.try_build(&["t"]).expect_code(code);
        assert_eq!(space.trail().len(), times, "{retry} {script}: {run}");
        assert_eq!(run.warnings().len(), times - 1, "{retry} {script}: {run}");
        assert_eq!(run.events.iter().filter(|event| event["event"] == "started").count(), 1);
    }
}

#[test]
fn every_attempt_starts_afresh_and_only_a_success_is_kept() {
    let space = Space::new(
        "[target.t]\ninputs = []\noutputs = ['o']\nretry = { attempts = 3, delay = '10ms' }\n\
         run = 'test ! -e o; echo x >> @LOG@; echo > o; n=$(grep -c x @LOG@); echo attempt $n; test $n -ge 2'\n",
    );
    space.build(&["t"]);
    assert_eq!(space.trail().len(), 2);
    let log = space.iact(["log", "t"]).run();
    assert!(log.out.contains("attempt 2") && !log.out.contains("attempt 1"), "{log}");
    assert_eq!(space.outcome("t"), "up_to_date");
    space.remove("o");
    assert_eq!(space.outcome("t"), "cached");
}

#[test]
fn a_timeout_counts_for_each_attempt() {
    let space = Space::new(&format!(
        "[target.t]\ntimeout = '150ms'\nretry = {{ attempts = 2, delay = '10ms' }}\nrun = 'echo x >> @LOG@; sleep {}'\n",
        mark()
    ));
    space.try_build(&["t"]).expect_code(124);
    assert_eq!(space.trail().len(), 2);
}

#[test]
fn a_signal_ends_the_pause() {
    let space =
        Space::new("[target.t]\nretry = { attempts = 3, delay = '1h' }\nrun = 'echo x >> @LOG@; exit 1'\n");
    let started = space.iact(["build", "--json", "t"]).start();
    until("it waits", || started.out().contains("again in"));
    started.signal(Signal::INT);
    let run = started.wait();
    assert!(run.took < Duration::from_secs(20) && run.signal == Some(2), "{run}");
    assert_eq!(run.outcomes()["t"], "cancelled");
    assert_eq!(space.trail().len(), 1);
}

#[test]
fn what_needs_all_memory_runs_alone_of_its_kind() {
    let hungry = |name: &str| {
        format!(
            "[target.{name}]\nmemory = '900TiB'\nrun = 'mkdir @BASE@/alone; sleep 0.2; rmdir @BASE@/alone; echo {name} >> @LOG@'\n"
        )
    };
    let space = Space::new(&format!(
        "{}{}[target.all]\ndeps = ['a', 'b', 'c']\n[target.c]\nrun = 'echo c >> @LOG@'\n",
        hungry("a"),
        hungry("b")
    ));
    let run = space.build(&["-j4", "all"]);
    assert_eq!(run.kinds(), ["executed"], "{run}");
    assert_eq!(space.trail_sorted(), ["a", "b", "c"]);
}
