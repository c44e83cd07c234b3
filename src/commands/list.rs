//! `iact list`: the targets as people choose among them. Instances are not listed; `iact show` has them.

use super::build::unknown_tag;
use super::{End, answer, document, open, style};
use crate::cli::{List, Typed};
use crate::error::Result;
use crate::graph::names::{Reference, full};
use crate::manifest::decl::{Target, Text};
use crate::ui::door;
use crate::ui::table::{self, ListRow};
use crate::workspace::{Given, Workspace};
use rustc_hash::FxHashSet;

/// Lists the targets.
///
/// # Errors
/// A mistake in an Iactfile, a tag that nobody has.
pub fn list(typed: &Typed, list: &List) -> Result<End> {
    let workspace = open(typed, Given::default())?;
    let rows = rows(&workspace, &list.tags)?;
    if list.json.json { document(&rows) } else { shown(typed, &rows) }
}

/// The list as the answer to a bare `iact` where nothing is built by default.
///
/// # Errors
/// As [`list()`].
pub fn everything(typed: &Typed, workspace: &Workspace) -> Result<End> {
    shown(typed, &rows(workspace, &[])?)
}

fn shown(typed: &Typed, rows: &[ListRow]) -> Result<End> {
    if rows.is_empty() {
        door::tell("no targets are declared\n");
    }
    answer(table::list(rows, style(typed)))
}

fn rows(workspace: &Workspace, tags: &[String]) -> Result<Vec<ListRow>> {
    let graph = &workspace.graph;
    let has = |target: &Target, tag: &str| target.tags.iter().any(|text| text.value == tag);
    let all =
        || graph.manifests.iter().flat_map(|manifest| manifest.targets.iter().map(move |t| (manifest, t)));
    if let Some(tag) = tags.iter().find(|tag| !all().any(|(_, target)| has(target, tag))) {
        return Err(unknown_tag(graph, tag));
    }
    let meant = |text: &Text| graph.names.find_goal("", Reference::parse(&text.value).name);
    let defaults: FxHashSet<(&str, &str)> = graph.manifests[0]
        .workspace
        .default
        .iter()
        .filter_map(meant)
        .map(|decl| {
            let manifest = &graph.manifests[decl.manifest as usize];
            (manifest.folder.as_str(), manifest.targets[decl.target as usize].name.value.as_str())
        })
        .collect();
    let wanted = all().filter(|(_, target)| tags.is_empty() || tags.iter().any(|tag| has(target, tag)));
    let texts = |texts: &[Text]| texts.iter().map(|text| text.value.clone()).collect();
    Ok(wanted
        .map(|(manifest, target)| ListRow {
            name: full(&manifest.folder, &target.name.value),
            description: target.description.as_ref().map(|text| text.value.clone()),
            aliases: target.aliases.iter().map(|alias| full(&manifest.folder, &alias.value)).collect(),
            group: target.group.as_ref().map(|text| text.value.clone()),
            tags: texts(&target.tags),
            default: defaults.contains(&(manifest.folder.as_str(), target.name.value.as_str())),
        })
        .collect())
}
