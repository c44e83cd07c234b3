//! What workers, watchers and signals tell, and what follows of it.
//!
//! Invariant: whoever comes back from a worker is active no more, whatever has become of it.

use super::{Drive, Stage};
use crate::engine::job::{Done, Event, Probed};
use crate::engine::pool::Pool;
use crate::engine::signal::Response;
use crate::plan::Node;
use crate::report::{Outcome, Report};
use iact_cache::chaos::{Bug, planted};

impl<'a> Drive<'_, 'a> {
    pub(super) fn handle(&mut self, event: Event, pool: &Pool<'_, 'a>) {
        match event {
            Event::Started(node, reason) => {
                self.state.hush.heard(node);
                self.started(node);
                let target = self.action(node).name.clone();
                let expected_ms = self.journal.record(&target).map(|record| record.duration_ms);
                self.report(&Report::Started { target, reason, expected_ms });
            }
            Event::Output(node, stream, text) => {
                let target = self.action(node).name.clone();
                self.report(&Report::Output { target, stream, text });
            }
            Event::Probed(node, probed) => self.on_probed(node, probed, pool),
            Event::Checked(node, checked) => self.on_checked(node, checked, pool),
            Event::Done(done) => self.on_done_of(*done, pool),
            Event::Panicked(nodes, said) => {
                self.state.bug = true;
                for node in nodes {
                    self.state.hush.heard(node);
                    self.state.active -= 1;
                    self.failed(node, format!("a bug in iact: {said}"));
                }
            }
            Event::Warning(message) => self.warn(message),
            Event::Published(result) => {
                self.state.publishing = false;
                if let Err(why) = result {
                    self.state.bug |= planted(Bug::FullCacheFails);
                    self.warn(format!("results were not stored in the cache: {why}"));
                }
            }
            Event::Hinted => self.on_hinted(),
            Event::Signal(response) => self.on_signal(response),
        }
    }

    pub(super) fn on_signal(&mut self, response: Response) {
        match response {
            Response::End(signal) => {
                self.state.signal = Some(signal);
                self.shared.stop.end(signal);
                self.shared.services.cancel();
                self.schedule.stop();
            }
            Response::Kill(signal) => {
                self.shared.stop.kill();
                if let Some(cleanups) = &self.shared.cleanups {
                    cleanups.stop.end(signal);
                    self.schedule.stop_all();
                }
            }
            Response::Leave | Response::Nothing => {}
        }
    }

    fn on_probed(&mut self, node: Node, probed: Probed, pool: &Pool<'_, 'a>) {
        self.state.active -= 1;
        self.shared.action_ended(&self.action(node).name);
        match probed {
            _ if self.schedule.is_stopped_for(node) => self.cancelled(node),
            Err(message) => self.failed(node, message),
            Ok(probes) => {
                self.decide(node, &probes, true);
                self.state.probed.insert(node, probes);
                if self.state.stages.contains_key(&node) {
                    self.start(node, pool);
                }
            }
        }
    }

    fn on_checked(&mut self, node: Node, checked: Result<(), String>, pool: &Pool<'_, 'a>) {
        self.state.active -= 1;
        self.shared.action_ended(&self.action(node).name);
        if checked.is_ok() {
            self.state.pending.remove(&node);
            return self.up_to_date(node);
        }
        if self.schedule.is_stopped_for(node) {
            return self.cancelled(node);
        }
        let probes = self.state.probed.remove(&node).unwrap_or_default();
        let pending = self.state.pending.get(&node).expect("what is checked was decided on");
        let assessor = self.assessor();
        let job = assessor.job(node, &pending.assessment, &probes);
        self.state.stages.insert(node, Stage::Step(Box::new(job)));
        self.start(node, pool);
    }

    pub(super) fn on_done(&mut self, mut done: Done) {
        self.state.active -= 1;
        let node = done.node;
        self.state.hush.heard(node);
        self.shared.action_ended(&self.action(node).name);
        for warning in std::mem::take(&mut done.warnings) {
            self.warn(warning);
        }
        let Some(outcome) = done.outcome else {
            if self.schedule.is_stopped_for(node) {
                return self.cancelled(node);
            }
            self.schedule.hold(node);
            if self.action(node).batch > 0 {
                return self.gather_again(node, done.reason);
            }
            return self.not_restored(node, done.reason);
        };
        self.batch_known(node);
        let interrupted = self.state.signal.is_some() && !self.schedule.is_spared(node);
        let outcome = if done.cancelled || interrupted && outcome == Outcome::Failed {
            Outcome::Cancelled
        } else {
            outcome
        };
        let pending = self.state.pending.remove(&node).expect("what ended was decided on");
        match outcome {
            Outcome::Executed | Outcome::Cached => self.remember(&done, pending),
            _ => self.journal.forget(&self.action(node).name),
        }
        self.state.stored_at_ms = self.shared.now_ms();
        self.finish(done, outcome);
    }
}
