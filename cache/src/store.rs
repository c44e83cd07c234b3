//! What every store of blobs and results can do, and how it fails.
//!
//! The invariant of all of them: an entry is absent, or complete and verified. Reading verifies, and what is
//! found damaged is put aside and counts as absent from then on. A store's trouble is always a value the
//! caller can go on from: the worst that ever follows is that an action runs again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::action::StoredResult;
use crate::digest::{Digest, DigestFunction};

/// A place that keeps blobs by their digest and results by their action's digest.
pub trait Store: Send + Sync {
    /// The function its digests are made with.
    fn digest_function(&self) -> DigestFunction;

    /// The result of an action. That its blobs are there too shows only when they are read.
    fn lookup(&self, action: &Digest) -> Result<Lookup, StoreError>;

    /// Writes a blob to `into`. On any error what was written so far is worthless.
    fn read_blob(&self, blob: &Digest, into: &mut dyn Write) -> Result<(), StoreError>;

    /// Makes `into`, an empty file open for reading and writing, the blob's content; a store of files may
    /// share extents.
    fn copy_blob(&self, blob: &Digest, into: &File) -> Result<(), StoreError> {
        self.read_blob(blob, &mut &*into)
    }

    /// Which of `blobs` are not there. The empty blob is everywhere.
    fn missing_blobs(&self, blobs: &[Digest]) -> Result<Vec<Digest>, StoreError>;

    /// Keeps a blob; bytes that do not match the digest are refused.
    fn put_blob(&self, blob: &Digest, from: &mut dyn Read) -> Result<(), StoreError>;

    /// Keeps a result. Its blobs have to be there already.
    fn put_result(&self, action: &Digest, result: &StoredResult) -> Result<(), StoreError>;
}

/// What a store knows of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Its result.
    Hit(StoredResult),
    /// Nothing.
    Miss,
    /// There was an entry, but it was damaged; it has been put aside, so the next look-up is a miss.
    Damaged {
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The blob is not there.
    #[error("blob `{0}` is not in the cache")]
    NotFound(Digest),
    /// The bytes are not those of the digest; a stored blob has been put aside.
    #[error("blob `{expected}` is damaged: its content is `{found}`")]
    Corrupt {
        /// What it should have been.
        expected: Digest,
        /// What it was.
        found: Digest,
    },
    /// What was read could not be written where the caller wanted it.
    #[error("cannot write what the cache gave: {0}")]
    Write(io::Error),
    /// The store as a whole is out of reach.
    #[error("the cache is unavailable: {0}")]
    Unavailable(String),
    /// The operating system refused.
    #[error("`{}`: {source}", path.display())]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.into(), source: source.into() }
    }
}
