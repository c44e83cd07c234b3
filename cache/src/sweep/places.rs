//! Pins that hold as long as some folder is there, the checkout on whose behalf they are: else the results of every checkout
//! that was ever deleted would stay for good.
//!
//! A sweep that does not find the folder notes it in the pin, and one that still does not find it 30 days later takes the pin
//! back; whoever pins anything for that folder meanwhile begins the time anew. What is merely not mounted is not gone: only a
//! folder whose way there ends on the file system it was on counts as missing.
//!
//! Who knows the owners in a folder may tell which there still are. What the others have pinned goes 30 days later in the same
//! way, unless they are told of or pin something again.
//!
//! ```text
//! 0..8    "iactpin1"
//! 8..16   the device number of the folder's file system, little-endian
//! 16..24  since when it is missing, in Unix milliseconds, little-endian; 0: it was there; with the highest bit: since when
//!         the owner is
//! 24..32  the first 8 bytes of BLAKE3 of all the others
//! 32..    the folder's path
//! ```
//!
//! A pin that says anything else, or nothing, holds for good.
#![allow(clippy::disallowed_methods, reason = "shell: reads and writes small files, looks for folders")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustc_hash::FxHashSet;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::pins::{PinOwners, pin_path};
use crate::digest::Digest;
use crate::folder::{FileFacts, Folder};
use crate::local::{FILE_MODE, LocalStore};
use crate::own::{make_own, open_own};
use crate::store::StoreError;

const MAGIC: &[u8; 8] = b"iactpin1";
const HEAD: usize = 32;
const MISSING_MS: u64 = 30 * 24 * 3_600_000;

/// The folder a pin is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    path: Vec<u8>,
    dev: u64,
}

/// What became of whom a pin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    There,
    /// The folder is not there, since when.
    NoPlace(u64),
    /// The folder has no such owner, since when.
    NoOwner(u64),
}

const NO_OWNER: u64 = 1 << 63;

impl State {
    fn number(self) -> u64 {
        match self {
            Self::There => 0,
            Self::NoPlace(since) => since,
            Self::NoOwner(since) => since | NO_OWNER,
        }
    }

    fn of(number: u64) -> Self {
        match number {
            0 => Self::There,
            since if since & NO_OWNER == 0 => Self::NoPlace(since),
            since => Self::NoOwner(since & !NO_OWNER),
        }
    }
}

fn is_long_ago(since: u64, now_unix_ms: u64) -> bool {
    since.saturating_add(MISSING_MS) <= now_unix_ms
}

impl Place {
    fn at(path: &Path) -> io::Result<Self> {
        let facts = FileFacts::from(&rustix::fs::stat(path)?);
        Ok(Self { path: path.as_os_str().as_bytes().to_vec(), dev: facts.dev })
    }

    fn encode(&self, state: State) -> Vec<u8> {
        let numbers = [self.dev.to_le_bytes(), state.number().to_le_bytes()].concat();
        [MAGIC, &numbers[..], &check(&numbers, &self.path), &self.path].concat()
    }

    fn decode(bytes: &[u8]) -> Option<(Self, State)> {
        let (head, path) = bytes.split_at_checked(HEAD)?;
        let number =
            |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("the head has 32 bytes"));
        let is_sound = head[..8] == *MAGIC && head[24..] == check(&head[8..24], path);
        is_sound.then(|| (Self { path: path.to_vec(), dev: number(8) }, State::of(number(16))))
    }

    /// `None`: nobody can tell.
    fn is_there(&self) -> Option<bool> {
        for (above, path) in Path::new(OsStr::from_bytes(&self.path)).ancestors().enumerate() {
            match rustix::fs::stat(path) {
                Ok(_) if above == 0 => return Some(true),
                Ok(stat) => return (FileFacts::from(&stat).dev == self.dev).then_some(false),
                Err(Errno::NOENT) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

fn check(numbers: &[u8], path: &[u8]) -> [u8; 8] {
    let sum = blake3::hash(&[MAGIC, numbers, path].concat());
    *sum.as_bytes().first_chunk().expect("a hash is longer than 8 bytes")
}

impl LocalStore {
    /// As [`LocalStore::pin`], as long as the folder `place` is there. What `owner` has pinned for good stays so.
    pub fn pin_while(&self, action: &Digest, owner: &str, place: &Path) -> Result<(), StoreError> {
        let Ok(there) = Place::at(place) else { return self.pin(action, owner) };
        let folder = self.local().folder_made()?;
        let path = pin_path(action, owner);
        let pinned = make_own(folder, b"pins").and_then(|()| match folder.create_file(&path, FILE_MODE) {
            Ok(mut file) => {
                file.write_all(&there.encode(State::There)).inspect_err(|_| _ = folder.remove(&path))
            }
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Err(_) if read_place(folder, &path).is_none() => Ok(()),
            Err(_) => write_place(folder, &path, &there, State::There),
        });
        pinned.map_err(|error| self.local().io("pins", error))
    }

    /// Tells all there is of owners in the folder `place`: what others have pinned for it begins to lapse, theirs does no more.
    pub fn tell_owners(&self, place: &Path, owners: &PinOwners, now_unix_ms: u64) -> Result<(), StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(()) };
        for (name, _) in self.pin_names(folder)? {
            let path = [b"pins/", name.as_slice()].concat();
            let Some((at, state)) = read_place(folder, &path) else { continue };
            if at.path != place.as_os_str().as_bytes() {
                continue;
            }
            let told = match (owners.has_pinned(&name), state) {
                (true, State::NoOwner(_)) => write_place(folder, &path, &at, State::There),
                (false, State::There) => write_place(folder, &path, &at, State::NoOwner(now_unix_ms)),
                _ => Ok(()),
            };
            told.map_err(|error| self.local().io("pins", error))?;
        }
        Ok(())
    }

    /// Takes back what is pinned for folders or owners that have been missing for long. What cannot be looked at or removed
    /// holds on.
    pub(super) fn let_go(&self, folder: &Folder, now_unix_ms: u64) {
        let mut pins: BTreeMap<Place, Vec<(Vec<u8>, State)>> = BTreeMap::new();
        for (name, _) in self.pin_names(folder).unwrap_or_default() {
            let path = [b"pins/", name.as_slice()].concat();
            if let Some((place, state)) = read_place(folder, &path) {
                pins.entry(place).or_default().push((path, state));
            }
        }
        for (place, pins) in pins {
            let Some(is_there) = place.is_there() else { continue };
            let is_over = |state| match state {
                State::There => false,
                State::NoPlace(since) => is_long_ago(since, now_unix_ms),
                State::NoOwner(_) => true,
            };
            let is_over = !is_there && pins.iter().all(|(_, state)| is_over(*state));
            let owned = pins.iter().filter(|(_, state)| !matches!(state, State::NoOwner(_)));
            let owners: FxHashSet<Vec<u8>> = owned.map(|(path, _)| tag(path).to_vec()).collect();
            for (path, state) in pins {
                let _ = match state {
                    State::NoOwner(_) if owners.contains(tag(&path)) => {
                        write_place(folder, &path, &place, State::There)
                    }
                    State::NoOwner(since) if is_long_ago(since, now_unix_ms) => folder.remove(&path),
                    State::NoOwner(_) => Ok(()),
                    _ if is_over => folder.remove(&path),
                    State::NoPlace(_) if is_there => write_place(folder, &path, &place, State::There),
                    State::There if !is_there => {
                        write_place(folder, &path, &place, State::NoPlace(now_unix_ms))
                    }
                    _ => Ok(()),
                };
            }
        }
    }
}

/// Whose a pin is: `pins/<hex>-<owner>`.
fn tag(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'-').next().unwrap_or_default()
}

fn read_place(folder: &Folder, path: &[u8]) -> Option<(Place, State)> {
    let mut bytes = Vec::new();
    folder.open_file(path).ok()?.take(1 << 16).read_to_end(&mut bytes).ok()?;
    Place::decode(&bytes)
}

fn write_place(folder: &Folder, path: &[u8], place: &Place, state: State) -> io::Result<()> {
    open_own(folder, path, OFlags::WRONLY | OFlags::TRUNC)?.write_all(&place.encode(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_missing_only_on_the_file_system_it_was_on() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b/checkout");
        std::fs::create_dir_all(&path).unwrap();
        let place = Place::at(&path).unwrap();
        let elsewhere = Place { dev: place.dev + 1, ..place.clone() };
        assert_eq!((place.is_there(), elsewhere.is_there()), (Some(true), Some(true)));
        std::fs::remove_dir_all(base.path().join("a")).unwrap();
        assert_eq!((place.is_there(), elsewhere.is_there()), (Some(false), None));
    }

    #[test]
    fn what_is_cut_or_flipped_holds_for_good() {
        let place = Place { path: b"/some/where".to_vec(), dev: 7 };
        for state in [State::There, State::NoOwner(9), State::NoPlace(9)] {
            assert_eq!(Place::decode(&place.encode(state)), Some((place.clone(), state)));
        }
        let bytes = place.encode(State::NoPlace(9));
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert_eq!((Place::decode(&bytes[..at]), Place::decode(&flipped)), (None, None));
        }
    }
}
