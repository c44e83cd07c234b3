//! Linux: who belongs to an action, told from /proc; the end of a child as a descriptor; the subreaper.
//!
//! A process belongs to an action if it is in the action's process group, if it carries the action's mark in its initial
//! environment, or if one of its ancestors does. The mark survives double forks and new sessions; ancestry catches those
//! who overwrite their environment. A daemon that clears its environment *and* leaves the group *and* outlives all its
//! ancestors escapes. Only a control group of its own would hold it; refused, because a folder made and removed per
//! action costs as much as the start of a process, and few users may write one.
#![allow(clippy::disallowed_methods, reason = "shell: reads /proc, signals processes")]

use super::end_pipe::end_pipe;
use super::mark::Mark;
use super::tree::Look;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

/// This program, wherever it lies and even if it was replaced since.
pub(super) fn this_program() -> io::Result<std::path::PathBuf> {
    Ok("/proc/self/exe".into())
}

/// Orphans among our descendants come to us instead of to init, so they can be found and collected.
pub(super) fn adopt_orphans() {
    // An old kernel without it loses only the zombies of orphans, to init.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// A descriptor that becomes readable when this child ends. Sandboxes and emulators know no such call.
pub(super) fn watch_end(child: Pid) -> io::Result<OwnedFd> {
    match rustix::process::pidfd_open(child, PidfdFlags::empty()) {
        Err(Errno::NOSYS | Errno::PERM) => end_pipe(child),
        other => Ok(other?),
    }
}

/// A file without a name, shared with the supervisor.
pub(super) fn nameless_file() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("groups", MemfdFlags::CLOEXEC)?.into())
}

/// Nanoseconds since boot: with the process id unique on this machine.
pub(super) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// A time as /proc tells when a process was started: clock ticks since boot.
pub(super) type Tick = u64;

/// The tick that passes now.
pub(super) fn tick() -> Tick {
    let per_second = u128::from(rustix::param::clock_ticks_per_second());
    u64::try_from(u128::from(now_ns()) * per_second / 1_000_000_000).unwrap_or(u64::MAX)
}

/// When this process was started.
pub(super) fn birth() -> Tick {
    let us = rustix::process::getpid().as_raw_pid();
    read_process(us, &mut Vec::new()).map_or(0, |process| process.born)
}

/// The living members of an action or a run: of these groups, with this mark, those known already, and whoever descends
/// from any of them. And who may be one: in the middle of an `exec` a process shows an empty environment, on a busy
/// machine for a long time.
pub(super) fn look(mark: &Mark, groups: &[Pid], known: &[Member]) -> Look {
    let mut all = processes(mark, groups, known);
    // Whoever descends from a member is one, found breadth first over the processes sorted by parent.
    all.sort_unstable_by_key(|process| process.parent);
    let mut next: Vec<i32> = all.iter().filter(|p| p.belongs).map(|p| p.pid).collect();
    while let Some(parent) = next.pop() {
        let first = all.partition_point(|process| process.parent < parent);
        for process in all[first..].iter_mut().take_while(|process| process.parent == parent) {
            if !process.belongs {
                process.belongs = true;
                next.push(process.pid);
            }
        }
    }
    let found = |which: &dyn Fn(&Process) -> bool| {
        let found = all.iter().filter(|process| !process.is_zombie && which(process));
        found.filter_map(Process::member).collect()
    };
    Look {
        members: found(&|process| process.belongs),
        unclear: found(&|process| process.is_bare && !process.belongs),
    }
}

/// A child of ours that was not collected yet.
pub(super) fn member(child: Pid) -> Option<Member> {
    read_process(child.as_raw_pid(), &mut Vec::new())?.member()
}

/// One living process of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pid: Pid,
    pub(super) group: i32,
    pub(super) born: Tick,
}

impl Member {
    /// Whether it is the same process, whatever its group is now.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.pid, self.born) == (other.pid, other.born)
    }

    /// Its process id.
    pub(super) fn number(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// Signals this very process: not one that got its number meanwhile.
    pub(super) fn signal(&self, signal: Signal) {
        let fd = rustix::process::pidfd_open(self.pid, PidfdFlags::empty());
        let mut buffer = Vec::new();
        if read_process(self.pid.as_raw_pid(), &mut buffer).is_none_or(|process| process.born != self.born) {
            return;
        }
        let _ = match fd {
            Ok(fd) => rustix::process::pidfd_send_signal(fd, signal),
            // Its number is as good for a moment.
            Err(_) => rustix::process::kill_process(self.pid, signal),
        };
    }
}

struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    born: Tick,
    is_zombie: bool,
    /// Its environment is empty.
    is_bare: bool,
    belongs: bool,
}

impl Process {
    fn member(&self) -> Option<Member> {
        Some(Member { pid: Pid::from_raw(self.pid)?, group: self.group, born: self.born })
    }
}

/// The parent of all kernel threads.
const KTHREADD: i32 = 2;

fn processes(mark: &Mark, groups: &[Pid], known: &[Member]) -> Vec<Process> {
    let us = rustix::process::getpid().as_raw_pid();
    let mut buffer = Vec::new();
    pids()
        .filter(|pid| *pid != us && *pid != KTHREADD)
        .filter_map(|pid| {
            let mut process = read_process(pid, &mut buffer).filter(|process| process.parent != KTHREADD)?;
            process.belongs = groups.iter().any(|group| group.as_raw_pid() == process.group)
                || known.iter().any(|member| (member.pid.as_raw_pid(), member.born) == (pid, process.born));
            if !process.belongs
                && !process.is_zombie
                && read_whole(Path::new(&format!("/proc/{pid}/environ")), &mut buffer)
            {
                process.belongs = mark.is_in(&buffer);
                process.is_bare = buffer.is_empty();
            }
            Some(process)
        })
        .collect()
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn read_process(pid: i32, buffer: &mut Vec<u8>) -> Option<Process> {
    if !read_whole(Path::new(&format!("/proc/{pid}/stat")), buffer) {
        return None;
    }
    // The name may contain anything, so the fields are counted from the last parenthesis: 3 state, 4 parent, 5 group,
    // 22 start.
    let end = buffer.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> = std::str::from_utf8(&buffer[end + 1..]).ok()?.split_ascii_whitespace().collect();
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        born: fields.get(19)?.parse().ok()?,
        is_zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
        is_bare: false,
        belongs: false,
    })
}

fn read_whole(path: &Path, buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    File::open(path).and_then(|mut file| file.read_to_end(buffer)).is_ok()
}
