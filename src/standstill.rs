//! The proof that nothing moved: what a request depended on when it was last found up to date, so that the same request can be
//! answered again without reading an Iactfile, a graph or a journal.
//!
//! Invariant: a standstill holds only if every file, folder and variable that decided last time shows exactly what it showed
//! then, and each had been at rest for longer than the coarsest clock's tick when it was looked at. It is made only by a
//! run after which everything was up to date. A file that moved, or that was not yet at rest, is
//! named, for who can tell what depends on it (`reach.rs`), and what that came to is written into the proof in its place;
//! anything else is decided the long way. Losing it, or a part of it while it is written, costs time only.
//! Folders stand for their listings: their times move when a name comes or goes. Where a file system does not keep that
//! promise (networks, other programs), none is made.
//! Considered and refused: a daemon that watches; a proof without the journal among the files (a forced run that failed
//! would be forgotten).
//!
//! One file per request, `.iact/still/<digest of the request>`:
//!
//! ```text
//! file    = "iact still 2\n\0\0\0" checksum:[u8;32] body      checksum: BLAKE3 of the body
//! body    = count:u32×4 (paths, absent, variables, actions) tie:u64 (the same in what was made with it)
//!           paths × (stat: dev ino size mtime ctime: u64×5, mode:u32, flags:u32: 1 followed, 2 not yet at rest), by path
//!           texts: for each path, absent path, variable (name, digest), action (name, fingerprint): length:u32 bytes NUL
//! ```
#![allow(clippy::disallowed_methods, reason = "shell: reads and writes the proof, looks at files")]

use crate::content::Stat;
use crate::report::{Finished, Outcome, Report};
use crate::scan::read::stat;
use rustix::fd::BorrowedFd;
use std::ffi::CStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a proof begins with.
pub const MAGIC: &[u8; 16] = b"iact still 2\n\0\0\0";
const HEAD: usize = 16 + 32;
/// Counts and tie.
const FRONT: usize = 24;
const ROW: usize = 48;
const FOLLOW: u32 = 1;
const YOUNG: u32 = 2;

/// How many requests are remembered in a workspace.
const KEPT: usize = 16;

/// Below that many paths a second thread would cost more than it brings.
const WORTH_THREADS: usize = 600;

/// A file or folder as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rested {
    /// Workspace-relative, or absolute.
    pub path: Vec<u8>,
    /// What it showed.
    pub stat: Stat,
    /// Whether a link was followed to it.
    pub follow: bool,
    /// Whether it was touched so lately that it could change again unseen.
    pub young: bool,
}

/// What became of the things a proof is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Everything is as it was.
    Holds,
    /// Files of the workspace, by their number in the proof, that moved or were not yet at rest: few, sorted.
    Moved(Vec<usize>),
    /// Something else is otherwise, or much is.
    Otherwise,
}

/// What a file shows now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Its number in the proof.
    pub row: usize,
    /// What it shows.
    pub stat: Stat,
    /// As [`Rested::young`].
    pub young: bool,
}

/// Everything that a request depended on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standstill {
    /// Files and folders.
    pub rested: Vec<Rested>,
    /// Paths at which nothing was: earlier places on PATH.
    pub absent: Vec<Vec<u8>>,
    /// Variables, with the digest of their value; unset ones with nothing.
    pub variables: Vec<(String, Vec<u8>)>,
    /// Name and fingerprint of every action that was up to date.
    pub actions: Vec<(String, [u8; 32])>,
}

/// Where the proof for a request lies. `request` is all that was asked for, unambiguously.
pub fn place(memory: &Path, request: &[u8]) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    hasher.update(env!("CARGO_PKG_VERSION").as_bytes()).update(&[0]).update(request);
    memory.join("still").join(&hasher.finalize().to_hex()[..32])
}

/// The digest under which a variable's value is remembered.
pub fn variable(value: Option<&std::ffi::OsStr>) -> Vec<u8> {
    value.map(|value| blake3::hash(value.as_bytes()).as_bytes().to_vec()).unwrap_or_default()
}

impl Standstill {
    /// Writes the proof; older ones of other requests go when there are many.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, place: &Path) -> std::io::Result<()> {
        self.write_body(place, &self.encode())
    }

    /// The same, with a number that tells it from all others.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_tied(&self, place: &Path) -> std::io::Result<u64> {
        let mut body = self.encode();
        let tie = blake3::hash(&body);
        body[16..FRONT].copy_from_slice(&tie.as_bytes()[..8]);
        self.write_body(place, &body)?;
        Ok(u64::from_le_bytes(tie.as_bytes()[..8].try_into().expect("eight bytes")))
    }

    fn write_body(&self, place: &Path, body: &[u8]) -> std::io::Result<()> {
        let folder = place.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut temp = tempfile::NamedTempFile::new_in(folder)?;
        temp.write_all(MAGIC)?;
        temp.write_all(blake3::hash(body).as_bytes())?;
        temp.write_all(body)?;
        temp.persist(place).map_err(|error| error.error)?;
        forget_oldest(folder)
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.rested.len() * (ROW + 32));
        for count in [self.rested.len(), self.absent.len(), self.variables.len(), self.actions.len()] {
            body.extend_from_slice(&u32::try_from(count).expect("fewer than 2^32 of anything").to_le_bytes());
        }
        body.extend_from_slice(&[0; 8]);
        for Rested { stat, follow, young, .. } in &self.rested {
            body.extend_from_slice(&row(stat, *follow, *young));
        }
        let mut text = |text: &[u8]| {
            body.extend_from_slice(&u32::try_from(text.len()).expect("a text is below 4 GiB").to_le_bytes());
            body.extend_from_slice(text);
            body.push(0);
        };
        self.rested.iter().for_each(|rested| text(&rested.path));
        self.absent.iter().for_each(|path| text(path));
        for (name, digest) in &self.variables {
            text(name.as_bytes());
            text(digest);
        }
        for (name, fingerprint) in &self.actions {
            text(name.as_bytes());
            text(fingerprint);
        }
        body
    }
}

/// More files than that of a proof that moved or were not at rest are decided on the long way.
pub fn many(paths: usize) -> usize {
    64 + paths / 64
}

fn row(stat: &Stat, follow: bool, young: bool) -> [u8; ROW] {
    let mut row = [0; ROW];
    let numbers =
        [stat.dev, stat.ino, stat.size, stat.mtime_ns.cast_unsigned(), stat.ctime_ns.cast_unsigned()];
    for (to, number) in row.chunks_exact_mut(8).zip(numbers) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    row[40..44].copy_from_slice(&stat.mode.to_le_bytes());
    let flags = (u32::from(follow) * FOLLOW) | (u32::from(young) * YOUNG);
    row[44..].copy_from_slice(&flags.to_le_bytes());
    row
}

/// What is told of an action that had nothing to do.
pub fn up_to_date(name: &str, fingerprint: &[u8]) -> Report {
    let fingerprint = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    Report::Finished(Finished { fingerprint: Some(fingerprint), ..Finished::plain(name, Outcome::UpToDate) })
}

/// Removes the files of the longest unused requests, if there are many.
pub(crate) fn forget_oldest(folder: &Path) -> std::io::Result<()> {
    let mut all: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        all.push((entry.metadata()?.modified()?, entry.path()));
    }
    all.sort_unstable();
    let many = all.len().saturating_sub(KEPT);
    all[..many].iter().try_for_each(|(_, path)| std::fs::remove_file(path))
}

/// A proof that was read, used where it lies.
pub struct Proof {
    bytes: Vec<u8>,
    /// Where each text begins and ends.
    texts: Vec<(u32, u32)>,
    counts: [usize; 4],
}

impl Proof {
    /// Reads a proof; one that is missing, torn or of another version is none.
    pub fn read(place: &Path) -> Option<Self> {
        let bytes = std::fs::read(place).ok()?;
        let body = bytes.get(HEAD..)?;
        if bytes[..16] != *MAGIC || bytes[16..HEAD] != *blake3::hash(body).as_bytes() {
            return None;
        }
        let number = |at: usize| {
            body.get(at..at + 4).map(|four| u32::from_le_bytes(four.try_into().expect("four bytes")))
        };
        let mut counts = [0; 4];
        for (at, count) in counts.iter_mut().enumerate() {
            *count = number(at * 4)? as usize;
        }
        let mut at = FRONT + counts[0].checked_mul(ROW)?;
        let expected = counts[0] + counts[1] + 2 * (counts[2] + counts[3]);
        let mut texts = Vec::with_capacity(expected.min(body.len() / 5));
        for _ in 0..expected {
            let (start, length) = (at + 4, number(at)? as usize);
            at = start.checked_add(length)?.checked_add(1)?;
            (body.get(at - 1) == Some(&0)).then_some(())?;
            texts.push((u32::try_from(start).ok()?, u32::try_from(at - 1).ok()?));
        }
        Some(Self { bytes, texts, counts })
    }

    fn text(&self, index: usize) -> &[u8] {
        let (start, end) = self.texts[index];
        &self.bytes[HEAD..][start as usize..end as usize]
    }

    fn path(&self, index: usize) -> Option<&CStr> {
        let (start, end) = self.texts[index];
        CStr::from_bytes_with_nul(&self.bytes[HEAD..][start as usize..=end as usize]).ok()
    }

    fn flags(&self, index: usize) -> u32 {
        let at = HEAD + FRONT + index * ROW + 44;
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    /// What a file showed.
    pub fn stat(&self, index: usize) -> Stat {
        let at = HEAD + FRONT + index * ROW;
        let row = &self.bytes[at..at + ROW];
        let number = |at: usize| u64::from_le_bytes(row[at * 8..at * 8 + 8].try_into().expect("eight bytes"));
        Stat {
            dev: number(0),
            ino: number(1),
            size: number(2),
            mtime_ns: number(3).cast_signed(),
            ctime_ns: number(4).cast_signed(),
            mode: u32::from_le_bytes(row[40..44].try_into().expect("four bytes")),
        }
    }

    /// Whether a link was followed to a file.
    pub fn follows(&self, index: usize) -> bool {
        self.flags(index) & FOLLOW > 0
    }

    /// What tells this proof from all others.
    pub fn tie(&self) -> u64 {
        u64::from_le_bytes(self.bytes[HEAD + 16..HEAD + FRONT].try_into().expect("eight bytes"))
    }

    /// The number of a path that no link was followed to.
    pub fn find(&self, path: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.counts[0]);
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.text(middle).cmp(path).then_with(|| self.follows(middle).cmp(&false)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// What became of everything. `variable` gives the digest of a variable as the caller has it.
    pub fn look(&self, root: BorrowedFd<'_>, variable: impl Fn(&str) -> Vec<u8>) -> Look {
        let [paths, absent, variables, _] = self.counts;
        let first = paths + absent;
        let same_variables = (0..variables).all(|at| {
            let name = std::str::from_utf8(self.text(first + 2 * at));
            name.is_ok_and(|name| variable(name) == self.text(first + 2 * at + 1))
        });
        let still_absent = (paths..first)
            .all(|at| self.path(at).is_some_and(|path| matches!(stat(root, path, true), Ok(None))));
        let mut outside = (0..paths).filter(|&at| self.is_outside(at));
        if !same_variables || !still_absent || !outside.all(|at| self.is_same(root, at)) {
            return Look::Otherwise;
        }
        let moved = self.moved(root);
        if moved.len() > many(self.counts[0]) {
            Look::Otherwise
        } else if moved.is_empty() {
            Look::Holds
        } else {
            Look::Moved(moved)
        }
    }

    /// Whether the path lies outside the workspace, or may: an Iactfile, a tool. Whatever becomes of those, everything has
    /// to be decided anew.
    fn is_outside(&self, index: usize) -> bool {
        self.text(index).first() == Some(&b'/')
    }

    /// Whether a file shows what it showed when it was at rest.
    fn is_same(&self, root: BorrowedFd<'_>, index: usize) -> bool {
        let flags = self.flags(index);
        let shows = |path| stat(root, path, flags & FOLLOW > 0);
        let is_as_it_was = |path| matches!(shows(path), Ok(Some(now)) if now == self.stat(index));
        flags & YOUNG == 0 && self.path(index).is_some_and(is_as_it_was)
    }

    /// Files of the workspace that moved, or were not yet at rest, sorted; some of them if there are many.
    fn moved(&self, root: BorrowedFd<'_>) -> Vec<usize> {
        let paths = self.counts[0];
        let many = many(paths);
        let same = |at: usize| self.is_outside(at) || self.is_same(root, at);
        if paths < WORTH_THREADS {
            return (0..paths).filter(|&at| !same(at)).collect();
        }
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4);
        let all = Mutex::new(Vec::new());
        let count = AtomicUsize::new(0);
        let part = paths.div_ceil(threads);
        let look = |thread: usize| {
            let mut moved = Vec::new();
            for at in thread * part..((thread + 1) * part).min(paths) {
                if count.load(Ordering::Relaxed) > many {
                    break;
                }
                if !same(at) {
                    count.fetch_add(1, Ordering::Relaxed);
                    moved.push(at);
                }
            }
            all.lock().unwrap_or_else(PoisonError::into_inner).extend(moved);
        };
        std::thread::scope(|scope| {
            let look = &look;
            (1..threads).for_each(|thread| drop(scope.spawn(move || look(thread))));
            look(0);
        });
        let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        all.sort_unstable();
        all
    }

    /// Writes what became of files and actions into the proof where it lies.
    ///
    /// # Errors
    /// What the file system says. A proof of which only a part was written is none.
    pub fn renew(
        mut self,
        place: &Path,
        rows: &[Renewed],
        fingerprints: &[(usize, [u8; 32])],
    ) -> std::io::Result<()> {
        let mut places: Vec<std::ops::Range<usize>> = Vec::new();
        for Renewed { row: index, stat, young } in rows {
            let at = HEAD + FRONT + index * ROW;
            let bytes = row(stat, self.follows(*index), *young);
            self.bytes[at..at + ROW].copy_from_slice(&bytes);
            places.push(at..at + ROW);
        }
        let first = self.counts[0] + self.counts[1] + 2 * self.counts[2];
        for (action, fingerprint) in fingerprints {
            let (start, end) = self.texts[first + 2 * action + 1];
            let place = HEAD + start as usize..HEAD + end as usize;
            self.bytes[place.clone()].copy_from_slice(fingerprint);
            places.push(place);
        }
        let checksum = blake3::hash(&self.bytes[HEAD..]);
        self.bytes[16..HEAD].copy_from_slice(checksum.as_bytes());
        places.push(16..HEAD);
        let file = std::fs::File::options().write(true).open(place)?;
        places
            .into_iter()
            .try_for_each(|place| file.write_all_at(&self.bytes[place.clone()], place.start as u64))
    }

    /// How many actions were up to date.
    pub fn action_count(&self) -> usize {
        self.counts[3]
    }

    /// Name and fingerprint of every action.
    pub fn actions(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let first = self.counts[0] + self.counts[1] + 2 * self.counts[2];
        (0..self.counts[3]).map(move |at| {
            let name = std::str::from_utf8(self.text(first + 2 * at)).unwrap_or_default();
            (name, self.text(first + 2 * at + 1))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn standstill(root: &Path) -> Standstill {
        let rested = |path: &str| {
            let facts = rustix::fs::lstat(root.join(path)).expect("it is there");
            Rested { path: path.as_bytes().to_vec(), stat: Stat::from(&facts), follow: false, young: false }
        };
        Standstill {
            rested: vec![rested("a"), rested("d"), rested("d/b")],
            absent: vec![b"nothing".to_vec()],
            variables: vec![("GIVEN".into(), variable(Some("1".as_ref()))), ("UNSET".into(), Vec::new())],
            actions: vec![("t".into(), [7; 32])],
        }
    }

    fn workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("d")).expect("it can be made");
        for file in ["a", "d/b"] {
            std::fs::write(folder.path().join(file), file).expect("it can be written");
        }
        folder
    }

    fn holds(folder: &Path, given: Option<&str>) -> bool {
        let root = std::fs::File::open(folder).expect("it is there");
        let proof = Proof::read(&place(&folder.join(".iact"), b"request"));
        proof.is_some_and(|proof| {
            let look = proof.look(root.as_fd(), |name| match name {
                "GIVEN" => variable(given.map(AsRef::as_ref)),
                _ => variable(None),
            });
            look == Look::Holds
        })
    }

    /// What happens after the proof was made.
    type Move = fn(&Path);

    #[test]
    fn it_holds_until_anything_moves() {
        let moves: [(&str, Move); 7] = [
            ("an edit", |root| std::fs::write(root.join("a"), "z").expect("written")),
            ("an edit of equal length, its time put back", |root| {
                let times = std::fs::metadata(root.join("a")).expect("there").modified().expect("kept");
                std::fs::write(root.join("a"), "b").expect("written");
                let file = std::fs::File::options().write(true).open(root.join("a")).expect("there");
                file.set_modified(times).expect("set");
            }),
            ("a new name in a folder", |root| std::fs::write(root.join("d/new"), "").expect("written")),
            ("a name gone", |root| std::fs::remove_file(root.join("d/b")).expect("removed")),
            ("something at an absent path", |root| {
                std::fs::write(root.join("nothing"), "").expect("written")
            }),
            ("a file replaced by its equal", |root| {
                std::fs::copy(root.join("a"), root.join("a2")).expect("copied");
                std::fs::rename(root.join("a2"), root.join("a")).expect("renamed");
            }),
            ("another mode", |root| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(root.join("a"), mode).expect("set");
            }),
        ];
        for (name, change) in moves {
            let folder = workspace();
            let root = folder.path();
            standstill(root).write(&place(&root.join(".iact"), b"request")).expect("written");
            assert!(holds(root, Some("1")), "before {name}");
            assert!(!holds(root, Some("2")) && !holds(root, None), "another value of a variable");
            change(root);
            assert!(!holds(root, Some("1")), "{name}");
        }
    }

    #[test]
    fn a_proof_cut_or_flipped_anywhere_is_none() {
        let folder = workspace();
        let root = folder.path();
        let place = place(&root.join(".iact"), b"request");
        standstill(root).write(&place).expect("written");
        let bytes = std::fs::read(&place).expect("there");
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            for damaged in [&bytes[..at], &flipped[..]] {
                std::fs::write(&place, damaged).expect("written");
                assert!(!holds(root, Some("1")), "byte {at}");
            }
        }
    }

    #[test]
    fn only_so_many_requests_are_remembered() {
        let folder = workspace();
        let root = folder.path();
        for request in 0..40_u32 {
            let place = place(&root.join(".iact"), &request.to_le_bytes());
            standstill(root).write(&place).expect("written");
        }
        assert_eq!(std::fs::read_dir(root.join(".iact/still")).expect("there").count(), KEPT);
    }

    #[test]
    fn what_was_up_to_date_comes_back() {
        let folder = workspace();
        let place = place(&folder.path().join(".iact"), b"request");
        standstill(folder.path()).write(&place).expect("written");
        let proof = Proof::read(&place).expect("it was just written");
        assert_eq!(proof.actions().collect::<Vec<_>>(), [("t", &[7; 32][..])]);
    }
}
