//! `docs/promises.md` is whole: every promise has a test, every test it names exists, every bug that can be planted has the
//! harness that must notice it, and nothing of that gets into a program for release.
#![allow(clippy::disallowed_methods, reason = "a test: looks at the source tree")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../docs/promises.md");
const CHAOS: &str = include_str!("../cache/src/chaos.rs");

/// Every promise there is: the kind, and its numbers.
const PROMISES: [(&str, &[u32]); 7] = [
    ("COR", &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]),
    ("DUR", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("CON", &[1, 2, 3, 4, 5]),
    ("PRC", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("SEC", &[1, 5, 6, 7, 8, 9, 10]),
    ("BAD", &[1, 2, 3, 4, 5, 6]),
    ("WAT", &[1, 2, 3, 4, 5, 6, 7]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("an entry"))
    {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

/// All tests as `FILE::TEST`, where a file named `tests` goes by the name of its folder.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "cache/src", "cache/tests", "tests"] {
        sources(&root.join(folder), &mut files);
    }
    let mut tests = BTreeSet::new();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("a source is read");
        let stem = |path: &Path| path.file_stem().expect("a name").to_string_lossy().into_owned();
        let folder = stem(path.parent().expect("a folder"));
        let mut name = stem(&path);
        if name == "tests" {
            name.clone_from(&folder);
        }
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |= line == "#[test]";
            if let Some(rest) = line.strip_prefix("fn ")
                && std::mem::take(&mut is_test)
            {
                let test = rest.split(['(', '<']).next().expect("a name");
                tests.insert(format!("{name}::{test}"));
                tests.insert(format!("{folder}::{test}"));
            }
        }
    }
    tests
}

/// The cells of every row of a table that has as many of them.
fn rows(cells: usize) -> Vec<Vec<&'static str>> {
    let split = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let rows = PAGE.lines().filter(|line| line.starts_with('|')).map(split);
    rows.filter(|row| row.len() == cells && !row[0].starts_with("---") && !matches!(row[0], "id" | "planted"))
        .collect()
}

fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_promise_has_a_test_that_exists() {
    let tests = tests();
    let rows = rows(5);
    let expected: Vec<String> = PROMISES
        .iter()
        .flat_map(|(kind, numbers)| numbers.iter().map(move |number| format!("{kind}-{number}")))
        .collect();
    let told: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(told, expected);
    for row in rows {
        let [id, guarantee, tried, commit, long] = row[..] else { unreachable!("rows have five cells") };
        assert!(!guarantee.is_empty() && !commit.is_empty() && !long.is_empty(), "{id}");
        let named = names(tried);
        assert!(!named.is_empty(), "{id} has no test");
        for name in named {
            assert!(tests.contains(name), "{id} names `{name}`, which does not exist");
        }
    }
}

#[test]
fn every_planted_bug_has_a_harness_that_exists() {
    let tests = tests();
    let planted: Vec<&str> = CHAOS
        .lines()
        .filter_map(|line| line.trim().strip_suffix("\",")?.split_once(" = \"").map(|(_, name)| name))
        .collect();
    assert!(planted.len() >= 15, "{planted:?}");
    let rows = rows(3);
    let told: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(told, planted);
    for row in rows {
        let harness = names(row[2])[0];
        let (program, test) = harness.split_once(' ').expect("a program and its test");
        // The program wants the whole path; a file and its test are enough to find it.
        let mut parts = test.rsplit("::");
        let (name, file) = (parts.next().expect("a name"), parts.next().unwrap_or(program));
        assert!(
            tests.contains(&format!("{file}::{name}")),
            "{} names `{test}`, which does not exist",
            row[0]
        );
    }
}

#[test]
fn nothing_is_planted_in_a_program_for_release() {
    assert!(CHAOS.contains("#[cfg(all(feature = \"chaos\", not(debug_assertions)))]\ncompile_error!("));
    let manifest = include_str!("../Cargo.toml");
    let features = manifest.split("[features]").nth(1).expect("features");
    let features = features.split("\n[").next().expect("a section");
    assert!(!features.contains("default"), "no feature is on by itself");
}
