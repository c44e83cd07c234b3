//! Whole trees end, whatever they are made of.

use super::*;
use rustix::process::Signal;

/// Trees that print `ready` once they stand. `$0` is this script's shell.
const TREES: [(&str, &str); 8] = [
    ("plain", "echo ready; exec sleep 1000"),
    ("shell with children", "sleep 1000 & sleep 1001 & echo ready; wait"),
    ("pipeline", "echo ready; sleep 1000 | cat | cat"),
    ("traps and cleans up", "trap 'exit 0' TERM INT HUP QUIT; sleep 1000 & echo ready; wait"),
    ("ignores", "trap '' TERM INT HUP QUIT; sleep 1000 & echo ready; while :; do sleep 1000; done"),
    ("double fork", "(sh -c 'sleep 1000 & sleep 1001 &' &) ; echo ready; sleep 1000"),
    ("own session", "setsid sh -c 'sleep 1000 & echo ready; wait' & sleep 1000"),
    (
        "own sessions, orphaned and ignoring",
        "(setsid sh -c \"trap '' TERM INT HUP QUIT; setsid sleep 1000 & echo ready; sleep 1000\" &) ; sleep 1000",
    ),
];

#[test]
fn every_tree_ends_on_every_signal() {
    let children = Children::new(None);
    std::thread::scope(|scope| {
        for (name, script) in TREES {
            let children = &children;
            scope.spawn(move || {
                for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
                    let case = sh(script).grace_ms(250);
                    let stop = Stop::new().unwrap();
                    let begin = Instant::now();
                    let ended = children.run(&case.launch(), &stop, &mut |_, _| stop.end(signal));
                    assert!(matches!(ended.end, End::Cancelled), "{name}: {ended:?}");
                    assert!(!ended.left_running, "{name}: {ended:?}");
                    assert_eq!(case.alive(), Vec::<i32>::new(), "{name} on {signal:?}");
                    assert!(begin.elapsed() < Duration::from_secs(8), "{name}: {:?}", begin.elapsed());
                }
            });
        }
    });
}

#[test]
fn a_timeout_ends_the_tree_and_is_no_success() {
    for (name, script) in TREES {
        let case = sh(script).timeout_ms(150).grace_ms(100);
        let seen = case.run();
        assert!(
            matches!(seen.ended.end, End::TimedOut) && !seen.ended.left_running,
            "{name}: {:?}",
            seen.ended
        );
        assert!((140..2_500).contains(&seen.ended.duration_ms), "{name}: {:?}", seen.ended);
        assert_eq!(case.alive(), Vec::<i32>::new(), "{name}");
    }
}

#[test]
fn a_tree_that_ends_in_time_is_not_killed_and_gets_the_signal_once() {
    let stop = Stop::new().unwrap();
    let case = sh("n=0; trap 'n=$((n+1)); echo got $n' INT; echo ready; \
                   while [ $n -eq 0 ]; do sleep 0.02; done; sleep 0.3; echo cleaned $n; exit 0");
    let seen = case.run_and(&stop, &mut |_| stop.end(Signal::INT));
    assert!(matches!(seen.ended.end, End::Cancelled), "{:?}", seen.ended);
    assert_eq!(String::from_utf8_lossy(&seen.out), "ready\ngot 1\ncleaned 1\n");
}

#[test]
fn members_that_outlive_the_leader_have_the_grace_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cleaned");
    let stop = Stop::new().unwrap();
    let inner = format!(
        "trap 'sleep 0.4; echo x > {}; exit' TERM; echo ready; while :; do sleep 0.02; done",
        file.display()
    );
    let case = sh(&format!("sh -c \"{inner}\" & sleep 1000"));
    let seen = case.run_and(&stop, &mut |_| stop.end(Signal::TERM));
    assert!(matches!(seen.ended.end, End::Cancelled), "{:?}", seen.ended);
    assert!(file.exists() && case.alive().is_empty());
}

#[test]
fn a_second_stop_skips_the_grace() {
    let stop = Stop::new().unwrap();
    let case =
        sh("trap '' TERM; echo ready; trap 'echo got' INT; while :; do sleep 0.02; done").grace_ms(60_000);
    let begin = Instant::now();
    let seen = case
        .run_and(&stop, &mut |out| if out.ends_with("got\n") { stop.kill() } else { stop.end(Signal::INT) });
    assert!(matches!(seen.ended.end, End::Cancelled) && begin.elapsed() < Duration::from_secs(5));
    assert!(case.alive().is_empty());
}

#[test]
fn a_stopped_tree_ends_within_the_grace() {
    let case = sh("echo ready; kill -STOP $$; exit 0").timeout_ms(200).grace_ms(60_000);
    let seen = case.run();
    assert!(matches!(seen.ended.end, End::TimedOut) && seen.ended.duration_ms < 5_000, "{:?}", seen.ended);
}

#[test]
fn success_after_we_signalled_is_no_success() {
    let stop = Stop::new().unwrap();
    let seen = sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done")
        .run_and(&stop, &mut |_| stop.end(Signal::TERM));
    assert!(matches!(seen.ended.end, End::Cancelled), "{:?}", seen.ended);
}

#[test]
fn a_panic_while_output_is_taken_leaves_nothing_running() {
    let case = sh("echo ready; sleep 1000 & exec sleep 1001");
    let panicked =
        std::panic::catch_unwind(|| case.run_and(&Stop::new().unwrap(), &mut |_| panic!("as planned")));
    assert!(panicked.is_err());
    eventually("the command is gone", || case.alive().is_empty());
}

#[test]
fn orphans_leave_no_zombies() {
    let case = sh("(setsid sh -c 'echo $$; exec sleep 0.2 >/dev/null 2>&1' &); sleep 0.1");
    let mut orphan = String::new();
    let seen = case.run_and(&Stop::new().unwrap(), &mut |out| orphan = out.trim().to_owned());
    assert!(matches!(seen.ended.end, End::Exited(0)), "{:?}", seen.ended);
    eventually("the orphan is collected", || {
        collect_orphans();
        !Path::new("/proc").join(&orphan).exists()
    });
}
