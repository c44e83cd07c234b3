//! Crowds: builds, sweeps and kills, all at once, in one workspace and in several checkouts of one cache. No wrong output, no
//! lost entry, nobody waits for ever, who waits says for whom, and in one workspace one builds at a time.

use crate::dice::Dice;
use crate::project::{IACTFILE, assert_right_at, assert_sound};
use crate::sizes::{Tries, tries};
use crate::space::{Run, Space, Started, has_program, skipped, until};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A command that notices another one with the same file open, and holds it until it and all it started have ended.
fn alone(file: &str) -> String {
    format!("exec 9>>{file}; flock -n 9 || echo overlap >> @LOG@")
}

/// The project, whose first command notices another one of its checkout at the same time.
fn crowded() -> Space {
    let alone = alone("../busy-$(basename $PWD)");
    Space::new(&IACTFILE.replace("cp in out/base", &format!("{alone}; cp in out/base")))
}

/// What came of a crowd.
#[derive(Default)]
struct Met {
    builds: AtomicUsize,
    kills: AtomicUsize,
    /// What was built to the end.
    contents: Mutex<BTreeSet<String>>,
}

/// Kills it in one of four cases, if it does not end before; how it ended if nobody did.
fn run_or_kill(started: Started, within_ms: usize, dice: &mut Dice, met: &Met) -> Option<Run> {
    if dice.one_in(4) {
        std::thread::sleep(Duration::from_micros(dice.below(within_ms * 1000) as u64));
        started.signal(Signal::KILL);
    }
    let run = started.wait();
    if run.signal == Some(Signal::KILL.as_raw()) {
        met.kills.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    met.builds.fetch_add(1, Ordering::Relaxed);
    let began = run.events.iter().filter(|event| event["event"] == "started");
    let mut targets: Vec<&str> = began.filter_map(|event| event["target"].as_str()).collect();
    let all = targets.len();
    targets.sort_unstable();
    targets.dedup();
    assert_eq!(targets.len(), all, "an action at most once: {run}");
    Some(run)
}

/// One member of the crowd: builds in its own checkout, which nobody else edits.
fn builder(space: &Space, seed: u64, until: Instant, met: &Met) {
    let mut dice = Dice::new(seed);
    while Instant::now() < until {
        let content = format!("{}\n", dice.below(6));
        space.write("in", &content);
        if dice.one_in(3) {
            space.wait_for_the_dead();
            space.remove("out");
        }
        let started = space.iact(["build", "--json", "all"]).limit(120).start();
        let Some(run) = run_or_kill(started, 100, &mut dice, met) else { continue };
        let run = run.expect_code(0);
        assert_right_at(&space.ws, &content, &format!("seed {seed}: {run}"));
        met.contents.lock().unwrap().insert(content);
    }
}

/// Sweeps until it is over.
fn sweeps(space: &Space, limit: &str, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        space.iact(["cache", "gc", "--max-size", limit]).limit(120).run().expect_code(0);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Eight checkouts of one cache, and sweeps with this limit.
fn crowd_beside_sweeps(mut tries: Tries, limit: &str) {
    if !has_program("flock") {
        return skipped("no flock");
    }
    let until = Instant::now() + Duration::from_secs(tries.count as u64);
    let space = crowded();
    space.write("in", "0\n");
    let checkouts: Vec<Space> = (0..8).map(|number| space.checkout(&format!("ws{number}"))).collect();
    let (met, over) = (Met::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let members: Vec<_> = checkouts
            .iter()
            .zip(tries.seed..)
            .map(|(checkout, seed)| {
                let met = &met;
                scope.spawn(move || builder(checkout, seed, until, met))
            })
            .collect();
        let sweeper = scope.spawn(|| sweeps(&space, limit, &over));
        let ends: Vec<_> = members.into_iter().map(|member| member.join()).collect();
        over.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(|end| end.expect("no member of the crowd fails"));
        sweeper.join().expect("no sweep fails");
    });
    assert_sound(&space, "after the crowd");
    assert_eq!(space.trail(), [""; 0], "nobody builds beside another in one workspace");
    if limit == UNLIMITED {
        for content in met.contents.into_inner().unwrap() {
            let after = space.checkout("after");
            after.write("in", &content);
            let run = after.build(&["all"]);
            assert_eq!(run.kinds(), ["cached"], "seed {}: {content:?} was lost: {run}", tries.seed);
            crate::space::remove(&after.ws);
        }
    }
    let (builds, kills) = (met.builds.into_inner(), met.kills.into_inner());
    eprintln!("{builds} builds and {kills} kills");
    assert!(builds > 0 && kills > 0, "{builds} builds and {kills} kills");
    tries.done = builds + kills;
    tries.held();
}

const UNLIMITED: &str = "1GiB";

#[test]
fn a_crowd_with_kills_and_sweeps_breaks_nothing() {
    crowd_beside_sweeps(tries("crowd", 8), "400KiB");
}

#[test]
fn a_crowd_with_kills_beside_sweeps_without_need_loses_no_entry() {
    crowd_beside_sweeps(tries("entries", 6), UNLIMITED);
}

#[test]
fn a_crowd_in_one_workspace_builds_one_at_a_time_and_each_action_once() {
    if !has_program("flock") {
        return skipped("no flock");
    }
    let mut tries = tries("queue", 6);
    let until = Instant::now() + Duration::from_secs(tries.count as u64);
    let space = Space::new(&format!(
        "[target.t]\ninputs = ['in']\noutputs = ['o']\nrun = '{}; echo ran >> @LOG@; sleep 0.03; cp in o'\n",
        alone("@BASE@/busy")
    ));
    space.write("in", "0");
    let begin = || space.iact(["build", "--json", "t"]).limit(120).start();
    let (met, over, waited, named) =
        (Met::default(), AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    // Some come while others wait and others leave or die.
    std::thread::scope(|scope| {
        let members: Vec<_> = (0..8)
            .map(|member| {
                let (space, begin, seed) = (&space, &begin, tries.seed + member);
                let (met, waited, named) = (&met, &waited, &named);
                scope.spawn(move || {
                    let mut dice = Dice::new(seed);
                    while Instant::now() < until {
                        space.write("in", format!("{member} {}", dice.next()));
                        let Some(run) = run_or_kill(begin(), 500, &mut dice, met) else { continue };
                        let said = run.said();
                        waited.fetch_add(usize::from(said.contains("waiting: ")), Ordering::Relaxed);
                        named.fetch_add(usize::from(said.contains("(process ")), Ordering::Relaxed);
                        // Others write the input meanwhile: who looks just then says so, and runs nothing.
                        if !run.out.contains("changes while it is being read") {
                            run.expect_code(0);
                        }
                    }
                })
            })
            .collect();
        let sweeper = scope.spawn(|| sweeps(&space, "1KiB", &over));
        let ends: Vec<_> = members.into_iter().map(|member| member.join()).collect();
        over.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(|end| end.expect("no member of the crowd fails"));
        sweeper.join().expect("no sweep fails");
    });
    let (builds, kills) = (met.builds.into_inner(), met.kills.into_inner());
    let ran = space.trail();
    assert!(ran.iter().all(|line| line == "ran") && ran.len() <= builds + kills, "{ran:?}");
    assert!(kills > 0, "nobody was killed");
    let (waited, named) = (waited.into_inner(), named.into_inner());
    eprintln!("queue: {builds} builds and {kills} kills; {waited} waited, {named} said for whom");
    // Who has just come, or was just killed, has not left its number yet.
    assert!(waited > 0 && named * 10 >= waited * 8, "{waited} waited, {named} said for whom");
    // All at once for the same thing: it is done once.
    for round in 0..4 {
        space.write("in", format!("{round}"));
        let crowd: Vec<_> = (0..8).map(|_| begin()).collect();
        for started in crowd {
            started.wait().expect_code(0);
        }
        assert_eq!(space.trail(), ["ran"], "seed {}: once", tries.seed);
        assert_eq!(space.read("o"), format!("{round}"));
    }
    assert_sound(&space, "after the crowd");
    tries.done = builds + kills + 32;
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

/// What has its name is found by a sweep, whether the disk has it yet or not.
#[test]
fn a_sweep_waits_for_nobody_who_has_only_to_flush() {
    if !cfg!(feature = "chaos") {
        return skipped("built without the feature `chaos`");
    }
    let space = Space::new("[target.t]\ninputs = ['in']\noutputs = ['o']\nrun = 'cp in o'\n");
    space.write("in", "1\n");
    let stopped = space.iact(["build", "t"]).env("IACT_CHAOS_STOP", "publish.done").start();
    let stat = format!("/proc/{}/stat", stopped.pid().as_raw_pid());
    until("it is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    space.iact(["cache", "gc", "--max-size", "1GiB"]).limit(15).run().expect_code(0);
    stopped.signal(Signal::CONT);
    stopped.wait().expect_code(0);
    space.remove("o");
    assert_eq!(space.build(&["t"]).kinds(), ["cached"]);
}
