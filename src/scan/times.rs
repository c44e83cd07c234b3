//! What the times of a file system are worth: whether a stat may vouch for a content.
//!
//! Invariant: a stat vouches only where times come from this machine's clock; elsewhere two times are compared only if
//! both come from there.
#![allow(clippy::disallowed_methods, reason = "shell: asks clocks")]

use super::read::stat;
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, utimensat};
use std::os::fd::BorrowedFd;

/// What the times of a file system are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// They are given by this machine's clock, in small steps.
    Own,
    /// They have whole seconds only.
    WholeSeconds,
    /// They are given elsewhere: over a network, by another program, outside of a virtual machine.
    Foreign(&'static str),
}

/// File systems whose times are given elsewhere, by the magic numbers of statfs(2).
#[cfg(target_os = "linux")]
const FOREIGN: [(u32, &str); 12] = [
    (0x6969, "NFS"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x517b, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0xff53_4d42, "SMB"),
    (0x786f_4256, "VirtualBox"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
];

/// The kind of a file system whose times are given elsewhere; what cannot be asked counts as one.
#[cfg(target_os = "linux")]
fn foreign(root: BorrowedFd<'_>) -> Option<&'static str> {
    let Ok(facts) = rustix::fs::fstatfs(root) else { return Some("of an unknown kind") };
    FOREIGN.iter().find(|(magic, _)| *magic == facts.f_type as u32).map(|(_, kind)| *kind)
}

#[cfg(not(target_os = "linux"))]
fn foreign(_: BorrowedFd<'_>) -> Option<&'static str> {
    None
}

/// Whether the file system keeps times by this machine's clock.
pub fn keeps_times(root: BorrowedFd<'_>) -> bool {
    foreign(root).is_none()
}

/// The time that a file system would give a file now, for local ones: the kernel's coarse clock.
pub fn file_clock_ns() -> i64 {
    clock_ns(coarse_clock())
}

fn clock_ns(clock: rustix::time::ClockId) -> i64 {
    let now = rustix::time::clock_gettime(clock);
    now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec)
}

#[cfg(target_os = "linux")]
fn coarse_clock() -> rustix::time::ClockId {
    rustix::time::ClockId::RealtimeCoarse
}

#[cfg(not(target_os = "linux"))]
fn coarse_clock() -> rustix::time::ClockId {
    rustix::time::ClockId::Realtime
}

/// A moment by the clock of a file system. Two bounds: since Linux 6.13 a file's time may be finer than the clock's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Files that are written from then on have at least this time.
    pub since_ns: i64,
    /// Files that were written before have at most this one.
    pub until_ns: i64,
}

/// Now, on the file system of a workspace; one that does not [keep times](keeps_times) tells it by what it gives the lock. Long
/// ago if it does not tell.
pub fn moment(root: BorrowedFd<'_>, keeps_times: bool) -> Moment {
    if keeps_times {
        let since_ns = file_clock_ns();
        return Moment { since_ns, until_ns: clock_ns(rustix::time::ClockId::Realtime) };
    }
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let touched = utimensat(root, LOCK, &times, AtFlags::empty());
    let told = touched.ok().and_then(|()| stat(root, LOCK, false).ok().flatten());
    let told_ns = told.map_or(i64::MIN, |stat| stat.ctime_ns);
    Moment { since_ns: told_ns, until_ns: told_ns }
}

const LOCK: &std::ffi::CStr = c".iact/lock";

impl Times {
    /// Those of the file system of a workspace whose lock is held.
    pub fn of(root: BorrowedFd<'_>) -> Self {
        let made = || stat(root, LOCK, false).ok().flatten();
        match foreign(root) {
            Some(kind) => Self::Foreign(kind),
            None if made().is_some_and(|stat| stat.is_coarse()) => Self::WholeSeconds,
            None => Self::Own,
        }
    }

    /// What is slower there, and why; nothing where all is well.
    pub fn told(self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::WholeSeconds => Some(
                "this file system keeps times of whole seconds: inputs are read again after every action"
                    .to_owned(),
            ),
            Self::Foreign(kind) => Some(format!(
                "times on this file system ({kind}) do not come from this machine's clock: every build reads all inputs, \
                 and `watch` polls"
            )),
        }
    }
}
