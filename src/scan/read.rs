//! What is at a path now: its stat, and its content read and digested.
//!
//! Invariant: content is that of a file which did not move while it was read; what cannot be read is a value
//! with a reason, never a guess. A FIFO, a socket or a device is never opened for long (`O_NONBLOCK`, then
//! `fstat`). Files are read in pieces and never mapped: a file that shrinks under a mapping is a signal,
//! under a read an end. A large file is read by several threads only while no other is read.
#![allow(clippy::disallowed_methods, reason = "shell: reads files")]

use crate::content::{Content, ContentKind, Stat};
use iact_cache::{Digest, DigestFunction, digest_open, threads_worth};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Why the content of a path cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A FIFO, a socket or a device.
    Special(&'static str),
    /// It changed each time it was read.
    Moving,
    /// What the system says.
    System(Errno),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Special(what) => {
                write!(f, "is {what}, which has no content to digest; exclude it with `!`")
            }
            Self::Moving => f.write_str("changes while it is being read"),
            Self::System(errno) => write!(f, "cannot be read: {errno}"),
        }
    }
}

/// A link's own facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it says.
    pub text: Vec<u8>,
    /// The regular file that reading through it ends at.
    pub through: Option<(Stat, Content)>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Of the path itself, links not followed.
    pub stat: Stat,
    /// What is there.
    pub content: Content,
    /// If it is a link.
    pub link: Option<Box<Link>>,
}

/// What a look at a path showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing is there.
    Absent,
    /// Something with a content.
    Present(Present),
    /// Something whose content cannot be told.
    Trouble(Trouble),
}

impl Seen {
    /// The content, if there is one.
    pub fn content(&self) -> Option<Content> {
        match self {
            Self::Present(present) => Some(present.content),
            _ => None,
        }
    }
}

/// The stat of a path; `None` if nothing is there.
///
/// # Errors
/// What the system says.
pub fn stat(root: BorrowedFd<'_>, path: &CStr, follow: bool) -> Result<Option<Stat>, Errno> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    match rustix::fs::statat(root, path, flags) {
        Ok(stat) => Ok(Some(Stat::from(&stat))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Looks at paths below a folder.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The folder.
    pub root: BorrowedFd<'a>,
    /// What contents are digested with.
    pub function: DigestFunction,
    /// How many threads may read one file.
    pub threads: usize,
}

impl Reader<'_> {
    /// Looks at a path. `known` vouches for the content of a regular file that shows this stat.
    pub fn look(&self, path: &CStr, known: impl Fn(&Stat) -> Option<Content>) -> Seen {
        self.stat(path).map_or_else(|seen| seen, |found| self.look_at(path, found, known))
    }

    /// The same, but a file that so many threads are worth reading is not read: `None`.
    pub fn look_unless_worth(
        &self,
        threads: usize,
        path: &CStr,
        known: impl Fn(&Stat) -> Option<Content>,
    ) -> Option<Seen> {
        let is_worth = |found: &Stat| found.is_file() && threads_worth(self.function, found.size) >= threads;
        match self.stat(path) {
            Ok(found) if is_worth(&found) && known(&found).is_none() => None,
            Ok(found) => Some(self.look_at(path, found, known)),
            Err(seen) => Some(seen),
        }
    }

    /// Of the path itself; or what was seen if there is none.
    fn stat(&self, path: &CStr) -> Result<Stat, Seen> {
        match stat(self.root, path, false) {
            Ok(found) => found.ok_or(Seen::Absent),
            Err(errno) => Err(Seen::Trouble(Trouble::System(errno))),
        }
    }

    fn look_at(&self, path: &CStr, found: Stat, known: impl Fn(&Stat) -> Option<Content>) -> Seen {
        if found.is_file() {
            if let Some(content) = known(&found) {
                return Seen::Present(Present { stat: found, content, link: None });
            }
            return match self.read_file(path) {
                Ok(None) => Seen::Absent,
                Ok(Some((stat, content))) => Seen::Present(Present { stat, content, link: None }),
                Err(trouble) => Seen::Trouble(trouble),
            };
        }
        if found.is_link() {
            return self.look_link(path, found, known).unwrap_or_else(Seen::Trouble);
        }
        if found.is_folder() {
            let content = Content { kind: ContentKind::Folder, digest: Digest { hash: [0; 32], size: 0 } };
            return Seen::Present(Present { stat: found, content, link: None });
        }
        Seen::Trouble(Trouble::Special(special(found.mode)))
    }

    fn look_link(
        &self,
        path: &CStr,
        found: Stat,
        known: impl Fn(&Stat) -> Option<Content>,
    ) -> Result<Seen, Trouble> {
        let text = match rustix::fs::readlinkat(self.root, path, Vec::new()) {
            Ok(text) => text.into_bytes(),
            Err(Errno::NOENT) => return Ok(Seen::Absent),
            Err(errno) => return Err(Trouble::System(errno)),
        };
        let through = match stat(self.root, path, true) {
            Ok(Some(end)) if end.is_file() => match known(&end) {
                Some(content) => Some((end, content)),
                None => self.read_file(path)?,
            },
            // Nothing to read, a loop of links, or a way that may not be gone: what it says is all there is to it.
            Ok(_) | Err(Errno::LOOP | Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG) => None,
            Err(errno) => return Err(Trouble::System(errno)),
        };
        let content = Content::link(self.function, &text, through.map(|(_, content)| content));
        Ok(Seen::Present(Present { stat: found, content, link: Some(Box::new(Link { text, through })) }))
    }

    /// Reads a regular file, links followed; again if it moved meanwhile.
    fn read_file(&self, path: &CStr) -> Result<Option<(Stat, Content)>, Trouble> {
        for _ in 0..TRIES {
            let file = match open_to_read(self.root, path) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(Trouble::System(errno)),
            };
            let facts = || rustix::fs::fstat(&file).map(|stat| Stat::from(&stat)).map_err(Trouble::System);
            let before = facts()?;
            if !before.is_file() {
                return Err(Trouble::Special(special(before.mode)));
            }
            // What is appended meanwhile shows in the facts.
            let digest = digest_open(self.function, &file, before.size, self.threads)
                .map_err(|error| Trouble::System(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
            if facts()? == before {
                return Ok(Some((before, Content::file(digest, before.is_executable()))));
            }
        }
        Err(Trouble::Moving)
    }
}

const TRIES: u32 = 3;

/// Opens for reading, links followed. A FIFO's writer is not waited for; who has a lease on a regular file is, as the kernel
/// bounds that (`/proc/sys/fs/lease-break-time`).
fn open_to_read(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let is_file = || matches!(stat(root, path, true), Ok(Some(found)) if found.is_file());
    match rustix::fs::openat(root, path, flags | OFlags::NONBLOCK, Mode::empty()) {
        Err(Errno::WOULDBLOCK) if is_file() => rustix::fs::openat(root, path, flags, Mode::empty()),
        opened => opened,
    }
}

/// The bytes of a regular file that has no more than `most`; nothing else is waited for.
///
/// # Errors
/// What the system says; that it is no such file.
pub fn small_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mode = file.metadata()?.mode();
    if mode & 0o170_000 != 0o100_000 {
        return Err(io::Error::other(format!("it is {}", special(mode))));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

fn special(mode: u32) -> &'static str {
    match mode & 0o170_000 {
        0o010_000 => "a FIFO",
        0o140_000 => "a socket",
        0o020_000 | 0o060_000 => "a device",
        0o040_000 => "a folder",
        _ => "no regular file",
    }
}
