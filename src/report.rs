//! What the engine tells the screen, the JSON stream and the summary: one enum, in the documented form of
//! `--json`.
//!
//! Invariant: within a schema number fields are added, never renamed or removed. The engine builds reports
//! and nothing else reaches `ui`.

use crate::decision::Reason;
use serde::{Serialize, Serializer};
use std::path::PathBuf;

/// The schema number of the event stream.
pub const SCHEMA: u32 = 1;

/// How an action of a run ended. Every action of a run gets exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran and succeeded.
    Executed,
    /// Its result came from a cache.
    Cached,
    /// Nothing was to be done.
    UpToDate,
    /// It ran, or tried to, and failed.
    Failed,
    /// A dependency failed, or `when` said no.
    Skipped,
    /// The run ended before it did.
    Cancelled,
}

/// What `-n` says would happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Forecast {
    /// It would run.
    Run,
    /// It would come from the cache.
    Restore,
    /// Nothing would be done.
    UpToDate,
    /// `when` says no.
    Skip,
}

/// Which stream a piece of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The end of one action.
#[derive(Clone, Debug, Serialize)]
pub struct Finished {
    /// Full name of the instance.
    pub target: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What the command returned; none if no command ran.
    pub exit_code: Option<i32>,
    /// How long this run spent on it.
    pub duration_ms: u64,
    /// Hex digest of the action; none where none was computed.
    pub fingerprint: Option<String>,
    /// Which store a cached result came from.
    pub cached_from: Option<&'static str>,
    /// What the command took when a restored result was made.
    #[serde(skip_serializing_if = "is_nought")]
    pub saved_ms: u64,
    /// Why it ran, failed or was skipped, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it was not up to date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What its failure means, if that is less than it says: `warn`, `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<&'static str>,
    /// The whole output of the command on disk, for a screen that did not keep all of it; none if nothing is
    /// kept.
    #[serde(skip)]
    pub log: Option<PathBuf>,
}

impl Finished {
    /// An end without a command, a time or a reason.
    pub fn plain(target: &str, outcome: Outcome) -> Self {
        Self {
            target: target.to_owned(),
            outcome,
            exit_code: None,
            duration_ms: 0,
            fingerprint: None,
            cached_from: None,
            saved_ms: 0,
            message: None,
            reason: None,
            severity: None,
            log: None,
        }
    }
}

/// The totals of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunFinished {
    /// Whether everything asked for is done.
    pub ok: bool,
    /// Actions that ran and succeeded.
    pub executed: u32,
    /// Actions restored from a cache.
    pub cached: u32,
    /// Actions with nothing to do.
    pub up_to_date: u32,
    /// Actions that failed.
    pub failed: u32,
    /// Actions not run because a dependency failed or `when` said no.
    pub skipped: u32,
    /// Actions the run ended before.
    pub cancelled: u32,
    /// Wall time of the run.
    pub duration_ms: u64,
    /// What the restored results took when they were made.
    pub saved_ms: u64,
}

/// A run as one document: `--summary`, and what cleanups are told of it.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// See [`SCHEMA`].
    pub schema: u32,
    /// What was asked for.
    pub goals: &'a [String],
    /// How much of what.
    #[serde(flatten)]
    pub totals: &'a RunFinished,
    /// What has ended.
    pub targets: &'a [Finished],
}

/// One event of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Report {
    /// The plan is made.
    RunStarted {
        /// See [`SCHEMA`].
        schema: u32,
        /// What was asked for.
        goals: Vec<String>,
        /// Actions in the plan.
        actions: u32,
        /// Actions at once.
        jobs: u32,
    },
    /// What would be done (`-n`).
    Planned {
        /// Full name of the instance.
        target: String,
        /// What would happen.
        decision: Forecast,
        /// Why.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// A command is being started.
    Started {
        /// Full name of the instance.
        target: String,
        /// Why it has to run.
        reason: Reason,
        /// What it took last time, for the time that is left.
        #[serde(skip_serializing_if = "Option::is_none")]
        expected_ms: Option<u64>,
    },
    /// A piece of a command's output: whole lines where the command wrote whole lines.
    Output {
        /// Full name of the instance.
        target: String,
        /// Which stream.
        stream: Stream,
        /// The bytes; invalid UTF-8 is replaced in JSON only.
        #[serde(serialize_with = "lossy")]
        text: Vec<u8>,
    },
    /// An action ended.
    Finished(Finished),
    /// Something a person should know that changes no outcome.
    Warning {
        /// One line.
        message: String,
    },
    /// The run ended.
    RunFinished(RunFinished),
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_nought(number: &u64) -> bool {
    *number == 0
}

fn lossy<S: Serializer>(text: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(text))
}
