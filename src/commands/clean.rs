//! `iact clean`: removes what targets made.
//!
//! Invariants: what goes is still exactly what was made here, and is declared, or was when it was made and is nobody's input;
//! nothing is removed through a link; the cache stays. Refused: removing empty parent folders, which may be somebody's own.

mod sources;

use super::build::{Goals, given};
use super::{End, answer, complain, document, open};
use crate::cli::{self, Typed};
use crate::content::ContentKind;
use crate::engine::lock::WorkspaceLock;
use crate::engine::run::Memory;
use crate::engine::survey::as_made;
use crate::error::{Error, Kind, Result, exit};
use crate::journal::Journal;
use crate::record::Record;
use crate::scan::walk::PRIVATE;
use crate::ui::door;
use crate::workspace::Workspace;
use serde_json::json;
use sources::Sources;
use std::collections::{BTreeMap, BTreeSet};
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
    let paths = still_made(&workspace, &ids, all)?;
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
    let (mut gone, mut trouble) = (Vec::new(), Vec::new());
    for path in paths {
        let removed = if dry_run { Ok(is_there(workspace, path.as_bytes())) } else { files.remove(&path) };
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

fn is_there(workspace: &Workspace, path: &[u8]) -> bool {
    let path = CString::new(path).expect("no path holds a NUL");
    matches!(crate::scan::read::stat(workspace.folder.as_fd(), &path, false), Ok(Some(_)))
}

/// Outputs that are what these actions, or all that are remembered, made: declared ones, and those that no declaration names
/// any more. What is left alone is told.
fn still_made(workspace: &Workspace, ids: &BTreeSet<u32>, all: bool) -> Result<BTreeSet<String>> {
    let graph = &workspace.graph;
    let outputs = ids.iter().flat_map(|&id| &graph.actions[id as usize].outputs);
    let declared: BTreeSet<&str> = outputs.map(|output| output.path.as_str()).collect();
    let Memory { mut journal, mut files } = Memory::open(workspace)?;
    let chosen = |name: &str| all || graph.find(name).is_some_and(|id| ids.contains(&id));
    let mut names: Vec<String> = journal.names().filter(|name| chosen(name)).map(str::to_owned).collect();
    names.sort_unstable();
    let (mut found, mut sources) = (BTreeSet::new(), None);
    let mut left: BTreeMap<String, String> = declared
        .iter()
        .map(|path| ((*path).to_owned(), "nothing is remembered of how it was made".to_owned()))
        .collect();
    for name in names {
        let record = journal.record(&name).expect("it was just listed").clone();
        for (path, made) in one_by_one(record, &journal) {
            if !declared.contains(path.as_str()) {
                if graph.makers.touching(&path).next().is_some() {
                    continue;
                }
                let known = match &sources {
                    Some(known) => known,
                    None => &*sources.insert(Sources::of(workspace, &journal)?),
                };
                if known.have(&made, &journal) {
                    continue;
                }
            }
            match as_made(&made, &mut journal, &mut files) {
                Some(true) if !holds_private(workspace, &made, &journal) => drop(found.insert(path)),
                Some(_) => drop(left.insert(path, format!("it is not what `{name}` made any more"))),
                None => {}
            }
        }
    }
    for (path, why) in left {
        if !found.contains(&path) && is_there(workspace, path.as_bytes()) {
            door::tell(format!("left alone, since {why}: {path}\n"));
        }
    }
    Ok(found)
}

/// The declared outputs of a record, each with a record of what was made there.
fn one_by_one(record: Record, journal: &Journal) -> BTreeMap<String, Record> {
    let shown = |path| std::str::from_utf8(journal.paths.bytes_of(path)).ok();
    let declared = record.outputs.iter().filter(|made| made.declared);
    let mut each: BTreeMap<String, Record> =
        declared.filter_map(|made| Some((shown(made.path)?.to_owned(), Record::default()))).collect();
    for made in record.outputs {
        let mut at = Some(journal.paths.bytes_of(made.path));
        while let Some(path) = at {
            if let Some(one) = std::str::from_utf8(path).ok().and_then(|path| each.get_mut(path)) {
                one.outputs.push(made);
                break;
            }
            at = path.iter().rposition(|byte| *byte == b'/').map(|slash| &path[..slash]);
        }
    }
    each
}

/// Whether somebody keeps a repository or a workspace in what was made: neither counts as a stray for a build.
fn holds_private(workspace: &Workspace, made: &Record, journal: &Journal) -> bool {
    let folders = made.outputs.iter().filter(|one| one.content.kind == ContentKind::Folder);
    folders.map(|folder| journal.paths.bytes_of(folder.path)).any(|folder| {
        PRIVATE.iter().map(|name| [folder, b"/", name].concat()).any(|path| {
            let id = journal.paths.find(&path);
            let is_made = id.is_some_and(|id| made.outputs.binary_search_by_key(&id, |one| one.path).is_ok());
            !is_made && is_there(workspace, &path)
        })
    })
}
