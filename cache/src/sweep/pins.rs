//! Results that no sweep takes, by whom they are kept: `pins/<hex>-<owner>`, files that are empty or name a folder
//! (`places.rs`).
#![allow(clippy::disallowed_methods, reason = "shell: makes, lists and removes small files")]

use std::io;

use rustc_hash::FxHashSet;
use rustix::fs::{FileType, OFlags};

use crate::action::StoredResult;
use crate::digest::{Digest, decode_hex};
use crate::folder::Folder;
use crate::local::{LocalStore, ReadEntry};
use crate::own::{is_absent, make_own, open_own};
use crate::store::StoreError;

impl LocalStore {
    /// Keeps a result out of reach of sweeps on behalf of `owner`, for good: until that owner unpins it.
    pub fn pin(&self, action: &Digest, owner: &str) -> Result<(), StoreError> {
        let folder = self.local().folder_made()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let pin = || {
            make_own(folder, b"pins")?;
            open_own(folder, &pin_path(action, owner), flags).map(drop)
        };
        pin_again(pin).map_err(|error| self.local().io("pins", error))
    }

    /// Takes back [`LocalStore::pin`].
    pub fn unpin(&self, action: &Digest, owner: &str) -> Result<(), StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(()) };
        folder.remove(&pin_path(action, owner)).map_err(|error| self.local().io("pins", error))
    }

    /// On whose behalf anything is pinned.
    pub fn pin_owners(&self) -> Result<PinOwners, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(PinOwners::default()) };
        let tag = |(name, _): &(Vec<u8>, _)| Some(name.get(65..)?.to_vec());
        Ok(PinOwners(self.pin_names(folder)?.iter().filter_map(tag).collect()))
    }

    pub(super) fn unpin_all(&self, folder: &Folder, action: &Digest) -> Result<(), StoreError> {
        let hex = action.hex();
        for (name, _) in self.pin_names(folder)?.iter().filter(|(name, _)| name.starts_with(hex.as_bytes())) {
            let path = [b"pins/", name.as_slice()].concat();
            folder.remove(&path).map_err(|error| self.local().io("pins", error))?;
        }
        Ok(())
    }

    /// The sound results that `owner` has pinned.
    pub fn pinned_by(&self, owner: &str) -> Result<Vec<(Digest, StoredResult)>, StoreError> {
        let Some(folder) = self.local().folder()? else { return Ok(Vec::new()) };
        let names = self.pin_names(folder)?;
        let mut pinned = Vec::new();
        for (name, _) in names {
            let Some(hash) = name.get(..64).and_then(decode_hex) else { continue };
            if pin_path(&Digest { hash, size: 0 }, owner).ends_with(&name)
                && let ReadEntry::Sound { action, result } = self.local().read_entry(&hash)?
            {
                pinned.push((action, result));
            }
        }
        Ok(pinned)
    }

    pub(super) fn pins(&self, folder: &Folder) -> Result<FxHashSet<[u8; 32]>, StoreError> {
        Ok(self.pin_names(folder)?.iter().filter_map(|(name, _)| decode_hex(name.get(..64)?)).collect())
    }

    pub(super) fn pin_names(&self, folder: &Folder) -> Result<Vec<(Vec<u8>, FileType)>, StoreError> {
        match folder.child(b"pins").and_then(|pins| pins.list()) {
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            names => names.map_err(|error| self.local().io("pins", error)),
        }
    }
}

/// Pins, and once more when the folder of pins was taken away just then.
pub(super) fn pin_again(pin: impl Fn() -> io::Result<()>) -> io::Result<()> {
    pin().or_else(|error| if is_absent(&error) { pin() } else { Err(error) })
}

/// Some owners of pins.
#[derive(Debug, Default)]
pub struct PinOwners(FxHashSet<Vec<u8>>);

impl PinOwners {
    /// These.
    pub fn of(owners: impl Iterator<Item = String>) -> Self {
        Self(owners.map(|owner| owner_tag(&owner).into_bytes()).collect())
    }

    pub(super) fn has_pinned(&self, name: &[u8]) -> bool {
        name.get(65..).is_some_and(|tag| self.0.contains(tag))
    }

    /// Whether this one has pinned anything.
    pub fn has(&self, owner: &str) -> bool {
        self.0.contains(owner_tag(owner).as_bytes())
    }
}

/// Owners are told apart by a digest, so that any text can be one.
fn owner_tag(owner: &str) -> String {
    blake3::hash(owner.as_bytes()).to_hex()[..16].to_owned()
}

pub(super) fn pin_path(action: &Digest, owner: &str) -> Vec<u8> {
    format!("pins/{action}-{}", owner_tag(owner)).into_bytes()
}
