//! kill -9 at random times and at every point where it could hurt, in builds, restores and sweeps: nothing corrupt is ever
//! restored, no lock stays, the next build is right, and nothing is left lying about.

use crate::dice::Dice;
use crate::project::{assert_no_litter, assert_right, assert_sound, project};
use crate::sizes::tries;
use crate::space::{Space, skipped};
use rustix::process::Signal;
use std::time::Duration;

/// What is being done when it is killed.
#[derive(Clone, Copy, Debug)]
enum Doing {
    Build,
    Restore,
    Sweep,
}

impl Doing {
    const ALL: [Self; 3] = [Self::Build, Self::Restore, Self::Sweep];

    /// Makes the project such that there is something to be done; its content from then on.
    fn prepare(self, space: &Space, fresh: usize, old: &str) -> String {
        match self {
            Self::Build => {
                let content = format!("{fresh}\n");
                space.write("in", &content);
                content
            }
            Self::Restore => {
                space.build(&["all"]);
                space.remove("out");
                old.to_owned()
            }
            Self::Sweep => old.to_owned(),
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Build | Self::Restore => &["build", "all", "-q"],
            Self::Sweep => &["cache", "gc", "--max-size", "8KiB"],
        }
    }
}

/// What has to be true after any death.
fn recovers(space: &Space, content: &str, case: &str) {
    assert_sound(space, case);
    let run = space.iact(["build", "--json", "all"]).limit(120).run().expect_code(0);
    assert_right(space, content, case);
    assert!(!run.said().contains("waiting: another"), "{case}: a lock stayed: {run}");
    let again = space.build(&["all"]);
    assert_eq!(again.kinds(), ["up_to_date"], "{case}: {again}");
}

/// A build that stores, one that restores: litter of the dead goes with them.
fn comes_clean(space: &Space, case: &str) {
    space.write("in", format!("clean {case}\n"));
    space.build(&["all"]);
    space.remove("out");
    let run = space.build(&["all"]);
    assert_eq!(run.kinds(), ["cached"], "{case}: {run}");
    assert_no_litter(space, case);
}

#[test]
fn killed_at_any_time_it_recovers() {
    let mut tries = tries("kill", 240);
    let (workers, seed) = (3, tries.seed);
    let each = tries.count.div_ceil(workers);
    std::thread::scope(|scope| {
        let handles: Vec<_> =
            (0..workers as u64).map(|worker| scope.spawn(move || deaths(each, seed + worker))).collect();
        for handle in handles {
            tries.done += handle.join().expect("every death is survived");
        }
    });
    tries.held();
}

fn deaths(count: usize, seed: u64) -> usize {
    let mut dice = Dice::new(seed);
    let mut content = "0\n".to_owned();
    let space = project(&content);
    space.build(&["all"]);
    // How long it takes when nobody kills it, as of the last time it was not.
    let mut takes_us = 60_000;
    for number in 0..count {
        let doing = *dice.pick(&Doing::ALL);
        content = doing.prepare(&space, number + 1, &content);
        let case = format!("seed {seed}, {number}: {doing:?}");
        let started = space.iact(doing.arguments()).start();
        std::thread::sleep(Duration::from_micros(dice.below(takes_us) as u64));
        started.signal(Signal::KILL);
        let run = started.wait();
        if run.signal.is_none() {
            takes_us = (run.took.as_micros() as usize).clamp(10_000, 500_000);
        }
        recovers(&space, &content, &case);
        if number % 30 == 29 {
            comes_clean(&space, &case);
            content = format!("clean {case}\n");
        }
    }
    count
}

/// Where the program can be told to die (`cache/src/chaos.rs`), and in what.
const POINTS: [(&str, Doing); 14] = [
    ("publish.written", Doing::Build),
    ("publish.flushed", Doing::Build),
    ("publish.blob", Doing::Build),
    ("publish.result", Doing::Build),
    ("publish.done", Doing::Build),
    ("step.ran", Doing::Build),
    ("journal.cut", Doing::Build),
    ("journal.written", Doing::Build),
    ("run.settled", Doing::Build),
    ("restore.staged", Doing::Restore),
    ("restore.op", Doing::Restore),
    ("restore.applied", Doing::Restore),
    ("sweep.entry", Doing::Sweep),
    ("sweep.removed", Doing::Sweep),
];

#[test]
fn killed_at_every_point_it_recovers() {
    if !cfg!(feature = "chaos") {
        return skipped("built without the feature `chaos`");
    }
    let mut tries = tries("points", 60);
    let space = project("0\n");
    let mut content = "0\n".to_owned();
    let (mut reached, mut number) = (0, 0);
    while tries.done < tries.count {
        let (point, doing) = POINTS[number % POINTS.len()];
        let passing = 1 + number / POINTS.len() % 8;
        number += 1;
        if matches!(doing, Doing::Sweep) {
            space.build(&["all"]);
        }
        content = doing.prepare(&space, 1000 + number, &content);
        let case = format!("{point}:{passing}");
        let run = space.iact(doing.arguments()).env("IACT_CHAOS_KILL", &case).run();
        reached += usize::from(run.signal == Some(Signal::KILL.as_raw()));
        assert!(passing > 1 || run.signal.is_some(), "{case} was not passed: {run}");
        recovers(&space, &content, &case);
        tries.done += 1;
    }
    assert!(reached >= POINTS.len(), "{reached}");
    comes_clean(&space, "all points");
    tries.held();
}
