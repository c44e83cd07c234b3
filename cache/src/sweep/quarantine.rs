//! What was put aside as damaged: kept a week for whoever wants to look, if there is room for it.
//!
//! It counts towards the limit of the cache, as it did before it was put aside, and goes before any result does, what was put
//! aside first going first.
#![allow(clippy::disallowed_methods, reason = "shell: lists and removes the cache's files")]

use std::io;

use crate::folder::Folder;
use crate::gc::SweepPolicy;
use crate::local::LocalStore;

const QUARANTINE_MS: u64 = 7 * 24 * 3_600_000;

/// How much of the quarantine went, and stays.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aside {
    pub(super) freed_bytes: u64,
    pub(super) left_bytes: u64,
}

impl LocalStore {
    /// Removes what has been there for long, or leaves less room than the entries take. Only who holds the lock of sweeps does.
    pub(super) fn sweep_quarantine(&self, folder: &Folder, policy: &SweepPolicy) -> Aside {
        let Ok(quarantine) = folder.child(b"quarantine") else { return Aside::default() };
        let mut all: Vec<(i64, u64, Vec<u8>)> = Vec::new();
        for (name, _) in quarantine.list().unwrap_or_default() {
            let Ok(Some(facts)) = quarantine.facts(&name) else { continue };
            all.push((facts.ctime_ns, bytes_of(&quarantine, &name).unwrap_or(facts.size), name));
        }
        if all.is_empty() {
            return Aside::default();
        }
        all.sort_unstable();
        let room = policy.max_bytes.map(|limit| {
            let stock = self.stock(folder, true).0;
            limit.saturating_sub(stock.sums(false).1 + stock.sums(true).1)
        });
        let mut aside = Aside { left_bytes: all.iter().map(|(_, size, _)| size).sum(), freed_bytes: 0 };
        for (since_ns, size, name) in all {
            let since = u64::try_from(since_ns / 1_000_000).unwrap_or(0);
            let is_old = since.saturating_add(QUARANTINE_MS) <= policy.now_unix_ms;
            if !is_old && room.is_none_or(|room| aside.left_bytes <= room) {
                break;
            }
            if quarantine.remove(&name).is_ok() {
                aside.left_bytes -= size;
                aside.freed_bytes += size;
            }
        }
        aside
    }
}

/// How many bytes the files at and below a name have.
pub(super) fn bytes_of(parent: &Folder, name: &[u8]) -> io::Result<u64> {
    let Some(facts) = parent.facts(name)? else { return Ok(0) };
    if !facts.is_folder() {
        return Ok(facts.size);
    }
    let folder = parent.child(name)?;
    folder.list()?.iter().map(|(name, _)| bytes_of(&folder, name)).sum()
}
