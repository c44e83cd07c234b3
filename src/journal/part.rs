//! A journal of which only some records were read: those that somebody asks for.
//!
//! Invariant: within the process paths have numbers of their own, dense and in the order of the file's, and everything that is
//! written bears the file's numbers, in their order: whoever reads the whole file afterwards sees no difference. Where the
//! records lie and how the file numbers its paths is told by whoever read the whole before (`reach.rs`), for a file that shows
//! the stat it had then.
#![allow(clippy::disallowed_methods, reason = "shell: reads pieces of the journal file")]

use super::format::{self, Entry, FRAME_HEAD, HEADER_LEN, payload_len};
use super::{Journal, Kept, is_worth_rewriting, record_paths, renumbered};
use crate::path_table::{PathId, PathTable};
use crate::record::Record;
use iact_cache::DigestFunction;
use rustc_hash::FxHashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The file's paths in the order of their numbers, each with a NUL behind it.
#[derive(Clone, Default)]
pub struct FilePaths {
    /// One after the other.
    pub bytes: Arc<Vec<u8>>,
    /// Where each ends.
    pub ends: Vec<u32>,
}

impl FilePaths {
    fn get(&self, id: u32) -> Option<&[u8]> {
        let end = *self.ends.get(id as usize)? as usize;
        let start = if id == 0 { 0 } else { *self.ends.get(id as usize - 1)? as usize };
        self.bytes.get(start..end.checked_sub(1)?)
    }
}

/// What of a journal is wanted.
pub struct Part {
    /// How long the file is.
    pub length: u64,
    /// How much of it is outdated.
    pub outdated: u64,
    /// Its paths.
    pub paths: FilePaths,
    /// Where the wanted records lie, with the names they have to have.
    pub records: Vec<(String, u64)>,
    /// Paths that are wanted beside those of the records, by the file's numbers.
    pub also: Vec<u32>,
}

/// What the file calls the paths of this process.
pub(super) struct Numbers {
    of: Vec<u32>,
    all: FilePaths,
    /// All of them by text: made when a path comes that nobody asked for.
    by_text: Option<FxHashMap<Vec<u8>, u32>>,
    count: u32,
}

impl Numbers {
    /// Gives the next path of this process its number in the file; whether that is a new one.
    pub(super) fn assign(&mut self, path: &[u8]) -> bool {
        let all = &self.all;
        let by_text = self.by_text.get_or_insert_with(|| {
            let ids = 0..u32::try_from(all.ends.len()).expect("fewer than 2^32 paths");
            ids.filter_map(|id| Some((all.get(id)?.to_vec(), id))).collect()
        });
        let known = by_text.get(path).copied();
        self.of.push(known.unwrap_or(self.count));
        self.count += u32::from(known.is_none());
        known.is_none()
    }

    fn of(&self, path: PathId) -> PathId {
        PathId(self.of[path.index()])
    }

    /// The entry as the file has it.
    pub(super) fn translated(&self, entry: &Entry) -> Entry {
        match entry {
            Entry::Memos(memos) => {
                Entry::Memos(memos.iter().map(|(path, memo)| (self.of(*path), *memo)).collect())
            }
            Entry::Record(name, record) => {
                let mut record = renumbered((**record).clone(), |path| self.of(path));
                sort(&mut record);
                Entry::Record(name.clone(), Box::new(record))
            }
            Entry::Paths(_) | Entry::Forget(_) => entry.clone(),
        }
    }
}

fn sort(record: &mut Record) {
    record.inputs.sort_unstable_by_key(|(path, _)| *path);
    record.discovered.sort_unstable_by_key(|(path, _)| *path);
    record.brought.sort_unstable_by_key(|brought| brought.path);
    record.outputs.sort_unstable_by_key(|made| made.path);
}

fn entry_at(file: &File, at: u64, length: u64) -> Option<Entry> {
    let mut head = [0; FRAME_HEAD];
    file.read_exact_at(&mut head, at).ok()?;
    let payload_len = payload_len(&head);
    (at + (FRAME_HEAD + payload_len) as u64 <= length).then_some(())?;
    let mut payload = vec![0; payload_len];
    file.read_exact_at(&mut payload, at + FRAME_HEAD as u64).ok()?;
    format::read_one(&head, &payload, at)
}

impl Journal {
    /// Reads only what is wanted, and tells which number each of the file's wanted paths has here. `None`: it cannot be read
    /// so, or most of the file is outdated and somebody should read it all.
    pub fn read_part(
        file_path: PathBuf,
        function: DigestFunction,
        part: Part,
    ) -> Option<(Self, impl Fn(u32) -> PathId)> {
        if is_worth_rewriting(part.length, part.outdated) {
            return None;
        }
        let file = File::open(&file_path).ok()?;
        let mut header = [0; HEADER_LEN];
        file.read_exact_at(&mut header, 0).ok()?;
        (header == format::header(function) && file.metadata().ok()?.len() == part.length).then_some(())?;
        let mut records: Vec<(String, Record, u64)> = Vec::with_capacity(part.records.len());
        let mut wanted = part.also;
        for (name, at) in part.records {
            match entry_at(&file, at, part.length)? {
                Entry::Record(known, record) if known == name => {
                    wanted.extend(record_paths(&record).map(|path| path.0));
                    records.push((name, *record, at));
                }
                _ => return None,
            }
        }
        wanted.sort_unstable();
        wanted.dedup();
        let mut paths = PathTable::default();
        for &id in &wanted {
            paths.intern(part.paths.get(id)?);
        }
        let of = wanted.clone();
        let here = move |id: u32| PathId(of.binary_search(&id).map_or(u32::MAX, super::number));
        let mut journal = Self::empty(file_path, function);
        for (name, record, at) in records {
            journal.records.insert(name, Kept { record: renumbered(record, |path| here(path.0)), at });
        }
        journal.known_paths = paths.len();
        journal.paths = paths;
        (journal.length, journal.outdated) = (part.length, part.outdated);
        let count = super::number(part.paths.ends.len());
        journal.numbers = Some(Numbers { of: wanted, all: part.paths, by_text: None, count });
        Some((journal, here))
    }

    /// How long the file is, and how much of it is outdated.
    pub fn lengths(&self) -> (u64, u64) {
        (self.length, self.outdated)
    }

    /// Whether paths were written that the file did not know.
    pub fn has_new_paths(&self) -> bool {
        self.numbers.as_ref().is_some_and(|numbers| numbers.count as usize > numbers.all.ends.len())
    }

    /// Where the record of an action lies in the file.
    pub fn place(&self, name: &str) -> Option<u64> {
        self.records.get(name).map(|kept| kept.at).filter(|at| *at > 0)
    }
}
