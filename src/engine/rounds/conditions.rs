//! What `when` and optional requirements say of a plan that is built again and again.
//!
//! Invariant: they are asked again when something they name may have come or gone, and before each build; what counts is
//! another answer, not another reason for it, which may tell a number that moves all the time.

use super::{Rounds, Stale};
use crate::engine::hint::Hints;
use crate::engine::when;
use crate::graph::rare::Need;
use crate::path::normalise;
use crate::plan::{Node, Plan};
use crate::workspace::Workspace;
use std::collections::BTreeSet;

/// The conditions of a plan.
pub(super) struct Conditions {
    /// Paths they name, workspace-relative, by whom; none beside the workspace.
    paths: Vec<(Node, String)>,
    /// What they said no to.
    skipped: BTreeSet<Node>,
}

impl Conditions {
    pub(super) fn of(workspace: &Workspace, plan: &Plan) -> Self {
        let mut paths = Vec::new();
        let root = workspace.root.to_str().map(|root| format!("{}/", root.trim_end_matches('/')));
        for node in plan.nodes() {
            let action = &workspace.graph.actions[plan.actions[node.index()] as usize];
            let exists = action.rare().when.iter().flat_map(|when| &when.exists);
            let files = action.rare().requires.iter().filter_map(|one| match &one.need {
                Need::File(path) if one.optional => Some(path),
                _ => None,
            });
            for path in exists.chain(files) {
                let inside = root.as_deref().and_then(|root| path.strip_prefix(root));
                let normal =
                    inside.map_or_else(|| normalise(&action.folder, path), |path| normalise("", path));
                paths.extend(normal.map(|normal| (node, normal.path)));
            }
        }
        Self { paths, skipped: plan.skips.keys().copied().collect() }
    }

    /// Every path that is named.
    pub(super) fn paths(&self) -> impl ExactSizeIterator<Item = &str> {
        self.paths.iter().map(|(_, path)| path.as_str())
    }
}

impl Rounds<'_> {
    /// What applies otherwise than before, if anything does. A reopening for it is asked for once.
    pub fn conditions_moved(&mut self) -> Option<Stale> {
        let skipped = when::skips(self.workspace, self.plan).into_keys().collect();
        let before = std::mem::replace(&mut self.conditions.skipped, skipped);
        let moved: BTreeSet<Node> = before.symmetric_difference(&self.conditions.skipped).copied().collect();
        let name =
            |node: &Node| self.workspace.graph.actions[self.plan.actions[node.index()] as usize].name.clone();
        let of_moved = self.conditions.paths.iter().filter(|(node, _)| moved.contains(node));
        let paths: BTreeSet<Vec<u8>> = of_moved.map(|(_, path)| path.clone().into_bytes()).collect();
        let targets = moved.iter().map(name).collect();
        (!moved.is_empty()).then(|| Stale { paths: paths.into_iter().collect(), targets, lost: false })
    }

    /// Whether a path that a condition names, or a folder above it, is among what was hinted at.
    pub(super) fn touches_conditions(&self, hints: &Hints) -> bool {
        let is_hinted = |path: &str| hints.paths.contains(path.as_bytes());
        let above = |path: &str| path.match_indices('/').any(|(at, _)| is_hinted(&path[..at]));
        let mut paths = self.conditions.paths();
        hints.everything && paths.len() > 0 || paths.any(|path| is_hinted(path) || above(path))
    }
}
