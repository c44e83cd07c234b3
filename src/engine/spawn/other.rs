//! Other unixes: without /proc and subreapers a tree is its process group.
#![allow(clippy::disallowed_methods, reason = "shell: files and clock")]

use super::end_pipe::end_pipe;
use super::mark::Mark;
use super::tree::Look;
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

/// This program.
pub(super) fn this_program() -> io::Result<std::path::PathBuf> {
    std::env::current_exe()
}

/// Orphans go to init here.
pub(super) fn adopt_orphans() {}

/// A descriptor that becomes readable when this child ends.
pub(super) fn watch_end(child: Pid) -> io::Result<OwnedFd> {
    end_pipe(child)
}

/// A file without a name, shared with the supervisor.
pub(super) fn nameless_file() -> io::Result<File> {
    tempfile::tempfile()
}

/// Nanoseconds since the epoch: with the process id unique on this machine.
pub(super) fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}

/// When a process was started; not to be found out here.
pub(super) type Tick = u64;

/// Nothing to compare with.
pub(super) fn tick() -> Tick {
    0
}

/// Nothing to compare with.
pub(super) fn birth() -> Tick {
    0
}

/// The living groups.
pub(super) fn look(_mark: &Mark, groups: &[Pid], _known: &[Member]) -> Look {
    let lives = |group: &&Pid| rustix::process::test_kill_process_group(**group).is_ok();
    let member = |group: &Pid| Member { group: group.as_raw_pid(), born: 0 };
    Look { members: groups.iter().filter(lives).map(member).collect(), unclear: Vec::new() }
}

/// A process without a group of its own is not to be told from another here.
pub(super) fn member(_child: Pid) -> Option<Member> {
    None
}

/// A living group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) group: i32,
    pub(super) born: Tick,
}

impl Member {
    /// The leader of its group.
    pub(super) fn number(&self) -> i32 {
        self.group
    }

    /// Whether it is the same group.
    pub(super) fn is(&self, other: &Self) -> bool {
        self == other
    }

    /// Everybody is in the group, which is signalled as one.
    #[allow(clippy::unused_self, reason = "the same form as on Linux")]
    pub(super) fn signal(&self, _signal: Signal) {}
}
