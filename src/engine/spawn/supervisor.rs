//! A tiny process that outlives a killed iact just long enough to end its actions.
//!
//! iact is started a second time with the hidden argument [`ARGUMENT`], once per run and only when the first
//! command starts; `main` hands over to [`supervise_if_asked`] before anything else. It sleeps in one `read`
//! until iact's end of a socket is closed. A `bye` before that means all is well. Without it, it ends every
//! process group still registered and every process that carries the run's mark: first SIGTERM, a second
//! later SIGKILL.
//!
//! Between iact and the supervisor:
//! - standard input: the table, a nameless file of [`Record`]s, one per worker. A write into a file wakes nobody, so
//!   registering costs a cheap system call and no context switch.
//! - standard error: a socket, messages ended by NUL: `remove <folder>` (a scratch folder to clear away), `hold` with the
//!   descriptor of a locked file (so that the lock outlives iact until all it started is gone), `bye`.
//! - environment: [`RUN`], the run's mark; nothing else.
//!
//! Refused: `PR_SET_PDEATHSIG`, which fires when the *thread* that started the child exits; a bare `fork`,
//! which copies the page tables of a process with threads and locks.
#![allow(clippy::disallowed_methods, reason = "shell: starts the supervisor and is it")]

use super::mark::Mark;
use super::platform;
use super::tree::{EXEC, Tree};
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
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
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
/// The environment variable with the run's mark, by which supervisors know each other, too.
pub const RUN: &str = "IACT_SUPERVISE";

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

/// One place in the table, 16 bytes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    /// 0, 0.
    Free,
    /// -1, and when: a command is being started. Its number is known a moment after it runs, and iact may be killed in
    /// that moment.
    Starting(platform::Tick),
    /// Its process group, 0.
    Running(Pid),
}

impl Record {
    const SIZE: usize = 16;

    fn write(self) -> [u8; Self::SIZE] {
        let (group, tick) = match self {
            Self::Free => (0, 0),
            Self::Starting(tick) => (-1, tick),
            Self::Running(group) => (i64::from(group.as_raw_pid()), 0),
        };
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&group.to_le_bytes());
        bytes[8..].copy_from_slice(&tick.to_le_bytes());
        bytes
    }

    fn read(bytes: [u8; Self::SIZE]) -> Self {
        let (group, tick) = bytes.split_at(8);
        let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        match word(group).cast_signed() {
            -1 => Self::Starting(word(tick)),
            group @ 2.. => {
                i32::try_from(group).ok().and_then(Pid::from_raw).map_or(Self::Free, Self::Running)
            }
            _ => Self::Free,
        }
    }
}

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
        self.write(slot, Record::Starting(platform::tick()));
        Entry { supervisor: self, slot }
    }

    fn write(&self, slot: usize, record: Record) {
        // Memory is all that can be missing; the mark still finds the command then.
        let _ = self.table.write_all_at(&record.write(), (slot * Record::SIZE) as u64);
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

/// A running command's place in the table.
pub(super) struct Entry<'a> {
    supervisor: &'a Supervisor,
    slot: usize,
}

impl Entry<'_> {
    /// It runs in this group.
    pub(super) fn runs(&self, group: Pid) {
        self.supervisor.write(self.slot, Record::Running(group));
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.supervisor.write(self.slot, Record::Free);
        self.supervisor.slots.lock().unwrap_or_else(PoisonError::into_inner)[self.slot] = false;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.tell(b"bye");
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
    let iact = rustix::process::getppid();
    let Ok(socket) = rustix::stdio::stderr().try_clone_to_owned() else { return true };
    let told = Told::read(&socket);
    if !told.bye {
        let death = platform::tick();
        // Its socket is closed before its children become orphans.
        let start = Instant::now();
        while rustix::process::getppid() == iact && start.elapsed() < LOOK * 10 {
            std::thread::sleep(LOOK / 20);
        }
        // At once: on a busy machine it takes a while to be sure that nobody is left.
        told.folders.iter().for_each(|folder| remove(folder));
        let (groups, starting) = registered(rustix::stdio::stdin());
        let starting = starting.map(|tick| tick..=death);
        end(Tree::new(Mark::Run(run), groups, platform::birth()), starting);
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

/// The groups in the table, and since when commands were just being started, if any were.
fn registered(table: BorrowedFd<'_>) -> (Vec<Pid>, Option<platform::Tick>) {
    let (mut groups, mut starting) = (Vec::new(), None);
    let Ok(table) = table.try_clone_to_owned().map(File::from) else { return (groups, starting) };
    let mut bytes = [0; Record::SIZE];
    let mut at = 0;
    while table.read_exact_at(&mut bytes, at).is_ok() {
        match Record::read(bytes) {
            Record::Free => {}
            Record::Starting(tick) => {
                starting = Some(starting.map_or(tick, |first: platform::Tick| first.min(tick)))
            }
            Record::Running(group) => groups.push(group),
        }
        at += Record::SIZE as u64;
    }
    (groups, starting)
}

/// Ends everything that belongs to the run, of which commands may have been born in the ticks `starting` without
/// anybody knowing their number.
fn end(mut tree: Tree, starting: Option<RangeInclusive<platform::Tick>>) {
    let start = Instant::now();
    let mut was_told = false;
    let mut kills = 0;
    let mut empty_looks = 0;
    // A process in the middle of an `exec` cannot be seen: one look is not enough. Nobody is given up because the
    // machine stood still: it is a number of kills that did not help.
    while empty_looks < 2 && (kills < KILLS || start.elapsed() < KILLING) {
        let with_bare = start.elapsed() >= EXEC;
        // Who has not got as far as its own group is found in it by a later look.
        let found = starting.iter().flat_map(|born| platform::orphaned_groups(born, &tree.mark, with_bare));
        let found: Vec<Pid> = found.collect();
        let is_new = found.into_iter().filter(|group| tree.add(*group)).count() > 0;
        let is_due = start.elapsed() >= GRACE;
        if is_due || is_new || !was_told {
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
