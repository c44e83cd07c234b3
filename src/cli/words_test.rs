//! Command lines and what they come to.

use crate::cli::{Asked, Build, Force, Stop, Typed, Var, Verb, parse};
use std::ffi::OsString;

fn typed(words: &[&str]) -> Typed {
    parse(words.iter().map(OsString::from)).unwrap_or_else(|stop| panic!("{words:?}: {stop:?}"))
}

fn build(words: &[&str]) -> Build {
    match typed(words).verb {
        Verb::Build(build) => *build,
        other => panic!("{words:?}: {other:?}"),
    }
}

fn mistake(words: &[&str]) -> String {
    match parse(words.iter().map(OsString::from)) {
        Err(Stop::Answer(error)) if error.use_stderr() => {
            assert_eq!(error.exit_code(), 2, "{words:?}");
            error.render().to_string()
        }
        other => panic!("{words:?}: {other:?}"),
    }
}

#[test]
fn words_are_goals_variables_or_arguments() {
    for (words, goals, vars, args) in [
        (&[] as &[&str], &[] as &[&str], &[] as &[(&str, &str)], &[] as &[&str]),
        (&["build"], &[], &[], &[]),
        (&["build", "build"], &["build"], &[], &[]),
        (&["run", "list"], &["list"], &[], &[]),
        (&["cpython"], &["cpython"], &[], &[]),
        (&["-k", "cpython"], &["cpython"], &[], &[]),
        (&["-C", "list", "test"], &["test"], &[], &[]),
        (&["-C", "dir", "build", "list"], &["list"], &[], &[]),
        (&["-kj", "4", "test", "list"], &["test", "list"], &[], &[]),
        (&["-j4", "build", "x"], &["x"], &[], &[]),
        (&["--tag", "ci", "--output", "none", "x"], &["x"], &[], &[]),
        (&["--force", "x"], &["x"], &[], &[]),
        (&["m[db=pg,py=3.11]", "check[src/a=b.sh]"], &["m[db=pg,py=3.11]", "check[src/a=b.sh]"], &[], &[]),
        (&["api:test", ":all", "a/b"], &["api:test", ":all", "a/b"], &[], &[]),
        (&["a", "b=1", "c"], &["a", "c"], &[("b", "1")], &[]),
        (&["b=1", "b=2"], &[], &[("b", "1"), ("b", "2")], &[]),
        (&["t", "a=", "b==", "c=x=y"], &["t"], &[("a", ""), ("b", "="), ("c", "x=y")], &[]),
        (&["t", "a=two\nlines $(x) 'é' m[db=1]"], &["t"], &[("a", "two\nlines $(x) 'é' m[db=1]")], &[]),
        (&["t", "_A9=-x"], &["t"], &[("_A9", "-x")], &[]),
        (&["t", "--", "-k", "a=b", "--", "list"], &["t"], &[], &["-k", "a=b", "--", "list"]),
        (&["--", "x"], &[], &[], &["x"]),
        (&["x", "-k", "y"], &["x", "y"], &[], &[]),
    ] {
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let var = |(name, value): &(&str, &str)| Var { name: (*name).to_owned(), value: (*value).to_owned() };
        let wanted = Asked { goals: text(goals), vars: vars.iter().map(var).collect(), args: text(args) };
        assert_eq!(build(words).asked(), wanted, "{words:?}");
    }
}

#[test]
fn flags_stand_anywhere_and_mean_the_same() {
    for words in [
        &["build", "-j", "3", "-k", "x", "-C", "d", "-v"] as &[&str],
        &["-j", "3", "-kv", "-C", "d", "build", "x"],
        &["-j3", "-C", "d", "x", "-k", "--verbose"],
        &["-Cd", "--jobs=3", "--keep-going", "-v", "build", "x"],
    ] {
        let whole = typed(words);
        assert_eq!((whole.place.directory, whole.look.verbose), (Some("d".into()), 1), "{words:?}");
        let build = build(words);
        assert_eq!((build.jobs.map(usize::from), build.keep_going), (Some(3), true), "{words:?}");
        assert_eq!(build.asked().goals, ["x"], "{words:?}");
    }
    assert!(matches!(typed(&["--json", "list"]).verb, Verb::List(list) if list.json.json));
    assert!(matches!(typed(&["-f", "build", "why", "x"]).verb, Verb::Why(why) if why.one.target == "x"));
}

#[test]
fn force_names_a_target_or_means_everything() {
    for (words, wanted) in [
        (&["x"] as &[&str], Force::Nothing),
        (&["x", "--force"], Force::Everything),
        (&["--force=y", "x", "--force=z"], Force::Targets(vec!["y".into(), "z".into()])),
        (&["--force=y", "--force", "x"], Force::Everything),
    ] {
        assert_eq!(build(words).force(), wanted, "{words:?}");
    }
}

#[test]
fn what_is_wrong_is_said_and_exits_with_2() {
    for (words, wanted) in [
        (&["x", "-j", "0"] as &[&str], "at least 1"),
        (&["x", "-jmany"], "at least 1"),
        (&["x", "--jobs=-1"], "at least 1"),
        (&["x", "--jbos", "3"], "'--jobs'"),
        (&["x", "--output=gruop"], "'group'"),
        (&["x", "a-b=1"], "`a-b` cannot be the name"),
        (&["x", "os=plan9"], "`os` has a meaning of its own"),
        (&["status", "x", "out="], "`out` has a meaning of its own"),
        (&["why", "x", "args=1"], "`args` has a meaning of its own"),
        (&["x", "=1"], "`` cannot be the name"),
        (&["x", ""], "a goal needs a name"),
        (&["why"], "<TARGET>"),
        (&["why", "a", "b"], "NAME=VALUE"),
        (&["-q", "-v", "x"], "cannot be used with"),
        (&["watch", "-n", "x"], "'--dry-run'"),
        (&["-n", "-w", "x"], "'--dry-run'"),
        (&["build", "--watch", "--dry-run"], "'--dry-run'"),
        (&["log", "a", "--json"], "--json"),
        (&["cache", "fogret"], "'forget'"),
    ] {
        let said = mistake(words);
        assert!(said.contains(wanted), "{words:?}: {said}");
    }
}

#[test]
fn help_and_version_are_answers() {
    assert!(matches!(parse(["--version".into()]), Err(Stop::Version)));
    assert!(matches!(parse(["-V".into()]), Err(Stop::Version)));
    for words in [
        &["--help"] as &[&str],
        &["-h"],
        &["help"],
        &["help", "build"],
        &["x", "--help"],
        &["-k", "-h"],
        &["cache", "-h"],
    ] {
        match parse(words.iter().map(OsString::from)) {
            Err(Stop::Answer(answer)) => assert!(!answer.use_stderr(), "{words:?}: {answer}"),
            other => panic!("{words:?}: {other:?}"),
        }
    }
}

#[test]
fn what_does_not_exist_yet_is_answered_so() {
    for (words, wanted) in [
        (&["report"] as &[&str], "report"),
        (&["cache", "doctor"], "cache doctor"),
        (&["x", "--affected"], "--affected"),
        (&["x", "--no-remote"], "--no-remote"),
        (&["watch", "--affected"], "--affected"),
        (&["graph", "--format=svg"], "graph --format svg"),
    ] {
        match parse(words.iter().map(OsString::from)) {
            Err(Stop::NotYet(what)) => assert_eq!(what, wanted),
            other => panic!("{words:?}: {other:?}"),
        }
    }
}

#[test]
fn a_flag_takes_a_value_in_every_verb_or_in_none() {
    let command = crate::cli::command();
    let mut arity = std::collections::BTreeMap::new();
    for verb in command.get_subcommands() {
        for arg in verb.get_arguments() {
            let takes = arg.get_action().takes_values() && !arg.is_require_equals_set();
            for name in arg.get_long().map(str::to_owned).into_iter().chain(arg.get_short().map(String::from))
            {
                let first = *arity.entry(name.clone()).or_insert(takes);
                assert_eq!(
                    takes,
                    first,
                    "--{name} of {}: verbs and flags could not be told apart",
                    verb.get_name()
                );
            }
        }
    }
    command.debug_assert();
}
