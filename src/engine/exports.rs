//! Exported values: what a command wrote to `$IACT_EXPORTS`, and how its dependents read it.
//!
//! The file holds lines `NAME=value`, UTF-8; empty lines do not count, and of one name the last line does.
//!
//! Invariant: a target that succeeded has a value for every declared name, and no other; a value that holds a
//! secret is refused, since it would be remembered and stored.

use crate::error::nearest;
use crate::template::Lookup;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Names and values.
pub type Values = Vec<(String, String)>;

/// Reads what a command wrote.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn parse(text: &[u8]) -> Result<Values, String> {
    let text = std::str::from_utf8(text).map_err(|_| "what it wrote to `$IACT_EXPORTS` is not UTF-8")?;
    let mut values: Values = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let Some((name, value)) = line.split_once('=') else {
            return Err(format!("line {} of what it wrote to `$IACT_EXPORTS` is not `NAME=value`", at + 1));
        };
        values.retain(|(known, _)| known != name);
        values.push((name.to_owned(), value.to_owned()));
    }
    values.sort_unstable();
    Ok(values)
}

/// Whether these are the declared ones.
///
/// # Errors
/// The first name that is missing or was never declared.
pub fn check(declared: &[String], values: &Values) -> Result<(), String> {
    if let Some((name, _)) = values.iter().find(|(name, _)| !declared.contains(name)) {
        let near = nearest(name, declared.iter().map(String::as_str));
        let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        return Err(format!("it exported `{name}`, which is not among its `exports`{near}"));
    }
    match declared.iter().find(|name| !values.iter().any(|(known, _)| known == *name)) {
        Some(name) => Err(format!("it did not export `{name}`")),
        None => Ok(()),
    }
}

/// What the targets of this run have exported, by the instance's name.
#[derive(Debug, Default)]
pub struct Exported(RwLock<std::collections::BTreeMap<String, Values>>);

impl Exported {
    /// Notes what an instance exported; the owner of the build does, before it decides on a dependent.
    pub fn put(&self, name: &str, values: &Values) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), values.clone());
    }

    /// Nothing is remembered of an instance.
    pub fn forget(&self, name: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// A value.
    pub fn get(&self, target: &str, name: &str) -> Option<String> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let values = all.get(target)?;
        values.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// Target, name and value of what was asked for.
pub type Read = (String, String, String);

/// Answers with the values of this run, and notes which were asked for.
pub struct Answers {
    graph: Arc<dyn Lookup>,
    exported: Arc<Exported>,
    read: Arc<Mutex<Vec<Read>>>,
}

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl Answers {
    /// On top of the answers of the graph.
    pub fn new(graph: Arc<dyn Lookup>, exported: Arc<Exported>, read: Arc<Mutex<Vec<Read>>>) -> Self {
        Self { graph, exported, read }
    }
}

impl Lookup for Answers {
    fn outs_of(&self, target: &str) -> Result<Vec<String>, String> {
        self.graph.outs_of(target)
    }

    fn exporters(&self, target: &str, name: &str) -> Result<Vec<String>, String> {
        self.graph.exporters(target, name)
    }

    fn exported(&self, target: &str, name: &str) -> Result<String, String> {
        let exporters = self.graph.exporters(target, name)?;
        let found: Vec<String> =
            exporters.iter().filter_map(|exporter| self.exported.get(exporter, name)).collect();
        let value = found.first().ok_or_else(|| format!("`{target}` has exported no `{name}`"))?;
        if found.iter().any(|other| other != value) {
            return Err(format!("the instances of `{target}` have exported different values of `{name}`"));
        }
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.push((target.to_owned(), name.to_owned(), value.clone()));
        Ok(value.clone())
    }

    fn port_of(&self, service: &str) -> Result<String, String> {
        self.graph.port_of(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_what_was_declared_or_an_error() {
        let declared = ["id".to_owned(), "url".to_owned()];
        for (written, expected) in [
            ("id=1\nurl=http://x/?a=b\n", Ok(vec![("id", "1"), ("url", "http://x/?a=b")])),
            ("\nurl=\nid=1\nid=2", Ok(vec![("id", "2"), ("url", "")])),
            ("id=1\n", Err("it did not export `url`")),
            ("", Err("it did not export `id`")),
            (
                "id=1\nurl=2\nurll=3\n",
                Err("it exported `urll`, which is not among its `exports`, did you mean `url`?"),
            ),
            ("id=1\nwhat\n", Err("line 2 of what it wrote to `$IACT_EXPORTS` is not `NAME=value`")),
        ] {
            let read =
                parse(written.as_bytes()).and_then(|values| check(&declared, &values).map(|()| values));
            let expected = expected
                .map(|pairs| pairs.into_iter().map(|(a, b)| (a.to_owned(), b.to_owned())).collect())
                .map_err(str::to_owned);
            assert_eq!(read, expected, "{written:?}");
        }
        assert!(parse(b"id=\xff").is_err());
    }
}
