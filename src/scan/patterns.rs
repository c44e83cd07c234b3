//! A list of input globs, compiled: which files of a folder are meant, and which folders need not be entered.
//!
//! Invariant: the last pattern that matches a file decides; a wildcard never takes what a `.gitignore` names
//! or what a target declares as output, a literal path always counts, and a literal folder stands for
//! everything below it.

use globset::{GlobBuilder, GlobMatcher};
use std::fmt;

/// One pattern of the list.
#[derive(Debug, Clone)]
struct Rule {
    negated: bool,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    /// A path, and everything below it.
    Literal(String),
    /// A wildcard; `within` matches folders all of whose content it matches (`vendor/**` → `vendor`).
    Wild { glob: Box<GlobMatcher>, within: Option<Box<GlobMatcher>> },
}

/// A compiled list of patterns. Equality is that of the texts.
#[derive(Debug, Clone)]
pub struct Patterns {
    texts: Vec<String>,
    rules: Vec<Rule>,
    roots: Vec<Root>,
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.texts == other.texts
    }
}

impl Eq for Patterns {}

/// Where a search for wildcard matches begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// The folder, workspace-relative; empty for the root.
    pub folder: String,
    /// How many levels of folders below it can hold a match.
    pub depth: u32,
}

/// A pattern that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadGlob {
    /// Index in the list.
    pub index: usize,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for BadGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Whether a pattern means more than one path.
pub fn is_wild(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '{'])
}

impl Patterns {
    /// Compiles workspace-relative patterns; `!` in front excludes.
    ///
    /// # Errors
    /// The first pattern that is no glob.
    pub fn compile(texts: Vec<String>) -> Result<Self, BadGlob> {
        let mut rules = Vec::with_capacity(texts.len());
        let mut roots = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let (negated, pattern) =
                text.strip_prefix('!').map_or((false, text.as_str()), |rest| (true, rest));
            let form = if is_wild(pattern) {
                if !negated {
                    roots.push(root(pattern));
                }
                wild(pattern).map_err(|why| BadGlob { index, why })?
            } else {
                Form::Literal(pattern.trim_end_matches('/').to_owned())
            };
            rules.push(Rule { negated, form });
        }
        Ok(Self { texts, rules, roots: outermost(roots) })
    }

    /// Adds a path as it stands, wildcards and all.
    pub fn add_literal(&mut self, path: String) {
        self.texts.push(path.clone());
        self.rules.push(Rule { negated: false, form: Form::Literal(path) });
    }

    /// The patterns as text.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Where wildcards begin to search; none lies below another.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The literal paths that are meant: files, or folders with all below them.
    pub fn literals(&self) -> impl Iterator<Item = (usize, &str)> {
        self.rules.iter().enumerate().filter_map(|(index, rule)| match &rule.form {
            Form::Literal(path) if !rule.negated => Some((index, path.as_str())),
            _ => None,
        })
    }

    /// Whether a file is meant. `hidden` is whether wildcards must not see it: ignored, or somebody's output.
    pub fn takes(&self, path: &str, hidden: bool) -> bool {
        for rule in self.rules.iter().rev() {
            match &rule.form {
                Form::Literal(literal) if is_below(path, literal) => return !rule.negated,
                Form::Wild { glob, .. } if (rule.negated || !hidden) && glob.is_match(path) => {
                    return !rule.negated;
                }
                _ => {}
            }
        }
        false
    }

    /// Whether nothing below a folder can be meant because a later pattern excludes all of it.
    pub fn prunes(&self, folder: &str) -> bool {
        for rule in self.rules.iter().rev() {
            if !rule.negated {
                return false;
            }
            let covers = match &rule.form {
                Form::Literal(literal) => is_below(folder, literal),
                Form::Wild { within, .. } => within.as_ref().is_some_and(|within| within.is_match(folder)),
            };
            if covers {
                return true;
            }
        }
        false
    }

    /// The first pattern that would take an output, or something below it: for refusing outputs among inputs.
    /// A folder whose content is excluded is fine, whether the list says that it is a folder or not.
    pub fn first_taking(&self, output: &str, is_folder: bool) -> Option<usize> {
        // Only wildcards need it.
        let inside = || format!("{output}/\u{1}");
        let holds = |literal: &str| is_below(output, literal) || is_below(literal, output);
        let spared = |path: &str| {
            self.rules.iter().rev().find(|rule| rule.matches(path)).is_some_and(|rule| rule.negated)
        };
        let by = |rule: &Rule| match &rule.form {
            Form::Literal(literal) => holds(literal) && !spared(output),
            Form::Wild { glob, .. } if is_folder => glob.is_match(inside()) && !spared(&inside()),
            Form::Wild { glob, .. } => glob.is_match(output) && !spared(output) && !spared(&inside()),
        };
        self.rules.iter().position(|rule| !rule.negated && by(rule))
    }
}

impl Rule {
    fn matches(&self, path: &str) -> bool {
        match &self.form {
            Form::Literal(literal) => is_below(path, literal),
            Form::Wild { glob, .. } => glob.is_match(path),
        }
    }
}

/// Whether a path is another one or lies below it.
pub fn is_below(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn wild(pattern: &str) -> Result<Form, String> {
    let compile = |text: &str| {
        let mut builder = GlobBuilder::new(text);
        let built = builder.literal_separator(true).backslash_escape(true).empty_alternates(true).build();
        built.map(|glob| Box::new(glob.compile_matcher())).map_err(|error| error.kind().to_string())
    };
    let within = match pattern.strip_suffix("/**") {
        Some(folder) => Some(compile(folder)?),
        None => None,
    };
    Ok(Form::Wild { glob: compile(pattern)?, within })
}

fn root(pattern: &str) -> Root {
    let parts: Vec<&str> = pattern.split('/').collect();
    let literal = parts.iter().take_while(|part| !is_wild(part)).count().min(parts.len() - 1);
    let rest = &parts[literal..];
    let endless = rest.iter().any(|part| part.contains("**")) || rest.iter().any(|part| part.contains('{'));
    let depth = if endless { u32::MAX } else { u32::try_from(rest.len() - 1).unwrap_or(u32::MAX) };
    Root { folder: parts[..literal].join("/"), depth }
}

/// Drops roots that lie below another one which reaches as deep.
fn outermost(mut roots: Vec<Root>) -> Vec<Root> {
    roots.sort_by(|a, b| a.folder.cmp(&b.folder).then(b.depth.cmp(&a.depth)));
    let mut kept: Vec<Root> = Vec::new();
    for root in roots {
        let covered = |outer: &Root| {
            let levels = |path: &str| if path.is_empty() { 0 } else { path.split('/').count() };
            let below = u32::try_from(levels(&root.folder) - levels(&outer.folder)).unwrap_or(u32::MAX);
            outer.depth >= below.saturating_add(root.depth)
        };
        if !kept.iter().any(|outer| is_below(&root.folder, &outer.folder) && covered(outer)) {
            kept.push(root);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::compile(texts.iter().map(|text| (*text).to_owned()).collect()).expect("good globs")
    }

    #[test]
    fn the_last_pattern_that_matches_decides() {
        for (list, path, hidden, expected) in [
            (&["src/**/*.c"][..], "src/a.c", false, true),
            (&["src/**/*.c"], "src/deep/er/a.c", false, true),
            (&["src/**/*.c"], "src/a.h", false, false),
            (&["src/*"], "src/deep/a.c", false, false),
            (&["src/**"], "src/.hidden/x", false, true),
            (&["src/**", "!src/skip/**"], "src/skip/a", false, false),
            (&["src/**", "!src/skip/**", "src/skip/kept"], "src/skip/kept", false, true),
            (&["src/**", "!src/skip"], "src/skip/a", false, false),
            (&["src"], "src/a/b", false, true),
            (&["src/"], "src/a/b", false, true),
            (&["src"], "srcs/a", false, false),
            (&["**"], "a", true, false),
            (&["**", "a"], "a", true, true),
            (&["a", "**"], "a", true, true),
            (&["a", "!*"], "a", true, false),
            (&["*.{c,h}"], "x.h", false, true),
            (&["src/[ab].c"], "src/b.c", false, true),
        ] {
            assert_eq!(patterns(list).takes(path, hidden), expected, "{list:?} {path} {hidden}");
        }
    }

    #[test]
    fn a_search_begins_as_deep_as_it_can_and_once() {
        let roots = |list: &[&str]| {
            let roots = patterns(list).roots().to_vec();
            roots.into_iter().map(|root| (root.folder, root.depth)).collect::<Vec<_>>()
        };
        assert_eq!(roots(&["src/lib/*.c", "!src/**"]), [("src/lib".into(), 0)]);
        assert_eq!(roots(&["src/**", "src/lib/**/x", "src/*.c"]), [("src".into(), u32::MAX)]);
        assert_eq!(roots(&["*/*.c", "a/*.c", "a/b/*.c"]), [(String::new(), 1), ("a/b".into(), 0)]);
    }

    #[test]
    fn a_folder_is_entered_unless_all_of_it_is_excluded_for_good() {
        let list = patterns(&["**/*.js", "!**/node_modules/**", "!gen"]);
        assert_eq!(
            ["a/node_modules", "node_modules", "gen", "gen/x", "src"].map(|f| list.prunes(f)),
            [true, true, true, true, false]
        );
        assert!(!patterns(&["!gen/**", "**"]).prunes("gen"));
    }

    #[test]
    fn an_output_among_the_inputs_is_found() {
        for (list, output, is_folder, expected) in [
            (&["*.md"][..], "o.md", false, Some(0)),
            (&["a", "**"], "dist", true, Some(1)),
            (&["**", "!dist/**"], "dist", false, None),
            (&["**", "!dist/**"], "dist", true, None),
            (&["*.md", "!o.md"], "o.md", false, None),
            (&["**", "!dist"], "dist", true, None),
            (&["src"], "src/out", false, Some(0)),
            (&["out/in"], "out", true, Some(0)),
            (&["src/**/*.c"], "out", true, None),
        ] {
            assert_eq!(patterns(list).first_taking(output, is_folder), expected, "{list:?} {output}");
        }
    }
}
