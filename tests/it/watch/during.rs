//! What happens while a watched workspace is being built: saves that make an action obsolete, an interrupt, a refusal.

use super::{Watching, now};
use crate::space::{Space, left_over, mark, until};
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

/// A target that is slow while its first input says so.
pub(super) fn slow(mark: &str) -> Space {
    let space = Space::new(&format!(
        r#"
[workspace]
default = ["slow", "other"]
[target.slow]
inputs  = ["a.txt"]
outputs = ["o"]
run     = "echo slow >> @LOG@; if grep -q slow a.txt; then touch @BASE@/sleeps; sleep {mark} & sleep {mark}; fi; cp a.txt o"
[target.other]
inputs  = ["b.txt"]
outputs = ["p"]
run     = "echo other >> @LOG@; sleep 1; cp b.txt p"
"#
    ));
    space.write("a.txt", "quick\n");
    space.write("b.txt", "1\n");
    space
}

#[test]
fn a_change_during_a_build_ends_what_it_made_obsolete_and_builds_once_more() {
    let mark = mark();
    let space = slow(&mark);
    let watching = Watching::of(&space, &["-j2"]);
    space.trail();
    // Both are saved before it looks: what moves during a build does not end an action of the next.
    watching.started.signal(Signal::STOP);
    space.write("b.txt", "2\n");
    space.write("a.txt", "slow\n");
    watching.started.signal(Signal::CONT);
    // It has read what it reads.
    until("both run", || space.trail_so_far().len() == 2 && space.base().join("sleeps").exists());
    let before = watching.runs();
    space.write("a.txt", "quick again\n");
    until("it is built", || now(&space, "o") == "quick again\n");
    assert!(left_over(&mark).is_empty(), "the old tree is gone");
    watching.settle();
    assert_eq!(watching.runs(), before + 1, "{}", watching.started.out());
    let mut trail = space.trail();
    trail.sort();
    assert_eq!(trail, ["other", "slow", "slow"], "what is not obsolete ends by itself");
    let out = watching.started.out();
    assert_eq!(out.matches("\"outcome\":\"cancelled\"").count(), 1, "{out}");
    watching.expect_fresh("change during a build");
    watching.end();
}

#[test]
fn with_finish_an_obsolete_action_ends_by_itself() {
    let space = Space::new(
        "[workspace]\ndefault = [\"t\"]\n[target.t]\ninputs = [\"a.txt\"]\noutputs = [\"o\"]\nrun = \"echo t >> @LOG@; cp a.txt kept; sleep 0.7; mv kept o; echo end >> @LOG@\"\n",
    );
    space.write("a.txt", "1\n");
    let watching = Watching::of(&space, &["--finish"]);
    space.trail();
    space.write("a.txt", "2\n");
    until("it runs", || watching.count("started") >= 2);
    std::thread::sleep(Duration::from_millis(100));
    space.write("a.txt", "3\n");
    until("it is built", || now(&space, "o") == "3\n");
    watching.settle();
    assert_eq!(
        (space.trail(), watching.runs()),
        (vec!["t".into(), "end".into(), "t".into(), "end".into()], 3)
    );
    watching.expect_fresh("--finish");
    watching.end();
}

#[test]
fn an_interrupt_ends_the_watch_at_rest_and_in_a_build_and_leaves_nothing() {
    let mark = mark();
    let space = slow(&mark);
    let watching = Watching::of(&space, &[]);
    space.write("a.txt", "slow\n");
    until("it runs", || watching.count("started") >= 3);
    std::thread::sleep(Duration::from_millis(50));
    let run = watching.end();
    assert!(left_over(&mark).is_empty(), "{run}");
    space.write("a.txt", "quick\n");
    let watching = Watching::of(&space, &[]);
    let pid = watching.started.pid();
    let began = Instant::now();
    watching.end();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists());
}

#[test]
fn a_header_that_the_first_build_discovered_is_watched_and_so_are_its_outputs() {
    let space = Space::new(
        "[workspace]\ndefault = [\"t\"]\n[target.t]\ninputs = [\"a.txt\"]\noutputs = [\"o\"]\ndepfile = \"d\"\nrun = \"cat a.txt far/x.h > o; echo 'o: far/x.h' > d\"\n",
    );
    space.write("a.txt", "a\n");
    space.write("far/x.h", "1\n");
    std::thread::sleep(Duration::from_millis(20));
    let watching = Watching::of(&space, &[]);
    assert_eq!(now(&space, "o"), "a\n1\n");
    space.write("far/x.h", "2\n");
    until("it is built", || now(&space, "o") == "a\n2\n");
    watching.settle();
    // Repaired with the next build, though nothing of it stood there when the watch began.
    space.write("o", "spoilt\n");
    watching.settle();
    space.write("far/x.h", "3\n");
    until("it is built again", || now(&space, "o") == "a\n3\n");
    watching.expect_fresh("a discovered header");
    watching.end();
}

#[test]
fn a_refusal_is_said_once_until_it_is_another_one() {
    let space = Space::new(
        "[workspace]\ndefault = ['x']\n[target.x]\ninputs = ['a.txt', 'b.txt']\nrequires = [{ file = 'need' }]\nrun = 'true'\n",
    );
    let started = space.iact(["watch", "--json"]).limit(120).start();
    let watching = Watching { space: &space, started };
    for (said, comes) in [("`need`", "need"), ("`a.txt`", "a.txt"), ("`b.txt`", "b.txt")] {
        until("it is said", || watching.started.err().contains(said));
        std::thread::sleep(Duration::from_millis(1500));
        let errors = watching.started.err();
        assert_eq!(
            errors.lines().filter(|line| line.starts_with("error:") && line.contains(said)).count(),
            1,
            "{errors}"
        );
        space.write(comes, "there\n");
    }
    watching.settle();
    watching.expect_fresh("nothing is refused any more");
    watching.end();
}
