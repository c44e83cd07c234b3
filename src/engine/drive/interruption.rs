//! A build in a workspace that is watched: what is known to be fresh is not decided again, and what a change made obsolete
//! is ended.
//!
//! Invariant: only the content of a known input ends something; a hint alone, a new time or an own output does not. Once
//! something is obsolete nothing more is started, and what is not obsolete may end by itself: the next round follows
//! soon, and nothing that is still good is thrown away.

use super::Drive;
use crate::engine::hint::Mail;
use crate::path_table::PathId;
use crate::plan::Node;
use crate::report::{Finished, Outcome, Report};
use crate::scan::read::{Reader, Seen};
use rustc_hash::FxHashSet;

/// How a build hears of changes.
#[derive(Clone, Copy)]
pub struct Interruption<'r> {
    /// Where hints come from.
    pub mail: &'r Mail,
    /// Obsolete actions may end by themselves.
    pub finish: bool,
    /// Paths that end nothing: an action may write them itself.
    pub suspects: &'r FxHashSet<Vec<u8>>,
}

impl Drive<'_, '_> {
    pub(super) fn is_fresh(&self, node: Node) -> bool {
        self.fresh.get(node.index()).copied().unwrap_or(false)
    }

    /// The node did all it had to: it is fresh next time, unless it can become stale without a file that moves.
    pub(super) fn settled(&mut self, node: Node) {
        let id = self.plan.actions[node.index()];
        let action = self.action(node);
        let lasting = action.inputs.is_some()
            && action.probes.is_empty()
            && action.check.is_none()
            && self.shared.workspace.graph.declaration(id).rare.is_none()
            && !self.plan.conditions.contains_key(&node);
        if let Some(fresh) = self.fresh.get_mut(node.index()) {
            *fresh = lasting;
        }
    }

    pub(super) fn still_fresh(&mut self, node: Node) {
        self.state.totals.up_to_date += 1;
        self.batch_known(node);
        if self.listener.wants_up_to_date() {
            self.state.untold.push(node);
        }
        self.schedule.finish(node, Outcome::UpToDate, false);
    }

    /// Telling of many that did nothing comes after starting the few that do something.
    pub(super) fn tell_fresh(&mut self) {
        for node in std::mem::take(&mut self.state.untold) {
            let name = &self.action(node).name;
            let fingerprint = self.journal.record(name).map(|record| super::hex(&record.fingerprint));
            let finished = Finished { fingerprint, ..Finished::plain(name, Outcome::UpToDate) };
            self.report(&Report::Finished(finished));
        }
    }

    pub(super) fn on_hinted(&mut self) {
        let Some(interruption) = self.interruption else { return };
        let hints = interruption.mail.take();
        if !interruption.finish && self.state.signal.is_none() {
            let moved = hints.paths.iter().filter(|path| !interruption.suspects.contains(*path));
            let moved: FxHashSet<PathId> = moved.filter_map(|path| self.moved_input(path)).collect();
            if !moved.is_empty() {
                self.end_obsolete(&moved);
            }
        }
        self.state.hints.merge(hints);
    }

    /// The path, if it is an input of the plan and has another content than this run took it for.
    fn moved_input(&self, path: &[u8]) -> Option<PathId> {
        let id = self.journal.paths.find(path)?;
        self.survey.wanted.binary_search(&id).ok()?;
        if self.shared.declared.covers(&String::from_utf8_lossy(path)) {
            return None;
        }
        let seen = self.files.get(id);
        let known = |stat: &crate::content::Stat| match seen {
            Seen::Present(present) if present.stat == *stat => Some(present.content),
            _ => None,
        };
        let reader = Reader { root: self.files.root(), function: self.files.function(), threads: 1 };
        let now = reader.look(self.journal.paths.c_str(id), known);
        (now.content() != seen.content()).then_some(id)
    }

    fn end_obsolete(&mut self, moved: &FxHashSet<PathId>) {
        let mut obsolete = vec![false; self.plan.len()];
        for node in self.plan.nodes() {
            let action = self.action(node);
            let record = action.depfile.as_ref().and_then(|_| self.journal.record(&action.name));
            let discovered = record.map_or(&[][..], |record| &record.discovered);
            let mut inputs =
                self.survey.inputs[node.index()].iter().chain(discovered.iter().map(|(path, _)| path));
            let below = self.plan.edges.get(node.index()).iter();
            obsolete[node.index()] = inputs.any(|path| moved.contains(path))
                || below.clone().any(|edge| !edge.order_only && obsolete[edge.on.index()]);
        }
        if !obsolete.contains(&true) {
            return;
        }
        for node in self.plan.nodes().filter(|node| obsolete[node.index()]) {
            if self.schedule.is_running(node) {
                self.shared.end_action(&self.action(node).name);
            }
            if let Some(fresh) = self.fresh.get_mut(node.index()) {
                *fresh = false;
            }
        }
        self.schedule.stop();
    }
}
