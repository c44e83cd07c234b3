//! What each action did last, what each file was when it was last read: the workspace's memory, in
//! `.iact/journal`.
//!
//! Invariant: losing it, or any part of it, costs time and never a wrong result: what is read back is checked
//! frame by frame, and a record vouches only as far as the files still show what it says. One process writes
//! (it holds the workspace's lock), any number read. Appended to, and rewritten at the end of a run when most
//! of it is outdated. What could be done otherwise and is not: a file per action (a thousand opens), a
//! database (see `format`).
#![allow(clippy::disallowed_methods, reason = "shell: reads and appends the journal file")]

pub mod ahead;
pub mod format;
pub mod part;

use crate::content::Memo;
use crate::path_table::{PathId, PathTable};
use crate::record::Record;
use format::{Entry, HEADER_LEN};
use iact_cache::DigestFunction;
use iact_cache::chaos::{Bug, planted, point};
use part::Numbers;
use rustc_hash::FxHashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Rewritten when it is longer than this and more than twice as long as what it says.
const WORTH_REWRITING_LEN: u64 = 256 * 1024;

struct Kept {
    record: Record,
    /// Where its frame lies in the file; 0: nowhere yet.
    at: u64,
}

/// The memory of a workspace.
pub struct Journal {
    file_path: PathBuf,
    function: DigestFunction,
    /// Every path ever named.
    pub paths: PathTable,
    memos: Vec<Option<Memo>>,
    records: FxHashMap<String, Kept>,
    /// Of a journal of which only a part was read.
    numbers: Option<Numbers>,
    /// Paths of the table that are in the file or pending.
    known_paths: usize,
    pending: Vec<Entry>,
    new_memos: Vec<(PathId, Memo)>,
    /// Length of the part that counts; what follows it in the file is cut off before the first append.
    length: u64,
    /// Bytes of frames whose content was superseded.
    outdated: u64,
    file: Option<File>,
}

impl Journal {
    /// Reads `file_path`; a journal that is missing, unreadable or of another version is empty.
    pub fn read(file_path: PathBuf, function: DigestFunction) -> Self {
        match std::fs::read(&file_path) {
            Ok(bytes) => Self::of_bytes(file_path, function, &bytes),
            Err(_) => Self::empty(file_path, function),
        }
    }

    fn of_bytes(file_path: PathBuf, function: DigestFunction, bytes: &[u8]) -> Self {
        let mut journal = Self::empty(file_path, function);
        journal.length = format::read(bytes, function, |entry, at| journal.apply(entry, at)) as u64;
        journal.known_paths = journal.paths.len();
        journal
    }

    fn empty(file_path: PathBuf, function: DigestFunction) -> Self {
        Self {
            file_path,
            function,
            paths: PathTable::default(),
            memos: Vec::new(),
            records: FxHashMap::default(),
            numbers: None,
            known_paths: 0,
            pending: Vec::new(),
            new_memos: Vec::new(),
            length: 0,
            outdated: 0,
            file: None,
        }
    }

    /// Takes an entry over; false if it names a path that was never defined.
    fn apply(&mut self, entry: Entry, at: u64) -> bool {
        match entry {
            Entry::Paths(paths) => {
                for path in paths {
                    let known = self.paths.len();
                    if self.paths.intern(&path).index() != known {
                        return false;
                    }
                }
            }
            Entry::Memos(memos) => {
                if memos.iter().any(|(path, _)| path.index() >= self.paths.len()) {
                    return false;
                }
                for (path, memo) in memos {
                    self.outdated += u64::from(self.set_memo(path, memo)) * 96;
                }
            }
            Entry::Record(name, record) => {
                if record_paths(&record).any(|path| path.index() >= self.paths.len()) {
                    return false;
                }
                let size = record_size(&record);
                let kept = Kept { record: *record, at };
                self.outdated += self.records.insert(name, kept).map_or(0, |_| size);
            }
            Entry::Forget(name) => {
                self.outdated += self.records.remove(&name).map_or(32, |kept| record_size(&kept.record));
            }
        }
        true
    }

    fn set_memo(&mut self, path: PathId, memo: Memo) -> bool {
        if self.memos.len() <= path.index() {
            self.memos.resize(self.paths.len().max(path.index() + 1), None);
        }
        self.memos[path.index()].replace(memo).is_some()
    }

    /// What an action did last.
    pub fn record(&self, name: &str) -> Option<&Record> {
        self.records.get(name).map(|kept| &kept.record)
    }

    /// The names of all actions that are remembered, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.records.keys().map(String::as_str)
    }

    /// What a file was when it was last read.
    pub fn memo(&self, path: PathId) -> Option<&Memo> {
        self.memos.get(path.index())?.as_ref()
    }

    /// Remembers what a file was.
    pub fn remember_file(&mut self, path: PathId, memo: Memo) {
        self.outdated += u64::from(self.set_memo(path, memo)) * 96;
        self.new_memos.push((path, memo));
    }

    /// What a file was is known from elsewhere: nothing to write.
    pub fn trust(&mut self, path: PathId, memo: Memo) {
        self.set_memo(path, memo);
    }

    /// Remembers what an action did.
    pub fn remember(&mut self, name: &str, record: Record) {
        self.collect_paths();
        self.pending.push(Entry::Record(name.to_owned(), Box::new(record.clone())));
        let kept = Kept { record, at: 0 };
        self.outdated += self.records.insert(name.to_owned(), kept).map_or(0, |old| record_size(&old.record));
    }

    /// What an action did does not hold any more.
    pub fn forget(&mut self, name: &str) {
        if let Some(old) = self.records.remove(name) {
            self.outdated += record_size(&old.record) + 32;
            self.pending.push(Entry::Forget(name.to_owned()));
        }
    }

    /// Whether [`Self::flush`] has something to write.
    pub fn is_dirty(&self) -> bool {
        !self.pending.is_empty() || !self.new_memos.is_empty()
    }

    /// Appends what was remembered since the last call, in one write.
    ///
    /// # Errors
    /// What the file system says; the memory in this process stays right, and the next call tries again.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.is_dirty() {
            return Ok(());
        }
        self.collect_paths();
        if !self.new_memos.is_empty() {
            self.pending.push(Entry::Memos(std::mem::take(&mut self.new_memos)));
        }
        let mut bytes = Vec::new();
        if self.length < HEADER_LEN as u64 {
            self.length = 0;
            bytes.extend_from_slice(&format::header(self.function));
        }
        for entry in &self.pending {
            let at = self.length + bytes.len() as u64;
            match &self.numbers {
                None => format::put(&mut bytes, self.length, entry),
                Some(numbers) => format::put(&mut bytes, self.length, &numbers.translated(entry)),
            }
            if let Entry::Record(name, _) = entry
                && let Some(kept) = self.records.get_mut(name)
            {
                kept.at = at;
            }
        }
        let length = self.length;
        let file = self.open()?;
        if planted(Bug::NoCut) {
            file.seek(SeekFrom::End(0))?;
        } else {
            file.set_len(length)?;
            file.seek(SeekFrom::Start(length))?;
        }
        point("journal.cut");
        file.write_all(&bytes)?;
        point("journal.written");
        self.length += bytes.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// The last write of a run: flushes, and rewrites the file if most of it is outdated.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn close(&mut self) -> io::Result<()> {
        let dirty = self.is_dirty();
        self.flush()?;
        if dirty && self.numbers.is_none() && is_worth_rewriting(self.length, self.outdated) {
            self.rewrite()?;
            // Nothing in this process goes on with it.
            (self.length, self.file) = (0, None);
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            if let Some(folder) = self.file_path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut options = OpenOptions::new();
            self.file = Some(options.write(true).create(true).mode(0o644).open(&self.file_path)?);
        }
        Ok(self.file.as_mut().expect("it was just opened"))
    }

    /// Paths are written before the first entry that names them.
    fn collect_paths(&mut self) {
        if self.known_paths < self.paths.len() {
            let fresh = self.known_paths..self.paths.len();
            let mut new: Vec<Vec<u8>> = Vec::new();
            for id in fresh {
                let path = self.paths.bytes_of(path_id(id));
                if self.numbers.as_mut().is_none_or(|numbers| numbers.assign(path)) {
                    new.push(path.to_vec());
                }
            }
            if !new.is_empty() {
                self.pending.push(Entry::Paths(new));
            }
            self.known_paths = self.paths.len();
        }
    }

    /// A new file with only what holds, its paths numbered anew, put in place of the old one by a rename.
    fn rewrite(&self) -> io::Result<()> {
        let mut used = vec![false; self.paths.len()];
        let mut names: Vec<&String> = self.records.keys().collect();
        names.sort_unstable();
        for name in &names {
            record_paths(&self.records[*name].record).for_each(|path| used[path.index()] = true);
        }
        let mut fresh = vec![PathId(u32::MAX); used.len()];
        let mut paths = Vec::new();
        for old in (0..used.len()).filter(|&old| used[old]) {
            fresh[old] = path_id(paths.len());
            paths.push(self.paths.bytes_of(path_id(old)).to_vec());
        }
        let memos = (0..used.len().min(self.memos.len()))
            .filter_map(|old| self.memos[old].filter(|_| used[old]).map(|memo| (fresh[old], memo)))
            .collect();
        let mut bytes = format::header(self.function).to_vec();
        format::put(&mut bytes, 0, &Entry::Paths(paths));
        format::put(&mut bytes, 0, &Entry::Memos(memos));
        for name in names {
            let record = renumbered(self.records[name].record.clone(), |path| fresh[path.index()]);
            format::put(&mut bytes, 0, &Entry::Record(name.clone(), Box::new(record)));
        }
        replace(&self.file_path, &bytes)
    }
}

fn is_worth_rewriting(length: u64, outdated: u64) -> bool {
    length > WORTH_REWRITING_LEN && outdated * 2 > length
}

/// Under a name that the next run uses again: what a killed one leaves there does not pile up.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // Never through a link that somebody put there.
    let _ = std::fs::remove_file(&new);
    OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?.write_all(bytes)?;
    point("journal.rewritten");
    std::fs::rename(&new, path)
}

fn path_id(index: usize) -> PathId {
    PathId(number(index))
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 paths")
}

fn record_paths(record: &Record) -> impl Iterator<Item = PathId> {
    let files = record.inputs.iter().chain(&record.discovered).map(|&(path, _)| path);
    let brought = record.brought.iter().map(|brought| brought.path);
    files.chain(brought).chain(record.outputs.iter().map(|made| made.path)).chain(record.moved)
}

fn renumbered(mut record: Record, new: impl Fn(PathId) -> PathId) -> Record {
    record.inputs.iter_mut().chain(&mut record.discovered).for_each(|(path, _)| *path = new(*path));
    record.brought.iter_mut().for_each(|brought| brought.path = new(brought.path));
    record.outputs.iter_mut().for_each(|made| made.path = new(made.path));
    record.moved = record.moved.map(new);
    record
}

/// About what a record takes in the file: enough to decide when to rewrite.
fn record_size(record: &Record) -> u64 {
    let lists = record.inputs.len() + record.discovered.len() + record.brought.len() + record.outputs.len();
    let parts = record.definition.env.len() + record.definition.tools.len() + record.definition.probes.len();
    (256 + lists * 56 + parts * 56) as u64
}

#[cfg(test)]
mod tests;
