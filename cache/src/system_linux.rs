//! What only Linux offers: opening beneath a folder in one call, flushing one file system, sharing extents.
#![allow(clippy::disallowed_methods, reason = "shell: the kernel says “again”, and tells of no event")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// A rename is over at once; so many tries take two seconds and more.
const AGAIN_TRIES: u64 = 700;

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Opens `path` below `folder` without following any symbolic link. `None`: the kernel (or its guard) does
/// not know how.
pub(crate) fn open_beneath(folder: impl AsFd, path: &[u8], flags: OFlags) -> Option<io::Result<OwnedFd>> {
    if NO_OPENAT2.load(Ordering::Relaxed) {
        return None;
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(&folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::INTR) => {}
            // A rename elsewhere raced with the look-up, or somebody gives back a lease: look again, not for ever.
            Err(Errno::AGAIN) if tries < AGAIN_TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_micros(10 * tries));
            }
            Err(Errno::NOSYS | Errno::PERM) => {
                NO_OPENAT2.store(true, Ordering::Relaxed);
                return None;
            }
            result => return Some(result.map_err(io::Error::from)),
        }
    }
}

/// Makes everything written to the file system of `folder` durable, including names.
pub(crate) fn flush_filesystem(folder: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

/// Lets `to` share the extents of `from`. `false`: these two files cannot.
pub(crate) fn share_extents(from: impl AsFd, to: impl AsFd) -> bool {
    rustix::fs::ioctl_ficlone(to, from).is_ok()
}

/// Gives this thread a descriptor table of its own. Without one (a sandbox may forbid it) all works as ever.
///
/// The thread must never open anything that outlives it or that other threads get to see.
#[allow(unsafe_code, reason = "nothing else keeps a fork elsewhere from copying a descriptor")]
pub(crate) fn use_own_descriptors() {
    // SAFETY: the only caller is the thread in `programs.rs`, which closes every file it opens itself and hands
    // on facts only; descriptors it was lent were open before and stay valid in its copy of the table.
    let _ = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) };
}
