//! `iact watch`: build, wait until something moves, look at it, build again.
//!
//! Invariant: at rest nothing is stale: every event leads to a look, every look that finds something to a build, and after a
//! build everything is looked at once more when it has been quiet for a while. At rest no processor is used, unless the
//! system cannot notify and the files have to be polled.
//! The decisions are in [`debounce`] (when) and [`loops`] (not for ever), what moved is found out by the engine's rounds.
#![allow(clippy::disallowed_methods, reason = "shell: asks the time")]

pub mod debounce;
pub mod loops;
pub mod notify;

use crate::engine::hint::Hints;
use crate::engine::job::Event;
use crate::engine::rounds::{Manners, Means, Noticed, Rounds, Stale, Wanted, shown};
use crate::engine::run::Options;
use crate::engine::service::Services;
use crate::engine::signal::Response;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::scan::times::keeps_times;
use crate::ui::Screen;
use crate::workspace::Workspace;
use debounce::{Debounce, Next};
use loops::Loops;
use notify::{Unable, Watcher};
use rustix::process::Signal;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// A workspace with what is to be built in it.
pub struct Opened {
    /// The workspace.
    pub workspace: Workspace,
    /// What is wanted.
    pub plan: Plan,
    /// How it is built.
    pub options: Options,
}

/// What the command line comes to.
pub struct Wiring<'w> {
    /// Opens the workspace and finds the goals.
    pub open: &'w dyn Fn() -> Result<Opened>,
    /// What a build is shown on.
    pub screen: &'w dyn Fn() -> Screen,
    /// Shows a mistake.
    pub complain: &'w dyn Fn(&Error),
    /// Says something to a person.
    pub say: &'w dyn Fn(String),
    /// Obsolete actions may end by themselves.
    pub finish: bool,
    /// How long nothing may have moved.
    pub quiet_us: u64,
}

/// A moment after a save in pieces, or between two names of one file.
const LOST: Duration = Duration::from_millis(50);
/// What moves so soon after a build may have been moved by it.
const BELONGS: Duration = Duration::from_millis(50);
/// After a build and this long in peace everything is looked at once more.
const PEACE: Duration = Duration::from_millis(300);
/// The least time between two looks where nobody notifies.
const POLL: Duration = Duration::from_millis(500);
/// Polling takes no more than this part of one processor.
const POLL_PART: u32 = 20;

/// Watches until a signal ends it.
///
/// # Errors
/// The workspace cannot be opened the first time, or the system's own means are missing.
pub fn watch(wiring: &Wiring<'_>) -> Result<Signal> {
    let mut opened = (wiring.open)()?;
    let means = Means::new()?;
    let mut heritage = (Vec::new(), Loops::default());
    loop {
        match Watch::new(wiring, &opened, &means, heritage)?.run()? {
            Over::Signal(signal) => return Ok(signal),
            Over::Reopened(other, services, loops) => (opened, heritage) = (*other, (services, loops)),
        }
    }
}

enum Over {
    Signal(Signal),
    Reopened(Box<Opened>, Vec<Services>, Loops),
}

/// How changes are noticed.
enum Ears {
    Notified(Watcher),
    Polling,
}

struct Watch<'a> {
    wiring: &'a Wiring<'a>,
    means: &'a Means,
    rounds: Rounds<'a>,
    ears: Ears,
    loops: Loops,
    /// When the last build ended, and whether everything was looked at since.
    built: Instant,
    looked_over: bool,
    /// Why the workspace, which is another one by now, cannot be opened, and when that is tried again: the files that
    /// would mend it need not be among those that are watched.
    broken: Option<(Error, Duration)>,
    /// Why nothing could be looked at: nobody says when that is over.
    refusal: Option<String>,
    poll: Duration,
}

impl<'a> Watch<'a> {
    fn new(
        wiring: &'a Wiring<'a>,
        opened: &'a Opened,
        means: &'a Means,
        (elders, loops): (Vec<Services>, Loops),
    ) -> Result<Self> {
        let Opened { workspace, plan, options } = opened;
        let rounds = Rounds::new((workspace, plan, options), means, elders)?;
        let private = vec![workspace.memory(), workspace.root.join(".git"), workspace.cache_folder()];
        let ears = if keeps_times(workspace.folder.as_fd()) {
            Watcher::new(&workspace.root, private, Arc::clone(&means.mail))
        } else {
            Err(Unable::foreign())
        };
        let mut watch = Self {
            wiring,
            means,
            rounds,
            ears: Ears::Polling,
            loops,
            built: Instant::now(),
            looked_over: false,
            broken: None,
            refusal: None,
            poll: POLL,
        };
        match ears {
            Ok(watcher) => watch.ears = Ears::Notified(watcher),
            Err(unable) => watch.poll_instead(&unable),
        }
        Ok(watch)
    }

    fn run(mut self) -> Result<Over> {
        let over = self.rounds_until_over()?;
        if let Over::Signal(_) = over {
            self.rounds.close(self.means);
        }
        Ok(over)
    }

    fn rounds_until_over(&mut self) -> Result<Over> {
        let mut hints = Hints::default();
        if let Some(signal) = self.build(&mut hints)? {
            return Ok(Over::Signal(signal));
        }
        loop {
            let during = !hints.is_empty() || self.rounds.is_unsettled();
            let signal = if during { self.heard(&mut hints) } else { self.wait(&mut hints) };
            if let Some(signal) = signal {
                return Ok(Over::Signal(signal));
            }
            if self.broken.is_some() && !during && hints.everything {
                match self.reopen(&mut hints, false) {
                    Some(over) => return Ok(over),
                    None if hints.is_empty() => continue,
                    None => {}
                }
            }
            let belongs = during || self.built.elapsed() < BELONGS;
            let stale = match self.look(&mut hints) {
                Noticed::Nothing => {
                    self.loops.rest(&[]);
                    continue;
                }
                Noticed::Reopen => match self.reopen(&mut hints, true) {
                    Some(over) => return Ok(over),
                    None => continue,
                },
                Noticed::Otherwise(moved) if !self.is_due(&moved, belongs) => continue,
                Noticed::Otherwise(_) => match self.reopen(&mut hints, true) {
                    Some(over) => return Ok(over),
                    None => continue,
                },
                Noticed::Stale(stale) => stale,
            };
            if !self.is_due(&stale, belongs) {
                continue;
            }
            if self.rounds.conditions_moved().is_some()
                && let Some(over) = self.reopen(&mut hints, true)
            {
                return Ok(over);
            }
            if let Some(signal) = self.build(&mut hints)? {
                return Ok(Over::Signal(signal));
            }
        }
    }

    /// One round. What was hinted at meanwhile is left in `hints`; a signal that ended it ends the watch.
    fn build(&mut self, hints: &mut Hints) -> Result<Option<Signal>> {
        if let Some(signal) = self.heard(hints) {
            return Ok(Some(signal));
        }
        let suspects = self.loops.suspects().cloned().collect();
        let manners = Manners { finish: self.wiring.finish, suspects };
        let mut screen = (self.wiring.screen)();
        let mut unheard = false;
        let mut refused = None;
        let ears = &mut self.ears;
        let mut follow = |wanted: Wanted| {
            if let Ears::Notified(watcher) = ears {
                match watcher.follow(&wanted) {
                    Ok(added) => unheard |= added,
                    Err(unable) => refused = Some(unable),
                }
            }
        };
        let began = Instant::now();
        let round = self.rounds.round(self.means, &manners, &mut screen, &mut follow);
        if let Err(error) = screen.finish() {
            (self.wiring.complain)(
                &Error::new(crate::error::Kind::Environment, "cannot write the summary").because(error),
            );
        }
        if let Some(unable) = refused {
            self.poll_instead(&unable);
        }
        self.built = Instant::now();
        self.looked_over = false;
        match round {
            Ok((ended, hinted)) => {
                self.refusal = None;
                hints.merge(hinted);
                // What moved before the folder was watched was not heard.
                hints.everything |= unheard;
                Ok(ended.signal)
            }
            Err(error) => {
                self.refused(&error, began.elapsed());
                Ok(None)
            }
        }
    }

    /// What is tried again although nothing moved is not said again.
    fn refused(&mut self, error: &Error, took: Duration) {
        self.listen();
        let refusal = self.rounds.is_blind().then(|| error.to_string());
        if refusal.is_none() || refusal != self.refusal {
            (self.wiring.complain)(error);
        }
        self.refusal = refusal;
        self.poll = POLL.max(took * POLL_PART);
    }

    /// Looks at what was hinted at. An input that is gone gets a moment to come back: a save may remove before it renames.
    fn look(&mut self, hints: &mut Hints) -> Noticed {
        let noticed = self.look_once(hints);
        let Noticed::Stale(Stale { lost: true, paths, .. }) = &noticed else { return noticed };
        std::thread::sleep(LOST);
        hints.merge(self.means.mail.take());
        hints.paths.extend(paths.iter().cloned());
        match self.look_once(hints) {
            Noticed::Nothing => noticed,
            again => again,
        }
    }

    /// Looks, and watches what has to be watched from now on; what moved there before is looked for, too.
    fn look_once(&mut self, hints: &mut Hints) -> Noticed {
        loop {
            let began = Instant::now();
            let taken = std::mem::take(hints);
            let noticed = self.rounds.look(&taken).unwrap_or_else(|error| {
                (self.wiring.complain)(&error);
                Noticed::Nothing
            });
            if taken.everything {
                self.looked_over = true;
                self.poll = POLL.max(began.elapsed() * POLL_PART);
            }
            hints.everything |= self.listen();
            if noticed != Noticed::Nothing || hints.is_empty() {
                return noticed;
            }
        }
    }

    /// Watches the folders that are wanted now; whether some of them are watched only now.
    fn listen(&mut self) -> bool {
        let Some(wanted) = self.rounds.wanted() else { return false };
        let Ears::Notified(watcher) = &mut self.ears else { return false };
        match watcher.follow(&wanted) {
            Ok(added) => added,
            Err(unable) => {
                self.poll_instead(&unable);
                true
            }
        }
    }

    fn poll_instead(&mut self, unable: &Unable) {
        self.ears = Ears::Polling;
        (self.wiring.say)(format!(
            "changes are polled for, because the system cannot notify of them: {unable}"
        ));
    }

    /// Waits until something moved and it is quiet again; a signal ends the watch.
    fn wait(&mut self, hints: &mut Hints) -> Option<Signal> {
        let mut debounce = Debounce::new(self.wiring.quiet_us);
        let zero = Instant::now();
        let now_us = || u64::try_from(zero.elapsed().as_micros()).unwrap_or(u64::MAX);
        loop {
            let timeout = match debounce.next(now_us()) {
                Some(Next::Build) => return None,
                Some(Next::Wait(until_us)) => Some(Duration::from_micros(until_us.saturating_sub(now_us()))),
                None => self.alarm(),
            };
            let event = match timeout {
                Some(timeout) => self.means.receiver.recv_timeout(timeout),
                None => self.means.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Signal(Response::End(signal) | Response::Kill(signal))) => return Some(signal),
                Ok(Event::Hinted) => {
                    hints.merge(self.means.mail.take());
                    debounce.event(now_us(), !hints.open.is_empty());
                }
                Err(RecvTimeoutError::Timeout) if debounce.next(now_us()).is_none() => {
                    hints.everything = true;
                    return None;
                }
                _ => {}
            }
        }
    }

    /// What was told while nobody waited; a signal ends the watch.
    fn heard(&mut self, hints: &mut Hints) -> Option<Signal> {
        while let Ok(event) = self.means.receiver.try_recv() {
            match event {
                Event::Signal(Response::End(signal) | Response::Kill(signal)) => return Some(signal),
                Event::Hinted => hints.merge(self.means.mail.take()),
                _ => {}
            }
        }
        None
    }

    /// When everything is looked at without a hint.
    fn alarm(&self) -> Option<Duration> {
        match self.ears {
            _ if let Some((_, pause)) = &self.broken => Some(self.poll.max(*pause)),
            _ if self.refusal.is_some() => Some(self.poll),
            Ears::Polling => Some(self.poll),
            Ears::Notified(_) if self.looked_over => None,
            Ears::Notified(_) => Some(PEACE.saturating_sub(self.built.elapsed())),
        }
    }

    /// Whether this is to be built. What moved during a build may have been moved by it.
    fn is_due(&mut self, stale: &Stale, belongs: bool) -> bool {
        if !belongs {
            self.loops.rest(&stale.paths);
            return true;
        }
        let (due, named) = self.loops.during(&stale.paths);
        for path in named {
            let names: Vec<String> = stale.targets.iter().map(|name| format!("`{name}`")).collect();
            (self.wiring.say)(format!(
                "`{}` changes whenever {} is built: it is not built again until something else changes",
                shown(&path),
                names.join(", ")
            ));
        }
        due
    }

    /// Opens the workspace anew: `moved`, because something of it moved, else because it could not be opened before. If
    /// that is not possible, the last good one stays.
    fn reopen(&mut self, hints: &mut Hints, moved: bool) -> Option<Over> {
        let began = Instant::now();
        let error = match (self.wiring.open)() {
            Ok(other) => {
                let elders = self.rounds.elders(&other.workspace);
                return Some(Over::Reopened(Box::new(other), elders, std::mem::take(&mut self.loops)));
            }
            Err(error) => *error,
        };
        let lost = self.rounds.is_lost();
        let is_known = self.broken.as_ref().is_some_and(|(known, _)| *known == error);
        if !is_known || moved && !lost {
            (self.wiring.complain)(&error);
        }
        self.broken = Some((error, POLL.max(began.elapsed() * POLL_PART)));
        // The look was cut short.
        hints.everything = !lost;
        None
    }
}
