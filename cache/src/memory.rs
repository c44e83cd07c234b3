//! A store in memory whose calls fail as a script says: what happens if the N-th call fails, for every N.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use crate::action::StoredResult;
use crate::digest::{Digest, DigestFunction};
use crate::store::{Lookup, Store, StoreError};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store is out of reach.
    Unavailable,
    /// The operating system says so.
    Io(io::ErrorKind),
    /// A byte of what is read has flipped; writing is not affected.
    Damage,
}

/// Keeps everything in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    function: DigestFunction,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    blobs: FxHashMap<Digest, Vec<u8>>,
    results: FxHashMap<[u8; 32], Vec<u8>>,
    calls: usize,
    script: BTreeMap<usize, Fault>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new(function: DigestFunction) -> Self {
        Self { function, kept: Mutex::default() }
    }

    /// Makes the call number `nth` from now on (0 is the next) fail.
    pub fn fail_at(&self, nth: usize, fault: Fault) {
        let mut kept = self.lock();
        let call = kept.calls + nth;
        kept.script.insert(call, fault);
    }

    /// Flips the last byte of a blob.
    pub fn damage(&self, blob: &Digest) {
        if let Some(last) = self.lock().blobs.get_mut(blob).and_then(|bytes| bytes.last_mut()) {
            *last ^= 1;
        }
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call. `true`: what it reads shall be damaged.
    fn enter(&self) -> Result<(MutexGuard<'_, Kept>, bool), StoreError> {
        let mut kept = self.lock();
        let call = kept.calls;
        kept.calls += 1;
        match kept.script.remove(&call) {
            None => Ok((kept, false)),
            Some(Fault::Damage) => Ok((kept, true)),
            Some(Fault::Unavailable) => Err(StoreError::Unavailable("as the script says".to_owned())),
            Some(Fault::Io(kind)) => Err(StoreError::io("memory", kind)),
        }
    }
}

impl Store for MemoryStore {
    fn digest_function(&self) -> DigestFunction {
        self.function
    }

    fn lookup(&self, action: &Digest) -> Result<Lookup, StoreError> {
        let (mut kept, damage) = self.enter()?;
        if damage && kept.results.remove(&action.hash).is_some() {
            return Ok(Lookup::Damaged { reason: "as the script says".to_owned() });
        }
        let Some(bytes) = kept.results.get(&action.hash) else { return Ok(Lookup::Miss) };
        Ok(match StoredResult::decode(bytes) {
            Ok(result) => Lookup::Hit(result),
            Err(error) => Lookup::Damaged { reason: error.to_string() },
        })
    }

    fn read_blob(&self, blob: &Digest, into: &mut dyn Write) -> Result<(), StoreError> {
        let (mut kept, damage) = self.enter()?;
        if *blob == Digest::of(self.function, &[]) {
            return Ok(());
        }
        let bytes = kept.blobs.get_mut(blob).ok_or(StoreError::NotFound(*blob))?;
        if damage && let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        let found = Digest::of(self.function, bytes);
        if found != *blob {
            kept.blobs.remove(blob);
            return Err(StoreError::Corrupt { expected: *blob, found });
        }
        into.write_all(bytes).map_err(StoreError::Write)
    }

    fn missing_blobs(&self, blobs: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let (kept, _) = self.enter()?;
        let empty = Digest::of(self.function, &[]);
        Ok(blobs.iter().filter(|blob| **blob != empty && !kept.blobs.contains_key(blob)).copied().collect())
    }

    fn put_blob(&self, blob: &Digest, from: &mut dyn Read) -> Result<(), StoreError> {
        let (mut kept, _) = self.enter()?;
        let mut bytes = Vec::new();
        let read = from.take(blob.size.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let found = Digest::of(self.function, &bytes);
        if found != *blob {
            return Err(StoreError::Corrupt { expected: *blob, found });
        }
        kept.blobs.insert(found, bytes);
        Ok(())
    }

    fn put_result(&self, action: &Digest, result: &StoredResult) -> Result<(), StoreError> {
        let (mut kept, _) = self.enter()?;
        kept.results.insert(action.hash, result.encode());
        Ok(())
    }
}
