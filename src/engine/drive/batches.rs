//! Batches: files of one target that are stale and in no cache gather until a command is full, or no other
//! can come.
//!
//! Invariant: a file waits for company only as long as another one may still come, and shares a command only with files
//! whose environment, folder and lock are its own.

use super::{Drive, Stage};
use crate::decision::Reason;
use crate::engine::job::Job;
use crate::plan::Node;

/// What actions that may share a command have in common: their name without the file, and what a command has only once.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    name: &'a str,
    env: &'a [(String, String)],
    cwd: &'a str,
    lock: Option<&'a str>,
}

impl<'a> Drive<'_, 'a> {
    pub(super) fn batch_key(&self, node: Node) -> Option<Key<'a>> {
        let action = self.action(node);
        let name = action.name.rsplit_once(action.file.as_deref()?)?.0;
        let lock = action.rare().lock.as_deref();
        (action.batch > 0).then_some(Key { name, env: &action.env, cwd: &action.cwd, lock })
    }

    pub(super) fn count_batches(&mut self) {
        for node in self.plan.nodes() {
            if let Some(key) = self.batch_key(node) {
                self.state.batches.entry(key).or_default().unknown += 1;
            }
        }
    }

    pub(super) fn batch_known(&mut self, node: Node) {
        if self.state.batches.is_empty() || !self.state.known.insert(node) {
            return;
        }
        if let Some(batch) = self.batch_key(node).and_then(|key| self.state.batches.get_mut(&key)) {
            batch.unknown = batch.unknown.saturating_sub(1);
        }
    }

    pub(super) fn gather(&mut self, job: Job<'a>) {
        self.batch_known(job.node);
        // The others need it to become known, and who leads the batch takes it again.
        self.state.locks.release(job.node);
        let key = self.batch_key(job.node).expect("only batched actions gather");
        self.state.batches.entry(key).or_default().gathered.push(job);
    }

    /// The node's result is in no cache.
    pub(super) fn gather_again(&mut self, node: Node, reason: Reason) {
        let probes = self.state.probed.remove(&node).unwrap_or_default();
        let pending = self.state.pending.get(&node).expect("what ended was decided on");
        let assessor = self.assessor();
        let job = assessor.job(node, &pending.assessment, &probes);
        self.gather(Job { reason, ..job });
    }

    pub(super) fn form_batches(&mut self) {
        let mut formed: Vec<Vec<Job<'a>>> = Vec::new();
        for batch in self.state.batches.values_mut() {
            if self.schedule.is_stopped() {
                batch.gathered.retain(|job| self.schedule.is_spared(job.node));
            }
            let size = batch.gathered.first().map_or(1, |job| job.action.batch as usize);
            while batch.gathered.len() >= size || batch.unknown == 0 && !batch.gathered.is_empty() {
                let count = batch.gathered.len().min(size);
                let mut jobs: Vec<Job<'a>> = batch.gathered.drain(..count).collect();
                // What a command sees does not tell who was quicker to gather.
                jobs.sort_unstable_by_key(|job| job.node);
                formed.push(jobs);
            }
        }
        for jobs in formed {
            let nodes: Vec<Node> = jobs.iter().map(|job| job.node).collect();
            self.state.stages.insert(nodes[0], Stage::Batch(jobs));
            self.schedule.queue_batch(&nodes);
        }
    }
}
