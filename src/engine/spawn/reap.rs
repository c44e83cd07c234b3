//! Collects children that ended: our own, with what they used, and the orphans that came to us because we are
//! the subreaper of what we start.
//!
//! Invariant: nobody takes the end of somebody else's child. A command's own child is collected by the worker
//! that started it and by nobody else; orphans are recognised by being neither registered here nor members of
//! our own process group. Starting holds the gate for reading, so that no child exists unregistered while
//! orphans are collected.
#![allow(
    unsafe_code,
    reason = "wait4 and waitid(WNOWAIT) give what no safe wrapper gives: resource use, and a look"
)]

use rustix::process::Pid;
use std::io;
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

static GATE: RwLock<()> = RwLock::new(());
static OWN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// What a child and the descendants it waited for used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode.
    pub user_ms: u64,
    /// Processor time in the kernel.
    pub sys_ms: u64,
    /// The largest resident set of any one of them.
    pub max_rss_bytes: u64,
}

/// Sees to it that children can be collected at all: started with SIGCHLD ignored, the kernel would throw
/// their ends away.
pub(super) fn insist_on_ends() {
    // SAFETY: the default disposition replaces an inherited one before any child exists; no handler is
    // involved.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Held while a child is started and registered.
pub(super) fn starting() -> RwLockReadGuard<'static, ()> {
    GATE.read().unwrap_or_else(PoisonError::into_inner)
}

/// This child belongs to a worker.
pub(super) fn register(child: Pid) {
    OWN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
}

/// The end of a registered child, as a wait status with what it used; `None` if it has not ended.
pub(super) fn collect(child: Pid) -> io::Result<Option<(i32, Usage)>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: both pointers are valid for writes for the whole call; the kernel fills `usage` whenever it
    // returns a pid.
    let got = unsafe { libc::wait4(child.as_raw_pid(), &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    if got == 0 {
        return Ok(None);
    }
    let error = io::Error::last_os_error();
    forget(child);
    if got < 0 {
        return Err(error);
    }
    // SAFETY: wait4 returned a pid, so it has written the whole structure.
    let usage = unsafe { usage.assume_init() };
    Ok(Some((status, Usage::from(&usage))))
}

impl From<&libc::rusage> for Usage {
    fn from(raw: &libc::rusage) -> Self {
        let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
        Self {
            user_ms: milliseconds(&raw.ru_utime),
            sys_ms: milliseconds(&raw.ru_stime),
            max_rss_bytes: u64::try_from(raw.ru_maxrss).unwrap_or(0) * unit,
        }
    }
}

fn milliseconds(time: &libc::timeval) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_usec).unwrap_or(0) / 1000
}

/// Waits for a killed child and forgets it.
pub(super) fn discard(child: Pid) {
    let mut status = 0;
    // SAFETY: `status` is valid for writes for the whole call.
    while unsafe { libc::waitpid(child.as_raw_pid(), &raw mut status, 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    forget(child);
}

/// This child belongs to nobody any more.
pub(super) fn forget(child: Pid) {
    OWN.lock().unwrap_or_else(PoisonError::into_inner).retain(|own| *own != child);
}

/// Collects the orphans of a group whose leader is gone; whether members are still alive.
pub(super) fn collect_group(group: Pid) -> bool {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for writes for the whole call.
        match unsafe { libc::waitpid(-group.as_raw_pid(), &raw mut status, libc::WNOHANG) } {
            0 => return true,
            pid if pid > 0 => {}
            _ => return false,
        }
    }
}

/// Collects every orphan that has come to us and ended. Skipped while a child is being started: the next call
/// does it.
pub fn collect_orphans() {
    let Ok(_gate) = GATE.try_write() else { return };
    while let Some(pid) = ended_child() {
        let is_own = OWN.lock().unwrap_or_else(PoisonError::into_inner).contains(&pid);
        let is_ours =
            rustix::process::getpgid(Some(pid)).is_ok_and(|group| group == rustix::process::getpgrp());
        let mut status = 0;
        // SAFETY: `status` is valid for writes for the whole call.
        if is_own
            || is_ours
            || unsafe { libc::waitpid(pid.as_raw_pid(), &raw mut status, libc::WNOHANG) } <= 0
        {
            return;
        }
    }
}

/// A child that ended, left uncollected.
fn ended_child() -> Option<Pid> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: `info` is valid for writes for the whole call.
    if unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) } != 0 {
        return None;
    }
    // SAFETY: all zeroes is a valid siginfo_t, and waitid has written one for a child (or left the zeroes),
    // for which the pid is the defined member.
    Pid::from_raw(unsafe { info.assume_init().si_pid() })
}
