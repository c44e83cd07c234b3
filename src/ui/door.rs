//! The one door to standard output and error. Bytes leave in the order and pieces they are handed over in:
//! no buffer of its own, so two streams that are the same file stay in order.
//!
//! Invariants: every byte iact shows passes [`write`]. A reader that went away is no failure: the rest is dropped, quietly, and
//! the program goes on to its own end and exit code. From the first signal on nobody is held up by a reader who does not read:
//! all in all he is waited for as long as [`PATIENCE`], and then a piece that finds no room is dropped, whole. Anything else that
//! keeps an answer from arriving is remembered for who asks.
//!
//! A write that blocks hears no bell, so while there is one, a pipe or terminal is written through an open file of our own that
//! does not block: to say so of the given one would say it of everybody who shares it.
#![allow(clippy::disallowed_methods, reason = "shell: writes to standard output and error")]

use crate::engine::signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io::{self, PipeReader};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long readers are waited for after the first signal.
const PATIENCE: Duration = Duration::from_millis(500);
/// A pipe that says that it has room takes so much without blocking.
const PIECE: usize = 4096;

/// Standard output or standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipe {
    /// Answers, and what commands write there.
    Stdout,
    /// Messages, progress, and what commands write there.
    Stderr,
}

static CLOSED: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];

/// What the system said when standard output took no more, as a number; 0: nothing.
static TROUBLE: AtomicI32 = AtomicI32::new(0);

/// Why a part of what was written to standard output did not arrive, unless its reader went away.
pub fn trouble() -> Option<io::Error> {
    Some(TROUBLE.load(Ordering::Relaxed)).filter(|&errno| errno != 0).map(io::Error::from_raw_os_error)
}

/// Writes an answer to standard output.
pub fn print(text: impl AsRef<[u8]>) {
    write(Pipe::Stdout, text.as_ref());
}

/// Writes a message to standard error.
pub fn tell(text: impl AsRef<[u8]>) {
    write(Pipe::Stderr, text.as_ref());
}

/// Writes all of it, or drops what nobody reads any more.
pub fn write(pipe: Pipe, bytes: &[u8]) {
    let closed = &CLOSED[pipe as usize];
    if closed.load(Ordering::Relaxed) {
        return;
    }
    let fd = match pipe {
        Pipe::Stdout => rustix::stdio::stdout(),
        Pipe::Stderr => rustix::stdio::stderr(),
    };
    let bell = signal::bell();
    static WAYS: [OnceLock<Way>; 2] = [const { OnceLock::new() }; 2];
    let way = bell.map_or(&Way::Given, |_| WAYS[pipe as usize].get_or_init(|| way(fd)));
    let mut left = bytes;
    match write_all(way, fd, bell, &mut left) {
        Ok(()) => {}
        // Nothing of it was shown, so the next piece may be.
        Err(Errno::TIMEDOUT) if left.len() == bytes.len() => {}
        Err(errno) => {
            closed.store(true, Ordering::Relaxed);
            if pipe == Pipe::Stdout && errno != Errno::PIPE {
                TROUBLE.store(errno.raw_os_error(), Ordering::Relaxed);
            }
        }
    }
}

/// Standard output as a writer, for what is too long to be one piece.
#[derive(Debug)]
pub struct Answer;

impl io::Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        print(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error as a writer.
#[derive(Debug)]
pub struct Messages;

impl io::Write for Messages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        tell(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How to write without waiting for a reader in the call.
enum Way {
    /// It is a file, or nobody rings.
    Given,
    /// Through an open file of its own.
    Own(OwnedFd),
    /// In pieces that fit.
    Pieces,
}

fn way(fd: BorrowedFd<'_>) -> Way {
    let Ok(stat) = rustix::fs::fstat(fd) else { return Way::Given };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Fifo | FileType::CharacterDevice => open_again(fd).map_or(Way::Pieces, Way::Own),
        FileType::Socket => Way::Pieces,
        _ => Way::Given,
    }
}

#[cfg(target_os = "linux")]
fn open_again(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/proc/self/fd/{}", fd.as_raw_fd()), flags, Mode::empty()).ok()
}

/// Elsewhere that would be the same open file.
#[cfg(not(target_os = "linux"))]
fn open_again(_: BorrowedFd<'_>) -> Option<OwnedFd> {
    None
}

/// Writes all of it; what could not be written stays in `left`.
fn write_all(
    way: &Way,
    fd: BorrowedFd<'_>,
    bell: Option<&PipeReader>,
    left: &mut &[u8],
) -> Result<(), Errno> {
    let fd = if let Way::Own(own) = way { own.as_fd() } else { fd };
    while !left.is_empty() {
        let mut piece = *left;
        if let Way::Pieces = way {
            wait(fd, bell)?;
            piece = &piece[..piece.len().min(PIECE)];
        }
        match rustix::io::write(fd, piece) {
            Ok(written) => *left = &left[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait(fd, bell)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for room: without end before the bell has rung, for what is left of the patience afterwards.
fn wait(fd: BorrowedFd<'_>, bell: Option<&PipeReader>) -> Result<(), Errno> {
    let mut fds = Vec::with_capacity(2);
    fds.push(PollFd::from_borrowed_fd(fd, PollFlags::OUT));
    fds.extend(bell.map(|bell| PollFd::new(bell, PollFlags::IN)));
    match poll(&mut fds, None) {
        Err(Errno::INTR) => return Ok(()),
        Err(error) => return Err(error),
        Ok(_) if !fds[0].revents().is_empty() => return Ok(()),
        Ok(_) => {}
    }
    static WAITED_US: AtomicU64 = AtomicU64::new(0);
    let began = Instant::now();
    let patience = PATIENCE.saturating_sub(Duration::from_micros(WAITED_US.load(Ordering::Relaxed)));
    let limit = Timespec::try_from(patience).expect("half a second at most");
    let ready = poll(&mut fds[..1], Some(&limit));
    WAITED_US.fetch_add(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    match ready {
        Ok(0) => Err(Errno::TIMEDOUT),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
