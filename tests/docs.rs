//! `docs/` is complete: every key of the format and every verb and flag of the command line is on its page, and
//! what is not there yet is said to be so.

use clap::Command;
use serde_json::Value;
use std::collections::BTreeSet;

const FORMAT: &str = include_str!("../docs/iactfile.md");
const WORDS: &str = include_str!("../docs/cli.md");

/// The rows of tables whose first cell is a name in back-ticks, with all names of that cell.
fn documented_keys() -> BTreeSet<&'static str> {
    let cells = FORMAT.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').step_by(2)).collect()
}

/// Every key of a schema, in tables of any depth.
fn each_key(schema: &Value, each: &mut impl FnMut(&str)) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(keys)) = fields.get("properties") {
                keys.keys().for_each(|key| each(key));
            }
            fields.values().for_each(|inner| each_key(inner, each));
        }
        Value::Array(items) => items.iter().for_each(|inner| each_key(inner, each)),
        _ => {}
    }
}

#[test]
fn every_key_of_the_format_is_documented() {
    let documented = documented_keys();
    let mut count = 0;
    each_key(&iact::schema::schema(), &mut |key| {
        count += 1;
        // Keys of small tables may stand in the line of the table.
        assert!(
            documented.contains(key) || FORMAT.contains(&format!("`{key}`")),
            "`{key}` is not documented"
        );
    });
    assert!(count > 100);
}

#[test]
fn no_key_is_documented_that_the_format_does_not_have() {
    let mut known = BTreeSet::new();
    each_key(&iact::schema::schema(), &mut |key| {
        known.insert(key.to_owned());
    });
    let built_in = FORMAT.find("| built in |").expect("the table of built-in names");
    for line in
        FORMAT[..built_in].lines().chain(FORMAT[built_in..].lines().skip_while(|line| line.starts_with('|')))
    {
        let Some(cell) = line.strip_prefix("| `").and_then(|rest| rest.split(" | ").next()) else { continue };
        for key in cell.split('`').step_by(2).filter(|key| !key.is_empty()) {
            assert!(known.contains(key), "`{key}` is documented and no key");
        }
    }
}

fn not_yet() -> &'static str {
    WORDS.split("## Not there yet").nth(1).unwrap_or_default()
}

fn there() -> &'static str {
    WORDS.split("## Not there yet").next().expect("a page")
}

fn is_named(page: &str, name: &str) -> bool {
    page.match_indices(name).any(|(at, _)| {
        let after = page[at + name.len()..].chars().next();
        page[..at].ends_with(['`', ' '])
            && !after.is_some_and(|c| c.is_alphanumeric() || c == '-' || c == '_')
    })
}

fn each_flag<'c>(command: &'c Command) -> impl Iterator<Item = (String, bool)> + 'c {
    let flags = command.get_arguments().filter(|flag| flag.get_long().is_some());
    flags.map(|flag| (format!("--{}", flag.get_long().expect("it has one")), flag.is_hide_set()))
}

#[test]
fn every_verb_and_flag_is_documented_where_it_belongs() {
    let program = iact::cli::command();
    let mut count = 0;
    let mut look = |name: &str, hidden: bool| {
        count += 1;
        let (page, other) = if hidden { (not_yet(), there()) } else { (there(), not_yet()) };
        assert!(is_named(page, name), "`{name}` is not where it belongs");
        assert!(hidden || !is_named(other, name), "`{name}` is there, and documented as not there yet");
    };
    each_flag(&program).for_each(|(flag, hidden)| look(&flag, hidden));
    for verb in program.get_subcommands().filter(|verb| verb.get_name() != "complete") {
        let verb_hidden = verb.is_hide_set();
        let name = format!("iact {}", verb.get_name());
        let inner: Vec<&Command> = verb.get_subcommands().collect();
        if inner.is_empty() || verb_hidden {
            look(&name, verb_hidden);
        } else {
            inner.iter().for_each(|one| look(&format!("{name} {}", one.get_name()), one.is_hide_set()));
        }
        if verb_hidden {
            continue;
        }
        let all = inner.iter().filter(|one| !one.is_hide_set()).flat_map(|one| each_flag(one));
        each_flag(verb).chain(all).for_each(|(flag, hidden)| look(&flag, hidden));
    }
    assert!(count > 50);
}

#[test]
fn every_reason_is_documented() {
    let source = include_str!("../src/decision.rs");
    let body = source.split("pub enum Reason {").nth(1).and_then(|rest| rest.split("\n}\n").next());
    let names = body.expect("the enum").lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.trim_end_matches([',', '{', ' ']);
        name.starts_with(|c: char| c.is_ascii_uppercase()).then_some(name)
    });
    let mut count = 0;
    for name in names {
        let mut snake = String::new();
        for letter in name.chars() {
            if letter.is_ascii_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        count += 1;
        assert!(there().contains(&format!("`{snake}`")), "`{snake}` is not documented");
    }
    assert!(count > 15);
}

#[test]
fn the_crates_that_are_explained_are_those_that_are_used() {
    let page = include_str!("../docs/architecture.md");
    let table = page.split_once("## Crates a reader may wonder about").unwrap().1;
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let explained: Vec<&str> =
        rows.filter(|cell| *cell != "crate").flat_map(|cell| cell.split(", ")).collect();
    assert!(explained.len() > 15, "{explained:?}");
    let declared = [include_str!("../Cargo.toml"), include_str!("../cache/Cargo.toml")].concat();
    let is_declared = |name: &str| {
        declared.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '.'])))
    };
    for name in explained {
        assert!(is_declared(name), "`{name}` is no dependency");
    }
}
