//! A journal read before its turn: on a thread of its own, while the Iactfiles are read.
//!
//! Invariant: it counts only for who holds the workspace's lock, and only if the file then shows what it showed before it was
//! read, so that nobody wrote to it since; and if its digests are of the function that the Iactfile asks for. Every write makes
//! it longer or another file. Otherwise it is read again.
#![allow(clippy::disallowed_methods, reason = "shell: looks at the journal file")]

use super::Journal;
use crate::content::Stat;
use crate::scan::read::stat;
use iact_cache::DigestFunction;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

/// Below that a thread would cost more than it brings.
const WORTH_LEN: u64 = 256 * 1024;

/// A journal, and what its file showed before it was read.
pub struct Ahead {
    journal: Journal,
    stat: Stat,
}

impl Ahead {
    /// Whether a journal is long enough to be read ahead.
    pub fn is_worth_it(root: BorrowedFd<'_>) -> bool {
        matches!(stat(root, c".iact/journal", false), Ok(Some(stat)) if stat.is_file() && stat.size > WORTH_LEN)
    }

    /// Reads a journal; `None` if it is none.
    pub fn read(file_path: PathBuf) -> Option<Self> {
        let mut file = File::open(&file_path).ok()?;
        let stat = Stat::from(&rustix::fs::fstat(&file).ok()?);
        let mut bytes = Vec::with_capacity(usize::try_from(stat.size).ok()?);
        file.read_to_end(&mut bytes).ok()?;
        let function = super::format::function(&bytes)?;
        Some(Self { journal: Journal::of_bytes(file_path, function, &bytes), stat })
    }

    /// The journal, if it is what would be read now, under the workspace's lock.
    pub fn take(self, root: BorrowedFd<'_>, function: DigestFunction) -> Option<Journal> {
        let now = stat(root, c".iact/journal", false).ok()?;
        (now == Some(self.stat) && self.journal.function == function).then_some(self.journal)
    }
}
