//! Every path a workspace ever named, once, as a dense number.
//!
//! Invariant: an id means the same bytes for as long as the journal lives, so records, memos and snapshots
//! hold ids only. A path is workspace-relative, or absolute if it lies outside (a tool, a system header).
//! Bytes, not text: a file name need not be UTF-8. Each is followed by a NUL in the table, so that a system
//! call takes it as it stands.

use hashbrown::HashTable;
use std::borrow::Cow;
use std::ffi::CStr;
use std::hash::{BuildHasher, BuildHasherDefault};

/// A path's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(pub u32);

impl PathId {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

type Hasher = BuildHasherDefault<rustc_hash::FxHasher>;

/// The table.
#[derive(Default)]
pub struct PathTable {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    index: HashTable<u32>,
}

impl PathTable {
    /// The number of a path, new or known.
    ///
    /// # Panics
    /// If the path holds a NUL byte: no file has such a name, and parsers refuse it.
    pub fn intern(&mut self, path: &[u8]) -> PathId {
        assert!(!path.contains(&0), "paths with NUL bytes are refused where they are read");
        let hash = hash(path);
        if let Some(&id) = self.index.find(hash, |&id| self.bytes_of(PathId(id)) == path) {
            return PathId(id);
        }
        let id = u32::try_from(self.ends.len()).expect("fewer than 2^32 paths");
        self.bytes.extend_from_slice(path);
        self.bytes.push(0);
        self.ends.push(u32::try_from(self.bytes.len()).expect("less than 4 GiB of paths"));
        let (bytes, ends) = (&self.bytes, &self.ends);
        self.index.insert_unique(hash, id, |&id| hash_of(bytes, ends, id));
        PathId(id)
    }

    /// The number of a path, if it has one.
    pub fn find(&self, path: &[u8]) -> Option<PathId> {
        self.index.find(hash(path), |&id| self.bytes_of(PathId(id)) == path).map(|&id| PathId(id))
    }

    /// The path of a number.
    pub fn bytes_of(&self, id: PathId) -> &[u8] {
        bytes_of(&self.bytes, &self.ends, id.0)
    }

    /// The path as a system call takes it.
    pub fn c_str(&self, id: PathId) -> &CStr {
        let (start, end) = range(&self.ends, id.0);
        CStr::from_bytes_with_nul(&self.bytes[start..end])
            .expect("the table puts a NUL after each path, and only there")
    }

    /// The path for a person; bytes that are no UTF-8 are replaced.
    pub fn show(&self, id: PathId) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes_of(id))
    }

    /// All paths, each followed by a NUL, and where each ends behind it.
    pub fn raw(&self) -> (&[u8], &[u32]) {
        (&self.bytes, &self.ends)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

fn range(ends: &[u32], id: u32) -> (usize, usize) {
    let start = if id == 0 { 0 } else { ends[id as usize - 1] as usize };
    (start, ends[id as usize] as usize)
}

fn bytes_of<'a>(bytes: &'a [u8], ends: &[u32], id: u32) -> &'a [u8] {
    let (start, end) = range(ends, id);
    &bytes[start..end - 1]
}

fn hash(path: &[u8]) -> u64 {
    Hasher::default().hash_one(path)
}

fn hash_of(bytes: &[u8], ends: &[u32], id: u32) -> u64 {
    hash(bytes_of(bytes, ends, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_paths_have_one_number_and_bytes_come_back() {
        let mut table = PathTable::default();
        let names: [&[u8]; 4] = [b"src/a.c", b"", b"odd\n\xff", b"/usr/bin/gcc"];
        let ids: Vec<_> = names.iter().map(|name| table.intern(name)).collect();
        for (id, name) in ids.iter().zip(names) {
            assert_eq!((table.intern(name), table.find(name)), (*id, Some(*id)));
            assert_eq!(table.bytes_of(*id), name);
            assert_eq!(table.c_str(*id).to_bytes(), name);
        }
        assert_eq!((table.len(), table.find(b"src/a")), (4, None));
    }
}
