//! Runs one command: starts it in a process group of its own, passes its output on, and ends its whole tree when its time
//! is over or the run is.
//!
//! One worker thread does everything for its command with one `poll`: both pipes, the child's end, the stop bells, the
//! next deadline. What to do when is decided in `course` (pure); who belongs to the tree is found in the platform's file.
//!
//! Invariants: how a command ended is data ([`Ended`]), never an error. What we ended ourselves is never a success. A
//! process group is signalled only while its leader is uncollected, so its number cannot have been given to another.
//! A child started in another way must stay in iact's own process group: the ends of others are collected as orphans'.
//! Nothing here calls rayon, whose threads are for scanning.
#![allow(clippy::disallowed_methods, reason = "shell: processes and the clock")]

mod course;
mod end_pipe;
#[cfg(target_os = "linux")]
mod exec;
#[cfg(not(target_os = "linux"))]
#[path = "spawn/exec_std.rs"]
mod exec;
mod lines;
mod mark;
#[cfg(target_os = "linux")]
#[path = "spawn/linux.rs"]
mod platform;
#[cfg(not(target_os = "linux"))]
#[path = "spawn/other.rs"]
mod platform;
mod reap;
mod running;
mod start;
mod stop;
mod supervisor;
mod tree;

pub use mark::{above, is_started_by};
pub use reap::{Usage, collect_orphans};
pub use stop::Stop;
pub use supervisor::{ARGUMENT, Supervision, supervise, supervise_if_asked};

use super::lock::WorkspaceLock;
use super::signal::Deaf;
use super::terminal::Terminal;
use crate::report::Stream;
use mark::MARKER;
use running::Running;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use supervisor::{Entry, Supervisor};

/// What a command reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    Null,
    /// The terminal; its output goes there too, and nothing is captured. It stays in iact's process group, so that the
    /// keyboard's signals reach it: while it runs, ^C is its affair, and iact is deaf to SIGINT and SIGQUIT.
    Terminal,
}

/// One command to run.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Program and arguments. A program without a slash is looked up in the PATH of `env`.
    pub argv: &'a [OsString],
    /// Where it runs.
    pub cwd: &'a Path,
    /// The whole environment: nothing is inherited. The mark of the action is added.
    pub env: &'a [(OsString, OsString)],
    /// When its tree is ended.
    pub timeout_ms: Option<u64>,
    /// How long a tree that was asked to end may take before it is killed.
    pub grace_ms: u64,
    /// What it reads from.
    pub stdin: Stdin,
}

/// Why a command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start `{}`: {error}", path.display())]
pub struct NotStarted {
    /// The program, its folder, or what else is at fault.
    pub path: PathBuf,
    /// What the system says.
    pub error: io::Error,
}

/// How a command ended.
#[derive(Debug)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By a signal that we did not send.
    Signalled(i32),
    /// We ended it because it took too long.
    TimedOut,
    /// We ended it, or did not start it, because the run is over.
    Cancelled,
    /// It never ran.
    NotStarted(NotStarted),
}

/// The end of a command, and what it took.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub end: End,
    /// From before its start to after its end.
    pub duration_ms: u64,
    /// What it and the descendants it waited for used.
    pub usage: Usage,
    /// Everything it wrote was passed on; false if somebody kept its output open.
    pub output_complete: bool,
    /// Processes of it are still there.
    pub left_running: bool,
}

impl Ended {
    fn without_running(end: End) -> Self {
        Self { end, duration_ms: 0, usage: Usage::default(), output_complete: true, left_running: false }
    }
}

/// The commands of one run: what they have in common. Dropping it tells the supervisor that all is well.
#[derive(Debug)]
pub struct Children {
    /// This run's part of the mark.
    run: String,
    /// The whole mark before the number.
    prefix: OsString,
    next: AtomicU64,
    supervision: Option<Supervision>,
    supervisor: OnceLock<Option<io::Result<Supervisor>>>,
    /// The workspace's lock, for the supervisor to come.
    lock: Mutex<Option<Arc<File>>>,
}

impl Children {
    /// For one run; nothing is started yet. Without `supervision`, commands outlive an iact that was killed.
    pub fn new(supervision: Option<Supervision>) -> Self {
        let run = format!("{:x}-{:x}", std::process::id(), platform::now_ns());
        let mut prefix = OsString::new();
        if let Some(outer) = std::env::var_os(MARKER) {
            prefix.push(outer);
            prefix.push(":");
        }
        prefix.push(&run);
        Self {
            run,
            prefix,
            next: AtomicU64::new(1),
            supervision,
            supervisor: OnceLock::new(),
            lock: Mutex::default(),
        }
    }

    /// Runs one command to its end on this thread. `output` gets whole lines where the command writes whole lines.
    pub fn run(&self, launch: &Launch<'_>, stop: &Stop, output: &mut dyn FnMut(Stream, &[u8])) -> Ended {
        self.run_with(launch, stop, output, None)
    }

    /// The same for a command that is there to stay: `started` is told its process, and when it ends by itself
    /// nothing of its tree lives on.
    pub fn run_whole(
        &self,
        launch: &Launch<'_>,
        stop: &Stop,
        output: &mut dyn FnMut(Stream, &[u8]),
        started: &mut dyn FnMut(u32),
    ) -> Ended {
        self.run_with(launch, stop, output, Some(started))
    }

    fn run_with(
        &self,
        launch: &Launch<'_>,
        stop: &Stop,
        output: &mut dyn FnMut(Stream, &[u8]),
        whole: Option<&mut dyn FnMut(u32)>,
    ) -> Ended {
        if stop.signal().is_some() || stop.is_killed() {
            return Ended::without_running(End::Cancelled);
        }
        let supervisor = self.supervisor();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut mark = self.prefix.clone();
        mark.push(format!(".{number}"));
        let _terminal =
            (launch.stdin == Stdin::Terminal).then(|| (Terminal::lend(), Deaf::to_the_keyboard()));
        let entry = supervisor.filter(|_| launch.stdin == Stdin::Null).map(Supervisor::enter);
        let begin = Instant::now();
        let place = entry.as_ref().map(Entry::place);
        let mut running = match Running::start(launch, &mark, format!("{}.{number}", self.run), place) {
            Ok(running) => running,
            Err(error) => return Ended::without_running(End::NotStarted(error)),
        };
        if let Some(started) = whole {
            started(running.take_rest_along());
        }
        let course = running.follow(launch, stop, begin, output);
        // The number of the group is ours only until its leader is collected.
        drop(entry);
        running.finish(&course, begin)
    }

    fn supervisor(&self) -> Option<&Supervisor> {
        let started = self.supervisor.get_or_init(|| {
            reap::insist_on_ends();
            platform::adopt_orphans();
            let supervisor = Supervisor::start(self.supervision.as_ref()?, &self.run);
            let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let (Ok(supervisor), Some(lock)) = (&supervisor, lock) {
                supervisor.hold_on(&lock);
            }
            Some(supervisor)
        });
        started.as_ref()?.as_ref().ok()
    }

    /// Why nobody supervises, if somebody should.
    pub fn supervision_error(&self) -> Option<&io::Error> {
        self.supervisor.get()?.as_ref()?.as_ref().err()
    }

    /// The supervisor's process id, if it was started.
    pub fn supervisor_pid(&self) -> Option<u32> {
        self.supervisor.get()?.as_ref()?.as_ref().ok().map(Supervisor::pid)
    }

    /// Should iact be killed, the workspace's lock stays locked until every command is gone. To be called while none
    /// is being started.
    pub fn share_lock(&self, lock: Option<&WorkspaceLock>) {
        let Some(lock) = lock else { return };
        match self.supervisor.get() {
            Some(Some(Ok(supervisor))) => supervisor.hold_on(lock.file()),
            Some(_) => {}
            None => *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock.file().clone()),
        }
    }

    /// Should iact be killed, what is locked by this file stays so until every command is gone.
    pub fn hold_if_killed(&self, lock: &File) {
        if let Some(supervisor) = self.supervisor() {
            supervisor.hold_on(lock);
        }
    }

    /// Should iact be killed, these flat folders are removed by the supervisor.
    pub fn remove_if_killed<'a>(&self, folders: impl IntoIterator<Item = &'a Path>) {
        if let Some(supervisor) = self.supervisor() {
            folders.into_iter().for_each(|folder| supervisor.remove_later(folder));
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
