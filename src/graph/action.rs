//! What an instance of a target comes to: the values of its declaration, rendered.
//!
//! Invariant: nothing here depends on the time, the job count, the caller's environment or where the
//! workspace lies: texts that use `{{ workspace }}`, a port or an exported value hold a placeholder and are
//! rendered again when the action runs.

use super::rare::{self, Rare};
use crate::manifest::decl::{Retry, Severity};
use crate::scan::patterns::Patterns;
use crate::schedule::Demand;
use std::sync::Arc;

/// A declared output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Workspace-relative.
    pub path: String,
    /// Written with a slash at its end: certainly a folder.
    pub is_folder: bool,
}

/// A declared list of inputs.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// All patterns, compiled.
    pub patterns: Patterns,
    /// Paths that must exist: literal, not below a dependency's output.
    pub literals: Vec<String>,
}

/// An instance with its variables bound.
#[derive(Clone, Debug, Default)]
pub struct Action {
    /// `api:test[db=postgres]`.
    pub name: String,
    /// Whether it only stands for its dependencies.
    pub is_group: bool,
    /// Folder of the Iactfile it stands in.
    pub folder: String,
    /// Command, program first; empty for a group.
    pub argv: Vec<String>,
    /// Working folder, workspace-relative.
    pub cwd: String,
    /// Set variables, sorted by name.
    pub env: Vec<(String, String)>,
    /// Passed on and part of the fingerprint, sorted.
    pub pass_env: Vec<String>,
    /// Passed on only.
    pub untracked_env: Vec<String>,
    /// `None`: always runs.
    pub inputs: Option<Inputs>,
    /// Under `for_each`, its file.
    pub file: Option<String>,
    /// Declared outputs, in their order.
    pub outputs: Vec<Output>,
    /// Programs, as written.
    pub tools: Vec<String>,
    /// Shell texts.
    pub probes: Vec<String>,
    /// Shell command in front of a script (`bash -c`): for probes, check and verify. Nearly always the same.
    pub shell: Arc<Vec<String>>,
    /// Workspace-relative.
    pub depfile: Option<String>,
    /// Shell text.
    pub check: Option<String>,
    /// Shell text.
    pub verify: Option<String>,
    /// The variables it was rendered with, if some text must be rendered again when it runs.
    pub late: Option<Box<super::instance::Bound>>,
    /// Services that must run while it does.
    pub services: Vec<super::service::Use>,
    /// Leftovers stay.
    pub keep_outputs: bool,
    /// May be stored and fetched.
    pub cache: bool,
    /// May leave this machine.
    pub remote: bool,
    /// `false`: the workspace's path is part of the fingerprint.
    pub relocatable: bool,
    /// Limit for the whole tree.
    pub timeout_ms: Option<u64>,
    /// What it takes of the machine.
    pub demand: Demand,
    /// How many stale files share a command; 0 without `batch`.
    pub batch: u32,
    /// What a failure means.
    pub severity: Severity,
    /// Again after a failure.
    pub retry: Option<Retry>,
    /// Everything rarer.
    pub rare: Option<Box<Rare>>,
}

impl Action {
    /// The rare keys, if need be without any.
    pub fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&rare::NONE)
    }

    /// Whether others may use what it did: outputs or exported values.
    pub fn gives(&self) -> bool {
        !self.outputs.is_empty() || !self.rare().exports.is_empty()
    }

    /// Every path that is its own to write: its outputs, and its depfile unless that is one of them or lies in one.
    pub fn writes(&self) -> impl Iterator<Item = &str> {
        let outputs = self.outputs.iter().map(|output| output.path.as_str());
        let lies_in = |depfile: &str| outputs.clone().any(|output| crate::path::is_beneath(depfile, output));
        let depfile = self.depfile.as_deref().filter(|depfile| !lies_in(depfile));
        outputs.chain(depfile)
    }
}
