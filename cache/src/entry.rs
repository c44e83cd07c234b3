//! One entry of a cache, a blob or a result: where it is and how it is opened.
//!
//! An entry is a regular file. Whatever else stands in its place, a link, a folder, a FIFO, a socket, is damage like a wrong
//! digest, whether it could be opened or not; an error says nothing about a file.
#![allow(clippy::disallowed_methods, reason = "shell: opens the cache's files")]

use std::fs::File;

use crate::digest::encode_hex;
use crate::folder::{FileFacts, facts_of};
use crate::local::Local;
use crate::own::is_absent;
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

    pub(crate) fn name(&self) -> &[u8] {
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
