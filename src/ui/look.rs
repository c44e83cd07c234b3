//! How things look, decided once from what was typed and what is the case.
//!
//! Invariant: what was typed beats the environment, the environment beats what the terminal can do, and
//! `NO_COLOR` beats `CLICOLOR_FORCE`.

use super::facts::Facts;
use crate::cli::{self, ColorWhen, OutputMode};
use std::path::PathBuf;

/// What is shown of the commands' output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// One action's lines as they come, everybody else's in one piece when they end.
    Live,
    /// Each action's in one piece when it ends.
    Group,
    /// Lines as they come, with the target in front.
    Stream,
    /// Failures' only, in one piece.
    Errors,
    /// None.
    None,
}

/// What the program needs to know to show things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Colours on standard error, where messages and progress go.
    pub color: bool,
    /// Colours on standard output, where answers go.
    pub color_stdout: bool,
    /// Columns of standard output if it is a terminal: wider tables are cut.
    pub columns: Option<usize>,
    /// Whether a block of what is running is kept at the bottom of the terminal.
    pub live: bool,
    /// The commands' output.
    pub output: Output,
    /// Whether GitHub reads what is written.
    pub github: bool,
    /// Where GitHub wants a table of the run.
    pub step_summary: Option<PathBuf>,
    /// Only failures and mistakes.
    pub quiet: bool,
    /// 1: also what was up to date or restored; 2: what iact does.
    pub verbose: u8,
}

impl Look {
    /// Typed flags and facts to a look. `output` is the flag of a run; other verbs have none.
    pub fn new(typed: &cli::Look, output: Option<OutputMode>, facts: &Facts) -> Self {
        let color = |terminal: bool| match typed.color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto if facts.no_color => false,
            ColorWhen::Auto => facts.color_forced || facts.github || terminal && !facts.dumb_terminal,
        };
        let watched =
            facts.stdout_is_terminal && facts.stderr_is_terminal && !facts.dumb_terminal && !facts.ci;
        Self {
            color: color(facts.stderr_is_terminal),
            color_stdout: color(facts.stdout_is_terminal),
            columns: facts.stdout_is_terminal.then_some(facts.columns).flatten(),
            live: watched && !typed.quiet && typed.verbose < 2,
            output: match output {
                Some(OutputMode::Group) => Output::Group,
                Some(OutputMode::Stream) => Output::Stream,
                Some(OutputMode::Errors) => Output::Errors,
                Some(OutputMode::None) => Output::None,
                None if typed.quiet => Output::Errors,
                None if watched && typed.verbose < 2 => Output::Live,
                None => Output::Group,
            },
            github: facts.github,
            step_summary: facts.step_summary.clone(),
            quiet: typed.quiet,
            verbose: typed.verbose,
        }
    }
}
