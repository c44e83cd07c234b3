//! What people and programs are shown. A [`Screen`] is fed with the reports of a run by the one thread that
//! owns the build, and fans them out to its sinks: text for people, JSON lines for programs, the summary
//! file. Everything else in here turns plain values into text.
//!
//! Invariant: nothing outside `ui` writes to standard output or error, and in here only [`door`] does, and
//! the terminal's block.

pub mod clean;
pub mod diagnostic;
pub mod door;
pub mod facts;
mod github;
pub mod graph;
mod human;
mod json;
pub mod look;
mod model;
pub mod paint;
pub mod phrase;
pub mod question;
mod render;
mod summary;
pub mod table;
mod talk;
mod tally;
mod terminal;
mod voices;

#[cfg(test)]
mod text_test;

use crate::report::Report;
use look::Look;
use std::io;
use std::path::Path;

/// Takes the reports of a run. Time is milliseconds since any fixed moment before the run.
pub trait Sink {
    /// Something happened.
    fn report(&mut self, report: &Report, now_ms: u64);

    /// Whether it shows every action that had nothing to do.
    fn wants_up_to_date(&self) -> bool {
        true
    }

    /// Time went by. Called at about [`Screen::wake_ms`], and whenever it suits.
    fn tick(&mut self, _now_ms: u64) {}

    /// When it wants to be called again; none if only reports matter.
    fn wake_ms(&self) -> Option<u64> {
        None
    }

    /// An interactive action owns the terminal (true) or gave it back (false).
    fn hand_over(&mut self, _to_action: bool) {}

    /// Nothing more comes.
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a run is shown on. Owned by the thread that owns the build.
pub struct Screen {
    sinks: Vec<Box<dyn Sink>>,
}

impl Screen {
    /// Text for people or, with `json`, events for programs; and a summary file if one is wanted.
    pub fn new(look: &Look, json: bool, summary: Option<&Path>) -> Self {
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        if json {
            sinks.push(Box::new(json::JsonLines::new()));
        } else {
            sinks.push(Box::new(human::Human::new(look)));
        }
        if let Some(path) = &look.step_summary {
            sinks.push(Box::new(github::StepSummary::new(path)));
        }
        if let Some(path) = summary {
            sinks.push(Box::new(summary::Summary::new(path)));
        }
        Self { sinks }
    }

    /// Something happened.
    pub fn report(&mut self, report: &Report, now_ms: u64) {
        self.sinks.iter_mut().for_each(|sink| sink.report(report, now_ms));
    }

    /// Time went by.
    pub fn tick(&mut self, now_ms: u64) {
        self.sinks.iter_mut().for_each(|sink| sink.tick(now_ms));
    }

    /// Whether some sink shows every action that had nothing to do.
    pub fn wants_up_to_date(&self) -> bool {
        self.sinks.iter().any(|sink| sink.wants_up_to_date())
    }

    /// The moment [`Screen::tick`] is due; none as long as only reports matter.
    pub fn wake_ms(&self) -> Option<u64> {
        self.sinks.iter().filter_map(|sink| sink.wake_ms()).min()
    }

    /// An interactive action owns the terminal (true) or gave it back (false).
    pub fn hand_over(&mut self, to_action: bool) {
        self.sinks.iter_mut().for_each(|sink| sink.hand_over(to_action));
    }

    /// Nothing more comes. The error is about a file that was asked for and cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        let ends: Vec<io::Result<()>> = self.sinks.iter_mut().map(|sink| sink.finish()).collect();
        ends.into_iter().collect()
    }
}
