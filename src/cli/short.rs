//! The words that nearly every build is asked for with, understood without clap: to grow its tree of verbs and flags costs
//! more than an up-to-date check of a hundred targets.
//!
//! Invariant: what is understood here, clap understands in the very same way; everything else, mistakes first of all, is left
//! to it. The tests hold the two side by side.

use super::{Build, Goals, Look, Place, Typed, Verb, parse_jobs, words};
use std::ffi::OsString;

/// Words that are verbs wherever they stand.
pub const VERBS: [&str; 28] = [
    "artifact",
    "build",
    "cache",
    "check",
    "clean",
    "complete",
    "completions",
    "doctor",
    "down",
    "graph",
    "help",
    "import",
    "init",
    "list",
    "log",
    "logs",
    "lsp",
    "man",
    "ps",
    "report",
    "run",
    "schema",
    "show",
    "status",
    "trust",
    "up",
    "watch",
    "why",
];

/// A build with at most a verb, some goals and the most frequent flags, each once.
pub(super) fn parse(typed: &[OsString]) -> Option<Typed> {
    let (mut build, mut quiet, mut goals) = (Build::default(), false, Vec::new());
    let mut words = typed.iter().map(|word| word.to_str());
    let mut first = true;
    let mut has_verb = false;
    while let Some(word) = words.next() {
        let word = word?;
        match word {
            "build" | "run" if first => has_verb = true,
            "-q" | "--quiet" => set(&mut quiet)?,
            "-k" | "--keep-going" => set(&mut build.keep_going)?,
            "--json" => set(&mut build.json)?,
            "-j" if build.jobs.is_none() => build.jobs = Some(parse_jobs(plain(words.next()??)?).ok()?),
            _ if word.starts_with("-j") && build.jobs.is_none() => {
                build.jobs = Some(parse_jobs(plain(&word[2..])?).ok()?);
            }
            _ if VERBS.contains(&word) => return None,
            _ => goals.push(words::Word::Goal(plain(word)?.to_owned())),
        }
        first = false;
    }
    build.is_short = !has_verb;
    build.goals = Goals { words: goals, tags: Vec::new() };
    Some(Typed {
        place: Place::default(),
        look: Look { quiet, ..Look::default() },
        help: None,
        verb: Verb::Build(Box::new(build)),
    })
}

fn set(flag: &mut bool) -> Option<()> {
    (!std::mem::replace(flag, true)).then_some(())
}

/// A word of which nothing but a name can be made.
fn plain(word: &str) -> Option<&str> {
    let begins = word.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/');
    let goes_on = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
    (begins && word.chars().all(goes_on)).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{command, parse_whole};
    use proptest::prelude::*;

    #[test]
    fn the_verbs_are_those_of_the_tree() {
        let command = command();
        let mut all: Vec<&str> = command
            .get_subcommands()
            .flat_map(|verb| verb.get_all_aliases().chain([verb.get_name()]))
            .collect();
        all.push("help");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all, VERBS);
    }

    fn same(words: &[&str]) -> bool {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let Some(short) = parse(&words) else { return false };
        let whole = parse_whole(words.clone()).unwrap_or_else(|stop| panic!("{words:?}: {stop:?}"));
        assert_eq!(format!("{short:?}"), format!("{whole:?}"), "{words:?}");
        true
    }

    #[test]
    fn usual_words_are_understood() {
        for words in
            [&[][..], &["-q"], &["build", "-j4", "a/b:c"], &["x", "-j", "2", "-k", "--json"], &["run"]]
        {
            assert!(same(words), "{words:?}");
        }
        for words in [
            &["-q", "-q"][..],
            &["-j0"],
            &["a=b"],
            &["--", "x"],
            &["status"],
            &["x", "build"],
            &["-qk"],
            &["-j"],
        ] {
            assert!(!same(words), "{words:?}");
        }
    }

    proptest! {
        #[test]
        fn clap_understands_the_same(words in prop::collection::vec(
            prop::sample::select(vec![
                "build", "run", "help", "list", "x", "a/b", "//", "2", "007", "-q", "--quiet", "-k", "-j", "-j2", "-j=2", "-j02",
                "-j+3", "--json", "--json=1", "-kq", "--", "-", "", "a=b", "x[y]", "--jobs", "-v", "é", "x.y:z",
            ]),
            0..6,
        )) {
            same(&words);
        }
    }
}
