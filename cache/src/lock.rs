//! Kernel locks, and scratch folders that are known to be somebody's as long as that somebody lives.
//!
//! A lock is `flock` on an open file: the kernel lets go of it when the holder dies, however it dies. Lock
//! files are never removed: two processes could then hold "the" lock on two files. Process ids are written
//! for people only.
//!
//! A scratch folder (`<pid>-<random>/`) is locked by its owner. Whoever can lock one has found litter and may
//! remove it.
#![allow(clippy::disallowed_methods, reason = "shell: locks and makes files")]

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::chaos::{Bug, planted};
use crate::folder::{Folder, PRIVATE, facts_of};

/// An exclusive lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock at `path`, waiting for whoever has it.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        lock(&file, FlockOperation::LockExclusive)?;
        Self::held(file)
    }

    /// Takes the lock at `path` unless somebody has it.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        match lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self::held(file)?)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The process that took the lock last, for a message to somebody who waits.
    pub fn holder(path: &Path) -> Option<u32> {
        let mut text = String::new();
        File::open(path).ok()?.take(16).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    fn held(mut file: File) -> io::Result<Self> {
        // Only for people: a full disk must not keep anybody from locking.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { file })
    }
}

/// A process that another thread is just starting has the file, too, until it runs its program, and does not hold it on.
impl Drop for Lock {
    fn drop(&mut self) {
        // What cannot be unlocked is so when all have closed it.
        let _ = lock(&self.file, FlockOperation::Unlock);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?))
}

fn lock(file: &File, operation: FlockOperation) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))?)
}

/// A number nobody else has thought of.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Opens and locks a folder that was just made; `None`: somebody took it for litter before that.
fn locked(parent: &Folder, name: &[u8]) -> io::Result<Option<Folder>> {
    let folder = match parent.child(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let locked = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive);
    let is_there = parent.facts(name)?.map(|facts| facts.ino) == Some(facts_of(&folder)?.ino);
    Ok((locked != Err(Errno::WOULDBLOCK) && is_there).then_some(folder))
}

/// A folder of this process's own; removed with everything in it when dropped, by others when the process
/// dies.
#[derive(Debug)]
pub(crate) struct Scratch {
    parent: Folder,
    name: Vec<u8>,
    folder: Folder,
    next: AtomicU64,
}

impl Scratch {
    /// Makes one in `parent`.
    fn create(parent: Folder) -> io::Result<Self> {
        loop {
            let name = format!("{}-{:016x}", std::process::id(), random()).into_bytes();
            match rustix::fs::mkdirat(&parent, name.as_slice(), PRIVATE) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error.into()),
            }
            match locked(&parent, &name) {
                Ok(Some(folder)) => return Ok(Self { parent, name, folder, next: AtomicU64::new(0) }),
                Ok(None) => {}
                Err(error) => {
                    let _ = rustix::fs::unlinkat(&parent, name.as_slice(), AtFlags::REMOVEDIR);
                    return Err(error);
                }
            }
        }
    }

    /// Makes one in `parent`, where dead processes' litter goes first.
    pub(crate) fn create_swept(parent: Folder) -> io::Result<Self> {
        Self::sweep(&parent)?;
        Self::create(parent)
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A name nothing in it has.
    pub(crate) fn fresh_name(&self) -> Vec<u8> {
        self.next.fetch_add(1, Ordering::Relaxed).to_string().into_bytes()
    }

    /// Removes what dead processes left in `parent`; returns how many folders that were.
    pub(crate) fn sweep(parent: &Folder) -> io::Result<usize> {
        let mut removed = 0;
        for (name, _) in parent.list()? {
            let Ok(folder) = parent.child(&name) else { continue };
            let dead = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok();
            if dead || planted(Bug::SweepLive) {
                removed += usize::from(parent.remove(&name).is_ok());
            }
        }
        Ok(removed)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if rustix::fs::unlinkat(&self.parent, self.name.as_slice(), AtFlags::REMOVEDIR).is_err() {
            let _ = self.parent.remove(&self.name);
        }
    }
}
