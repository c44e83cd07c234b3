//! Who runs a service of this workspace, told between processes: by `iact up` to builds, `ps` and `down`.
//!
//! Three files in `.iact/services`, beside the service's log and scratch folder:
//! - `NAME.lock`: the kernel's lock on it is held by whoever runs the service, and freed however it ends. It is
//!   never removed and nothing is written into it. If the holder is killed, its supervisor holds it on until the service is gone.
//! - `NAME.json`, version 1: [`Published`], written beside and renamed. It counts only while the lock is held.
//! - `NAME.stop`: its being there asks the holder to end the service; the holder removes it.
//!
//! Invariant: whoever holds the lock is the only one to touch the log, the scratch folder and the JSON file.
//! Refused: signals to a process id read from a file, which may have become somebody else's; a socket, whose
//! path may be too long and which outlives its owner.
#![allow(clippy::disallowed_methods, reason = "shell: files, locks")]

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// What a holder tells of a service.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Published {
    /// Of this format: 1.
    pub version: u32,
    /// Full name.
    pub service: String,
    /// The iact that holds it.
    pub holder: u32,
    /// Whether that is `iact up`; otherwise it is a build.
    pub up: bool,
    /// Its first process.
    pub pid: u32,
    /// Where it listens.
    pub port: Option<u16>,
    /// Its definition, as hexadecimal digits.
    pub digest: String,
    /// When it was started, milliseconds since the epoch.
    pub started_unix_ms: u64,
    /// Whether it has become ready.
    pub ready: bool,
    /// What else the holder is to start when what that needs is ready.
    #[serde(default)]
    pub waiting: Vec<String>,
}

impl Published {
    /// Whether its holder was killed: then the service is being ended. A process that nobody has collected yet is none.
    pub fn is_orphaned(&self) -> bool {
        let holder = i32::try_from(self.holder).ok().and_then(Pid::from_raw);
        holder.is_none_or(|holder| test_kill_process(holder) == Err(Errno::SRCH))
            || std::fs::read(format!("/proc/{}/cmdline", self.holder)).is_ok_and(|words| words.is_empty())
    }
}

/// Where the files of a service lie.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    stem: String,
}

impl Place {
    /// Of a service, by its full name, in a workspace's memory.
    pub fn new(memory: &Path, name: &str) -> Self {
        Self { folder: memory.join("services"), stem: name.replace('%', "%25").replace('/', "%2F") }
    }

    fn file(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{suffix}", self.stem))
    }

    /// What it says, standard output and error as they came.
    pub fn log(&self) -> PathBuf {
        self.file("log")
    }

    /// Its scratch folder, if it names none.
    pub fn data(&self) -> PathBuf {
        self.folder.join(&self.stem)
    }

    /// Notes which folder that it names was made by us.
    pub fn made_data(&self) -> PathBuf {
        self.file("data")
    }

    /// Who runs it now, if anybody does.
    pub fn look(&self) -> Option<Published> {
        let lock = File::open(self.file("lock")).ok()?;
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => self.read(),
            _ => None,
        }
    }

    fn read(&self) -> Option<Published> {
        let text = std::fs::read(self.file("json")).ok()?;
        serde_json::from_slice(&text).ok().filter(|published: &Published| published.version == 1)
    }

    /// Asks the holder to end it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn ask_to_stop(&self) -> io::Result<()> {
        File::create(self.file("stop")).map(drop)
    }

    /// Whether that was not heard yet.
    pub fn has_unheard(&self) -> bool {
        self.file("stop").exists()
    }

    /// Whether somebody asked, once.
    pub fn is_asked_to_stop(&self) -> bool {
        std::fs::remove_file(self.file("stop")).is_ok()
    }
}

/// The right to run a service; given back when it is dropped.
#[derive(Debug)]
pub struct Hold {
    place: Place,
    lock: File,
}

/// What came of asking for the right.
#[derive(Debug)]
pub enum Taken {
    /// It is ours.
    Ours(Hold),
    /// Somebody else has it and says this; nothing yet if it is just starting.
    Theirs(Option<Published>),
}

impl Hold {
    /// Takes the right to run a service, if nobody has it.
    ///
    /// # Errors
    /// The folder cannot be made or the file not locked.
    pub fn take(place: &Place) -> io::Result<Taken> {
        std::fs::create_dir_all(&place.folder)?;
        let path = place.file("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Taken::Theirs(place.read())),
                Err(errno) => return Err(errno.into()),
            }
        }
        let hold = Self { place: place.clone(), lock };
        hold.clear();
        Ok(Taken::Ours(hold))
    }

    /// Tells the others.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn publish(&self, published: &Published) -> io::Result<()> {
        let beside = self.place.file("json.new");
        std::fs::write(&beside, serde_json::to_vec(published)?)?;
        std::fs::rename(beside, self.place.file("json"))
    }

    /// The locked file, for who has to hold it on if this process is killed.
    pub fn file(&self) -> &File {
        &self.lock
    }

    fn clear(&self) {
        // What is not there need not be removed; what cannot be counts for nothing without the lock.
        let _ = std::fs::remove_file(self.place.file("json"));
        let _ = std::fs::remove_file(self.place.file("stop"));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.clear();
        // The supervisor, who has the file too, does not hold it on. What cannot be unlocked is so when both have closed it.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}
