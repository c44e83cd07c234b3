//! What is said to have moved while nobody looked: paths, or "anything". Hints come from a thread that watches folders;
//! the thread that owns the build takes them.
//!
//! Invariant: a hint decides nothing; everything hinted at is looked at again. Memory is bounded: too many paths become
//! "everything". At most one wake is on its way, so the thread that watches never waits for a build that is busy.

use super::job::Event;
use rustc_hash::FxHashSet;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

/// More paths than that are "everything".
const MANY: usize = 8_192;

/// Where something may have moved.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Anywhere: events were lost.
    pub everything: bool,
    /// At these paths: workspace-relative, or absolute.
    pub paths: FxHashSet<Vec<u8>>,
    /// Files that are being written: their end has not been heard of.
    pub open: FxHashSet<Vec<u8>>,
}

impl Hints {
    /// Anything may have moved.
    pub fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.paths.is_empty()
    }

    /// Adds one path. `open`: it is still being written.
    pub fn add(&mut self, path: Vec<u8>, open: bool) {
        if open {
            self.open.insert(path.clone());
        } else {
            self.open.remove(&path);
        }
        self.paths.insert(path);
        if self.paths.len() > MANY {
            self.lose();
        }
    }

    /// Events were lost.
    pub fn lose(&mut self) {
        self.everything = true;
        self.paths.clear();
        self.open.clear();
    }

    /// Adds others, later ones.
    pub fn merge(&mut self, others: Self) {
        self.everything |= others.everything;
        self.open.retain(|path| !others.paths.contains(path));
        self.open.extend(others.open);
        self.paths.extend(others.paths);
    }
}

/// Hints on their way to the thread that owns the build.
#[derive(Debug)]
pub struct Mail {
    waiting: Mutex<Hints>,
    events: SyncSender<Event>,
}

impl Mail {
    /// Nothing yet; [`Event::Hinted`] is sent when something comes.
    pub fn new(events: SyncSender<Event>) -> Self {
        Self { waiting: Mutex::default(), events }
    }

    /// Adds hints and wakes whoever owns the build.
    pub fn put(&self, add: impl FnOnce(&mut Hints)) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = waiting.is_empty();
        add(&mut waiting);
        let wake = was_empty && !waiting.is_empty();
        drop(waiting);
        if wake {
            // Nobody listens only when everything is over.
            let _ = self.events.send(Event::Hinted);
        }
    }

    /// Everything that came since the last call.
    pub fn take(&self) -> Hints {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
