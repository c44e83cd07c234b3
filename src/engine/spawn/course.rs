//! When a running command is signalled, killed, waited for and left: time and facts in, the next step out.
//!
//! Invariants: a signal is sent once; what we ended is never a success, whatever its exit code; and from any
//! state the course reaches [`Step::Done`] in bounded time once the command exits or is ended, whoever keeps
//! its output open.

/// How long to wait for output after a failed command ended.
const DRAIN_FAILED_MS: u64 = 1_000;
/// After a successful one, how long its output may be silent…
const DRAIN_IDLE_MS: u64 = 1_000;
/// …and how long it may take altogether.
const DRAIN_TOTAL_MS: u64 = 10_000;
/// How often to look whether a tree that is being ended is gone.
const LOOK_MS: u64 = 20;
/// A tree is gone if two looks this far apart find nobody (a process in the middle of an `exec` cannot be
/// seen).
const CONFIRM_MS: u64 = 3;
/// How long killed processes may take to vanish before they are reported as left running.
const KILLED_MS: u64 = 2_000;

/// SIGTERM, the same number on every unix.
const TERM: i32 = 15;

/// What is known now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Facts {
    pub(super) now_ms: u64,
    /// The run was asked to end, with this signal.
    pub(super) stop: Option<i32>,
    /// The run was asked to end at once.
    pub(super) kill: bool,
    /// The direct child ended; whether with success.
    pub(super) exited: Option<bool>,
    /// A pipe is still open.
    pub(super) open: bool,
    /// When output came last.
    pub(super) output_ms: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for an event, at most until then.
    Wait(Option<u64>),
    /// Send this signal to the tree.
    Signal(i32),
    /// Kill the tree.
    Kill,
    /// It is over.
    Done,
}

/// Why we ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    TimedOut,
    Cancelled,
}

/// The course of one command.
#[derive(Debug)]
pub(super) struct Course {
    timeout_ms: Option<u64>,
    grace_ms: u64,
    exited_ms: Option<u64>,
    ending: Option<Ending>,
    /// Whether processes or their output were left behind.
    pub(super) left: bool,
}

#[derive(Debug)]
struct Ending {
    cause: Cause,
    kill_ms: u64,
    /// The first and the latest kill.
    killed_ms: Option<(u64, u64)>,
    gone_ms: Option<u64>,
}

impl Course {
    pub(super) fn new(timeout_ms: Option<u64>, grace_ms: u64) -> Self {
        Self { timeout_ms, grace_ms, exited_ms: None, ending: None, left: false }
    }

    /// Why we ended it, if we did.
    pub(super) fn cause(&self) -> Option<Cause> {
        self.ending.as_ref().map(|ending| ending.cause)
    }

    /// The next step. `survives` is a costly fact, looked at only while a tree is being ended.
    pub(super) fn step(&mut self, facts: Facts, survives: impl FnOnce() -> bool) -> Step {
        if facts.exited.is_some() && self.exited_ms.is_none() {
            self.exited_ms = Some(facts.now_ms);
        }
        match &mut self.ending {
            Some(ending) => {
                let (step, left) = ending.step(facts, survives);
                self.left |= left;
                step
            }
            None => self.watch(facts),
        }
    }

    fn watch(&mut self, facts: Facts) -> Step {
        let over = facts.exited.is_some() && !facts.open;
        if over {
            return Step::Done;
        }
        if facts.kill || facts.stop.is_some() {
            return self.end(Cause::Cancelled, facts);
        }
        let (Some(success), Some(exited_ms)) = (facts.exited, self.exited_ms) else {
            return match self.timeout_ms {
                Some(at) if facts.now_ms >= at => self.end(Cause::TimedOut, facts),
                at => Step::Wait(at),
            };
        };
        let until = if success {
            (facts.output_ms.max(exited_ms) + DRAIN_IDLE_MS).min(exited_ms + DRAIN_TOTAL_MS)
        } else {
            exited_ms + DRAIN_FAILED_MS
        };
        if facts.now_ms < until {
            return Step::Wait(Some(until));
        }
        self.left = true;
        Step::Done
    }

    fn end(&mut self, cause: Cause, facts: Facts) -> Step {
        let killed = facts.kill || self.grace_ms == 0;
        self.ending = Some(Ending {
            cause,
            kill_ms: facts.now_ms + self.grace_ms,
            killed_ms: killed.then_some((facts.now_ms, facts.now_ms)),
            gone_ms: None,
        });
        if killed { Step::Kill } else { Step::Signal(facts.stop.unwrap_or(TERM)) }
    }
}

impl Ending {
    /// The next step, and whether something is left behind.
    fn step(&mut self, facts: Facts, survives: impl FnOnce() -> bool) -> (Step, bool) {
        let now_ms = facts.now_ms;
        if self.killed_ms.is_none() && (facts.kill || now_ms >= self.kill_ms) {
            self.killed_ms = Some((now_ms, now_ms));
            return (Step::Kill, false);
        }
        let give_up = self.killed_ms.map(|(first, _)| first + KILLED_MS);
        if give_up.is_some_and(|at| now_ms >= at) {
            return (Step::Done, true);
        }
        if facts.exited.is_none() {
            return (Step::Wait(Some(give_up.unwrap_or(self.kill_ms))), false);
        }
        if survives() {
            self.gone_ms = None;
            return match &mut self.killed_ms {
                // Who was forked while we killed is killed now.
                Some((_, latest)) if now_ms >= *latest + LOOK_MS => {
                    *latest = now_ms;
                    (Step::Kill, false)
                }
                _ => (Step::Wait(Some(now_ms + LOOK_MS)), false),
            };
        }
        let gone_ms = *self.gone_ms.get_or_insert(now_ms);
        // Nobody is left who could write, so what is still in the pipes arrives at once.
        let until = gone_ms + if facts.open { LOOK_MS } else { CONFIRM_MS };
        if now_ms >= until { (Step::Done, false) } else { (Step::Wait(Some(until)), false) }
    }
}

#[cfg(test)]
mod tests {
    use super::Step::{Done, Kill, Signal, Wait};
    use super::*;
    use proptest::prelude::*;

    const INT: i32 = 2;

    fn at(now_ms: u64) -> Facts {
        Facts { now_ms, open: true, ..Facts::default() }
    }

    /// Steps through facts (with what a look at the survivors would say) and compares.
    fn check(timeout_ms: Option<u64>, story: &[(Facts, bool, Step)]) -> Course {
        let mut course = Course::new(timeout_ms, 500);
        for (facts, survives, expected) in story {
            assert_eq!(course.step(*facts, || *survives), *expected, "{facts:?}");
        }
        course
    }

    #[test]
    fn a_command_that_ends_by_itself_is_over_with_its_output() {
        let exited = Facts { exited: Some(true), ..at(70) };
        let closed = Facts { open: false, ..exited };
        let course = check(
            Some(900),
            &[(at(0), true, Wait(Some(900))), (exited, true, Wait(Some(1070))), (closed, true, Done)],
        );
        assert!(course.cause().is_none() && !course.left);
    }

    #[test]
    fn open_output_is_waited_for_longer_after_a_success_that_still_writes() {
        let after = |now_ms, success, output_ms| Facts { exited: Some(success), output_ms, ..at(now_ms) };
        let failed = [
            (after(100, false, 90), true, Wait(Some(1100))),
            (after(1099, false, 1098), true, Wait(Some(1100))),
            (after(1100, false, 1099), true, Done),
        ];
        assert!(check(None, &failed).left);
        let silent = [(after(100, true, 90), true, Wait(Some(1100))), (after(1100, true, 90), true, Done)];
        assert!(check(None, &silent).left);
        let writing = [
            (after(100, true, 90), true, Wait(Some(1100))),
            (after(1000, true, 1000), true, Wait(Some(2000))),
            (after(9900, true, 9900), true, Wait(Some(10100))),
            (after(10100, true, 10090), true, Done),
        ];
        assert!(check(None, &writing).left);
    }

    #[test]
    fn a_timeout_signals_once_then_kills_then_makes_sure() {
        let exited = |now_ms| Facts { exited: Some(false), open: false, ..at(now_ms) };
        let course = check(
            Some(100),
            &[
                (at(99), true, Wait(Some(100))),
                (at(100), true, Signal(TERM)),
                (at(101), true, Wait(Some(600))),
                (at(600), true, Kill),
                (at(601), true, Wait(Some(2600))),
                (exited(602), true, Wait(Some(622))),
                (exited(622), true, Kill),
                (exited(623), false, Wait(Some(626))),
                (exited(626), false, Done),
            ],
        );
        assert_eq!((course.cause(), course.left), (Some(Cause::TimedOut), false));
    }

    #[test]
    fn a_stop_forwards_its_signal_and_a_second_one_kills() {
        let stopped = |now_ms| Facts { stop: Some(INT), ..at(now_ms) };
        let killed = |now_ms| Facts { kill: true, ..stopped(now_ms) };
        let story = [
            (stopped(5), true, Signal(INT)),
            (stopped(6), true, Wait(Some(505))),
            (killed(7), true, Kill),
            (killed(8), true, Wait(Some(2007))),
            (killed(2007), true, Done),
        ];
        let course = check(None, &story);
        assert_eq!((course.cause(), course.left), (Some(Cause::Cancelled), true));
    }

    #[test]
    fn a_stop_after_success_still_vetoes_it_while_output_is_open() {
        let draining = Facts { exited: Some(true), ..at(50) };
        let stopped = Facts { stop: Some(INT), ..draining };
        assert_eq!(
            check(None, &[(draining, true, Wait(Some(1050))), (stopped, true, Signal(INT))]).cause(),
            Some(Cause::Cancelled)
        );
    }

    proptest! {
        #[test]
        fn every_course_comes_to_an_end_and_signals_once(
            timeout_ms in prop::option::of(0u64..3000),
            exit_ms in prop::option::of(0u64..4000),
            success: bool,
            close_ms in prop::option::of(0u64..20_000),
            stop_ms in prop::option::of(0u64..4000),
            kill_ms in prop::option::of(0u64..8000),
            gone_ms in 0u64..20_000,
        ) {
            let mut course = Course::new(timeout_ms, 500);
            let (mut now_ms, mut signals, mut turns) = (0, 0, 0);
            let begun_to_end = |at: Option<u64>, now: u64| at.is_some_and(|at| now >= at);
            loop {
                turns += 1;
                let facts = Facts {
                    now_ms,
                    stop: begun_to_end(stop_ms, now_ms).then_some(INT),
                    kill: begun_to_end(kill_ms, now_ms),
                    exited: begun_to_end(exit_ms, now_ms).then_some(success),
                    open: !begun_to_end(close_ms, now_ms),
                    output_ms: now_ms,
                };
                match course.step(facts, || now_ms < gone_ms) {
                    Done => break,
                    Signal(_) => signals += 1,
                    Kill => {}
                    Wait(until) => {
                        prop_assert!(until.is_none_or(|until| until > now_ms), "a busy wait at {now_ms}");
                        // Something that can happen without us wakes us too.
                        let events = [exit_ms, close_ms, stop_ms, kill_ms].into_iter().flatten().filter(|at| *at > now_ms);
                        match events.chain(until).min() {
                            Some(next) => now_ms = next,
                            None => { prop_assert!(exit_ms.is_none()); break }
                        }
                    }
                }
                prop_assert!(turns < 2_000 && now_ms < 60_000);
            }
            prop_assert!(signals <= 1);
        }
    }
}
