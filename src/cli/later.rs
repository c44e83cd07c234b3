//! What the command line documents and the program cannot do yet: one table. What stands in it parses, is
//! left out of help, completions and manual, and is answered with "not yet".
//!
//! Invariant: a feature that is finished is taken out of the table and thereby appears everywhere at once.

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

const VERBS: &[&str] = &["report", "init", "import", "trust", "lsp"];
const CACHE_VERBS: &[&str] = &["doctor"];
const FLAGS: &[&str] = &["affected", "cache", "no_remote", "trace", "junit"];

pub(super) fn hide(command: Command) -> Command {
    command.mut_subcommands(|verb| {
        let name = verb.get_name().to_owned();
        let verb = if VERBS.contains(&name.as_str()) { verb.hide(true) } else { verb };
        match name.as_str() {
            "cache" => CACHE_VERBS
                .iter()
                .fold(verb, |cache, name| cache.mut_subcommand(name, |verb| verb.hide(true))),
            "build" | "watch" => {
                FLAGS.iter().fold(verb, |verb, flag| verb.mut_arg(flag, |flag| flag.hide(true)))
            }
            _ => verb,
        }
    })
}

/// The first verb or flag of what was typed that does not exist yet, as typed.
pub fn not_yet(matches: &ArgMatches) -> Option<String> {
    let (verb, below) = matches.subcommand()?;
    if VERBS.contains(&verb) {
        return Some(verb.to_owned());
    }
    if verb == "cache" {
        let (cache_verb, _) = below.subcommand()?;
        return CACHE_VERBS.contains(&cache_verb).then(|| format!("cache {cache_verb}"));
    }
    if verb == "graph" {
        let format = below.get_one::<super::GraphFormat>("format")?;
        return match format {
            super::GraphFormat::Svg => Some("graph --format svg".to_owned()),
            super::GraphFormat::Html => Some("graph --format html".to_owned()),
            _ => None,
        };
    }
    let typed = |flag: &str| below.value_source(flag) == Some(ValueSource::CommandLine);
    let flag = FLAGS.iter().find(|flag| matches!(verb, "build" | "watch") && typed(flag))?;
    Some(format!("--{}", flag.replace('_', "-")))
}
