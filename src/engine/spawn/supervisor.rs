//! A tiny process that outlives a killed iact just long enough to end its actions.
//!
//! iact is started a second time with the hidden argument [`ARGUMENT`], once per run and only when the first
//! command starts; `main` hands over to [`supervise_if_asked`] before anything else. It sleeps in one `read`
//! until iact's end of a socket is closed. A `bye` before that means all is well. Without it, it ends every
//! process group still registered and every process that carries the run's mark: first SIGTERM, a second
//! later SIGKILL.
//!
//! Between iact and the supervisor:
//! - standard input: the table, a nameless file of process groups (8 bytes each, little-endian, 0 for none), a place per
//!   worker. A write into a file wakes nobody, so registering costs a cheap system call and no context switch. On Linux it
//!   is the command itself that writes, before its `exec`: until then it holds a copy of the socket, so whoever learns of
//!   iact's death finds every command in the table.
//! - standard error: a socket, messages ended by NUL: `remove <folder>` (a scratch folder to clear away), `hold` with the
//!   descriptor of a locked file (so that the lock outlives iact until all it started is gone), `bye`.
//! - environment: [`RUN`], the run's mark; nothing else.
//!
//! Refused: `PR_SET_PDEATHSIG`, which fires when the *thread* that started the child exits; a bare `fork`,
//! which copies the page tables of a process with threads and locks.
#![allow(clippy::disallowed_methods, reason = "shell: starts the supervisor and is it")]

use super::mark::Mark;
use super::platform;
use super::reap;
use super::tree::Tree;
use iact_cache::chaos::{Bug, planted};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The hidden first argument.
pub const ARGUMENT: &str = "__supervise";
/// The environment variable with the run's mark.
const RUN: &str = "IACT_SUPERVISE";

/// How long they have to end by themselves; how long the whole may take, and how many kills at least.
const GRACE: Duration = Duration::from_millis(1_000);
const KILLING: Duration = Duration::from_millis(3_000);
const KILLS: u32 = 50;
const LOOK: Duration = Duration::from_millis(20);

/// How the supervisor is started.
#[derive(Clone, Debug)]
pub struct Supervision {
    /// The program, which must come to [`supervise_if_asked`] (or [`supervise`]).
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

impl Supervision {
    /// This program with the hidden argument.
    ///
    /// # Errors
    /// The path of this program cannot be found out.
    pub fn by_this_program() -> io::Result<Self> {
        Ok(Self { program: platform::this_program()?, args: vec![ARGUMENT.into()] })
    }
}

/// The size of a place in the table.
const PLACE: usize = size_of::<i64>();

/// iact's end.
#[derive(Debug)]
pub(super) struct Supervisor {
    table: File,
    slots: Mutex<Vec<bool>>,
    socket: Mutex<UnixStream>,
    process: Child,
}

impl Supervisor {
    pub(super) fn start(supervision: &Supervision, run: &str) -> io::Result<Self> {
        let table = platform::nameless_file()?;
        let (ours, theirs) = UnixStream::pair()?;
        let _gate = reap::starting();
        let process = Command::new(&supervision.program)
            .arg0("iact")
            .args(&supervision.args)
            .env_clear()
            .env(RUN, run)
            .current_dir("/")
            .process_group(0)
            .stdin(table.try_clone()?)
            .stdout(Stdio::null())
            .stderr(OwnedFd::from(theirs))
            .spawn()?;
        reap::register(Pid::from_child(&process));
        Ok(Self { table, slots: Mutex::default(), socket: Mutex::new(ours), process })
    }

    /// A command is about to be started; it leaves the table when the entry is dropped.
    pub(super) fn enter(&self) -> Entry<'_> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let free = slots.iter().position(|taken| !taken).unwrap_or(slots.len());
            if free == slots.len() {
                slots.push(true);
            }
            slots[free] = true;
            free
        };
        Entry { supervisor: self, slot }
    }

    /// Should iact die, this folder (flat, of files that can be lost) is to be removed.
    pub(super) fn remove_later(&self, folder: &Path) {
        self.tell(&[b"remove ", folder.as_os_str().as_bytes()].concat());
    }

    fn tell(&self, message: &[u8]) {
        let message = [message, b"\0"].concat();
        // If the supervisor is gone there is nobody to tell.
        let _ = self.socket.lock().unwrap_or_else(PoisonError::into_inner).write_all(&message);
    }

    /// Should iact die, what is locked by this file is to stay so until all is over.
    pub(super) fn hold_on(&self, lock: &File) {
        if planted(Bug::LocksOfTheDead) {
            return;
        }
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        let descriptors = [lock.as_fd()];
        with.push(SendAncillaryMessage::ScmRights(&descriptors));
        // If the supervisor is gone there is nobody to hold it.
        let _ = sendmsg(&*socket, &[IoSlice::new(b"hold\0")], &mut with, SendFlags::NOSIGNAL);
    }

    /// The supervisor's process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }
}

/// Where in the table a command's group is to be written, as an `i64`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) table: BorrowedFd<'a>,
    pub(super) offset: u64,
}

/// A running command's entry in the table.
pub(super) struct Entry<'a> {
    supervisor: &'a Supervisor,
    slot: usize,
}

impl Entry<'_> {
    /// Where it writes its group.
    pub(super) fn place(&self) -> Place<'_> {
        Place { table: self.supervisor.table.as_fd(), offset: (self.slot * PLACE) as u64 }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // It was written before, so there is room.
        let _ = self.supervisor.table.write_all_at(&[0; PLACE], self.place().offset);
        self.supervisor.slots.lock().unwrap_or_else(PoisonError::into_inner)[self.slot] = false;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.tell(b"bye");
        let process = Pid::from_child(&self.process);
        // Where iact goes on, as in a watch, nobody is left uncollected; where it ends, that would be a wait of milliseconds.
        let collector = std::thread::Builder::new().name("supervisor".into());
        if collector.spawn(move || reap::discard(process)).is_err() {
            reap::forget(process);
        }
    }
}

/// To be called first in `main`: becomes the supervisor if the hidden argument is there, and tells that it
/// did.
pub fn supervise_if_asked() -> bool {
    std::env::args_os().nth(1).is_some_and(|first| first == ARGUMENT) && supervise()
}

/// Supervises on the descriptors that [`Supervisor::start`] set up; false if the environment does not name a
/// run.
pub fn supervise() -> bool {
    let Some(run) =
        std::env::var_os(RUN).and_then(|run| run.into_string().ok()).filter(|run| !run.is_empty())
    else {
        return false;
    };
    // Not the name of the program, so that who kills all of those by name leaves its supervisor.
    let _ = std::fs::write("/proc/self/comm", "act-supervisor");
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let Ok(socket) = rustix::stdio::stderr().try_clone_to_owned() else { return true };
    let told = Told::read(&socket);
    if !told.bye {
        // At once: on a busy machine it takes a while to be sure that nobody is left.
        told.folders.iter().for_each(|folder| remove(folder));
        end(Tree::new(Mark::Run(run), registered(rustix::stdio::stdin()), platform::birth()));
    }
    true
}

#[derive(Debug, Default)]
struct Told {
    bye: bool,
    folders: Vec<PathBuf>,
    /// Locked files, by device and inode: a lock taken again is another open file.
    locks: BTreeMap<(u64, u64), OwnedFd>,
}

impl Told {
    /// Everything iact said until its end of the socket was closed or it took its leave.
    fn read(socket: &OwnedFd) -> Self {
        let mut told = Self::default();
        let mut text = Vec::new();
        let mut buffer = [0; 512];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        loop {
            let mut with = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut buffer)];
            let read = match recvmsg(socket, &mut into, &mut with, RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                Err(_) => return told,
                Ok(received) => received.bytes,
            };
            for message in with.drain() {
                if let RecvAncillaryMessage::ScmRights(locks) = message {
                    locks.for_each(|lock| told.hold(lock));
                }
            }
            if read == 0 {
                return told;
            }
            text.extend_from_slice(&buffer[..read]);
            while let Some(end) = text.iter().position(|byte| *byte == 0) {
                told.hear(&text[..end]);
                text.drain(..=end);
            }
            if told.bye {
                return told;
            }
        }
    }

    fn hold(&mut self, lock: OwnedFd) {
        if let Ok(stat) = rustix::fs::fstat(&lock) {
            self.locks.insert((stat.st_dev, stat.st_ino), lock);
        }
    }

    fn hear(&mut self, message: &[u8]) {
        if message == b"bye" {
            self.bye = true;
        } else if let Some(folder) = message.strip_prefix(b"remove ") {
            self.folders.push(OsString::from_vec(folder.to_vec()).into());
        }
    }
}

/// The groups in the table.
fn registered(table: BorrowedFd<'_>) -> Vec<Pid> {
    let mut bytes = Vec::new();
    // What cannot be read is still found by its mark.
    let _ = table.try_clone_to_owned().map(File::from).and_then(|mut table| {
        table.seek(SeekFrom::Start(0))?;
        table.read_to_end(&mut bytes)
    });
    let places = bytes.chunks_exact(PLACE).filter_map(|place| place.try_into().ok());
    // Neither everybody nor init's group is ever meant.
    let groups = places.map(i64::from_le_bytes).filter(|group| *group > 1);
    groups.filter_map(|group| Pid::from_raw(i32::try_from(group).ok()?)).collect()
}

/// Ends everything that belongs to the run.
fn end(mut tree: Tree) {
    let start = Instant::now();
    let mut was_told = false;
    let mut kills = 0;
    let mut empty_looks = 0;
    // A process in the middle of an `exec` cannot be seen: one look is not enough. Nobody is given up because the
    // machine stood still: it is a number of kills that did not help.
    while empty_looks < 2 && (kills < KILLS || start.elapsed() < KILLING) {
        let is_due = start.elapsed() >= GRACE;
        if is_due || !was_told {
            tree.send(if is_due { Signal::KILL } else { Signal::TERM });
            was_told = true;
            kills += u32::from(is_due);
        }
        empty_looks = if tree.survives() { 0 } else { empty_looks + 1 };
        std::thread::sleep(LOOK);
    }
}

/// Removes a flat folder of files. Never follows a link, never descends.
fn remove(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let _ = std::fs::remove_file(entry.path());
    }
    let _ = std::fs::remove_dir(folder);
}
