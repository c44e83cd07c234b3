//! Plain words of a command line: which is the verb, which are goals, which are variables.
//!
//! Invariant: the tables are read off the clap tree, so a new flag or verb cannot be forgotten here. A word
//! is a variable exactly if an identifier stands before its first `=`; `m[db=pg]` is a goal, whatever its
//! brackets hold.

use crate::manifest::quantity;
use crate::template::is_reserved;
use clap::{Arg, Command};
use std::ffi::OsString;

/// `NAME=VALUE` on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Var {
    /// An identifier.
    pub name: String,
    /// Anything, nothing included.
    pub value: String,
}

/// What a run was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Names of targets as typed, in order.
    pub goals: Vec<String>,
    /// Variables in order; of one name the last counts.
    pub vars: Vec<Var>,
    /// What followed `--`.
    pub args: Vec<String>,
}

/// A plain word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A name of a target.
    Goal(String),
    /// `NAME=VALUE`.
    Var(Var),
}

impl Asked {
    /// Plain words, told apart; and what followed `--`.
    pub fn new(words: &[Word], args: &[String]) -> Self {
        let mut asked = Self { args: args.to_vec(), ..Self::default() };
        for word in words.iter().cloned() {
            match word {
                Word::Goal(goal) => asked.goals.push(goal),
                Word::Var(var) => asked.vars.push(var),
            }
        }
        asked
    }
}

pub(super) fn parse_word(word: &str) -> Result<Word, String> {
    match word.find(['=', '[']) {
        _ if word.is_empty() => Err("a goal needs a name".to_owned()),
        Some(at) if word[at..].starts_with('=') => parse_var(word).map(Word::Var),
        _ => Ok(Word::Goal(word.to_owned())),
    }
}

pub(super) fn parse_var(word: &str) -> Result<Var, String> {
    let (name, value) = word.split_once('=').ok_or("a variable is written `NAME=VALUE`")?;
    let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !first || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("`{name}` cannot be the name of a variable"));
    }
    if is_reserved(name) {
        return Err(format!(
            "`{name}` has a meaning of its own in templates, and no variable can have its name"
        ));
    }
    Ok(Var { name: name.to_owned(), value: value.to_owned() })
}

/// Bytes.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    quantity::size_bytes(text).map_err(|why| format!("{why}; a size is written `20GiB`"))
}

/// Milliseconds.
pub(super) fn parse_duration(text: &str) -> Result<u64, String> {
    quantity::duration_ms(text).map_err(|why| format!("{why}; a duration is written `30d`"))
}

/// A part of a hundred.
pub(super) fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    number
        .filter(|number| *number > 0.0 && *number <= 100.0)
        .ok_or_else(|| "a part is written `5%`".to_owned())
}

/// The same words with the verb in front: moved there from behind its flags, or `build` if no word is one. Help and
/// version without any word are the program's own, whatever else was typed.
pub(super) fn with_verb_first(command: &Command, mut words: Vec<OsString>) -> Vec<OsString> {
    let mut valued = None;
    let mut at = 0;
    let mut answer = None;
    while let Some(word) = words.get(at) {
        let text = word.to_string_lossy();
        if text == "--" {
            break;
        }
        if text.len() < 2 || !text.starts_with('-') {
            answer = None;
            if text == "help" || command.find_subcommand(&*text).is_some() {
                let verb = words.remove(at);
                words.insert(0, verb);
                return words;
            }
            break;
        }
        if matches!(&*text, "-h" | "--help" | "-V" | "--version") {
            answer = Some(word.clone());
        }
        let valued = valued.get_or_insert_with(|| ValuedFlags::of(command));
        at += if valued.takes_next(&text) { 2 } else { 1 };
    }
    if let Some(answer) = answer {
        return vec![answer];
    }
    words.insert(0, OsString::from("build"));
    words
}

/// The flags whose value is the next word, of all verbs together.
pub(super) struct ValuedFlags {
    long: Vec<String>,
    short: Vec<char>,
}

impl ValuedFlags {
    pub(super) fn of(command: &Command) -> Self {
        let mut flags = Self { long: Vec::new(), short: Vec::new() };
        flags.add(command);
        command.get_subcommands().for_each(|verb| flags.add(verb));
        flags
    }

    fn add(&mut self, command: &Command) {
        // Not `get_opts`, which knows what takes a value only once the whole tree is built, at a
        // millisecond's cost.
        let takes_value = |arg: &&Arg| arg.get_action().takes_values() && !arg.is_require_equals_set();
        for arg in command.get_arguments().filter(takes_value) {
            self.long.extend(arg.get_long().map(str::to_owned));
            self.short.extend(arg.get_short());
        }
    }

    pub(super) fn takes_next(&self, word: &str) -> bool {
        if let Some(long) = word.strip_prefix("--") {
            return self.long.iter().any(|name| name == long);
        }
        let mut letters = word.chars().skip(1);
        match letters.find(|letter| self.short.contains(letter)) {
            Some(_) => letters.next().is_none(),
            None => false,
        }
    }
}

#[cfg(test)]
#[path = "words_test.rs"]
mod tests;
