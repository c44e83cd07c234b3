//! The cache's own folders and small files: made where they are missing; what is in their way is put aside.
#![allow(clippy::disallowed_methods, reason = "shell: makes, opens and moves the cache's files")]

use std::fs::File;
use std::io;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::folder::{Folder, PRIVATE};
use crate::local::FILE_MODE;

/// Makes a folder of the cache; something else that has its name is put aside.
pub(crate) fn make_own(folder: &Folder, path: &[u8]) -> io::Result<()> {
    match rustix::fs::mkdirat(folder, path, PRIVATE) {
        Ok(()) => return Ok(()),
        Err(Errno::EXIST) if folder.facts(path)?.is_none_or(|facts| facts.is_folder()) => return Ok(()),
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    move_aside(folder, path)?;
    folder.make_with(path, PRIVATE)
}

/// Moves something that is no entry to the quarantine, or removes it when it cannot be kept there.
pub(crate) fn move_aside(folder: &Folder, path: &[u8]) -> io::Result<()> {
    if path != b"quarantine" {
        make_own(folder, b"quarantine")?;
        let name: Vec<u8> = path.iter().map(|byte| if *byte == b'/' { b'-' } else { *byte }).collect();
        let aside = [b"quarantine/", name.as_slice()].concat();
        if rustix::fs::renameat(folder, path, folder, aside.as_slice()).is_ok() {
            return Ok(());
        }
    }
    folder.remove(path)
}

/// Nothing is there: neither the entry nor, perhaps, the folder it would be in.
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR))
}

/// Opens one of the cache's own files for appending or rewriting.
pub(crate) fn open_own(folder: &Folder, name: &[u8], flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(folder, name, flags, FILE_MODE)?))
}
