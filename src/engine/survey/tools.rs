//! Where the tools of actions are.
//!
//! Invariant: what has no name on PATH is told apart by its place, so that two folders may call two programs by one text.
#![allow(clippy::disallowed_methods, reason = "shell: looks for programs")]

use super::asked;
use crate::engine::shared::find_program;
use crate::error::{Error, Kind};
use crate::journal::Journal;
use crate::path_table::PathId;
use crate::plan::Plan;
use crate::workspace::Workspace;
use rustc_hash::FxHashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The programs of all tools that are there.
pub(super) fn resolve(
    workspace: &Workspace,
    plan: &Plan,
    journal: &mut Journal,
) -> FxHashMap<String, PathId> {
    let path = workspace.caller.var("PATH").cloned().unwrap_or_default();
    let mut tools: FxHashMap<String, Option<PathId>> = FxHashMap::default();
    for id in asked(plan) {
        for tool in &workspace.graph.actions[id as usize].tools {
            if tools.contains_key(tool) {
                continue;
            }
            let found = if let Some(place) = tool.strip_prefix("./") {
                // What a target makes need not be there yet.
                let is_made = workspace.graph.makers.of(place).is_some();
                (is_made || workspace.root.join(place).is_file()).then(|| PathBuf::from(place))
            } else if tool.contains('/') {
                Some(PathBuf::from(tool)).filter(|program| program.is_file())
            } else {
                find_program(&path, tool)
            };
            let found = found.map(|found| journal.paths.intern(found.as_os_str().as_bytes()));
            tools.insert(tool.clone(), found);
        }
    }
    tools.into_iter().filter_map(|(tool, found)| Some((tool, found?))).collect()
}

/// Of the tools that are not there the first, with its place; below it the others.
pub(super) fn missing(
    workspace: &Workspace,
    plan: &Plan,
    tools: &FxHashMap<String, PathId>,
) -> Option<Box<Error>> {
    let graph = &workspace.graph;
    let mut told: Vec<&str> = Vec::new();
    let mut wrong: Option<Box<Error>> = None;
    for id in asked(plan) {
        let action = &graph.actions[id as usize];
        for (at, tool) in action.tools.iter().enumerate() {
            if tools.contains_key(tool) || told.contains(&tool.as_str()) {
                continue;
            }
            told.push(tool);
            let message = format!("the tool {} of `{}` {}", shown(tool), action.name, lack(tool));
            let own = graph.declaration(id);
            wrong = Some(match wrong {
                Some(first) => first.because(message),
                None => {
                    let span = own.tools.get(at).map_or(own.name.span, |text| text.span);
                    let hint = match tool.strip_prefix("./") {
                        Some(_) => "it is neither there nor made by a target",
                        None => "install it, or correct PATH",
                    };
                    Error::new(Kind::Refused, message).at(&graph.manifest(id).source, span).hint(hint)
                }
            });
        }
    }
    wrong
}

/// A tool for a person: its name, or its place from the workspace's root.
pub(in crate::engine) fn shown(tool: &str) -> String {
    format!("`{}`", tool.strip_prefix("./").unwrap_or(tool))
}

/// What is wrong with a tool that is not there.
pub(in crate::engine) fn lack(tool: &str) -> &'static str {
    if tool.contains('/') { "does not exist" } else { "is not on PATH" }
}
