//! Reading folders: which files a list of patterns means, and what stands below a declared folder.
//!
//! Invariant: a folder is read at most once in a run however many patterns look into it; symbolic links to
//! folders are links, never entered; `.git`, `.iact`, what a killed restore left and a cache of iact's are nobody's input. `.gitignore` files count from the
//! workspace's root down, with or without a repository; a user's global excludes never do. Refused:
//! `ignore`'s own walker, which would read the same folder once for every target that looks into it.
#![allow(clippy::disallowed_methods, reason = "shell: reads folders and .gitignore files")]

use super::patterns::{Patterns, Root};
use crate::content::Stat;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a name in a folder stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A folder.
    Folder,
    /// A FIFO, a socket, a device.
    Special,
}

/// What could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// A folder, a `.gitignore` file, a literal path.
    pub path: String,
    /// What the system says.
    pub why: Errno,
}

#[derive(Clone)]
struct Listing {
    /// Name, what it is, whether a `.gitignore` names it; in the order of names.
    entries: Vec<(Vec<u8>, Entry, bool)>,
    /// The `.gitignore` files that count below here, innermost last.
    ignores: Arc<Vec<Gitignore>>,
}

/// Folders as they were read, kept for a later look.
#[derive(Default)]
pub struct Listings(FxHashMap<Vec<u8>, Arc<Listing>>);

/// Folders read so far in this run.
pub struct Folders<'a> {
    root: BorrowedFd<'a>,
    gitignore: bool,
    /// Whether folders may be read on rayon's threads: never from inside an action.
    parallel: bool,
    read: Mutex<FxHashMap<Vec<u8>, Arc<Listing>>>,
    outputs: &'a Outputs,
    visited: Visited,
}

/// Folders that were read, and `.gitignore` files, with what they showed just before; `None`: nothing was there.
pub type Visited = Mutex<Vec<(Vec<u8>, Option<Stat>)>>;

/// Every path that some target declares as output: wildcards do not see them.
#[derive(Debug, Default)]
pub struct Outputs {
    sorted: Vec<String>,
}

impl Outputs {
    /// From all declared paths.
    pub fn new(mut paths: Vec<String>) -> Self {
        paths.sort_unstable();
        paths.dedup();
        Self { sorted: paths }
    }

    /// Whether the path is a declared output or lies below one.
    pub fn covers(&self, path: &str) -> bool {
        let mut prefix = path;
        loop {
            if self.sorted.binary_search_by(|output| output.as_str().cmp(prefix)).is_ok() {
                return true;
            }
            match prefix.rfind('/') {
                Some(slash) => prefix = &prefix[..slash],
                None => return false,
            }
        }
    }
}

/// A file that patterns mean.
pub type Found = (Vec<u8>, Entry);

impl<'a> Folders<'a> {
    /// Nothing read yet. `root` is the workspace's folder.
    pub fn new(root: BorrowedFd<'a>, gitignore: bool, outputs: &'a Outputs) -> Self {
        Self { root, gitignore, parallel: true, read: Mutex::default(), outputs, visited: Visited::default() }
    }

    /// The same, reading on the calling thread only, as an action must.
    #[must_use]
    pub fn on_this_thread(mut self) -> Self {
        self.parallel = false;
        self
    }

    /// The same, with folders that were read before.
    #[must_use]
    pub fn with(mut self, listings: Listings) -> Self {
        self.read = Mutex::new(listings.0);
        self
    }

    /// What was read, for later.
    pub fn into_listings(self) -> Listings {
        Listings(self.read.into_inner().expect("no panic while listing"))
    }

    /// Everything that a listing so far depended on.
    pub fn visited(&self) -> &Visited {
        &self.visited
    }

    /// All files that the wildcards of the patterns mean, and those below literal folders, sorted, without
    /// repetition.
    ///
    /// # Errors
    /// The first folder, or literal path, that exists and cannot be looked at.
    pub fn matching(&self, patterns: &Patterns) -> Result<Vec<Found>, Unreadable> {
        let mut found = Vec::new();
        for root in patterns.roots() {
            found.extend(self.wild(patterns, root)?);
        }
        for (_, literal) in patterns.literals() {
            match kind_at(self.root, literal.as_bytes())? {
                Some(Entry::Folder) => {
                    let below = self.below(literal.as_bytes())?.into_iter();
                    found.extend(
                        below.filter(|(path, entry)| *entry != Entry::Folder && takes(patterns, path, true)),
                    );
                }
                Some(entry) if patterns.takes(literal, true) => {
                    found.push((literal.as_bytes().to_vec(), entry))
                }
                _ => {}
            }
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found.dedup_by(|a, b| a.0 == b.0);
        Ok(found)
    }

    fn wild(&self, patterns: &Patterns, root: &Root) -> Result<Vec<Found>, Unreadable> {
        if root.folder.split('/').any(|part| is_private(part.as_bytes()))
            || self.is_ignored_folder(&root.folder)?
        {
            return Ok(Vec::new());
        }
        self.search(patterns, root.folder.clone().into_bytes(), root.depth)
    }

    fn search(&self, patterns: &Patterns, folder: Vec<u8>, depth: u32) -> Result<Vec<Found>, Unreadable> {
        let listing = self.list(&folder)?;
        let mut found = Vec::new();
        let mut inner = Vec::new();
        for (name, entry, ignored) in &listing.entries {
            if *ignored || is_private(name) {
                continue;
            }
            let path = join(&folder, name);
            match entry {
                Entry::Folder => {
                    let enters = depth > 0 && !patterns.prunes(&String::from_utf8_lossy(&path));
                    inner.extend(enters.then_some(path));
                }
                _ if takes(patterns, &path, false)
                    && !self.outputs.covers(&String::from_utf8_lossy(&path)) =>
                {
                    found.push((path, *entry));
                }
                _ => {}
            }
        }
        let deeper = if self.parallel && inner.len() > 1 {
            let each = inner.into_par_iter().map(|folder| self.search(patterns, folder, depth - 1));
            each.collect::<Result<Vec<_>, _>>()?
        } else {
            inner
                .into_iter()
                .map(|folder| self.search(patterns, folder, depth - 1))
                .collect::<Result<_, _>>()?
        };
        found.extend(deeper.into_iter().flatten());
        Ok(found)
    }

    /// Whether a `.gitignore` names the folder or one that holds it.
    fn is_ignored_folder(&self, folder: &str) -> Result<bool, Unreadable> {
        let mut parent = Vec::new();
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            let listing = self.list(&parent)?;
            let at = listing.entries.binary_search_by(|(name, ..)| name.as_slice().cmp(part.as_bytes()));
            match at {
                Ok(at) if listing.entries[at].2 => return Ok(true),
                Ok(_) => parent = join(&parent, part.as_bytes()),
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Everything below a folder, folders too, ignored or not, but for what [is private](is_private).
    ///
    /// # Errors
    /// The first folder that exists and cannot be read.
    pub fn below(&self, folder: &[u8]) -> Result<Vec<Found>, Unreadable> {
        everything_below(self.root, folder, &self.visited, self.parallel)
    }

    fn list(&self, folder: &[u8]) -> Result<Arc<Listing>, Unreadable> {
        if let Some(known) = self.read.lock().expect("no panic while listing").get(folder) {
            return Ok(Arc::clone(known));
        }
        let ignores = match folder.iter().rposition(|&byte| byte == b'/') {
            _ if folder.is_empty() => Arc::default(),
            Some(slash) => Arc::clone(&self.list(&folder[..slash])?.ignores),
            None => Arc::clone(&self.list(b"")?.ignores),
        };
        let listing = Arc::new(self.read_folder(folder, ignores)?);
        self.read.lock().expect("no panic while listing").insert(folder.to_vec(), Arc::clone(&listing));
        Ok(listing)
    }

    fn read_folder(&self, folder: &[u8], mut ignores: Arc<Vec<Gitignore>>) -> Result<Listing, Unreadable> {
        let names = names(self.root, folder, &self.visited)?;
        let has_ignore = self.gitignore && names.iter().any(|(name, _)| name == b".gitignore");
        if has_ignore && let Some(own) = self.read_gitignore(folder)? {
            Arc::make_mut(&mut ignores).push(own);
        }
        let ignored = |name: &[u8], entry: Entry| {
            !ignores.is_empty() && is_ignored(&ignores, &join(folder, name), entry == Entry::Folder)
        };
        let entries = names.into_iter().map(|(name, entry)| (ignored(&name, entry), name, entry));
        Ok(Listing {
            entries: entries.map(|(ignored, name, entry)| (name, entry, ignored)).collect(),
            ignores,
        })
    }

    /// `None` if the name is not that of a file.
    fn read_gitignore(&self, folder: &[u8]) -> Result<Option<Gitignore>, Unreadable> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let path = join(folder, b".gitignore");
        let file = match rustix::fs::openat(self.root, path.as_slice(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            Err(why) => return Err(unreadable(&path, why)),
        };
        let facts = rustix::fs::fstat(&file).map_err(|why| unreadable(&path, why))?;
        note(&self.visited, &path, Some(&facts));
        if FileType::from_raw_mode(facts.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(&path, Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        let mut builder = GitignoreBuilder::new(Path::new(OsStr::from_bytes(folder)));
        for line in String::from_utf8_lossy(&bytes).lines() {
            // A line that is no pattern is git's to complain about.
            let _ = builder.add_line(None, line);
        }
        Ok(builder.build().ok())
    }
}

impl Listings {
    /// Looks at one name again and mends the listing of its folder. Whether anything may be different: a file that
    /// came or went, a folder that may be another one, a `.gitignore`, or something in a folder that was never listed.
    pub fn recheck(&mut self, root: BorrowedFd<'_>, path: &[u8]) -> bool {
        let (folder, name) = split(path);
        if name == b".gitignore" {
            return self.forget_below(folder);
        }
        let (Ok(now), Some(listing)) = (kind_at(root, path), self.0.get_mut(folder)) else {
            self.forget_below(folder);
            return true;
        };
        let at = listing.entries.binary_search_by(|(known, ..)| known.as_slice().cmp(name));
        let was = at.ok().map(|at| listing.entries[at].1);
        if was == now && now != Some(Entry::Folder) {
            return false;
        }
        let listing = Arc::make_mut(listing);
        let ignored =
            |kind| !listing.ignores.is_empty() && is_ignored(&listing.ignores, path, kind == Entry::Folder);
        match (at, now.map(|kind| (name.to_vec(), kind, ignored(kind)))) {
            (Ok(at), Some(entry)) => listing.entries[at] = entry,
            (Err(at), Some(entry)) => listing.entries.insert(at, entry),
            (Ok(at), None) => drop(listing.entries.remove(at)),
            (Err(_), None) => {}
        }
        self.forget_below(path);
        true
    }

    fn forget_below(&mut self, folder: &[u8]) -> bool {
        let known = self.0.len();
        self.0.retain(|path, _| !is_at_or_below(path, folder));
        self.0.len() < known
    }
}

/// The folder of a path and its name there.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Whether a path is a folder or lies below it.
pub fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    folder.is_empty()
        || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Everything below a folder of the workspace, folders too; the order is that of paths. A folder that is not
/// there has nothing below it. `parallel`: on rayon's threads, so never from inside an action.
///
/// # Errors
/// A folder that exists and cannot be read.
pub fn everything_below(
    root: BorrowedFd<'_>,
    folder: &[u8],
    visited: &Visited,
    parallel: bool,
) -> Result<Vec<Found>, Unreadable> {
    let one = |folder: &Vec<u8>| {
        let names = names(root, folder, visited)?.into_iter().filter(|(name, _)| !is_private(name));
        Ok(names.map(|(name, entry)| (join(folder, &name), entry)).collect())
    };
    let mut found = Vec::new();
    let mut level = vec![folder.to_vec()];
    while !level.is_empty() {
        let each: Vec<Vec<Found>> = if parallel && level.len() > 1 {
            level.par_iter().map(one).collect::<Result<_, _>>()?
        } else {
            level.iter().map(one).collect::<Result<_, _>>()?
        };
        let start = found.len();
        found.extend(each.into_iter().flatten());
        let folders = found[start..].iter().filter(|(_, entry)| *entry == Entry::Folder);
        level = folders.map(|(path, _)| path.clone()).collect();
    }
    found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn takes(patterns: &Patterns, path: &[u8], hidden: bool) -> bool {
    patterns.takes(&String::from_utf8_lossy(path), hidden)
}

/// Folders of which nothing is an input.
pub const PRIVATE: [&[u8]; 3] = [b".git", b".iact", iact_cache::BESIDE.as_bytes()];

/// Whether nothing of this name, or in a folder of it, is an input.
pub fn is_private(name: &[u8]) -> bool {
    PRIVATE.contains(&name)
}

fn is_ignored(ignores: &[Gitignore], path: &[u8], is_folder: bool) -> bool {
    let path = Path::new(OsStr::from_bytes(path));
    for ignore in ignores.iter().rev() {
        let matched = ignore.matched(path, is_folder);
        if !matched.is_none() {
            return matched.is_ignore();
        }
    }
    false
}

/// A path below a folder; the empty folder is the workspace's root.
pub fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// What a path stands for; `None` if nothing is there. What cannot be looked at is not taken for absent: a result that
/// was made without it would be kept.
fn kind_at(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Entry>, Unreadable> {
    if path.is_empty() {
        return Ok(Some(Entry::Folder));
    }
    match rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(entry_of(FileType::from_raw_mode(stat.st_mode)))),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(why) => Err(unreadable(path, why)),
    }
}

fn unreadable(path: &[u8], why: Errno) -> Unreadable {
    Unreadable { path: String::from_utf8_lossy(path).into_owned(), why }
}

fn entry_of(kind: FileType) -> Entry {
    match kind {
        FileType::RegularFile => Entry::File,
        FileType::Directory => Entry::Folder,
        FileType::Symlink => Entry::Link,
        _ => Entry::Special,
    }
}

fn note(visited: &Visited, path: &[u8], stat: Option<&rustix::fs::Stat>) {
    let path = if path.is_empty() { b"." } else { path };
    visited.lock().expect("no panic while noting").push((path.to_vec(), stat.map(Stat::from)));
}

fn names(root: BorrowedFd<'_>, folder: &[u8], visited: &Visited) -> Result<Vec<Found>, Unreadable> {
    let fail = |why| unreadable(folder, why);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let path: &[u8] = if folder.is_empty() { b"." } else { folder };
    let opened = match rustix::fs::openat(root, path, flags, Mode::empty()) {
        Ok(opened) => opened,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
            note(visited, folder, None);
            return Ok(Vec::new());
        }
        Err(why) => return Err(fail(why)),
    };
    let stat = rustix::fs::fstat(&opened).map_err(fail)?;
    let mut names = Vec::new();
    let mut dir = Dir::read_from(&opened).map_err(fail)?;
    while let Some(entry) = dir.read() {
        let entry = entry.map_err(fail)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => kind_at(root, &join(folder, name))?,
            known => Some(entry_of(known)),
        };
        names.extend(kind.map(|kind| (name.to_vec(), kind)));
    }
    if names.iter().any(|(name, _)| name == b"CACHEDIR.TAG") && is_cache(opened.as_fd()) {
        // It changes with every build, of other workspaces too.
        return Ok(Vec::new());
    }
    note(visited, folder, Some(&stat));
    names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(names)
}

/// Whether a folder is a cache of iact's.
fn is_cache(folder: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut bytes = [0; iact_cache::TAG.len() + 1];
    let tag = rustix::fs::openat(folder, "CACHEDIR.TAG", flags, Mode::empty());
    let read = tag.and_then(|tag| rustix::io::read(&tag, &mut bytes));
    read.is_ok_and(|length| &bytes[..length] == iact_cache::TAG)
}
