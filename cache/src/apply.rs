//! The last step of a restore: what is prepared is renamed into place, and renamed back if that fails
//! half-way.
//!
//! What is replaced is exchanged with what replaces it, so that it is still there to be put back; only where
//! the file system cannot exchange, or another one is mounted inside the workspace, a failure in this step
//! leaves what was done. New parent folders stay in any case.
#![allow(clippy::disallowed_methods, reason = "shell: renames files in the workspace")]

use std::io;

use rustix::fs::{Mode, RenameFlags};
use rustix::io::Errno;

use crate::beside::copy_into_place;
use crate::chaos::{Bug, planted, point};
use crate::folder::{Folder, Parents, split_path};
use crate::materialize::Op;
use crate::restore::RestoreError;

/// Does all of `ops` or, as far as that is possible, none. A parent folder for which `may_open` may be made
/// writable.
pub(crate) fn apply(
    parents: &mut Parents<'_>,
    stage: &Folder,
    ops: &[Op],
    may_open: impl Fn(&[u8]) -> bool,
) -> Result<(), RestoreError> {
    for (done, op) in ops.iter().enumerate() {
        if planted(Bug::KeepStrays) && matches!(op, Op::Remove { .. }) {
            continue;
        }
        point("restore.op");
        if let Err(error) = step(parents, stage, op, &may_open) {
            undo(parents, stage, &ops[..done]);
            return Err(error);
        }
    }
    Ok(())
}

fn step(
    parents: &mut Parents<'_>,
    stage: &Folder,
    op: &Op,
    may_open: &impl Fn(&[u8]) -> bool,
) -> Result<(), RestoreError> {
    let (Op::Install { path, .. } | Op::Remove { path, .. }) = op;
    let (parent, name) = split_path(path);
    let folder = parents.make(parent).map_err(RestoreError::at(parent))?;
    let act = || match op {
        Op::Install { staged, over, .. } => install(stage, staged, folder, name, *over),
        Op::Remove { waste, .. } => match rename(folder, name, stage, waste) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => folder.remove(name),
            renamed => renamed,
        },
    };
    let mut result = act();
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let open = |folder: &Folder| rustix::fs::fchmod(folder, Mode::from_raw_mode(0o755)).is_ok();
    if result.as_ref().is_err_and(denied) && may_open(parent) && open(folder) {
        result = act();
    }
    // A folder that goes elsewhere gets another parent: that is a change to itself.
    if result.as_ref().is_err_and(denied) && folder.child(name).is_ok_and(|itself| open(&itself)) {
        result = act();
    }
    // Not `InTheWay`: the parent is fine, the place itself is not.
    result.map_err(|source| RestoreError::Io { path: String::from_utf8_lossy(path).into_owned(), source })
}

/// Backwards, each as far as it goes.
fn undo(parents: &mut Parents<'_>, stage: &Folder, done: &[Op]) {
    for op in done.iter().rev() {
        let (Op::Install { path, .. } | Op::Remove { path, .. }) = op;
        let (parent, name) = split_path(path);
        let Ok(folder) = parents.open(parent) else { continue };
        let _ = match op {
            Op::Install { staged, over: true, .. } => exchange(stage, staged, folder, name),
            Op::Install { staged, over: false, .. } => rename(folder, name, stage, staged),
            Op::Remove { waste, .. } => rename(stage, waste, folder, name),
        };
    }
}

fn rename(from: &Folder, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat(from, name, to, new)?)
}

fn exchange(from: &Folder, name: &[u8], to: &Folder, new: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(from, name, to, new, RenameFlags::EXCHANGE)?)
}

/// Renames into place. Where that is another file system (a mount inside the workspace), copies.
fn install(stage: &Folder, staged: &[u8], folder: &Folder, name: &[u8], over: bool) -> io::Result<()> {
    let exchanged = over.then(|| exchange(stage, staged, folder, name));
    let renamed = match exchanged {
        Some(Err(error)) if !cannot_exchange(&error) => Err(error),
        Some(Ok(())) => Ok(()),
        _ => rename(stage, staged, folder, name),
    };
    match renamed {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        renamed => return renamed,
    }
    copy_into_place(stage, staged, folder, name)
}

/// The file system or the kernel does not know how, or what was there has gone.
fn cannot_exchange(error: &io::Error) -> bool {
    let known = [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::NOENT, Errno::XDEV];
    Errno::from_io_error(error).is_some_and(|error| known.contains(&error))
}
