//! Two derived files of a cache: when its results were last used, and how much it holds. Losing either loses
//! no entry.
//!
//! `uses` is appended to, once per run, one record of 48 bytes per used result:
//!
//! ```text
//! 0..32   the action's hash
//! 32..40  when, in Unix milliseconds, little-endian
//! 40..48  the first 8 bytes of BLAKE3 of the 40 before
//! ```
//!
//! A reader skips what does not verify, byte by byte, so a torn or damaged record costs only itself. A sweep,
//! or a run that finds the file grown long, rewrites it with one record per result. Blobs' modification times are
//! not used: a copied or restored cache has fresh ones.
//!
//! `total` lets a run know without a walk whether the cache has outgrown its limit; changed under its own
//! lock:
//!
//! ```text
//! 0..8    "iactsum1"
//! 8..16   bytes of all blobs and results and of what was put aside, little-endian
//! 16..24  when the last sweep was, in Unix milliseconds, little-endian
//! 24..32  the first 8 bytes of BLAKE3 of the 24 before
//! ```
#![allow(clippy::disallowed_methods, reason = "shell: reads and writes two small files")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

use rustc_hash::FxHashMap;
use rustix::fs::{FlockOperation, OFlags};

use crate::digest::Digest;
use crate::folder::{Folder, facts_of};
use crate::local::FILE_MODE;
use crate::own::{is_absent, move_aside, open_own};

const RECORD: usize = 48;
const TOTAL: usize = 32;
const TOTAL_MAGIC: &[u8; 8] = b"iactsum1";
/// A file that grows beyond this, or beyond twice, four times this and so on, may mostly repeat itself.
const LONG: u64 = 16 << 20;
/// More than this many bytes of uses are not read.
const MAX_USES: u64 = 256 << 20;

fn check(bytes: &[u8]) -> [u8; 8] {
    *blake3::hash(bytes).as_bytes().first_chunk().expect("a hash is longer than 8 bytes")
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().expect("eight bytes"))
}

fn encode_use(hash: &[u8; 32], unix_ms: u64, into: &mut Vec<u8>) {
    let start = into.len();
    into.extend_from_slice(hash);
    into.extend_from_slice(&unix_ms.to_le_bytes());
    let check = check(&into[start..]);
    into.extend_from_slice(&check);
}

/// When each result was last used, by the hash of its action.
pub(crate) type LastUses = FxHashMap<[u8; 32], u64>;

fn decode_uses(bytes: &[u8]) -> LastUses {
    let mut uses = LastUses::default();
    let mut rest = bytes;
    while let Some(record) = rest.first_chunk::<RECORD>() {
        if record[40..] == check(&record[..40]) {
            let hash = *record.first_chunk().expect("32 bytes");
            let last = uses.entry(hash).or_default();
            *last = number(&record[32..]).max(*last);
            rest = &rest[RECORD..];
        } else {
            rest = &rest[1..];
        }
    }
    uses
}

/// Adds a record for each action. `true`: the file has grown so long that it should be rewritten.
pub(crate) fn append(folder: &Folder, actions: &[Digest], now_unix_ms: u64) -> io::Result<bool> {
    let mut bytes = Vec::with_capacity(actions.len() * RECORD);
    for action in actions {
        encode_use(&action.hash, now_unix_ms, &mut bytes);
    }
    let open = || open_own(folder, b"uses", OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE);
    let mut file = match open() {
        Err(_) if folder.facts(b"uses")?.is_some_and(|facts| !facts.is_file()) => {
            move_aside(folder, b"uses")?;
            open()?
        }
        file => file?,
    };
    file.write_all(&bytes)?;
    let size = facts_of(&file)?.size;
    Ok(has_outgrown(size.saturating_sub(bytes.len() as u64), size))
}

/// Whether a power of two lies between: a file that is long because there are many results is not rewritten by every run.
fn has_outgrown(before: u64, size: u64) -> bool {
    let step = |size: u64| (size / LONG).checked_ilog2();
    step(before) < step(size)
}

/// What is known of uses. What could not be read is not unknown: a sweep would take what is used every day for old.
pub(crate) fn read_uses(folder: &Folder) -> io::Result<LastUses> {
    let mut bytes = Vec::new();
    match folder.open_file(b"uses") {
        Err(error) if is_absent(&error) => {}
        file => drop(file?.take(MAX_USES).read_to_end(&mut bytes)?),
    }
    Ok(decode_uses(&bytes))
}

/// Replaces the file by one record per result, and by what was noted since it said `before`. What another run appends between
/// that look and the new name may be lost.
pub(crate) fn rewrite_uses(
    folder: &Folder,
    scratch: &Folder,
    mut uses: LastUses,
    before: &LastUses,
) -> io::Result<()> {
    let mut came = read_uses(folder)?;
    came.retain(|hash, unix_ms| before.get(hash) != Some(unix_ms));
    came.into_iter().for_each(|(hash, unix_ms)| {
        let last = uses.entry(hash).or_default();
        *last = unix_ms.max(*last);
    });
    let mut sorted: Vec<_> = uses.iter().collect();
    sorted.sort_unstable();
    let mut bytes = Vec::with_capacity(sorted.len() * RECORD);
    for (hash, unix_ms) in sorted {
        encode_use(hash, *unix_ms, &mut bytes);
    }
    scratch.create_file(b"uses", FILE_MODE)?.write_all(&bytes)?;
    Ok(rustix::fs::renameat(scratch, b"uses".as_slice(), folder, b"uses".as_slice())?)
}

/// What `total` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) bytes: u64,
    pub(crate) swept_unix_ms: u64,
}

impl Total {
    fn encode(self) -> [u8; TOTAL] {
        let mut bytes = [0; TOTAL];
        bytes[..8].copy_from_slice(TOTAL_MAGIC);
        bytes[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.swept_unix_ms.to_le_bytes());
        let check = check(&bytes[..24]);
        bytes[24..].copy_from_slice(&check);
        bytes
    }

    fn decode(bytes: &[u8; TOTAL]) -> Option<Self> {
        let sound = bytes[..8] == *TOTAL_MAGIC && bytes[24..] == check(&bytes[..24]);
        sound.then(|| Self { bytes: number(&bytes[8..]), swept_unix_ms: number(&bytes[16..]) })
    }

    fn read_from(file: &File) -> Option<Self> {
        let mut bytes = [0; TOTAL];
        file.read_exact_at(&mut bytes, 0).ok()?;
        Self::decode(&bytes)
    }
}

/// Starts the count in a cache that has just been made.
pub(crate) fn begin_total(folder: &Folder) {
    if let Ok(mut file) = folder.create_file(b"total", FILE_MODE) {
        let _ = file.write_all(&Total::default().encode());
    }
}

/// What the cache holds; `None` if nobody knows.
pub(crate) fn read_total(folder: &Folder) -> Option<Total> {
    Total::read_from(&folder.open_file(b"total").ok()?)
}

/// Counts newly stored bytes. A count that is unknown stays so until the next sweep.
pub(crate) fn add_to_total(folder: &Folder, bytes: u64) {
    let _ = change_total(folder, OFlags::empty(), |total| {
        total.map(|total| Total { bytes: total.bytes.saturating_add(bytes), ..total })
    });
}

/// Sets the count.
pub(crate) fn set_total(folder: &Folder, total: Total) -> io::Result<()> {
    change_total(folder, OFlags::CREATE, |_| Some(total))
}

/// Sets the count after a walk that began when it said `before`: what others stored meanwhile counts as well.
pub(crate) fn recount(folder: &Folder, before: u64, found: Total) -> io::Result<()> {
    change_total(folder, OFlags::CREATE, |total| {
        let meanwhile = total.unwrap_or_default().bytes.saturating_sub(before);
        Some(Total { bytes: found.bytes.saturating_add(meanwhile), ..found })
    })
}

fn change_total(
    folder: &Folder,
    flags: OFlags,
    change: impl FnOnce(Option<Total>) -> Option<Total>,
) -> io::Result<()> {
    let file = open_own(folder, b"total", OFlags::RDWR | flags)?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))?;
    let Some(total) = change(Total::read_from(&file)) else { return Ok(()) };
    file.write_all_at(&total.encode(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_or_torn_record_costs_only_itself() {
        let mut bytes = Vec::new();
        for number in 0..4_u8 {
            encode_use(&[number; 32], 100 + u64::from(number), &mut bytes);
        }
        encode_use(&[0; 32], 500, &mut bytes);
        let all = decode_uses(&bytes);
        assert_eq!((all.len(), all[&[0; 32]], all[&[3; 32]]), (4, 500, 103));
        for at in 0..RECORD {
            let mut damaged = bytes.clone();
            damaged[RECORD + at] ^= 0x10;
            let left = decode_uses(&damaged);
            assert_eq!((left.len(), left.get(&[1; 32])), (3, None), "flipped at {at}");
            let torn = [&bytes[..RECORD + at], &bytes[2 * RECORD..]].concat();
            assert_eq!(decode_uses(&torn).len(), 3, "torn at {at}");
        }
    }

    #[test]
    fn what_is_noted_while_a_sweep_is_at_work_stays() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::open(base.path()).unwrap();
        folder.make(b"scratch").unwrap();
        let [stays, used, gone, came] = [1, 2, 3, 4].map(|n| Digest { hash: [n; 32], size: 0 });
        append(&folder, &[stays, used, gone], 10).unwrap();
        let before = read_uses(&folder).unwrap();
        append(&folder, &[used, came], 20).unwrap();
        let left = [(stays.hash, 9), (used.hash, 10)].into_iter().collect();
        rewrite_uses(&folder, &folder.child(b"scratch").unwrap(), left, &before).unwrap();
        let noted: LastUses = [(stays.hash, 9), (used.hash, 20), (came.hash, 20)].into_iter().collect();
        assert_eq!(read_uses(&folder).unwrap(), noted);
    }

    #[test]
    fn a_long_file_is_rewritten_when_it_doubles() {
        let outgrown = [(0, LONG - 1), (LONG - 1, LONG), (LONG, 2 * LONG - 1), (2 * LONG - 1, 2 * LONG)];
        assert_eq!(outgrown.map(|(before, size)| has_outgrown(before, size)), [false, true, false, true]);
    }

    #[test]
    fn a_total_is_read_only_if_it_is_whole() {
        let total = Total { bytes: 1 << 40, swept_unix_ms: 1_700_000_000_000 };
        let bytes = total.encode();
        assert_eq!(Total::decode(&bytes), Some(total));
        for at in 0..TOTAL {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(Total::decode(&damaged), None);
        }
    }
}
