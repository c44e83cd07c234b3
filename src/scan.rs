//! The workspace's files as a run sees them: looked at once each, in parallel, read only where a memo cannot
//! vouch.
//!
//! Invariant: within a run a path shows one content until the engine says otherwise ([`Files::put`],
//! [`Files::forget`]), and that content is the file's as of a stat that the engine compares again after every
//! action.
#![allow(clippy::disallowed_methods, reason = "shell: looks at files, asks the file system's clock")]

pub mod patterns;
pub mod read;
pub mod times;
pub mod walk;

use crate::content::{Memo, Stat};
use crate::journal::Journal;
use crate::path_table::PathId;
use iact_cache::DigestFunction;
use rayon::prelude::*;
use read::{Present, Reader, Seen};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use times::{file_clock_ns, keeps_times};

/// Below that many paths the threads would cost more than they bring.
const WORTH_THREADS: usize = 128;

/// What a run has seen so far.
pub struct Files {
    root: OwnedFd,
    function: DigestFunction,
    /// Whether stats of this file system may vouch for contents.
    memo_holds: bool,
    seen: Vec<Option<Seen>>,
}

impl Files {
    /// Nothing seen yet.
    pub fn new(root: OwnedFd, function: DigestFunction) -> Self {
        let memo_holds = keeps_times(root.as_fd());
        Self { root, function, memo_holds, seen: Vec::new() }
    }

    /// The workspace's folder.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Whether stats of this file system may vouch for contents.
    pub fn keeps_times(&self) -> bool {
        self.memo_holds
    }

    /// What contents are digested with.
    pub fn function(&self) -> DigestFunction {
        self.function
    }

    /// Looks at all of these that were not seen yet; what was read is remembered in the journal.
    pub fn look(&mut self, journal: &mut Journal, ids: impl IntoIterator<Item = PathId>) {
        self.seen.resize(journal.paths.len(), None);
        let mut wanted: Vec<PathId> = ids.into_iter().filter(|id| self.seen[id.index()].is_none()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let now_ns = file_clock_ns();
        let found = self.look_at_all(journal, &wanted);
        for (id, seen) in wanted.into_iter().zip(found) {
            if let Some(Seen::Present(present)) = &seen {
                remember(journal, id, present, now_ns);
            }
            self.seen[id.index()] = seen;
        }
    }

    /// What is at these. Among many, a file large enough for all threads waits until they are free, so that there
    /// are never more of them than processors.
    fn look_at_all(&self, journal: &Journal, wanted: &[PathId]) -> Vec<Option<Seen>> {
        let known = |id: PathId| {
            move |stat: &Stat| {
                journal.memo(id).filter(|_| self.memo_holds).and_then(|memo| memo.vouches(stat))
            }
        };
        let alone = Reader { root: self.root.as_fd(), function: self.function, threads: 1 };
        let whole = |&id: &PathId| {
            let path = journal.paths.c_str(id);
            let early = alone.look_unless_worth(2, path, known(id));
            early.unwrap_or_else(|| Reader { threads: processors(), ..alone }.look(path, known(id)))
        };
        if wanted.len() < WORTH_THREADS {
            return wanted.iter().map(|id| Some(whole(id))).collect();
        }
        let threads = rayon::current_num_threads().max(2);
        let one = |&id: &PathId| alone.look_unless_worth(threads, journal.paths.c_str(id), known(id));
        let mut found: Vec<Option<Seen>> = wanted.par_iter().with_min_len(64).map(one).collect();
        for (seen, id) in found.iter_mut().zip(wanted).filter(|(seen, _)| seen.is_none()) {
            *seen = Some(whole(id));
        }
        found
    }

    /// What was seen at a path that was looked at.
    pub fn get(&self, id: PathId) -> &Seen {
        self.seen.get(id.index()).and_then(Option::as_ref).unwrap_or(&Seen::Absent)
    }

    /// An action made this: seen without another look.
    pub fn put(&mut self, journal: &mut Journal, id: PathId, present: Present) {
        remember(journal, id, &present, file_clock_ns());
        self.seen.resize(journal.paths.len(), None);
        self.seen[id.index()] = Some(Seen::Present(present));
    }

    /// The path has to be looked at again.
    pub fn forget(&mut self, id: PathId) {
        if let Some(seen) = self.seen.get_mut(id.index()) {
            *seen = None;
        }
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Writes a memo only if it says something new; a link is read anew each time, but not the file behind it.
fn remember(journal: &mut Journal, id: PathId, present: &Present, now_ns: i64) {
    let (stat, content) = match &present.link {
        None if present.stat.is_file() => (present.stat, present.content),
        Some(link) => match link.through {
            Some(through) => through,
            None => return,
        },
        None => return,
    };
    let memo = Memo::new(stat, content, now_ns);
    let old = journal.memo(id);
    if old.is_none_or(|old| old.stat != stat || old.content != content || memo.trusted && !old.trusted) {
        journal.remember_file(id, memo);
    }
}

/// Looks at files again that were looked at before.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a> {
    /// The workspace's folder.
    pub root: BorrowedFd<'a>,
    /// What contents are digested with.
    pub function: DigestFunction,
    /// Whether stats of its file system may vouch for contents.
    pub stats_vouch: bool,
}

impl Again<'_> {
    /// Whether an input still is what it was before the action ran.
    ///
    /// Where times have whole seconds, or come from elsewhere, a file can be written without its stat telling; then it is
    /// read again.
    pub fn is_unmoved(&self, path: &CStr, before: &Present) -> bool {
        let Self { root, function, stats_vouch } = *self;
        let same =
            |follow, stat: &Stat| matches!(read::stat(root, path, follow), Ok(Some(now)) if now == *stat);
        let through = before.link.as_ref().and_then(|link| link.through).map(|(stat, _)| stat);
        let end = through.unwrap_or(before.stat);
        // Where a link led to no file there may be one now.
        let leads_to_file = || matches!(read::stat(root, path, true), Ok(Some(now)) if now.is_file());
        let same_end = || match through {
            Some(stat) => same(true, &stat),
            None => before.link.is_none() || !leads_to_file(),
        };
        same(false, &before.stat)
            && same_end()
            // A link by itself is made anew, never written to.
            && (stats_vouch && !end.is_coarse()
                || !end.is_file()
                || Reader { root, function, threads: 1 }.look(path, |_| None).content() == Some(before.content))
    }
}
