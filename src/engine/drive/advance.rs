//! Work laid ready: while all slots are taken, the actions that come next are prepared, and whoever ends one goes on with
//! the next by itself. Two thread switches less for each action, which a short one notices.
//!
//! Invariants: the order is that of the schedule, which gives in advance only what nothing else could come before; a slot
//! passes from the action that ended to the one that begins; after a failure nobody goes on by himself until it was heard,
//! so nothing starts that would not have started otherwise. Not in a watched workspace, where an action may become
//! obsolete before it has begun.

use super::{Drive, Stage};
use crate::engine::job::Done;
use crate::engine::pool::{Pool, Task};
use crate::plan::Node;

impl<'a> Drive<'_, 'a> {
    /// What lies ready gets what is free, or is taken back if nothing more may start.
    pub(super) fn settle_advance(&mut self, pool: &Pool<'_, 'a>) {
        let stopped = self.schedule.is_stopped();
        while stopped || self.schedule.has_free_slot() {
            let Some(job) = pool.take_back() else { return };
            let node = job.node;
            if !stopped {
                self.schedule.promote(node);
                self.give(Task::Step(job), pool);
                continue;
            }
            self.state.active -= 1;
            self.state.hush.heard(node);
            self.schedule.withdraw(node);
            if self.schedule.is_stopped_for(node) {
                self.cancelled(node);
            } else {
                self.state.stages.insert(node, Stage::Step(job));
                self.schedule.queue(node);
            }
        }
    }

    /// Lays ready what comes next.
    pub(super) fn fill_advance(&mut self, pool: &Pool<'_, 'a>) {
        let others_wait = !self.state.batches.is_empty() || self.state.restores.are_waiting();
        if self.interruption.is_some() || self.schedule.is_stopped() || others_wait {
            return;
        }
        let limit = 2 * self.shared.jobs as usize;
        let mut ready = pool.ready();
        while ready < limit {
            let stages = &self.state.stages;
            let is_plain = |node: Node| match stages.get(&node) {
                Some(Stage::Step(job)) => {
                    let rare = job.action.rare();
                    rare.lock.is_none() && rare.confirm.is_none() && !rare.interactive && !job.batched
                }
                _ => false,
            };
            let Some(node) = self.schedule.next_in_advance(is_plain) else { return };
            let Some(Stage::Step(job)) = self.state.stages.remove(&node) else {
                unreachable!("it was just looked at")
            };
            self.state.active += 1;
            self.state.hush.expect(node, self.shared.now_ms());
            pool.lay_ready(job);
            ready += 1;
        }
    }

    /// A step has ended, and its worker may have gone on.
    pub(super) fn on_done_of(&mut self, done: Done, pool: &Pool<'_, 'a>) {
        if done.holds {
            pool.go_on();
        }
        let (node, next) = (done.node, done.next);
        let has_slot = !self.schedule.is_in_advance(node);
        self.on_done(done);
        match next {
            Some(next) if has_slot => self.pass_slot(next),
            Some(next) => _ = self.state.heirs.insert(node, next),
            None => {}
        }
    }

    /// Ends may be heard in another order than they came in: the slot goes to whoever has it by now.
    fn pass_slot(&mut self, mut to: Node) {
        while !self.schedule.is_running(to) {
            match self.state.heirs.remove(&to) {
                Some(heir) => to = heir,
                None => return,
            }
        }
        self.schedule.promote(to);
    }
}
