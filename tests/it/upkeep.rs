//! The house is kept: no test file forgotten, no word of haste left, the core pure, files of a readable length.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SHELL_MARK: &str = "#![allow(clippy::disallowed_methods, reason = \"shell:";

fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(ROOT);
    let found: Vec<PathBuf> = crate::space::files(&root.join(folder));
    found
        .into_iter()
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .map(|path| {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn all() -> Vec<(String, String)> {
    ["src", "cache/src", "cache/tests", "tests", "benches"]
        .iter()
        .flat_map(|folder| sources(folder))
        .collect()
}

fn is_test(name: &str) -> bool {
    name.contains("tests/")
        || name.ends_with("simulation.rs")
        || name.ends_with("tests.rs")
        || name.ends_with("_test.rs")
        || name.starts_with("benches")
}

#[test]
fn every_test_file_is_compiled() {
    for (main, folder) in [
        ("tests/it/main.rs", "tests/it"),
        ("tests/never/main.rs", "tests/never"),
        ("cache/tests/behaviour/main.rs", "cache/tests/behaviour"),
    ] {
        let text = fs::read_to_string(Path::new(ROOT).join(main)).unwrap();
        for entry in fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_file() && stem != "main" {
                assert!(text.contains(&format!("mod {stem};")), "{folder}/{stem}.rs is no module of {main}");
            }
        }
    }
}

#[test]
fn nothing_half_done_is_left() {
    let words = ["todo!", "dbg!", "unimplemented!", "TODO", "FIXME", "XXX:", "HACK"];
    for (name, text) in all().into_iter().filter(|(name, _)| name != "tests/it/upkeep.rs") {
        for word in words {
            assert!(!text.contains(word), "{name} holds `{word}`");
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (name, text) in all() {
        assert!(text.starts_with("//! "), "{name} has no module comment");
    }
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = all()
        .into_iter()
        .map(|(name, text)| (name, text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count()))
        .filter(|(_, lines)| *lines > 680)
        .map(|(name, lines)| format!("{name}: {lines}"))
        .collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn core_files_touch_no_file_process_clock_or_environment() {
    for (name, text) in sources("src").into_iter().chain(sources("cache/src")) {
        if text.contains(SHELL_MARK) || is_test(&name) {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap();
        // The type of an open file that somebody hands over opens nothing.
        let lines = code.lines().filter(|line| *line != "use std::fs::File;");
        for line in lines.filter(|line| !line.trim_start().starts_with("//")) {
            for banned in [
                "std::fs",
                "std::process::Command",
                "env::var",
                "SystemTime::now",
                "Instant::now",
                "thread::sleep",
            ] {
                assert!(!line.contains(banned), "{name} is a core file and says `{}`", line.trim());
            }
        }
    }
}

#[test]
fn the_library_of_the_cache_knows_nothing_of_targets() {
    for (name, text) in sources("cache/src") {
        assert!(!text.contains("use iact::"), "{name}");
    }
}
