//! What `when` and optional requirements say of a plan that is built again and again.
//!
//! Invariant: they are asked again when something they name may have come or gone, and before each build; what counts is
//! another answer, not another reason for it, which may tell a number that moves all the time.

use super::Rounds;
use crate::engine::hint::Hints;
use crate::engine::when;
use crate::graph::rare::Need;
use crate::path::normalise;
use crate::plan::{Node, Plan};
use crate::workspace::Workspace;

/// The conditions of a plan.
pub(super) struct Conditions {
    /// Paths they name, workspace-relative; none beside the workspace.
    pub(super) paths: Vec<String>,
    /// What they said no to.
    skipped: Vec<Node>,
}

impl Conditions {
    pub(super) fn of(workspace: &Workspace, plan: &Plan) -> Self {
        let mut paths = Vec::new();
        for id in &plan.actions {
            let action = &workspace.graph.actions[*id as usize];
            let exists = action.rare().when.iter().flat_map(|when| &when.exists);
            let files = action.rare().requires.iter().filter_map(|one| match &one.need {
                Need::File(path) if one.optional => Some(path),
                _ => None,
            });
            let named = exists.chain(files).filter_map(|path| normalise(&action.folder, path).ok());
            paths.extend(named.map(|normal| normal.path));
        }
        paths.sort_unstable();
        paths.dedup();
        Self { paths, skipped: plan.skips.keys().copied().collect() }
    }
}

impl Rounds<'_> {
    /// Whether other actions apply than before. A reopening for it is asked for once.
    pub fn conditions_moved(&mut self) -> bool {
        let skipped = when::skips(self.workspace, self.plan).into_keys().collect();
        let before = std::mem::replace(&mut self.conditions.skipped, skipped);
        before != self.conditions.skipped
    }

    /// Whether a path that a condition names, or a folder above it, is among what was hinted at.
    pub(super) fn touches_conditions(&self, hints: &Hints) -> bool {
        let is_hinted = |path: &str| hints.paths.contains(path.as_bytes());
        let above = |path: &str| path.match_indices('/').any(|(at, _)| is_hinted(&path[..at]));
        let mut paths = self.conditions.paths.iter();
        hints.everything && paths.len() > 0 || paths.any(|path| is_hinted(path) || above(path))
    }
}
