//! What is a source by now, though a target made it once: it is kept as a file of somebody's own.
//!
//! Invariant: a path that an action reads by a pattern, by name, as a tool or after its depfile, or that defines the workspace, is
//! a source. Refused: asking the patterns about the folder that was made, since they mean the files in it.

use crate::error::{Error, Kind, Result};
use crate::journal::Journal;
use crate::record::Record;
use crate::scan::walk::{Folders, Outputs};
use crate::workspace::Workspace;
use rustc_hash::FxHashSet;
use std::os::fd::AsFd;

/// All sources of a workspace.
pub(super) struct Sources(FxHashSet<Vec<u8>>);

impl Sources {
    /// Looks for them.
    ///
    /// # Errors
    /// A folder that cannot be read: nobody knows what is a source there.
    pub(super) fn of(workspace: &Workspace, journal: &Journal) -> Result<Self> {
        let graph = &workspace.graph;
        let declared = Outputs::new(graph.makers.paths().map(str::to_owned).collect());
        let folders = Folders::new(workspace.folder.as_fd(), workspace.gitignore(), &declared);
        let mut paths = FxHashSet::default();
        for action in &graph.actions {
            if let Some(inputs) = &action.inputs {
                let found = folders.matching(&inputs.patterns).map_err(|wrong| {
                    let message = format!("`{}` cannot be looked at, nothing was removed", wrong.path);
                    Error::new(Kind::Environment, message).because(wrong.why)
                })?;
                paths.extend(found.into_iter().map(|(path, _)| path));
                paths.extend(inputs.literals.iter().map(|literal| literal.clone().into_bytes()));
            }
            let tools = action.tools.iter().filter_map(|tool| tool.strip_prefix("./"));
            paths.extend(tools.map(|tool| tool.as_bytes().to_vec()));
            let discovered = journal.record(&action.name).into_iter().flat_map(|record| &record.discovered);
            paths.extend(discovered.map(|(path, _)| journal.paths.bytes_of(*path).to_vec()));
        }
        let files = graph.manifests.iter().map(|manifest| match manifest.folder.as_str() {
            "" => crate::workspace::FILE_NAME.into(),
            folder => format!("{folder}/{}", crate::workspace::FILE_NAME).into_bytes(),
        });
        paths.extend(files);
        Ok(Self(paths))
    }

    /// Whether something of what was made is one.
    pub(super) fn have(&self, made: &Record, journal: &Journal) -> bool {
        made.outputs.iter().any(|one| self.0.contains(journal.paths.bytes_of(one.path)))
    }
}
