//! One build at a time in a workspace: a kernel lock on `.iact/lock`, waited for, with the holder's name.
//!
//! Invariant: the kernel frees the lock when its holder ends, however it ends; the file is never removed, and
//! nothing is written into it, so that an up-to-date build writes nothing at all. A killed iact's supervisor holds it on
//! until the last of the commands is gone: they write into this workspace. Whoever waits can be interrupted, and nobody waits for
//! the build that waits for him.
#![allow(clippy::disallowed_methods, reason = "shell: opens and locks a file, reads /proc")]

use super::{signal, spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// Held as long as it lives.
#[derive(Debug)]
pub struct WorkspaceLock {
    file: Arc<File>,
}

/// Who has the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process.
    Process(u32),
    /// This process was killed, and what it started is being ended.
    Killed(u32),
    /// The system does not tell.
    Unknown,
}

/// How often whoever listens to signals looks whether the lock is free.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// How often to look who has it.
const LOOKS: u32 = 5;

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotLocked {
    /// The file cannot be made or locked: a read-only workspace, a file system without locks.
    #[error("{0}")]
    System(io::Error),
    /// A signal came while it was waited for.
    #[error("interrupted while waiting for another iact in this workspace")]
    Interrupted,
    /// It is held by this process, one of whose actions started us and waits for our end.
    #[error(
        "an action of a build of this workspace (process {0}) started this one, and each would wait for the other"
    )]
    Ancestor(u32),
}

impl<E: Into<io::Error>> From<E> for NotLocked {
    fn from(error: E) -> Self {
        Self::System(error.into())
    }
}

impl WorkspaceLock {
    /// Takes the lock; `waiting` is called once, with the holder, before it waits.
    ///
    /// # Errors
    /// It cannot be had, or never would be.
    pub fn acquire(memory: &Path, waiting: impl FnOnce(Holder)) -> Result<Self, NotLocked> {
        let path = memory.join("lock");
        let open = || OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(memory)?;
                open()?
            }
            opened => opened?,
        };
        let mut who = Holder::Unknown;
        // Who let go of it between two looks is nobody to wait for; and where many lock and unlock, the list of all locks, which
        // is read in pieces, may lack one.
        for _ in 0..LOOKS {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { file: Arc::new(file) }),
                Err(Errno::WOULDBLOCK | Errno::INTR) => who = holder(&file),
                Err(errno) => return Err(errno.into()),
            }
            if who != Holder::Unknown {
                break;
            }
        }
        if let Holder::Process(pid) = who
            && spawn::is_started_by(pid)
        {
            return Err(NotLocked::Ancestor(pid));
        }
        waiting(who);
        wait(&file)?;
        Ok(Self { file: Arc::new(file) })
    }

    /// The locked file, for who has to hold it on if this process is killed.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }
}

/// The supervisor, who has the file too, does not hold it on.
impl Drop for WorkspaceLock {
    fn drop(&mut self) {
        #[cfg(feature = "chaos")]
        give_back_by_unlink(&self.file);
        // What cannot be unlocked is so when both have closed it.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Waits for the lock: in one call where a signal ends that call and us, else with looks in between.
fn wait(file: &File) -> Result<(), NotLocked> {
    let bell = signal::bell();
    let how = bell.map_or(FlockOperation::LockExclusive, |_| FlockOperation::NonBlockingLockExclusive);
    loop {
        match flock(file, how) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR | Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut rings: Vec<PollFd<'_>> = bell.iter().map(|bell| PollFd::new(*bell, PollFlags::IN)).collect();
        // An interrupted wait is a short one.
        if poll(&mut rings, Some(&LOOK)).is_ok_and(|ringing| ringing > 0) {
            return Err(NotLocked::Interrupted);
        }
    }
}

/// The planted way to give a lock back.
#[cfg(feature = "chaos")]
fn give_back_by_unlink(file: &File) {
    if iact_cache::chaos::planted(iact_cache::chaos::Bug::LockByUnlink) {
        use std::os::fd::AsRawFd;
        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        let _ = std::fs::read_link(open).and_then(std::fs::remove_file);
    }
}

/// Who holds a lock on the file, where the system tells.
fn holder(file: &File) -> Holder {
    match locker(file) {
        None => Holder::Unknown,
        Some(pid) if Path::new(&format!("/proc/{pid}")).exists() => Holder::Process(pid),
        Some(pid) => Holder::Killed(pid),
    }
}

/// The process that locked the file.
fn locker(file: &File) -> Option<u32> {
    let facts = file.metadata().ok()?;
    let (device, inode) = (facts.dev(), format!(":{}", facts.ino()));
    let exact = format!("{:02x}:{:02x}{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let lines = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let all: Vec<Vec<&str>> = lines
        .filter(|words| words.get(1) == Some(&"FLOCK") && words.get(5).is_some_and(|w| w.ends_with(&inode)))
        .collect();
    // Some file systems (btrfs) show the kernel another device than us.
    let line = all.iter().find(|words| words[5] == exact).or(all.first())?;
    line.get(4)?.parse().ok()
}
