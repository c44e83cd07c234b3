//! `lock`: one action at a time across all of a user's processes and checkouts.
//!
//! A lock is a kernel lock on a file in `~/.local/state/iact/locks`, named by the digest of the lock's name. The
//! file says who holds it, for those who wait: one line, `process 4711: deploy in /home/ann/shop`.
//!
//! Invariant: the kernel frees a lock when its holder ends, however that is, and if it was killed, when its command is
//! gone, too; files are never removed. Nobody waits for the action that waits for him: [`HELD`] tells what an action starts
//! which locks are held for it; the holder's process would not, for it may hold the lock for another action. One place for
//! every process of a user: not the cache, which a variable moves elsewhere, not the runtime folder, which a session from
//! cron does not have.
#![allow(clippy::disallowed_methods, reason = "shell: opens and locks files")]

use super::spawn;
use crate::workspace::Caller;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where a user's locks are.
pub fn folder(caller: &Caller) -> PathBuf {
    match caller.var("HOME").map(PathBuf::from).filter(|home| home.is_absolute()) {
        Some(home) => home.join(".local/state/iact/locks"),
        None => {
            let user = rustix::process::getuid().as_raw();
            std::env::temp_dir().join(format!("iact-{user}/locks"))
        }
    }
}

/// Held as long as it lives.
#[derive(Debug)]
pub struct NamedLock {
    file: File,
}

impl NamedLock {
    /// Takes the lock if nobody holds it; else tells who does.
    ///
    /// # Errors
    /// The file cannot be made or locked, or is somebody else's.
    pub fn try_acquire(folder: &Path, name: &str, who: &str) -> io::Result<Result<Self, String>> {
        let mut file = open(folder, name)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK | Errno::INTR) => {
                let mut holder = String::new();
                let _ = file.take(4096).read_to_string(&mut holder);
                return Ok(Err(holder.trim_end().to_owned()));
            }
            Err(errno) => return Err(errno.into()),
        }
        // A name for those who wait; the lock holds without it.
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = file.write_all(format!("process {}: {who}\n", std::process::id()).as_bytes());
        Ok(Ok(Self { file }))
    }

    /// The locked file, for who has to hold it on if this process is killed.
    pub fn file(&self) -> &File {
        &self.file
    }
}

/// The supervisor, who has the file too, does not hold it on.
impl Drop for NamedLock {
    fn drop(&mut self) {
        // What cannot be unlocked is so when both have closed it.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// The variable that names the locks of an action and of those above it: `FILE@PROCESS`, as their files are named and by whom
/// they are held, with colons between them.
pub const HELD: &str = "IACT_LOCKS";

/// What [`HELD`] is for the command of an action with this lock, or with none.
pub fn held_for(caller: &Caller, lock: Option<&str>) -> Option<OsString> {
    let above = caller.var(HELD);
    let own = lock.map(|lock| format!("{}@{}", file_name(lock), std::process::id()));
    let Some(own) = own else { return above.cloned() };
    let mut held = above.cloned().unwrap_or_default();
    if !held.is_empty() {
        held.push(":");
    }
    held.push(own);
    Some(held)
}

/// Whether an action, however far above, holds the lock and waits for this process; `holder` says who holds it. What an action
/// left running when it ended waits like anybody.
pub fn is_held_above(lock: &str, holder: &str) -> bool {
    let by =
        |held: &str| holder.starts_with(&format!("process {}:", held.rsplit('@').next().unwrap_or_default()));
    let is_this = |held: &[u8]| {
        std::str::from_utf8(held).is_ok_and(|held| held.starts_with(&file_name(lock)) && by(held))
    };
    spawn::above(HELD).any(|held| held.split(|byte| *byte == b':').any(is_this))
}

fn file_name(lock: &str) -> String {
    blake3::hash(lock.as_bytes()).to_hex()[..32].to_owned()
}

fn open(folder: &Path, name: &str) -> io::Result<File> {
    let path = folder.join(file_name(name));
    let open = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(&path)
    };
    let file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            open()?
        }
        opened => opened?,
    };
    if file.metadata()?.uid() != rustix::process::getuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the lock belongs to another user"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_by_name_and_says_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/folder");
        let try_it = |name: &str, who: &str| NamedLock::try_acquire(&folder, name, who).unwrap();
        let held = try_it("prod", "deploy in /a").unwrap();
        assert!(try_it("prod", "x").unwrap_err().ends_with("deploy in /a"));
        assert!(try_it("staging", "x").is_ok());
        drop(held);
        let held = try_it("prod", "b").unwrap();
        assert!(try_it("prod", "x").unwrap_err().ends_with(": b"));
        drop(held);
    }
}
