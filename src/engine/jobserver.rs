//! The GNU make jobserver: `make -j`, cargo and ninja below an action share iact's `-j`, and iact below a
//! make shares that make's.
//!
//! A FIFO in a private folder holds one byte per job. Every running action holds one of them, the implicit
//! one of the program it starts; a make inside it takes more as they are free, and puts them back. Who is
//! killed takes its tokens along, so they are put right whenever no action runs.
//!
//! Two ways to tell a make where it is: `fifo:PATH` (GNU make 4.4, ninja 1.13, cargo) and two inherited
//! descriptors, the only one older makes know; those refuse to run at all with the other. The descriptors are
//! blocking and their own opening of the FIFO: a make older than 4.4 waits in `read`, and iact must never.
#![allow(clippy::disallowed_methods, reason = "shell: makes the FIFO")]

use rustix::fs::{FileType, Mode, OFlags};
use std::ffi::{CString, OsStr, OsString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// How a make is told where the jobserver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// By the path of the FIFO.
    Fifo,
    /// By two inherited descriptors.
    Descriptors,
}

impl Style {
    /// What the make understands that says this of itself for `make --version`; nothing if there is no make.
    pub fn of_make(version_text: &str) -> Self {
        let version = version_text.lines().next().and_then(|line| line.strip_prefix("GNU Make "));
        let mut numbers =
            version.unwrap_or("").split('.').map(|part| part.trim().parse::<u32>().unwrap_or(0));
        match (version, numbers.next(), numbers.next()) {
            (Some(_), Some(major), minor) if (major, minor.unwrap_or(0)) < (4, 4) => Self::Descriptors,
            _ => Self::Fifo,
        }
    }
}

/// Most tokens there can be: a FIFO must hold them all without blocking.
const MAX_JOBS: u32 = 4096;
const TOKEN: u8 = b'+';

/// The tokens of a run.
#[derive(Debug)]
pub struct Jobserver {
    /// Never blocks.
    source: OwnedFd,
    makeflags: OsString,
    role: Role,
}

/// A folder that goes with its owner.
#[derive(Debug)]
struct Private(PathBuf);

impl Private {
    fn below(place: &Path, announce: &mut impl FnMut(&Path)) -> io::Result<Self> {
        let random = RandomState::new().build_hasher().finish();
        let folder = place.join(format!("iact-jobs-{}-{random:016x}", std::process::id()));
        announce(&folder);
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug)]
enum Role {
    Server {
        _folder: Private,
        /// Inherited by programs that cannot open the FIFO themselves.
        _descriptors: Option<(OwnedFd, OwnedFd)>,
        jobs: u32,
        /// Tokens that could not be put back into the FIFO: the next of our own actions take them.
        owed: AtomicU32,
        /// Tokens that our own actions have.
        taken: Mutex<u32>,
    },
    /// iact itself runs below a make. A token goes back as the byte it came as, and the first one is
    /// implicit.
    Client { sink: OwnedFd, held: Mutex<Held> },
}

#[derive(Debug, Default)]
struct Held {
    implicit: bool,
    tokens: Vec<u8>,
}

impl Jobserver {
    /// A jobserver with this many tokens. `announce` hears of a folder before there is one: from then on somebody has
    /// to remove it should iact be killed.
    ///
    /// # Errors
    /// The FIFO cannot be made or opened.
    pub fn new(jobs: u32, style: Style, mut announce: impl FnMut(&Path)) -> io::Result<Self> {
        let folder = Private::below(&std::env::temp_dir(), &mut announce)
            .or_else(|why| Private::below(Path::new("/tmp"), &mut announce).map_err(|_| why))?;
        let path = folder.0.join("tokens");
        make_fifo(&path)?;
        let source =
            rustix::fs::open(&path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let jobs = jobs.clamp(1, MAX_JOBS);
        let mut makeflags = OsString::from(format!(" -j{jobs} --jobserver-auth="));
        let descriptors = match style {
            Style::Fifo => {
                makeflags.push("fifo:");
                makeflags.push(&path);
                None
            }
            Style::Descriptors => {
                let reader = rustix::fs::open(&path, OFlags::RDONLY, Mode::empty())?;
                let writer = rustix::fs::open(&path, OFlags::WRONLY, Mode::empty())?;
                makeflags.push(format!("{},{}", reader.as_raw_fd(), writer.as_raw_fd()));
                Some((reader, writer))
            }
        };
        put(&source, jobs)?;
        Ok(Self {
            source,
            makeflags,
            role: Role::Server {
                _folder: folder,
                _descriptors: descriptors,
                jobs,
                owed: AtomicU32::new(0),
                taken: Mutex::default(),
            },
        })
    }

    /// The jobserver that this `MAKEFLAGS` names, if it does and the jobserver can be reached (a make closes
    /// it for recipes that do not look like a make).
    pub fn join(makeflags: &OsStr) -> Option<Self> {
        let words = makeflags.as_bytes().split(u8::is_ascii_whitespace);
        let mut named = words.filter_map(|word| {
            word.strip_prefix(b"--jobserver-auth=").or_else(|| word.strip_prefix(b"--jobserver-fds="))
        });
        let auth = named.next_back()?;
        let (source, sink) = match auth.strip_prefix(b"fifo:") {
            Some(path) => {
                let path = OsStr::from_bytes(path);
                (open_pipe(path, OFlags::RDWR)?, open_pipe(path, OFlags::WRONLY)?)
            }
            None => {
                // Opened anew: whether reading blocks is a property of an opening that others share.
                let (reader, writer) = std::str::from_utf8(auth).ok()?.split_once(',')?;
                let opened = |number: &str| format!("/dev/fd/{}", number.parse::<u16>().unwrap_or(u16::MAX));
                (
                    open_pipe(opened(reader).as_ref(), OFlags::RDONLY)?,
                    open_pipe(opened(writer).as_ref(), OFlags::WRONLY)?,
                )
            }
        };
        Some(Self {
            source,
            makeflags: makeflags.to_owned(),
            role: Role::Client { sink, held: Mutex::default() },
        })
    }

    /// Takes a token if there is one. None: wait until [`Jobserver::readable`] is, and try again.
    pub fn try_acquire(&self) -> bool {
        if let Role::Client { held, .. } = &self.role {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            if !held.implicit {
                held.implicit = true;
                return true;
            }
            let mut token = [0];
            let got = matches!(rustix::io::read(&self.source, &mut token), Ok(1));
            held.tokens.extend(token.iter().filter(|_| got));
            return got;
        }
        let Role::Server { owed, taken, .. } = &self.role else { return false };
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_owed =
            owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| owed.checked_sub(1)).is_ok();
        let got = is_owed || matches!(rustix::io::read(&self.source, &mut [0]), Ok(1));
        *taken += u32::from(got);
        got
    }

    /// Puts a token back.
    pub fn release(&self) {
        // The pipe has room for every token there is, so this does not block.
        let _ = match &self.role {
            Role::Server { owed, taken, .. } => {
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                *taken = taken.saturating_sub(1);
                put(&self.source, 1).inspect_err(|_| {
                    owed.fetch_add(1, Ordering::Relaxed);
                })
            }
            Role::Client { sink, held } => {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                match held.tokens.pop() {
                    Some(token) => rustix::io::write(sink, &[token]).map(drop).map_err(io::Error::from),
                    None => {
                        held.implicit = false;
                        Ok(())
                    }
                }
            }
        };
    }

    /// Readable when there may be a token.
    pub fn readable(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    /// While no action has a token: makes good what killed processes took with them or put in too much, and what processes
    /// that were left behind keep.
    pub fn refill_when_idle(&self) {
        let Role::Server { jobs, owed, taken, .. } = &self.role else { return };
        let taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if *taken > 0 {
            return;
        }
        let jobs = *jobs;
        owed.store(0, Ordering::Relaxed);
        if rustix::io::ioctl_fionread(&self.source).is_ok_and(|tokens| tokens == u64::from(jobs)) {
            return;
        }
        let mut drain = [0; 256];
        while matches!(rustix::io::read(&self.source, &mut drain), Ok(1..)) {}
        if put(&self.source, jobs).is_err() {
            owed.store(jobs, Ordering::Relaxed);
        }
    }

    /// The value of `MAKEFLAGS` for an action.
    pub fn makeflags(&self) -> &OsStr {
        &self.makeflags
    }
}

impl Drop for Jobserver {
    fn drop(&mut self) {
        if let Role::Client { sink, held } = &self.role {
            let held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = rustix::io::write(sink, &held.tokens);
        }
    }
}

#[allow(unsafe_code, reason = "rustix makes no FIFO on every unix")]
fn make_fifo(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` is a string ended by NUL that lives for the whole call.
    if unsafe { libc::mkfifo(path.as_ptr(), 0o600) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn open_pipe(path: &OsStr, how: OFlags) -> Option<OwnedFd> {
    let pipe = rustix::fs::open(path, how | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let is_pipe = FileType::from_raw_mode(rustix::fs::fstat(&pipe).ok()?.st_mode) == FileType::Fifo;
    is_pipe.then_some(pipe)
}

fn put(sink: &OwnedFd, tokens: u32) -> io::Result<()> {
    let mut left = vec![TOKEN; tokens as usize];
    while !left.is_empty() {
        let written = rustix::io::write(sink, &left)?;
        left.truncate(left.len() - written);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
