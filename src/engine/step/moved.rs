//! Whether the inputs still are what they were before the command ran, and no link on the way to them was switched.
//!
//! Refused: telling by its times that a folder on the way was moved away and back. A `chmod`, or a copy-up on overlayfs, moves
//! them as a rename does, and the results of such commands would never be kept.
//!
//! An action with very many inputs is looked at by several plain threads: what it waits for here, the whole
//! build may wait for. No thread pool, which an action must not enter.

use crate::content::Stat;
use crate::engine::job::{Job, Watched};
use crate::engine::shared::Shared;
use crate::scan::Again;
use crate::scan::read::stat;
use crate::scan::times::Moment;
use crate::scan::walk::Folders;
use iact_cache::in_parallel;
use rustc_hash::{FxHashMap, FxHashSet};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

/// Looking at so many takes about ten times as long as starting a thread.
const SHARE: usize = 512;

enum Part<'p> {
    /// What the patterns match now.
    Matches,
    /// Some of the inputs.
    Inputs(&'p [&'p Watched]),
    /// The links on the ways to them.
    Ways,
}

/// The first input that is not what it was when the fingerprint was made, new matches of wildcards included.
pub(super) fn moved_input(shared: &Shared<'_>, job: &Job<'_>, began: Moment) -> Option<Vec<u8>> {
    let inputs: Vec<&Watched> = job.inputs().chain(&job.brought_files).collect();
    // The matches are the longest part, so they come first.
    let all = std::iter::once(Part::Matches).chain(inputs.chunks(SHARE).map(Part::Inputs));
    let mut parts: Vec<_> = all.chain([Part::Ways]).map(|part| (part, OnceLock::new())).collect();
    let threads = shared.io_threads.min(1 + inputs.len() / SHARE);
    let Ok(()) = in_parallel(threads, &parts, |(part, moved)| {
        moved.get_or_init(|| match part {
            Part::Matches => new_match(shared, job, &inputs),
            Part::Inputs(some) => first_moved(shared, some),
            Part::Ways => Ways::new(shared, began).first_switched(&inputs),
        });
        Ok::<_, Infallible>(())
    });
    parts.rotate_left(1);
    parts.into_iter().find_map(|(_, moved)| moved.into_inner().flatten())
}

fn first_moved(shared: &Shared<'_>, inputs: &[&Watched]) -> Option<Vec<u8>> {
    let root = shared.workspace.folder.as_fd();
    let stats_vouch = shared.keeps_times();
    let again = Again { root, function: shared.workspace.digest_function(), stats_vouch };
    let mut path = Vec::new();
    for input in inputs {
        path.clear();
        path.extend_from_slice(&input.path);
        path.push(0);
        let is_same =
            CStr::from_bytes_with_nul(&path).is_ok_and(|path| again.is_unmoved(path, &input.present));
        if !is_same {
            return Some(input.path.clone());
        }
    }
    None
}

/// The links on the ways to files; each folder is looked at once.
pub(super) struct Ways<'s> {
    root: BorrowedFd<'s>,
    began: Moment,
    known: FxHashMap<Vec<u8>, Way>,
}

/// What was found on the way to a file.
#[derive(Clone, Copy, Default)]
pub(super) struct Way {
    /// A link is on it.
    pub(super) over_link: bool,
    /// One was put there since: the command may have been led to another file.
    pub(super) is_switched: bool,
}

impl<'s> Ways<'s> {
    /// Those of a command that began then.
    pub(super) fn new(shared: &'s Shared<'_>, began: Moment) -> Self {
        Self { root: shared.workspace.folder.as_fd(), began, known: FxHashMap::default() }
    }

    pub(super) fn to(&mut self, path: &[u8], is_made: bool) -> Way {
        let slash = path.iter().rposition(|&byte| byte == b'/').filter(|&at| at > 0);
        let Some(folder) = slash.map(|at| &path[..at]) else { return Way::default() };
        if let Some(&way) = self.known.get(folder) {
            return way;
        }
        let mut way = self.to(folder, is_made);
        let found =
            CString::new(folder).ok().and_then(|folder| stat(self.root, &folder, false).ok().flatten());
        if let Some(stat) = found {
            way.over_link |= stat.is_link();
            way.is_switched |= stat.is_link() && may_be_since(&stat, self.began, is_made);
        }
        self.known.insert(folder.to_vec(), way);
        way
    }

    fn first_switched(mut self, inputs: &[&Watched]) -> Option<Vec<u8>> {
        inputs.iter().map(|input| &input.path).find(|path| self.to(path, true).is_switched).cloned()
    }
}

/// Whether a file may have been written after a command began, by its change time, which nobody can set.
///
/// What was made before it began may be of the very tick in which it began; what a person wrote in that tick may have been
/// read before.
pub(super) fn may_be_since(stat: &Stat, began: Moment, is_made: bool) -> bool {
    let tick_ns = if stat.is_coarse() { 1_000_000_000 } else { 1 };
    if is_made {
        stat.ctime_ns > began.until_ns
    } else {
        stat.ctime_ns > began.since_ns.saturating_sub(tick_ns)
    }
}

fn new_match(shared: &Shared<'_>, job: &Job<'_>, inputs: &[&Watched]) -> Option<Vec<u8>> {
    let patterns = &job.action.inputs.as_ref()?.patterns;
    let before: FxHashSet<&[u8]> = inputs.iter().map(|input| input.path.as_slice()).collect();
    // A literal path that is no input itself is a folder, or has come since.
    let is_open = |(_, literal): (usize, &str)| !before.contains(literal.as_bytes());
    if patterns.roots().is_empty() && !patterns.literals().any(is_open) {
        return None;
    }
    let root = shared.workspace.folder.as_fd();
    let folders = Folders::new(root, shared.workspace.gitignore(), &shared.declared).on_this_thread();
    match folders.matching(patterns) {
        Ok(now) => now.into_iter().map(|(path, _)| path).find(|path| !before.contains(path.as_slice())),
        Err(wrong) => Some(wrong.path.into_bytes()),
    }
}
