//! What has to happen so that outputs are exactly what a result says: current × wanted → operations.
//!
//! Pure: [`plan`] merges two lists of paths and says what to prepare in the stage and what to do to the
//! workspace after that. What is right already is left alone. A folder that is not there is prepared whole
//! and appears at once. Nothing is deleted before everything new is in place, except what stands where
//! something new has to go. Every operation is one rename, and after any number of them each wanted path is
//! as it was, as it shall be, or absent, so planning again from there ends in the same state.

use crate::digest::Digest;
use crate::folder::FileFacts;
use crate::tree::{Node, TreeError, compare_paths};

/// One file, link or folder among the outputs, as it is now in the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Relative to the workspace.
    pub path: Vec<u8>,
    /// What it is; every folder, empty or not, is [`Node::EmptyDirectory`].
    pub node: Node,
    /// What the file system says of it.
    pub facts: FileFacts,
}

/// What is at a path now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A file; the digest is `None` if size or permission already tell that it is not what is wanted.
    File {
        digest: Option<Digest>,
        executable: bool,
    },
    Symlink {
        target: Vec<u8>,
    },
    Folder,
    /// A FIFO, socket or device.
    Other,
}

/// A path in the workspace and what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) path: Vec<u8>,
    pub(crate) found: Found,
    pub(crate) facts: FileFacts,
}

/// One rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Moves what is at a path to the stage, under a name for waste.
    Remove { path: Vec<u8>, waste: Vec<u8> },
    /// Moves something prepared into place; `over`: in exchange for the file or link there.
    Install { staged: Vec<u8>, path: Vec<u8>, over: bool },
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What to prepare: a path in the stage, parents first, and the wanted entry to be there.
    pub(crate) staged: Vec<(Vec<u8>, usize)>,
    /// What to do when all of it is prepared, in this order.
    pub(crate) ops: Vec<Op>,
}

/// Sorts wanted entries for [`plan`]; the same thing twice is fine, two things at one path are not.
pub(crate) fn sort_wanted(wanted: &mut Vec<(Vec<u8>, Node)>) -> Result<(), TreeError> {
    wanted.sort_by(|a, b| compare_paths(&a.0, &b.0));
    wanted.dedup();
    for pair in wanted.windows(2) {
        let under_a_leaf = is_below(&pair[1].0, &pair[0].0) && pair[0].1 != Node::EmptyDirectory;
        if pair[0].0 == pair[1].0 || under_a_leaf {
            return Err(TreeError::Conflict(String::from_utf8_lossy(&pair[1].0).into_owned()));
        }
    }
    Ok(())
}

/// Whether `path` is inside `folder`.
pub(crate) fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.len() > folder.len() && path.starts_with(folder) && path[folder.len()] == b'/'
}

/// Both lists are sorted by component, parents before children; `prefix` begins every name in the stage.
pub(crate) fn plan(wanted: &[(Vec<u8>, Node)], found: &[Scanned], prefix: &str) -> Plan {
    let mut plan = Plan::default();
    let mut stale = Vec::new();
    let mut names = 0_usize;
    let mut name = || {
        names += 1;
        format!("{prefix}{names}").into_bytes()
    };
    let (mut w, mut f) = (0, 0);
    loop {
        let order = match (wanted.get(w), found.get(f)) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some((wanted, _)), Some(found)) => compare_paths(wanted, &found.path),
        };
        if order.is_gt() {
            stale.push(Op::Remove { path: found[f].path.clone(), waste: name() });
            f = skip(found, f, |found| &found.path);
            continue;
        }
        let (path, node) = &wanted[w];
        let mut over = false;
        if order.is_eq() {
            if is_as_wanted(&found[f].found, node) {
                (w, f) = (w + 1, f + 1);
                continue;
            }
            if found[f].found == Found::Folder || *node == Node::EmptyDirectory {
                plan.ops.push(Op::Remove { path: path.clone(), waste: name() });
            } else {
                over = true;
            }
            f = skip(found, f, |found| &found.path);
        }
        let staged = name();
        let end = skip(wanted, w, |(path, _)| path);
        for (index, (below, _)) in wanted.iter().enumerate().take(end).skip(w) {
            plan.staged.push(([staged.as_slice(), &below[path.len()..]].concat(), index));
        }
        plan.ops.push(Op::Install { staged, path: path.clone(), over });
        w = end;
    }
    plan.ops.append(&mut stale);
    plan
}

fn is_as_wanted(found: &Found, wanted: &Node) -> bool {
    match (found, wanted) {
        (Found::File { digest, executable: now }, Node::File { digest: then, executable }) => {
            *digest == Some(*then) && now == executable
        }
        (Found::Symlink { target: now }, Node::Symlink { target, .. }) => now == target,
        (Found::Folder, Node::EmptyDirectory) => true,
        _ => false,
    }
}

/// The index after an entry and everything below it.
fn skip<T>(entries: &[T], at: usize, path: impl Fn(&T) -> &Vec<u8>) -> usize {
    let folder = path(&entries[at]);
    at + 1 + entries[at + 1..].iter().take_while(|entry| is_below(path(entry), folder)).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::digest::DigestFunction;

    /// A workspace in memory: what is at each path, parents always there.
    type Files = BTreeMap<Vec<u8>, Found>;

    fn digest(content: u8) -> Digest {
        Digest::of(DigestFunction::Blake3, &[content])
    }

    fn scanned(files: &Files) -> Vec<Scanned> {
        let facts = FileFacts { dev: 0, ino: 0, size: 0, mtime_ns: 0, ctime_ns: 0, mode: 0 };
        let scan =
            |(path, found): (&Vec<u8>, &Found)| Scanned { path: path.clone(), found: found.clone(), facts };
        let mut scanned: Vec<_> = files.iter().map(scan).collect();
        scanned.sort_by(|a, b| compare_paths(&a.path, &b.path));
        scanned
    }

    fn as_found(node: &Node) -> Found {
        match node {
            Node::File { digest, executable } => {
                Found::File { digest: Some(*digest), executable: *executable }
            }
            Node::Symlink { target, .. } => Found::Symlink { target: target.clone() },
            Node::EmptyDirectory | Node::Directory { .. } => Found::Folder,
        }
    }

    /// What rename does, as strictly as the kernel.
    fn rename(from: &mut Files, name: &[u8], to: &mut Files, new: &[u8]) {
        let moved: Vec<Vec<u8>> =
            from.keys().filter(|path| *path == name || is_below(path, name)).cloned().collect();
        assert!(!moved.is_empty(), "nothing to rename");
        if let Some(there) = to.get(new) {
            assert!(*there != Found::Folder && from[name] != Found::Folder, "a folder is in the way");
        }
        let parent = new.iter().rposition(|byte| *byte == b'/').map(|at| &new[..at]);
        assert!(parent.is_none_or(|parent| to.get(parent) == Some(&Found::Folder)), "no parent");
        for path in moved {
            let found = from.remove(&path).expect("listed");
            to.insert([new, &path[name.len()..]].concat(), found);
        }
    }

    fn apply(plan: &Plan, wanted: &[(Vec<u8>, Node)], files: &mut Files, steps: usize) {
        let mut stage = Files::new();
        for (path, index) in &plan.staged {
            assert!(stage.insert(path.clone(), as_found(&wanted[*index].1)).is_none());
        }
        for op in plan.ops.iter().take(steps) {
            match op {
                Op::Remove { path, waste } => rename(files, path, &mut stage, waste),
                Op::Install { staged, path, over } => {
                    let old = if *over { files.remove(path) } else { None };
                    assert_eq!(old.is_some(), *over);
                    rename(&mut stage, staged, files, path);
                }
            }
        }
    }

    fn files(leaf: impl Strategy<Value = Found> + Clone) -> impl Strategy<Value = Files> {
        prop::collection::vec(("o(/[ab.]){0,4}", leaf), 0..10).prop_map(|entries| {
            let mut files = Files::new();
            for (path, found) in entries {
                let path = path.into_bytes();
                let at_slash = |(at, byte): (usize, &u8)| (*byte == b'/').then_some(at);
                let parents: Vec<_> =
                    path.iter().enumerate().filter_map(at_slash).map(|at| path[..at].to_vec()).collect();
                if files.contains_key(&path)
                    || parents.iter().any(|p| files.get(p).is_some_and(|f| *f != Found::Folder))
                {
                    continue;
                }
                parents.into_iter().for_each(|parent| _ = files.insert(parent, Found::Folder));
                files.insert(path, found);
            }
            files
        })
    }

    fn leaf() -> impl Strategy<Value = Found> + Clone {
        prop_oneof![
            (0..3_u8, any::<bool>())
                .prop_map(|(content, executable)| Found::File { digest: Some(digest(content)), executable }),
            (0..2_u8).prop_map(|target| Found::Symlink { target: vec![b'a' + target] }),
            Just(Found::Folder),
        ]
    }

    fn to_wanted(files: &Files) -> Vec<(Vec<u8>, Node)> {
        let node = |found: &Found| match found {
            Found::File { digest, executable } => {
                Node::File { digest: digest.expect("known"), executable: *executable }
            }
            Found::Symlink { target } => Node::Symlink { target: target.clone(), follows: None },
            Found::Folder | Found::Other => Node::EmptyDirectory,
        };
        let mut wanted: Vec<_> = files.iter().map(|(path, found)| (path.clone(), node(found))).collect();
        sort_wanted(&mut wanted).expect("no conflict");
        wanted
    }

    proptest! {
        #[test]
        fn from_any_state_the_plan_leads_to_what_is_wanted_even_if_it_is_interrupted(
            wanted in files(leaf()),
            current in files(prop_oneof![5 => leaf(), 1 => Just(Found::Other)]),
        ) {
            prop_assume!(!wanted.is_empty());
            let list = to_wanted(&wanted);
            let whole = plan(&list, &scanned(&current), "s");
            for steps in 0..=whole.ops.len() {
                let mut now = current.clone();
                apply(&whole, &list, &mut now, steps);
                for (path, found) in &wanted {
                    let old_or_new = now.get(path).is_none_or(|f| f == found || current.get(path) == Some(f));
                    prop_assert!(old_or_new, "{path:?} is neither as it was nor as it shall be");
                }
                let rest = plan(&list, &scanned(&now), "r");
                apply(&rest, &list, &mut now, usize::MAX);
                prop_assert_eq!(&now, &wanted);
                prop_assert_eq!(plan(&list, &scanned(&now), "n"), Plan::default());
            }
        }

        #[test]
        fn what_is_right_is_not_touched_and_stale_things_go_last(wanted in files(leaf()), current in files(leaf())) {
            let list = to_wanted(&wanted);
            let plan = plan(&list, &scanned(&current), "s");
            for op in &plan.ops {
                let (Op::Install { path, .. } | Op::Remove { path, .. }) = op;
                prop_assert!(!wanted.contains_key(path) || wanted.get(path) != current.get(path));
            }
            let stale = |op: &Op| matches!(op, Op::Remove { path, .. } if !wanted.contains_key(path));
            let first = plan.ops.iter().position(stale).unwrap_or(plan.ops.len());
            prop_assert!(plan.ops[first..].iter().all(stale));
        }
    }

    #[test]
    fn a_folder_that_is_not_there_appears_with_one_rename() {
        let wanted = to_wanted(&Files::from([
            (b"o".to_vec(), Found::Folder),
            (b"o/a".to_vec(), Found::File { digest: Some(digest(1)), executable: false }),
            (b"o/d".to_vec(), Found::Folder),
            (b"o.x".to_vec(), Found::Symlink { target: b"o".to_vec() }),
        ]));
        let plan = plan(&wanted, &[], "7-");
        let staged: Vec<&[u8]> = plan.staged.iter().map(|(path, _)| path.as_slice()).collect();
        assert_eq!(staged, [b"7-1".as_slice(), b"7-1/a", b"7-1/d", b"7-2"]);
        assert_eq!(plan.ops.len(), 2);
    }

    #[test]
    fn one_path_cannot_be_two_things() {
        let file = |content| Node::File { digest: digest(content), executable: false };
        let entry = |path: &str, node| (path.as_bytes().to_vec(), node);
        assert!(sort_wanted(&mut vec![entry("a", file(1)), entry("a", file(1))]).is_ok());
        assert!(sort_wanted(&mut vec![entry("a", file(1)), entry("a", file(2))]).is_err());
        assert!(sort_wanted(&mut vec![entry("a/b", file(1)), entry("a", file(2))]).is_err());
        assert!(sort_wanted(&mut vec![entry("a/b", file(1)), entry("a", Node::EmptyDirectory)]).is_ok());
    }
}
