//! Hearing that something moved: the system's own notifications, by the crate `notify`.
//!
//! Invariant: folders are watched, never files, each by itself, so that an atomic save cannot end the watching; whatever is
//! lost, late or not understood becomes "look at everything". A folder that was removed and made again, or moved away, is
//! noticed by its inode whenever the folders are set.
//! `notify` 9, a release candidate: it asks the kernel only for the kinds of events that are wanted, and reading an input
//! is no event then.
#![allow(clippy::disallowed_methods, reason = "shell: looks at folders")]

use crate::engine::hint::{Hints, Mail};
use crate::engine::rounds::Wanted;
use crate::scan::walk::is_private;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Config, ErrorKind, Event, EventKind, EventKindMask, PathOp, RecommendedWatcher, Watcher as _};
use rustc_hash::{FxHashMap, FxHashSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Why the system cannot notify.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unable(String);

impl Unable {
    /// A network, or another program, may change files without the kernel's knowing.
    pub fn foreign() -> Self {
        Self("the file system is not this machine's own".to_owned())
    }
}

/// Folders being watched.
pub struct Watcher {
    inner: RecommendedWatcher,
    watched: FxHashMap<PathBuf, (u64, u64)>,
    /// Folders in which anything that moves may be an input under another name.
    foreign: Arc<Mutex<FxHashSet<PathBuf>>>,
    /// Paths that came or went: a folder of that name may be another one, even with the same inode.
    renewed: Arc<Mutex<FxHashSet<PathBuf>>>,
}

impl Watcher {
    /// Watches nothing yet. `root` is the workspace's folder; below `private` nothing matters.
    ///
    /// # Errors
    /// The system has no notifications to give.
    pub fn new(root: &Path, private: Vec<PathBuf>, mail: Arc<Mail>) -> Result<Self, Unable> {
        let foreign: Arc<Mutex<FxHashSet<PathBuf>>> = Arc::default();
        let renewed: Arc<Mutex<FxHashSet<PathBuf>>> = Arc::default();
        let ears = Ears {
            root: root.to_owned(),
            private,
            foreign: Arc::clone(&foreign),
            renewed: Arc::clone(&renewed),
            mail,
        };
        let kinds = EventKindMask::CREATE
            | EventKindMask::REMOVE
            | EventKindMask::MODIFY_DATA
            | EventKindMask::MODIFY_META
            | EventKindMask::MODIFY_NAME
            | EventKindMask::ACCESS_CLOSE;
        let config = Config::default().with_event_kinds(kinds);
        let inner = RecommendedWatcher::new(move |event| ears.hear(event), config)
            .map_err(|error| Unable(error.to_string()))?;
        Ok(Self { inner, watched: FxHashMap::default(), foreign, renewed })
    }

    /// Watches these folders, as far as they are there, and no others. Whether some are watched only now: what moved in them
    /// before was not heard.
    ///
    /// # Errors
    /// A limit of the system.
    pub fn follow(&mut self, wanted: &Wanted) -> Result<bool, Unable> {
        let renewed = std::mem::take(&mut *self.renewed.lock().unwrap_or_else(PoisonError::into_inner));
        if renewed.iter().any(|path| self.watched.contains_key(path)) {
            self.watched.retain(|path, _| !path.ancestors().any(|folder| renewed.contains(folder)));
        }
        let mut inodes: FxHashMap<(u64, u64), PathBuf> = FxHashMap::default();
        let mut foreign: FxHashSet<PathBuf> = wanted.foreign.iter().cloned().collect();
        let mut fresh = Vec::new();
        for folder in wanted.plain.iter().chain(&wanted.foreign) {
            let Some(facts) = std::fs::metadata(folder).ok().filter(std::fs::Metadata::is_dir) else {
                continue;
            };
            let inode = (facts.dev(), facts.ino());
            if let Some(first) = inodes.get(&inode) {
                // The kernel knows it by one name only.
                foreign.insert(first.clone());
                continue;
            }
            inodes.insert(inode, folder.clone());
            if self.watched.get(folder) != Some(&inode) {
                fresh.push((folder.clone(), inode));
            }
        }
        *self.foreign.lock().unwrap_or_else(PoisonError::into_inner) = foreign;
        let kept: FxHashSet<&PathBuf> = inodes.values().collect();
        let gone: Vec<PathBuf> = self.watched.keys().filter(|path| !kept.contains(path)).cloned().collect();
        for folder in gone {
            self.watched.remove(&folder);
            // It is gone if this fails, and so is the watch.
            let _ = self.inner.unwatch(&folder);
        }
        let added = !fresh.is_empty();
        self.add(fresh)?;
        Ok(added)
    }

    /// How many folders are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    fn add(&mut self, folders: Vec<(PathBuf, (u64, u64))>) -> Result<(), Unable> {
        let mut ops: Vec<PathOp> =
            folders.iter().map(|(folder, _)| PathOp::watch_non_recursive(folder.clone())).collect();
        self.watched.extend(folders);
        while !ops.is_empty() {
            let Err(failed) = self.inner.update_paths(ops) else { break };
            let full = match &failed.source.kind {
                ErrorKind::MaxFilesWatch => true,
                ErrorKind::Io(error) => matches!(
                    error.raw_os_error(),
                    Some(libc::ENOSPC | libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOSYS)
                ),
                _ => false,
            };
            if full || failed.origin.is_none() {
                return Err(Unable(failed.source.to_string()));
            }
            // Gone by now, or not ours to read: it is found again when its parent says so.
            if let Some(PathOp::Watch(path, _)) = &failed.origin {
                self.watched.remove(path);
            }
            ops = failed.remaining;
        }
        Ok(())
    }
}

/// What turns events into hints, on the thread of `notify`.
struct Ears {
    root: PathBuf,
    private: Vec<PathBuf>,
    foreign: Arc<Mutex<FxHashSet<PathBuf>>>,
    renewed: Arc<Mutex<FxHashSet<PathBuf>>>,
    mail: Arc<Mail>,
}

impl Ears {
    fn hear(&self, event: notify::Result<Event>) {
        let Ok(event) = event else { return self.mail.put(Hints::lose) };
        if event.need_rescan() || event.paths.is_empty() {
            return self.mail.put(Hints::lose);
        }
        if matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write)) {
            return;
        }
        let open = cfg!(target_os = "linux")
            && matches!(
                event.kind,
                EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_))
            );
        if matches!(
            event.kind,
            EventKind::Create(CreateKind::Folder)
                | EventKind::Remove(_)
                | EventKind::Modify(ModifyKind::Name(_))
        ) {
            let mut renewed = self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            renewed.extend(event.paths.iter().cloned());
        }
        for path in &event.paths {
            self.name(path, open);
        }
    }

    fn name(&self, path: &Path, open: bool) {
        if self.private.iter().any(|private| path.starts_with(private)) {
            return;
        }
        let is_foreign = {
            let foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
            !foreign.is_empty() && path.parent().is_some_and(|folder| foreign.contains(folder))
        };
        if is_foreign {
            return self.mail.put(Hints::lose);
        }
        let name = path.strip_prefix(&self.root).unwrap_or(path);
        if name.components().any(|part| is_private(part.as_os_str().as_bytes())) {
            return;
        }
        self.mail.put(|hints| hints.add(name.as_os_str().as_bytes().to_vec(), open));
    }
}
