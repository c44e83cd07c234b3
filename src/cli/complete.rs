//! What could stand at the cursor. The scripts of the shells know nothing but how to ask; verbs, flags and
//! values come from the clap tree by way of `clap_complete`, names from the Iactfile, which is read and
//! never run.
//!
//! Invariant: what is hidden from help is offered nowhere, and a name is passed on as text, never for a
//! shell to expand.

use super::Place;
use super::words::with_verb_first;
use clap::builder::ValueHint;
use clap::{Arg, Command, FromArgMatches};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate, complete};
use std::ffi::OsString;
use std::sync::Arc;

/// Something that could stand at the cursor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// The whole word.
    pub word: String,
    /// One line about it; may be empty.
    pub help: String,
}

type Names = Arc<dyn Fn() -> Vec<CompletionCandidate> + Send + Sync>;

/// Candidates for the last of the words, sorted. `names` gives the targets with their descriptions and is
/// asked only if a target could stand there. None at all: a file could.
pub fn candidates(
    words: &[String],
    names: impl Fn(&Place) -> Vec<Candidate> + Send + Sync + 'static,
) -> Vec<Candidate> {
    let Some((current, before)) = words.split_last() else { return Vec::new() };
    if before.iter().any(|word| word == "--") {
        return Vec::new();
    }
    let command = super::command();
    let before: Vec<OsString> = before.iter().map(OsString::from).collect();
    let place = place(&command, &before);
    let mut root = with_names(
        command.clone(),
        &(Arc::new(move || {
            let names = names(&place).into_iter();
            names.map(|name| CompletionCandidate::new(name.word).help(Some(name.help.into()))).collect()
        }) as Names),
    );
    let mut found = at_the_end(&mut root, with_verb_first(&command, before.clone()), current);
    if verb_could_follow(&command, &before) {
        found.extend(at_the_end(&mut root, before, current));
    }
    found.retain(|candidate| candidate.word.starts_with('-') == current.starts_with('-'));
    found.sort();
    found.dedup_by(|one, other| one.word == other.word);
    found
}

/// One line per candidate: the word and, after a tab, the help.
pub fn render(candidates: &[Candidate]) -> String {
    let one_line = |text: &str| text.replace(|c: char| c.is_control(), " ");
    let usable = candidates.iter().filter(|candidate| !candidate.word.contains(char::is_control));
    usable.map(|candidate| format!("{}\t{}\n", candidate.word, one_line(&candidate.help))).collect()
}

/// Which workspace the words before the cursor mean.
fn place(command: &Command, before: &[OsString]) -> Place {
    let words = with_verb_first(command, before.to_vec());
    let matches = command.clone().ignore_errors(true).no_binary_name(true).try_get_matches_from(words);
    matches.ok().and_then(|matches| Place::from_arg_matches(&matches).ok()).unwrap_or_default()
}

fn verb_could_follow(command: &Command, before: &[OsString]) -> bool {
    let any_verb = OsString::from("help");
    let words = before.iter().chain([&any_verb]).cloned().collect();
    with_verb_first(command, words).first() == Some(&any_verb)
}

/// The same tree, in which values called after targets are the names. Files are left to the shells.
fn with_names(command: Command, names: &Names) -> Command {
    let with_name = |arg: Arg| {
        let values = arg.get_value_names().unwrap_or_default();
        if values.iter().any(|value| value.starts_with("GOAL") || value.starts_with("TARGET")) {
            let names = Arc::clone(names);
            return arg.add(ArgValueCandidates::new(move || names()));
        }
        if arg.get_action().takes_values() { arg.value_hint(ValueHint::Other) } else { arg }
    };
    command.mut_args(with_name).mut_subcommands(|verb| with_names(verb, names))
}

fn at_the_end(root: &mut Command, before: Vec<OsString>, current: &str) -> Vec<Candidate> {
    let mut words = vec![OsString::from("iact")];
    words.extend(before);
    words.push(current.into());
    let last = words.len() - 1;
    let found = complete(root, words, last, None).unwrap_or_default();
    let shown = found.into_iter().filter(|candidate| !candidate.is_hide_set());
    shown
        .map(|candidate| Candidate {
            word: candidate.get_value().to_string_lossy().into_owned(),
            help: candidate.get_help().map(ToString::to_string).unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
#[path = "complete_test.rs"]
mod tests;
