//! Whether the inputs still are what they were before the command ran.
//!
//! An action with very many inputs is looked at by several plain threads: what it waits for here, the whole
//! build may wait for. No thread pool, which an action must not enter.

use crate::engine::job::{Job, Watched};
use crate::engine::shared::Shared;
use crate::scan::Again;
use crate::scan::times::keeps_times;
use crate::scan::walk::Folders;
use iact_cache::in_parallel;
use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::sync::OnceLock;

/// Looking at so many takes about ten times as long as starting a thread.
const SHARE: usize = 512;

enum Part<'p> {
    /// What the patterns match now.
    Matches,
    /// Some of the inputs.
    Inputs(&'p [&'p Watched]),
}

/// The first input that is not what it was when the fingerprint was made, new matches of wildcards included.
pub(super) fn moved_input(shared: &Shared<'_>, job: &Job<'_>) -> Option<Vec<u8>> {
    let inputs: Vec<&Watched> = job.inputs().chain(&job.brought_files).collect();
    // The matches are the longest part, so they come first.
    let all = std::iter::once(Part::Matches).chain(inputs.chunks(SHARE).map(Part::Inputs));
    let mut parts: Vec<_> = all.map(|part| (part, OnceLock::new())).collect();
    let threads = shared.io_threads.min(1 + inputs.len() / SHARE);
    let Ok(()) = in_parallel(threads, &parts, |(part, moved)| {
        moved.get_or_init(|| match part {
            Part::Matches => new_match(shared, job, &inputs),
            Part::Inputs(some) => first_moved(shared, some),
        });
        Ok::<_, Infallible>(())
    });
    parts.rotate_left(1);
    parts.into_iter().find_map(|(_, moved)| moved.into_inner().flatten())
}

fn first_moved(shared: &Shared<'_>, inputs: &[&Watched]) -> Option<Vec<u8>> {
    let root = shared.workspace.folder.as_fd();
    let again = Again { root, function: shared.workspace.digest_function(), stats_vouch: keeps_times(root) };
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

fn new_match(shared: &Shared<'_>, job: &Job<'_>, inputs: &[&Watched]) -> Option<Vec<u8>> {
    let patterns = &job.action.inputs.as_ref()?.patterns;
    let before: rustc_hash::FxHashSet<&[u8]> = inputs.iter().map(|input| input.path.as_slice()).collect();
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
