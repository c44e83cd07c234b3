//! A process tree to be ended: of one command, or of a whole run whose iact is gone.
//!
//! Members are those the platform finds by group, mark and ancestry. Whoever was found once is remembered,
//! because the ancestry by which some are found ends when the first of them die.
#![allow(clippy::disallowed_methods, reason = "shell: signals processes, reads the clock")]

use super::mark::Mark;
use super::platform::{self, Member, Tick};
use iact_cache::chaos::{Bug, planted};
use rustix::process::{Pid, Signal, kill_process_group};
use std::time::{Duration, Instant};

/// After so long without an environment a process is not in the middle of an `exec` but somebody's who has none.
const EXEC: Duration = Duration::from_millis(500);

/// What a look at all processes shows.
#[derive(Debug)]
pub(super) struct Look {
    /// Who belongs to the tree.
    pub(super) members: Vec<Member>,
    /// Who cannot be told at this moment.
    pub(super) unclear: Vec<Member>,
}

/// What belongs together.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) mark: Mark,
    /// Process groups that are wholly ours.
    pub(super) groups: Vec<Pid>,
    known: Vec<Member>,
    /// Nobody of it was born before.
    since: Tick,
    /// Who could not be told, and since when.
    unclear: Vec<(Member, Instant)>,
}

impl Tree {
    pub(super) fn new(mark: Mark, groups: Vec<Pid>, since: Tick) -> Self {
        Self { mark, groups, known: Vec::new(), since, unclear: Vec::new() }
    }

    /// With its first process, where no group tells.
    pub(super) fn with_first(mut self, first: Pid) -> Self {
        self.known.extend(platform::member(first));
        self
    }

    /// Whether anybody lives, or may.
    pub(super) fn survives(&mut self) -> bool {
        let Look { members, unclear } = platform::look(&self.mark, &self.groups, &self.known);
        self.known = members;
        if planted(Bug::OneProcess) {
            self.known.retain(|member| self.groups.iter().any(|group| group.as_raw_pid() == member.number()));
            return !self.known.is_empty();
        }
        let now = Instant::now();
        let since = |member: &Member| self.unclear.iter().find(|(known, _)| known.is(member));
        // A tick is cut off, so the first of a tree may seem one older than it.
        self.unclear = unclear
            .into_iter()
            .filter(|member| member.born + 1 >= self.since)
            .map(|member| (member, since(&member).map_or(now, |(_, since)| *since)))
            .collect();
        !self.known.is_empty() || self.unclear.iter().any(|(_, since)| now - *since < EXEC)
    }

    /// Signals every group as one, and one by one whoever is in none of them.
    pub(super) fn send(&mut self, signal: Signal) {
        self.survives();
        self.send_to_groups(signal);
        let is_grouped =
            |member: &&Member| self.groups.iter().any(|group| group.as_raw_pid() == member.group);
        self.known.iter().filter(|member| !is_grouped(member)).for_each(|member| member.signal(signal));
        if signal != Signal::KILL {
            // Who is stopped gets the signal only when it goes on.
            self.send_to_groups(Signal::CONT);
        }
    }

    fn send_to_groups(&self, signal: Signal) {
        for group in &self.groups {
            // It may be gone already.
            let _ = if planted(Bug::OneProcess) {
                rustix::process::kill_process(*group, signal)
            } else {
                kill_process_group(*group, signal)
            };
        }
    }
}
