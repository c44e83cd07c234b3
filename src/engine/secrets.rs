//! Secrets: where their values come from, and how they are kept out of everything that is shown or kept.
//!
//! A secret is the caller's variable of that name, else the one in `.env` beside the Iactfile (`NAME=value`
//! lines, `#` comments, `export` and quotes as a shell knows them). An empty one counts as missing.
//!
//! Invariant: every byte a command writes passes a [`Masker`] before anybody else sees it, also if a secret
//! comes in several writes; what could still become a secret is held back until that is known. Of a secret of
//! several lines each longer line is masked for itself too. What is stored of its outputs is searched for the
//! action's own secrets (see [`super::leak`]).
#![allow(clippy::disallowed_methods, reason = "shell: reads `.env`")]

use super::requires::refused;
use crate::error::{Error, Kind, Result};
use crate::graph::service::with_needs;
use crate::plan::Plan;
use crate::workspace::Workspace;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What stands for a secret.
const MASK: &[u8] = b"***";
/// A line of a secret that is shorter than this is not worth a mask of its own.
const LINE_BYTES: usize = 6;

/// The variables of every `.env`, by its folder.
type Files<'w> = BTreeMap<&'w str, BTreeMap<String, String>>;

/// The secrets of a run.
#[derive(Clone, Default)]
pub struct Secrets {
    values: BTreeMap<(String, String), OsString>,
    /// What is masked, longest first.
    patterns: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.values.keys()).finish()
    }
}

impl Secrets {
    /// The secrets of everything in the plan that is not skipped.
    ///
    /// # Errors
    /// All that are missing.
    pub fn of(workspace: &Workspace, plan: &Plan) -> Result<Self> {
        let mut secrets = Self::default();
        let mut files = BTreeMap::new();
        let mut wrong: Option<Box<Error>> = None;
        let graph = &workspace.graph;
        for node in plan.nodes().filter(|node| !plan.skips.contains_key(node)) {
            let id = plan.actions[node.index()];
            let action = &graph.actions[id as usize];
            let declared = graph.declaration(id).rare.iter().flat_map(|rare| &rare.secrets);
            let own = declared.map(|text| (action.folder.as_str(), text, &action.name));
            if own.clone().next().is_none() && action.services.is_empty() {
                continue;
            }
            let services = with_needs(&graph.services, action.services.iter().map(|used| used.service));
            let of_services = services.into_iter().flat_map(|id| {
                let service = &graph.services[id as usize];
                let declared = &service.declaration(&graph.manifests).secrets;
                declared.iter().map(move |text| (service.folder.as_str(), text, &service.name))
            });
            for (folder, text, owner) in own.chain(of_services) {
                if secrets.take(workspace, (folder, &text.value), &mut files)? {
                    continue;
                }
                let message = format!("the secret `{}` of `{owner}` is not set", text.value);
                wrong = Some(match wrong {
                    Some(error) => error.because(message),
                    None => {
                        let manifest = graph.manifests.iter().find(|manifest| manifest.folder == folder);
                        let source = &manifest.unwrap_or(&graph.manifests[0]).source;
                        refused(message)
                            .at(source, text.span)
                            .hint("set it in the environment, or in a file `.env` beside the Iactfile")
                    }
                });
            }
        }
        secrets.learn();
        wrong.map_or(Ok(secrets), Err)
    }

    /// The secrets of all services, as far as they are set.
    pub fn of_services(workspace: &Workspace) -> Self {
        let mut secrets = Self::default();
        let mut files = BTreeMap::new();
        for service in workspace.graph.services.iter() {
            for text in &service.declaration(&workspace.graph.manifests).secrets {
                // What cannot be read is missed when the service starts.
                let _ = secrets.take(workspace, (&service.folder, &text.value), &mut files);
            }
        }
        secrets.learn();
        secrets
    }

    /// Finds a secret, if it is not known yet; whether it is there.
    fn take<'w>(
        &mut self,
        workspace: &'w Workspace,
        (folder, name): (&'w str, &str),
        files: &mut Files<'w>,
    ) -> Result<bool> {
        if let Entry::Vacant(vacant) = self.values.entry((folder.to_owned(), name.to_owned())) {
            let Some(value) = find(workspace, folder, name, files)? else { return Ok(false) };
            vacant.insert(value);
        }
        Ok(true)
    }

    fn learn(&mut self) {
        let mut patterns = Vec::new();
        for value in self.values.values() {
            let value = value.as_bytes();
            patterns.push(value.to_vec());
            let trimmed = value.trim_ascii_end();
            if trimmed.contains(&b'\n') {
                patterns.push(trimmed.to_vec());
                let lines = trimmed.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
                patterns.extend(lines.filter(|line| line.len() >= LINE_BYTES).map(<[u8]>::to_vec));
            }
        }
        patterns.retain(|pattern| !pattern.is_empty());
        patterns.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        patterns.dedup();
        self.patterns = patterns;
    }

    /// The value of a secret of an Iactfile's target.
    pub fn get(&self, folder: &str, name: &str) -> Option<&OsString> {
        self.values.get(&(folder.to_owned(), name.to_owned()))
    }

    /// The secrets of these names, without the line's end some have.
    pub fn of_names<'s>(
        &'s self,
        folder: &'s str,
        names: &'s [String],
    ) -> impl Iterator<Item = (&'s str, &'s [u8])> {
        let value = |name| Some(self.get(folder, name)?.as_bytes().trim_ascii_end());
        names.iter().filter_map(move |name| Some((name.as_str(), value(name)?)))
    }

    /// Whether some bytes hold a secret.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        self.patterns.iter().any(|pattern| bytes.windows(pattern.len()).any(|window| window == pattern))
    }

    /// Masks one stream; `None` if there is nothing to mask.
    pub fn masker(&self) -> Option<Masker<'_>> {
        (!self.patterns.is_empty()).then(|| Masker { patterns: &self.patterns, held: Vec::new() })
    }
}

fn find<'w>(
    workspace: &'w Workspace,
    folder: &'w str,
    name: &str,
    files: &mut Files<'w>,
) -> Result<Option<OsString>> {
    if let Some(value) = workspace.caller.var(name).filter(|value| !value.is_empty()) {
        return Ok(Some(value.clone()));
    }
    if !files.contains_key(folder) {
        files.insert(folder, read(&workspace.root.join(folder).join(".env"))?);
    }
    Ok(files[folder].get(name).filter(|value| !value.is_empty()).map(OsString::from))
}

fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(parse(&text)),
            Err(_) => Err(refused(format!("`{}` is not UTF-8", path.display()))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => {
            Err(Error::new(Kind::Refused, format!("cannot read `{}`", path.display())).because(error))
        }
    }
}

/// The variables of a `.env` file; what is no assignment is passed over.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else { continue };
        variables.insert(name.trim().to_owned(), value_of(value));
    }
    variables
}

/// What stands behind a `=`: texts in quotes next to each other, then what stands without up to a comment.
fn value_of(written: &str) -> String {
    let mut value = String::new();
    let mut rest = written.trim_start();
    while let Some((inner, behind)) = quoted(rest) {
        value.push_str(&inner);
        rest = behind;
    }
    let is_quoted = rest.len() < written.trim_start().len();
    let rest = if is_quoted { rest } else { written };
    let is_comment = |at: &usize| rest[..*at].ends_with([' ', '\t']);
    let end = rest.match_indices('#').map(|(at, _)| at).find(is_comment).unwrap_or(rest.len());
    let plain = rest[..end].trim_end();
    value.push_str(if is_quoted { plain } else { plain.trim_start() });
    value
}

/// A text that begins with a quote, up to the one that closes it, and what stands behind that.
fn quoted(text: &str) -> Option<(String, &str)> {
    if let Some(inner) = text.strip_prefix('\'') {
        return inner.split_once('\'').map(|(inner, behind)| (inner.to_owned(), behind));
    }
    let mut value = String::new();
    let mut rest = text.strip_prefix('"')?.chars();
    loop {
        match rest.next()? {
            '"' => return Some((value, rest.as_str())),
            '\\' => match rest.next()? {
                'n' => value.push('\n'),
                escaped @ ('"' | '$' | '\\' | '`') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
}

/// One stream of one command.
#[derive(Debug)]
pub struct Masker<'s> {
    patterns: &'s [Vec<u8>],
    held: Vec<u8>,
}

impl Masker<'_> {
    /// What can be shown now that these bytes have come.
    pub fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.pass(false)
    }

    /// What was held back.
    pub fn finish(&mut self) -> Vec<u8> {
        self.pass(true)
    }

    fn pass(&mut self, is_end: bool) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.held);
        let mut shown = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let begins = |pattern: &&Vec<u8>| pattern.len() > rest.len() && pattern.starts_with(rest);
            if !is_end && self.patterns.iter().any(|pattern| begins(&pattern)) {
                self.held = rest.to_vec();
                break;
            }
            match self.patterns.iter().find(|pattern| rest.starts_with(pattern)) {
                Some(pattern) => {
                    shown.extend_from_slice(MASK);
                    at += pattern.len();
                }
                None => {
                    shown.push(bytes[at]);
                    at += 1;
                }
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        for (at, value) in values.iter().enumerate() {
            secrets.values.insert((String::new(), at.to_string()), OsString::from(value));
        }
        secrets.learn();
        secrets
    }

    fn masked(secrets: &Secrets, pieces: &[&[u8]]) -> String {
        let mut masker = secrets.masker().unwrap();
        let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| masker.write(piece)).collect();
        shown.extend(masker.finish());
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_secret_is_masked_however_it_is_split() {
        let secrets = secrets(&["s3cret", "s3cretlonger", "aab"]);
        let text = b"x s3cret y s3cretlonger z aaab s3cre s3crets3cret s3cretl";
        let whole = "x *** y *** z a*** s3cre ****** ***l";
        assert_eq!(masked(&secrets, &[text]), whole);
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(masked(&secrets, &pieces), whole, "{first} {second}");
            }
        }
    }

    #[test]
    fn the_lines_of_a_secret_are_secrets_and_nothing_is_held_longer_than_needed() {
        let secrets = secrets(&["-----BEGIN\nabcdefgh\nxy\n"]);
        assert_eq!(masked(&secrets, &[b"1 abcdefgh 2\n-----BEGIN\nabcdefgh\nxy\n"]), "1 *** 2\n***");
        let mut masker = secrets.masker().unwrap();
        assert_eq!(masker.write(b"line\n"), b"line\n");
        assert!(Secrets::default().masker().is_none());
    }

    #[test]
    fn an_env_file_is_read_as_a_shell_would() {
        let rows = [
            ("# comment", None),
            ("no", None),
            ("A=", Some("")),
            ("A=1", Some("1")),
            ("A=#1", Some("#1")),
            ("A= # nothing", Some("")),
            ("export A = two words # really", Some("two words")),
            ("A=it's # mine", Some("it's")),
            ("A='x # y'", Some("x # y")),
            ("A='value' # don't share", Some("value")),
            (r#"A="value" # say "hi""#, Some("value")),
            (r#"A="it's" # don't"#, Some("it's")),
            (r#"A="a\nb \"q\" \$x \x""#, Some("a\nb \"q\" $x \\x")),
            (r#"A="a\\nb\\""#, Some("a\\nb\\")),
            (r#"A='a\nb\'"#, Some("a\\nb\\")),
            (r#"A="a"'b'c#d"#, Some("abc#d")),
            (r#"A="open"#, Some("\"open")),
        ];
        for (line, value) in rows {
            let found = parse(line);
            assert_eq!(found.get("A").map(String::as_str), value, "{line}");
            assert_eq!(found.len(), usize::from(value.is_some()), "{line}");
        }
        let expected = [("A", "1"), ("B", "2")];
        assert_eq!(parse("A='1'\n\n# x\nB=2\n"), expected.map(|(a, b)| (a.to_owned(), b.to_owned())).into());
    }
}
