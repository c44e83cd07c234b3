//! What the runs of a workspace did: `.iact/runs`, a JSON object per line, the oldest first.
//!
//! | field | meaning |
//! |---|---|
//! | `schema` | 1 |
//! | `unix_ms` | when the run ended |
//! | `goals` | what was asked for |
//! | fields of `run_finished` | the totals |
//! | `targets` | `target`, `outcome`, `exit_code`, `duration_ms`, `severity` of each action that was executed, failed or was interrupted |
//!
//! Invariant: a run is one line, written at once when it ended; one that did nothing writes nothing. Above 4 MiB
//! the file becomes `runs.old`, so that the two never take more than about twice that. The journal is no place for
//! this: it forgets what a later run made outdated.
#![allow(clippy::disallowed_methods, reason = "shell: appends to the history")]

use super::drive::{Listener, unix_ms};
use crate::report::{Finished, Outcome, Report, RunFinished};
use serde::Serialize;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

const FULL_LEN: u64 = 4 * 1024 * 1024;

/// Listens to a run, writes down what it did, and passes everything on.
pub(super) struct History<'l> {
    folder: PathBuf,
    goals: Vec<String>,
    targets: Vec<Ran>,
    listener: &'l mut dyn Listener,
}

#[derive(Serialize)]
struct Ran {
    target: String,
    outcome: Outcome,
    exit_code: Option<i32>,
    duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    unix_ms: u64,
    goals: &'a [String],
    #[serde(flatten)]
    totals: &'a RunFinished,
    targets: &'a [Ran],
}

impl<'l> History<'l> {
    /// `folder` is the workspace's memory.
    pub(super) fn new(folder: PathBuf, goals: &[String], listener: &'l mut dyn Listener) -> Self {
        Self { folder, goals: goals.to_vec(), targets: Vec::new(), listener }
    }

    fn append(&self, totals: &RunFinished) -> io::Result<()> {
        let path = self.folder.join("runs");
        let line = Line { schema: 1, unix_ms: unix_ms(), goals: &self.goals, totals, targets: &self.targets };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        if file.metadata()?.len() > FULL_LEN {
            std::fs::rename(&path, self.folder.join("runs.old"))?;
            file = OpenOptions::new().append(true).create(true).open(&path)?;
        }
        file.write_all(&bytes)
    }
}

/// Whether its command ran, be it to no good end.
fn began(end: &Finished) -> bool {
    matches!(end.outcome, Outcome::Executed | Outcome::Failed)
        || end.outcome == Outcome::Cancelled && end.duration_ms > 0
}

impl Listener for History<'_> {
    fn report(&mut self, report: &Report, now_ms: u64) {
        match report {
            Report::Finished(end) if began(end) => {
                self.targets.push(Ran {
                    target: end.target.clone(),
                    outcome: end.outcome,
                    exit_code: end.exit_code,
                    duration_ms: end.duration_ms,
                    severity: end.severity,
                });
            }
            Report::RunFinished(totals) if totals.cached > 0 || !self.targets.is_empty() => {
                if let Err(error) = self.append(totals) {
                    let message = format!("the history of runs cannot be written: {error}");
                    self.listener.report(&Report::Warning { message }, now_ms);
                }
            }
            _ => {}
        }
        self.listener.report(report, now_ms);
    }

    fn ask(&mut self, target: &str, question: &str) -> Option<bool> {
        self.listener.ask(target, question)
    }

    fn hand_over(&mut self, to_action: bool) {
        self.listener.hand_over(to_action);
    }

    fn wants_up_to_date(&self) -> bool {
        self.listener.wants_up_to_date()
    }

    fn wake_ms(&self) -> Option<u64> {
        self.listener.wake_ms()
    }

    fn tick(&mut self, now_ms: u64) {
        self.listener.tick(now_ms);
    }
}
