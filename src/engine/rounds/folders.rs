//! Which folders have to be watched, so that nothing a plan depends on moves unnoticed.
//!
//! Invariant: every folder that a wildcard looked into or that holds an input or what a condition names, every place where such a folder could appear,
//! the Iactfiles' folders, and all of their parents up to the root. Tools beside the workspace, outputs, `.git`, `.iact` and the cache are not
//! watched.

use super::Rounds;
use crate::engine::shared::os_path;
use crate::path_table::PathId;
use crate::scan::read::Seen;
use crate::scan::walk::{is_private, split};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Folders to watch, absolute; some of them may not be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Folders whose paths are those of inputs.
    pub plain: BTreeSet<PathBuf>,
    /// Folders that inputs are reached in by another path: anything that moves there may be one.
    pub foreign: BTreeSet<PathBuf>,
}

impl Rounds<'_> {
    /// The folders, if they may be others than at the last call.
    pub fn wanted(&mut self) -> Option<Wanted> {
        let declared = &self.shared.declared;
        let sight = self.sight.as_mut()?;
        if !std::mem::take(&mut sight.folders_moved) {
            return None;
        }
        let sight = &*sight;
        let journal = &sight.memory.journal;
        let is_foreign = |id: &PathId| journal.paths.bytes_of(*id).starts_with(b"/");
        let tools: FxHashSet<_> = sight.survey.tools.values().copied().filter(is_foreign).collect();
        let mut folders: FxHashSet<&[u8]> = sight.visited.iter().map(Vec::as_slice).collect();
        folders.extend(self.workspace.asked.visited.iter().map(|(path, _)| path.as_slice()));
        folders.extend(self.workspace.graph.manifests.iter().map(|manifest| manifest.folder.as_bytes()));
        let mut wanted = Wanted::default();
        let names = |id: &u32| &self.workspace.graph.actions[*id as usize].name;
        let records = self.plan.actions.iter().filter_map(|id| journal.record(names(id)));
        let discovered = records.flat_map(|record| record.discovered.iter().map(|(path, _)| *path));
        let literals = self.plan.actions.iter().flat_map(|id| {
            self.workspace.graph.actions[*id as usize].inputs.iter().flat_map(|inputs| &inputs.literals)
        });
        folders.extend(literals.map(|literal| split(literal.as_bytes()).0));
        folders.extend(self.conditions.paths().map(|path| split(path.as_bytes()).0));
        for id in sight.survey.wanted.iter().copied().chain(discovered).filter(|id| !tools.contains(id)) {
            let path = journal.paths.bytes_of(id);
            folders.insert(split(path).0);
            let is_link =
                matches!(sight.memory.files.get(id), Seen::Present(present) if present.link.is_some());
            if is_link && let Ok(end) = self.workspace.root.join(os_path(path)).canonicalize() {
                wanted.foreign.extend(end.parent().map(PathBuf::from));
            }
        }
        let watched = |folder: &&[u8]| {
            let text = String::from_utf8_lossy(folder);
            !folder.split(|&byte| byte == b'/').any(is_private) && !declared.covers(&text)
        };
        for folder in folders.into_iter().filter(watched) {
            let mut path = self.workspace.root.join(os_path(if folder == b"." { b"" } else { folder }));
            while path.starts_with(&self.workspace.root) && wanted.plain.insert(path.clone()) {
                path.pop();
            }
            wanted.plain.insert(path);
        }
        wanted.plain.retain(|path| !self.workspace.root.starts_with(path) || *path == self.workspace.root);
        wanted.plain.insert(self.workspace.root.clone());
        Some(wanted)
    }
}
