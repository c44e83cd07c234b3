//! A run as far as it has come: what is running since when, what is done, what time is left.
//!
//! Invariant: only reports and the time that comes with them change it, so that every picture of a run can be
//! made from the same events again.

use super::clean::clean;
use crate::report::{Outcome, Report, RunFinished};

/// A longer last line is of no use on any screen.
const LAST_LINE_BYTES: usize = 512;

/// An action whose command is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    /// Full name of the instance.
    pub(super) target: String,
    /// When it was started.
    pub(super) since_ms: u64,
    /// What it took last time.
    pub(super) expected_ms: Option<u64>,
    /// What it wrote last, made safe to show.
    pub(super) last_line: String,
}

/// A run as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// When it began.
    pub(super) since_ms: u64,
    /// Actions in the plan.
    pub(super) actions: u32,
    /// Totals so far; the durations are set at the end.
    pub(super) done: RunFinished,
    /// Oldest first.
    pub(super) running: Vec<Running>,
}

impl Model {
    /// Takes a report in.
    pub(super) fn apply(&mut self, report: &Report, now_ms: u64) {
        match report {
            Report::RunStarted { actions, .. } => {
                *self = Self { since_ms: now_ms, actions: *actions, ..Self::default() };
            }
            Report::Started { target, expected_ms, .. } => self.running.push(Running {
                target: target.clone(),
                since_ms: now_ms,
                expected_ms: *expected_ms,
                last_line: String::new(),
            }),
            Report::Output { target, text, .. } => {
                if let Some(running) = self.running.iter_mut().find(|running| running.target == *target)
                    && let Some(line) = last_line(text)
                {
                    running.last_line = line;
                }
            }
            Report::Finished(finished) => {
                self.running.retain(|running| running.target != finished.target);
                *self.count(finished.outcome) += 1;
            }
            Report::RunFinished(totals) => {
                self.running.clear();
                self.done = totals.clone();
            }
            Report::Planned { .. } | Report::Warning { .. } => {}
        }
    }

    fn count(&mut self, outcome: Outcome) -> &mut u32 {
        match outcome {
            Outcome::Executed => &mut self.done.executed,
            Outcome::Cached => &mut self.done.cached,
            Outcome::UpToDate => &mut self.done.up_to_date,
            Outcome::Failed => &mut self.done.failed,
            Outcome::Skipped => &mut self.done.skipped,
            Outcome::Cancelled => &mut self.done.cancelled,
        }
    }

    /// Actions that have their outcome.
    pub(super) fn finished(&self) -> u32 {
        let done = &self.done;
        done.executed + done.cached + done.up_to_date + done.failed + done.skipped + done.cancelled
    }

    /// Expected time to the end. Only told when it is known: everything that is left is running and has run
    /// before.
    pub(super) fn left_ms(&self, now_ms: u64) -> Option<u64> {
        let all_running = self.finished() + self.running.len() as u32 == self.actions;
        let left = |running: &Running| {
            running
                .expected_ms
                .and_then(|expected| expected.checked_sub(now_ms.saturating_sub(running.since_ms)))
        };
        let all: Option<Vec<u64>> = self.running.iter().map(left).collect();
        all.filter(|_| all_running)?.into_iter().max()
    }
}

/// The last line with anything on it, after its last carriage return, safe to show.
fn last_line(text: &[u8]) -> Option<String> {
    let line =
        text.rsplit(|byte| matches!(byte, b'\n' | b'\r')).find(|line| !line.trim_ascii().is_empty())?;
    let line = String::from_utf8_lossy(&line[..line.len().min(LAST_LINE_BYTES)]);
    let line = clean(&line).trim().to_owned();
    (!line.is_empty()).then_some(line)
}
