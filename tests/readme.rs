//! The README is true: its tour runs as shown, its map names what is there, its exit codes are the program's.
#![allow(clippy::disallowed_methods, reason = "a test: runs the tour, looks at the source tree")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../README.md");

/// The text below a heading, up to the next one of its level.
fn section(heading: &str) -> &'static str {
    let start = README.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no `{heading}`")) + 1;
    let rest = &README[start..];
    rest[1..].find("\n## ").map_or(rest, |end| &rest[..end + 2])
}

/// The fenced blocks of a text: language and content.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                open = true;
                found.push((language, String::new()));
            }
            None if open => {
                let block = &mut found.last_mut().expect("one is open").1;
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    found
}

/// A command of the tour and what it says.
struct Step {
    command: String,
    shown: String,
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (language, text) in blocks(section("A tour in five minutes")) {
        match language {
            "toml" => steps.push(Step {
                command: format!("cat > Iactfile.toml <<'END OF FILE'\n{text}END OF FILE"),
                shown: String::new(),
            }),
            "console" => {
                for line in text.lines() {
                    match line.strip_prefix("$ ") {
                        Some(command) => {
                            steps.push(Step { command: command.to_owned(), shown: String::new() })
                        }
                        None => {
                            let shown = &mut steps.last_mut().expect("a command comes first").shown;
                            shown.push_str(line);
                            shown.push('\n');
                        }
                    }
                }
            }
            other => panic!("a block of `{other}` in the tour"),
        }
    }
    steps
}

/// Times differ from run to run: `11ms` becomes `…`.
fn without_times(text: &str) -> String {
    let word = |word: &str| {
        let (body, end) = word.split_at(word.trim_end_matches('\n').len());
        let digits = body.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let is_time = !digits.is_empty()
            && digits.starts_with(|c: char| c.is_ascii_digit())
            && matches!(&body[digits.len()..], "ms" | "s" | "m");
        if is_time { format!("…{end}") } else { word.to_owned() }
    };
    text.split_inclusive('\n').map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_tour_goes_as_it_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().join("first");
    std::fs::create_dir(&here).expect("a folder in it");
    let steps = steps();
    assert!(steps.len() > 20);
    // Each command's end is marked, with its exit code kept for a following `echo $?`.
    let script: String = steps
        .iter()
        .map(|step| format!("(exit $code)\n{}\ncode=$?; printf '\\001'\n", step.command))
        .collect();
    let program = Path::new(env!("CARGO_BIN_EXE_iact"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash")
        .args(["-c", "exec 2>&1; code=0; eval \"$(cat)\""])
        .current_dir(&here)
        .env_clear()
        .env("PATH", format!("{}:{path}", program.parent().expect("a folder").display()))
        .env("HOME", folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("bash runs");
    // The script is read whole before the first command, so commands find an empty standard input.
    shell.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("bash reads");
    let output = shell.wait_with_output().expect("bash ends");
    let said = String::from_utf8(output.stdout).expect("text");
    let said: Vec<&str> = said.split('\u{1}').collect();
    for (step, said) in steps.iter().zip(said.iter().copied().chain(std::iter::repeat("(never ran)\n"))) {
        // Two actions at once end in either order.
        let sorted = |text: &str| {
            let mut lines: Vec<String> = without_times(text).lines().map(str::to_owned).collect();
            if step.command.contains("lint --output") {
                lines.sort_unstable();
            }
            lines
        };
        assert_eq!(sorted(said), sorted(&step.shown), "$ {}\n{said}", step.command);
    }
}

#[test]
fn the_map_names_what_is_there_and_all_of_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let block = blocks(section("The map of the house"));
    let [("text", map)] = &block[..] else { panic!("one block of text") };
    let mut named: BTreeSet<String> = BTreeSet::new();
    let mut folder = "";
    for line in map.lines() {
        let name = line.split_whitespace().next().expect("a name");
        if !line.starts_with(' ') {
            folder = name;
            assert!(root.join(name).is_dir(), "no folder `{name}`");
            continue;
        }
        let path = format!("{folder}{name}");
        let text = std::fs::read_to_string(root.join(&path)).unwrap_or_else(|_| panic!("no `{path}`"));
        let acts = text.contains("#![allow(clippy::disallowed_methods");
        let marked = line.split_whitespace().nth(1).expect("C or S");
        assert!(marked == "S" || marked == "C" && !acts, "`{path}` acts, and is marked `{marked}`");
        named.insert(path);
    }
    for folder in ["src/", "cache/src/"] {
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
        for name in names.filter(|name| name.ends_with(".rs")) {
            assert!(named.contains(&format!("{folder}{name}")), "`{folder}{name}` is not on the map");
        }
    }
}

#[test]
fn the_exit_codes_are_the_programs() {
    let source = include_str!("../src/error.rs");
    let codes =
        source.lines().filter_map(|line| line.trim().strip_prefix("pub const ")?.split_once(": u8 = "));
    let codes: BTreeSet<&str> = codes.map(|(_, value)| value.trim_end_matches(';')).collect();
    assert_eq!(codes.len(), 7);
    for text in [section("Exit codes"), include_str!("../docs/cli.md")] {
        let after = text.split("## Exit codes").nth(1).expect("the section");
        let rows = after.split("\n## ").next().expect("a text").lines();
        let documented: BTreeSet<&str> = rows
            .filter_map(|line| line.strip_prefix("| ")?.split(' ').next())
            .filter(|code| code.parse::<u8>().is_ok())
            .collect();
        assert_eq!(documented, codes);
        assert!(after.contains("| 128+N |"));
    }
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/iactfile.md",
        "docs/cli.md",
        "docs/architecture.md",
    ] {
        let text = std::fs::read_to_string(root.join(page)).expect("a page");
        let folder = root.join(page).parent().expect("a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if file.starts_with("http") {
                continue;
            }
            let target = if file.is_empty() { root.join(page) } else { folder.join(file) };
            let text = std::fs::read_to_string(&target);
            assert!(target.exists(), "{page}: `{link}`");
            let heading = |line: &str| {
                let title = line.trim_start_matches('#').trim().to_lowercase();
                title
                    .chars()
                    .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-'))
                    .collect::<String>()
                    .replace(' ', "-")
            };
            let found = anchor.is_empty()
                || text.expect("a page").lines().any(|line| line.starts_with('#') && heading(line) == anchor);
            assert!(found, "{page}: `{link}` names no heading");
        }
    }
}
