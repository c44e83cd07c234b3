//! Whether everything in a cache is what it should be.
//!
//! Safe beside builds and sweeps: what goes meanwhile is not damaged, and what cannot be read or listed just now is told and
//! stays.
#![allow(clippy::disallowed_methods, reason = "shell: lists and reads the cache's files")]

use std::io;
use std::sync::{Mutex, PoisonError};

use super::Entry;
use crate::digest::decode_hex;
use crate::entry::{EntryPath, NO_FILE, Opened};
use crate::folder::{FileFacts, Folder};
use crate::gc::Needs;
use crate::local::{LocalStore, ReadEntry};
use crate::ops;
use crate::restore::is_in_the_way;
use crate::store::{Store, StoreError};

/// How thoroughly to verify.
#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions {
    /// Reads one blob of so many; 1: all of them.
    pub one_in: u64,
    /// Which ones, if not all.
    pub seed: u64,
    /// Puts aside what is damaged.
    pub repair: bool,
    /// How many threads may read at once.
    pub threads: usize,
}

/// What verifying found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many entries were read.
    pub checked: usize,
    /// What is wrong, by path.
    pub damaged: Vec<Damage>,
}

/// An entry that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// Relative to the cache.
    pub path: String,
    /// What is wrong.
    pub reason: String,
    /// Whether it has gone from there: it was put aside, or somebody else has replaced it.
    pub is_aside: bool,
}

impl LocalStore {
    /// Reads everything, or a sample, and says what is not what it should be.
    pub fn verify(&self, options: &VerifyOptions) -> Result<Verified, StoreError> {
        let local = self.local();
        let Some(folder) = local.folder()? else { return Ok(Verified::default()) };
        let mut strays = Strays::default();
        let results = entries(folder, b"ac", &mut strays);
        let blobs = entries(folder, b"cas", &mut strays);
        let chosen = |entry: &Entry| {
            let number = u64::from_le_bytes(*entry.hash.first_chunk().expect("eight of 32 bytes"));
            number.wrapping_add(options.seed).is_multiple_of(options.one_in.max(1))
        };
        let blobs: Vec<Entry> = blobs.into_iter().filter(chosen).collect();
        let checked = results.len() + blobs.len();
        let stray = |(path, facts): (Vec<u8>, FileFacts)| Damage {
            is_aside: options.repair && local.put_stray_aside(&path, &facts),
            path: String::from_utf8_lossy(&path).into_owned(),
            reason: "it is no entry of the cache".to_owned(),
        };
        let unlisted = |(path, error): (Vec<u8>, io::Error)| Damage {
            is_aside: false,
            path: String::from_utf8_lossy(&path).into_owned(),
            reason: format!("it cannot be listed: {error}"),
        };
        let strays = strays.unlisted.into_iter().map(unlisted).chain(strays.paths.into_iter().map(stray));
        let damaged: Mutex<Vec<Damage>> = Mutex::new(strays.collect());
        let tell = |path: &EntryPath, reason: String, is_aside: bool| {
            let damage = Damage { path: path.as_str().to_owned(), reason, is_aside };
            damaged.lock().unwrap_or_else(PoisonError::into_inner).push(damage);
        };
        let report = |path: &EntryPath, reason: String, facts: &FileFacts| {
            tell(path, reason, options.repair && local.put_aside(path, facts));
        };
        // It may be as good as ever: a disk, a network, a limit of this process had a bad moment.
        let unreadable = |path: &EntryPath, error: &dyn std::fmt::Display| {
            tell(path, format!("it cannot be read: {error}"), false);
        };
        let bytes = blobs.iter().map(|entry| entry.facts.size).sum();
        ops::in_parallel(ops::threads_for(options.threads, blobs.len(), bytes), &blobs, |entry| {
            let path = EntryPath::blob(&entry.hash);
            match local.open_entry(&path) {
                // What has gone meanwhile is not damaged.
                Ok(Opened::Absent) => {}
                Ok(Opened::NoFile(facts)) => report(&path, NO_FILE.to_owned(), &facts),
                Ok(Opened::File(file, facts)) => match ops::digest_file(local.options.digest, &file) {
                    Ok(found) if found.hash == entry.hash => {}
                    Ok(found) => report(&path, format!("its content is `{found}`"), &facts),
                    Err(error) => unreadable(&path, &error),
                },
                Err(error) => unreadable(&path, &error),
            }
            Ok::<_, StoreError>(())
        })?;
        for entry in &results {
            let path = EntryPath::result(&entry.hash);
            match self.wholeness(&entry.hash) {
                Ok(Wholeness::Whole | Wholeness::Absent) => {}
                Ok(Wholeness::Damaged(reason, facts)) => report(&path, reason, &facts),
                Ok(Wholeness::Lacking) => report(&path, "a blob of it is missing".to_owned(), &entry.facts),
                Err(error) => unreadable(&path, &error),
            }
        }
        let mut damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        damaged.sort();
        Ok(Verified { checked, damaged })
    }

    fn wholeness(&self, action: &[u8; 32]) -> Result<Wholeness, StoreError> {
        // Who removes results and blobs removes results first, and who stores them again stores blobs first: what lacks one
        // twice lacks it.
        for _ in 0..2 {
            match self.local().read_entry(action)? {
                ReadEntry::Absent => return Ok(Wholeness::Absent),
                ReadEntry::Damaged { reason, facts } => return Ok(Wholeness::Damaged(reason, facts)),
                ReadEntry::Sound { .. } => {}
            }
            if let Needs::Known(blobs) = self.needs(action)?
                && self.missing_blobs(&blobs)?.is_empty()
            {
                return Ok(Wholeness::Whole);
            }
        }
        Ok(match self.local().read_entry(action)? {
            ReadEntry::Absent => Wholeness::Absent,
            _ => Wholeness::Lacking,
        })
    }
}

/// What is where entries should be.
#[derive(Default)]
struct Strays {
    /// What is none.
    paths: Vec<(Vec<u8>, FileFacts)>,
    /// Folders whose content nobody knows just now.
    unlisted: Vec<(Vec<u8>, io::Error)>,
}

/// The files under `kind` that are named like entries.
fn entries(folder: &Folder, kind: &[u8], strays: &mut Strays) -> Vec<Entry> {
    let mut entries = Vec::new();
    let shards = child(folder, kind, &[kind], strays).and_then(|kind_folder| {
        let names = kind_folder.as_ref().map_or(Ok(Vec::new()), Folder::list)?;
        Ok(kind_folder.map(|folder| (folder, names)))
    });
    let (kind_folder, shards) = match shards {
        Ok(Some(shards)) => shards,
        Ok(None) => return entries,
        Err(error) => {
            strays.unlisted.push((kind.to_vec(), error));
            return entries;
        }
    };
    for (shard, _) in shards {
        if let Err(error) = shard_entries(&kind_folder, (kind, &shard), &mut entries, strays) {
            strays.unlisted.push(([kind, &shard].join(&b'/'), error));
        }
    }
    entries
}

fn shard_entries(
    kind_folder: &Folder,
    (kind, shard): (&[u8], &[u8]),
    entries: &mut Vec<Entry>,
    strays: &mut Strays,
) -> io::Result<()> {
    let Some(folder) = child(kind_folder, shard, &[kind, shard], strays)? else { return Ok(()) };
    for (file, _) in folder.list()? {
        let Some(facts) = folder.facts(&file)? else { continue };
        match decode_hex(&file) {
            Some(hash) if file.starts_with(shard) && facts.is_file() => entries.push(Entry { hash, facts }),
            _ => strays.paths.push(([kind, shard, &file].join(&b'/'), facts)),
        }
    }
    Ok(())
}

/// What is to be said of a result.
enum Wholeness {
    Absent,
    Whole,
    Lacking,
    Damaged(String, FileFacts),
}

/// A folder of the cache, if it is there and one.
fn child(folder: &Folder, name: &[u8], path: &[&[u8]], strays: &mut Strays) -> io::Result<Option<Folder>> {
    match folder.child(name) {
        Ok(child) => Ok(Some(child)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_in_the_way(&error) => {
            let facts = folder.facts(name)?;
            strays
                .paths
                .extend(facts.filter(|facts| !facts.is_folder()).map(|facts| (path.join(&b'/'), facts)));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
