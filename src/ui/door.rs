//! The one door to standard output and error. Bytes leave in the order and pieces they are handed over in:
//! no buffer of its own, so two streams that are the same file stay in order.
//!
//! Invariant: every byte iact shows passes [`write_all`], but for the block that `indicatif` draws on a
//! terminal. A reader that went away is no failure: the rest is dropped, quietly, and the program goes on
//! to its own end and exit code. Anything else that keeps an answer from arriving is remembered for who asks.
#![allow(clippy::disallowed_methods, reason = "shell: writes to standard output and error")]

use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

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
    let fd = match pipe {
        Pipe::Stdout => rustix::stdio::stdout(),
        Pipe::Stderr => rustix::stdio::stderr(),
    };
    if closed.load(Ordering::Relaxed) {
        return;
    }
    if let Err(errno) = write_all(fd, bytes) {
        closed.store(true, Ordering::Relaxed);
        if pipe == Pipe::Stdout && errno != Errno::PIPE {
            TROUBLE.store(errno.raw_os_error(), Ordering::Relaxed);
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

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut until_writable = [PollFd::new(&fd, PollFlags::OUT)];
                match rustix::event::poll(&mut until_writable, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
