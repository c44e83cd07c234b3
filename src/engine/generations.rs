//! `retain`: earlier results that are kept as generations.
//!
//! A generation is a result of its own in the local cache, under a digest made of its owner and itself, pinned
//! by that owner (`<workspace>\n<instance>`) as long as the workspace is there, so that no sweep takes it and no later result of the same
//! fingerprint replaces it. What `iact artifact pin` keeps is pinned for good, and has a second pin, by `keep <owner>`. The cache is
//! the only list of them.
//!
//! Invariant: of the generations that `retain` does not ask for any more, only the pin goes; `age` and `last`
//! together keep what either asks for; the newest always stays.

use crate::manifest::decl::Retain;
use crate::workspace::Workspace;
use iact_cache::{Digest, DigestFunction, LocalStore, StoreError, StoredResult};

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
    format!("{}\n{name}", workspace.root.display())
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
pub fn list(store: &LocalStore, owner: &str) -> Result<Vec<Generation>, StoreError> {
    let kept: Vec<Digest> = store.pinned_by(&keeper(owner))?.into_iter().map(|(digest, _)| digest).collect();
    let mut all: Vec<Generation> = store
        .pinned_by(owner)?
        .into_iter()
        .map(|(digest, result)| Generation { digest, result, is_pinned: kept.contains(&digest) })
        .collect();
    all.sort_by(|a, b| {
        b.result.finished_unix_ms.cmp(&a.result.finished_unix_ms).then(a.digest.cmp(&b.digest))
    });
    Ok(all)
}

/// Lets go of what `retain` does not ask for any more.
///
/// # Errors
/// The cache cannot be read or written.
pub fn thin(store: &LocalStore, owner: &str, retain: Retain, now_unix_ms: u64) -> Result<(), StoreError> {
    for generation in surplus(&list(store, owner)?, retain, now_unix_ms) {
        store.unpin(&generation.digest, owner)?;
    }
    Ok(())
}

/// Lets go of what no target of the workspace asks for any more: `retain` may ask for less than it did, or be gone.
///
/// # Errors
/// The cache cannot be read or written.
pub fn thin_all(store: &LocalStore, workspace: &Workspace, now_unix_ms: u64) -> Result<(), StoreError> {
    let owners = store.pin_owners()?;
    for action in &workspace.graph.actions {
        let owner = owner(workspace, &action.name);
        if !owners.has(&owner) {
            continue;
        }
        match action.rare().retain {
            Some(retain) => thin(store, &owner, retain, now_unix_ms)?,
            None => {
                for generation in list(store, &owner)?.iter().filter(|one| !one.is_pinned) {
                    store.unpin(&generation.digest, &owner)?;
                }
            }
        }
    }
    Ok(())
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
