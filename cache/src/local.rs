//! The cache on this machine: plain files, safe for any number of processes at once without a database.
//!
//! ```text
//! CACHEDIR.TAG        tells backup programs to leave this folder out
//! cas/xx/<hex>        blobs; `xx` are the first two digits
//! ac/xx/<hex>         results, by the digest of their action (format below)
//! tmp/<pid>-<random>/ what a live process is writing; litter if nobody holds its lock
//! quarantine/<hex>    what was found damaged, for whoever wants to look (`sweep/quarantine.rs`)
//! pins/<hex>-<owner>  results that no sweep may take (`sweep/pins.rs`, `sweep/places.rs`)
//! uses, total, stock  derived; see `uses.rs` and `stock.rs`
//! sweep.lock          held by whoever sweeps
//! sha256/             the same again for digests made with SHA-256
//! ```
//!
//! A file under `cas/` or `ac/` was complete before it got its name, and is verified whenever it is read;
//! what fails is moved to `quarantine/` and counts as absent. There is no version file that could itself be
//! damaged: blobs verify themselves, and each result carries the version of its format:
//!
//! ```text
//! 0..8    "iact-ac1"
//! 8..40   BLAKE3 of the magic, the action's 32-byte hash and all that follows, so the name counts
//! 40..48  the size of the action's message, little-endian: with the name the action's digest
//! 48..    a canonical REAPI `ActionResult`
//! ```
//!
//! Opening creates nothing. The folder is the user's alone (0700); one that somebody else owns or may write
//! to is refused.
#![allow(clippy::disallowed_methods, reason = "shell: the cache's files")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustc_hash::FxHashMap;
use rustix::fs::Mode;

use crate::action::StoredResult;
use crate::batch::Batch;
use crate::chaos::{Bug, planted};
use crate::digest::{Digest, DigestFunction};
use crate::entry::{EntryPath, NO_FILE, Opened};
use crate::folder::{FileFacts, Folder};
use crate::lock::Scratch;
use crate::ops::{self, CopyError, Sharing};
use crate::own::{is_absent, make_own};
use crate::store::{Lookup, Store, StoreError};
use crate::uses::{self, LastUses};

const MAGIC: &[u8; 8] = b"iact-ac1";
const HEADER: usize = 48;
/// A result larger than this is not one.
const MAX_RESULT: u64 = 256 << 20;
/// What is in the `CACHEDIR.TAG` of a cache.
pub const TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
    # An iact cache, format 1. It may be removed at any time.\n";
pub(crate) const FILE_MODE: Mode = Mode::from_raw_mode(0o600);

/// How a cache is opened.
#[derive(Clone, Copy, Debug)]
pub struct LocalOptions {
    /// What digests are made with.
    pub digest: DigestFunction,
    /// Whether a commit survives a power cut. Without, the newest entries may be lost; none is ever wrong.
    pub durable: bool,
    /// Never write: neither store, nor put aside what is damaged, nor record uses.
    pub read_only: bool,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { digest: DigestFunction::default(), durable: true, read_only: false }
    }
}

/// A cache on this machine. Clones share everything.
#[derive(Clone, Debug)]
pub struct LocalStore(Arc<Local>);

#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) path: PathBuf,
    pub(crate) options: LocalOptions,
    pub(crate) sharing: Sharing,
    folder: OnceLock<Folder>,
    scratch: Mutex<Option<Arc<Scratch>>>,
    /// Blobs whose content this process has verified, with the file's facts at that time.
    pub(crate) verified: Mutex<FxHashMap<Digest, FileFacts>>,
}

impl LocalStore {
    /// Opens the cache at `path`, which need not be there yet. A `path` that cannot be a cache is an error.
    pub fn open(path: impl Into<PathBuf>, options: LocalOptions) -> Result<Self, StoreError> {
        let mut path = path.into();
        if options.digest == DigestFunction::Sha256 {
            path.push("sha256");
        }
        let local = Local {
            path,
            options,
            sharing: Sharing::default(),
            folder: OnceLock::new(),
            scratch: Mutex::default(),
            verified: Mutex::default(),
        };
        local.folder()?;
        #[cfg(feature = "chaos")]
        crate::chaos::STORE.lock().unwrap_or_else(PoisonError::into_inner).replace(local.path.clone());
        Ok(Self(Arc::new(local)))
    }

    /// Where the cache is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A batch of blobs and results to be kept together.
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.0))
    }

    /// Notes that the results of `actions` were used, so that they are evicted last. Once per run is enough.
    pub fn record_uses(&self, actions: &[Digest], now_unix_ms: u64) -> Result<(), StoreError> {
        let Some(folder) = self.0.folder()? else { return Ok(()) };
        if actions.is_empty() || self.0.options.read_only {
            return Ok(());
        }
        let is_long = uses::append(folder, actions, now_unix_ms).map_err(|error| self.0.io("uses", error))?;
        if is_long {
            let scratch = self.0.scratch()?;
            let none = LastUses::default();
            let rewritten = uses::rewrite_uses(folder, scratch.folder(), none.clone(), &none);
            rewritten.map_err(|error| self.0.io("uses", error))?;
        }
        Ok(())
    }

    /// As [`Store::lookup`], for an action whose hash is known but not its size; the digest comes back with its result.
    pub fn lookup_hash(&self, action: &[u8; 32]) -> Result<(Digest, Lookup), StoreError> {
        let mut digest = Digest { hash: *action, size: 0 };
        let lookup = match self.0.read_entry(action)? {
            ReadEntry::Sound { action, result } => {
                digest = action;
                Lookup::Hit(result)
            }
            ReadEntry::Absent => Lookup::Miss,
            ReadEntry::Damaged { reason, facts } => {
                let path = EntryPath::result(action);
                self.0.put_aside(&path, &facts);
                Lookup::Damaged { reason: format!("`{}`: {reason}", path.as_str()) }
            }
        };
        Ok((digest, lookup))
    }

    /// The store that this belongs to.
    pub(crate) fn of(local: &Arc<Local>) -> Self {
        Self(Arc::clone(local))
    }

    pub(crate) fn local(&self) -> &Local {
        &self.0
    }
}

impl Local {
    /// The cache's folder, if it is there.
    pub(crate) fn folder(&self) -> Result<Option<&Folder>, StoreError> {
        if let Some(folder) = self.folder.get() {
            return Ok(Some(folder));
        }
        match Folder::open(&self.path) {
            Ok(folder) => {
                self.check_owner(&folder)?;
                Ok(Some(self.folder.get_or_init(|| folder)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(&self.path, error)),
        }
    }

    /// Somebody who can write here can make every build do what he wants.
    fn check_owner(&self, folder: &Folder) -> Result<(), StoreError> {
        let stat = rustix::fs::fstat(folder).map_err(|error| StoreError::io(&self.path, error))?;
        let user = rustix::process::geteuid().as_raw();
        let refuse = |what| Err(StoreError::Unavailable(format!("`{}` {what}", self.path.display())));
        if stat.st_uid != user && stat.st_uid != 0 {
            return refuse("belongs to another user");
        }
        if stat.st_mode & 0o002 != 0 {
            return refuse("is writable by everybody");
        }
        Ok(())
    }

    /// The cache's folder, made if need be.
    pub(crate) fn folder_made(&self) -> Result<&Folder, StoreError> {
        if self.options.read_only {
            return Err(StoreError::Unavailable(format!(
                "`{}` is opened for reading only",
                self.path.display()
            )));
        }
        if let Some(folder) = self.folder()? {
            return Ok(folder);
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| StoreError::io(&self.path, error))?;
        let folder = self.folder()?.ok_or_else(|| StoreError::Unavailable("it vanished".to_owned()))?;
        // Whoever comes second finds both files there.
        if let Ok(mut tag) = folder.create_file(b"CACHEDIR.TAG", FILE_MODE) {
            let _ = tag.write_all(TAG);
            uses::begin_total(folder);
        }
        Ok(folder)
    }

    /// This process's own folder for files that are not complete yet, on the cache's file system.
    pub(crate) fn scratch(&self) -> Result<Arc<Scratch>, StoreError> {
        let folder = self.folder_made()?;
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scratch) = &*scratch {
            return Ok(Arc::clone(scratch));
        }
        let made = make_own(folder, b"tmp").and_then(|()| Scratch::create_swept(folder.child(b"tmp")?));
        let made = Arc::new(made.map_err(|error| self.io("tmp", error))?);
        Ok(Arc::clone(scratch.insert(made)))
    }

    pub(crate) fn io(&self, name: impl AsRef<Path>, error: impl Into<io::Error>) -> StoreError {
        StoreError::io(self.path.join(name), error)
    }

    fn open_blob(&self, blob: &Digest) -> Result<(File, FileFacts), StoreError> {
        let path = EntryPath::blob(&blob.hash);
        let unknown = |facts: &FileFacts| Digest { hash: [0; 32], size: facts.size };
        match self.open_entry(&path)? {
            Opened::Absent => Err(StoreError::NotFound(*blob)),
            Opened::NoFile(facts) => Err(self.damaged(blob, unknown(&facts), &facts)),
            Opened::File(file, facts) if facts.size == blob.size => Ok((file, facts)),
            Opened::File(file, facts) => {
                let found = ops::digest_file(self.options.digest, &file);
                Err(self.damaged(blob, found.unwrap_or_else(|_| unknown(&facts)), &facts))
            }
        }
    }

    fn damaged(&self, blob: &Digest, found: Digest, facts: &FileFacts) -> StoreError {
        self.put_aside(&EntryPath::blob(&blob.hash), facts);
        StoreError::Corrupt { expected: *blob, found }
    }

    pub(crate) fn is_empty_blob(&self, blob: &Digest) -> bool {
        blob.size == 0 && *blob == Digest::of(self.options.digest, &[])
    }

    /// Reads an entry of the action cache, changing nothing.
    pub(crate) fn read_entry(&self, action: &[u8; 32]) -> Result<ReadEntry, StoreError> {
        let path = EntryPath::result(action);
        // What is right at first sight is right; whatever else there is gets a closer look.
        match self.read_at_once(&path, |bytes| decode_entry(action, bytes).ok())? {
            AtOnce::Absent => return Ok(ReadEntry::Absent),
            AtOnce::Read(Some((action, result))) => return Ok(ReadEntry::Sound { action, result }),
            AtOnce::Read(None) | AtOnce::Unread => {}
        }
        let (file, facts) = match self.open_entry(&path)? {
            Opened::Absent => return Ok(ReadEntry::Absent),
            Opened::NoFile(facts) => return Ok(ReadEntry::Damaged { reason: NO_FILE.to_owned(), facts }),
            Opened::File(file, facts) => (file, facts),
        };
        let mut bytes = Vec::new();
        if facts.size <= MAX_RESULT {
            bytes.reserve_exact(usize::try_from(facts.size).unwrap_or(0) + 1);
            (&file)
                .take(MAX_RESULT)
                .read_to_end(&mut bytes)
                .map_err(|error| self.io(path.as_str(), error))?;
        }
        Ok(match decode_entry(action, &bytes) {
            Ok((action, result)) => ReadEntry::Sound { action, result },
            Err(reason) => ReadEntry::Damaged { reason, facts },
        })
    }

    /// Opens a file and reads once: all there is of a small one, which `judge` gets to see.
    fn read_at_once<T>(
        &self,
        path: &EntryPath,
        judge: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<AtOnce<T>, StoreError> {
        let Some(folder) = self.folder()? else { return Ok(AtOnce::Absent) };
        let file = match folder.open_file(path.as_bytes()) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(AtOnce::Absent),
            // Why is for the closer look to say.
            Err(_) => return Ok(AtOnce::Unread),
        };
        Ok(ops::with_buffer(|buffer| match (&file).read(buffer) {
            Ok(count) if count < buffer.len() => AtOnce::Read(judge(&buffer[..count])),
            _ => AtOnce::Unread,
        }))
    }

    /// Whether a small blob could be read in one go and was right; `into` got it then, and nothing otherwise.
    fn copy_at_once(&self, blob: &Digest, into: &mut dyn Write) -> Result<bool, StoreError> {
        if blob.size >= ops::LARGE || planted(Bug::NoVerify) || planted(Bug::IgnoreReadErrors) {
            return Ok(false);
        }
        let mut written = Ok(());
        let read = self.read_at_once(&EntryPath::blob(&blob.hash), |bytes| {
            let sound = bytes.len() as u64 == blob.size && Digest::of(self.options.digest, bytes) == *blob;
            sound.then(|| written = into.write_all(bytes))
        })?;
        written.map_err(StoreError::Write)?;
        Ok(matches!(read, AtOnce::Read(Some(()))))
    }
}

/// What one read of a file came to.
enum AtOnce<T> {
    Absent,
    /// All of it, and what was made of it.
    Read(Option<T>),
    /// It is large, or cannot be read like this.
    Unread,
}

/// What is in the action cache under a name.
pub(crate) enum ReadEntry {
    Absent,
    Sound { action: Digest, result: StoredResult },
    Damaged { reason: String, facts: FileFacts },
}

/// The bytes of an entry of the action cache.
pub(crate) fn encode_entry(action: &Digest, result: &StoredResult) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(&action.size.to_le_bytes());
    bytes.extend_from_slice(&result.encode());
    let checksum = entry_checksum(&action.hash, &bytes[40..]);
    bytes[8..40].copy_from_slice(&checksum);
    bytes
}

fn decode_entry(action: &[u8; 32], bytes: &[u8]) -> Result<(Digest, StoredResult), String> {
    let (header, payload) = bytes.split_at_checked(HEADER).ok_or("it is cut off")?;
    if &header[..8] != MAGIC {
        return Err("it does not begin like a result".to_owned());
    }
    if header[8..40] != entry_checksum(action, &bytes[40..]) {
        return Err("its checksum is wrong".to_owned());
    }
    let size = u64::from_le_bytes(*header[40..].first_chunk().expect("the header has 48 bytes"));
    let result = StoredResult::decode(payload).map_err(|error| error.to_string())?;
    Ok((Digest { hash: *action, size }, result))
}

fn entry_checksum(action: &[u8; 32], rest: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(MAGIC).update(action).update(rest);
    *hasher.finalize().as_bytes()
}

impl Store for LocalStore {
    fn digest_function(&self) -> DigestFunction {
        self.0.options.digest
    }

    fn lookup(&self, action: &Digest) -> Result<Lookup, StoreError> {
        Ok(match self.lookup_hash(&action.hash)? {
            (found, Lookup::Hit(_)) if found != *action => Lookup::Miss,
            (_, lookup) => lookup,
        })
    }

    fn read_blob(&self, blob: &Digest, into: &mut dyn Write) -> Result<(), StoreError> {
        let local = &*self.0;
        if local.is_empty_blob(blob) {
            return Ok(());
        }
        if local.copy_at_once(blob, into)? {
            return Ok(());
        }
        let (mut file, facts) = local.open_blob(blob)?;
        let found =
            ops::copy_sized(local.options.digest, &mut file, into, blob.size).map_err(
                |error| match error {
                    CopyError::Read(error) => local.io(EntryPath::blob(&blob.hash).as_str(), error),
                    CopyError::Write(error) => StoreError::Write(error),
                },
            )?;
        let sound = found == *blob || planted(Bug::NoVerify);
        if sound { Ok(()) } else { Err(local.damaged(blob, found, &facts)) }
    }

    fn copy_blob(&self, blob: &Digest, mut into: &File) -> Result<(), StoreError> {
        let local = &*self.0;
        if blob.size < ops::LARGE || local.is_empty_blob(blob) {
            return self.read_blob(blob, &mut into);
        }
        let (file, facts) = local.open_blob(blob)?;
        if !local.sharing.try_share(&file, into, facts.size) {
            return self.read_blob(blob, &mut into);
        }
        // What is verified is what the caller gets: the copy.
        let found = ops::digest_file(local.options.digest, into).map_err(StoreError::Write)?;
        if found == *blob { Ok(()) } else { Err(local.damaged(blob, found, &facts)) }
    }

    fn missing_blobs(&self, blobs: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let local = &*self.0;
        let Some(folder) = local.folder()? else {
            return Ok(blobs.iter().filter(|blob| !local.is_empty_blob(blob)).copied().collect());
        };
        let mut missing = Vec::new();
        for blob in blobs {
            let path = EntryPath::blob(&blob.hash);
            let facts = folder.facts(path.as_bytes()).map_err(|error| local.io(path.as_str(), error))?;
            let is_it = |facts: FileFacts| facts.is_file() && facts.size == blob.size;
            if !facts.is_some_and(is_it) && !local.is_empty_blob(blob) {
                missing.push(*blob);
            }
        }
        Ok(missing)
    }

    fn put_blob(&self, blob: &Digest, from: &mut dyn Read) -> Result<(), StoreError> {
        let batch = self.batch();
        batch.put_blob(blob, from)?;
        batch.commit().map(drop)
    }

    fn put_result(&self, action: &Digest, result: &StoredResult) -> Result<(), StoreError> {
        let batch = self.batch();
        batch.put_result(action, result);
        batch.commit().map(drop)
    }
}
