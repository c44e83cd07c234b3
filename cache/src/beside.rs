//! Putting something into place on another file system: a mount inside the workspace.
//!
//! It is copied into a scratch folder beside the place and renamed from there, so that nobody sees half of it. Who is killed
//! leaves that folder: it is nobody's input and no output, and goes with the next copy to the same place.
#![allow(clippy::disallowed_methods, reason = "shell: makes files in the workspace")]

use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode};

use crate::folder::Folder;
use crate::lock::Scratch;

/// Where copies are made beside their places. Nothing in a folder of this name is an input or an output, whoever left it
/// there.
pub const BESIDE: &str = ".iact-stage";

/// Copies `staged` to where it is named `name`.
pub(crate) fn copy_into_place(stage: &Folder, staged: &[u8], folder: &Folder, name: &[u8]) -> io::Result<()> {
    let beside = Beside::create(folder)?;
    copy_entry(stage, staged, beside.folder(), staged)?;
    rustix::fs::renameat(beside.folder(), staged, folder, name)?;
    let _ = stage.remove(staged);
    Ok(())
}

/// A scratch folder beside a place; what dead runs left there went first.
struct Beside<'f> {
    folder: &'f Folder,
    scratch: Option<Scratch>,
}

/// Whoever makes a scratch folder finds the folder for it there, though others have just removed theirs.
static MAKING: Mutex<()> = Mutex::new(());

impl<'f> Beside<'f> {
    fn create(folder: &'f Folder) -> io::Result<Self> {
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = folder.beneath_made(BESIDE.as_bytes()).and_then(Scratch::create_swept)?;
        Ok(Self { folder, scratch: Some(scratch) })
    }

    fn folder(&self) -> &Folder {
        self.scratch.as_ref().expect("it goes with the drop").folder()
    }
}

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.scratch = None;
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        // Who else copies there keeps it.
        let _ = rustix::fs::unlinkat(self.folder, BESIDE, AtFlags::REMOVEDIR);
    }
}

fn copy_entry(from: &Folder, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
    let facts = from.facts(name)?.ok_or(io::ErrorKind::NotFound)?;
    match facts.file_type() {
        FileType::Directory => {
            to.make(new)?;
            let (from, to) = (from.child(name)?, to.child(new)?);
            from.list()?.iter().try_for_each(|(name, _)| copy_entry(&from, name, &to, name))
        }
        FileType::Symlink => Ok(rustix::fs::symlinkat(from.read_link(name)?.as_slice(), to, new)?),
        _ => {
            let mode = Mode::from_raw_mode(if facts.is_executable() { 0o755 } else { 0o644 });
            io::copy(&mut from.open_file(name)?, &mut to.create_file(new, mode)?).map(drop)
        }
    }
}
