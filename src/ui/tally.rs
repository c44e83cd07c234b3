//! The table at the end of a run of many actions: per target what became of it, what it took and saved, and why.
//!
//! Invariant: one row per declared target, in the order in which they ended, failures first and skipped ones last; what had
//! nothing to do is counted in one row. A run that anybody can take in at a glance has no table.

use super::phrase;
use super::table::{self, Column, Style};
use crate::report::{Finished, Outcome, RunFinished};
use rustc_hash::FxHashMap;

/// A run of fewer actions needs no table: its lines are still in sight.
const LEAST_ACTIONS: u32 = 12;

const COLUMNS: [Column; 5] = [
    Column { title: "target", right: false },
    Column { title: "what became of it", right: false },
    Column { title: "took", right: true },
    Column { title: "saved", right: true },
    Column { title: "why", right: false },
];

/// What has ended so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rows: Vec<Row>,
    places: FxHashMap<String, usize>,
}

#[derive(Debug, Default)]
struct Row {
    target: String,
    executed: u32,
    cached: u32,
    up_to_date: u32,
    failed: u32,
    skipped: u32,
    cancelled: u32,
    /// The longest of its instances: those of a batch took their time together.
    longest_ms: u64,
    saved_ms: u64,
    why: Option<String>,
    /// Its instances have different reasons.
    is_mixed: bool,
}

impl Row {
    fn count(&mut self, finished: &Finished) {
        *match finished.outcome {
            Outcome::Executed => &mut self.executed,
            Outcome::Cached => &mut self.cached,
            Outcome::UpToDate => &mut self.up_to_date,
            Outcome::Failed => &mut self.failed,
            Outcome::Skipped => &mut self.skipped,
            Outcome::Cancelled => &mut self.cancelled,
        } += 1;
        self.longest_ms = self.longest_ms.max(finished.duration_ms);
        self.saved_ms += finished.saved_ms;
        let why = why(finished);
        // Of several reasons a failure's counts.
        if finished.outcome == Outcome::Failed && self.failed == 1 {
            (self.why, self.is_mixed) = (why, false);
        } else if self.failed == 0 && why.is_some() {
            self.is_mixed |= self.why.is_some() && self.why != why;
            self.why = self.why.take().or(why);
        }
    }

    fn is_told(&self) -> bool {
        self.executed + self.cached + self.failed + self.skipped + self.cancelled > 0
    }

    /// Failures first, what did not run last.
    fn rank(&self) -> u8 {
        match self {
            Self { failed: 1.., .. } => 0,
            Self { executed: 0, cached: 0, .. } => 2,
            _ => 1,
        }
    }

    fn cells(&self) -> Vec<String> {
        let counts = [
            (self.failed, "failed"),
            (self.cancelled, "cancelled"),
            (self.skipped, "skipped"),
            (self.executed, "executed"),
            (self.cached, "cached"),
            (self.up_to_date, "up to date"),
        ];
        let whole: u32 = counts.iter().map(|(count, _)| count).sum();
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| if whole == 1 { (*what).to_owned() } else { format!("{count} {what}") })
            .collect();
        let ran = self.executed + self.cached + self.failed > 0;
        let took = if ran { phrase::duration(self.longest_ms) } else { String::new() };
        let saved = if self.saved_ms > 0 { phrase::duration(self.saved_ms) } else { String::new() };
        let why = match &self.why {
            Some(_) if self.is_mixed => "several reasons".to_owned(),
            why => why.clone().unwrap_or_default(),
        };
        vec![self.target.clone(), parts.join(", "), took, saved, why]
    }
}

fn why(finished: &Finished) -> Option<String> {
    let failed = || finished.exit_code.map(|code| format!("exit {code}"));
    match finished.outcome {
        Outcome::UpToDate => None,
        Outcome::Failed => finished.message.clone().or_else(failed),
        _ => finished.message.clone().or_else(|| finished.reason.as_ref().map(phrase::reason)),
    }
}

impl Tally {
    /// An action ended.
    pub(super) fn count(&mut self, finished: &Finished) {
        let target = finished.target.split('[').next().unwrap_or_default();
        let place = match self.places.get(target) {
            Some(place) => *place,
            None => {
                self.places.insert(target.to_owned(), self.rows.len());
                self.rows.push(Row { target: target.to_owned(), ..Row::default() });
                self.rows.len() - 1
            }
        };
        self.rows[place].count(finished);
    }

    /// The table, if the run is worth one.
    pub(super) fn table(&mut self, actions: u32, totals: &RunFinished, style: Style) -> Option<String> {
        let mut rows: Vec<&Row> = self.rows.iter().filter(|row| row.is_told()).collect();
        if actions < LEAST_ACTIONS || rows.len() < 2 {
            return None;
        }
        rows.sort_by_key(|row| row.rank());
        let told: u32 = rows.iter().map(|row| row.up_to_date).sum();
        let mut cells: Vec<Vec<String>> = rows.into_iter().map(Row::cells).collect();
        let fresh = totals.up_to_date.saturating_sub(told);
        if fresh > 0 {
            let others = phrase::count(fresh.into(), "other action", "other actions");
            cells.push(vec![others, "up to date".to_owned()]);
        }
        Some(table::table(&COLUMNS, &cells, style))
    }
}
