//! The end of a child as a descriptor, where the system has no such thing: a pipe that a thread closes.
#![allow(clippy::disallowed_methods, reason = "shell: threads")]
#![allow(unsafe_code, reason = "waitid(WNOWAIT) looks at a child without collecting it")]

use rustix::process::Pid;
use std::io;
use std::os::fd::OwnedFd;

/// Becomes readable when this child ends, and leaves it to be collected.
pub(super) fn end_pipe(child: Pid) -> io::Result<OwnedFd> {
    let (reader, writer) = io::pipe()?;
    std::thread::Builder::new().name("child".into()).spawn(move || {
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        let id = libc::id_t::try_from(child.as_raw_pid()).expect("a process id is positive");
        loop {
            // SAFETY: `info` is valid for writes for the whole call; the child stays uncollected.
            let waited =
                unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) };
            if waited == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
        drop(writer);
    })?;
    Ok(reader.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    #[test]
    fn it_becomes_readable_when_the_child_ends_and_not_before() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let end = end_pipe(Pid::from_child(&child)).unwrap();
        let is_readable = |ms: i64| {
            let wait = rustix::time::Timespec { tv_sec: ms / 1_000, tv_nsec: ms % 1_000 * 1_000_000 };
            poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&wait)).unwrap() > 0
        };
        assert!(!is_readable(50));
        drop(child.stdin.take());
        assert!(is_readable(20_000));
        assert!(child.wait().unwrap().success());
    }
}
