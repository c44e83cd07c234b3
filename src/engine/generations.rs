//! `retain`: earlier results that are kept as generations.
//!
//! A generation is a result of its own in the local cache, under a digest made of its owner and itself, pinned
//! by that owner (`<workspace>\n<instance>`) as long as the workspace is there, so that no sweep takes it and no later result of the same
//! fingerprint replaces it. What `iact artifact pin` keeps is pinned for good, and has a second pin, by `keep <owner>`. The cache is
//! the only list of them.
//!
//! Invariant: of the generations that `retain` does not ask for any more, only the pin goes; `age` and `last`
//! together keep what either asks for; the newest always stays, and so does what the workspace has. What is dated later than
//! now was made while the clock was wrong: it is older than anything made since.

use crate::graph::action::Action;
use crate::journal::Journal;
use crate::manifest::decl::Retain;
use crate::workspace::Workspace;
use iact_cache::{Digest, DigestFunction, LocalStore, PinOwners, StoreError, StoredResult};
use std::borrow::Cow;
use std::cmp::Reverse;

/// A kept result.
#[derive(Clone, Debug)]
pub struct Generation {
    /// Under which it is kept.
    pub digest: Digest,
    /// What it is.
    pub result: StoredResult,
    /// Kept for good.
    pub is_pinned: bool,
}

/// On whose behalf an instance's generations are pinned.
pub fn owner(workspace: &Workspace, name: &str) -> String {
    // Two folders whose names are no text are two.
    let root = workspace.root.as_os_str();
    let shown = root.to_str().map_or_else(|| format!("{root:?}").into(), Cow::Borrowed);
    format!("{shown}\n{name}")
}

fn keeper(owner: &str) -> String {
    format!("keep {owner}")
}

/// Under which a result is kept as a generation.
pub fn digest(function: DigestFunction, owner: &str, result: &StoredResult) -> Digest {
    Digest::of(function, &[b"iact generation 1\n", owner.as_bytes(), b"\n", &result.encode()[..]].concat())
}

/// The generations of an owner, the newest first.
///
/// # Errors
/// The cache cannot be read.
pub fn list(store: &LocalStore, owner: &str, now_unix_ms: u64) -> Result<Vec<Generation>, StoreError> {
    let kept: Vec<Digest> = store.pinned_by(&keeper(owner))?.into_iter().map(|(digest, _)| digest).collect();
    let mut all: Vec<Generation> = store
        .pinned_by(owner)?
        .into_iter()
        .map(|(digest, result)| Generation { digest, result, is_pinned: kept.contains(&digest) })
        .collect();
    sort(&mut all, now_unix_ms);
    Ok(all)
}

fn sort(all: &mut [Generation], now_unix_ms: u64) {
    all.sort_by_key(|one| {
        let finished_unix_ms = one.result.finished_unix_ms;
        (finished_unix_ms > now_unix_ms, Reverse(finished_unix_ms), one.digest)
    });
}

/// Lets go of what `retain` does not ask for any more, but for the result that finished when the workspace's did.
///
/// # Errors
/// The cache cannot be read or written.
pub fn thin(
    store: &LocalStore,
    owner: &str,
    retain: Retain,
    has_unix_ms: Option<u64>,
    now_unix_ms: u64,
) -> Result<(), StoreError> {
    let all = list(store, owner, now_unix_ms)?;
    let is_elsewhere = |one: &&Generation| Some(one.result.finished_unix_ms) != has_unix_ms;
    for generation in surplus(&all, retain, now_unix_ms).filter(is_elsewhere) {
        store.unpin(&generation.digest, owner)?;
    }
    Ok(())
}

/// Lets go of what no target of the workspace asks for any more: `retain` may ask for less than it did, or be gone. The target
/// may be gone, too; it may come back with another branch, so that its generations have their time.
///
/// # Errors
/// The cache cannot be read or written.
pub fn thin_all(
    store: &LocalStore,
    workspace: &Workspace,
    journal: &Journal,
    now_unix_ms: u64,
) -> Result<(), StoreError> {
    if !workspace.graph.actions.iter().any(may_have_others) {
        let owners = workspace.graph.actions.iter().map(|action| owner(workspace, &action.name));
        store.tell_owners(&workspace.root, &PinOwners::of(owners), now_unix_ms)?;
    }
    let owners = store.pin_owners()?;
    for action in &workspace.graph.actions {
        let owner = owner(workspace, &action.name);
        if !owners.has(&owner) {
            continue;
        }
        match action.rare().retain {
            Some(retain) => thin(store, &owner, retain, finished(journal, &action.name), now_unix_ms)?,
            None => {
                for generation in list(store, &owner, now_unix_ms)?.iter().filter(|one| !one.is_pinned) {
                    store.unpin(&generation.digest, &owner)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether the command line can name an instance of the same target that is not in the graph without it.
fn may_have_others(action: &Action) -> bool {
    action.rare().retain.is_some() && action.file.is_none() && action.name.ends_with(']')
}

/// When the result finished that the workspace has.
pub fn finished(journal: &Journal, name: &str) -> Option<u64> {
    journal.record(name).map(|record| record.finished_unix_ms)
}

/// Keeps a generation for good.
///
/// # Errors
/// The cache cannot be written.
pub fn pin(store: &LocalStore, owner: &str, digest: &Digest) -> Result<(), StoreError> {
    store.pin(digest, &keeper(owner))
}

/// What nobody asks for any more; `all` is sorted, the newest first.
fn surplus(all: &[Generation], retain: Retain, now_unix_ms: u64) -> impl Iterator<Item = &Generation> {
    let last = retain.last.unwrap_or(1).max(1) as usize;
    let oldest = retain.age_ms.map(|age_ms| now_unix_ms.saturating_sub(age_ms));
    let is_young = move |one: &Generation| oldest.is_some_and(|oldest| one.result.finished_unix_ms >= oldest);
    all.iter().skip(last).filter(move |one| !one.is_pinned && !is_young(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_wrong_once_costs_no_new_result_and_keeps_no_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path(), iact_cache::LocalOptions::default()).unwrap();
        let last = |last| Retain { age_ms: None, last: Some(last) };
        for (owner, retain, clocks, then) in [
            ("ahead", last(1), vec![100, 900, 110, 120], vec![vec![100], vec![900], vec![110], vec![120]]),
            ("behind", last(1), vec![800, 10, 810, 820], vec![vec![800], vec![10], vec![810], vec![820]]),
            (
                "two",
                last(2),
                vec![100, 900, 110, 120],
                vec![vec![100], vec![900, 100], vec![110, 100], vec![120, 110]],
            ),
            (
                "young",
                Retain { age_ms: Some(50), last: None },
                vec![800, 10, 810],
                vec![vec![800], vec![10, 800], vec![810, 800]],
            ),
        ] {
            for (now, then) in clocks.into_iter().zip(then) {
                let result = StoredResult { finished_unix_ms: now, ..StoredResult::default() };
                let digest = digest(DigestFunction::Blake3, owner, &result);
                store.pin(&digest, owner).unwrap();
                let batch = store.batch();
                batch.put_result(&digest, &result);
                batch.commit().unwrap();
                thin(&store, owner, retain, Some(now), now).unwrap();
                let found = list(&store, owner, now).unwrap();
                let found: Vec<u64> = found.iter().map(|one| one.result.finished_unix_ms).collect();
                assert_eq!(found, then, "{owner}");
            }
        }
    }

    #[test]
    fn young_ones_and_the_last_ones_stay() {
        let one = |at: u64, is_pinned| Generation {
            digest: Digest { hash: [0; 32], size: 0 },
            result: StoredResult { finished_unix_ms: at, ..StoredResult::default() },
            is_pinned,
        };
        let all = [one(90, false), one(80, false), one(50, true), one(40, false), one(10, false)];
        for (age_ms, last, gone) in [
            (None, Some(3), vec![40, 10]),
            (Some(60), None, vec![10]),
            (Some(15), None, vec![80, 40, 10]),
            (Some(15), Some(2), vec![40, 10]),
            (Some(65), Some(1), vec![10]),
            (None, Some(9), vec![]),
        ] {
            let found: Vec<u64> =
                surplus(&all, Retain { age_ms, last }, 100).map(|one| one.result.finished_unix_ms).collect();
            assert_eq!(found, gone, "{age_ms:?} {last:?}");
        }
    }
}
