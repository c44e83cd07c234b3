//! One file per verb, wiring only: what was typed goes to the rooms that can do it, what they say goes to the screen.
#![allow(clippy::disallowed_methods, reason = "shell: the caller's environment")]

pub mod artifact;
pub mod build;
pub mod cache;
pub mod check;
pub mod clean;
pub mod complete;
pub mod doctor;
pub mod graph;
pub mod list;
pub mod log;
pub mod question;
pub mod services;
pub mod show;
pub mod still;
pub mod up;
pub mod watch;
pub mod why;

use crate::cli::{self, Stop, Typed, Verb};
use crate::engine::signal::raise_default;
use crate::engine::terminal::Terminal;
use crate::error::{Error, Kind, Result, exit};
use crate::ui::facts::Facts;
use crate::ui::look::Look;
use crate::ui::paint::Paint;
use crate::ui::table::Style;
use crate::ui::{diagnostic, door};
use crate::workspace::{Caller, Given, Place, Workspace};
use rustix::process::Signal;
use std::ffi::OsString;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With this exit code.
    Code(u8),
    /// By this signal.
    Signal(Signal),
}

/// Runs the command that these words ask for.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let typed = match cli::parse(words) {
        Ok(typed) => typed,
        Err(Stop::Version) => {
            door::print(cli::VERSION);
            return answered(exit::DONE);
        }
        Err(Stop::Answer(answer)) => {
            let text = answer.render().to_string();
            if answer.use_stderr() {
                door::tell(text);
                return ExitCode::from(exit::USAGE);
            }
            door::print(text);
            return answered(exit::DONE);
        }
        Err(Stop::NotYet(what)) => {
            door::tell(format!("error: `{what}` is not there yet\n"));
            return ExitCode::from(exit::USAGE);
        }
    };
    if typed.look.verbose >= 2 {
        trace();
    }
    let terminal = Terminal::save();
    let end = dispatch(&typed);
    terminal.restore();
    match end {
        Ok(End::Code(code)) if is_question(&typed.verb) => answered(code),
        Ok(End::Code(code)) => ExitCode::from(code),
        Ok(End::Signal(signal)) => {
            raise_default(signal);
            ExitCode::from(u8::try_from(128 + signal.as_raw()).unwrap_or(exit::FAILED))
        }
        Err(error) => {
            complain(&typed, &error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Whether what is printed is all that was wanted; a build is done whoever hears of it.
fn is_question(verb: &Verb) -> bool {
    match verb {
        Verb::Build(build) => build.dry_run,
        Verb::Watch(_) | Verb::Up(_) => false,
        _ => true,
    }
}

/// The exit code of an answer, which has to have arrived.
fn answered(code: u8) -> ExitCode {
    let Some(trouble) = door::trouble() else { return ExitCode::from(code) };
    door::tell(format!("error: cannot write the answer: {trouble}\n"));
    ExitCode::from(exit::FAILED)
}

fn dispatch(typed: &Typed) -> Result<End> {
    match &typed.verb {
        Verb::Build(build) if build.watch => watch::build(typed, build),
        Verb::Build(build) => build::build(typed, build),
        Verb::Watch(asked) => watch::watch(typed, asked),
        Verb::Status(status) => question::status(typed, status),
        Verb::Why(why) => why::why(typed, why),
        Verb::List(list) => list::list(typed, list),
        Verb::Show(show) => show::show(typed, show),
        Verb::Graph(graph) => graph::graph(typed, graph),
        Verb::Log(one) => log::log(typed, one),
        Verb::Check(json) => check::check(typed, *json),
        Verb::Clean(clean) => clean::clean(typed, clean),
        Verb::Artifact(args) => artifact::artifact(typed, &args.verb),
        Verb::Doctor(json) => doctor::doctor(typed, *json),
        Verb::Cache(args) => cache::cache(typed, &args.verb),
        Verb::Up(asked) => up::up(typed, asked),
        Verb::Down(asked) => services::down(typed, asked),
        Verb::Ps(asked) => services::ps(typed, asked),
        Verb::Logs(asked) => services::logs(typed, asked),
        Verb::Completions(completions) => answer(cli::scripts::completions(completions.shell)),
        Verb::Complete(complete) => complete::complete(complete),
        Verb::Schema => document(&crate::schema::schema()),
        Verb::Man => answer(cli::scripts::man()),
        _ => Err(Error::new(Kind::Usage, "not there yet")),
    }
}

/// Opens the workspace that the command line means.
///
/// # Errors
/// As [`Workspace::open`].
pub fn open(typed: &Typed, given: Given) -> Result<Workspace> {
    open_for(Caller::of_process(), typed, given)
}

/// The same for a caller who was asked before.
///
/// # Errors
/// As [`Workspace::open`].
pub fn open_for(caller: Caller, typed: &Typed, given: Given) -> Result<Workspace> {
    let place = Place { directory: typed.place.directory.clone(), file: typed.place.file.clone() };
    Workspace::open(caller, &place, given)
}

/// Writes an answer to standard output.
pub fn answer(text: impl AsRef<[u8]>) -> Result<End> {
    door::print(text);
    Ok(End::Code(exit::DONE))
}

/// Writes an answer for a program to standard output.
pub fn document(answer: &impl serde::Serialize) -> Result<End> {
    let text = serde_json::to_string_pretty(answer).expect("text keys, and a writer that cannot fail");
    self::answer(text + "\n")
}

/// How answers are written.
pub fn style(typed: &Typed) -> Style {
    Style::from(&Look::new(&typed.look, None, &Facts::of_process()))
}

/// Shows a mistake.
pub fn complain(typed: &Typed, error: &Error) {
    let look = Look::new(&typed.look, None, &Facts::of_process());
    door::tell(diagnostic::render(error, Paint(look.color), None));
    if look.github {
        door::print(diagnostic::github_annotation(error));
    }
}

/// `-vv`: decisions, look-ups and processes on standard error. Without it nothing is set up, and an event costs one comparison.
fn trace() {
    let color = Facts::of_process();
    let events = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .with_ansi(color.stderr_is_terminal && !color.no_color && !color.dumb_terminal)
        .with_target(false)
        .with_writer(|| door::Messages);
    events.init();
}
