//! This repository's own targets: everybody says what it is for, and somebody runs each of them for real.
#![allow(clippy::disallowed_methods, reason = "a test: looks at the source tree")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A table of tables of the Iactfile: `target`, `service`.
fn tables(kind: &str) -> BTreeMap<String, Table> {
    let text = std::fs::read_to_string(root().join("Iactfile.toml")).expect("an Iactfile");
    let whole: Table = text.parse().unwrap_or_else(|error| panic!("{error}"));
    let named = whole.get(kind).and_then(Value::as_table).into_iter().flatten();
    named.map(|(name, value)| (name.clone(), value.as_table().expect("a table").clone())).collect()
}

fn text<'t>(table: &'t Table, key: &str) -> &'t str {
    table.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The names in a list, those of tables too; `m[db=pg]` is `m`.
fn names<'t>(table: &'t Table, key: &str) -> impl Iterator<Item = &'t str> {
    let items = table.get(key).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| {
        let name = item.as_str().or_else(|| item.get("target").and_then(Value::as_str))?;
        name.split('[').next()
    })
}

/// The goals, and all that a build of them may run.
fn reached(goals: &[&str]) -> BTreeSet<String> {
    let (targets, services) = (tables("target"), tables("service"));
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<String> = goals.iter().map(|&goal| goal.to_owned()).collect();
    while let Some(name) = waiting.pop() {
        let table = targets.get(&name).or_else(|| services.get(&name));
        let table = table.unwrap_or_else(|| panic!("`{name}` is not defined"));
        if reached.insert(name) {
            for key in ["deps", "services", "on_failure", "finally"] {
                waiting.extend(names(table, key).map(str::to_owned));
            }
        }
    }
    reached
}

/// Scripts that try others: `.ci/run` and its procedures, and below `tasks` what is called selftest or test.
fn test_scripts() -> Vec<PathBuf> {
    let mut found = vec![root().join(".ci/run"), root().join("tasks/ci/procedures.sh")];
    let mut folders = vec![root().join("tasks")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if name.starts_with("test_") || name.starts_with("selftest") {
                found.push(path);
            }
        }
    }
    found
}

fn is_word_of(name: &str, text: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_');
    text.match_indices(name)
        .any(|(at, _)| !part(text[..at].chars().last()) && !part(text[at + name.len()..].chars().next()))
}

#[test]
fn every_target_says_what_it_is_for_and_under_which_heading() {
    for (name, target) in tables("target") {
        let description = text(&target, "description");
        assert!(description.len() > 15, "`{name}` has no description");
        assert!(!description.ends_with('.'), "`{name}`: {description}");
        assert!(description.chars().count() < 160, "`{name}`: a line of a table of contents is shorter");
        assert!(!text(&target, "group").is_empty(), "`{name}` has no group");
    }
}

#[test]
fn every_target_is_run_by_ci_or_by_a_test_of_its_own() {
    let scripts: Vec<String> =
        test_scripts().iter().map(|path| std::fs::read_to_string(path).expect("a script")).collect();
    let targets = tables("target");
    let named = targets.keys().filter(|name| scripts.iter().any(|script| is_word_of(name, script)));
    let goals: Vec<&str> = named.map(String::as_str).chain(["ci", "ci-full"]).collect();
    let reached = reached(&goals);
    let untried: Vec<&String> = targets.keys().filter(|name| !reached.contains(*name)).collect();
    assert!(untried.is_empty(), "run by neither `ci`, `ci-full` nor a test: {untried:?}");
}

#[test]
fn ci_asks_nobody_and_needs_no_secret() {
    let targets = tables("target");
    for name in reached(&["ci"]) {
        let Some(target) = targets.get(&name) else { continue };
        for key in ["confirm", "secrets", "interactive"] {
            assert!(!target.contains_key(key), "`{name}` has `{key}`, and `ci` runs it");
        }
    }
}

#[test]
fn what_a_machine_may_lack_is_optional_with_a_hint() {
    let reached = reached(&["ci", "ci-full"]);
    for (name, target) in tables("target") {
        for row in target.get("requires").and_then(Value::as_array).into_iter().flatten() {
            assert!(row.get("hint").is_some(), "`{name}`: {row} says nothing that helps");
            let is_optional = row.get("optional").and_then(Value::as_bool) == Some(true);
            assert!(
                is_optional || !reached.contains(&name),
                "`{name}`: without {row} all of `ci` is refused"
            );
        }
    }
}

#[test]
fn every_script_is_lean_and_says_what_it_is() {
    for (name, target) in tables("target") {
        let inputs = names(&target, "inputs")
            .filter(|input| input.starts_with("tasks/") && !input.contains(['*', '{']));
        for input in inputs.filter(|input| root().join(input).is_file()) {
            let text = std::fs::read_to_string(root().join(input)).expect("a script");
            let lines = text.lines().count();
            assert!(lines < 500 || input.ends_with(".txt"), "`{name}`: {input} has {lines} lines");
            if text.starts_with("#!") {
                let said = text.lines().nth(1).unwrap_or_default();
                assert!(
                    said.starts_with("# ") || said.starts_with("\"\"\""),
                    "`{name}`: {input} does not say what it is"
                );
            }
        }
    }
}
