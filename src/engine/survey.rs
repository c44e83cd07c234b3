//! What is true of the workspace before anything runs: inputs found and read, outputs looked at, tools
//! resolved.
//!
//! Invariant: everything is looked at in a few parallel sweeps and once, however many actions ask for it; an action
//! that always runs or is a group asks for nothing. What is named literally is looked at before wildcards and folders, and
//! most lists of inputs are then known without another look.
#![allow(clippy::disallowed_methods, reason = "shell: looks at files, resolves tools")]

mod again;
pub(super) mod tools;

use crate::content::{Content, ContentKind};
use crate::decision::Outputs as OutputState;
use crate::difference::Change;
use crate::error::{Error, Kind, Result};
use crate::graph::action::Action;
use crate::journal::Journal;
use crate::path_table::PathId;
use crate::plan::{Lists, Node, Plan};
use crate::record::{Made, Record};
use crate::scan::Files;
use crate::scan::read::{Present, Seen};
use crate::scan::walk::{Entry, Folders, Visited, everything_below};
use crate::workspace::Workspace;
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::ffi::CString;
use std::os::fd::AsFd;

/// What was found for every node of a plan.
#[derive(Default)]
pub struct Survey {
    /// Source files, sorted by id.
    pub inputs: Vec<Vec<PathId>>,
    /// Names that stand in a declared folder and are not in the record of it.
    strays: Vec<Option<String>>,
    /// Every tool that is there, by its name or by its place in the workspace.
    pub tools: FxHashMap<String, PathId>,
    /// Everything that was looked at, sorted.
    pub wanted: Vec<PathId>,
    /// Dependencies beside the plan whose outputs are not what they made.
    pub doubtful: FxHashSet<u32>,
    /// Whether there are dependencies beside the plan, of which nothing is in `wanted`.
    pub looks_beside: bool,
    /// What is to be looked at from now on, beside `wanted`.
    learned: Vec<PathId>,
}

/// Below that many actions the threads would cost more than they bring.
const WORTH_THREADS: usize = 64;

impl Survey {
    /// Looks at everything that running the plan's actions needs.
    ///
    /// # Errors
    /// A tool that is not there, and as [`Self::to_ask`].
    pub fn to_run(
        (workspace, plan): (&Workspace, &Plan),
        (journal, files): (&mut Journal, &mut Files),
        folders: &Folders<'_>,
    ) -> Result<Self> {
        let tools = tools::resolve(workspace, plan, journal);
        if let Some(missing) = tools::missing(workspace, plan, &tools) {
            return Err(missing);
        }
        Self::with_tools(tools, (workspace, plan), (journal, files), folders)
    }

    /// The same to be asked about: who lacks a tool is told so when it is assessed.
    ///
    /// # Errors
    /// A literal input that is not there, a folder that cannot be read.
    pub fn to_ask(
        of: (&Workspace, &Plan),
        (journal, files): (&mut Journal, &mut Files),
        folders: &Folders<'_>,
    ) -> Result<Self> {
        let tools = tools::resolve(of.0, of.1, journal);
        Self::with_tools(tools, of, (journal, files), folders)
    }

    fn with_tools(
        tools: FxHashMap<String, PathId>,
        (workspace, plan): (&Workspace, &Plan),
        (journal, files): (&mut Journal, &mut Files),
        folders: &Folders<'_>,
    ) -> Result<Self> {
        let mut survey = Self { tools, strays: vec![None; plan.len()], ..Self::default() };
        let mut wanted: Vec<PathId> = survey.tools.values().copied().collect();
        wanted.sort_unstable();
        let literals = name_literals(workspace, plan, journal);
        let mut swept: Vec<PathId> = literals.items().to_vec();
        for node in plan.nodes() {
            let action = &workspace.graph.actions[plan.actions[node.index()] as usize];
            if action.inputs.is_some()
                && let Some(record) = journal.record(&action.name)
            {
                wanted.extend(record.discovered.iter().map(|(path, _)| *path));
                wanted.extend(record.outputs.iter().map(|made| made.path));
            }
        }
        swept.extend_from_slice(&wanted);
        files.look(journal, swept);
        for found in find_inputs((workspace, plan), &literals, files, folders)? {
            let mut ids = match found {
                Found::Looked(ids) => ids,
                Found::Listed(paths) => paths.into_iter().map(|path| journal.paths.intern(&path)).collect(),
            };
            ids.sort_unstable();
            ids.dedup();
            wanted.extend_from_slice(&ids);
            survey.inputs.push(ids);
        }
        files.look(journal, wanted.iter().copied());
        wanted.sort_unstable();
        wanted.dedup();
        survey.wanted = wanted;
        survey.doubt((workspace, plan), journal, files);
        Self::require_literals(workspace, asked(plan), journal, files)?;
        survey.find_strays(folders, (workspace, plan), journal, files);
        Ok(survey)
    }

    /// The survey of a plan's actions of which it is known what they read: no folder was touched.
    ///
    /// # Errors
    /// An input that is not there: more than these actions may be concerned.
    pub fn of_known(
        (workspace, plan): (&Workspace, &Plan),
        (inputs, tools): (Vec<Vec<PathId>>, Vec<(String, PathId)>),
        (journal, files): (&mut Journal, &mut Files),
    ) -> Result<Self> {
        let mut wanted: Vec<PathId> = tools.iter().map(|(_, path)| *path).collect();
        wanted.extend(inputs.iter().flatten());
        for action in &workspace.graph.actions {
            let Some(record) = journal.record(&action.name) else { continue };
            wanted.extend(record.discovered.iter().map(|(path, _)| *path));
            wanted.extend(record.outputs.iter().map(|made| made.path));
        }
        wanted.sort_unstable();
        wanted.dedup();
        files.look(journal, wanted.iter().copied());
        if inputs.iter().flatten().any(|path| matches!(files.get(*path), Seen::Absent)) {
            return Err(Error::new(Kind::Environment, "an input is gone"));
        }
        let strays = vec![None; plan.len()];
        Ok(Self { inputs, strays, tools: tools.into_iter().collect(), wanted, ..Self::default() })
    }

    /// Looks at what stands for a dependency that nobody asked to bring up to date.
    fn doubt(&mut self, (workspace, plan): (&Workspace, &Plan), journal: &mut Journal, files: &mut Files) {
        let graph = &workspace.graph;
        let mut known = vec![false; graph.actions.len()];
        plan.actions.iter().for_each(|&id| known[id as usize] = true);
        for &id in &plan.actions {
            for &dep in graph.deps.get(id as usize) {
                graph.each_member(dep, &mut |member| {
                    if std::mem::replace(&mut known[member as usize], true) {
                        return;
                    }
                    self.looks_beside = true;
                    let Some(record) = journal.record(&graph.actions[member as usize].name).cloned() else {
                        return;
                    };
                    if as_made(&record, journal, files) != Some(true) {
                        self.doubtful.insert(member);
                    }
                });
            }
        }
    }

    /// What an action made or discovered is looked at from now on, once that is [settled](Self::settle).
    pub fn learn(&mut self, paths: impl Iterator<Item = PathId>) {
        self.learned.extend(paths);
    }

    /// What was learned is wanted.
    pub fn settle(&mut self) {
        if self.learned.is_empty() {
            return;
        }
        self.wanted.append(&mut self.learned);
        self.wanted.sort_unstable();
        self.wanted.dedup();
    }

    /// A literal input has to be there; what a dependency makes is not among them.
    fn require_literals(
        workspace: &Workspace,
        actions: impl Iterator<Item = u32>,
        journal: &mut Journal,
        files: &mut Files,
    ) -> Result<()> {
        let mut literals: Vec<(PathId, u32)> = Vec::new();
        for id in actions {
            let Some(inputs) = &workspace.graph.actions[id as usize].inputs else { continue };
            let paths = inputs.literals.iter().map(|literal| (journal.paths.intern(literal.as_bytes()), id));
            literals.extend(paths);
        }
        files.look(journal, literals.iter().map(|(path, _)| *path));
        match literals.into_iter().find(|(path, _)| matches!(files.get(*path), Seen::Absent)) {
            Some((path, id)) => Err(missing_input(workspace, id, &journal.paths.show(path))),
            None => Ok(()),
        }
    }

    /// A declared folder is restored exactly, so a name that should not be in it is a change.
    fn find_strays(
        &mut self,
        folders: &Folders<'_>,
        (workspace, plan): (&Workspace, &Plan),
        journal: &Journal,
        files: &Files,
    ) {
        let of_node = |node: Node| {
            let action = &workspace.graph.actions[plan.actions[node.index()] as usize];
            let record = journal.record(&action.name).filter(|_| action.inputs.is_some())?;
            stray(files, journal, record, folders.visited())
        };
        let nodes: Vec<Node> = plan.nodes().collect();
        self.strays = if nodes.len() < WORTH_THREADS {
            nodes.into_iter().map(of_node).collect()
        } else {
            nodes.into_par_iter().with_min_len(32).map(of_node).collect()
        };
    }

    /// What is where an action's outputs should be.
    pub fn outputs(&self, node: Node, record: &Record, journal: &Journal, files: &Files) -> OutputState {
        for made in &record.outputs {
            match state(files, made) {
                None => {}
                Some(Change::Removed) => return OutputState::Missing(made.path),
                Some(_) => return OutputState::Modified(journal.paths.show(made.path).into_owned()),
            }
        }
        match &self.strays[node.index()] {
            Some(stray) => OutputState::Modified(stray.clone()),
            None => OutputState::Intact,
        }
    }

    /// Everything that is wrong where an action's outputs should be.
    pub fn moved_outputs(
        &self,
        node: Node,
        record: &Record,
        journal: &Journal,
        files: &Files,
    ) -> Vec<(Change, String)> {
        let stray = self.strays[node.index()].clone().map(|stray| (Change::Added, stray));
        let show = |made: &Made| journal.paths.show(made.path).into_owned();
        let moved = record.outputs.iter().filter_map(|made| Some((state(files, made)?, show(made))));
        moved.chain(stray).collect()
    }

    /// The action made its outputs in this run: nothing strange is in them.
    pub fn made(&mut self, node: Node) {
        self.strays[node.index()] = None;
    }
}

/// What became of an output; `None`: it is what was made.
fn state(files: &Files, made: &Made) -> Option<Change> {
    let same = match (files.get(made.path), made.content.kind) {
        (Seen::Absent, _) => return Some(Change::Removed),
        (Seen::Present(present), ContentKind::Folder) => present.stat.is_folder(),
        (Seen::Present(present), _) => as_output(files, present) == made.content,
        _ => false,
    };
    (!same).then_some(Change::Changed)
}

/// Whether all that a record says was made is there, unchanged and alone; `None`: nothing of it is there.
pub fn as_made(record: &Record, journal: &mut Journal, files: &mut Files) -> Option<bool> {
    files.look(journal, record.outputs.iter().map(|made| made.path));
    let mut states = record.outputs.iter().map(|made| state(files, made));
    if states.clone().all(|state| state == Some(Change::Removed)) {
        return None;
    }
    Some(states.all(|state| state.is_none()) && stray(files, journal, record, &Visited::default()).is_none())
}

/// Every literal input of the whole workspace that is not there.
pub fn missing_literals(workspace: &Workspace) -> Vec<Error> {
    let root = workspace.folder.as_fd();
    let absent = |literal: &str| {
        CString::new(literal)
            .is_ok_and(|path| matches!(crate::scan::read::stat(root, &path, false), Ok(None)))
    };
    let mut missing = Vec::new();
    for (id, action) in workspace.graph.actions.iter().enumerate() {
        let literals = action.inputs.iter().flat_map(|inputs| &inputs.literals);
        for literal in literals.filter(|literal| absent(literal)) {
            missing.push(*missing_input(workspace, crate::graph::names::number(id), literal));
        }
    }
    missing
}

/// The content of something as an output: a link is what it says, wherever it leads.
pub fn as_output(files: &Files, present: &Present) -> Content {
    match &present.link {
        Some(link) => Content::link(files.function(), &link.text, None),
        None => present.content,
    }
}

fn stray(files: &Files, journal: &Journal, record: &Record, visited: &Visited) -> Option<String> {
    for folder in
        record.outputs.iter().filter(|made| made.declared && made.content.kind == ContentKind::Folder)
    {
        let name = journal.paths.bytes_of(folder.path);
        let below = everything_below(files.root(), name, visited, true).unwrap_or_default();
        let known = |path: &[u8]| {
            let id = journal.paths.find(path)?;
            record.outputs.binary_search_by_key(&id, |made| made.path).ok()
        };
        if let Some((path, _)) = below.into_iter().find(|(path, _)| known(path).is_none()) {
            return Some(String::from_utf8_lossy(&path).into_owned());
        }
    }
    None
}

/// Whether `when` says no to a node: nothing of it is looked at.
fn is_skipped(plan: &Plan, index: usize) -> bool {
    !plan.skips.is_empty() && plan.skips.contains_key(&Node(crate::graph::names::number(index)))
}

/// The actions that `when` does not say no to.
pub(super) fn asked(plan: &Plan) -> impl Iterator<Item = u32> {
    plan.nodes().filter(|node| !plan.skips.contains_key(node)).map(|node| plan.actions[node.index()])
}

/// The source files of a node.
enum Found {
    /// All of them named and looked at.
    Looked(Vec<PathId>),
    /// Some by wildcards or in folders.
    Listed(Vec<Vec<u8>>),
}

/// What every node names literally as its inputs. The empty path, the workspace's own folder, has no number.
fn name_literals(workspace: &Workspace, plan: &Plan, journal: &mut Journal) -> Lists<PathId> {
    let mut named = Lists::default();
    for (at, &id) in plan.actions.iter().enumerate() {
        let inputs = workspace.graph.actions[id as usize].inputs.iter().filter(|_| !is_skipped(plan, at));
        let literals = inputs.flat_map(|inputs| inputs.patterns.literals()).map(|(_, literal)| literal);
        named
            .push(literals.filter(|path| !path.is_empty()).map(|path| journal.paths.intern(path.as_bytes())));
    }
    named
}

/// The source files of every node, whose literals were looked at.
fn find_inputs(
    (workspace, plan): (&Workspace, &Plan),
    literals: &Lists<PathId>,
    files: &Files,
    folders: &Folders<'_>,
) -> Result<Vec<Found>> {
    let one = |(at, &id): (usize, &u32)| {
        let action = &workspace.graph.actions[id as usize];
        if is_skipped(plan, at) {
            return Ok(Found::Looked(Vec::new()));
        }
        match looked_at(action, literals.get(at), files) {
            Some(ids) => Ok(Found::Looked(ids)),
            None => inputs_of(action, folders).map(Found::Listed),
        }
    };
    if plan.len() < WORTH_THREADS {
        plan.actions.iter().enumerate().map(one).collect()
    } else {
        plan.actions.par_iter().enumerate().with_min_len(32).map(one).collect()
    }
}

/// The inputs of an action that names all of them, by what was seen there; `None`: a folder has to be listed, or something
/// cannot be told by what was seen.
fn looked_at(action: &Action, literals: &[PathId], files: &Files) -> Option<Vec<PathId>> {
    let Some(inputs) = &action.inputs else { return Some(Vec::new()) };
    let mut ids = Vec::with_capacity(literals.len());
    let mut paths = inputs.patterns.literals().map(|(_, path)| path);
    for &id in literals {
        let path = paths.next().filter(|path| !path.is_empty())?;
        match files.get(id) {
            Seen::Present(present) if present.stat.is_folder() => return None,
            Seen::Present(_) => ids.extend(inputs.patterns.takes(path, true).then_some(id)),
            Seen::Absent => {}
            Seen::Trouble(_) => return None,
        }
    }
    (paths.next().is_none() && inputs.patterns.roots().is_empty()).then_some(ids)
}

fn inputs_of(action: &Action, folders: &Folders<'_>) -> Result<Vec<Vec<u8>>> {
    let Some(inputs) = &action.inputs else { return Ok(Vec::new()) };
    let found =
        folders.matching(&inputs.patterns).map_err(|wrong| unreadable(action, &wrong.path, wrong.why))?;
    Ok(found.into_iter().filter(|(_, entry)| *entry != Entry::Folder).map(|(path, _)| path).collect())
}

fn unreadable(action: &Action, path: &str, why: Errno) -> Box<Error> {
    let message = format!("the inputs of `{}` cannot be found: `{path}` cannot be read", action.name);
    Error::new(Kind::Environment, message).because(why)
}

/// Tells of a literal input that is not there before anything is written: for a workspace that was never built.
///
/// # Errors
/// The first literal input that does not exist.
pub fn require_inputs(workspace: &Workspace, plan: &Plan) -> Result<()> {
    for id in asked(plan) {
        let Some(inputs) = &workspace.graph.actions[id as usize].inputs else { continue };
        for literal in &inputs.literals {
            let facts = rustix::fs::statat(&workspace.folder, literal.as_str(), AtFlags::SYMLINK_NOFOLLOW);
            if matches!(facts, Err(Errno::NOENT | Errno::NOTDIR)) {
                return Err(missing_input(workspace, id, literal));
            }
        }
    }
    Ok(())
}

fn missing_input(workspace: &Workspace, id: u32, literal: &str) -> Box<Error> {
    let graph = &workspace.graph;
    let action = &graph.actions[id as usize];
    let declared = graph.declaration(id).inputs.as_deref().unwrap_or_default();
    let texts = action.inputs.as_ref().map(|inputs| inputs.patterns.texts()).unwrap_or_default();
    let at = texts.iter().position(|text| text.trim_end_matches('/') == literal);
    let span = at.and_then(|at| declared.get(at)).map_or(graph.declaration(id).name.span, |text| text.span);
    let message =
        format!("the input `{literal}` of `{}` does not exist, and no target makes it", action.name);
    Error::new(Kind::Manifest, message).at(&graph.manifest(id).source, span)
}
