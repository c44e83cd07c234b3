//! What each folder of a cache held when it was last listed, so that `du` and a sweep need not walk a million entries to
//! find that nothing came and nothing is due.
//!
//! Derived, 32 KiB: losing or damaging it costs a walk. A folder's times move when a name comes or goes; one whose times were
//! younger than two seconds when it was listed is listed again, for it could have changed unseen. Where a file system does not
//! keep folders' times this may lag behind; what builds count (`total`) has the last word over limits.
//!
//! ```text
//! 0..8    "iactstk1"
//! 8..32   when the last sweep began (ns), when the oldest blob without a result came, when the result unused longest was used (Unix ms)
//! 32..    512 rows of 56 bytes, for ac/00 … ac/ff, cas/00 … cas/ff: the folder's inode, mtime and ctime; number and bytes of
//!         its entries; what the last sweep saw (their number, or of a young folder a sum over them); flags
//! last 32 BLAKE3 of all before
//! ```
#![allow(clippy::disallowed_methods, reason = "shell: reads and writes one small file, asks the time")]

use std::io::{self, Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::folder::{FileFacts, Folder};
use crate::local::FILE_MODE;

const MAGIC: &[u8; 8] = b"iactstk1";
const ROW: usize = 56;
const HEAD: usize = 32;
/// Folders of each kind.
pub(crate) const SHARDS: usize = 256;
const LENGTH: usize = HEAD + 2 * SHARDS * ROW + 32;
/// Times younger than this may stay the same while something changes.
const SLACK_NS: i64 = 2_000_000_000;
/// Listed: what the row says is true as long as the folder's times are the same.
const KNOWN: u64 = 1;
/// It was so young when it was listed that it could change again unseen.
const YOUNG: u64 = 2;
/// No sweep has looked at what came last.
const UNSWEPT: u64 = 4;
/// It was young when it was swept: what came just then and what comes cannot be told apart.
const SWEPT_YOUNG: u64 = 8;

/// One folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    ino: u64,
    mtime_ns: i64,
    ctime_ns: i64,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    swept: u64,
    flags: u64,
}

/// A sum that differs if any of these is another file, or there are others.
fn sum<'e>(entries: impl Iterator<Item = &'e FileFacts>) -> u64 {
    let one = |facts: &FileFacts| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&facts.ino.to_le_bytes());
        bytes[8..].copy_from_slice(&facts.ctime_ns.to_le_bytes());
        u64::from_le_bytes(*blake3::hash(&bytes).as_bytes().first_chunk().expect("eight of 32 bytes"))
    };
    entries.map(one).fold(0, u64::wrapping_add)
}

/// All folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stock {
    swept_ns: i64,
    pub(crate) orphan_unix_ms: u64,
    pub(crate) oldest_unix_ms: u64,
    pub(crate) rows: Vec<Row>,
}

/// The clock of files, about.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

impl Row {
    /// A folder that was listed after it had shown `facts`; `began_ns`: when whoever lists began.
    pub(crate) fn new<'e>(
        facts: Option<&FileFacts>,
        entries: impl Iterator<Item = &'e FileFacts> + Clone,
        began_ns: i64,
    ) -> Self {
        let Some(facts) = facts else { return Self { flags: KNOWN, ..Self::default() } };
        let is_young = facts.moved_ns() >= began_ns.saturating_sub(SLACK_NS);
        let count = entries.clone().count() as u64;
        Self {
            ino: facts.ino,
            mtime_ns: facts.mtime_ns,
            ctime_ns: facts.ctime_ns,
            count,
            bytes: entries.clone().map(|entry| entry.size).sum(),
            swept: if is_young { sum(entries) } else { count },
            flags: if is_young { KNOWN | YOUNG | SWEPT_YOUNG } else { KNOWN },
        }
    }

    /// Whether the folder holds what it held.
    pub(crate) fn is_same(&self, facts: Option<&FileFacts>) -> bool {
        let shown = facts.map_or((0, 0, 0), |facts| (facts.ino, facts.mtime_ns, facts.ctime_ns));
        self.flags & (KNOWN | YOUNG) == KNOWN && (self.ino, self.mtime_ns, self.ctime_ns) == shown
    }

    /// Whether a sweep has looked at all that it holds.
    pub(crate) fn is_swept(&self) -> bool {
        self.flags & UNSWEPT == 0
    }

    /// The same folder as it is now, for who does not sweep.
    pub(crate) fn listed_as(&mut self, now: Self) {
        let flags = now.flags & !SWEPT_YOUNG | self.flags & SWEPT_YOUNG | UNSWEPT;
        *self = Self { swept: self.swept, flags, ..now };
    }
}

impl Stock {
    /// Nothing known.
    pub(crate) fn unknown() -> Self {
        Self { swept_ns: 0, orphan_unix_ms: 0, oldest_unix_ms: 0, rows: vec![Row::default(); 2 * SHARDS] }
    }

    /// After a sweep that began at `swept_ns`.
    pub(crate) fn swept(swept_ns: i64, orphan_unix_ms: u64, oldest_unix_ms: u64, rows: Vec<Row>) -> Self {
        Self { swept_ns, orphan_unix_ms, oldest_unix_ms, rows }
    }

    /// What came since the last sweep, of the entries of a folder; `None`: something went, or that cannot be told.
    pub(crate) fn came<'e, T>(
        &self,
        row: usize,
        entries: &'e [T],
        facts: impl Fn(&T) -> &FileFacts,
    ) -> Option<Vec<&'e T>> {
        let row = &self.rows[row];
        if row.flags & SWEPT_YOUNG > 0 {
            return (sum(entries.iter().map(facts)) == row.swept).then(Vec::new);
        }
        let before_ns = self.swept_ns.saturating_sub(SLACK_NS);
        let came: Vec<&T> = entries.iter().filter(|entry| facts(entry).ctime_ns >= before_ns).collect();
        ((entries.len() - came.len()) as u64 == row.swept).then_some(came)
    }

    /// Entries and bytes of all folders of a kind.
    pub(crate) fn sums(&self, blobs: bool) -> (usize, u64) {
        let rows = if blobs { &self.rows[SHARDS..] } else { &self.rows[..SHARDS] };
        let count: u64 = rows.iter().map(|row| row.count).sum();
        (usize::try_from(count).unwrap_or(usize::MAX), rows.iter().map(|row| row.bytes).sum())
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(MAGIC);
        let mut put = |number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        [self.swept_ns.cast_unsigned(), self.orphan_unix_ms, self.oldest_unix_ms]
            .into_iter()
            .for_each(&mut put);
        for row in &self.rows {
            let (mtime, ctime) = (row.mtime_ns.cast_unsigned(), row.ctime_ns.cast_unsigned());
            [row.ino, mtime, ctime, row.count, row.bytes, row.swept, row.flags]
                .into_iter()
                .for_each(&mut put);
        }
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(LENGTH - 32)?;
        (body[..8] == *MAGIC && *sum == *blake3::hash(body).as_bytes()).then_some(())?;
        let mut numbers =
            body[8..].chunks_exact(8).map(|eight| u64::from_le_bytes(eight.try_into().expect("eight bytes")));
        let mut next = || numbers.next();
        let (swept_ns, orphan_unix_ms, oldest_unix_ms) = (next()?.cast_signed(), next()?, next()?);
        let mut rows = Vec::with_capacity(2 * SHARDS);
        for _ in 0..2 * SHARDS {
            rows.push(Row {
                ino: next()?,
                mtime_ns: next()?.cast_signed(),
                ctime_ns: next()?.cast_signed(),
                count: next()?,
                bytes: next()?,
                swept: next()?,
                flags: next()?,
            });
        }
        Some(Self { swept_ns, orphan_unix_ms, oldest_unix_ms, rows })
    }

    /// What was written last, if it is whole.
    pub(crate) fn read(folder: &Folder) -> Option<Self> {
        let mut bytes = Vec::with_capacity(LENGTH);
        folder.open_file(b"stock").ok()?.take(LENGTH as u64 + 1).read_to_end(&mut bytes).ok()?;
        Self::decode(&bytes)
    }

    /// Writes it, whole or not at all. Only who holds the lock of sweeps does.
    pub(crate) fn write(&self, folder: &Folder, scratch: &Folder) -> io::Result<()> {
        scratch.create_file(b"stock", FILE_MODE)?.write_all(&self.encode())?;
        Ok(rustix::fs::renameat(scratch, b"stock".as_slice(), folder, b"stock".as_slice())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_or_flipped_is_nothing() {
        let mut stock = Stock::unknown();
        stock.swept_ns = -7;
        stock.rows[300] = Row { ino: 1, mtime_ns: -2, ctime_ns: 3, count: 4, bytes: 5, swept: 6, flags: 7 };
        let bytes = stock.encode();
        assert_eq!((Stock::decode(&bytes), bytes.len()), (Some(stock), LENGTH));
        for at in (0..LENGTH).step_by(97).chain([LENGTH - 1]) {
            assert_eq!(Stock::decode(&bytes[..at]), None);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!(Stock::decode(&flipped), None);
        }
    }
}
