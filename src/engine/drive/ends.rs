//! How nodes end: what is counted, shown, remembered, and told to the schedule.
//!
//! Invariant: whatever ends a node goes through here once, so that every action of the plan gets exactly one
//! `Finished`.

use super::{Drive, Pending, hex};
use crate::content::ContentKind;
use crate::engine::assess::Assessment;
use crate::engine::job::Done;
use crate::manifest::decl::Severity;
use crate::path_table::PathId;
use crate::plan::Node;
use crate::record::{Made, Record};
use crate::report::{Finished, Outcome, Report};

impl Drive<'_, '_> {
    pub(super) fn up_to_date(&mut self, node: Node) {
        let name = &self.action(node).name;
        let fingerprint = self.journal.record(name).map(|record| hex(&record.fingerprint));
        self.state.totals.up_to_date += 1;
        self.settled(node);
        self.batch_known(node);
        if self.listener.wants_up_to_date() {
            let finished = Finished { fingerprint, ..Finished::plain(name, Outcome::UpToDate) };
            self.report(&Report::Finished(finished));
        }
        self.close(node, Outcome::UpToDate, false);
    }

    /// The one way to the schedule's end of a node: nothing of it is left.
    fn close(&mut self, node: Node, outcome: Outcome, harmless: bool) {
        self.state.locks.release(node);
        self.take_back(node);
        self.schedule.finish(node, outcome, harmless);
    }

    /// Counts a failure; whether it is harmless: its dependents go on, and so does the run.
    fn count_failure(&mut self, node: Node, timed_out: bool) -> bool {
        self.state.totals.failed += 1;
        let harmless = self.action(node).severity != Severity::Error;
        if !harmless {
            if self.state.hard_failed == 0 {
                self.state.timed_out = timed_out;
            }
            self.state.hard_failed += 1;
        }
        harmless
    }

    pub(super) fn finish(&mut self, done: Done, outcome: Outcome) {
        let node = done.node;
        let name = self.action(node).name.clone();
        self.note_fate(node, outcome, Some(&done));
        let totals = &mut self.state.totals;
        let mut harmless = false;
        match outcome {
            Outcome::Executed => totals.executed += 1,
            Outcome::Cached => {
                totals.cached += 1;
                totals.saved_ms += done.command_ms;
            }
            Outcome::Failed => {
                harmless = self.count_failure(node, done.timed_out);
                self.forget_outputs(&name, &[]);
            }
            _ => totals.cancelled += 1,
        }
        if matches!(outcome, Outcome::Executed | Outcome::Cached) {
            if self.interruption.is_some() {
                self.shared.outdate_services(self.plan.actions[node.index()]);
            }
            self.state.used.extend(done.fingerprint.into_iter().chain(done.path_set));
            self.state.generations.extend(done.generation.map(|_| node));
        }
        let log = done.log.as_ref().map(|_| self.shared.log_path(&name).1);
        let finished = Finished {
            target: name,
            outcome,
            exit_code: done.exit_code,
            duration_ms: done.duration_ms,
            fingerprint: done.fingerprint.map(|digest| digest.hex()),
            cached_from: (outcome == Outcome::Cached).then_some("local"),
            saved_ms: if outcome == Outcome::Cached { done.command_ms } else { 0 },
            message: done.message,
            reason: Some(done.reason),
            severity: harmless.then(|| severity(self.action(node).severity)),
            log,
        };
        self.report(&Report::Finished(finished));
        self.close(node, outcome, harmless);
    }

    /// Writes down what an action did; what it made counts as seen.
    pub(super) fn remember(&mut self, done: &Done, pending: Pending) {
        let node = done.node;
        let name = self.action(node).name.clone();
        let mut outputs = Vec::with_capacity(done.made.len());
        let mut links = Vec::new();
        for made in &done.made {
            let path = self.journal.paths.intern(&made.path);
            outputs.push(Made { path, content: made.present.content, declared: made.declared });
            if made.present.content.kind == ContentKind::Link {
                // Whoever reads it reads what it leads to.
                self.files.forget(path);
                links.push(path);
            } else {
                self.files.put(self.journal, path, made.present.clone());
            }
        }
        if !links.is_empty() {
            self.files.look(self.journal, links);
        }
        outputs.sort_unstable_by_key(|made| made.path);
        self.forget_outputs(&name, &outputs);
        self.survey.made(node);
        let mut discovered = Vec::with_capacity(done.discovered.len());
        for found in &done.discovered {
            let path = self.journal.paths.intern(&found.path);
            discovered.push((path, found.present.content));
            // Who took it for what it was before does not know.
            let before = self.files.get(path).content();
            if before.is_some_and(|before| before != found.present.content) {
                self.state.moved.push((node, path));
            }
            self.files.put(self.journal, path, found.present.clone());
        }
        discovered.sort_unstable_by_key(|(path, _)| *path);
        if self.interruption.is_some() {
            self.survey.learn(outputs.iter().map(|made| made.path));
            self.survey.learn(discovered.iter().map(|(path, _)| *path));
        }
        let moved = done.moved.as_ref().map(|path| self.journal.paths.intern(path));
        if let Some(path) = moved {
            self.state.moved.push((node, path));
            self.input_moved(&name, path);
        }
        if !done.exports.is_empty() {
            self.shared.exported.put(&name, &done.exports);
        }
        let Assessment { definition, inputs, brought, uncertain, .. } = pending.assessment;
        if uncertain {
            return self.journal.forget(&name);
        }
        let record = Record {
            definition,
            inputs,
            discovered,
            brought,
            outputs,
            fingerprint: done.fingerprint.map_or([0; 32], |digest| digest.hash),
            duration_ms: done.command_ms,
            finished_unix_ms: done.finished_unix_ms,
            moved,
            exports: done.exports.clone(),
            log: done.log.clone(),
        };
        let holds = record.moved.is_none();
        self.journal.remember(&name, record);
        if holds {
            self.settled(node);
        }
    }

    /// What an action made before and not this time is gone.
    fn forget_outputs(&mut self, name: &str, made: &[Made]) {
        let Some(record) = self.journal.record(name) else { return };
        let is_made = |path| made.binary_search_by_key(&path, |made| made.path).is_ok();
        for path in record.outputs.iter().map(|made| made.path).filter(|&path| !is_made(path)) {
            self.files.forget(path);
        }
    }

    pub(super) fn input_moved(&mut self, name: &str, path: PathId) {
        let shown = self.journal.paths.show(path).into_owned();
        self.files.forget(path);
        self.files.look(self.journal, [path]);
        self.warn(format!(
            "`{shown}` changed while `{name}` ran: its result is not stored and it runs again next time"
        ));
    }

    /// A node that no command ran for.
    pub(super) fn failed(&mut self, node: Node, message: String) {
        let name = self.action(node).name.clone();
        self.journal.forget(&name);
        self.batch_known(node);
        self.state.pending.remove(&node);
        self.note_fate(node, Outcome::Failed, None);
        let harmless = self.count_failure(node, false);
        let severity = harmless.then(|| severity(self.action(node).severity));
        let message = Some(message);
        let finished = Finished { message, severity, ..Finished::plain(&name, Outcome::Failed) };
        self.report(&Report::Finished(finished));
        self.close(node, Outcome::Failed, harmless);
    }

    /// A node that does not apply. What it made or exported earlier is not vouched for.
    pub(super) fn skipped(&mut self, node: Node, why: String) {
        self.batch_known(node);
        if self.action(node).gives() {
            self.journal.forget(&self.action(node).name);
        }
        self.state.totals.skipped += 1;
        self.plain(node, Outcome::Skipped, Some(why));
        self.close(node, Outcome::Skipped, true);
    }

    pub(super) fn cancelled(&mut self, node: Node) {
        self.state.pending.remove(&node);
        self.state.totals.cancelled += 1;
        self.note_fate(node, Outcome::Cancelled, None);
        self.plain(node, Outcome::Cancelled, None);
        self.close(node, Outcome::Cancelled, false);
    }

    /// The schedule ended a node: a dependency failed, or the run ended first.
    pub(super) fn ended_unrun(&mut self, node: Node, outcome: Outcome) {
        if self.action(node).is_group {
            return;
        }
        self.state.stages.remove(&node);
        self.state.pending.remove(&node);
        self.state.locks.release(node);
        let message = match outcome {
            Outcome::Skipped => {
                self.state.totals.skipped += 1;
                Some("a dependency failed".to_owned())
            }
            _ => {
                self.state.totals.cancelled += 1;
                None
            }
        };
        self.plain(node, outcome, message);
    }

    pub(super) fn plain(&mut self, node: Node, outcome: Outcome, message: Option<String>) {
        let finished = Finished { message, ..Finished::plain(&self.action(node).name, outcome) };
        self.report(&Report::Finished(finished));
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warn => "warn",
        Severity::Info => "info",
    }
}
