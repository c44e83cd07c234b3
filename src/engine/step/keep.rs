//! What becomes of a successful command: its outputs are collected, and its result is stored, as an entry of the
//! cache and as a generation.
//!
//! Invariant: what vouches for nothing (an input moved, output was lost, a dependency is not known for sure) is
//! collected and not stored.
#![allow(clippy::disallowed_methods, reason = "shell: temporary files for logs")]

use super::lookup::BESIDE;
use super::{Ran, Step};
use crate::content::{Content, ContentKind};
use crate::engine::job::{Event, Job, MadeFile, Watched};
use crate::engine::shared::{Cache, Shared};
use crate::engine::{generations, leak};
use crate::log::{LogReader, Replayed};
use crate::report::Outcome;
use crate::scan::read::Present;
use iact_cache::{
    Batch, CollectError, Collected, Digest, Keep, Node, OutputEntry, OutputFile, OutputKind, StoredResult,
};
use std::io::Write;

impl Step<'_, '_> {
    pub(super) fn keep(&mut self, job: &Job<'_>, ran: &Ran) {
        if let Some((path, name)) = leak::find(&self.shared.workspace.root, job.action, &self.shared.secrets)
        {
            return self.fail(format!(
                "output `{path}` holds the secret `{name}`, and the cache would: leave it out, or set `cache = false`"
            ));
        }
        let paths: Vec<&str> = job.action.outputs.iter().map(|output| output.path.as_str()).collect();
        let whole = self.done.moved.is_none() && ran.log_whole && ran.ended.output_complete;
        let is_called = !job.values.given.is_empty();
        let storable =
            whole && job.action.cache && job.certain && !is_called && self.done.fingerprint.is_some();
        let retained = whole && job.action.rare().retain.is_some();
        let cache = self.shared.cache.as_ref().filter(|cache| (storable || retained) && cache.writes());
        let function = self.shared.workspace.digest_function();
        let collect = |keep: Keep<'_>| self.shared.outputs.collect(&paths, keep, self.shared.io_threads);
        let part = cache.and_then(Cache::part);
        let collected =
            collect(part.as_ref().map_or(Keep::DigestsOnly(function), |part| Keep::In(&part.batch)));
        let collected = match collected {
            Ok(collected) => collected,
            Err(CollectError::MissingOutput(path)) => {
                return self.fail(format!("output `{path}` is missing"));
            }
            Err(error) => {
                self.done.cancelled = self.shared.stop.signal().is_some();
                return self.fail(error.to_string());
            }
        };
        if let Some((part, result)) = part.and_then(|part| {
            let result = self.result(job, &collected, &part.batch)?;
            Some((part, result))
        }) {
            if storable {
                self.store(job, &result, &part.batch);
            }
            let generation = self.generation(job, &result);
            generation.iter().for_each(|digest| part.batch.put_result(digest, &result));
            if part.join() {
                self.pin(job, generation);
            }
            let bytes = collected.files.iter().map(|file| file.facts.size).sum();
            self.publish_if_many(bytes);
        } else if retained && cache.is_none() {
            self.warn(format!("without a cache no generation of `{}` is kept", job.action.name));
        }
        self.done.made = made(self.shared, &collected.outputs, collected.files);
        self.done.outcome = Some(Outcome::Executed);
    }

    /// What the cache keeps of it; nothing if that would be less than it was.
    fn result(&mut self, job: &Job<'_>, collected: &Collected, batch: &Batch) -> Option<StoredResult> {
        let streams = self.log_blobs(job, batch)?;
        Some(StoredResult {
            outputs: collected.outputs.clone(),
            stdout: streams[0],
            stderr: streams[1],
            exports: self.done.exports.clone(),
            duration_ms: self.done.command_ms,
            finished_unix_ms: self.done.finished_unix_ms,
            made_by: String::new(),
        })
    }

    /// Keeps a result that was restored as a generation too, if there are any.
    pub(super) fn keep_generation(&mut self, job: &Job<'_>, result: &StoredResult) {
        let Some(digest) = self.generation(job, result) else { return };
        let Some(part) = self.shared.cache.as_ref().and_then(Cache::part) else { return };
        if part.batch.put_again(&digest, result) && part.join() {
            self.pin(job, Some(digest));
            self.publish_if_many(0);
        }
    }

    fn generation(&self, job: &Job<'_>, result: &StoredResult) -> Option<Digest> {
        let owner = generations::owner(self.shared.workspace, &job.action.name);
        let function = self.shared.workspace.digest_function();
        job.action.rare().retain.map(|_| generations::digest(function, &owner, result))
    }

    /// The pin comes before the result: no sweep finds one without the other.
    fn pin(&mut self, job: &Job<'_>, generation: Option<Digest>) {
        let (Some(digest), Some(cache)) = (generation, &self.shared.cache) else { return };
        let owner = generations::owner(self.shared.workspace, &job.action.name);
        match cache.store.pin_while(&digest, &owner, &self.shared.workspace.root) {
            Ok(()) => self.done.generation = Some(digest),
            Err(error) => self.warn(format!("no generation of `{}` is kept: {error}", job.action.name)),
        }
    }

    fn publish_if_many(&self, bytes: u64) {
        if let Some(cache) = self.shared.cache.as_ref().filter(|cache| cache.added(bytes)) {
            self.shared.tell(Event::Published(cache.publish()));
        }
    }

    fn store(&mut self, job: &Job<'_>, result: &StoredResult, batch: &Batch) {
        let Some(mut digest) = self.done.fingerprint else { return };
        if job.action.depfile.is_some() {
            let key = self.path_set_key(job);
            let text = |found: &Watched| {
                String::from_utf8(found.path.clone()).ok().map(|path| ("path".to_owned(), path))
            };
            let exports: Option<Vec<_>> = self.done.discovered.iter().map(text).collect();
            // A name that is no text cannot be found again from another checkout.
            let (Some(key), Some(exports)) = (key, exports) else { return };
            let Ok(Some(full)) = self.fingerprint(job, &self.done.discovered) else { return };
            digest = full;
            (self.done.fingerprint, self.done.path_set) = (Some(full), Some(key));
            let mut set = StoredResult { exports, ..StoredResult::default() };
            if self.is_beside {
                // Another checkout has another file beside it.
                set.exports.push((BESIDE.to_owned(), self.place()));
            }
            batch.put_result(&key, &set);
        }
        batch.put_result(&digest, result);
    }

    /// The command's output as blobs: standard output, standard error.
    fn log_blobs(&mut self, job: &Job<'_>, batch: &Batch) -> Option<[Option<Digest>; 2]> {
        if self.done.log.is_none() {
            return Some([None, None]);
        }
        let beside = self.shared.workspace.memory();
        let file = || tempfile::tempfile().or_else(|_| tempfile::tempfile_in(&beside));
        let (_, path) = self.shared.log_path(&job.action.name);
        let split = || -> std::io::Result<[Option<Digest>; 2]> {
            let mut files = [file()?, file()?];
            let [out, err] = &mut files;
            if LogReader::open(&path)?.split(out, err)? == Replayed::Prefix {
                return Err(std::io::Error::other("it is not whole"));
            }
            let mut blobs = [None, None];
            for (file, blob) in files.iter_mut().zip(&mut blobs) {
                file.flush()?;
                std::io::Seek::rewind(file)?;
                *blob = Some(batch.put_file(file)?.0).filter(|digest| digest.size > 0);
            }
            Ok(blobs)
        };
        let name = &job.action.name;
        split()
            .map_err(|error| self.warn(format!("`{name}` is not in the cache, for its log is not: {error}")))
            .ok()
    }
}

/// What a restore or a collection left in the workspace, with a declared folder's content from its entry.
pub(super) fn made(shared: &Shared<'_>, outputs: &[OutputEntry], files: Vec<OutputFile>) -> Vec<MadeFile> {
    let function = shared.workspace.digest_function();
    let declared: rustc_hash::FxHashMap<&[u8], &OutputKind> =
        outputs.iter().map(|output| (output.path.as_bytes(), &output.kind)).collect();
    let content = |file: &OutputFile, kind: Option<&&OutputKind>| match (&file.node, kind) {
        (Node::File { digest, executable }, _) => Content::file(*digest, *executable),
        (Node::Symlink { target, .. }, _) => Content::link(function, target, None),
        (Node::Directory { digest }, _) => Content { kind: ContentKind::Folder, digest: *digest },
        (Node::EmptyDirectory, Some(OutputKind::Directory { root, .. })) => {
            Content { kind: ContentKind::Folder, digest: *root }
        }
        (Node::EmptyDirectory, _) => {
            Content { kind: ContentKind::Folder, digest: Digest { hash: [0; 32], size: 0 } }
        }
    };
    files
        .into_iter()
        .map(|file| {
            let kind = declared.get(file.path.as_slice());
            let present = Present { stat: file.facts, content: content(&file, kind), link: None };
            MadeFile { present, declared: kind.is_some(), path: file.path }
        })
        .collect()
}
