//! Making room before an action runs: what an earlier run left at its outputs and its depfile goes, the folders they stand in
//! are made.
//!
//! Invariant: only declared outputs and the depfile are removed, and links are removed, never followed; a parent that is a
//! link out of the workspace is refused.
#![allow(clippy::disallowed_methods, reason = "shell: removes leftovers, makes folders")]

use super::shared::Shared;
use crate::graph::action::Action;
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Prepares the workspace for an action.
///
/// # Errors
/// What could not be removed or made, for a person.
pub fn prepare(shared: &Shared<'_>, action: &Action) -> Result<(), String> {
    let root = shared.workspace.folder.as_fd();
    if let Some(depfile) = &action.depfile {
        make_folders(root, depfile)
            .map_err(|error| format!("cannot make the folder of `{depfile}`: {error}"))?;
        // One that an earlier command wrote says nothing of this one; what cannot be removed shows when it is read.
        let _ = rustix::fs::unlinkat(root, depfile.as_str(), AtFlags::empty());
    }
    for output in &action.outputs {
        make_folders(root, &output.path)
            .map_err(|error| format!("cannot make the folder of `{}`: {error}", output.path))?;
        if !action.keep_outputs {
            remove(shared, &output.path)
                .map_err(|error| format!("cannot remove the old `{}`: {error}", output.path))?;
        }
    }
    Ok(())
}

fn remove(shared: &Shared<'_>, path: &str) -> io::Result<()> {
    let root = shared.workspace.folder.as_fd();
    match rustix::fs::unlinkat(root, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(error) => match kind_of(root, path) {
            // Folders in it may be read-only: some tools protect what they have unpacked.
            Ok(FileType::Directory) => shared.outputs.remove(path).map(drop),
            _ => Err(error.into()),
        },
    }
}

fn kind_of(root: BorrowedFd<'_>, path: &str) -> rustix::io::Result<FileType> {
    let facts = rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(facts.st_mode))
}

/// Makes the folders an output stands in, from the root down.
fn make_folders(root: BorrowedFd<'_>, output: &str) -> io::Result<()> {
    for (end, _) in output.match_indices('/') {
        let folder = &output[..end];
        match kind_of(root, folder) {
            Ok(FileType::Directory) => {}
            Ok(_) => return Err(io::Error::other(format!("`{folder}` is not a folder"))),
            Err(Errno::NOENT) => match rustix::fs::mkdirat(root, folder, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
