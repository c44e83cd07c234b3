//! Small restores: actions of which only outputs are gone go to a worker by the dozen, since waking it for each takes
//! longer than the restore itself.
//!
//! Invariants: they wait only as long as no worker is free; what turns out not to be in the cache comes back and takes the
//! usual way, and from then on nothing more is expected to be there in this run. Only actions that need nothing but a slot
//! go together, so that no resource is taken for one that another holds.

use super::{Drive, Stage};
use crate::decision::Reason;
use crate::engine::job::Job;
use crate::plan::Node;
use crate::schedule::Demand;

/// As many as a worker gets at once.
const AT_ONCE: usize = 32;
/// Not small any more: bytes and files of one result.
const LARGE: u64 = 256 << 10;
const MANY: usize = 16;

/// What waits to be restored.
#[derive(Default)]
pub(super) struct Restores<'a> {
    waiting: Vec<Job<'a>>,
    /// One of them was not in the cache.
    missed: bool,
}

impl Restores<'_> {
    pub(super) fn are_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl<'a> Drive<'_, 'a> {
    /// Whether a job most likely comes to the restore of a few bytes.
    pub(super) fn is_a_small_restore(&self, job: &Job<'a>) -> bool {
        let action = job.action;
        let is_plain =
            action.cache && action.batch == 0 && action.check.is_none() && action.rare().lock.is_none();
        let reads = self.shared.cache.as_ref().is_some_and(|cache| cache.read);
        let is_small = || {
            let outputs = self.journal.record(&action.name).map_or(&[][..], |record| &record.outputs);
            let bytes: u64 = outputs.iter().map(|made| made.content.digest.size).sum();
            outputs.len() <= MANY && bytes <= LARGE
        };
        let expected = job.known.is_some() && job.look_up && reads && !self.state.restores.missed;
        expected && is_plain && action.demand == Demand::default() && is_small()
    }

    pub(super) fn restore_soon(&mut self, job: Job<'a>) {
        self.state.restores.waiting.push(job);
    }

    /// Where a worker is free, what waits goes to the queue, in a few equal parts.
    pub(super) fn form_restores(&mut self) {
        if self.state.restores.waiting.is_empty() || self.schedule.running() >= self.shared.jobs {
            return;
        }
        let mut waiting = std::mem::take(&mut self.state.restores.waiting);
        waiting.retain(|job| !self.schedule.is_stopped_for(job.node));
        let size = waiting.len().div_ceil(self.shared.jobs as usize).clamp(1, AT_ONCE);
        let mut waiting = waiting.into_iter();
        loop {
            let jobs: Vec<Job<'a>> = waiting.by_ref().take(size).collect();
            // The slot is the last one's: it is free again when all of them are done.
            let nodes: Vec<Node> = jobs.iter().rev().map(|job| job.node).collect();
            let Some(&leader) = nodes.first() else { break };
            self.state.stages.insert(leader, Stage::Restore(jobs));
            self.schedule.queue_batch(&nodes);
        }
    }

    /// The node's result is not in the cache: it takes the usual way.
    pub(super) fn not_restored(&mut self, node: Node, reason: Reason) {
        self.state.restores.missed = true;
        let probes = self.state.probed.remove(&node).unwrap_or_default();
        let pending = self.state.pending.get(&node).expect("what ended was decided on");
        let job = self.assessor().job(node, &pending.assessment, &probes);
        self.state.stages.insert(node, Stage::Step(Box::new(Job { reason, known: None, ..job })));
        self.schedule.queue(node);
    }
}
