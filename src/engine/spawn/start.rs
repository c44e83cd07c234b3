//! Starts a process: finds the program, waits for one that is still being written, says what is at fault.
//!
//! A name without a slash is looked up here, in the action's own PATH. A name with a slash is left as it was
//! written: a script sees it as `$0`, and an absolute one would leak the workspace's place into what it
//! writes.
#![allow(clippy::disallowed_methods, reason = "shell: starts processes")]

use super::exec::exec;
use super::supervisor::Place;
use super::{Launch, NotStarted};
use rustix::io::Errno;
use rustix::process::Pid;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A program that was just written may be held open for writing by a child of another thread until that child
/// reaches its own `exec`; the waits double from this one.
const BUSY_WAIT: Duration = Duration::from_micros(500);
const BUSY_TRIES: u32 = 9;

/// A process that runs its program.
pub(super) struct Started {
    /// Its number.
    pub(super) pid: Pid,
    /// Readable when it ends, if the system gave that with it.
    pub(super) end: Option<OwnedFd>,
    /// What it writes, if that is captured.
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// The process of this launch, whose group is in its place before it runs its program, or right after.
pub(super) fn start(
    launch: &Launch<'_>,
    mark: &OsStr,
    place: Option<Place<'_>>,
) -> Result<Started, NotStarted> {
    let program = find(launch)?;
    let mut wait = BUSY_WAIT;
    for _ in 0..BUSY_TRIES {
        match exec(&program, launch, mark, place) {
            Err(error) if error.raw_os_error() == Some(Errno::TXTBSY.raw_os_error()) => {
                std::thread::sleep(wait);
                wait *= 2;
            }
            other => return other.map_err(|error| explain(launch, program, error)),
        }
    }
    exec(&program, launch, mark, place).map_err(|error| explain(launch, program, error))
}

/// The system reports one number for three possible culprits: the folder, the program, its interpreter.
fn explain(launch: &Launch<'_>, program: PathBuf, error: io::Error) -> NotStarted {
    if !launch.cwd.is_dir() {
        let error = launch.cwd.metadata().err().unwrap_or_else(|| io::ErrorKind::NotADirectory.into());
        return NotStarted { path: launch.cwd.to_owned(), error };
    }
    if error.kind() == io::ErrorKind::NotFound && launch.cwd.join(&program).exists() {
        let error = io::Error::new(io::ErrorKind::NotFound, "the interpreter it names does not exist");
        return NotStarted { path: program, error };
    }
    NotStarted { path: program, error }
}

fn find(launch: &Launch<'_>) -> Result<PathBuf, NotStarted> {
    let name = launch.argv.first().map_or(OsStr::new(""), OsString::as_os_str);
    let missing = |error| NotStarted { path: PathBuf::from(name), error };
    if name.is_empty() {
        return Err(missing(io::Error::new(io::ErrorKind::InvalidInput, "the command is empty")));
    }
    if name.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(name));
    }
    let path =
        launch.env.iter().rev().find(|(name, _)| name == "PATH").map_or(OsStr::new(""), |(_, value)| value);
    search(name, path, launch.cwd)
        .ok_or_else(|| missing(io::Error::new(io::ErrorKind::NotFound, "not found in the action's PATH")))
}

/// The first executable file of that name in the folders of `path`; relative ones start at `cwd`.
fn search(name: &OsStr, path: &OsStr, cwd: &Path) -> Option<PathBuf> {
    path.as_bytes().split(|byte| *byte == b':').find_map(|folder| {
        let folder = if folder.is_empty() { OsStr::new(".") } else { OsStr::from_bytes(folder) };
        let candidate = Path::new(folder).join(name);
        let found =
            if candidate.is_absolute() { candidate.metadata() } else { cwd.join(&candidate).metadata() };
        found.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0).then_some(candidate)
    })
}
