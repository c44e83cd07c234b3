//! The sweep that need not remove anything, which is most of them: it looks only at what came since the last one.
//!
//! Invariant: whatever it cannot tell for sure is told by a whole sweep.
#![allow(clippy::disallowed_methods, reason = "shell: reads the cache's files")]

use rustc_hash::FxHashSet;

use super::Entry;
use super::quarantine::Aside;
use crate::entry::EntryPath;
use crate::folder::{FileFacts, Folder};
use crate::gc::{Needs, SweepPolicy};
use crate::local::LocalStore;
use crate::stock::{self, SHARDS, Stock};
use crate::store::StoreError;
use crate::uses::{self, Total};

impl LocalStore {
    /// A sweep that need not remove anything: everything is within the limits, nothing is due, nothing is gone, and what came
    /// since the last sweep is whole. How much there is; `None`: that is not so, or cannot be told without a walk.
    pub(super) fn sweep_little(
        &self,
        folder: &Folder,
        policy: &SweepPolicy,
        aside: Aside,
    ) -> Result<Option<u64>, StoreError> {
        let began_ns = stock::now_ns();
        let Some(mut stock) = Stock::read(folder) else { return Ok(None) };
        let total = uses::read_total(folder);
        let oldest = policy.max_age_ms.map_or(0, |age| policy.now_unix_ms.saturating_sub(age));
        let is_due = |stock: &Stock| {
            stock.orphan_unix_ms.saturating_add(policy.grace_ms) <= policy.now_unix_ms
                || stock.oldest_unix_ms < oldest
        };
        if is_due(&stock) || total.is_none() {
            return Ok(None);
        }
        let mut came: [Vec<Entry>; 2] = Default::default();
        let mut rows = stock.rows.clone();
        for (shard, row) in rows.iter_mut().enumerate() {
            let Ok(facts) = self.shard_facts(folder, shard) else { return Ok(None) };
            if row.is_same(facts.as_ref()) && row.is_swept() {
                continue;
            }
            let Ok((now, entries)) = self.list_shard(folder, shard, (facts, began_ns)) else {
                return Ok(None);
            };
            let Some(new) = stock.came(shard, &entries, |entry| &entry.facts) else { return Ok(None) };
            let new = new.into_iter().map(|entry| Entry { hash: entry.hash, facts: entry.facts });
            came[shard / SHARDS].extend(new);
            *row = now;
        }
        let [results, blobs] = came;
        let mut wanted: FxHashSet<[u8; 32]> = FxHashSet::default();
        for result in &results {
            let Ok(Needs::Known(needed)) = self.needs(&result.hash) else { return Ok(None) };
            for digest in needed.iter().filter(|digest| digest.size > 0) {
                let path = EntryPath::blob(&digest.hash);
                let is_whole = |facts: &FileFacts| facts.is_file() && facts.size == digest.size;
                if !folder.facts(path.as_bytes()).is_ok_and(|facts| facts.as_ref().is_some_and(is_whole)) {
                    return Ok(None);
                }
                wanted.insert(digest.hash);
            }
            stock.oldest_unix_ms = stock.oldest_unix_ms.min(result.changed_unix_ms().min(policy.now_unix_ms));
        }
        for blob in blobs.iter().filter(|blob| !wanted.contains(&blob.hash)) {
            stock.orphan_unix_ms = stock.orphan_unix_ms.min(blob.changed_unix_ms());
        }
        let stock = Stock::swept(began_ns, stock.orphan_unix_ms, stock.oldest_unix_ms, rows);
        let bytes = stock.sums(false).1 + stock.sums(true).1;
        let counted = total.unwrap_or_default().bytes;
        let too_many = policy.max_bytes.is_some_and(|limit| bytes.max(counted) > limit);
        if too_many || is_due(&stock) {
            return Ok(None);
        }
        let scratch = self.local().scratch()?;
        stock.write(folder, scratch.folder()).map_err(|error| self.local().io("stock", error))?;
        let total = Total { bytes: bytes + aside.left_bytes, swept_unix_ms: policy.now_unix_ms };
        uses::recount(folder, counted, total).map_err(|error| self.local().io("total", error))?;
        Ok(Some(bytes))
    }
}
