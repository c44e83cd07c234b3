//! Reports of a run, as text for people: what iact says, and when each command may speak.
//!
//! ```text
//! ── lint-shell
//! In tasks/db/dump.sh line 3: …
//! failed: lint-shell (exit 1) after 2.1s
//! cpython-build  executed in 1m52s (input changed: tasks/cpython/build.sh)
//! failed: 1 failed, 2 skipped, 1 executed, 12 up to date in 1m53s
//! ```
//!
//! Invariant: two actions' lines never mix. One action at a time has the floor and may speak as it goes; the
//! others' output is kept until they end or the floor is theirs. Calm: what was up to date or restored is
//! counted, not listed.

use super::clean::clean;
use super::look::{Look, Output};
use super::paint::Paint;
use super::table::Style;
use super::tally::Tally;
use super::voices::{self, Piece, Voice};
use super::{github, phrase};
use crate::report::{Finished, Forecast, Outcome, Report, RunFinished, Stream};
use rustc_hash::FxHashMap;

/// So many skipped actions are listed; the others are counted.
const SKIPPED_LINES: u32 = 10;

/// Turns reports into pieces of text.
#[derive(Debug)]
pub(super) struct Talk {
    look: Look,
    paint: Paint,
    actions: u32,
    voices: FxHashMap<String, Voice>,
    /// Who started and has not ended, in order.
    running: Vec<String>,
    floor: Option<String>,
    /// Whose lines were shown last.
    speaker: Option<String>,
    failed: Vec<(String, String)>,
    /// The first of them that wrote something.
    wrote: Option<String>,
    skipped: u32,
    planned: [u32; 4],
    tally: Tally,
    paper: Vec<Piece>,
}

impl Talk {
    /// Talks in the way that was asked for.
    pub(super) fn new(look: &Look) -> Self {
        Self {
            paint: Paint(look.color),
            look: look.clone(),
            actions: 0,
            voices: FxHashMap::default(),
            running: Vec::new(),
            floor: None,
            speaker: None,
            failed: Vec::new(),
            wrote: None,
            skipped: 0,
            planned: [0; 4],
            tally: Tally::default(),
            paper: Vec::new(),
        }
    }

    /// What a report comes to, in order.
    pub(super) fn report(&mut self, report: &Report) -> Vec<Piece> {
        match report {
            Report::RunStarted { actions, .. } => {
                *self = Self::new(&self.look);
                self.actions = *actions;
            }
            Report::Planned { target, decision, reason } => {
                self.planned(target, *decision, reason.as_ref().map(phrase::reason));
            }
            Report::Started { target, .. } => self.running.push(target.clone()),
            Report::Output { target, stream, text } => self.output(target, *stream, text),
            Report::Finished(finished) => {
                if !self.look.quiet {
                    self.tally.count(finished);
                }
                self.finished(finished);
            }
            Report::Warning { message } => self.warning(message),
            Report::RunFinished(totals) => self.run_finished(totals),
        }
        std::mem::take(&mut self.paper)
    }

    fn own(&mut self, line: String) {
        self.speaker = None;
        self.paper.push(Piece::Own(line + "\n"));
    }

    fn planned(&mut self, target: &str, decision: Forecast, reason: Option<String>) {
        self.planned[decision as usize] += 1;
        let word = match decision {
            Forecast::Run => "run",
            Forecast::Restore => "restore",
            Forecast::Skip => "skip",
            Forecast::UpToDate if self.look.verbose == 0 => return,
            Forecast::UpToDate => "up to date",
        };
        let reason =
            reason.map(|reason| format!("  {}", Paint(self.look.color_stdout).dim(&format!("({reason})"))));
        let target = Paint(self.look.color_stdout).bold(target);
        self.paper.push(Piece::Answer(format!("{word:7}  {target}{}\n", reason.unwrap_or_default())));
    }

    fn output(&mut self, target: &str, stream: Stream, text: &[u8]) {
        if self.look.output == Output::None {
            return;
        }
        let voice = match self.voices.get_mut(target) {
            Some(voice) => voice,
            None => self.voices.entry(target.to_owned()).or_default(),
        };
        if let Some(lines) = voice.lines(stream, text) {
            self.lines(target, stream, lines);
        }
    }

    fn lines(&mut self, target: &str, stream: Stream, lines: Vec<u8>) {
        if self.look.output == Output::Live && self.floor.is_none() {
            self.floor = Some(target.to_owned());
        }
        match self.look.output {
            Output::Stream => {
                let prefix = format!("{} {} ", self.paint.name(target), self.paint.dim("|"));
                self.paper.push(Piece::Said(stream, voices::prefixed(&prefix, &lines)));
            }
            Output::Live if self.floor.as_deref() == Some(target) => {
                self.heading(target);
                self.paper.push(Piece::Said(stream, lines));
            }
            _ => self.voices.entry(target.to_owned()).or_default().keep(stream, lines),
        }
    }

    /// Tells whose lines follow, if that is not clear.
    fn heading(&mut self, target: &str) {
        if self.speaker.as_deref() == Some(target) {
            return;
        }
        self.speaker = Some(target.to_owned());
        if self.look.github {
            self.paper.push(Piece::Own(github::group(target)));
        } else if self.actions != 1 {
            let line = format!("{} {}\n", self.paint.dim("──"), self.paint.bold(&clean(target)));
            self.paper.push(Piece::Own(line));
        }
    }

    fn finished(&mut self, finished: &Finished) {
        let target = finished.target.as_str();
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(rest) = self.voices.get_mut(target).and_then(|voice| voice.rest(stream)) {
                self.lines(target, stream, rest);
            }
        }
        let voice = self.voices.remove(target);
        let failed = finished.outcome == Outcome::Failed;
        let kept = finished.log.is_some();
        if failed && kept && finished.severity.is_none() && voice.is_some() && self.wrote.is_none() {
            self.wrote = Some(clean(target).into_owned());
        }
        let mut voice = voice.unwrap_or_default();
        if voice.has_kept() && (failed || self.look.output != Output::Errors) {
            self.heading(target);
            self.paper.extend(voice.take_kept(finished.log.as_ref()));
        }
        if self.look.github && self.speaker.as_deref() == Some(target) {
            self.paper.push(Piece::Own(github::END_GROUP.to_owned()));
        }
        self.outcome(finished);
        self.running.retain(|name| name != target);
        if self.floor.as_deref() == Some(target) {
            self.pass_the_floor();
        }
    }

    fn pass_the_floor(&mut self) {
        let next =
            self.running.iter().find(|name| self.voices.get(*name).is_some_and(Voice::has_kept)).cloned();
        if let Some(name) = &next {
            self.heading(name);
            let voice = self.voices.get_mut(name).expect("it was just found");
            self.paper.extend(voice.take_kept(None));
        }
        self.floor = next;
    }

    fn outcome(&mut self, finished: &Finished) {
        let name = self.paint.bold(&clean(&finished.target));
        let time = phrase::duration(finished.duration_ms);
        let reason = finished
            .reason
            .as_ref()
            .map(|reason| format!(" {}", self.paint.dim(&format!("({})", clean(&phrase::reason(reason))))));
        let reason = reason.unwrap_or_default();
        match finished.outcome {
            Outcome::Failed => self.failure(finished, &time),
            _ if self.look.quiet => {}
            Outcome::Executed => {
                let executed = self.paint.green("executed");
                self.own(format!("{name}  {executed} in {time}{reason}"));
            }
            Outcome::Skipped => {
                self.skipped += 1;
                if self.skipped <= SKIPPED_LINES || self.look.verbose > 0 {
                    let why = finished
                        .message
                        .as_deref()
                        .map(|why| format!(" ({})", clean(why)))
                        .unwrap_or_default();
                    self.own(format!("{name}  skipped{why}"));
                }
            }
            Outcome::Cached if self.look.verbose > 0 => {
                let store =
                    finished.cached_from.map(|store| format!(" from the {store} cache")).unwrap_or_default();
                self.own(format!("{name}  restored{store} in {time}{reason}"));
            }
            Outcome::UpToDate if self.look.verbose > 0 => self.own(format!("{name}  up to date")),
            Outcome::Cancelled if self.look.verbose > 0 => self.own(format!("{name}  cancelled")),
            Outcome::Cached | Outcome::UpToDate | Outcome::Cancelled => {}
        }
    }

    fn failure(&mut self, finished: &Finished, time: &str) {
        let how = match (&finished.message, finished.exit_code) {
            (Some(message), _) => clean(message).into_owned(),
            (None, Some(code)) => format!("exit {code}"),
            (None, None) => "did not run".to_owned(),
        };
        let target = clean(&finished.target).into_owned();
        if let Some(severity) = finished.severity {
            if self.look.github && severity == "warn" {
                self.paper.push(Piece::Own(github::warning(&format!("{target} failed ({how})"))));
            }
            let (word, target) = (self.paint.yellow(&format!("{severity}:")), self.paint.bold(&target));
            return self.own(format!("{word} {target} failed ({how}) after {time}"));
        }
        if self.look.github {
            self.paper.push(Piece::Own(github::error(&target, &format!("{target} failed ({how})"))));
        }
        let line = format!("{} {} ({how}) after {time}", self.paint.red("failed:"), self.paint.bold(&target));
        self.own(line);
        self.failed.push((target, how));
    }

    fn warning(&mut self, message: &str) {
        let line = format!("{} {}", self.paint.yellow("warning:"), clean(message));
        if self.look.github {
            self.paper.push(Piece::Own(github::warning(message)));
        }
        self.own(line);
    }

    fn run_finished(&mut self, totals: &RunFinished) {
        let [run, restore, up_to_date, skip] = self.planned;
        if self.planned != [0; 4] {
            let line = counts(&[
                (run, "to run"),
                (restore, "to restore"),
                (skip, "to skip"),
                (up_to_date, "up to date"),
            ]);
            return self.paper.push(Piece::Answer(format!("{line}\n")));
        }
        self.table(totals);
        self.recap();
        let alone = self.actions == 1 && (totals.executed == 1 || totals.failed == 1);
        if self.look.quiet || alone {
            return;
        }
        let parts = counts(&[
            (totals.failed, "failed"),
            (totals.cancelled, "cancelled"),
            (totals.skipped, "skipped"),
            (totals.executed, "executed"),
            (totals.cached, "cached"),
            (totals.up_to_date, "up to date"),
        ]);
        let parts = if parts.is_empty() { "nothing to do".to_owned() } else { parts };
        let saved = match totals.saved_ms {
            0..100 => String::new(),
            saved_ms => format!(" (saved {})", phrase::duration(saved_ms)),
        };
        let word = match totals {
            RunFinished { ok: true, .. } => self.paint.green("done:"),
            RunFinished { failed: 0, cancelled: 1.., .. } => self.paint.yellow("interrupted:"),
            _ => self.paint.red("failed:"),
        };
        self.own(format!("{word} {parts}{saved} in {}", phrase::duration(totals.duration_ms)));
    }

    /// What became of every target, where there are many.
    fn table(&mut self, totals: &RunFinished) {
        if self.look.quiet {
            return;
        }
        let style = Style { paint: self.paint, columns: self.look.columns };
        if let Some(table) = self.tally.table(self.actions, totals, style) {
            self.speaker = None;
            self.paper.push(Piece::Own(format!("\n{table}")));
        }
    }

    /// Failures once more, where their own lines are far up; and where to find what they wrote.
    fn recap(&mut self) {
        let failed = std::mem::take(&mut self.failed);
        if failed.len() > 1 && !self.look.quiet {
            self.own(String::new());
            for (target, how) in &failed {
                let line = format!("{} {} ({how})", self.paint.red("failed:"), self.paint.bold(target));
                self.own(line);
            }
        }
        if let Some(target) = self.wrote.take()
            && !self.look.quiet
        {
            let hint = format!("{} `iact log {target}` shows its output again", self.paint.cyan("hint:"));
            self.own(hint);
        }
    }
}

/// `3 executed, 12 up to date`, without what is nought.
fn counts(parts: &[(u32, &str)]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    parts.join(", ")
}
