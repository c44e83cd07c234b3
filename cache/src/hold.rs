//! How those who store and a sweep beside them lose nothing to each other.
//!
//! Whoever stores a result may rely on blobs that are there already, and a sweep may find just those to be of no use to
//! anybody. So:
//!
//! - A blob that is relied on is *held*: from the first look to the end of publishing it has a second name among the files of
//!   the process, and is put back when the first one has gone. Where there are no second names (hard links), it is written anew.
//! - Publishing happens under a lock that all who publish share. A held blob gets another time of change there, a new one is
//!   another file.
//! - A sweep lists the blobs, waits until nobody publishes, and lists the results: a result it does not see relies on no blob as
//!   it was listed.
//! - A sweep moves an entry aside, looks, and puts back what is not as it was listed.
//!
//! Without locks or links (some network file systems) a result may lack a blob in the end: a miss. Refused: builds that wait for
//! a sweep, or a sweep for builds; publishing is over in a moment.
#![allow(clippy::disallowed_methods, reason = "shell: names, times and locks of the cache's files, waits")]

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::aside::{Taken, take};
use crate::batch::rename_into;
use crate::chaos::{Bug, planted};
use crate::digest::Digest;
use crate::entry::EntryPath;
use crate::folder::{FileFacts, Folder, facts_of};
use crate::local::Local;
use crate::lock::Scratch;
use crate::ops;
use crate::stock::now_ns;

/// Nobody publishes for longer, unless he was stopped.
pub(crate) const PUBLISHING: Duration = Duration::from_secs(20);
/// Somebody comes to an end of publishing, unless there is one who does not.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(500);

impl Local {
    /// Gives a sound blob a second name among the files of this process; `None`: it has to be written.
    ///
    /// Content is read once; after that the file's facts vouch for it as long as this process lives.
    pub(crate) fn hold(&self, blob: &Digest) -> Option<(Arc<Scratch>, Vec<u8>)> {
        let folder = self.folder().ok()??;
        let scratch = self.scratch().ok()?;
        let name = scratch.fresh_name();
        let path = EntryPath::blob(&blob.hash);
        let none = AtFlags::empty();
        rustix::fs::linkat(folder, path.as_bytes(), scratch.folder(), name.as_slice(), none).ok()?;
        if planted(Bug::NoHealing) || self.is_sound(scratch.folder(), &name, blob) {
            return Some((scratch, name));
        }
        let _ = scratch.folder().remove(&name);
        None
    }

    /// Whether the file `name` is this blob.
    pub(crate) fn is_sound(&self, folder: &Folder, name: &[u8], blob: &Digest) -> bool {
        let Ok(file) = folder.open_file(name) else { return false };
        let Ok(facts) = facts_of(&file) else { return false };
        if facts.size != blob.size || !facts.is_file() {
            return false;
        }
        let verified = || self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified().get(blob).is_some_and(|known| is_same_file(known, &facts)) {
            return true;
        }
        let sound = ops::digest_file(self.options.digest, &file).is_ok_and(|found| found == *blob);
        if sound {
            verified().insert(*blob, facts);
        }
        sound
    }

    /// Makes sure that a held blob is where it belongs, for a result that is about to be published; whether it had gone.
    pub(crate) fn renew(
        &self,
        folder: &Folder,
        scratch: &Folder,
        (blob, name): (&Digest, &[u8]),
    ) -> io::Result<bool> {
        let path = EntryPath::blob(&blob.hash);
        let now_ns = now_ns();
        let keep = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let now = Timespec { tv_sec: now_ns / 1_000_000_000, tv_nsec: now_ns % 1_000_000_000 };
        let times = Timestamps { last_access: keep, last_modification: now };
        if rustix::fs::utimensat(folder, path.as_bytes(), &times, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            rename_into(folder, scratch, name, &path)?;
            return Ok(true);
        }
        if let Some(known) = self.verified.lock().unwrap_or_else(PoisonError::into_inner).get_mut(blob) {
            known.mtime_ns = now_ns;
        }
        Ok(false)
    }
}

/// Another name changes a file's `ctime`: it says nothing here.
fn is_same_file(known: &FileFacts, now: &FileFacts) -> bool {
    (known.dev, known.ino, known.size, known.mtime_ns) == (now.dev, now.ino, now.size, now.mtime_ns)
}

/// Held while blobs and results get their names. A file system without locks gives none.
pub(crate) fn publishing(folder: &Folder) -> Option<Folder> {
    let lock = folder.beneath(b"").ok()?;
    rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockShared)).ok()?;
    Some(lock)
}

/// Waits until everybody who publishes has come to the end, and keeps others from beginning; `None`: somebody does not end.
pub(crate) fn await_publishing(folder: &Folder, patience: Duration) -> io::Result<Option<Folder>> {
    let lock = folder.beneath(b"")?;
    let began = Instant::now();
    while rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        if began.elapsed() > patience {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(Some(lock))
}

/// Removes an entry that still is as it was listed; whether it has gone. A blob that somebody relies on since is put back, and
/// so is whatever took the place of what was listed.
pub(crate) fn remove_listed(
    folder: &Folder,
    scratch: Option<&Scratch>,
    path: &EntryPath,
    listed: &FileFacts,
) -> io::Result<bool> {
    let is_listed = |now: &FileFacts| is_same_file(listed, now);
    let Some(scratch) = scratch else {
        return match folder.facts(path.as_bytes())? {
            Some(now) if is_listed(&now) => folder.remove(path.as_bytes()).map(|()| true),
            now => Ok(now.is_none()),
        };
    };
    let name = scratch.fresh_name();
    match take(folder, path.as_bytes(), (scratch.folder(), &name), &is_listed)? {
        Taken::Yes => scratch.folder().remove(&name).map(|()| true),
        Taken::Absent => Ok(true),
        Taken::Another => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_took_the_place_of_what_was_listed_stays() {
        let base = tempfile::tempdir().unwrap();
        let path = EntryPath::result(&[7; 32]);
        let place = base.path().join(path.as_str());
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::create_dir(base.path().join("tmp")).unwrap();
        let folder = Folder::open(base.path()).unwrap();
        let scratch = Scratch::create_swept(folder.child(b"tmp").unwrap()).unwrap();
        for round in 0..300 {
            fs::write(&place, "old").unwrap();
            let listed = folder.facts(path.as_bytes()).unwrap().unwrap();
            let new = base.path().join("new");
            fs::write(&new, "newer").unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| remove_listed(&folder, Some(&scratch), &path, &listed).unwrap());
                fs::rename(&new, &place).unwrap();
            });
            assert_eq!(fs::read_to_string(&place).unwrap(), "newer", "round {round}");
            assert!(!remove_listed(&folder, Some(&scratch), &path, &listed).unwrap());
            assert_eq!(scratch.folder().list().unwrap(), []);
        }
    }
}
