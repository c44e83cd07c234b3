//! Facts in, decision out: is an action up to date, may its result be looked up, or must it run — and why.
//!
//! Invariant: an action cannot be anything but up to date without a [`Reason`]; of several, the first in the
//! documented order (the order of the variants) is given.

use crate::content::Content;
use crate::manifest::quantity::Duration;
use crate::path_table::{PathId, PathTable};
use crate::record::{Brought, Definition, PartDigest, Record};
use serde::Serialize;

/// Why an action is not up to date, in order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reason {
    /// Nothing is remembered about it.
    FirstBuild,
    /// An input's content, type or executable bit differs.
    InputChanged {
        /// Which file.
        path: String,
    },
    /// A file is an input now.
    InputAdded {
        /// Which file.
        path: String,
    },
    /// A file is no input any more.
    InputRemoved {
        /// Which file.
        path: String,
    },
    /// Command, working folder or another part of the definition.
    CommandChanged,
    /// A variable of its environment; never the value.
    EnvChanged {
        /// Which variable.
        name: String,
    },
    /// The content or place of a tool.
    ToolChanged {
        /// As it is declared.
        tool: String,
    },
    /// What a probe prints.
    ProbeChanged {
        /// As it is declared.
        probe: String,
    },
    /// An output of a dependency.
    DependencyChanged {
        /// Whose.
        target: String,
        /// Which.
        path: String,
    },
    /// The declared list.
    OutputsChanged,
    /// An output is gone.
    OutputMissing {
        /// Which one.
        path: String,
    },
    /// An output is not what was made.
    OutputModified {
        /// Which one, or a stray beside it.
        path: String,
    },
    /// The postcondition does not hold.
    CheckFailed,
    /// Older than `valid_for`.
    Expired {
        /// As people say it.
        age: String,
    },
    /// `--force`.
    Forced,
    /// A target without `inputs`.
    Always,
    /// What the cache held was damaged.
    CacheEntryDamaged,
    /// What the cache held is gone.
    CacheEvicted,
    /// The remote did not answer.
    RemoteUnavailable,
}

/// What to do with an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    UpToDate,
    /// Its result may be in a cache; if not it must run.
    LookUp(Reason),
    /// It must run.
    Run(Reason),
}

/// What is on disk where an action's outputs should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// Everything the record says.
    Intact,
    /// The first one that is gone.
    Missing(PathId),
    /// The first one that is something else, or that should not be there.
    Modified(String),
}

/// Everything a decision depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// A target without `inputs`.
    pub always: bool,
    /// `--force`.
    pub forced: bool,
    /// What it did last.
    pub record: Option<&'a Record>,
    /// What it is now.
    pub definition: &'a Definition,
    /// Source files now, sorted by id.
    pub inputs: &'a [(PathId, Content)],
    /// Files its depfile named last time, as they are now, sorted by id; `None`: gone.
    pub discovered: &'a [(PathId, Option<Content>)],
    /// What its dependencies made, sorted by id.
    pub brought: &'a [Brought],
    /// What is where its outputs should be.
    pub outputs: &'a Outputs,
    /// How long ago it ran, if that is longer than it may be.
    pub expired_ms: Option<u64>,
}

/// Decides. `paths` gives names to what moved.
pub fn decide(facts: &Facts<'_>, paths: &PathTable) -> Decision {
    if facts.always {
        return Decision::Run(Reason::Always);
    }
    let reason = match facts.record {
        None => Some(Reason::FirstBuild),
        Some(record) => difference(facts, record, paths),
    };
    match reason {
        // Nothing remembered, or a name for what moved, comes before `forced`, but does not allow a look-up.
        Some(reason) if facts.forced => Decision::Run(reason.min(Reason::Forced)),
        None if facts.forced => Decision::Run(Reason::Forced),
        Some(reason) => Decision::LookUp(reason),
        None => Decision::UpToDate,
    }
}

fn difference(facts: &Facts<'_>, record: &Record, paths: &PathTable) -> Option<Reason> {
    let name = |id: PathId| paths.show(id).into_owned();
    if let Some(moved) = record.moved {
        return Some(Reason::InputChanged { path: name(moved) });
    }
    inputs_reason(facts, record, &name)
        .or_else(|| definition_reason(&record.definition, facts.definition))
        .or_else(|| brought_reason(&record.brought, facts.brought, &name))
        .or_else(|| export_reason(&record.definition.exports, &facts.definition.exports))
        .or_else(|| (record.definition.outputs != facts.definition.outputs).then_some(Reason::OutputsChanged))
        .or_else(|| match facts.outputs {
            Outputs::Intact => None,
            Outputs::Missing(path) => Some(Reason::OutputMissing { path: name(*path) }),
            Outputs::Modified(path) => Some(Reason::OutputModified { path: path.clone() }),
        })
        .or_else(|| {
            facts.expired_ms.map(|age_ms| Reason::Expired { age: Duration { ms: age_ms }.to_string() })
        })
}

fn inputs_reason(facts: &Facts<'_>, record: &Record, name: &impl Fn(PathId) -> String) -> Option<Reason> {
    let declared = first_moved(record.inputs.iter().copied(), facts.inputs.iter().copied());
    let was = record.discovered.iter().copied();
    let is = facts.discovered.iter().filter_map(|&(path, content)| content.map(|content| (path, content)));
    let moved = [declared, first_moved(was, is)].into_iter().flatten().min()?;
    let path = name(moved.1);
    Some(match moved.0 {
        Move::Changed => Reason::InputChanged { path },
        Move::Added => Reason::InputAdded { path },
        Move::Removed => Reason::InputRemoved { path },
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    Changed,
    Added,
    Removed,
}

/// The first path whose content differs between two lists sorted by path; else the first that only the second
/// has; else the first that only the first has.
fn first_moved(
    was: impl Iterator<Item = (PathId, Content)>,
    is: impl Iterator<Item = (PathId, Content)>,
) -> Option<(Move, PathId)> {
    let (mut was, mut is) = (was.peekable(), is.peekable());
    let mut moved: Option<(Move, PathId)> = None;
    loop {
        let found = match (was.peek(), is.peek()) {
            (None, None) => return moved,
            (Some(&(path, before)), Some(&(same, now))) if path == same => {
                was.next();
                is.next();
                if before == now {
                    continue;
                }
                return Some((Move::Changed, path));
            }
            (Some(&(path, _)), other) if other.is_none_or(|&(other, _)| path < other) => {
                was.next();
                (Move::Removed, path)
            }
            _ => (Move::Added, is.next().expect("one of them has a next").0),
        };
        moved = Some(moved.map_or(found, |first| if found.0 < first.0 { found } else { first }));
    }
}

fn definition_reason(was: &Definition, is: &Definition) -> Option<Reason> {
    if was.whole == is.whole {
        return None;
    }
    if was.command != is.command {
        return Some(Reason::CommandChanged);
    }
    let part = |was: &[(String, PartDigest)], is: &[(String, PartDigest)]| first_difference(was, is);
    part(&was.env, &is.env)
        .map(|name| Reason::EnvChanged { name })
        .or_else(|| part(&was.tools, &is.tools).map(|tool| Reason::ToolChanged { tool }))
        .or_else(|| part(&was.probes, &is.probes).map(|probe| Reason::ProbeChanged { probe }))
    // What is left is the list of outputs, which comes later in the order.
}

/// The name of the first part that is in one list only, or differs.
fn first_difference(was: &[(String, PartDigest)], is: &[(String, PartDigest)]) -> Option<String> {
    let missing = |from: &[(String, PartDigest)], part: &(String, PartDigest)| !from.contains(part);
    let changed =
        is.iter().find(|part| missing(was, part)).or_else(|| was.iter().find(|part| missing(is, part)));
    changed.map(|(name, _)| name.clone())
}

fn brought_reason(was: &[Brought], is: &[Brought], name: &impl Fn(PathId) -> String) -> Option<Reason> {
    let pairs = |list: &'_ [Brought]| list.iter().map(|one| (one.path, one.content)).collect::<Vec<_>>();
    if was.len() == is.len() && was.iter().zip(is).all(|(a, b)| a.path == b.path && a.content == b.content) {
        return None;
    }
    let (_, path) = first_moved(pairs(was).into_iter(), pairs(is).into_iter())?;
    let target = is.iter().chain(was).find(|one| one.path == path)?.target.clone();
    Some(Reason::DependencyChanged { target, path: name(path) })
}

/// An exported value is named like an output: whose, which.
fn export_reason(was: &[(String, PartDigest)], is: &[(String, PartDigest)]) -> Option<Reason> {
    let changed = first_difference(was, is)?;
    let (target, path) = changed.rsplit_once(' ')?;
    Some(Reason::DependencyChanged { target: target.to_owned(), path: path.to_owned() })
}

#[cfg(test)]
mod tests;
