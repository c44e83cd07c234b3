//! The text of an Iactfile, parsed and validated: text → [`Manifest`] with the place of every value.
//!
//! Invariant: pure, and total: any bytes give a manifest or one error with a place, in time and memory linear
//! in their number, and on a bounded stack (the TOML parser stops at 80 levels, a file at 10 MB). Nothing is
//! rendered, resolved or executed. Of several mistakes the first in the file is told; line numbers are
//! counted when an error is shown.
//!
//! `keys` is the one table of what a file may hold, `check` holds a document against it, `read` turns it into
//! `decl`; `pieces` does so for long files that are right.

mod check;
pub mod decl;
pub(crate) mod keys;
mod not_yet;
mod pieces;
pub mod quantity;
mod read;
pub(crate) mod shape;

use crate::error::{self, Error, Kind, Source, Span};
use decl::Manifest;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

/// The largest Iactfile that is read, in bytes.
pub const MAX_BYTES: usize = 10 << 20;

type Value<'t> = Spanned<DeValue<'t>>;
type Entry<'a, 't> = (&'a Spanned<DeString<'t>>, &'a Value<'t>);

/// The text of a file that may hold any bytes.
pub fn decode(path: impl Into<String>, bytes: Vec<u8>) -> error::Result<Arc<Source>> {
    let path = path.into();
    if bytes.len() > MAX_BYTES {
        return Err(too_large(&path));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Arc::new(Source { path, text })),
        Err(wrong) => {
            let at = wrong.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(wrong.as_bytes()).into_owned();
            let place = span(at..at + char::REPLACEMENT_CHARACTER.len_utf8());
            Err(Error::new(Kind::Manifest, "not UTF-8").at(&Arc::new(Source { path, text }), place))
        }
    }
}

/// Parses and validates one Iactfile that stands in `folder` (relative to the workspace's root, empty for the
/// root).
pub fn parse(source: Arc<Source>, folder: &str) -> error::Result<Manifest> {
    if source.text.len() > MAX_BYTES {
        return Err(too_large(&source.path));
    }
    match pieces::parse(&source, folder) {
        Some(manifest) => Ok(manifest),
        None => parse_whole(source, folder),
    }
}

fn parse_whole(source: Arc<Source>, folder: &str) -> error::Result<Manifest> {
    let document = match DeTable::parse(&source.text) {
        Ok(document) => document,
        Err(wrong) => return Err(syntax(&source, &wrong)),
    };
    version_fits(&source, document.get_ref())?;
    check::document(&source, document.get_ref())?;
    let manifest = read::manifest(Arc::clone(&source), folder, document.get_ref());
    names_are_unique(&manifest)?;
    Ok(manifest)
}

fn too_large(path: &str) -> Box<Error> {
    Error::new(
        Kind::Manifest,
        format!("`{path}` is larger than {}", quantity::Size { bytes: MAX_BYTES as u64 }),
    )
}

fn syntax(source: &Arc<Source>, wrong: &toml::de::Error) -> Box<Error> {
    let end = source.text.len();
    let range = wrong.span().unwrap_or(end..end);
    let range = range.start.min(end)..range.end.min(end);
    let message = match wrong.message() {
        "duplicate key" => {
            let key = source.text.get(range.clone()).unwrap_or_default();
            format!("`{}` is there twice", key.trim_matches(['"', '\'']).escape_debug())
        }
        message if message.contains("recurs") => "nested too deeply".to_owned(),
        message => format!("not valid TOML: {message}"),
    };
    let escape = message.contains("escape");
    let wrong = Error::new(Kind::Manifest, message).at(source, span(range));
    if escape {
        wrong.hint("in `\"…\"` write `\\\\` for a backslash; in `'…'` a backslash is itself")
    } else {
        wrong
    }
}

/// Asked before anything else: a file for a newer tool may well hold keys this one does not know.
fn version_fits(source: &Arc<Source>, document: &DeTable<'_>) -> error::Result<()> {
    let Some(value) = document.get("iact") else { return Ok(()) };
    let required = value.get_ref().as_str().and_then(|text| semver::VersionReq::parse(text).ok());
    let version = semver::Version::parse(env!("CARGO_PKG_VERSION")).expect("cargo checks the version");
    match required {
        Some(required) if !required.matches(&version) => Err(Error::new(
            Kind::Manifest,
            format!("this file needs iact `{required}`, and this is {version}"),
        )
        .at(source, span(value.span()))
        .hint("install a fitting version of iact")),
        _ => Ok(()),
    }
}

fn names_are_unique(manifest: &Manifest) -> error::Result<()> {
    let aliases =
        || manifest.targets.iter().flat_map(|target| target.aliases.iter().map(move |alias| (target, alias)));
    if aliases().next().is_none() {
        return Ok(());
    }
    let mut owners: FxHashMap<&str, &str> = FxHashMap::default();
    owners.extend(manifest.targets.iter().map(|target| (target.name.value.as_str(), "")));
    for (target, alias) in aliases() {
        let message = match owners.insert(&alias.value, &target.name.value) {
            None => continue,
            Some("") => format!("alias `{}` is the name of a target", alias.value),
            Some(first) => format!("alias `{}` is already one of `{first}`", alias.value),
        };
        return Err(Error::new(Kind::Manifest, message).at(&manifest.source, alias.span));
    }
    Ok(())
}

/// Files of 4 GiB never get here.
fn span(range: Range<usize>) -> Span {
    let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span { start: narrow(range.start), end: narrow(range.end) }
}

/// The entries of a table in the file's order.
fn entries<'a, 't>(table: &'a DeTable<'t>) -> Vec<Entry<'a, 't>> {
    let mut entries: Vec<Entry<'a, 't>> = table.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| key.span().start);
    entries
}

#[cfg(test)]
mod tests;
