//! Looking after a cache as a whole: how much it holds, what is in it, what goes, whether all of it is sound.
//!
//! Safe beside any number of builds: a build whose blob vanishes has a miss. Results are listed before blobs
//! and removed before blobs, and only the very files that were examined are removed. One sweep runs at a time
//! (`sweep.lock`). Folders that hold what they held are not listed again (`stock.rs`); a sweep that finds everything within
//! the limits, nothing due and nothing gone looks only at what came since the last one.
#![allow(clippy::disallowed_methods, reason = "shell: lists, reads and removes the cache's files")]

mod listing;
mod little;
mod pins;
mod places;
mod quarantine;
mod verify;

pub use pins::PinOwners;
pub use verify::{Damage, Verified, VerifyOptions};

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::action::{OutputKind, StoredResult};
use crate::chaos::{Bug, planted, point};
use crate::digest::Digest;
use crate::entry::EntryPath;
use crate::folder::{FileFacts, Folder};
use crate::gc::{BlobFacts, Needs, ResultFacts, State, Sweep, SweepPolicy, claim, plan_sweep};
use crate::hold;
use crate::local::{LocalStore, ReadEntry};
use crate::lock::{Lock, Scratch};
use crate::stock::{self, Row, SHARDS, Stock};
use crate::store::{Store, StoreError};
use crate::tree::{Node, decode_tree};
use crate::uses::{self, LastUses, Total};
use quarantine::{Aside, bytes_of};

/// An automatic sweep for age alone is worth it this often.
const SWEEP_EVERY_MS: u64 = 24 * 3_600_000;

/// How much a cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number of results.
    pub results: usize,
    /// Bytes in them.
    pub result_bytes: u64,
    /// Number of blobs.
    pub blobs: usize,
    /// Bytes in them.
    pub blob_bytes: u64,
    /// Bytes put aside as damaged.
    pub quarantine_bytes: u64,
    /// Folders that could not be listed: of those counts what they held when they could.
    pub unlisted: usize,
}

/// One result and what is known of it.
#[derive(Clone, Debug)]
pub struct ListedResult {
    /// The action it is the result of.
    pub action: Digest,
    /// The result.
    pub result: StoredResult,
    /// When it was used last, or made.
    pub used_unix_ms: u64,
    /// Whether it is kept whatever the limits say.
    pub pinned: bool,
}

/// What a sweep removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Number of results.
    pub results: usize,
    /// Number of blobs.
    pub blobs: usize,
    /// Bytes in both, and in what had been put aside.
    pub freed_bytes: u64,
    /// Bytes still there.
    pub kept_bytes: u64,
    /// Why not everything was looked at, or went that should have.
    pub trouble: Option<String>,
}

/// A file with the name of an entry.
struct Entry {
    hash: [u8; 32],
    facts: FileFacts,
}

/// What a sweep finds.
struct Seen {
    rows: Vec<Row>,
    results: Vec<Entry>,
    /// What is known of each of the results.
    facts: Vec<ResultFacts>,
    /// The blobs as they were before the results were listed, by hash.
    blobs: Vec<Entry>,
    /// What is known of each of the blobs, then of those that were found later: those stay this time.
    blob_facts: Vec<BlobFacts>,
    /// Where those that were found later are in `blob_facts`.
    late: FxHashMap<[u8; 32], usize>,
    /// What was noted of uses.
    uses: LastUses,
    /// There may be other results.
    is_blind: bool,
    /// What could not be listed or read.
    trouble: Option<StoreError>,
}

impl Entry {
    fn changed_unix_ms(&self) -> u64 {
        u64::try_from(self.facts.mtime_ns / 1_000_000).unwrap_or(0)
    }
}

impl LocalStore {
    /// How much the cache holds.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut usage = Usage::default();
        let Some(folder) = self.local().folder()? else { return Ok(usage) };
        let (stock, unlisted) = self.stock(folder, false);
        usage.unlisted = unlisted;
        (usage.results, usage.result_bytes) = stock.sums(false);
        (usage.blobs, usage.blob_bytes) = stock.sums(true);
        if let Ok(quarantine) = folder.child(b"quarantine") {
            let names = quarantine.list();
            usage.unlisted += usize::from(names.is_err());
            let names = names.unwrap_or_default();
            let sizes = names.iter().filter_map(|(name, _)| bytes_of(&quarantine, name).ok());
            usage.quarantine_bytes = sizes.sum();
        }
        Ok(usage)
    }

    /// Every sound result, the last used first.
    pub fn list(&self) -> Result<Vec<ListedResult>, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(Vec::new()) };
        let uses = uses::read_uses(folder).unwrap_or_default();
        let pins = self.pins(folder)?;
        let mut listed = Vec::new();
        let results = self.list_all(folder, 0..SHARDS, 0);
        if let Some(trouble) = results.trouble {
            return Err(trouble);
        }
        for entry in results.entries {
            if let ReadEntry::Sound { action, result } = self.local().read_entry(&entry.hash)? {
                let used_unix_ms = last_use(&uses, &entry, u64::MAX);
                listed.push(ListedResult {
                    action,
                    result,
                    used_unix_ms,
                    pinned: pins.contains(&entry.hash),
                });
            }
        }
        listed.sort_by(|a, b| b.used_unix_ms.cmp(&a.used_unix_ms).then(a.action.cmp(&b.action)));
        Ok(listed)
    }

    /// The sound result of the action with this hash, whatever the action's size.
    pub fn find(&self, hash: &[u8; 32]) -> Result<Option<(Digest, StoredResult)>, StoreError> {
        Ok(match self.local().read_entry(hash)? {
            ReadEntry::Sound { action, result } => Some((action, result)),
            ReadEntry::Absent | ReadEntry::Damaged { .. } => None,
        })
    }

    /// Removes a result and whatever pins hold it; whether there was one. Its blobs go with a later sweep.
    pub fn forget(&self, action: &Digest) -> Result<bool, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(false) };
        self.unpin_all(folder, action)?;
        let path = EntryPath::result(&action.hash);
        match rustix::fs::unlinkat(folder, path.as_bytes(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.local().io(path.as_str(), error)),
        }
    }

    /// Removes everything, pinned results included. What does not go costs only itself.
    pub fn clear(&self) -> Result<(), StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(()) };
        let _lock = self.sweep_lock()?;
        let names = ["stock", "ac", "cas", "pins", "quarantine", "uses"].map(str::as_bytes);
        // Moved first: nobody stores into a folder that is being emptied. On a full disk there may be no place to move it to.
        let scratch = self.local().scratch().ok();
        let moved = |name: &[u8]| {
            let scratch = scratch.as_ref().ok_or(Errno::NOSPC)?;
            rustix::fs::renameat(folder, name, scratch.folder(), name)
        };
        let mut cleared;
        let moved = {
            let _none = self.stop_publishing(folder)?;
            let moved = names.map(moved);
            // Here, while nobody stores: what comes from now on counts.
            cleared =
                uses::set_total(folder, Total::default()).map_err(|error| self.local().io("total", error));
            moved
        };
        for (name, moved) in names.into_iter().zip(moved) {
            let removed = match (moved, &scratch) {
                (Ok(()), Some(scratch)) => scratch.folder().remove(name),
                (Err(Errno::NOENT), _) => Ok(()),
                _ => folder.remove(name),
            };
            cleared =
                cleared.and(removed.map_err(|error| self.local().io(&*String::from_utf8_lossy(name), error)));
        }
        self.sweep_litter(folder);
        cleared
    }

    fn stop_publishing(&self, folder: &Folder) -> Result<Folder, StoreError> {
        let stopped = hold::await_publishing(folder, hold::PUBLISHING);
        stopped.map_err(|error| StoreError::io(self.path(), error))?.ok_or_else(|| {
            StoreError::Unavailable("another process does not come to an end of storing".to_owned())
        })
    }

    /// Bytes of all files of a result, as far as can be told.
    pub fn output_bytes(&self, result: &StoredResult) -> u64 {
        let only_outputs = StoredResult { outputs: result.outputs.clone(), ..StoredResult::default() };
        let trees = result.outputs.iter().filter_map(|output| match &output.kind {
            OutputKind::Directory { tree, .. } => Some(tree.size),
            _ => None,
        });
        match self.needs_of(&only_outputs) {
            Ok(Needs::Known(blobs)) => blobs.iter().map(|blob| blob.size).sum::<u64>() - trees.sum::<u64>(),
            _ => 0,
        }
    }

    /// Sweeps if the cache has outgrown `max_bytes`, or once a day if there is a `max_age_ms`. Otherwise this
    /// reads one small file.
    ///
    /// Goes a tenth below the limit, so that the next runs need not sweep again.
    pub fn sweep_if_needed(&self, limits: &SweepPolicy) -> Result<Option<Swept>, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(None) };
        if self.local().options.read_only {
            return Ok(None);
        }
        if let Some(total) = uses::read_total(folder) {
            let too_many = limits.max_bytes.is_some_and(|limit| total.bytes > limit);
            let [swept, now] = [total.swept_unix_ms, limits.now_unix_ms];
            // One that is yet to come was dated by a wrong clock.
            let due = swept > now || swept.saturating_add(SWEEP_EVERY_MS) <= now;
            let too_old = due && limits.max_age_ms.is_some();
            if !too_many && !too_old {
                return Ok(None);
            }
        }
        let Some(_lock) = Lock::try_acquire(&self.path().join("sweep.lock"))
            .map_err(|error| self.local().io("sweep.lock", error))?
        else {
            return Ok(None);
        };
        // Somebody may have been stopped while he published: the next run tries again.
        if matches!(hold::await_publishing(folder, hold::A_MOMENT), Ok(None)) {
            return Ok(None);
        }
        let lower = limits.max_bytes.map(|limit| limit - limit / 10);
        let aside = self.sweep_quarantine(folder, &SweepPolicy { max_bytes: lower, ..*limits });
        // Below the limit no entry goes for its size, even if the count said so.
        let stock = self.stock(folder, true).0;
        let held = stock.sums(false).1 + stock.sums(true).1;
        let within = limits.max_bytes.is_none_or(|limit| held <= limit);
        let policy = SweepPolicy { max_bytes: if within { None } else { lower }, ..*limits };
        self.sweep_locked(folder, &policy, aside).map(Some)
    }

    /// Removes what the policy does not want to keep.
    pub fn sweep(&self, policy: &SweepPolicy) -> Result<Swept, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(Swept::default()) };
        let _lock = self.sweep_lock()?;
        let aside = self.sweep_quarantine(folder, policy);
        self.sweep_locked(folder, policy, aside)
    }

    fn sweep_lock(&self) -> Result<Lock, StoreError> {
        Lock::acquire(&self.path().join("sweep.lock")).map_err(|error| self.local().io("sweep.lock", error))
    }

    fn sweep_locked(&self, folder: &Folder, policy: &SweepPolicy, aside: Aside) -> Result<Swept, StoreError> {
        self.sweep_litter(folder);
        self.let_go(folder, policy.now_unix_ms);
        let mut swept = Swept { freed_bytes: aside.freed_bytes, ..Swept::default() };
        if let Some(kept_bytes) = self.sweep_little(folder, policy, aside)? {
            return Ok(Swept { kept_bytes, ..swept });
        }
        let began_ns = stock::now_ns();
        let counted = uses::read_total(folder).unwrap_or_default().bytes;
        let mut seen = self.see(folder, began_ns, policy.now_unix_ms)?;
        let plan = match seen.is_blind {
            true => Sweep::nothing(&seen.facts, &seen.blob_facts),
            false => plan_sweep(&seen.facts, &seen.blob_facts, policy),
        };
        swept.kept_bytes = plan.kept_bytes;
        let mut trouble = seen.trouble.take();
        let removed = self.remove_planned(folder, (&seen, &plan), &mut swept, &mut trouble);
        point("sweep.removed");
        let gone: FxHashSet<usize> = plan.results.iter().copied().collect();
        let left = seen.facts.iter().enumerate().filter(|(index, _)| !gone.contains(index));
        let left: Vec<&ResultFacts> = left.map(|(_, result)| result).collect();
        let oldest_unix_ms = left.iter().map(|result| result.used_unix_ms).min().unwrap_or(u64::MAX);
        let left: LastUses = left.into_iter().map(|result| (result.action, result.used_unix_ms)).collect();
        let scratch = self.local().scratch()?;
        if !seen.is_blind {
            uses::rewrite_uses(folder, scratch.folder(), left, &seen.uses)
                .map_err(|error| self.local().io("uses", error))?;
        }
        let bytes = swept.kept_bytes + aside.left_bytes;
        let total = Total { bytes, swept_unix_ms: policy.now_unix_ms };
        uses::recount(folder, counted, total).map_err(|error| self.local().io("total", error))?;
        if trouble.is_some() || swept.kept_bytes > plan.kept_bytes {
            // What was not seen or did not go is for the next sweep, which has to walk again.
            let _ = folder.remove(b"stock");
            return Ok(Swept { trouble: trouble.map(|trouble| trouble.to_string()), ..swept });
        }
        let mut rows = seen.rows;
        for shard in removed {
            let known = if shard < SHARDS { &seen.results } else { &seen.blobs };
            rows[shard] = self.list_again(folder, shard, known, began_ns);
        }
        let orphan_unix_ms = plan.orphan_unix_ms.unwrap_or(u64::MAX);
        // Without it the next sweep walks again.
        let _ = Stock::swept(began_ns, orphan_unix_ms, oldest_unix_ms, rows).write(folder, scratch.folder());
        Ok(swept)
    }

    /// Looks at everything: blobs, then results, in the order that `hold.rs` asks for.
    fn see(&self, folder: &Folder, began_ns: i64, now_unix_ms: u64) -> Result<Seen, StoreError> {
        let blobs = self.list_all(folder, SHARDS..2 * SHARDS, began_ns);
        drop(self.stop_publishing(folder)?);
        let results = self.list_all(folder, 0..SHARDS, began_ns);
        let is_blind = results.trouble.is_some();
        let mut trouble = results.trouble.or(blobs.trouble);
        // Whose pins are not known has none to spare.
        let pins = self.pins(folder).map_err(|error| _ = trouble.get_or_insert(error)).ok();
        let uses = uses::read_uses(folder).map_err(|error| self.local().io("uses", error))?;
        let result = |entry: &Entry| ResultFacts {
            action: entry.hash,
            size: entry.facts.size,
            used_unix_ms: last_use(&uses, entry, now_unix_ms),
            pinned: pins.as_ref().is_none_or(|pins| pins.contains(&entry.hash)),
            state: State::Known,
        };
        let blob = |entry: &Entry| BlobFacts {
            size: entry.facts.size,
            changed_unix_ms: entry.changed_unix_ms(),
            last: None,
        };
        let mut seen = Seen {
            rows: [results.rows, blobs.rows].concat(),
            facts: results.entries.iter().map(result).collect(),
            results: results.entries,
            blob_facts: blobs.entries.iter().map(blob).collect(),
            blobs: blobs.entries,
            late: FxHashMap::default(),
            uses,
            is_blind,
            trouble,
        };
        for index in 0..seen.results.len() {
            match self.needs(&seen.results[index].hash) {
                Ok(needs) => {
                    if let Needs::Lost(_) = needs {
                        seen.facts[index].state = State::Lost;
                    }
                    let (Needs::Known(needs) | Needs::Lost(needs)) = needs;
                    let needs = needs.iter().filter(|digest| digest.size > 0);
                    let found: Vec<Option<usize>> =
                        needs.map(|digest| self.find_blob(folder, digest, now_unix_ms, &mut seen)).collect();
                    claim(&mut seen.facts, index, &found, &mut seen.blob_facts);
                }
                Err(error) => {
                    seen.trouble.get_or_insert(error);
                    seen.facts[index].state = State::Unread;
                }
            }
        }
        Ok(seen)
    }

    /// Where a blob is among those that were seen. What was not listed is looked for; of what cannot be told nobody says that it
    /// is not there.
    fn find_blob(&self, folder: &Folder, blob: &Digest, now_unix_ms: u64, seen: &mut Seen) -> Option<usize> {
        let listed = seen.blobs.binary_search_by(|entry| entry.hash.cmp(&blob.hash)).ok();
        let known = listed.or_else(|| seen.late.get(&blob.hash).copied());
        let index = known.or_else(|| {
            let path = EntryPath::blob(&blob.hash);
            let (size, changed_unix_ms) = match folder.facts(path.as_bytes()) {
                Ok(None) => return None,
                Ok(Some(facts)) if !facts.is_file() => return None,
                Ok(Some(facts)) => (facts.size, Entry { hash: blob.hash, facts }.changed_unix_ms()),
                Err(error) => {
                    seen.trouble.get_or_insert_with(|| self.local().io(path.as_str(), error));
                    (blob.size, now_unix_ms)
                }
            };
            seen.blob_facts.push(BlobFacts { size, changed_unix_ms, last: None });
            seen.late.insert(blob.hash, seen.blob_facts.len() - 1);
            Some(seen.blob_facts.len() - 1)
        });
        index.filter(|index| seen.blob_facts[*index].size == blob.size)
    }

    /// Removes what is to go, results first; which folders are not what they were. What does not go costs only itself.
    fn remove_planned(
        &self,
        folder: &Folder,
        (seen, plan): (&Seen, &Sweep),
        swept: &mut Swept,
        trouble: &mut Option<StoreError>,
    ) -> BTreeSet<usize> {
        // On a full disk there may be none.
        let scratch = self.local().scratch().ok();
        let mut touched = BTreeSet::new();
        let mut still_needed: FxHashSet<[u8; 32]> = FxHashSet::default();
        let mut any_needed = false;
        let order = if planted(Bug::SweepBlobsFirst) { [false, true] } else { [true, false] };
        for results in order {
            let (indices, from, to_path): (_, _, fn(&[u8; 32]) -> EntryPath) = match results {
                true => (&plan.results, &seen.results, EntryPath::result),
                false => (&plan.blobs, &seen.blobs, EntryPath::blob),
            };
            for &index in indices {
                let Some(entry) = from.get(index) else {
                    swept.kept_bytes += seen.blob_facts[index].size;
                    continue;
                };
                let path = to_path(&entry.hash);
                let removed = if !results && (any_needed || still_needed.contains(&entry.hash)) {
                    Ok(false)
                } else {
                    hold::remove_listed(folder, scratch.as_deref(), &path, &entry.facts)
                };
                point("sweep.entry");
                touched.insert(usize::from(entry.hash[0]) + if results { 0 } else { SHARDS });
                if let Ok(true) = removed {
                    *(if results { &mut swept.results } else { &mut swept.blobs }) += 1;
                    swept.freed_bytes += entry.facts.size;
                    continue;
                }
                swept.kept_bytes += entry.facts.size;
                if let Err(error) = removed {
                    trouble.get_or_insert_with(|| self.local().io(path.as_str(), error));
                }
                match results.then(|| self.needs(&entry.hash)) {
                    Some(Ok(Needs::Known(needs) | Needs::Lost(needs))) => {
                        still_needed.extend(needs.iter().map(|blob| blob.hash));
                    }
                    Some(Err(_)) => any_needed = true,
                    None => {}
                }
            }
        }
        touched
    }

    /// What a result needs. What is not there or damaged is lost; an error says nothing about the result.
    fn needs(&self, action: &[u8; 32]) -> Result<Needs, StoreError> {
        match self.local().read_entry(action)? {
            ReadEntry::Sound { result, .. } => self.needs_of(&result),
            ReadEntry::Absent | ReadEntry::Damaged { .. } => Ok(Needs::Lost(Vec::new())),
        }
    }

    pub(crate) fn needs_of(&self, result: &StoredResult) -> Result<Needs, StoreError> {
        let mut blobs: Vec<Digest> = result.blobs().collect();
        let mut is_lost = false;
        for output in &result.outputs {
            let OutputKind::Directory { tree, .. } = &output.kind else { continue };
            let mut bytes = Vec::new();
            let decoded = match self.read_blob(tree, &mut bytes) {
                Err(StoreError::NotFound(_) | StoreError::Corrupt { .. }) => None,
                read => {
                    read?;
                    decode_tree(self.digest_function(), &bytes).ok()
                }
            };
            let Some(decoded) = decoded else {
                is_lost = true;
                continue;
            };
            for (_, node) in decoded.entries {
                if let Node::File { digest, .. } = node {
                    blobs.push(digest);
                }
            }
        }
        Ok(if is_lost { Needs::Lost(blobs) } else { Needs::Known(blobs) })
    }

    fn sweep_litter(&self, folder: &Folder) {
        if let Ok(tmp) = folder.child(b"tmp") {
            let _ = Scratch::sweep(&tmp);
        }
    }
}

/// When a result was used last, or made. What a wrong clock said of a time to come is worth nothing, or only until now.
fn last_use(uses: &LastUses, entry: &Entry, now_unix_ms: u64) -> u64 {
    let made = Some(entry.changed_unix_ms()).filter(|made| *made <= now_unix_ms);
    let used = uses.get(&entry.hash).map(|used| *used.min(&now_unix_ms));
    made.max(used).unwrap_or(now_unix_ms)
}
