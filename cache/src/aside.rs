//! What was examined leaves its place, and nothing newer does.
//!
//! Between a look and a rename somebody may put a sound entry in the place of what was looked at. So a file is moved among the
//! files of this process first, where nobody else finds, replaces or removes it; looked at once more; and put back if it is
//! another, or if that cannot be told. Killed in between, this loses an entry that was lost for certain without the second look.
#![allow(clippy::disallowed_methods, reason = "shell: moves and removes the cache's files")]

use std::io;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::chaos::{Bug, planted};
use crate::entry::EntryPath;
use crate::folder::{FileFacts, Folder};
use crate::local::Local;
use crate::lock::Scratch;
use crate::own::make_own;

/// What became of what was to be taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It has the other name.
    Yes,
    /// There was nothing.
    Absent,
    /// There was another, which has its place back.
    Another,
}

/// Moves a file of the cache to a name among the files of this process, if it is the one.
pub(crate) fn take(
    folder: &Folder,
    path: &[u8],
    (scratch, name): (&Folder, &[u8]),
    is_it: &dyn Fn(&FileFacts) -> bool,
) -> io::Result<Taken> {
    match rustix::fs::renameat(folder, path, scratch, name) {
        Err(Errno::NOENT) => return Ok(Taken::Absent),
        moved => moved?,
    }
    let seen = scratch.facts(name);
    if matches!(&seen, Ok(Some(now)) if is_it(now)) {
        return Ok(Taken::Yes);
    }
    put_back(scratch, name, folder, path)?;
    seen.map(|_| Taken::Another)
}

/// Gives what was moved away its place back, unless somebody has filled that meanwhile.
fn put_back(from: &Folder, name: &[u8], folder: &Folder, path: &[u8]) -> io::Result<()> {
    match rustix::fs::linkat(from, name, folder, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::EXIST) => from.remove(name),
        // No second names here: then whoever came meanwhile gives way to what is as good.
        Err(_) => Ok(rustix::fs::renameat(from, name, folder, path)?),
    }
}

impl Local {
    /// Moves what was examined to the quarantine, or removes it when it cannot be kept there; whether it has gone from its
    /// place. If not it will be found damaged again.
    pub(crate) fn put_aside(&self, path: &EntryPath, examined: &FileFacts) -> bool {
        self.put_aside_as(path.as_bytes(), path.name(), examined)
    }

    /// As [`Local::put_aside`], for what has no place in a cache.
    pub(crate) fn put_stray_aside(&self, path: &[u8], examined: &FileFacts) -> bool {
        let name: Vec<u8> = path.iter().map(|byte| if *byte == b'/' { b'-' } else { *byte }).collect();
        self.put_aside_as(path, &name, examined)
    }

    fn put_aside_as(&self, path: &[u8], aside: &[u8], examined: &FileFacts) -> bool {
        let Ok(Some(folder)) = self.folder() else { return false };
        if self.options.read_only || planted(Bug::NoHealing) {
            return false;
        }
        let same = |now: &FileFacts| (now.dev, now.ino) == (examined.dev, examined.ino);
        let is_there = || folder.facts(path).map(|now| now.as_ref().is_some_and(same));
        match is_there() {
            Ok(true) => {}
            gone => return gone.is_ok(),
        }
        // On a full disk there may be none.
        if let Ok(scratch) = self.scratch() {
            let name = scratch.fresh_name();
            match take(folder, path, (scratch.folder(), &name), &same) {
                Ok(Taken::Yes) => return quarantine(folder, &scratch, &name, aside),
                Ok(Taken::Absent | Taken::Another) => return true,
                Err(_) => {}
            }
        }
        match is_there() {
            Ok(true) => folder.remove(path).is_ok(),
            gone => gone.is_ok(),
        }
    }
}

/// Moves what was taken on to the quarantine, if there is a place for it.
fn quarantine(folder: &Folder, scratch: &Scratch, name: &[u8], aside: &[u8]) -> bool {
    let _ = make_own(folder, b"quarantine");
    let aside = [b"quarantine/", aside].concat();
    let rename = || rustix::fs::renameat(scratch.folder(), name, folder, aside.as_slice());
    // A file takes the place of no folder, and a folder that of no file.
    let moved = match rename() {
        Err(Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY | Errno::EXIST) => {
            let _ = folder.remove(&aside);
            rename()
        }
        moved => moved,
    };
    if moved.is_err() {
        let _ = scratch.folder().remove(name);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Two find the same damage, and the quarantine is emptied meanwhile: what was put in its place stays.
    #[test]
    fn nobody_else_finds_what_is_looked_at() {
        let base = tempfile::tempdir().unwrap();
        for name in ["tmp", "quarantine", "cas"] {
            fs::create_dir(base.path().join(name)).unwrap();
        }
        let place = base.path().join("cas/x");
        let folder = Folder::open(base.path()).unwrap();
        let scratch = || Scratch::create_swept(folder.child(b"tmp").unwrap()).unwrap();
        let (one, other) = (scratch(), scratch());
        fs::write(&place, "sound").unwrap();
        let look_again = |_: &FileFacts| {
            assert_eq!(folder.child(b"quarantine").unwrap().list().unwrap(), []);
            fs::write(&place, "newer").unwrap();
            let is_it = |_: &FileFacts| false;
            assert_eq!(take(&folder, b"cas/x", (other.folder(), b"0"), &is_it).unwrap(), Taken::Another);
            false
        };
        assert_eq!(take(&folder, b"cas/x", (one.folder(), b"0"), &look_again).unwrap(), Taken::Another);
        assert_eq!(fs::read_to_string(&place).unwrap(), "newer");
        assert_eq!(take(&folder, b"cas/y", (one.folder(), b"0"), &|_| true).unwrap(), Taken::Absent);
        assert!([one, other].iter().all(|scratch| scratch.folder().list().unwrap().is_empty()));
    }
}
