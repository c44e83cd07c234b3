//! Answers in rows: the list of targets, facts about one, and tables of numbers; aligned by what a terminal
//! shows.
//!
//! Invariant: pure functions from plain data to text. Lines are cut only where a width is given, that is on a
//! terminal.

use super::clean::clean;
use super::paint::Paint;
use console::{Alignment, measure_text_width, pad_str, truncate_str};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::fmt::Write as _;

/// How an answer is written.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colours.
    pub paint: Paint,
    /// Columns of the terminal, if it is one.
    pub columns: Option<usize>,
}

impl From<&super::look::Look> for Style {
    fn from(look: &super::look::Look) -> Self {
        Self { paint: Paint(look.color_stdout), columns: look.columns }
    }
}

impl Style {
    fn cut(self, line: &str) -> Cow<'_, str> {
        self.columns.map_or(Cow::Borrowed(line), |columns| truncate_str(line, columns, "…"))
    }
}

/// A target in `iact list`. Its serialised form is that of `iact list --json`.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ListRow {
    /// Full name.
    #[serde(rename = "target")]
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// Other names.
    pub aliases: Vec<String>,
    /// The heading it stands under.
    pub group: Option<String>,
    /// For selection.
    pub tags: Vec<String>,
    /// Whether it is a goal of a bare `iact build`.
    pub default: bool,
}

/// Names above that width do not push the descriptions of all others to the right.
const NAME_COLUMNS: usize = 36;

/// `iact list`: groups as headings in the order of their first target, those without a group first.
pub fn list(rows: &[ListRow], style: Style) -> String {
    let mut groups: Vec<(Option<&str>, Vec<&ListRow>)> = vec![(None, Vec::new())];
    let mut places: FxHashMap<Option<&str>, usize> = std::iter::once((None, 0)).collect();
    for row in rows {
        let group = row.group.as_deref();
        let place = *places.entry(group).or_insert(groups.len());
        if place == groups.len() {
            groups.push((group, Vec::new()));
        }
        groups[place].1.push(row);
    }
    let names = rows
        .iter()
        .map(|row| measure_text_width(&row.name))
        .filter(|name| *name <= NAME_COLUMNS)
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for (group, members) in groups.into_iter().filter(|(_, members)| !members.is_empty()) {
        if let Some(group) = group {
            let gap = if out.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}{}", style.paint.bold(&clean(group)));
        }
        let indent = if group.is_some() { 2 } else { 0 };
        for row in members {
            list_row(&mut out, row, indent, names, style);
        }
    }
    out
}

fn list_row(out: &mut String, row: &ListRow, indent: usize, names: usize, style: Style) {
    let mut notes = Vec::new();
    if row.default {
        notes.push("default".to_owned());
    }
    if !row.aliases.is_empty() {
        notes.push(format!("also {}", row.aliases.join(", ")));
    }
    let notes = if notes.is_empty() { String::new() } else { format!("[{}]", notes.join("; ")) };
    let description = row.description.as_deref().map(first_line).unwrap_or_default();
    let gap = if description.is_empty() || notes.is_empty() { "" } else { " " };
    let text = format!("{description}{gap}{}", style.paint.dim(&notes));
    let mut line = " ".repeat(indent) + &style.paint.green(&clean(&row.name));
    if !text.is_empty() {
        line = format!("{}  {text}", pad_str(&line, names + 2, Alignment::Left, None));
    }
    let _ = writeln!(out, "{}", style.cut(&line));
}

fn first_line(text: &str) -> String {
    clean(text.trim().lines().next().unwrap_or_default()).into_owned()
}

/// A fact about something: a label and its values, one per line.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Fact {
    /// A key of the Iactfile, or a word.
    pub label: &'static str,
    /// None: the fact is left out.
    pub values: Vec<String>,
}

/// `iact show`: labels to the left, values to the right, in the order given.
pub fn facts(facts: &[Fact], style: Style) -> String {
    let labels = facts.iter().map(|fact| fact.label.len()).max().unwrap_or(0);
    let mut out = String::new();
    for fact in facts {
        let mut label = fact.label;
        for line in fact.values.iter().flat_map(|value| value.lines()) {
            let head = format!("{label:labels$}");
            let line = format!("{}  {}", style.paint.bold(&head), clean(line));
            let _ = writeln!(out, "{}", style.cut(&line));
            label = "";
        }
    }
    out
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Numbers stand to the right.
    pub right: bool,
}

/// Rows under headings, each column as wide as its widest cell; the last one is cut if need be.
pub fn table(columns: &[Column], rows: &[Vec<String>], style: Style) -> String {
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let widest =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| measure_text_width(cell)).max();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| column.title.len().max(widest(at).unwrap_or(0)))
        .collect();
    let line = |cells: &[&str]| {
        let cells = cells.iter().zip(columns).zip(&widths).map(|((cell, column), width)| {
            let align = if column.right { Alignment::Right } else { Alignment::Left };
            pad_str(cell, *width, align, None)
        });
        style.cut(cells.collect::<Vec<_>>().join("  ").trim_end()).into_owned()
    };
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    let mut out = style.paint.dim(&line(&titles)) + "\n";
    for row in &rows {
        out.push_str(&line(&row.iter().map(AsRef::as_ref).collect::<Vec<&str>>()));
        out.push('\n');
    }
    out
}
