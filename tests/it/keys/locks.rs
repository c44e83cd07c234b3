//! `lock`: one at a time, across processes and checkouts.

use crate::mounted::Mounted;
use crate::space::{IACT, Space, mark, skipped, until};
use rustix::process::Signal;

const LOCKED: &str = "[target.t]\nlock = 'prod'\nrun = 'echo in >> @LOG@; sleep 0.2; echo out >> @LOG@'\n";

#[test]
fn two_checkouts_and_two_targets_take_turns() {
    let space = Space::new(&format!(
        "{LOCKED}{}[target.all]\ndeps = ['t', 'u']\n",
        LOCKED.replace("target.t", "target.u")
    ));
    let other = space.checkout("other");
    let runs = [&space, &other].map(|space| space.iact(["build", "-j4", "all"]).start());
    for run in runs {
        run.wait().expect_code(0);
    }
    assert_eq!(space.trail(), ["in", "out"].repeat(4));
}

/// A run that holds the lock until the file `go` is there.
fn holder(space: &Space) -> crate::space::Started {
    let started = space.iact(["build", "--json", "hold"]).start();
    until("the lock is held", || space.base().join("held").exists());
    started
}

const HOLD: &str = "[target.hold]\nlock = 'prod'\nrun = 'touch @BASE@/held; until test -e @BASE@/go; do sleep 0.02; done; echo hold >> @LOG@'\n";

#[test]
fn who_waits_says_for_whom_and_holds_no_slot() {
    let space = Space::new(&format!(
        "{HOLD}{LOCKED}[target.beside]\nrun = 'echo beside >> @LOG@'\n[target.all]\ndeps = ['t', 'beside']\n"
    ));
    let other = space.checkout("other");
    let holding = holder(&space);
    let waiting = other.iact(["build", "--json", "-j1", "all"]).start();
    until("the other has run beside it", || {
        waiting.out().contains(r#""target":"beside","outcome":"executed""#)
    });
    until("it says for whom it waits", || waiting.out().contains("waits for the lock"));
    let said = waiting.out();
    assert!(said.contains("`t` waits for the lock `prod`, held by process"), "{said}");
    assert!(said.contains(&format!("hold in {}", space.ws.display())), "{said}");
    space.write("../go", "");
    holding.wait().expect_code(0);
    waiting.wait().expect_code(0);
    assert_eq!(space.trail(), ["beside", "hold", "in", "out"]);
}

#[test]
fn a_signal_ends_the_wait_and_a_killed_holder_frees_the_lock() {
    let space = Space::new(&format!("{HOLD}{LOCKED}"));
    let other = space.checkout("other");
    let holding = holder(&space);
    let waiting = other.iact(["build", "--json", "t"]).start();
    until("it waits", || waiting.out().contains("waits for the lock"));
    waiting.signal(Signal::INT);
    let run = waiting.wait();
    assert_eq!((run.signal, run.outcomes()["t"].as_str()), (Some(2), "cancelled"), "{run}");
    holding.signal(Signal::KILL);
    holding.wait();
    other.build(&["t"]);
    assert_eq!(space.trail(), ["in", "out"]);
}

#[test]
fn what_is_up_to_date_takes_no_lock() {
    let space = Space::new(&format!(
        "{HOLD}[target.t]\nlock = 'prod'\ninputs = []\nrun = 'echo t >> @LOG@'\n[target.{}]\nrun = 'true'\n",
        mark()
    ));
    let other = space.checkout("other");
    other.build(&["t"]);
    let holding = holder(&space);
    assert_eq!(other.build(&["t"]).outcomes()["t"], "up_to_date");
    space.write("../go", "");
    holding.wait().expect_code(0);
}

#[test]
fn a_lock_that_an_action_above_holds_is_refused_and_one_of_an_action_beside_it_is_waited_for() {
    let space = Space::new(&format!(
        "[target.above]\nlock = 'prod'\nrun = 'env -i HOME=$HOME PATH=$PATH {IACT} build -C middle between; exit $?'\n\
         [target.beside]\nlock = 'prod'\nrun = 'touch @BASE@/held; until test -e @BASE@/said; do sleep 0.02; done'\n\
         [target.starts]\nrun = 'until test -e @BASE@/held; do sleep 0.02; done; {IACT} build -C middle/inner t 2>&1 | tee @BASE@/out'\n\
         [target.says]\nrun = 'until grep waits @BASE@/out; do sleep 0.02; done; touch @BASE@/said'\n\
         [target.all]\ndeps = ['beside', 'starts', 'says']\n"
    ));
    space.iactfile_in("middle", &format!("[target.between]\nrun = '{IACT} build -C inner t'\n"));
    space.iactfile_in("middle/inner", LOCKED);
    let run = space.iact(["build", "--json", "above"]).limit(30).run().expect_code(1);
    let said = run.said();
    assert!(said.contains("`prod`") && said.contains("would wait for the other"), "{said}");
    assert!(space.trail().is_empty());
    space.iact(["build", "-j3", "all"]).limit(30).run().expect_code(0);
    assert_eq!(space.trail(), ["in", "out"]);
}

/// It may go on when the action has ended.
#[test]
fn what_an_action_left_running_waits_for_its_lock_like_anybody() {
    let space = Space::new(
        "[target.ended]\nlock = 'prod'\nrun = 'echo $IACT_LOCKS > @BASE@/below'\n\
         [target.holds]\nlock = 'prod'\nrun = 'touch @BASE@/held; until test -e @BASE@/go; do sleep 0.02; done'\n",
    );
    space.build(&["ended"]);
    let below = std::fs::read_to_string(space.base().join("below")).unwrap();
    let other = space.checkout("other");
    other.iactfile(LOCKED);
    let holds = space.iact(["build", "holds"]).start();
    until("it is held", || space.base().join("held").exists());
    let waits = other.iact(["build", "t"]).env("IACT_LOCKS", below.trim()).start();
    until("it waits", || waits.err().contains("waits for the lock"));
    std::fs::write(space.base().join("go"), "").unwrap();
    waits.wait().expect_code(0);
    holds.wait().expect_code(0);
}

/// Ends half a second after it was asked to.
const SLOW_TO_END: &str = "[target.slow]\n@LOCK@run = 'exec >/dev/null 2>&1; trap \"sleep 0.5; echo over >> @LOG@; exit\" TERM; touch @BASE@/held; while :; do sleep 0.02; done'\n[target.t]\n@LOCK@run = 'echo next >> @LOG@'\n";

#[test]
fn what_a_killed_iact_started_is_gone_before_the_next_build_of_the_workspace_begins() {
    let space = Space::new(&SLOW_TO_END.replace("@LOCK@", ""));
    let killed = space.iact(["build", "slow"]).start();
    until("it runs", || space.base().join("held").exists());
    killed.signal(Signal::KILL);
    killed.wait();
    let next = space.iact(["build", "t"]).run().expect_code(0);
    assert!(next.err.contains("of an iact that was killed"), "{next}");
    assert_eq!(space.trail(), ["over", "next"]);
}

#[test]
fn a_killed_holders_command_is_gone_before_the_lock_is_free() {
    let space = Space::new(&SLOW_TO_END.replace("@LOCK@", "lock = 'prod'\n"));
    let other = space.checkout("other");
    let killed = space.iact(["build", "slow"]).start();
    until("it runs", || space.base().join("held").exists());
    killed.signal(Signal::KILL);
    killed.wait();
    other.build(&["t"]);
    assert_eq!(space.trail(), ["over", "next"]);
}

#[test]
fn who_waits_for_a_workspace_is_told_of_its_holder_and_not_of_one_with_the_same_inode() {
    let iactfile = "[target.t]\nrun = \"touch @BASE@/runs; until [ -e @BASE@/go ]; do sleep 0.02; done\"\n";
    let spaces = [Space::new(iactfile), Space::new(iactfile)];
    let text = spaces.each_ref().map(|space| space.read("Iactfile.toml"));
    // Two file systems of the same kind number their first files alike.
    let mounted = spaces.each_ref().map(|space| Mounted::tmpfs(&space.ws, "size=1M"));
    if mounted.iter().any(Option::is_none) {
        return skipped("no file system can be mounted here");
    }
    let holders = std::array::from_fn::<_, 2, _>(|at| {
        let space = &spaces[at];
        space.write("Iactfile.toml", &text[at]);
        let holder = space.iact(["build", "t"]).start();
        until("it runs", || space.base().join("runs").exists());
        holder
    });
    for (space, holder) in spaces.iter().zip(&holders) {
        let waiting = space.iact(["build", "--json", "t"]).start();
        until("it says that it waits", || {
            waiting.out().contains("waiting") || waiting.err().contains("waiting")
        });
        let said = waiting.out() + &waiting.err();
        assert!(said.contains(&holder.pid().as_raw_nonzero().to_string()), "{said}");
        waiting.signal(Signal::INT);
        waiting.wait();
    }
    for (space, holder) in spaces.iter().zip(holders) {
        std::fs::write(space.base().join("go"), "").unwrap();
        holder.wait().expect_code(0);
    }
}
