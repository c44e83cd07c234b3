//! An open folder, and everything done relative to it.
//!
//! Paths from results and Iactfiles are only ever resolved from an open folder downwards, and never through a
//! symbolic link: whoever swaps a folder for a link meanwhile gets an error, not a write elsewhere.
#![allow(clippy::disallowed_methods, reason = "shell: opens, lists and removes files relative to a folder")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::chaos::{Bug, planted};
use crate::system;

/// What the file system says of a file; if none of it changed, neither did the content (as far as a clock can
/// tell).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// The file system.
    pub dev: u64,
    /// The file in it.
    pub ino: u64,
    /// In bytes.
    pub size: u64,
    /// When its content changed last.
    pub mtime_ns: i64,
    /// When anything about it changed last.
    pub ctime_ns: i64,
    /// Type and permissions.
    pub mode: u32,
}

impl FileFacts {
    /// Whether its owner may execute it.
    pub fn is_executable(&self) -> bool {
        self.mode & 0o100 != 0
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type() == FileType::RegularFile
    }

    /// Whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.file_type() == FileType::Directory
    }

    /// Whether it is a symbolic link.
    pub fn is_link(&self) -> bool {
        self.file_type() == FileType::Symlink
    }

    /// The latest moment at which anything about it changed.
    pub fn moved_ns(&self) -> i64 {
        self.mtime_ns.max(self.ctime_ns)
    }

    /// Whether its times have whole seconds, so that two moments may look the same.
    pub fn is_coarse(&self) -> bool {
        self.mtime_ns % 1_000_000_000 == 0 && self.ctime_ns % 1_000_000_000 == 0
    }

    pub(crate) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.mode as _)
    }
}

#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the fields' types differ between systems"
)]
impl From<&Stat> for FileFacts {
    fn from(stat: &Stat) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
            mode: stat.st_mode as u32,
        }
    }
}

/// The facts of an open file.
pub(crate) fn facts_of(file: impl AsFd) -> io::Result<FileFacts> {
    Ok(FileFacts::from(&rustix::fs::fstat(file)?))
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// For everybody, as far as the umask allows.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);
/// For nobody else.
pub(crate) const PRIVATE: Mode = Mode::from_raw_mode(0o700);

/// An open folder.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Folder {
    /// Opens the folder at `path`, which the caller has chosen and trusts.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, FOLDER, Mode::empty())?))
    }

    /// Opens a folder below this one, through no link; the empty path is this folder itself.
    pub(crate) fn beneath(&self, path: &[u8]) -> io::Result<Self> {
        let path = if path.is_empty() { b"." } else { path };
        if planted(Bug::FollowLinks) {
            return Ok(Self(rustix::fs::openat(self, path, FOLDER, Mode::empty())?));
        }
        if let Some(result) = system::open_beneath(self, path, FOLDER) {
            return Ok(Self(result?));
        }
        let mut folder: Option<Self> = None;
        for name in path.split(|byte| *byte == b'/') {
            folder = Some(folder.as_ref().unwrap_or(self).child(name)?);
        }
        Ok(folder.expect("a split has at least one part"))
    }

    /// Opens the folder `name` right in this one, if it is one and not a link to one.
    pub(crate) fn child(&self, name: &[u8]) -> io::Result<Self> {
        let flags = if planted(Bug::FollowLinks) { FOLDER } else { FOLDER | OFlags::NOFOLLOW };
        Ok(Self(rustix::fs::openat(self, name, flags, Mode::empty())?))
    }

    /// Like [`Folder::beneath`], making the folders that are not there.
    pub(crate) fn beneath_made(&self, path: &[u8]) -> io::Result<Self> {
        match self.beneath(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let mut folder = self.beneath(b"")?;
        for name in path.split(|byte| *byte == b'/') {
            folder = match folder.child(name) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    folder.make(name)?;
                    folder.child(name)?
                }
                result => result?,
            };
        }
        Ok(folder)
    }

    /// Makes the folder `path`; that it is there already is fine.
    pub(crate) fn make(&self, path: &[u8]) -> io::Result<()> {
        self.make_with(path, FOLDER_MODE)
    }

    /// Makes the folder `path` with the given mode; that it is there already is fine.
    pub(crate) fn make_with(&self, path: &[u8], mode: Mode) -> io::Result<()> {
        match rustix::fs::mkdirat(self, path, mode) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The facts of `name` itself, be it a link; `None` if there is nothing.
    pub(crate) fn facts(&self, name: &[u8]) -> io::Result<Option<FileFacts>> {
        match rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileFacts::from(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Opens `name` for reading: never a link, and never waiting for a FIFO's writer.
    pub(crate) fn open_file(&self, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(self, name, flags, Mode::empty())?))
    }

    /// Opens the file at `path` for reading, through no link at all.
    pub(crate) fn open_file_beneath(&self, path: &[u8]) -> io::Result<File> {
        match system::open_beneath(self, path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK) {
            Some(file) => Ok(File::from(file?)),
            None => {
                let (parent, name) = split_path(path);
                self.beneath(parent)?.open_file(name)
            }
        }
    }

    /// Makes the file `name`, which must not be there, for reading and writing.
    pub(crate) fn create_file(&self, name: &[u8], mode: Mode) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(self, name, flags, mode)?))
    }

    /// What is written in the link `name`.
    pub(crate) fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(self, name, Vec::new())?.into_bytes())
    }

    /// Everything in this folder, by name. The type may be unknown.
    pub(crate) fn list(&self) -> io::Result<Vec<(Vec<u8>, FileType)>> {
        let mut entries = Vec::new();
        let mut dir = Dir::read_from(self)?;
        while let Some(entry) = dir.read() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                entries.push((name.to_vec(), entry.file_type()));
            }
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Removes `name` and, if it is a folder, everything in it, as far as it can be removed. Links are removed, never followed.
    pub(crate) fn remove(&self, name: &[u8]) -> io::Result<()> {
        match rustix::fs::unlinkat(self, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // What unlinking a folder says: Linux the first, others the second.
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = match self.child(name) {
            // No folder, so the first answer was the one: the file may not be removed.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::NOTDIR) => {
                return Err(Errno::PERM.into());
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                rustix::fs::chmodat(self, name, PRIVATE, AtFlags::empty())?;
                self.child(name)?
            }
            folder => folder?,
        };
        let remove_all = || {
            let removed = folder.list()?.into_iter().map(|(name, _)| folder.remove(&name));
            removed.fold(Ok(()), io::Result::and)
        };
        if let Err(error) = remove_all() {
            if error.kind() != io::ErrorKind::PermissionDenied {
                return Err(error);
            }
            rustix::fs::fchmod(&folder, PRIVATE)?;
            remove_all()?;
        }
        match rustix::fs::unlinkat(self, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The folder part of a path (empty for none) and the name in it.
pub(crate) fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&[], path),
    }
}

/// Opens the parents of many paths; neighbours share theirs.
pub(crate) struct Parents<'a> {
    root: &'a Folder,
    last: Option<(Vec<u8>, Folder)>,
}

impl<'a> Parents<'a> {
    pub(crate) fn new(root: &'a Folder) -> Self {
        Self { root, last: None }
    }

    /// The next call looks again.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    pub(crate) fn open(&mut self, path: &[u8]) -> io::Result<&Folder> {
        self.get(path, Folder::beneath)
    }

    /// Like [`Parents::open`], making the folders that are not there.
    pub(crate) fn make(&mut self, path: &[u8]) -> io::Result<&Folder> {
        self.get(path, Folder::beneath_made)
    }

    fn get(&mut self, path: &[u8], open: fn(&Folder, &[u8]) -> io::Result<Folder>) -> io::Result<&Folder> {
        if path.is_empty() {
            return Ok(self.root);
        }
        match self.last.take() {
            Some(last) if last.0 == path => self.last = Some(last),
            _ => self.last = Some((path.to_vec(), open(self.root, path)?)),
        }
        Ok(&self.last.as_ref().expect("just set").1)
    }
}
