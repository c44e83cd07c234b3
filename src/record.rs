//! What is remembered of an action: its definition part by part, its inputs and outputs with their contents.
//!
//! Invariant: a record holds everything that decided whether the action had to run, in parts fine enough to
//! name what moved; never a value of the environment, only its digest.

use crate::content::Content;
use crate::path_table::PathId;

/// The digest of one part of a definition.
pub type PartDigest = [u8; 32];

/// An action without its inputs, part by part. Two equal ones define the same work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definition {
    /// Over all parts.
    pub whole: PartDigest,
    /// argv, working folder, platform and whatever else has no part of its own.
    pub command: PartDigest,
    /// The declared list of outputs.
    pub outputs: PartDigest,
    /// Name and value of every variable, sorted by name; unset and empty differ.
    pub env: Vec<(String, PartDigest)>,
    /// Name and content of every tool.
    pub tools: Vec<(String, PartDigest)>,
    /// Text and output of every probe.
    pub probes: Vec<(String, PartDigest)>,
    /// Target with name, and value, of every exported value it reads.
    pub exports: Vec<(String, PartDigest)>,
}

/// An output of a dependency, as an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brought {
    /// The output.
    pub path: PathId,
    /// What it is.
    pub content: Content,
    /// The instance that makes it.
    pub target: String,
}

/// A declared output or something below a declared folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Where.
    pub path: PathId,
    /// What.
    pub content: Content,
    /// Declared itself; the rest is below a declared folder.
    pub declared: bool,
}

/// What an action did last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What it was.
    pub definition: Definition,
    /// Source files, sorted by path id.
    pub inputs: Vec<(PathId, Content)>,
    /// Files named by its depfile, sorted by path id.
    pub discovered: Vec<(PathId, Content)>,
    /// What its dependencies made.
    pub brought: Vec<Brought>,
    /// What it made, folders' contents included, sorted by path id.
    pub outputs: Vec<Made>,
    /// Its action digest; none if it never had one (`cache = false` has one all the same).
    pub fingerprint: PartDigest,
    /// Wall time of its command, the time when it really ran.
    pub duration_ms: u64,
    /// When the command ended, milliseconds since the epoch.
    pub finished_unix_ms: u64,
    /// An input that moved while it ran: the record vouches for nothing.
    pub moved: Option<PathId>,
    /// Values it exported.
    pub exports: Vec<(String, String)>,
    /// Where its log is, if it wrote one: the digest-named file's stem.
    pub log: Option<String>,
}

impl Record {
    /// Its action digest as people and programs write it, if it had one.
    pub fn fingerprint_hex(&self) -> Option<String> {
        let digest = iact_cache::Digest { hash: self.fingerprint, size: 0 };
        (self.fingerprint != PartDigest::default()).then(|| digest.hex())
    }
}
