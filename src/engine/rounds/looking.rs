//! Looking again at what was hinted at, and telling what that comes to.
//!
//! Invariant: afterwards what was seen is what is there, as far as the hints go; nodes whose inputs differ are not fresh.
#![allow(clippy::disallowed_methods, reason = "shell: looks at files")]

use super::{Rounds, Sight};
use crate::content::Stat;
use crate::engine::hint::Hints;
use crate::engine::shared::os_path;
use crate::error::Result;
use crate::graph::action::Action;
use crate::path_table::PathId;
use crate::plan::Node;
use crate::scan::Again;
use crate::scan::read::{Seen, stat};
use crate::scan::walk::{Folders, Listings, Outputs, is_at_or_below, split};
use crate::workspace::{Workspace, files};
use rustc_hash::FxHashSet;
use rustix::fs::{AtFlags, FileType};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

/// What hints came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// Nothing moved that matters.
    Nothing,
    /// Something is stale.
    Stale(Stale),
    /// The workspace has to be opened again: an Iactfile, the files of a `for_each`, or its folder moved.
    Reopen,
    /// So it has, since conditions say otherwise of these targets.
    Otherwise(Stale),
}

/// What is stale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stale {
    /// Paths that moved.
    pub paths: Vec<Vec<u8>>,
    /// Targets that depend on them directly.
    pub targets: Vec<String>,
    /// Whether an input is gone; a moment later it may be there again.
    pub lost: bool,
}

/// More new and lost names than that are looked at like everything.
const MANY: usize = 64;

/// The Iactfiles as they were when the workspace was opened.
pub(super) struct Definition {
    files: Vec<(PathBuf, Option<blake3::Hash>)>,
    /// It moved while it was read.
    torn: bool,
    /// What wildcards came to, by their number, that have found something else since.
    found: BTreeMap<usize, Vec<String>>,
}

impl Definition {
    pub(super) fn of(workspace: &Workspace) -> Self {
        let texts = workspace.graph.manifests.iter().map(|manifest| manifest.source.text.as_bytes());
        let texts: Vec<&[u8]> = texts.collect();
        let mut torn = false;
        let mut files = Vec::new();
        for path in &workspace.read_files {
            let bytes = std::fs::read(path).ok();
            let is_file = path.file_name().is_some_and(|name| name == crate::workspace::FILE_NAME);
            let is_known = |bytes: &Vec<u8>| {
                texts.iter().any(|text| bytes.ends_with(text) && bytes.len() <= text.len() + 3)
            };
            torn |= is_file && !bytes.as_ref().is_some_and(is_known);
            files.push((path.clone(), bytes.map(|bytes| blake3::hash(&bytes))));
        }
        Self { files, torn, found: BTreeMap::new() }
    }

    fn moved(&mut self, touches: impl Fn(&PathBuf) -> bool) -> bool {
        let mut moved = std::mem::take(&mut self.torn);
        for (path, known) in self.files.iter_mut().filter(|(path, _)| touches(path)) {
            let now = std::fs::read(path).ok().map(|bytes| blake3::hash(&bytes));
            moved |= now != *known;
            *known = now;
        }
        moved
    }
}

pub(super) fn journal_stat(workspace: &Workspace) -> Option<Stat> {
    stat(workspace.folder.as_fd(), c".iact/journal", false).ok().flatten()
}

impl Rounds<'_> {
    /// Looks at what was hinted at. A reopening is asked for once: what refuses to open is asked for again when it moves.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn look(&mut self, hints: &Hints) -> Result<Noticed> {
        let root = &self.workspace.root;
        let named = |path: &PathBuf| {
            let path = path.strip_prefix(root).unwrap_or(path);
            hints.everything || hints.paths.contains(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
        };
        let asks = self.touches_conditions(hints);
        if self.definition.moved(named) || self.is_lost() {
            return Ok(Noticed::Reopen);
        }
        if let Some(moved) = asks.then(|| self.conditions_moved()).flatten() {
            return Ok(Noticed::Otherwise(moved));
        }
        let Some(sight) = &mut self.sight else { return Ok(Noticed::Stale(Stale::default())) };
        let fd = self.workspace.folder.as_fd();
        let mut names: Vec<Vec<u8>> = Vec::new();
        let mut everything = hints.everything;
        if !everything {
            for path in hints.paths.iter().filter(|path| !path.starts_with(b"/")) {
                if sight.listings.recheck(fd, path) {
                    names.push(if split(path).1 == b".gitignore" {
                        split(path).0.to_vec()
                    } else {
                        path.clone()
                    });
                }
            }
            everything = names.len() > MANY;
        }
        if everything {
            sight.listings = Listings::default();
        }
        sight.folders_moved |= everything || names.iter().any(|name| sight.may_hold_folders(fd, name));
        let scope = Scope { everything, names, paths: &hints.paths };
        if self.instances_moved(&scope)? {
            return Ok(Noticed::Reopen);
        }
        self.look_at(&scope)
    }

    /// Whether the workspace's folder is gone, or another one.
    pub fn is_lost(&self) -> bool {
        let here = rustix::fs::fstat(self.workspace.folder.as_fd());
        let there = rustix::fs::stat(&self.workspace.root);
        !matches!((here, there), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    /// Whether a wildcard that made instances, or found Iactfiles, finds others now.
    fn instances_moved(&mut self, scope: &Scope<'_>) -> Result<bool> {
        let sight = self.sight.as_mut().expect("it was just there");
        let none = Outputs::default();
        let folders = Folders::new(self.workspace.folder.as_fd(), self.workspace.gitignore(), &none);
        let folders = folders.with(std::mem::take(&mut sight.listings));
        let mut moved = false;
        for (at, (patterns, found)) in self.workspace.asked.globs.iter().enumerate() {
            if !scope.concerns(patterns) {
                continue;
            }
            let now = files(&folders, patterns)?;
            if now != *self.definition.found.get(&at).unwrap_or(found) {
                self.definition.found.insert(at, now);
                moved = true;
            }
        }
        sight.keep(folders);
        Ok(moved)
    }

    fn look_at(&mut self, scope: &Scope<'_>) -> Result<Noticed> {
        let of = (self.workspace, self.plan);
        let actions = &self.workspace.graph.actions;
        let declared = &self.shared.declared;
        let sight = self.sight.as_mut().expect("it was just there");
        let root = self.workspace.folder.as_fd();
        let folders = Folders::new(root, self.workspace.gitignore(), declared);
        let folders = folders.with(std::mem::take(&mut sight.listings));
        let concerned = self.plan.nodes().filter(|node| {
            let action: &Action = &actions[self.plan.actions[node.index()] as usize];
            action.inputs.as_ref().is_some_and(|inputs| scope.concerns(&inputs.patterns))
        });
        let refound = sight.survey.find_again(concerned, of, &mut sight.memory.journal, &folders);
        sight.keep(folders);
        let refound = refound?;
        refound.paths.iter().for_each(|&id| sight.memory.files.forget(id));
        let Moved { mut changed, leading, spoiled } = sight.changed(scope, declared, root);
        let mut moved: Vec<PathId> = refound.paths;
        let mut nodes: Vec<Node> = refound.nodes;
        for (node, path) in std::mem::take(&mut sight.moved) {
            nodes.push(node);
            moved.push(path);
        }
        changed.extend(moved.iter().copied());
        for node in self.plan.nodes() {
            let action = &actions[self.plan.actions[node.index()] as usize];
            let makes = |path: &[u8]| {
                action.outputs.iter().any(|output| is_at_or_below(path, output.path.as_bytes()))
            };
            // Who reads what a link leads to depends on the link's maker.
            if !changed.is_empty() && sight.depends(node, action, &changed)
                || leading.iter().any(|path| makes(path))
            {
                nodes.push(node);
            }
            if spoiled.iter().any(|path| makes(path)) {
                sight.fresh[node.index()] = false;
            }
        }
        nodes.sort_unstable();
        nodes.dedup();
        if nodes.is_empty() {
            return Ok(Noticed::Nothing);
        }
        nodes.iter().for_each(|node| sight.fresh[node.index()] = false);
        let journal = &sight.memory.journal;
        let mut paths: Vec<Vec<u8>> = changed.iter().map(|&id| journal.paths.bytes_of(id).to_vec()).collect();
        paths.sort_unstable();
        let name = |node: &Node| actions[self.plan.actions[node.index()] as usize].name.clone();
        Ok(Noticed::Stale(Stale { paths, targets: nodes.iter().map(name).collect(), lost: refound.lost }))
    }
}

/// What shows other facts than it did.
struct Moved {
    /// What has another content: inputs, and outputs that are links to it.
    changed: FxHashSet<PathId>,
    /// Those outputs.
    leading: Vec<Vec<u8>>,
    /// Outputs that somebody else moved.
    spoiled: Vec<Vec<u8>>,
}

/// Where to look.
struct Scope<'h> {
    everything: bool,
    /// Names that came, went, or stand for something else.
    names: Vec<Vec<u8>>,
    paths: &'h FxHashSet<Vec<u8>>,
}

impl Scope<'_> {
    /// Whether what the patterns find may be something else.
    fn concerns(&self, patterns: &crate::scan::patterns::Patterns) -> bool {
        let near = |name: &[u8], other: &[u8]| is_at_or_below(name, other) || is_at_or_below(other, name);
        self.everything
            || self.names.iter().any(|name| {
                patterns.roots().iter().any(|root| near(name, root.folder.as_bytes()))
                    || patterns.literals().any(|(_, literal)| near(name, literal.as_bytes()))
            })
    }
}

impl Sight {
    /// Whether folders to watch may have come or gone with this name.
    fn may_hold_folders(&self, root: BorrowedFd<'_>, name: &[u8]) -> bool {
        let is_folder = rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let below = |path: &Vec<u8>| is_at_or_below(path, name);
        is_folder || self.visited.range(name.to_vec()..).next().is_some_and(below)
    }

    /// Inputs that have another content than was seen; they are seen as they are now. An output that somebody else moved is
    /// no reason to build, but its maker is not fresh any more; one that is a link and leads to another content is seen like an
    /// input.
    fn changed(&mut self, scope: &Scope<'_>, declared: &Outputs, root: BorrowedFd<'_>) -> Moved {
        let moved = self.moved_among(scope, root);
        let paths = &self.memory.journal.paths;
        let files = &self.memory.files;
        let is_same_link = |id: &PathId| match files.get(*id) {
            Seen::Present(present) if present.link.is_some() => {
                matches!(stat(root, paths.c_str(*id), false), Ok(Some(now)) if now == present.stat)
            }
            _ => false,
        };
        let is_made = |path: &[u8]| declared.covers(&String::from_utf8_lossy(path));
        let is_output = |id: &PathId| is_made(paths.bytes_of(*id)) && !is_same_link(id);
        let (outputs, inputs): (Vec<PathId>, Vec<PathId>) = moved.into_iter().partition(is_output);
        let spoiled = outputs.into_iter().map(|id| paths.bytes_of(id).to_vec()).collect();
        let before: Vec<Seen> = inputs.iter().map(|&id| self.memory.files.get(id).clone()).collect();
        inputs.iter().for_each(|&id| self.memory.files.forget(id));
        self.memory.files.look(&mut self.memory.journal, inputs.iter().copied());
        let differs = |(id, before): &(PathId, Seen)| match (before.content(), self.memory.files.get(*id)) {
            (None, Seen::Present(_)) => true,
            (None, now) => now != before,
            (content, now) => content != now.content(),
        };
        let changed: FxHashSet<PathId> =
            inputs.into_iter().zip(before).filter(differs).map(|(id, _)| id).collect();
        let paths = &self.memory.journal.paths;
        let leading = changed.iter().map(|&id| paths.bytes_of(id)).filter(|path| is_made(path));
        Moved { leading: leading.map(<[u8]>::to_vec).collect(), changed, spoiled }
    }

    /// What was looked at, is in the scope and shows other facts now.
    fn moved_among(&self, scope: &Scope<'_>, root: BorrowedFd<'_>) -> Vec<PathId> {
        let paths = &self.memory.journal.paths;
        let known = |id: &PathId| self.survey.wanted.binary_search(id).is_ok();
        let mut ids: Vec<PathId> = if scope.everything {
            self.survey.wanted.clone()
        } else {
            let named = scope.paths.iter().filter_map(|path| paths.find(path)).filter(known);
            let below = self.survey.wanted.iter().copied().filter(|&id| {
                let path = paths.bytes_of(id);
                scope.names.iter().any(|name| name.len() < path.len() && is_at_or_below(path, name))
            });
            if scope.names.is_empty() { named.collect() } else { named.chain(below).collect() }
        };
        ids.sort_unstable();
        ids.dedup();
        let files = &self.memory.files;
        let again = Again { root, function: files.function(), stats_vouch: files.keeps_times() };
        ids.retain(|&id| {
            let path = paths.c_str(id);
            match files.get(id) {
                Seen::Present(present) if present.stat.is_folder() => {
                    !matches!(stat(root, path, false), Ok(Some(now)) if now.is_folder())
                }
                Seen::Present(present) => !again.is_unmoved(path, present),
                Seen::Absent => !matches!(stat(root, path, false), Ok(None)),
                Seen::Trouble(_) => true,
            }
        });
        ids
    }

    fn depends(&self, node: Node, action: &Action, changed: &FxHashSet<PathId>) -> bool {
        let record = action.depfile.as_ref().and_then(|_| self.memory.journal.record(&action.name));
        let discovered = record.map_or(&[][..], |record| &record.discovered);
        let tools = action.tools.iter().filter_map(|tool| self.survey.tools.get(tool).copied());
        let inputs = self.survey.inputs[node.index()].iter().chain(discovered.iter().map(|(path, _)| path));
        inputs.copied().chain(tools).any(|path| changed.contains(&path))
    }
}

/// A path for a person.
pub fn shown(path: &[u8]) -> String {
    os_path(path).display().to_string()
}
