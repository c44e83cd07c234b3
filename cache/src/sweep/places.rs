//! Pins that hold as long as some folder is there, the checkout on whose behalf they are: else the results of every checkout
//! that was ever deleted would stay for good.
//!
//! A sweep that does not find the folder notes it in the pin, and one that still does not find it 30 days later takes the pin
//! back; whoever pins anything for that folder meanwhile begins the time anew. What is merely not mounted, or mounted elsewhere
//! for somebody else, is not gone: a folder counts as missing only where its way ends in the very folder it led through.
//!
//! Who knows the owners in a folder may tell which there still are. What the others have pinned goes 30 days later in the same
//! way, unless they are told of or pin something again. So does a pin whose result never came.
//!
//! ```text
//! 0..8    "iactpin2"
//! 8..16   since when the folder is missing, in Unix milliseconds, little-endian; 0: it was there; with the highest bit: since
//!         when the owner is
//! 16..24  how many folders are above it, little-endian
//! 24..32  the first 8 bytes of BLAKE3 of all the others
//! 32..    of each of those, the nearest first, 8 bytes that tell it from others; then the folder's path
//! ```
//!
//! A pin that says anything else, or nothing, holds for good. So none is ever cut: a new one is whole when it gets its name, and
//! another state is written over the one before.
#![allow(clippy::disallowed_methods, reason = "shell: reads and writes small files, looks for folders")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustc_hash::FxHashSet;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::pins::{PinOwners, pin_again, pin_path};
use crate::digest::{Digest, decode_hex};
use crate::entry::EntryPath;
use crate::folder::{FileFacts, Folder};
use crate::local::{FILE_MODE, LocalStore};
use crate::lock::Scratch;
use crate::own::{is_absent, make_own, open_own};
use crate::store::StoreError;

const MAGIC: &[u8; 8] = b"iactpin2";
const HEAD: usize = 32;
const MISSING_MS: u64 = 30 * 24 * 3_600_000;

/// The folder a pin is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    path: Vec<u8>,
    /// Which folders it is in, the nearest first.
    above: Vec<[u8; 8]>,
}

/// A pin for a folder.
struct Pin {
    path: Vec<u8>,
    place: Place,
    state: State,
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
        rustix::fs::stat(path)?;
        let above = path.ancestors().skip(1).map(|above| Ok(identity(&rustix::fs::stat(above)?)));
        Ok(Self { path: path.as_os_str().as_bytes().to_vec(), above: above.collect::<io::Result<_>>()? })
    }

    fn encode(&self, state: State) -> Vec<u8> {
        let numbers = [state.number().to_le_bytes(), (self.above.len() as u64).to_le_bytes()].concat();
        let rest = [self.above.as_flattened(), &self.path].concat();
        [MAGIC, &numbers[..], &sum(&[MAGIC, &numbers, &rest]), &rest].concat()
    }

    fn decode(bytes: &[u8]) -> Option<(Self, State)> {
        let (head, rest) = bytes.split_at_checked(HEAD)?;
        let number =
            |at: usize| u64::from_le_bytes(*head[at..].first_chunk().expect("the head has 32 bytes"));
        let is_sound = head[..8] == *MAGIC && head[24..] == sum(&[MAGIC, &head[8..24], rest]);
        let above = usize::try_from(number(16)).ok().filter(|_| is_sound)?;
        let (above, path) = rest.split_at_checked(above.checked_mul(8)?)?;
        Some((Self { path: path.to_vec(), above: above.as_chunks().0.to_vec() }, State::of(number(8))))
    }

    /// `None`: nobody can tell.
    fn is_there(&self) -> Option<bool> {
        for (up, path) in Path::new(OsStr::from_bytes(&self.path)).ancestors().enumerate() {
            match rustix::fs::stat(path) {
                Ok(_) if up == 0 => return Some(true),
                Ok(stat) => return (self.above.get(up - 1) == Some(&identity(&stat))).then_some(false),
                Err(Errno::NOENT) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

/// Tells a folder from others of the same name.
fn identity(stat: &rustix::fs::Stat) -> [u8; 8] {
    let facts = FileFacts::from(stat);
    sum(&[&facts.dev.to_le_bytes(), &facts.ino.to_le_bytes()])
}

fn sum(parts: &[&[u8]]) -> [u8; 8] {
    let sum = blake3::hash(&parts.concat());
    *sum.as_bytes().first_chunk().expect("a hash is longer than 8 bytes")
}

impl LocalStore {
    /// As [`LocalStore::pin`], as long as the folder `place` is there. What `owner` has pinned for good stays so.
    pub fn pin_while(&self, action: &Digest, owner: &str, place: &Path) -> Result<(), StoreError> {
        let Ok(there) = Place::at(place) else { return self.pin(action, owner) };
        let folder = self.local().folder_made()?;
        let scratch = self.local().scratch()?;
        let pin = || {
            let path = pin_path(action, owner);
            make_own(folder, b"pins")?;
            if folder.facts(&path)?.is_some() && read_pin(folder, path.clone()).is_none() {
                return Ok(());
            }
            put_pin(folder, &scratch, &path, &there.encode(State::There))
        };
        pin_again(pin).map_err(|error| self.local().io("pins", error))
    }

    /// Tells all there is of owners in the folder `place`: what others have pinned for it begins to lapse, theirs does no more.
    pub fn tell_owners(&self, place: &Path, owners: &PinOwners, now_unix_ms: u64) -> Result<(), StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(()) };
        for (name, _) in self.pin_names(folder)? {
            let Some(pin) = read_pin(folder, [b"pins/", name.as_slice()].concat()) else { continue };
            if pin.place.path != place.as_os_str().as_bytes() {
                continue;
            }
            let state = match (owners.has_pinned(&name), pin.state) {
                (true, _) => State::There,
                (false, State::There) => State::NoOwner(now_unix_ms),
                (false, state) => state,
            };
            pin.set_state(folder, state).map_err(|error| self.local().io("pins", error))?;
        }
        Ok(())
    }

    /// Takes back what is pinned for folders or owners that have been missing for long. What cannot be looked at or removed
    /// holds on.
    pub(super) fn let_go(&self, folder: &Folder, now_unix_ms: u64) {
        let mut places: BTreeMap<Vec<u8>, Vec<Pin>> = BTreeMap::new();
        for (name, _) in self.pin_names(folder).unwrap_or_default() {
            let Some(pin) = read_pin(folder, [b"pins/", name.as_slice()].concat()) else { continue };
            if is_left_over(folder, &name, now_unix_ms) {
                let _ = folder.remove(&pin.path);
            } else {
                places.entry(pin.place.path.clone()).or_default().push(pin);
            }
        }
        for pins in places.into_values() {
            self.let_go_of(folder, pins, now_unix_ms);
        }
    }

    /// Of the pins for one folder.
    fn let_go_of(&self, folder: &Folder, pins: Vec<Pin>, now_unix_ms: u64) {
        let ways: BTreeSet<&Place> = pins.iter().map(|pin| &pin.place).collect();
        let looks = ways.into_iter().map(Place::is_there);
        let agreed = looks.reduce(|one, other| one.filter(|_| one == other)).flatten();
        let Some(is_there) = agreed else { return };
        let is_over = |state| match state {
            State::There => false,
            State::NoPlace(since) => is_long_ago(since, now_unix_ms),
            State::NoOwner(_) => true,
        };
        let is_over = !is_there && pins.iter().all(|pin| is_over(pin.state));
        let owned = pins.iter().filter(|pin| !matches!(pin.state, State::NoOwner(_)));
        let owners: FxHashSet<Vec<u8>> = owned.map(|pin| tag(&pin.path).to_vec()).collect();
        // Another file system, or folders above it that were made anew: that is its place from now on.
        let now = pins.first().and_then(|pin| Place::at(Path::new(OsStr::from_bytes(&pin.place.path))).ok());
        let scratch = self.local().scratch().ok();
        for pin in pins {
            let state = match pin.state {
                State::NoOwner(_) if owners.contains(tag(&pin.path)) => Some(State::There),
                State::NoOwner(since) if is_long_ago(since, now_unix_ms) => None,
                State::NoOwner(_) => Some(pin.state),
                _ if is_over => None,
                _ if is_there => Some(State::There),
                State::There => Some(State::NoPlace(now_unix_ms)),
                State::NoPlace(_) => Some(pin.state),
            };
            let _ = match state {
                Some(state) => {
                    let place = now.as_ref().unwrap_or(&pin.place);
                    pin.change(folder, scratch.as_deref(), place, state)
                }
                None => folder.remove(&pin.path),
            };
        }
    }
}

impl Pin {
    /// Another place, another state.
    fn change(
        &self,
        folder: &Folder,
        scratch: Option<&Scratch>,
        place: &Place,
        state: State,
    ) -> io::Result<()> {
        match scratch {
            Some(scratch) if *place != self.place => {
                put_pin(folder, scratch, &self.path, &place.encode(state))
            }
            _ => self.set_state(folder, state),
        }
    }

    /// Writes the state over the one before. What has gone or was pinned anew meanwhile stays so.
    fn set_state(&self, folder: &Folder, state: State) -> io::Result<()> {
        if state == self.state {
            return Ok(());
        }
        let file = match open_own(folder, &self.path, OFlags::RDWR) {
            Err(error) if is_absent(&error) => return Ok(()),
            file => file?,
        };
        let is_this = read_from(&file).is_some_and(|(place, was)| place == self.place && was == self.state);
        if is_this { file.write_all_at(&self.place.encode(state)[..HEAD], 0) } else { Ok(()) }
    }
}

/// Whose a pin is: `pins/<hex>-<owner>`.
fn tag(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'-').next().unwrap_or_default()
}

/// Whether a pin's result is not there and cannot be about to be published any more.
fn is_left_over(folder: &Folder, name: &[u8], now_unix_ms: u64) -> bool {
    let Some(hash) = name.get(..64).and_then(decode_hex) else { return false };
    let is_gone = || matches!(folder.facts(EntryPath::result(&hash).as_bytes()), Ok(None));
    let made = || folder.facts(&[b"pins/", name].concat()).ok().flatten();
    let is_old = |facts: FileFacts| {
        u64::try_from(facts.mtime_ns / 1_000_000).is_ok_and(|made| is_long_ago(made, now_unix_ms))
    };
    is_gone() && made().is_some_and(is_old)
}

fn read_pin(folder: &Folder, path: Vec<u8>) -> Option<Pin> {
    let (place, state) = read_from(&folder.open_file(&path).ok()?)?;
    Some(Pin { path, place, state })
}

fn read_from(file: &File) -> Option<(Place, State)> {
    let mut bytes = Vec::new();
    file.take(1 << 16).read_to_end(&mut bytes).ok()?;
    Place::decode(&bytes)
}

/// Makes or replaces a pin, whole or not at all.
fn put_pin(folder: &Folder, scratch: &Scratch, path: &[u8], bytes: &[u8]) -> io::Result<()> {
    let name = scratch.fresh_name();
    let mut file = scratch.folder().create_file(&name, FILE_MODE)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| Ok(rustix::fs::renameat(scratch.folder(), name.as_slice(), folder, path)?));
    written.inspect_err(|_| _ = scratch.folder().remove(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another mount of the same file system shows other folders under the same names.
    #[test]
    fn a_place_is_missing_only_from_the_folders_it_was_in() {
        let base = tempfile::tempdir().unwrap();
        let (mount, path) = (base.path().join("a"), base.path().join("a/b/checkout"));
        std::fs::create_dir_all(&path).unwrap();
        let place = Place::at(&path).unwrap();
        assert_eq!(place.is_there(), Some(true));
        let away = base.path().join("away");
        std::fs::rename(&mount, &away).unwrap();
        assert_eq!(place.is_there(), Some(false));
        for other in ["a", "a/b"] {
            std::fs::create_dir(base.path().join(other)).unwrap();
            assert_eq!(place.is_there(), None, "another `{other}`");
        }
        std::fs::remove_dir_all(&mount).unwrap();
        std::fs::rename(&away, &mount).unwrap();
        assert_eq!(place.is_there(), Some(true));
        std::fs::remove_dir(&path).unwrap();
        assert_eq!(place.is_there(), Some(false));
    }

    #[test]
    fn what_is_cut_or_flipped_holds_for_good() {
        let place = Place { path: b"/some/where".to_vec(), above: vec![[7; 8], [8; 8]] };
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
