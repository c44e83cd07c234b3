//! What is the case about the terminal and the environment, read once.
#![allow(clippy::disallowed_methods, reason = "shell: reads the environment")]

use console::Term;
use std::env;
use std::path::PathBuf;

/// Everything that decides how things look, apart from what was typed.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Standard output is a terminal.
    pub stdout_is_terminal: bool,
    /// Standard error is a terminal.
    pub stderr_is_terminal: bool,
    /// Columns of the terminal that standard output is.
    pub columns: Option<usize>,
    /// `TERM` is `dumb` or missing.
    pub dumb_terminal: bool,
    /// `CI` is set and not `false`.
    pub ci: bool,
    /// `GITHUB_ACTIONS` is `true`.
    pub github: bool,
    /// `GITHUB_STEP_SUMMARY`.
    pub step_summary: Option<PathBuf>,
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set and neither empty nor `0`.
    pub color_forced: bool,
}

impl Facts {
    /// Those of this process.
    pub fn of_process() -> Self {
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_on = |name: &str| {
            is_set(name) && env::var_os(name).is_some_and(|value| value != "0" && value != "false")
        };
        let github = is_on("GITHUB_ACTIONS");
        let stdout_is_terminal = Term::stdout().is_term();
        Self {
            stdout_is_terminal,
            stderr_is_terminal: Term::stderr().is_term(),
            columns: Term::stdout().size_checked().map(|(_, columns)| columns.into()),
            dumb_terminal: console::is_dumb(),
            ci: github || is_on("CI"),
            github,
            step_summary: env::var_os("GITHUB_STEP_SUMMARY")
                .filter(|_| github && is_set("GITHUB_STEP_SUMMARY"))
                .map(PathBuf::from),
            no_color: is_set("NO_COLOR"),
            color_forced: is_on("CLICOLOR_FORCE"),
        }
    }
}
