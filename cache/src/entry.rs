//! One entry of a cache, a blob or a result: where it is, how it is opened, how it is put aside and put back.
//!
//! An entry is a regular file. Whatever else stands in its place, a link, a folder, a FIFO, a socket, is damage like a wrong
//! digest, whether it could be opened or not; an error says nothing about a file.
#![allow(clippy::disallowed_methods, reason = "shell: opens and moves the cache's files")]

use std::fs::File;
use std::io;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::chaos::{Bug, planted};
use crate::digest::encode_hex;
use crate::folder::{FileFacts, Folder, facts_of};
use crate::local::Local;
use crate::own::{is_absent, make_own};
use crate::store::StoreError;

/// What is wrong with what is no file.
pub(crate) const NO_FILE: &str = "it is no file";

/// What was found in the place of an entry.
pub(crate) enum Opened {
    Absent,
    File(File, FileFacts),
    /// Certainly no entry.
    NoFile(FileFacts),
}

impl Local {
    /// Opens an entry for reading.
    pub(crate) fn open_entry(&self, path: &EntryPath) -> Result<Opened, StoreError> {
        let Some(folder) = self.folder()? else { return Ok(Opened::Absent) };
        let opened = folder.open_file(path.as_bytes()).and_then(|file| {
            let facts = facts_of(&file)?;
            Ok((file, facts))
        });
        match opened {
            Ok((file, facts)) if facts.is_file() => Ok(Opened::File(file, facts)),
            Ok((_, facts)) => Ok(Opened::NoFile(facts)),
            Err(error) if is_absent(&error) => Ok(Opened::Absent),
            // A link and a socket cannot be opened at all.
            Err(error) => match folder.facts(path.as_bytes()) {
                Ok(Some(facts)) if !facts.is_file() => Ok(Opened::NoFile(facts)),
                _ => Err(self.io(path.as_str(), error)),
            },
        }
    }

    /// Moves what was examined, and nothing newer, out of the way; whether it has gone. If not it will be found damaged again.
    ///
    /// Between a look and a rename somebody may put a good one in its place. So what was moved is looked at once more, where
    /// nobody replaces it, and put back if it is another. Killed in between, this loses an entry that was lost for certain
    /// without the second look.
    pub(crate) fn put_aside(&self, path: &EntryPath, examined: &FileFacts) -> bool {
        let Ok(Some(folder)) = self.folder() else { return false };
        if self.options.read_only || planted(Bug::NoHealing) {
            return false;
        }
        let same = |now: &FileFacts| (now.dev, now.ino) == (examined.dev, examined.ino);
        let is_there = || folder.facts(path.as_bytes()).map(|now| now.as_ref().is_some_and(same));
        match is_there() {
            Ok(true) => {}
            gone => return gone.is_ok(),
        }
        let _ = make_own(folder, b"quarantine");
        let aside = [b"quarantine/", path.name()].concat();
        let rename = || rustix::fs::renameat(folder, path.as_bytes(), folder, aside.as_slice());
        // A file takes the place of no folder, and a folder that of no file.
        let moved = match rename() {
            Err(Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                let _ = folder.remove(&aside);
                rename()
            }
            moved => moved,
        };
        if moved.is_err() {
            return match is_there() {
                Ok(true) => folder.remove(path.as_bytes()).is_ok(),
                gone => gone.is_ok(),
            };
        }
        if matches!(folder.facts(&aside), Ok(Some(now)) if !same(&now)) {
            let _ = put_back(folder, &aside, folder, path);
        }
        true
    }
}

/// Gives an entry that was moved away its place back, unless somebody has filled that meanwhile.
pub(crate) fn put_back(from: &Folder, name: &[u8], folder: &Folder, path: &EntryPath) -> io::Result<()> {
    match rustix::fs::linkat(from, name, folder, path.as_bytes(), AtFlags::empty()) {
        Ok(()) | Err(Errno::EXIST) => from.remove(name),
        // No second names here: then whoever came meanwhile gives way to what is as good.
        Err(_) => Ok(rustix::fs::renameat(from, name, folder, path.as_bytes())?),
    }
}

/// `cas/xx/<hex>` or `ac/xx/<hex>`, without an allocation.
#[derive(Clone, Copy)]
pub(crate) struct EntryPath {
    bytes: [u8; 71],
    length: usize,
}

impl EntryPath {
    pub(crate) fn blob(hash: &[u8; 32]) -> Self {
        Self::new(b"cas/", hash)
    }

    pub(crate) fn result(hash: &[u8; 32]) -> Self {
        Self::new(b"ac/", hash)
    }

    fn new(kind: &[u8], hash: &[u8; 32]) -> Self {
        let hex = encode_hex(hash);
        let start = kind.len();
        let mut bytes = [0; 71];
        bytes[..start].copy_from_slice(kind);
        bytes[start..start + 2].copy_from_slice(&hex[..2]);
        bytes[start + 2] = b'/';
        bytes[start + 3..start + 67].copy_from_slice(&hex);
        Self { bytes, length: start + 67 }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("made of ASCII")
    }

    fn name(&self) -> &[u8] {
        &self.bytes[self.length - 64..self.length]
    }

    /// `cas/xx` or `ac/xx`.
    pub(crate) fn shard(&self) -> &[u8] {
        &self.bytes[..self.length - 65]
    }

    /// `cas` or `ac`.
    pub(crate) fn kind(&self) -> &[u8] {
        &self.bytes[..self.length - 68]
    }
}
