//! Whether the result is in the cache already: by its fingerprint, or by what was discovered when it was made; and its restore.
#![allow(clippy::disallowed_methods, reason = "shell: looks at files")]

use super::keep::made;
use super::{Step, input_node, unix_ms};
use crate::decision::Reason;
use crate::engine::assess::expired_ms;
use crate::engine::job::{Job, Watched};
use crate::fingerprint;
use crate::graph::instance::Texts;
use crate::log::LogWriter;
use crate::report::{Outcome, Stream};
use crate::scan::read::{Present, Reader, Seen};
use iact_cache::{Digest, LocalStore, Lookup, RestoreError, RestoreOptions, Store, StoreError, StoredResult};
use std::ffi::CString;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

/// Of the list of discovered files: where the workspace lay, if that decides which files they are.
pub(super) const BESIDE: &str = "beside";

impl Step<'_, '_> {
    /// With these discovered inputs; `None` for a target that always runs.
    pub(super) fn fingerprint(
        &self,
        job: &Job<'_>,
        discovered: &[Watched],
    ) -> Result<Option<Digest>, String> {
        if job.action.inputs.is_none() {
            return Ok(None);
        }
        let function = self.shared.workspace.digest_function();
        let inputs = job.declared.iter().chain(discovered);
        let nodes = inputs.map(input_node).chain(job.brought.iter().cloned());
        fingerprint::fingerprint(function, job.action, &job.values, &job.definition, nodes)
            .map(Some)
            .map_err(|error| error.to_string())
    }

    /// Whether the result that was there last came from the cache: its fingerprint need not be made again.
    pub(super) fn look_up_known(&mut self, job: &mut Job<'_>, texts: &Texts) -> bool {
        let Some(known) = job.known.filter(|_| job.look_up && job.action.cache) else { return false };
        let found = self.find_with(job, |store| {
            store.lookup_hash(&known).map(|(digest, lookup)| {
                tracing::debug!(target = job.action.name, action = %digest, "looked up as before");
                (Some(digest), lookup)
            })
        });
        let Some((Some(digest), result)) = found else { return false };
        match self.materialize(job, &digest, &result, texts) {
            Ok(_) => {
                self.done.discovered.clone_from(&job.discovered);
                true
            }
            Err(reason) => {
                (job.reason, job.look_up) = (reason, false);
                false
            }
        }
    }

    /// Whether the result came from the cache; `Err`: it may not, and why.
    pub(super) fn look_up(
        &mut self,
        job: &mut Job<'_>,
        digest: Digest,
        texts: &Texts,
    ) -> Result<bool, Reason> {
        if let Some(result) = self.find(job, &digest) {
            let hit = self.materialize(job, &digest, &result, texts)?;
            if hit {
                self.done.discovered.clone_from(&job.discovered);
            }
            return Ok(hit);
        }
        let Some((discovered, digest)) = self.by_discovered(job) else { return Ok(false) };
        let Some(result) = self.find(job, &digest) else { return Ok(false) };
        let hit = self.materialize(job, &digest, &result, texts)?;
        if hit {
            self.done.discovered = discovered;
        }
        Ok(hit)
    }

    pub(super) fn find(&mut self, job: &Job<'_>, digest: &Digest) -> Option<StoredResult> {
        let found = self.find_with(job, |store| {
            let found = store.lookup(digest).map(|lookup| (None, lookup));
            let hit = matches!(found, Ok((_, Lookup::Hit(_))));
            tracing::debug!(target = job.action.name, action = %digest, hit, "looked up");
            found
        });
        found.map(|(_, result)| result)
    }

    /// The result that a look-up finds, if it may be used.
    pub(super) fn find_with(
        &mut self,
        job: &Job<'_>,
        look_up: impl FnOnce(&LocalStore) -> Result<(Option<Digest>, Lookup), StoreError>,
    ) -> Option<(Option<Digest>, StoredResult)> {
        let cache = self.shared.cache.as_ref().filter(|cache| cache.read)?;
        match look_up(&cache.store) {
            Ok((digest, Lookup::Hit(result))) => {
                let result = Some(result).filter(|result| covers(result, job))?;
                let age_ms = expired_ms(job.action.rare().valid_for_ms, result.finished_unix_ms, unix_ms());
                self.expired = age_ms.map(|ms| Reason::Expired {
                    age: crate::manifest::quantity::Duration { ms }.to_string(),
                });
                age_ms.is_none().then_some((digest, result))
            }
            Ok((_, Lookup::Miss)) => None,
            Ok((_, Lookup::Damaged { reason })) => {
                self.warn(format!("a damaged cache entry of `{}` was put aside: {reason}", job.action.name));
                None
            }
            Err(error) => {
                if cache.is_first_trouble() {
                    self.warn(format!("the cache cannot be read: {error}"));
                }
                None
            }
        }
    }

    /// What the newest result with these declared inputs had discovered, as it is now, and the fingerprint with it.
    fn by_discovered(&self, job: &Job<'_>) -> Option<(Vec<Watched>, Digest)> {
        job.action.depfile.as_ref()?;
        let key = self.path_set_key(job)?;
        let cache = self.shared.cache.as_ref().filter(|cache| cache.read)?;
        let Ok(Lookup::Hit(set)) = cache.store.lookup(&key) else { return None };
        let present = |(_, path): &(String, String)| match self.look(path.as_bytes(), None) {
            Seen::Present(present) => Some(Watched { path: path.clone().into_bytes(), present }),
            _ => None,
        };
        let (beside, paths): (Vec<_>, Vec<_>) = set.exports.iter().partition(|(kind, _)| kind == BESIDE);
        beside.iter().all(|(_, place)| *place == self.place()).then_some(())?;
        let discovered: Vec<Watched> = paths.into_iter().map(present).collect::<Option<_>>()?;
        let digest = self.fingerprint(job, &discovered).ok()??;
        Some((discovered, digest))
    }

    /// Where the workspace lies, as a text that no other has.
    pub(super) fn place(&self) -> String {
        let place = self.shared.workspace.root.as_os_str().as_bytes();
        Digest::of(self.shared.workspace.digest_function(), place).hex()
    }

    /// Under which the list of discovered files is kept: everything but those files.
    pub(super) fn path_set_key(&self, job: &Job<'_>) -> Option<Digest> {
        let digest = self.fingerprint(job, &[]).ok()??;
        let function = self.shared.workspace.digest_function();
        Some(Digest::of(function, &[b"iact discovered 1\n", &digest.hash[..]].concat()))
    }

    /// What is at a path that a depfile named. What it was before the command ran is not read again while it shows the same
    /// facts.
    pub(super) fn look(&self, path: &[u8], before: Option<&Present>) -> Seen {
        let Ok(c_path) = CString::new(path) else { return Seen::Absent };
        let function = self.shared.workspace.digest_function();
        let reader = Reader { root: self.shared.workspace.folder.as_fd(), function, threads: 1 };
        let known = before.filter(|present| present.link.is_none());
        reader.look(&c_path, |stat| known.filter(|known| known.stat == *stat).map(|known| known.content))
    }

    pub(super) fn materialize(
        &mut self,
        job: &Job<'_>,
        digest: &Digest,
        result: &StoredResult,
        texts: &Texts,
    ) -> Result<bool, Reason> {
        if let Some(check) = &texts.check
            && self.shared.script(job.action, texts, check, &mut |_| ()).is_err()
        {
            return Err(job.reason.clone().min(Reason::CheckFailed));
        }
        let log = match self.restore_log(job, result) {
            Ok(log) => log,
            Err(error) => {
                self.warn(format!(
                    "a cached result of `{}` cannot be used: its log: {error}",
                    job.action.name
                ));
                return Err(job.reason.clone().min(Reason::CacheEntryDamaged));
            }
        };
        let cache = self.shared.cache.as_ref().expect("it was just read");
        let known = |_: &[u8], _: &iact_cache::FileFacts| None;
        let options = RestoreOptions {
            known: &known,
            threads: self.shared.io_threads,
            absent: matches!(job.reason, Reason::OutputMissing { .. }),
        };
        let restored = match self.restores.restore(&cache.store, &result.outputs, &options) {
            Ok(restored) => restored,
            Err(error) => {
                self.warn(format!("a cached result of `{}` cannot be used: {error}", job.action.name));
                let gone = matches!(error, RestoreError::Store(_));
                let reason = if gone { Reason::CacheEntryDamaged } else { job.reason.clone() };
                return Err(job.reason.clone().min(reason));
            }
        };
        self.done.made = made(self.shared, &result.outputs, restored.files);
        self.done.log = log;
        self.done.exports.clone_from(&result.exports);
        self.keep_generation(job, result);
        self.done.outcome = Some(Outcome::Cached);
        self.done.fingerprint = Some(*digest);
        self.done.path_set = job.action.depfile.as_ref().and_then(|_| self.path_set_key(job));
        self.done.command_ms = result.duration_ms;
        self.done.finished_unix_ms = result.finished_unix_ms;
        Ok(true)
    }

    /// The log of a restored result, from its blobs. An entry that lost a part of it is none: it would never be mended.
    pub(super) fn restore_log(
        &self,
        job: &Job<'_>,
        result: &StoredResult,
    ) -> Result<Option<String>, StoreError> {
        if result.stdout.is_none() && result.stderr.is_none() && !self.shared.has_logs() {
            return Ok(None);
        }
        let (stem, path) = self.shared.log_path(&job.action.name);
        let store = &self.shared.cache.as_ref().expect("it was just read").store;
        let mut log = self.shared.log_writer(path);
        for (stream, blob) in [(Stream::Stdout, &result.stdout), (Stream::Stderr, &result.stderr)] {
            if let Some(blob) = blob {
                store.read_blob(blob, &mut Frames { log: &mut log, stream })?;
            }
        }
        Ok(self.shared.finish_log(log).unwrap_or(false).then_some(stem))
    }
}

/// Writes a blob into a log as output of one stream.
struct Frames<'a> {
    log: &'a mut LogWriter,
    stream: Stream,
}

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.log.write(self.stream, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Whether a stored result has exactly the outputs that are declared: an entry decides nothing about places.
fn covers(result: &StoredResult, job: &Job<'_>) -> bool {
    let mut declared: Vec<&str> = job.action.outputs.iter().map(|output| output.path.as_str()).collect();
    declared.sort_unstable();
    let mut stored: Vec<&str> = result.outputs.iter().map(|output| output.path.as_str()).collect();
    stored.sort_unstable();
    declared == stored
}
