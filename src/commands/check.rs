//! `iact check`: everything that a build of every target could refuse before it starts anything, found without starting
//! anything. What only this machine lacks (a tool, a variable) is no mistake of the files.

use super::build::default_goal;
use super::{End, answer, complain, document, open};
use crate::cli::{Json, Typed};
use crate::engine::survey::missing_literals;
use crate::error::{Error, Kind, Result, exit};
use crate::graph::instance::templated;
use crate::graph::known_vars;
use crate::graph::names::{Decl, number};
use crate::manifest::decl::Text;
use crate::ui::phrase;
use crate::workspace::{Given, Workspace};
use serde_json::json;

/// Looks for mistakes.
///
/// # Errors
/// None of those it looks for: they are its answer.
pub fn check(typed: &Typed, json: Json) -> Result<End> {
    let (targets, mistakes) = match open(typed, Given::default()) {
        Ok(workspace) => {
            let targets = workspace.graph.manifests.iter().map(|manifest| manifest.targets.len()).sum();
            (targets, mistakes(&workspace))
        }
        Err(mistake) => (0, vec![*mistake]),
    };
    let code = mistakes.first().map_or(exit::DONE, |mistake| mistake.kind.exit_code());
    if json.json {
        let all: Vec<_> = mistakes.iter().map(told).collect();
        document(&json!({"ok": mistakes.is_empty(), "targets": targets, "mistakes": all}))?;
    } else if mistakes.is_empty() && !typed.look.quiet {
        answer(format!("no mistakes in {}\n", phrase::count(targets as u64, "target", "targets")))?;
    } else {
        mistakes.iter().for_each(|mistake| complain(typed, mistake));
    }
    Ok(End::Code(code))
}

fn told(mistake: &Error) -> serde_json::Value {
    let spot = mistake.place.as_ref().map(|place| (place.source.path.as_str(), place.line_and_column()));
    json!({
        "message": mistake.message,
        "path": spot.map(|(path, _)| path),
        "line": spot.map(|(_, (line, _))| line),
        "column": spot.map(|(_, (_, column))| column),
        "causes": mistake.causes,
        "hints": mistake.hints,
    })
}

/// What is wrong although the graph could be made.
fn mistakes(workspace: &Workspace) -> Vec<Error> {
    let graph = &workspace.graph;
    let mut mistakes: Vec<Error> = graph.manifests[0]
        .workspace
        .default
        .iter()
        .filter_map(|text| default_goal(graph, text).err().map(|mistake| *mistake))
        .collect();
    for (at, manifest) in graph.manifests.iter().enumerate() {
        for index in 0..manifest.targets.len() {
            let decl = Decl { manifest: number(at), target: number(index) };
            // What has instances was rendered.
            if graph.instances(decl).is_empty() {
                mistakes.extend(bad_templates(workspace, decl));
            }
        }
    }
    mistakes.extend(missing_literals(workspace));
    mistakes
}

/// Templates of a target without instances (no file matches its glob) that could never be rendered.
fn bad_templates(workspace: &Workspace, decl: Decl) -> Vec<Error> {
    let graph = &workspace.graph;
    let manifest = &graph.manifests[decl.manifest as usize];
    let target = &manifest.targets[decl.target as usize];
    let known = known_vars(&graph.manifests, decl);
    let one = |text: &Text| -> Option<Error> {
        let uses = match graph.templates.uses(&text.value) {
            Ok(uses) => uses?,
            Err(wrong) => return Some(*wrong.into_error(&manifest.source, text)),
        };
        let unknown =
            uses.names().find(|name| !known.contains(name) && !crate::template::is_reserved(name))?;
        let message = format!("`{unknown}` is not defined");
        let wrong = Error::new(Kind::Manifest, message).at(&manifest.source, text.span);
        Some(*wrong.suggest(unknown, known.iter().copied()))
    };
    templated(target).filter_map(one).collect()
}
