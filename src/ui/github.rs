//! What GitHub Actions reads: groups and annotations in the log, and a table of the run in
//! `$GITHUB_STEP_SUMMARY`.
//!
//! Invariant: nothing a target's name or a message holds can end a command or a table cell early.
#![allow(clippy::disallowed_methods, reason = "shell: appends to the step summary")]

use super::clean::clean;
use super::{Sink, phrase};
use crate::report::{Finished, Outcome, Report, RunFinished};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// GitHub refuses a summary above 1 MiB.
const TABLE_ROWS: usize = 500;

pub(super) const END_GROUP: &str = "::endgroup::\n";

pub(super) fn group(target: &str) -> String {
    format!("::group::{}\n", data(target))
}

pub(super) fn error(title: &str, message: &str) -> String {
    format!("::error title={}::{}\n", property(title), data(message))
}

pub(super) fn warning(message: &str) -> String {
    format!("::warning::{}\n", data(message))
}

/// An error at a place in a file.
pub(super) fn error_at(file: &str, line: usize, column: usize, message: &str) -> String {
    format!("::error file={},line={line},col={column}::{}\n", property(file), data(message))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Appends a table of the run.
pub(super) struct StepSummary {
    path: PathBuf,
    rows: Vec<Finished>,
    left_out: usize,
    totals: Option<RunFinished>,
}

impl StepSummary {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), rows: Vec::new(), left_out: 0, totals: None }
    }
}

impl Sink for StepSummary {
    fn report(&mut self, report: &Report, _now_ms: u64) {
        match report {
            Report::Finished(finished) if finished.outcome == Outcome::UpToDate => {}
            Report::Finished(finished)
                if self.rows.len() < TABLE_ROWS || finished.outcome == Outcome::Failed =>
            {
                self.rows.push(finished.clone());
            }
            Report::Finished(_) => self.left_out += 1,
            Report::RunFinished(totals) => self.totals = Some(totals.clone()),
            _ => {}
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(totals) = &self.totals else { return Ok(()) };
        let text = table(&self.rows, self.left_out, totals);
        let written = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

fn table(rows: &[Finished], left_out: usize, totals: &RunFinished) -> String {
    let RunFinished {
        executed, cached, up_to_date, failed, skipped, cancelled, duration_ms, saved_ms, ..
    } = totals;
    let verdict = if totals.ok { "done" } else { "failed" };
    let mut text = format!(
        "### iact: {verdict}\n\n{executed} executed, {cached} cached, {up_to_date} up to date, {failed} failed, \
         {skipped} skipped, {cancelled} cancelled in {}; saved {}\n\n",
        phrase::duration(*duration_ms),
        phrase::duration(*saved_ms)
    );
    if !rows.is_empty() {
        text.push_str("| target | outcome | time | why |\n|---|---|--:|---|\n");
    }
    let mut rows: Vec<&Finished> = rows.iter().collect();
    rows.sort_by_key(|row| row.outcome != Outcome::Failed);
    for row in rows {
        let outcome = match row.outcome {
            Outcome::Executed => "executed",
            Outcome::Cached => "cached",
            Outcome::UpToDate => "up to date",
            Outcome::Failed => "**failed**",
            Outcome::Skipped => "skipped",
            Outcome::Cancelled => "cancelled",
        };
        let why = row.message.clone().or_else(|| row.reason.as_ref().map(phrase::reason)).unwrap_or_default();
        let time = phrase::duration(row.duration_ms);
        let _ = writeln!(text, "| {} | {outcome} | {time} | {} |", cell(&row.target), cell(&why));
    }
    if left_out > 0 {
        let _ = writeln!(text, "\nand {left_out} more");
    }
    text.push('\n');
    text
}

fn cell(text: &str) -> String {
    let text = clean(text);
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
        out
    })
}
