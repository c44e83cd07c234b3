//! What was typed, as types: every verb and flag, and nothing about what they come to. Parsing touches
//! neither files nor environment nor terminal; what depends on those is decided by [`crate::ui::look`] from
//! facts.
//!
//! Invariant: whatever [`parse`] returns is well-formed on its own (`-j 0`, a variable without a name and two
//! exclusive flags never get through); whether the names exist is for others to say. `-j4 build x`, `build x
//! -j4` and, where the first word is no verb, `-j4 x` are the same. Refused: global clap arguments for
//! everything, which would accept and ignore `iact log --json`.

pub mod complete;
mod later;
pub mod scripts;
mod short;
mod verbs;
mod words;

pub use later::not_yet;
pub use short::VERBS;
pub use verbs::*;
pub use words::{Asked, Var};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What `iact --version` prints.
pub const VERSION: &str = concat!("iact ", env!("CARGO_PKG_VERSION"), "\n");

const AFTER_HELP: &str = "\
`iact GOAL…` is short for `iact build GOAL…`. `iact VERB --help` tells more about a verb.

Exit codes: 0 done · 1 an action failed · 2 usage or Iactfile · 3 stale or damaged · 4 refused · 124 timeout";

const EVERYWHERE: &str = "Flags of every verb";

/// Build what changed, restore what did not.
///
/// Reads the targets of the nearest Iactfile.toml, runs those whose inputs changed, in parallel, and keeps
/// every result in a verified cache.
#[derive(Debug, Parser)]
#[command(name = "iact", version, max_term_width = 110, disable_help_flag = true)]
#[command(override_usage = "iact [FLAGS] GOAL…\n       iact VERB [FLAGS] …")]
#[command(
    after_help = "`iact GOAL…` is short for `iact build GOAL…`. `iact VERB --help` tells more about a verb."
)]
pub struct Typed {
    /// Where to look.
    #[command(flatten)]
    pub place: Place,
    /// What to show.
    #[command(flatten)]
    pub look: Look,
    /// Print help
    #[arg(short, long, action = clap::ArgAction::HelpShort, global = true, help_heading = EVERYWHERE)]
    help: Option<bool>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Which workspace is meant.
#[derive(Args, Debug, Default)]
pub struct Place {
    /// Another Iactfile
    #[arg(short = 'f', long = "file", value_name = "FILE", global = true, help_heading = EVERYWHERE)]
    pub file: Option<PathBuf>,
    /// Another folder to start from
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true, help_heading = EVERYWHERE)]
    pub directory: Option<PathBuf>,
}

/// How much is shown and how it looks, as typed.
#[derive(Args, Debug, Default)]
pub struct Look {
    /// Only failures and mistakes
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = EVERYWHERE)]
    pub quiet: bool,
    /// Also what was up to date or restored, and why; twice: what iact does
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = EVERYWHERE)]
    pub verbose: u8,
    /// When to use colours
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN", global = true, help_heading = EVERYWHERE)]
    pub color: ColorWhen,
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` says no or `CLICOLOR_FORCE` says always
    #[default]
    Auto,
    /// Also into pipes and files
    Always,
    /// Not at all
    Never,
}

/// `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputMode {
    /// Each action's output in one piece
    Group,
    /// Lines as they come, with the target in front
    Stream,
    /// Only the output of failures
    Errors,
    /// No output
    None,
}

/// `--json` for verbs that answer a question.
#[derive(Args, Clone, Copy, Debug)]
pub struct Json {
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Goals by name and by tag, with variables.
#[derive(Args, Debug, Default)]
pub struct Goals {
    /// Targets, and variables for them
    #[arg(value_name = "GOAL|NAME=VALUE", value_parser = words::parse_word)]
    words: Vec<words::Word>,
    /// Goals by tag
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
}

/// One target, with variables.
#[derive(Args, Debug)]
pub struct One {
    /// The target
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// Variables for it
    #[arg(value_name = "NAME=VALUE", value_parser = words::parse_var)]
    pub vars: Vec<Var>,
}

/// A run: what to build, how, and what to leave behind.
#[derive(Args, Debug, Default)]
pub struct Build {
    #[command(flatten)]
    goals: Goals,
    /// For the commands, as `{{ args }}`
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
    /// Actions at once [default: processors]
    #[arg(short, long, value_name = "N", value_parser = parse_jobs)]
    pub jobs: Option<NonZeroUsize>,
    /// Build what does not depend on a failure
    #[arg(short, long)]
    pub keep_going: bool,
    /// Tell what would run and why; change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Build again whenever an input changes
    #[arg(short, long)]
    pub watch: bool,
    /// Run although up to date: everything, or one target
    #[arg(long, value_name = "TARGET", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    force: Vec<String>,
    /// Goals without their dependencies
    #[arg(long)]
    pub only: bool,
    /// Only goals whose inputs differ from a git revision [default: the merge base with the default branch]
    #[arg(long, value_name = "REF", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub affected: Option<String>,
    /// What may be read and written, as in `local:rw,remote:r`
    #[arg(long, value_name = "WHICH:HOW", value_delimiter = ',', conflicts_with_all = ["no_cache", "no_remote"])]
    pub cache: Vec<String>,
    /// Neither read nor write any cache
    #[arg(long)]
    pub no_cache: bool,
    /// Stay on this machine
    #[arg(long)]
    pub no_remote: bool,
    /// What is shown of the commands' output
    #[arg(long, value_enum, value_name = "HOW")]
    pub output: Option<OutputMode>,
    /// Events as JSON lines on standard output
    #[arg(long)]
    pub json: bool,
    /// The run as one JSON document
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// A trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// A JUnit report
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Yes to every `confirm`
    #[arg(long)]
    pub yes: bool,
    /// Yes to the `confirm` of one target
    #[arg(long, value_name = "TARGET")]
    pub approve: Vec<String>,
    /// No verb was typed.
    #[arg(skip)]
    pub is_short: bool,
}

/// What runs although it is up to date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Force {
    /// Nothing.
    #[default]
    Nothing,
    /// Every action of the run.
    Everything,
    /// The instances of these targets.
    Targets(Vec<String>),
}

impl Goals {
    /// Goals and variables, told apart.
    pub fn asked(&self) -> Asked {
        Asked::new(&self.words, &[])
    }

    /// Whether nothing was named at all.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.tags.is_empty()
    }
}

impl Build {
    /// Goals, variables and what followed `--`.
    pub fn asked(&self) -> Asked {
        Asked::new(&self.goals.words, &self.args)
    }

    /// Whether neither a verb nor a goal was typed.
    pub fn is_bare(&self) -> bool {
        self.is_short && self.goals.is_empty()
    }

    /// `--tag`, every one.
    pub fn tags(&self) -> &[String] {
        &self.goals.tags
    }

    /// What `--force` and `--force=TARGET` come to together.
    pub fn force(&self) -> Force {
        match &self.force {
            none if none.is_empty() => Force::Nothing,
            all if all.iter().any(String::is_empty) => Force::Everything,
            some => Force::Targets(some.clone()),
        }
    }
}

fn parse_jobs(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "a number of at least 1 is needed".to_owned())
}

/// What parsing comes to if it is not a command to carry out.
#[derive(Debug)]
pub enum Stop {
    /// `--version`: print [`VERSION`].
    Version,
    /// Clap's answer: help, to standard output, or a mistake, to standard error; see
    /// [`clap::Error::use_stderr`].
    Answer(clap::Error),
    /// A verb or flag that is known but does not exist yet.
    NotYet(String),
}

/// The tree of verbs and flags, for parsing, completions and the manual page.
pub fn command() -> clap::Command {
    later::hide(Typed::command())
}

/// Words of a command line, without the program's name, to what they ask for.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Typed, Stop> {
    let words: Vec<OsString> = words.into_iter().collect();
    if matches!(words.as_slice(), [word] if word == "--version" || word == "-V") {
        return Err(Stop::Version);
    }
    match short::parse(&words) {
        Some(typed) => Ok(typed),
        None => parse_whole(words),
    }
}

/// The same by clap, whatever the words are.
fn parse_whole(words: Vec<OsString>) -> Result<Typed, Stop> {
    let mut command = command();
    let typed = words.len();
    let words = words::with_verb_first(&command, words);
    let verb_is_meant = words.len() > typed;
    let program = OsString::from("iact");
    let matches =
        command.try_get_matches_from_mut(std::iter::once(program).chain(words)).map_err(Stop::Answer)?;
    if let Some(what) = not_yet(&matches) {
        return Err(Stop::NotYet(what));
    }
    let mut typed =
        Typed::from_arg_matches(&matches).map_err(|error| Stop::Answer(error.format(&mut command)))?;
    if let Verb::Build(build) = &mut typed.verb {
        build.is_short = verb_is_meant;
    }
    match &typed.verb {
        Verb::Watch(watch) if watch.build.dry_run => Err(Stop::Answer(only_tells(&mut command, "watch"))),
        Verb::Build(build) if build.watch && build.dry_run => {
            Err(Stop::Answer(only_tells(&mut command, "build")))
        }
        _ => Ok(typed),
    }
}

/// A watch builds, whatever verb asks for it.
fn only_tells(command: &mut clap::Command, verb: &str) -> clap::Error {
    let verb = command.find_subcommand_mut(verb).expect("it was just parsed");
    let message = "'--dry-run' only tells what a build would do, and a watch builds";
    verb.error(ErrorKind::ArgumentConflict, message)
}
