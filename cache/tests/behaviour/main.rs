//! What the cache promises, tried on real files.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests touch the world")]

mod contract;
mod damage;
mod places;
mod round_trip;
mod sharing;
mod staging;
mod sweeping;
mod trouble;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use iact_cache::{
    Collected, Digest, Keep, LocalOptions, LocalStore, Lookup, RestoreError, RestoreOptions, Restored, Store,
    StoredResult, Workspace,
};

/// A workspace and a cache of its own.
struct Space {
    _base: tempfile::TempDir,
    root: PathBuf,
    cache: PathBuf,
}

impl Space {
    fn new() -> Self {
        let base = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (root, cache) = (base.path().join("ws"), base.path().join("cache"));
        fs::create_dir(&root).unwrap();
        Self { _base: base, root, cache }
    }

    fn store(&self) -> LocalStore {
        LocalStore::open(&self.cache, LocalOptions { durable: false, ..LocalOptions::default() }).unwrap()
    }

    fn workspace(&self) -> Workspace {
        Workspace::open(&self.root).unwrap()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    /// Collects and stores `paths` as the result of the action `name`.
    fn keep(&self, store: &LocalStore, name: &str, paths: &[&str]) -> (StoredResult, Collected) {
        let batch = store.batch();
        let collected = self.workspace().collect(paths, Keep::In(&batch), 2).unwrap();
        let result = StoredResult { outputs: collected.outputs.clone(), ..Default::default() };
        batch.put_result(&action(name), &result);
        batch.commit().unwrap();
        (result, collected)
    }

    fn restore(&self, store: &dyn Store, result: &StoredResult) -> Result<Restored, RestoreError> {
        let options = RestoreOptions { known: &|_, _| None, threads: 2, absent: true };
        self.workspace().restore(store, &result.outputs, &options)
    }
}

fn action(name: &str) -> Digest {
    Digest::of(Default::default(), name.as_bytes())
}

fn hit(store: &dyn Store, name: &str) -> Option<StoredResult> {
    match store.lookup(&action(name)).unwrap() {
        Lookup::Hit(result) => Some(result),
        _ => None,
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
