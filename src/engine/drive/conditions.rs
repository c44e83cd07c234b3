//! What is special about few nodes: `when`, cleanups and what they are told, exported values, the terminal.

use super::{Drive, Fate};
use crate::engine::assess::tell_exports;
use crate::engine::job::Done;
use crate::graph::action::Action;
use crate::plan::{Condition, Node, On};
use crate::report::{Document, Outcome, Report, SCHEMA};

/// Where a cleanup finds what has ended so far, as a document like that of `--summary`.
const SUMMARY: &str = "IACT_SUMMARY";

impl Drive<'_, '_> {
    /// Whether the node, whose dependencies have ended, is to be decided on; otherwise it has ended.
    pub(super) fn applies(&mut self, node: Node) -> bool {
        if let Some(why) = self.plan.skips.get(&node) {
            self.skipped(node, why.clone());
            return false;
        }
        let plan = self.plan;
        let Some(condition) = plan.conditions.get(&node) else { return true };
        let owners: Vec<(Node, Fate)> = self.triggers(condition);
        if !owners.is_empty() {
            let mut given = given(&owners);
            match self.write_so_far() {
                Ok(path) => given.push((SUMMARY.to_owned(), path)),
                Err(error) => self.warn(format!("cleanups cannot be told of the run: {error}")),
            }
            let action = self.action(node);
            given.retain(|(name, _)| !declares(action, name));
            self.state.told_actions.given.insert(node, given);
            return true;
        }
        if condition.wanted && !self.schedule.is_stopped() {
            return true;
        }
        if self.schedule.is_stopped() {
            self.cancelled(node);
        } else {
            let (owner, on) = condition.triggers.first().expect("a condition has a trigger");
            let what = if *on == On::Failure { "fail" } else { "start" };
            let why = match condition.triggers.len() {
                1 => format!("`{}` did not {what}", self.action(*owner).name),
                owners => format!("none of the {owners} actions it comes after did {what}"),
            };
            self.skipped(node, why);
        }
        false
    }

    /// What happened that makes the node run.
    fn triggers(&self, condition: &Condition) -> Vec<(Node, Fate)> {
        let happened = |&&(owner, on): &&(Node, On)| {
            let fate = self.state.fates.get(&owner);
            fate.is_some_and(|fate| if on == On::Failure { fate.is_bad } else { fate.is_started })
        };
        let happened = condition.triggers.iter().filter(happened);
        happened.map(|(owner, _)| (*owner, self.state.fates[owner].clone())).collect()
    }

    fn is_followed(&self) -> bool {
        !self.plan.conditions.is_empty()
    }

    /// Remembers what ended, if cleanups may want to know.
    pub(super) fn note_end(&mut self, report: &Report) {
        if let (Report::Finished(finished), true) = (report, self.is_followed()) {
            self.state.so_far.push(finished.clone());
        }
    }

    /// Writes the run so far, whole or not at all; where it is.
    fn write_so_far(&self) -> std::io::Result<String> {
        let memory = self.shared.workspace.memory();
        let file = tempfile::NamedTempFile::new_in(&memory)?;
        let document =
            Document { schema: SCHEMA, goals: &[], totals: &self.state.totals, targets: &self.state.so_far };
        serde_json::to_writer_pretty(&file, &document)?;
        let path = memory.join("so-far.json");
        file.persist(&path).map_err(|failed| failed.error)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// A command of the node was started.
    pub(super) fn started(&mut self, node: Node) {
        if self.is_followed() {
            self.state.fates.entry(node).or_default().is_started = true;
        }
    }

    /// The node has ended: for those who follow it.
    pub(super) fn note_fate(&mut self, node: Node, outcome: Outcome, done: Option<&Done>) {
        if !self.is_followed() {
            return;
        }
        let signal = self.state.signal.map_or(130, |signal| 128 + signal.as_raw());
        let fate = self.state.fates.entry(node).or_default();
        // What was cancelled before it started has not failed.
        fate.is_bad = outcome == Outcome::Failed || outcome == Outcome::Cancelled && fate.is_started;
        let code = done.and_then(|done| done.exit_code).filter(|code| *code != 0);
        let timed_out = done.is_some_and(|done| done.timed_out);
        fate.exit_code = match outcome {
            _ if !fate.is_bad => 0,
            Outcome::Cancelled => signal,
            _ if timed_out => i32::from(crate::error::exit::TIMEOUT),
            _ => code.unwrap_or(1),
        };
        fate.exports = done.map(|done| done.exports.clone()).unwrap_or_default();
    }

    /// Finds out which exported values the node reads.
    pub(super) fn read_exports(&mut self, node: Node) -> Result<(), String> {
        let action = self.action(node);
        if !action.rare().reads_exports {
            return Ok(());
        }
        let id = self.plan.actions[node.index()];
        tell_exports(&self.shared.workspace.graph, id, self.journal, &self.shared.exported);
        let (_, read) = self.shared.texts_with(action, &[], crate::template::Layer::default())?;
        self.state.told_actions.exports.insert(node, read);
        Ok(())
    }

    /// Gives the terminal to the node if that is what it needs.
    pub(super) fn hand_over(&mut self, node: Node) {
        let steps = matches!(self.state.stages.get(&node), Some(super::Stage::Step(_)));
        if steps && self.shared.owns_terminal(self.action(node)) {
            self.state.on_terminal = Some(node);
            self.listener.hand_over(true);
        }
    }

    /// The node has ended: the terminal is ours again.
    pub(super) fn take_back(&mut self, node: Node) {
        if self.state.on_terminal.take_if(|owner| *owner == node).is_some() {
            self.listener.hand_over(false);
        }
    }
}

/// Whether an action says itself where it has a variable from: what it is told is weaker.
fn declares(action: &Action, name: &str) -> bool {
    let set = action.env.iter().map(|(set, _)| set);
    let taken = action.pass_env.iter().chain(&action.untracked_env).chain(&action.rare().secrets);
    set.chain(taken).any(|declared| declared == name)
}

/// What a cleanup is told: the first exit code that is not 0, and what its owners exported, of one name the first's.
fn given(owners: &[(Node, Fate)]) -> Vec<(String, String)> {
    let code = owners.iter().map(|(_, fate)| fate.exit_code).find(|code| *code != 0).unwrap_or(0);
    let mut given: Vec<(String, String)> = owners.iter().flat_map(|(_, fate)| fate.exports.clone()).collect();
    given.retain(|(name, _)| name != "IACT_EXIT_CODE" && name != SUMMARY);
    given.push(("IACT_EXIT_CODE".to_owned(), code.to_string()));
    given.sort_by(|a, b| a.0.cmp(&b.0));
    given.dedup_by(|a, b| a.0 == b.0);
    given
}
