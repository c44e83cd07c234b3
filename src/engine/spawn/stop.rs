//! How the coordinator tells every worker at once that the run is over.
//!
//! Invariant: level-triggered. A bell that has rung stays readable for everybody who polls it, now or later,
//! because nobody ever reads it; so a command that starts a moment after the bell still hears it. Pipes, not
//! eventfds: the same on every unix. A branch hears what its trunk hears, and can be rung alone.

use rustix::process::Signal;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Ends running commands; clones ring the same bells.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Bells>);

#[derive(Debug)]
struct Bells {
    signal: AtomicI32,
    killed: AtomicBool,
    end: (PipeReader, PipeWriter),
    kill: (PipeReader, PipeWriter),
    branches: Mutex<Vec<Weak<Bells>>>,
}

impl Stop {
    /// Bells that have not rung.
    ///
    /// # Errors
    /// No more file descriptors.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(Bells {
            signal: AtomicI32::new(0),
            killed: AtomicBool::new(false),
            end: io::pipe()?,
            kill: io::pipe()?,
            branches: Mutex::default(),
        })))
    }

    /// Bells that ring with these, and can be rung without them.
    ///
    /// # Errors
    /// No more file descriptors.
    pub fn branch(&self) -> io::Result<Self> {
        let branch = Self::new()?;
        let mut branches = self.0.branches.lock().unwrap_or_else(PoisonError::into_inner);
        branches.retain(|branch| branch.strong_count() > 0);
        branches.push(Arc::downgrade(&branch.0));
        drop(branches);
        // What rang before it was on the list rings now; ringing twice is ringing once.
        if let Some(signal) = self.signal().and_then(Signal::from_named_raw) {
            branch.end(signal);
        }
        if self.is_killed() {
            branch.kill();
        }
        Ok(branch)
    }

    fn each_branch(&self, ring: impl Fn(&Self)) {
        let branches = self.0.branches.lock().unwrap_or_else(PoisonError::into_inner);
        branches.iter().filter_map(Weak::upgrade).for_each(|branch| ring(&Self(branch)));
    }

    /// Ask every running command to end with this signal, and kill what is left after its grace. Only the
    /// first call counts: a signal is forwarded once.
    pub fn end(&self, signal: Signal) {
        if self.0.signal.compare_exchange(0, signal.as_raw(), Ordering::AcqRel, Ordering::Acquire).is_ok() {
            ring(&self.0.end.1);
            self.each_branch(|branch| branch.end(signal));
        }
    }

    /// Kill every running command now.
    pub fn kill(&self) {
        if !self.0.killed.swap(true, Ordering::AcqRel) {
            ring(&self.0.kill.1);
            self.each_branch(Self::kill);
        }
    }

    /// The signal to forward, once [`Stop::end`] was called.
    pub fn signal(&self) -> Option<i32> {
        match self.0.signal.load(Ordering::Acquire) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// Whether [`Stop::kill`] was called.
    pub fn is_killed(&self) -> bool {
        self.0.killed.load(Ordering::Acquire)
    }

    /// Waits that long, unless the run is over before; whether it is not.
    pub fn wait(&self, pause: std::time::Duration) -> bool {
        let mut bell =
            [rustix::event::PollFd::from_borrowed_fd(self.end_bell(), rustix::event::PollFlags::IN)];
        let limit = rustix::time::Timespec::try_from(pause).ok();
        // An interrupted wait is a short one.
        let _ = rustix::event::poll(&mut bell, limit.as_ref());
        self.signal().is_none() && !self.is_killed()
    }

    pub(super) fn end_bell(&self) -> BorrowedFd<'_> {
        self.0.end.0.as_fd()
    }

    pub(super) fn kill_bell(&self) -> BorrowedFd<'_> {
        self.0.kill.0.as_fd()
    }
}

fn ring(mut bell: &PipeWriter) {
    // One byte into an empty pipe whose reader lives as long as we do cannot fail or block.
    let _ = bell.write(&[1]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_hears_its_trunk_and_rings_alone() {
        let trunk = Stop::new().unwrap();
        let (early, other) = (trunk.branch().unwrap(), trunk.branch().unwrap());
        early.end(Signal::TERM);
        assert_eq!((early.signal(), other.signal(), trunk.signal()), (Some(15), None, None));
        trunk.end(Signal::INT);
        trunk.kill();
        let late = trunk.branch().unwrap();
        for (branch, signal) in [(&early, 15), (&other, 2), (&late, 2)] {
            assert_eq!((branch.signal(), branch.is_killed()), (Some(signal), true));
        }
    }
}
