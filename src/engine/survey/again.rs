//! A survey kept for the next round and mended where something moved.
//!
//! Invariant: after [`Survey::find_again`] and [`Survey::look_again`] the survey says of the given nodes what a survey made
//! anew would say; of the others nothing may have moved.

use super::{Survey, inputs_of, stray};
use crate::error::Result;
use crate::journal::Journal;
use crate::path_table::PathId;
use crate::plan::{Node, Plan};
use crate::scan::Files;
use crate::scan::walk::Folders;
use crate::workspace::Workspace;

/// Nodes whose inputs are others now.
#[derive(Debug, Default)]
pub struct Refound {
    /// Which nodes.
    pub nodes: Vec<Node>,
    /// Files that are new, and files that are gone.
    pub paths: Vec<PathId>,
    /// Whether a file is gone.
    pub lost: bool,
}

impl Survey {
    /// Finds the inputs of these nodes anew and tells for which they differ.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn find_again(
        &mut self,
        nodes: impl Iterator<Item = Node>,
        (workspace, plan): (&Workspace, &Plan),
        journal: &mut Journal,
        folders: &Folders<'_>,
    ) -> Result<Refound> {
        let mut refound = Refound::default();
        for node in nodes {
            let action = &workspace.graph.actions[plan.actions[node.index()] as usize];
            let found = inputs_of(action, folders)?;
            let mut ids: Vec<PathId> = found.iter().map(|path| journal.paths.intern(path)).collect();
            ids.sort_unstable();
            let before = &self.inputs[node.index()];
            if *before == ids {
                continue;
            }
            let gone: Vec<PathId> =
                before.iter().copied().filter(|id| ids.binary_search(id).is_err()).collect();
            let new = ids.iter().copied().filter(|id| before.binary_search(id).is_err());
            refound.paths.extend(new);
            refound.lost |= !gone.is_empty();
            refound.paths.extend(gone);
            refound.nodes.push(node);
            self.inputs[node.index()] = ids;
        }
        Ok(refound)
    }

    /// Looks at everything these nodes need and at what is where their outputs should be.
    ///
    /// # Errors
    /// A literal input that is not there.
    pub fn look_again(
        &mut self,
        nodes: &[Node],
        (workspace, plan): (&Workspace, &Plan),
        (journal, files): (&mut Journal, &mut Files),
        folders: &Folders<'_>,
    ) -> Result<()> {
        let mut wanted: Vec<PathId> = Vec::new();
        for &node in nodes {
            let action = &workspace.graph.actions[plan.actions[node.index()] as usize];
            wanted.extend_from_slice(&self.inputs[node.index()]);
            if action.inputs.is_some()
                && let Some(record) = journal.record(&action.name)
            {
                wanted.extend(record.discovered.iter().map(|(path, _)| *path));
                for made in &record.outputs {
                    files.forget(made.path);
                    wanted.push(made.path);
                }
            }
        }
        files.look(journal, wanted.iter().copied());
        wanted.retain(|id| self.wanted.binary_search(id).is_err());
        if !wanted.is_empty() {
            self.wanted.extend(wanted);
            self.wanted.sort_unstable();
            self.wanted.dedup();
        }
        let asked = nodes.iter().filter(|node| !plan.skips.contains_key(node));
        let actions = asked.map(|node| plan.actions[node.index()]);
        Self::require_literals(workspace, actions, journal, files)?;
        for &node in nodes {
            let action = &workspace.graph.actions[plan.actions[node.index()] as usize];
            let record = journal.record(&action.name).filter(|_| action.inputs.is_some());
            self.strays[node.index()] =
                record.and_then(|record| stray(files, journal, record, folders.visited()));
        }
        Ok(())
    }
}
