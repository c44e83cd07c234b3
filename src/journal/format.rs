//! The bytes of the journal, version 2.
//!
//! ```text
//! file   = header frame*
//! header = "iact journal 2\n" digest-function:u8            (16 bytes)
//! frame  = length:u32 checksum:u32 kind:u8 payload          (length counts kind and payload)
//! ```
//!
//! Numbers are little-endian; texts and lists are preceded by their length as u32. The checksum is the first
//! four bytes of the BLAKE3 digest of kind, payload and the frame's offset, so that a frame that was copied
//! elsewhere does not count.
//!
//! | kind | payload |
//! |---|---|
//! | 1 paths | a list of paths; the n-th path of the file has path id n |
//! | 2 memos | a list of path id, stat, content, trusted: what files were when they were last read |
//! | 3 record | name of the instance, record |
//! | 4 forget | name of the instance: what is remembered of it does not hold any more |
//!
//! Later frames win. A frame that is torn, has a wrong checksum or names an unknown kind or path ends the
//! readable part: everything after it is dropped, and the file is cut there before anything is appended.
//! Refused: a database (two programs' worth of recovery rules), and one checksum for the file (an append
//! would rewrite it).

use crate::bytes::{Reader, put_bytes, put_list, put_u32, put_u64};
use crate::content::{Content, ContentKind, Memo, Stat};
use crate::path_table::PathId;
use crate::record::{Brought, Definition, Made, PartDigest, Record};
use iact_cache::{Digest, DigestFunction};

/// Length of the header.
pub const HEADER_LEN: usize = 16;
const MAGIC: &[u8; 15] = b"iact journal 2\n";
/// Length of what precedes a payload.
pub const FRAME_HEAD: usize = 8;

/// One frame's meaning.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// The next path ids.
    Paths(Vec<Vec<u8>>),
    /// What files were.
    Memos(Vec<(PathId, Memo)>),
    /// What an action did.
    Record(String, Box<Record>),
    /// What an action did does not hold any more.
    Forget(String),
}

/// The header of a journal.
pub fn header(function: DigestFunction) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..15].copy_from_slice(MAGIC);
    header[15] = function as u8;
    header
}

/// What a journal's digests are made with, if it is one.
pub fn function(bytes: &[u8]) -> Option<DigestFunction> {
    let mut functions = [DigestFunction::Blake3, DigestFunction::Sha256].into_iter();
    functions.find(|&function| bytes.starts_with(&header(function)))
}

/// Appends a frame to `to`, whose first byte lies at `offset` of the file.
pub fn put(to: &mut Vec<u8>, offset: u64, entry: &Entry) {
    let start = to.len();
    to.extend_from_slice(&[0; FRAME_HEAD]);
    match entry {
        Entry::Paths(paths) => {
            to.push(1);
            put_list(to, paths, |to, path| put_bytes(to, path));
        }
        Entry::Memos(memos) => {
            to.push(2);
            put_list(to, memos, |to, (path, memo)| {
                put_u32(to, path.0);
                put_memo(to, memo);
            });
        }
        Entry::Record(name, record) => {
            to.push(3);
            put_bytes(to, name.as_bytes());
            put_record(to, record);
        }
        Entry::Forget(name) => {
            to.push(4);
            to.extend_from_slice(name.as_bytes());
        }
    }
    let body = start + FRAME_HEAD;
    let length = u32::try_from(to.len() - body).expect("a frame is below 4 GiB");
    let sum = checksum(&to[body..], offset + start as u64);
    to[start..start + 4].copy_from_slice(&length.to_le_bytes());
    to[start + 4..body].copy_from_slice(&sum);
}

/// Reads frames until the end or the first that does not count; returns how many bytes count.
/// Each is given with where it lies.
pub fn read(bytes: &[u8], function: DigestFunction, mut each: impl FnMut(Entry, u64) -> bool) -> usize {
    if bytes.len() < HEADER_LEN || bytes[..HEADER_LEN] != header(function) {
        return 0;
    }
    let mut at = HEADER_LEN;
    while let Some((entry, end)) = frame(bytes, at) {
        if !each(entry, at as u64) {
            break;
        }
        at = end;
    }
    at
}

/// Length of a frame's payload, if `head` is a frame's.
pub fn payload_len(head: &[u8; FRAME_HEAD]) -> usize {
    u32::from_le_bytes(head[..4].try_into().expect("four bytes")) as usize
}

/// What the frame at `offset` of the file means, if it is sound.
pub fn read_one(head: &[u8; FRAME_HEAD], payload: &[u8], offset: u64) -> Option<Entry> {
    (head[4..] == checksum(payload, offset)).then(|| entry(payload))?
}

fn frame(bytes: &[u8], at: usize) -> Option<(Entry, usize)> {
    let body = at.checked_add(FRAME_HEAD)?;
    let head = bytes.get(at..body)?;
    let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
    let end = body.checked_add(length)?;
    let payload = bytes.get(body..end)?;
    let sound = head[4..] == checksum(payload, at as u64);
    if !sound && !iact_cache::chaos::planted(iact_cache::chaos::Bug::NoChecksum) {
        return None;
    }
    Some((entry(payload)?, end))
}

fn checksum(payload: &[u8], offset: u64) -> [u8; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offset.to_le_bytes()).update(payload);
    hasher.finalize().as_bytes()[..4].try_into().expect("four of thirty-two bytes")
}

fn entry(payload: &[u8]) -> Option<Entry> {
    let (&kind, rest) = payload.split_first()?;
    let mut from = Reader(rest);
    let entry = match kind {
        1 => Entry::Paths(from.list(4, |from| {
            let length = from.u32()? as usize;
            from.take(length).filter(|path| !path.contains(&0)).map(<[u8]>::to_vec)
        })?),
        2 => Entry::Memos(from.list(90, |from| Some((from.path()?, from.memo()?)))?),
        3 => Entry::Record(from.text()?, Box::new(from.record()?)),
        4 => return Some(Entry::Forget(String::from_utf8(rest.to_vec()).ok()?)),
        _ => return None,
    };
    from.0.is_empty().then_some(entry)
}

pub(crate) fn put_memo(to: &mut Vec<u8>, memo: &Memo) {
    put_stat(to, &memo.stat);
    put_content(to, memo.content);
    to.push(u8::from(memo.trusted));
}

fn put_stat(to: &mut Vec<u8>, stat: &Stat) {
    for number in
        [stat.dev, stat.ino, stat.size, stat.mtime_ns.cast_unsigned(), stat.ctime_ns.cast_unsigned()]
    {
        put_u64(to, number);
    }
    put_u32(to, stat.mode);
}

fn put_content(to: &mut Vec<u8>, content: Content) {
    to.push(content.kind as u8);
    to.extend_from_slice(&content.digest.hash);
    put_u64(to, content.digest.size);
}

fn put_record(to: &mut Vec<u8>, record: &Record) {
    let definition = &record.definition;
    for part in [&definition.whole, &definition.command, &definition.outputs, &record.fingerprint] {
        to.extend_from_slice(part);
    }
    for list in [&definition.env, &definition.tools, &definition.probes, &definition.exports] {
        put_list(to, list, |to, (name, part)| {
            put_bytes(to, name.as_bytes());
            to.extend_from_slice(part);
        });
    }
    for list in [&record.inputs, &record.discovered] {
        put_list(to, list, |to, (path, content)| {
            put_u32(to, path.0);
            put_content(to, *content);
        });
    }
    put_list(to, &record.brought, |to, brought| {
        put_u32(to, brought.path.0);
        put_content(to, brought.content);
        put_bytes(to, brought.target.as_bytes());
    });
    put_list(to, &record.outputs, |to, made| {
        put_u32(to, made.path.0);
        put_content(to, made.content);
        to.push(u8::from(made.declared));
    });
    put_u64(to, record.duration_ms);
    put_u64(to, record.finished_unix_ms);
    put_u32(to, record.moved.map_or(u32::MAX, |path| path.0));
    put_list(to, &record.exports, |to, (name, value)| {
        put_bytes(to, name.as_bytes());
        put_bytes(to, value.as_bytes());
    });
    put_bytes(to, record.log.as_deref().unwrap_or_default().as_bytes());
}

impl Reader<'_> {
    fn path(&mut self) -> Option<PathId> {
        self.u32().map(PathId)
    }

    pub(crate) fn memo(&mut self) -> Option<Memo> {
        Some(Memo { stat: self.stat()?, content: self.content()?, trusted: self.byte()? == 1 })
    }

    fn part(&mut self) -> Option<PartDigest> {
        self.take(32)?.try_into().ok()
    }

    fn stat(&mut self) -> Option<Stat> {
        Some(Stat {
            dev: self.u64()?,
            ino: self.u64()?,
            size: self.u64()?,
            mtime_ns: self.u64()?.cast_signed(),
            ctime_ns: self.u64()?.cast_signed(),
            mode: self.u32()?,
        })
    }

    fn content(&mut self) -> Option<Content> {
        let kind = ContentKind::from_number(self.byte()?)?;
        Some(Content { kind, digest: Digest { hash: self.part()?, size: self.u64()? } })
    }

    fn parts(&mut self) -> Option<Vec<(String, PartDigest)>> {
        self.list(36, |from| Some((from.text()?, from.part()?)))
    }

    fn contents(&mut self) -> Option<Vec<(PathId, Content)>> {
        self.list(45, |from| Some((from.path()?, from.content()?)))
    }

    fn record(&mut self) -> Option<Record> {
        let (whole, command, outputs, fingerprint) = (self.part()?, self.part()?, self.part()?, self.part()?);
        let (env, tools, probes, exports) = (self.parts()?, self.parts()?, self.parts()?, self.parts()?);
        Some(Record {
            definition: Definition { whole, command, outputs, env, tools, probes, exports },
            fingerprint,
            inputs: self.contents()?,
            discovered: self.contents()?,
            brought: self.list(49, |from| {
                Some(Brought { path: from.path()?, content: from.content()?, target: from.text()? })
            })?,
            outputs: self.list(46, |from| {
                Some(Made { path: from.path()?, content: from.content()?, declared: from.byte()? == 1 })
            })?,
            duration_ms: self.u64()?,
            finished_unix_ms: self.u64()?,
            moved: Some(self.path()?).filter(|path| path.0 != u32::MAX),
            exports: self.list(8, |from| Some((from.text()?, from.text()?)))?,
            log: Some(self.text()?).filter(|log| !log.is_empty()),
        })
    }
}
