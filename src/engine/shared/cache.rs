//! The local cache as a run uses it: what is stored waits until much of it can be published at once.

use iact_cache::{Batch, LocalStore, StoreError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

/// Bytes that may wait for the flush before a worker publishes them.
const WORTH_PUBLISHING_BYTES: u64 = 256 << 20;

/// The local cache as a run uses it.
pub struct Cache {
    /// The store.
    pub store: LocalStore,
    /// Whether it may be read.
    pub read: bool,
    /// What is to be published; workers add under a read lock.
    batch: Option<RwLock<Batch>>,
    /// How much was added since the last publishing.
    added: AtomicU64,
    /// Why something of it was not.
    trouble: Mutex<Option<String>>,
    /// Whether it was told that something cannot be read.
    unread: AtomicBool,
}

/// What one action stores: all of it or nothing. Nothing is published meanwhile.
pub struct Part<'c> {
    /// To be added to.
    pub batch: Batch,
    cache: &'c Cache,
    _whole: RwLockReadGuard<'c, Batch>,
}

impl Part<'_> {
    /// Adds it to what will be published; `false`: there was trouble, which is told with the next publishing.
    pub fn join(self) -> bool {
        let joined = self.batch.join();
        joined.map_err(|error| self.cache.note(&error)).is_ok()
    }
}

impl Cache {
    /// A cache that may be read, written, or both.
    pub fn new(store: LocalStore, read: bool, write: bool) -> Self {
        let batch = write.then(|| RwLock::new(store.batch()));
        Self {
            store,
            read,
            batch,
            added: AtomicU64::new(0),
            trouble: Mutex::default(),
            unread: AtomicBool::default(),
        }
    }

    /// What keeps one entry from being read keeps others, too: it is told once.
    pub fn is_first_trouble(&self) -> bool {
        !self.unread.swap(true, Ordering::Relaxed)
    }

    /// Whether results may be stored.
    pub fn writes(&self) -> bool {
        self.batch.is_some()
    }

    /// Begins to store what one action made.
    pub fn part(&self) -> Option<Part<'_>> {
        let whole = self.batch.as_ref()?.read().expect("no panic while adding");
        Some(Part { batch: whole.part(), cache: self, _whole: whole })
    }

    /// Counts what was added; whether it is worth publishing now.
    pub fn added(&self, bytes: u64) -> bool {
        let bytes = bytes.max(1);
        self.added.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > WORTH_PUBLISHING_BYTES
    }

    /// Whether something waits to be published.
    pub fn has_pending(&self) -> bool {
        self.added.load(Ordering::Relaxed) > 0
    }

    /// Publishes everything added so far.
    ///
    /// # Errors
    /// Why nothing was stored, or something was not.
    pub fn publish(&self) -> Result<(), String> {
        let Some(batch) = &self.batch else { return Ok(()) };
        if self.has_pending() {
            let full = {
                let mut batch = batch.write().expect("no panic while adding");
                self.added.store(0, Ordering::Relaxed);
                std::mem::replace(&mut *batch, self.store.batch())
            };
            tracing::debug!("publishing what was stored");
            full.commit().map_err(|error| error.to_string())?;
        }
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// The first trouble is the one to tell.
    fn note(&self, error: &StoreError) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(|| error.to_string());
    }
}
