//! Blobs and results that become visible together: written aside, flushed once, renamed; blobs before
//! results.
//!
//! One flush of the file system costs about what one `fsync` costs, so a batch of a thousand files is as
//! durable as a batch of one for nearly the same price. A name is given only to a file that is complete; a
//! crash at any point leaves temporary files nobody sees, or blobs nobody refers to. A result that became
//! durable before a blob of its own would still be only a miss.
//!
//! No trouble with writing is an error of the caller's: digests come out all the same, and [`Batch::commit`]
//! says what went wrong and that nothing was kept. What belongs together is a [`Batch::part`], so that trouble
//! costs its own part only.
#![allow(clippy::disallowed_methods, reason = "shell: writes the cache's files")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use rustix::io::Errno;

use crate::action::StoredResult;
use crate::chaos::{Bug, planted, point};
use crate::digest::{Digest, DigestFunction};
use crate::entry::EntryPath;
use crate::folder::{FileFacts, Folder, facts_of};
use crate::gc::Needs;
use crate::hold;
use crate::local::{FILE_MODE, Local, LocalStore, encode_entry};
use crate::lock::Scratch;
use crate::ops::{self, CopyError};
use crate::own::make_own;
use crate::store::StoreError;
use crate::system;
use crate::uses;

/// Collects what is to be kept. Any number of threads may add to one.
#[derive(Debug)]
pub struct Batch {
    local: Arc<Local>,
    pending: Arc<Mutex<Pending>>,
    /// What this is a part of.
    whole: Option<Arc<Mutex<Pending>>>,
}

#[derive(Debug, Default)]
struct Pending {
    /// Temporary names by digest.
    blobs: FxHashMap<Digest, Vec<u8>>,
    /// Second names of blobs that are there and relied on.
    held: FxHashMap<Digest, Vec<u8>>,
    /// Temporary names by the hash of the action; a later result of the same action wins.
    results: Vec<([u8; 32], Vec<u8>)>,
    bytes: u64,
    scratch: Option<Arc<Scratch>>,
    trouble: Option<StoreError>,
}

/// What a commit made visible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Blobs that were not there before.
    pub blobs: usize,
    /// Results.
    pub results: usize,
    /// Bytes in all of them.
    pub bytes: u64,
}

impl Batch {
    pub(crate) fn new(local: Arc<Local>) -> Self {
        Self { local, pending: Arc::default(), whole: None }
    }

    /// Begins a part: what is added to it counts when it is joined, or not at all. To be joined before the whole is
    /// committed.
    pub fn part(&self) -> Self {
        Self {
            local: Arc::clone(&self.local),
            pending: Arc::default(),
            whole: Some(Arc::clone(&self.pending)),
        }
    }

    /// Adds a part to what it is a part of; after trouble, nothing of it.
    pub fn join(self) -> Result<(), StoreError> {
        let mut part = mem::take(&mut *self.lock());
        if let Some(trouble) = part.trouble.take() {
            part.discard();
            return Err(trouble);
        }
        let (Some(whole), Some(scratch)) = (&self.whole, part.scratch.take()) else { return Ok(()) };
        lock(whole).absorb(part, scratch);
        Ok(())
    }

    /// The function of the store the batch is for.
    pub fn digest_function(&self) -> DigestFunction {
        self.local.options.digest
    }

    /// Keeps some bytes.
    pub fn put_bytes(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(self.local.options.digest, bytes);
        if !self.need_not_write(&digest) {
            self.try_write(|batch| {
                let name = batch.write_temporary(bytes)?;
                batch.add(digest, name);
                Ok(())
            });
        }
        digest
    }

    /// Keeps what is left to read of an open file; also says what the file was when reading began.
    ///
    /// An error is one of reading.
    pub fn put_file(&self, file: &File) -> io::Result<(Digest, FileFacts)> {
        let facts = facts_of(file)?;
        let digest =
            if facts.size < ops::LARGE { self.put_small(file)? } else { self.put_large(file, facts.size)? };
        Ok((digest, facts))
    }

    /// Keeps the bytes of an open file that has so many. Whether it still has afterwards is the caller's to look at.
    pub(crate) fn put_sized(&self, file: &File, size: u64) -> io::Result<Digest> {
        if size >= ops::LARGE {
            return self.put_large(file, size);
        }
        ops::with_buffer(|buffer| {
            let buffer = &mut buffer[..usize::try_from(size).expect("less than a buffer")];
            let filled = ops::read_full(&mut &*file, buffer)?;
            Ok(self.put_bytes(&buffer[..filled]))
        })
    }

    fn put_small(&self, mut file: &File) -> io::Result<Digest> {
        ops::with_buffer(|buffer| {
            let filled = ops::read_full(&mut file, buffer)?;
            if filled < buffer.len() {
                return Ok(self.put_bytes(&buffer[..filled]));
            }
            // It has grown meanwhile.
            self.put_stream(&mut io::Read::chain(&*buffer, file))
        })
    }

    fn put_large(&self, file: &File, size: u64) -> io::Result<Digest> {
        let function = self.local.options.digest;
        let Some((scratch, name, temporary)) = self.temporary() else {
            return ops::digest_file(function, file);
        };
        if self.local.sharing.try_share(file, &temporary, size) {
            match ops::digest_file(function, &temporary) {
                Ok(digest) => {
                    self.keep(&scratch, digest, name);
                    return Ok(digest);
                }
                Err(error) => self.fail(self.local.io("tmp", error)),
            }
        }
        drop(temporary);
        let _ = scratch.folder().remove(&name);
        self.put_stream(&mut &*file)
    }

    /// Copies and digests in one pass; if writing fails half-way, only the digest is made of the rest.
    fn put_stream(&self, from: &mut dyn Read) -> io::Result<Digest> {
        let function = self.local.options.digest;
        let Some((scratch, name, temporary)) = self.temporary() else {
            return ops::digest_rest(function, from);
        };
        let mut output = Output { file: &temporary, error: None };
        let copied = ops::copy(function, from, &mut output);
        let error = output.error;
        match (copied, error) {
            (Ok(digest), None) => {
                self.keep(&scratch, digest, name);
                Ok(digest)
            }
            (copied, error) => {
                if let Some(error) = error {
                    self.fail(self.local.io("tmp", error));
                }
                let _ = scratch.folder().remove(&name);
                copied.map_err(|(CopyError::Read(error) | CopyError::Write(error))| error)
            }
        }
    }

    /// Keeps a blob that comes from elsewhere, if it is what its digest says.
    pub fn put_blob(&self, blob: &Digest, from: &mut dyn Read) -> Result<(), StoreError> {
        if self.need_not_write(blob) {
            return Ok(());
        }
        // One byte more than announced is enough to know that it is wrong.
        let mut limited = from.take(blob.size.saturating_add(1));
        let function = self.local.options.digest;
        let scratch = self.local.scratch()?;
        let name = scratch.fresh_name();
        let create = scratch.folder().create_file(&name, FILE_MODE);
        let mut temporary = create.map_err(|error| self.local.io("tmp", error))?;
        let found = ops::copy(function, &mut limited, &mut temporary).map_err(|error| match error {
            CopyError::Read(error) => StoreError::Unavailable(error.to_string()),
            CopyError::Write(error) => self.local.io("tmp", error),
        });
        match found {
            Ok(found) if found == *blob => {
                self.lock().scratch = Some(scratch);
                self.add(found, name);
                Ok(())
            }
            other => {
                let _ = scratch.folder().remove(&name);
                Err(other.map_or_else(|error| error, |found| StoreError::Corrupt { expected: *blob, found }))
            }
        }
    }

    /// Keeps the result of an action. Its blobs have to be in this batch or in the store.
    pub fn put_result(&self, action: &Digest, result: &StoredResult) {
        self.try_write(|batch| {
            let bytes = encode_entry(action, result);
            let name = batch.write_temporary(&bytes)?;
            let mut pending = batch.lock();
            pending.bytes += bytes.len() as u64;
            pending.results.push((action.hash, name));
            Ok(())
        });
    }

    /// Keeps a result whose blobs are all in the store, as after a restore; `false`: one is not there any more.
    pub fn put_again(&self, action: &Digest, result: &StoredResult) -> bool {
        let Ok(Needs::Known(blobs)) = LocalStore::of(&self.local).needs_of(result) else { return false };
        let held = blobs.iter().all(|blob| self.need_not_write(blob));
        if held {
            self.put_result(action, result);
        }
        held
    }

    /// Makes everything visible: all blobs, then all results. After an error nothing is that was not
    /// complete.
    pub fn commit(self) -> Result<Committed, StoreError> {
        let mut pending = mem::take(&mut *self.lock());
        let result = match pending.trouble.take() {
            Some(trouble) => Err(trouble),
            None => self.publish(&mut pending),
        };
        pending.discard();
        result
    }

    fn publish(&self, pending: &mut Pending) -> Result<Committed, StoreError> {
        let local = &*self.local;
        let Some(scratch) = pending.scratch.clone() else { return Ok(Committed::default()) };
        let mut committed =
            Committed { blobs: pending.blobs.len(), results: pending.results.len(), bytes: pending.bytes };
        if committed.blobs + committed.results == 0 {
            return Ok(committed);
        }
        let folder = local.folder_made()?;
        let flush = || {
            let durable = local.options.durable && !planted(Bug::NoFsync);
            let flushed = if durable { system::flush_filesystem(folder) } else { Ok(()) };
            flushed.map_err(|error| StoreError::io(&local.path, error))
        };
        point("publish.written");
        flush()?;
        point("publish.flushed");
        let publish = |name: &[u8], path: EntryPath| {
            rename_into(folder, scratch.folder(), name, &path).map_err(|error| local.io(path.as_str(), error))
        };
        let publishing = hold::publishing(folder);
        let mut held: Vec<_> = pending.held.iter().collect();
        held.sort_unstable();
        for (digest, name) in held {
            let renewed = local.renew(folder, scratch.folder(), (digest, name));
            let back = renewed.map_err(|error| local.io(EntryPath::blob(&digest.hash).as_str(), error))?;
            committed.bytes += if back { digest.size } else { 0 };
        }
        let mut blobs: Vec<_> = pending.blobs.iter().collect();
        blobs.sort_unstable();
        let publish_results = || {
            for (action, name) in &pending.results {
                publish(name, EntryPath::result(action))?;
                point("publish.result");
            }
            Ok(())
        };
        if planted(Bug::ResultFirst) {
            publish_results()?;
        }
        for (digest, name) in blobs {
            publish(name, EntryPath::blob(&digest.hash))?;
            point("publish.blob");
        }
        if !planted(Bug::ResultFirst) {
            publish_results()?;
        }
        pending.blobs.clear();
        pending.results.clear();
        uses::add_to_total(folder, committed.bytes);
        // A sweep finds by their names what this has stored, flushed or not: it need not wait for a disk that is busy.
        drop(publishing);
        flush()?;
        point("publish.done");
        Ok(committed)
    }

    fn need_not_write(&self, digest: &Digest) -> bool {
        self.local.is_empty_blob(digest) || self.is_known(digest) || self.hold(digest)
    }

    fn is_known(&self, digest: &Digest) -> bool {
        let known = {
            let pending = self.lock();
            pending.trouble.is_some() || pending.has(digest)
        };
        known || self.whole.as_ref().is_some_and(|whole| lock(whole).has(digest))
    }

    /// Whether the blob is there, and stays until this is committed.
    fn hold(&self, digest: &Digest) -> bool {
        if self.local.options.read_only {
            // Nothing is going to rely on it.
            let path = EntryPath::blob(&digest.hash);
            let folder = self.local.folder().ok().flatten();
            return folder.is_some_and(|folder| self.local.is_sound(folder, path.as_bytes(), digest));
        }
        let Some((scratch, name)) = self.local.hold(digest) else { return false };
        let mut pending = self.lock();
        if let Some(other) = pending.held.insert(*digest, name) {
            let _ = scratch.folder().remove(&other);
        }
        pending.scratch = Some(scratch);
        true
    }

    fn temporary(&self) -> Option<(Arc<Scratch>, Vec<u8>, File)> {
        if self.lock().trouble.is_some() {
            return None;
        }
        self.try_write(|batch| {
            let scratch = batch.local.scratch()?;
            let name = scratch.fresh_name();
            let file = scratch.folder().create_file(&name, FILE_MODE);
            Ok((scratch, name, file.map_err(|error| batch.local.io("tmp", error))?))
        })
    }

    fn write_temporary(&self, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        let scratch = self.local.scratch()?;
        let name = scratch.fresh_name();
        let file = scratch.folder().create_file(&name, FILE_MODE);
        if let Err(error) = file.and_then(|mut file| file.write_all(bytes)) {
            let _ = scratch.folder().remove(&name);
            return Err(self.local.io("tmp", error));
        }
        self.lock().scratch = Some(scratch);
        Ok(name)
    }

    /// Takes a complete temporary file in, unless its content is there already.
    fn keep(&self, scratch: &Arc<Scratch>, digest: Digest, name: Vec<u8>) {
        self.lock().scratch = Some(Arc::clone(scratch));
        if self.need_not_write(&digest) {
            let _ = scratch.folder().remove(&name);
        } else {
            self.add(digest, name);
        }
    }

    fn add(&self, digest: Digest, name: Vec<u8>) {
        let mut pending = self.lock();
        pending.bytes += digest.size;
        // Another thread may have added the same meanwhile.
        if let Some(other) = pending.blobs.insert(digest, name) {
            pending.bytes -= digest.size;
            if let Some(scratch) = &pending.scratch {
                let _ = scratch.folder().remove(&other);
            }
        }
    }

    fn try_write<T>(&self, work: impl FnOnce(&Self) -> Result<T, StoreError>) -> Option<T> {
        if self.lock().trouble.is_some() {
            return None;
        }
        work(self).map_err(|error| self.fail(error)).ok()
    }

    /// The first trouble is the one to tell.
    fn fail(&self, error: StoreError) {
        self.lock().trouble.get_or_insert(error);
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        lock(&self.pending)
    }
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

fn sorted(names: FxHashMap<Digest, Vec<u8>>) -> Vec<(Digest, Vec<u8>)> {
    let mut sorted: Vec<_> = names.into_iter().collect();
    sorted.sort_unstable();
    sorted
}

impl Pending {
    fn has(&self, digest: &Digest) -> bool {
        self.blobs.contains_key(digest) || self.held.contains_key(digest)
    }

    /// Takes in a part; what is in both already goes once.
    fn absorb(&mut self, part: Self, scratch: Arc<Scratch>) {
        self.bytes += part.bytes;
        for (digest, name) in sorted(part.blobs) {
            if let Some(other) = self.blobs.insert(digest, name) {
                self.bytes -= digest.size;
                let _ = scratch.folder().remove(&other);
            }
        }
        for (digest, name) in sorted(part.held) {
            if let Some(other) = self.held.insert(digest, name) {
                let _ = scratch.folder().remove(&other);
            }
        }
        self.results.extend(part.results);
        self.scratch = Some(scratch);
    }

    fn discard(&mut self) {
        let Some(scratch) = self.scratch.take() else { return };
        let blobs = mem::take(&mut self.blobs).into_values().chain(mem::take(&mut self.held).into_values());
        let names = blobs.chain(self.results.drain(..).map(|(_, name)| name));
        for name in names {
            let _ = scratch.folder().remove(&name);
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.lock().discard();
    }
}

/// Takes everything, and remembers the first error instead of giving it: the digest is wanted all the same.
struct Output<'a> {
    file: &'a File,
    error: Option<io::Error>,
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.error.is_none() {
            self.error = self.file.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives a complete file its name, making the folders on the way when they are missing. What is no folder where one should be,
/// or no file where a file should be, makes room.
pub(crate) fn rename_into(
    folder: &Folder,
    scratch: &Folder,
    name: &[u8],
    path: &EntryPath,
) -> io::Result<()> {
    let rename = || rustix::fs::renameat(scratch, name, folder, path.as_bytes());
    match rename() {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            if make_own(folder, path.shard()).is_err() {
                make_own(folder, path.kind())?;
                make_own(folder, path.shard())?;
            }
        }
        Err(Errno::ISDIR) => folder.remove(path.as_bytes())?,
        result => return Ok(result?),
    }
    Ok(rename()?)
}
