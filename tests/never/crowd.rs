//! Crowds: builds, sweeps with a tiny limit and kills, all at once, in one workspace and in several checkouts of one cache. No
//! wrong output, no lost entry, nobody waits for ever, and in one workspace one builds at a time.

use crate::dice::Dice;
use crate::project::{IACTFILE, assert_right_at, assert_sound};
use crate::sizes::tries;
use crate::space::Space;
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The project, whose first command notices another one of its checkout at the same time.
fn crowded() -> Space {
    let alone = "mkdir ../busy-$(basename $PWD) || echo overlap >> @LOG@; cp in out/base; rmdir ../busy-$(basename $PWD)";
    Space::new(&IACTFILE.replace("cp in out/base", alone))
}

/// One member of the crowd: builds in its own checkout, which nobody else edits.
fn builder(space: &Space, seed: u64, until: Instant, kills: bool) -> usize {
    let mut dice = Dice::new(seed);
    let mut builds = 0;
    while Instant::now() < until {
        let content = format!("{}\n", dice.below(6));
        space.write("in", &content);
        if dice.one_in(3) {
            space.remove("out");
        }
        let started = space.iact(["build", "--json", "all"]).limit(120).start();
        if kills && dice.one_in(4) {
            std::thread::sleep(Duration::from_micros(dice.below(60_000) as u64));
            started.signal(Signal::KILL);
            started.wait();
            // Its commands die with it; whoever comes next may find a mark of theirs.
            std::thread::sleep(Duration::from_millis(50));
            let mark = format!("busy-{}", space.ws.file_name().unwrap().to_string_lossy());
            let _ = std::fs::remove_dir(space.base().join(mark));
            continue;
        }
        let run = started.wait().expect_code(0);
        assert_right_at(&space.ws, &content, &format!("seed {seed}, build {builds}: {run}"));
        builds += 1;
    }
    builds
}

#[test]
fn a_crowd_with_kills_and_sweeps_breaks_nothing() {
    let mut tries = tries("crowd", 8);
    let until = Instant::now() + Duration::from_secs(tries.count as u64);
    let space = crowded();
    space.write("in", "0\n");
    let checkouts: Vec<Space> = (0..6).map(|number| space.checkout(&format!("ws{number}"))).collect();
    let over = AtomicBool::new(false);
    let builds = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let members: Vec<_> = checkouts
            .iter()
            .zip(0_u64..)
            .map(|(checkout, number)| {
                let seed = tries.seed + number;
                scope.spawn(move || builder(checkout, seed, until, number % 2 == 0))
            })
            .collect();
        let sweeper = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let run = space.iact(["cache", "gc", "--max-size", "40KiB"]).limit(120).run();
                assert_eq!(run.code, Some(0), "{run}");
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let ends: Vec<_> = members.into_iter().map(|member| member.join()).collect();
        over.store(true, Ordering::Relaxed);
        for end in ends {
            builds.fetch_add(end.expect("no member of the crowd fails"), Ordering::Relaxed);
        }
        sweeper.join().expect("no sweep fails");
    });
    assert_sound(&space, "after the crowd");
    assert_eq!(space.trail(), [""; 0], "nobody builds beside another in one workspace");
    tries.done = builds.into_inner();
    assert!(tries.done > 0);
    tries.held();
}

#[test]
fn a_crowd_in_one_workspace_builds_one_at_a_time_and_each_action_once() {
    let mut tries = tries("queue", 6);
    let until = Instant::now() + Duration::from_secs(tries.count as u64);
    let space = Space::new(
        "[target.t]\ninputs = ['in']\noutputs = ['o']\n\
         run = 'mkdir @BASE@/busy || echo overlap >> @LOG@; echo ran >> @LOG@; sleep 0.01; cp in o; rmdir @BASE@/busy'\n",
    );
    space.write("in", "0");
    let begin = || space.iact(["build", "--json", "t"]).limit(120).start();
    let builds = AtomicUsize::new(0);
    // Some come while others wait and others leave.
    std::thread::scope(|scope| {
        for member in 0..6 {
            let (space, builds, begin) = (&space, &builds, &begin);
            scope.spawn(move || {
                while Instant::now() < until {
                    let build = builds.fetch_add(1, Ordering::Relaxed);
                    space.write("in", format!("{member} {build}"));
                    let run = begin().wait();
                    // Others write the input meanwhile: who looks just then says so, and runs nothing.
                    if !run.out.contains("changes while it is being read") {
                        run.expect_code(0);
                    }
                }
            });
        }
    });
    let ran = space.trail();
    assert!(ran.iter().all(|line| line == "ran") && ran.len() <= builds.load(Ordering::Relaxed), "{ran:?}");
    // All at once for the same thing: it is done once.
    for round in 0..4 {
        space.write("in", format!("{round}"));
        let crowd: Vec<_> = (0..6).map(|_| begin()).collect();
        for started in crowd {
            started.wait().expect_code(0);
        }
        assert_eq!(space.trail(), ["ran"], "seed {}: once", tries.seed);
        assert_eq!(space.read("o"), format!("{round}"));
    }
    tries.done = builds.into_inner() + 24;
    tries.held();
}

#[test]
fn who_stores_beside_a_sweep_loses_nothing() {
    let mut tries = tries("beside", 10);
    let space = Space::new(
        "[target.t]\ninputs = ['in']\noutputs = ['o']\nrun = 'mkdir o; for i in $(seq 300); do echo $i > o/$i; done; cp in o'\n",
    );
    let other = space.checkout("other");
    while tries.done < tries.count {
        for (at, space) in [(0, &space), (1, &other)] {
            space.write("in", format!("{} {at}\n", tries.done));
        }
        let both = [&space, &other].map(|space| space.iact(["build", "--json", "t"]).start());
        for number in 0..4 {
            std::thread::sleep(Duration::from_millis(5 + number * 10));
            space.iact(["cache", "gc", "--max-size", "1GiB"]).run().expect_code(0);
        }
        for started in both {
            let run = started.wait().expect_code(0);
            assert_eq!(run.warnings(), [""; 0], "everything is stored: {run}");
        }
        for space in [&space, &other] {
            space.remove("o");
            let run = space.build(&["t"]);
            assert_eq!(run.kinds(), ["cached"], "seed {}: {run}", tries.seed);
        }
        tries.done += 1;
    }
    tries.held();
}
