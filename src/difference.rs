//! What moved since an action's last run, all of it and by name: the whole of what [`crate::decision`] gives the first of.
//!
//! Invariant: pure; a variable's value is never told, only that it differs. Two definitions that differ always show a
//! difference here, if only as `command`.

use crate::content::Content;
use crate::path_table::{PathId, PathTable};
use crate::record::{Brought, Definition, PartDigest, Record};
use serde::Serialize;
use std::collections::BTreeMap;

/// How something moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is something else now.
    Changed,
    /// It is new.
    Added,
    /// It is gone.
    Removed,
}

/// Something that moved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Moved {
    /// How.
    pub change: Change,
    /// A path, or a name.
    pub name: String,
    /// Who makes it, if it is a dependency's output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Everything that moved, part by part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Source files.
    pub inputs: Vec<Moved>,
    /// argv, working folder or another part without a name.
    pub command: bool,
    /// Variables.
    pub env: Vec<Moved>,
    /// Programs.
    pub tools: Vec<Moved>,
    /// Commands whose output counts.
    pub probes: Vec<Moved>,
    /// Outputs of dependencies.
    pub dependencies: Vec<Moved>,
    /// The declared list of outputs.
    pub output_list: bool,
    /// What should be on disk and is not, or is something else.
    pub outputs: Vec<Moved>,
}

/// An action as it is now.
#[derive(Debug)]
pub struct Now<'a> {
    /// Its definition.
    pub definition: &'a Definition,
    /// Source files.
    pub inputs: &'a [(PathId, Content)],
    /// Files its depfile named last time; `None`: gone.
    pub discovered: &'a [(PathId, Option<Content>)],
    /// What its dependencies made.
    pub brought: &'a [Brought],
    /// What is wrong where its outputs should be.
    pub outputs: Vec<(Change, String)>,
}

/// What moved between a record and now.
pub fn difference(record: &Record, now: Now<'_>, paths: &PathTable) -> Difference {
    let show = |path: PathId| paths.show(path).into_owned();
    let was = record.inputs.iter().chain(&record.discovered).map(|&(path, content)| (show(path), content));
    let found = now.discovered.iter().filter_map(|&(path, content)| Some((path, content?)));
    let is = now.inputs.iter().copied().chain(found).map(|(path, content)| (show(path), content));
    let part = |was: &[(String, PartDigest)], is: &[(String, PartDigest)]| {
        moved(was.iter().cloned(), is.iter().cloned())
    };
    let brought = |list: &[Brought]| -> Vec<(String, Content)> {
        list.iter().map(|one| (show(one.path), one.content)).collect()
    };
    let mut dependencies = moved(brought(&record.brought).into_iter(), brought(now.brought).into_iter());
    let makers: BTreeMap<String, &str> =
        record.brought.iter().chain(now.brought).map(|one| (show(one.path), one.target.as_str())).collect();
    for one in &mut dependencies {
        one.target = makers.get(&one.name).map(|&target| target.to_owned());
    }
    let (before, after) = (&record.definition, now.definition);
    for one in part(&before.exports, &after.exports) {
        let (target, name) = one.name.rsplit_once(' ').unwrap_or(("", &one.name));
        let (target, name) = (Some(target.to_owned()), name.to_owned());
        dependencies.push(Moved { change: one.change, name, target });
    }
    Difference {
        inputs: moved(was, is),
        command: before.command != after.command,
        env: part(&before.env, &after.env),
        tools: part(&before.tools, &after.tools),
        probes: part(&before.probes, &after.probes),
        dependencies,
        output_list: before.outputs != after.outputs,
        outputs: now.outputs.into_iter().map(|(change, name)| Moved { change, name, target: None }).collect(),
    }
}

/// Names may repeat (a variable that is both set and passed); all values of a name count together.
fn moved<V: Ord>(
    was: impl Iterator<Item = (String, V)>,
    is: impl Iterator<Item = (String, V)>,
) -> Vec<Moved> {
    let mut names: BTreeMap<String, [Vec<V>; 2]> = BTreeMap::new();
    for (name, value) in was {
        names.entry(name).or_default()[0].push(value);
    }
    for (name, value) in is {
        names.entry(name).or_default()[1].push(value);
    }
    let one = |(name, values): (String, [Vec<V>; 2])| {
        let [was, is] = &values;
        let change = match (was.is_empty(), is.is_empty()) {
            _ if was == is => return None,
            (true, _) => Change::Added,
            (_, true) => Change::Removed,
            _ => Change::Changed,
        };
        Some(Moved { change, name, target: None })
    };
    let mut all: Vec<Moved> = names.into_iter().filter_map(one).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use iact_cache::{Digest, DigestFunction};

    fn content(text: &str) -> Content {
        Content::file(Digest::of(DigestFunction::Blake3, text.as_bytes()), false)
    }

    fn names(moved: &[Moved]) -> Vec<(Change, &str)> {
        moved.iter().map(|one| (one.change, one.name.as_str())).collect()
    }

    #[test]
    fn every_move_is_named_and_nothing_else() {
        let mut paths = PathTable::default();
        let ids: Vec<PathId> = ["z", "a", "b", "c", "d"].iter().map(|p| paths.intern(p.as_bytes())).collect();
        let old = Definition {
            command: [1; 32],
            env: vec![("CC".to_owned(), [1; 32]), ("GONE".to_owned(), [1; 32]), ("SAME".to_owned(), [1; 32])],
            ..Definition::default()
        };
        let record = Record {
            definition: old.clone(),
            inputs: vec![(ids[0], content("1")), (ids[1], content("1")), (ids[2], content("1"))],
            discovered: vec![(ids[4], content("1"))],
            brought: vec![Brought { path: ids[3], content: content("1"), target: "dep".to_owned() }],
            ..Record::default()
        };
        let definition = Definition {
            command: [2; 32],
            env: vec![("CC".to_owned(), [2; 32]), ("NEW".to_owned(), [1; 32]), ("SAME".to_owned(), [1; 32])],
            ..old
        };
        let now = Now {
            definition: &definition,
            inputs: &[(ids[0], content("2")), (ids[2], content("1")), (ids[3], content("1"))],
            discovered: &[(ids[4], None)],
            brought: &[Brought { path: ids[3], content: content("2"), target: "dep".to_owned() }],
            outputs: vec![(Change::Removed, "out".to_owned())],
        };
        let found = difference(&record, now, &paths);
        use Change::{Added, Changed, Removed};
        assert_eq!(names(&found.inputs), [(Changed, "z"), (Added, "c"), (Removed, "a"), (Removed, "d")]);
        assert_eq!(names(&found.env), [(Changed, "CC"), (Added, "NEW"), (Removed, "GONE")]);
        assert_eq!(names(&found.dependencies), [(Changed, "c")]);
        assert_eq!(found.dependencies[0].target.as_deref(), Some("dep"));
        assert_eq!((found.command, found.output_list), (true, false));
        assert_eq!(names(&found.outputs), [(Removed, "out")]);
    }
}
