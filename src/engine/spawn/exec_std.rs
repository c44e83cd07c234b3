//! Other unixes: starts a program by way of the standard library.
//!
//! Invariant: the way taken is `posix_spawn`. The standard library falls back to `fork` if it has to search a changed
//! PATH itself, so the program has been looked up and has a slash in its name.
#![allow(clippy::disallowed_methods, reason = "shell: starts processes")]

use super::start::Started;
use super::supervisor::Place;
use super::{Launch, MARKER, Stdin};
use rustix::process::Pid;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Starts the program, which is not looked up any more.
pub(super) fn exec(
    program: &Path,
    launch: &Launch<'_>,
    mark: &OsStr,
    place: Option<Place<'_>>,
) -> io::Result<Started> {
    let mut command = Command::new(program);
    command.arg0(&launch.argv[0]).args(&launch.argv[1..]);
    command.env_clear().envs(launch.env.iter().map(|(name, value)| (name, value))).env(MARKER, mark);
    command.current_dir(launch.cwd);
    match launch.stdin {
        Stdin::Null => {
            command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
        }
        Stdin::Terminal => command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit()),
    };
    let mut process = command.spawn()?;
    if let Some(place) = place {
        let table = place.table.try_clone_to_owned().map(File::from);
        // Killed before this, iact leaves a command that nobody ends.
        let _ =
            table.and_then(|table| table.write_all_at(&i64::from(process.id()).to_le_bytes(), place.offset));
    }
    Ok(Started {
        pid: Pid::from_child(&process),
        end: None,
        stdout: process.stdout.take().map(OwnedFd::from),
        stderr: process.stderr.take().map(OwnedFd::from),
    })
}
