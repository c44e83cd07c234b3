//! `iact clean`: removes what targets made.
//!
//! Invariants: what goes is a declared output, or one that was declared when it was made, is still exactly what was made and is
//! nobody's input; nothing is removed through a link; the cache stays. Refused: removing empty parent folders, which may be
//! somebody's own.

use super::build::{Goals, given};
use super::{End, answer, complain, document, open};
use crate::cli::{self, Typed};
use crate::engine::lock::WorkspaceLock;
use crate::engine::run::Memory;
use crate::engine::survey::as_made;
use crate::error::{Error, Kind, Result, exit};
use crate::ui::door;
use crate::workspace::Workspace;
use serde_json::json;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::AsFd;

/// Removes the outputs of targets, or all that are known.
///
/// # Errors
/// A mistake in an Iactfile, a goal that nobody has, something that cannot be removed.
pub fn clean(typed: &Typed, clean: &cli::Clean) -> Result<End> {
    let asked = clean.goals.asked();
    let workspace = open(typed, given(&asked))?;
    let all = asked.goals.is_empty() && clean.goals.tags.is_empty();
    let goals =
        if all { Goals::everything(&workspace) } else { Goals::of(&workspace, &asked, &clean.goals.tags)? };
    let mut ids = BTreeSet::new();
    for goal in goals.actions {
        workspace.graph.each_member(goal, &mut |member| {
            ids.insert(member);
        });
    }
    workspace.graph.refuse_unused(&workspace.given.vars, &ids.iter().copied().collect::<Vec<_>>())?;
    let _lock = if clean.dry_run { None } else { Some(lock(&workspace)?) };
    let mut paths: BTreeSet<String> = ids
        .iter()
        .flat_map(|&id| &workspace.graph.actions[id as usize].outputs)
        .map(|output| output.path.clone())
        .collect();
    paths.extend(outdated(&workspace, &ids, all)?);
    let (gone, trouble) = remove(&workspace, paths, clean.dry_run)?;
    if clean.json.json {
        document(&json!({"removed": gone, "dry_run": clean.dry_run}))?;
    } else if !typed.look.quiet {
        let verb = if clean.dry_run { "would remove" } else { "removed" };
        answer(gone.iter().map(|path| format!("{verb} {path}\n")).collect::<String>())?;
        if gone.is_empty() {
            door::tell("nothing to remove\n");
        }
    }
    trouble.iter().for_each(|error| complain(typed, error));
    Ok(End::Code(if trouble.is_empty() { exit::DONE } else { exit::FAILED }))
}

/// Nothing is removed while a build is at work on it.
fn lock(workspace: &Workspace) -> Result<WorkspaceLock> {
    let waiting = |_| door::tell("waiting: another iact builds in this workspace\n");
    WorkspaceLock::acquire(&workspace.memory(), waiting)
        .map_err(|error| Error::new(Kind::Environment, "nothing was removed").because(error))
}

/// What was there and went, or would go; what could not be removed.
fn remove(
    workspace: &Workspace,
    paths: BTreeSet<String>,
    dry_run: bool,
) -> Result<(Vec<String>, Vec<Error>)> {
    let files = iact_cache::Workspace::open(&workspace.root)
        .map_err(|error| Error::new(Kind::Environment, "cannot open the workspace").because(error))?;
    let there = |path: &str| {
        let path = CString::new(path).expect("the paths of a graph hold no NUL");
        matches!(crate::scan::read::stat(workspace.folder.as_fd(), &path, false), Ok(Some(_)))
    };
    let (mut gone, mut trouble) = (Vec::new(), Vec::new());
    for path in paths {
        let removed = if dry_run { Ok(there(&path)) } else { files.remove(&path) };
        match removed {
            Ok(true) => gone.push(path),
            Ok(false) => {}
            Err(error) => {
                trouble.push(*Error::new(Kind::Environment, format!("cannot remove `{path}`")).because(error))
            }
        }
    }
    Ok((gone, trouble))
}

/// Outputs of earlier runs that no declaration names any more: of these actions, or of all that are remembered.
fn outdated(workspace: &Workspace, ids: &BTreeSet<u32>, all: bool) -> Result<Vec<String>> {
    let graph = &workspace.graph;
    let Memory { mut journal, mut files } = Memory::open(workspace)?;
    let chosen = |name: &str| all || graph.find(name).is_some_and(|id| ids.contains(&id));
    let mut names: Vec<String> = journal.names().filter(|name| chosen(name)).map(str::to_owned).collect();
    names.sort_unstable();
    let mut found = Vec::new();
    for name in names {
        let record = journal.record(&name).expect("it was just listed").clone();
        let shown = |path| String::from_utf8(journal.paths.bytes_of(path).to_vec()).ok();
        let declared = record.outputs.iter().filter(|made| made.declared);
        let paths: Vec<String> = declared.filter_map(|made| shown(made.path)).collect();
        let paths: Vec<String> =
            paths.into_iter().filter(|path| graph.makers.touching(path).next().is_none()).collect();
        if paths.is_empty() || paths.iter().any(|path| is_input(workspace, path)) {
            continue;
        }
        match as_made(&record, &mut journal, &mut files) {
            Some(true) => found.extend(paths),
            Some(false) => door::tell(format!(
                "left alone, since it is not what `{name}` made any more: {}\n",
                paths.join(", ")
            )),
            None => {}
        }
    }
    Ok(found)
}

fn is_input(workspace: &Workspace, path: &str) -> bool {
    let inputs = workspace.graph.actions.iter().filter_map(|action| action.inputs.as_ref());
    inputs.map(|inputs| &inputs.patterns).any(|patterns| {
        [false, true].into_iter().any(|is_folder| patterns.first_taking(path, is_folder).is_some())
    })
}
