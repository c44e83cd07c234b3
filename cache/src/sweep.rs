//! Looking after a cache as a whole: how much it holds, what is in it, what goes, whether all of it is sound.
//!
//! Safe beside any number of builds: a build whose blob vanishes has a miss. Results are listed before blobs
//! and removed before blobs, and only the very files that were examined are removed. One sweep runs at a time
//! (`sweep.lock`). Folders that hold what they held are not listed again (`stock.rs`); a sweep that finds everything within
//! the limits, nothing due and nothing gone looks only at what came since the last one.
#![allow(clippy::disallowed_methods, reason = "shell: lists, reads and removes the cache's files")]

mod listing;
mod little;

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashSet;
use rustix::fs::AtFlags;

use crate::action::{OutputKind, StoredResult};
use crate::chaos::{Bug, planted, point};
use crate::digest::{Digest, decode_hex};
use crate::folder::{FileFacts, Folder, PRIVATE};
use crate::gc::{BlobFacts, ResultFacts, SweepPolicy, plan_sweep};
use crate::local::{EntryPath, FILE_MODE, LocalStore, ReadEntry};
use crate::lock::{Lock, Scratch};
use crate::ops;
use crate::stock::{self, SHARDS, Stock};
use crate::store::{Store, StoreError};
use crate::tree::{Node, decode_tree};
use crate::uses::{self, LastUses, Total};

/// What was put aside is kept this long for whoever wants to look.
const QUARANTINE_MS: u64 = 7 * 24 * 3_600_000;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Number of results.
    pub results: usize,
    /// Number of blobs.
    pub blobs: usize,
    /// Bytes in both.
    pub freed_bytes: u64,
    /// Bytes still there.
    pub kept_bytes: u64,
}

/// How thoroughly to verify.
#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions {
    /// Reads one blob of so many; 1: all of them.
    pub one_in: u64,
    /// Which ones, if not all.
    pub seed: u64,
    /// Puts aside what is damaged.
    pub repair: bool,
    /// How many threads may read at once.
    pub threads: usize,
}

/// What verifying found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many entries were read.
    pub checked: usize,
    /// What is wrong, by path.
    pub damaged: Vec<Damage>,
}

/// An entry that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Relative to the cache.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// A file with the name of an entry.
struct Entry {
    hash: [u8; 32],
    facts: FileFacts,
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
        let stock = self.stock(folder, false)?;
        (usage.results, usage.result_bytes) = stock.sums(false);
        (usage.blobs, usage.blob_bytes) = stock.sums(true);
        if let Ok(quarantine) = folder.child(b"quarantine") {
            let names = quarantine.list().map_err(|error| self.local().io("quarantine", error))?;
            let sizes = names.iter().filter_map(|(name, _)| quarantine.facts(name).ok().flatten());
            usage.quarantine_bytes = sizes.map(|facts| facts.size).sum();
        }
        Ok(usage)
    }

    /// Every sound result, the last used first.
    pub fn list(&self) -> Result<Vec<ListedResult>, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(Vec::new()) };
        let uses = uses::read_uses(folder);
        let pins = self.pins(folder)?;
        let mut listed = Vec::new();
        for entry in self.entries(b"ac")?.0 {
            if let ReadEntry::Sound { action, result } = self.local().read_entry(&entry.hash)? {
                let used_unix_ms = last_use(&uses, &entry);
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

    /// Removes a result; whether there was one. Its blobs go with a later sweep.
    pub fn forget(&self, action: &Digest) -> Result<bool, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(false) };
        let path = EntryPath::result(&action.hash);
        match rustix::fs::unlinkat(folder, path.as_bytes(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(self.local().io(path.as_str(), error)),
        }
    }

    /// Keeps a result out of reach of sweeps on behalf of `owner`, until that owner unpins it.
    pub fn pin(&self, action: &Digest, owner: &str) -> Result<(), StoreError> {
        let folder = self.local().folder_made()?;
        let pinned = folder.make_with(b"pins", PRIVATE).and_then(|()| {
            match folder.create_file(&pin_path(action, owner), FILE_MODE) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                created => created.map(drop),
            }
        });
        pinned.map_err(|error| self.local().io("pins", error))
    }

    /// Takes back [`LocalStore::pin`].
    pub fn unpin(&self, action: &Digest, owner: &str) -> Result<(), StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(()) };
        folder.remove(&pin_path(action, owner)).map_err(|error| self.local().io("pins", error))
    }

    /// The sound results that `owner` has pinned.
    pub fn pinned_by(&self, owner: &str) -> Result<Vec<(Digest, StoredResult)>, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(Vec::new()) };
        let names = match folder.child(b"pins").and_then(|pins| pins.list()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            names => names.map_err(|error| self.local().io("pins", error))?,
        };
        let mut pinned = Vec::new();
        for (name, _) in names {
            let Some(hash) = name.get(..64).and_then(decode_hex) else { continue };
            if pin_path(&Digest { hash, size: 0 }, owner).ends_with(&name)
                && let ReadEntry::Sound { action, result } = self.local().read_entry(&hash)?
            {
                pinned.push((action, result));
            }
        }
        Ok(pinned)
    }

    /// Removes everything, pinned results included.
    pub fn clear(&self) -> Result<(), StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(()) };
        let _lock = self.sweep_lock()?;
        for name in ["stock", "ac", "cas", "pins", "quarantine", "uses"] {
            folder.remove(name.as_bytes()).map_err(|error| self.local().io(name, error))?;
        }
        self.sweep_litter(folder);
        uses::set_total(folder, Total::default()).map_err(|error| self.local().io("total", error))
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
            let due = total.swept_unix_ms.saturating_add(SWEEP_EVERY_MS) <= limits.now_unix_ms;
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
        let lower = limits.max_bytes.map(|limit| limit - limit / 10);
        // Below the limit nothing goes for its size, even if the count said so.
        let stock = self.stock(folder, true)?;
        let held = stock.sums(false).1 + stock.sums(true).1;
        let within = limits.max_bytes.is_none_or(|limit| held <= limit);
        let policy = SweepPolicy { max_bytes: if within { None } else { lower }, ..*limits };
        self.sweep_locked(folder, &policy).map(Some)
    }

    /// Removes what the policy does not want to keep.
    pub fn sweep(&self, policy: &SweepPolicy) -> Result<Swept, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(Swept::default()) };
        let _lock = self.sweep_lock()?;
        self.sweep_locked(folder, policy)
    }

    fn sweep_lock(&self) -> Result<Lock, StoreError> {
        Lock::acquire(&self.path().join("sweep.lock")).map_err(|error| self.local().io("sweep.lock", error))
    }

    fn sweep_locked(&self, folder: &Folder, policy: &SweepPolicy) -> Result<Swept, StoreError> {
        self.sweep_litter(folder);
        self.sweep_quarantine(folder, policy.now_unix_ms);
        if let Some(kept_bytes) = self.sweep_little(folder, policy)? {
            return Ok(Swept { kept_bytes, ..Swept::default() });
        }
        let began_ns = stock::now_ns();
        let counted = uses::read_total(folder).unwrap_or_default().bytes;
        let uses = uses::read_uses(folder);
        let pins = self.pins(folder)?;
        let (mut rows, entries) = self.list_all(folder, 0..SHARDS, began_ns)?;
        let mut results = Vec::with_capacity(entries.len());
        for entry in &entries {
            results.push(ResultFacts {
                action: entry.hash,
                size: entry.facts.size,
                used_unix_ms: last_use(&uses, entry),
                pinned: pins.contains(&entry.hash),
                blobs: self.blobs_of(&entry.hash),
            });
        }
        let (blob_rows, files) = self.list_all(folder, SHARDS..2 * SHARDS, began_ns)?;
        rows.extend(blob_rows);
        let blob = |entry: &Entry| BlobFacts {
            hash: entry.hash,
            size: entry.facts.size,
            changed_unix_ms: entry.changed_unix_ms(),
        };
        let blobs: Vec<_> = files.iter().map(blob).collect();
        let plan = plan_sweep(&results, &blobs, policy);
        let mut swept = Swept { kept_bytes: plan.kept_bytes, ..Swept::default() };
        let mut touched = BTreeSet::new();
        let order = if planted(Bug::SweepBlobsFirst) { [false, true] } else { [true, false] };
        for results in order {
            let (indices, from) = if results { (&plan.results, &entries) } else { (&plan.blobs, &files) };
            for entry in indices.iter().map(|index| &from[*index]) {
                let name = if results { EntryPath::result } else { EntryPath::blob };
                let removed = self.remove_entry(folder, &name(&entry.hash), &entry.facts)?;
                point("sweep.entry");
                touched.insert(usize::from(entry.hash[0]) + if results { 0 } else { SHARDS });
                *(if results { &mut swept.results } else { &mut swept.blobs }) += usize::from(removed);
                swept.freed_bytes += entry.facts.size;
            }
        }
        point("sweep.removed");
        let gone: FxHashSet<usize> = plan.results.iter().copied().collect();
        let left = results.iter().enumerate().filter(|(index, _)| !gone.contains(index));
        let left: Vec<&ResultFacts> = left.map(|(_, result)| result).collect();
        let oldest_unix_ms = left.iter().map(|result| result.used_unix_ms).min().unwrap_or(u64::MAX);
        let left: LastUses = left.into_iter().map(|result| (result.action, result.used_unix_ms)).collect();
        let scratch = self.local().scratch()?;
        uses::rewrite_uses(folder, scratch.folder(), &left)
            .map_err(|error| self.local().io("uses", error))?;
        // What others stored meanwhile counts as well.
        let meanwhile = uses::read_total(folder).unwrap_or_default().bytes.saturating_sub(counted);
        let total = Total { bytes: swept.kept_bytes + meanwhile, swept_unix_ms: policy.now_unix_ms };
        uses::set_total(folder, total).map_err(|error| self.local().io("total", error))?;
        for shard in touched {
            let facts = self.shard_facts(folder, shard)?;
            rows[shard] = self.list_shard(folder, shard, (facts, began_ns))?.0;
        }
        let orphan_unix_ms = plan.orphan_unix_ms.unwrap_or(u64::MAX);
        // Without it the next sweep walks again.
        let _ = Stock::swept(began_ns, orphan_unix_ms, oldest_unix_ms, rows).write(folder, scratch.folder());
        Ok(swept)
    }

    /// Reads everything, or a sample, and says what is not what it should be.
    pub fn verify(&self, options: &VerifyOptions) -> Result<Verified, StoreError> {
        let local = self.local();
        let (results, mut damaged) = self.entries(b"ac")?;
        let (blobs, strays) = self.entries(b"cas")?;
        damaged.extend(strays);
        let chosen = |entry: &Entry| {
            let number = u64::from_le_bytes(*entry.hash.first_chunk().expect("eight of 32 bytes"));
            number.wrapping_add(options.seed).is_multiple_of(options.one_in.max(1))
        };
        let blobs: Vec<Entry> = blobs.into_iter().filter(chosen).collect();
        let checked = results.len() + blobs.len();
        let damaged = Mutex::new(damaged);
        let report = |path: &EntryPath, reason: String, facts: &FileFacts| {
            if options.repair {
                local.put_aside(path, facts);
            }
            let damage = Damage { path: path.as_str().to_owned(), reason };
            damaged.lock().unwrap_or_else(PoisonError::into_inner).push(damage);
        };
        let bytes = blobs.iter().map(|entry| entry.facts.size).sum();
        ops::in_parallel(ops::threads_for(options.threads, blobs.len(), bytes), &blobs, |entry| {
            let path = EntryPath::blob(&entry.hash);
            // What has gone meanwhile is not damaged.
            let Some((file, facts)) = local.open_entry(&path)? else { return Ok(()) };
            match ops::digest_file(local.options.digest, &file) {
                Ok(found) if found.hash == entry.hash => {}
                Ok(found) => report(&path, format!("its content is `{found}`"), &facts),
                Err(error) => report(&path, error.to_string(), &facts),
            }
            Ok::<_, StoreError>(())
        })?;
        for entry in &results {
            let path = EntryPath::result(&entry.hash);
            match local.read_entry(&entry.hash)? {
                ReadEntry::Absent => {}
                ReadEntry::Damaged { reason, facts } => report(&path, reason, &facts),
                ReadEntry::Sound { .. } => {
                    let needed = self.blobs_of(&entry.hash);
                    if needed.is_none_or(|blobs| {
                        self.missing_blobs(&blobs).is_ok_and(|missing| !missing.is_empty())
                    }) {
                        report(&path, "a blob of it is missing".to_owned(), &entry.facts);
                    }
                }
            }
        }
        let mut damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        damaged.sort();
        Ok(Verified { checked, damaged })
    }

    /// Everything a result needs; `None` if it or one of its folders cannot be read.
    fn blobs_of(&self, action: &[u8; 32]) -> Option<Vec<Digest>> {
        let Ok(ReadEntry::Sound { result, .. }) = self.local().read_entry(action) else { return None };
        let mut blobs: Vec<Digest> = result.blobs().collect();
        for output in &result.outputs {
            let OutputKind::Directory { tree, .. } = &output.kind else { continue };
            let mut bytes = Vec::new();
            self.read_blob(tree, &mut bytes).ok()?;
            for (_, node) in decode_tree(self.digest_function(), &bytes).ok()?.entries {
                if let Node::File { digest, .. } = node {
                    blobs.push(digest);
                }
            }
        }
        Some(blobs)
    }

    /// The files that are named like entries, and those under `kind` that are not.
    fn entries(&self, kind: &[u8]) -> Result<(Vec<Entry>, Vec<Damage>), StoreError> {
        let (mut entries, mut strays) = (Vec::new(), Vec::new());
        let name = String::from_utf8_lossy(kind);
        let Some(folder) = self.local().folder()? else { return Ok((entries, strays)) };
        let mut walk = || -> io::Result<()> {
            let kind_folder = match folder.child(kind) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                folder => folder?,
            };
            for (shard, _) in kind_folder.list()? {
                let Ok(folder) = kind_folder.child(&shard) else {
                    strays.push(stray(&[kind, &shard]));
                    continue;
                };
                for (file, _) in folder.list()? {
                    let Some(facts) = folder.facts(&file)? else { continue };
                    match decode_hex(&file) {
                        Some(hash) if file.starts_with(&shard) && facts.is_file() => {
                            entries.push(Entry { hash, facts })
                        }
                        _ => strays.push(stray(&[kind, &shard, &file])),
                    }
                }
            }
            Ok(())
        };
        walk().map_err(|error| self.local().io(&*name, error))?;
        Ok((entries, strays))
    }

    /// Removes an entry, if it still is the file that was examined.
    fn remove_entry(
        &self,
        folder: &Folder,
        path: &EntryPath,
        examined: &FileFacts,
    ) -> Result<bool, StoreError> {
        let at = |error: io::Error| self.local().io(path.as_str(), error);
        let now = folder.facts(path.as_bytes()).map_err(at)?;
        if now.is_none_or(|now| (now.dev, now.ino) != (examined.dev, examined.ino)) {
            return Ok(false);
        }
        folder.remove(path.as_bytes()).map_err(at)?;
        Ok(true)
    }

    fn pins(&self, folder: &Folder) -> Result<FxHashSet<[u8; 32]>, StoreError> {
        let names = match folder.child(b"pins").and_then(|pins| pins.list()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FxHashSet::default()),
            names => names.map_err(|error| self.local().io("pins", error))?,
        };
        Ok(names.iter().filter_map(|(name, _)| decode_hex(name.get(..64)?)).collect())
    }

    fn sweep_litter(&self, folder: &Folder) {
        if let Ok(tmp) = folder.child(b"tmp") {
            let _ = Scratch::sweep(&tmp);
        }
    }

    fn sweep_quarantine(&self, folder: &Folder, now_unix_ms: u64) {
        let Ok(quarantine) = folder.child(b"quarantine") else { return };
        for (name, _) in quarantine.list().unwrap_or_default() {
            let Ok(Some(facts)) = quarantine.facts(&name) else { continue };
            let since = u64::try_from(facts.ctime_ns / 1_000_000).unwrap_or(0);
            if since.saturating_add(QUARANTINE_MS) <= now_unix_ms {
                let _ = quarantine.remove(&name);
            }
        }
    }
}

fn stray(parts: &[&[u8]]) -> Damage {
    let path = String::from_utf8_lossy(&parts.join(&b'/')).into_owned();
    Damage { path, reason: "it is no entry of the cache".to_owned() }
}

/// When a result was used last, or made.
fn last_use(uses: &LastUses, entry: &Entry) -> u64 {
    uses.get(&entry.hash).copied().unwrap_or(0).max(entry.changed_unix_ms())
}

/// Owners are told apart by a digest, so that any text can be one.
fn pin_path(action: &Digest, owner: &str) -> Vec<u8> {
    let owner = blake3::hash(owner.as_bytes()).to_hex();
    format!("pins/{action}-{}", &owner[..16]).into_bytes()
}
