//! The local cache as a run uses it: what is stored waits until much of it can be published at once.

use iact_cache::{Batch, LocalStore};
use std::sync::RwLock;

/// Bytes that may wait for the flush before a worker publishes them.
const WORTH_PUBLISHING_BYTES: u64 = 256 << 20;

/// The local cache as a run uses it.
pub struct Cache {
    /// The store.
    pub store: LocalStore,
    /// Whether it may be read.
    pub read: bool,
    /// What is to be published; workers add under a read lock.
    batch: Option<RwLock<(Batch, u64)>>,
}

impl Cache {
    /// A cache that may be read, written, or both.
    pub fn new(store: LocalStore, read: bool, write: bool) -> Self {
        let batch = write.then(|| RwLock::new((store.batch(), 0)));
        Self { store, read, batch }
    }

    /// Whether results may be stored.
    pub fn writes(&self) -> bool {
        self.batch.is_some()
    }

    /// Adds to what will be published.
    pub fn with_batch<T>(&self, add: impl FnOnce(&Batch) -> T) -> Option<T> {
        let batch = self.batch.as_ref()?.read().expect("no panic while adding");
        Some(add(&batch.0))
    }

    /// Counts what was added; whether it is worth publishing now.
    pub fn added(&self, bytes: u64) -> bool {
        let Some(batch) = &self.batch else { return false };
        let mut batch = batch.write().expect("no panic while adding");
        batch.1 += bytes.max(1);
        batch.1 > WORTH_PUBLISHING_BYTES
    }

    /// Whether something waits to be published.
    pub fn has_pending(&self) -> bool {
        self.batch.as_ref().is_some_and(|batch| batch.read().expect("no panic while adding").1 > 0)
    }

    /// Publishes everything added so far.
    ///
    /// # Errors
    /// Why nothing was stored.
    pub fn publish(&self) -> Result<(), String> {
        let Some(batch) = &self.batch else { return Ok(()) };
        let full = {
            let mut batch = batch.write().expect("no panic while adding");
            if batch.1 == 0 {
                return Ok(());
            }
            batch.1 = 0;
            std::mem::replace(&mut batch.0, self.store.batch())
        };
        tracing::debug!("publishing what was stored");
        full.commit().map(drop).map_err(|error| error.to_string())
    }
}
