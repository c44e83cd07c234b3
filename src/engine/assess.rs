//! Facts of one action gathered from what the run has seen, and the decision they come to.
//!
//! Invariant: the content of a dependency's output is taken from the record of what the dependency did last,
//! which by then is up to date, restored or just made: it does not matter which.

use super::exports::{self, Exported};
use super::job::{Job, Watched};
use super::survey::{Survey, tools};
use crate::content::{Content, ContentKind};
use crate::decision::{Decision, Facts, Outputs as OutputState, Reason, decide};
use crate::fingerprint::{InputNode, Values, define};
use crate::graph::Graph;
use crate::graph::action::Action;
use crate::journal::Journal;
use crate::path_table::PathId;
use crate::plan::{Node, Plan};
use crate::record::{Brought, Definition, Made, PartDigest};
use crate::scan::Files;
use crate::scan::read::Seen;
use crate::workspace::Workspace;
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::os::unix::ffi::OsStrExt;

/// What was asked for beside goals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Force {
    /// Nothing is forced.
    #[default]
    Nothing,
    /// Every action of the plan.
    Everything,
    /// These nodes.
    Nodes(Vec<Node>),
}

impl Force {
    /// Whether the node has to run.
    pub fn includes(&self, node: Node) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Nodes(nodes) => nodes.contains(&node),
        }
    }
}

/// What the run itself tells actions, beside what is declared.
#[derive(Debug, Default)]
pub struct Told {
    /// Variables of cleanups: what became of whom they follow.
    pub given: FxHashMap<Node, Vec<(String, String)>>,
    /// The exported values an action reads.
    pub exports: FxHashMap<Node, Vec<exports::Read>>,
}

/// Everything a decision is made from, borrowed for as long as it takes.
pub struct Assessor<'r, 'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// What is wanted.
    pub plan: &'a Plan,
    /// What is remembered.
    pub journal: &'r Journal,
    /// What was seen.
    pub files: &'r Files,
    /// What was found.
    pub survey: &'r Survey,
    /// What is forced.
    pub force: &'r Force,
    /// What the run tells.
    pub told: &'r Told,
    /// The time.
    pub now_unix_ms: u64,
}

/// An action with its facts and the decision.
pub struct Assessment {
    /// What to do.
    pub decision: Decision,
    /// Its definition.
    pub definition: Definition,
    /// Source files with their contents.
    pub inputs: Vec<(PathId, Content)>,
    /// What its dependencies made.
    pub brought: Vec<Brought>,
    /// An input that is not known for sure: the result vouches for nothing.
    pub uncertain: bool,
}

impl<'a> Assessor<'_, 'a> {
    /// The action of a node.
    pub fn action(&self, node: Node) -> &'a Action {
        &self.workspace.graph.actions[self.plan.actions[node.index()] as usize]
    }

    /// The facts of an action's definition, without tools that are not there.
    pub fn values(&self, node: Node, probes: &[PartDigest]) -> Values<'a> {
        let action = self.action(node);
        let passed = action.pass_env.iter().map(|name| {
            (name.as_str(), self.workspace.caller.var(name).map(|value| value.as_os_str().as_bytes()))
        });
        let content = |id: PathId| match self.files.get(id) {
            // A tool is the program at the end of its links.
            Seen::Present(present) => present
                .link
                .as_ref()
                .and_then(|link| link.through)
                .map_or(present.content, |(_, content)| content),
            _ => Content::file(iact_cache::Digest { hash: [0; 32], size: 0 }, false),
        };
        Values {
            os: &self.workspace.machine.os,
            arch: &self.workspace.machine.arch,
            passed: passed.collect(),
            tools: action
                .tools
                .iter()
                .filter_map(|tool| Some((tool.as_str(), content(*self.survey.tools.get(tool)?))))
                .collect(),
            probes: action.probes.iter().map(String::as_str).zip(probes.iter().copied()).collect(),
            workspace: (!action.relocatable).then(|| self.workspace.root.as_os_str().as_bytes()),
            exports: self.told.exports.get(&node).cloned().unwrap_or_default(),
            given: self.told.given.get(&node).cloned().unwrap_or_default(),
        }
    }

    /// Gathers the facts of a node whose dependencies have ended, and decides.
    ///
    /// # Errors
    /// An input whose content cannot be told, or a tool that is not there, for a person.
    pub fn assess(&self, node: Node, probes: &[PartDigest]) -> Result<Assessment, String> {
        let action = self.action(node);
        for tool in &action.tools {
            match self.survey.tools.get(tool).map(|id| self.files.get(*id)) {
                None => return Err(format!("the tool {} {}", tools::shown(tool), tools::lack(tool))),
                Some(Seen::Trouble(trouble)) => {
                    return Err(format!("the tool {} {trouble}", tools::shown(tool)));
                }
                Some(_) => {}
            }
        }
        let values = self.values(node, probes);
        let definition = define(action, &values);
        let record = self.journal.record(&action.name);
        let (brought, uncertain) = self.brought(node);
        let inputs = self.contents(&self.own_inputs(node, &brought))?;
        let discovered: Vec<(PathId, Option<Content>)> = record.map_or_else(Vec::new, |record| {
            record.discovered.iter().map(|&(path, _)| (path, self.files.get(path).content())).collect()
        });
        let outputs = record.map_or(OutputState::Intact, |record| {
            self.survey.outputs(node, record, self.journal, self.files)
        });
        let decision = decide(
            &Facts {
                // What calls for a cleanup is never what it was.
                always: action.inputs.is_none() || self.told.given.contains_key(&node),
                forced: self.force.includes(node),
                record,
                definition: &definition,
                inputs: &inputs,
                discovered: &discovered,
                brought: &brought,
                outputs: &outputs,
                expired_ms: record.and_then(|record| {
                    expired_ms(action.rare().valid_for_ms, record.finished_unix_ms, self.now_unix_ms)
                }),
            },
            &self.journal.paths,
        );
        let decision = match decision {
            Decision::UpToDate if uncertain => Decision::Run(Reason::Always),
            Decision::LookUp(reason) if uncertain => Decision::Run(reason),
            decision => decision,
        };
        Ok(Assessment { decision, definition, inputs, brought, uncertain })
    }

    /// The source files of a node. What a dependency brings may be named among the inputs, and is no source.
    fn own_inputs(&self, node: Node, brought: &[Brought]) -> Cow<'_, [PathId]> {
        let found = &self.survey.inputs[node.index()];
        if brought.is_empty() {
            return Cow::Borrowed(found);
        }
        let lies_in_brought = self.lies_in(brought);
        Cow::Owned(found.iter().copied().filter(|id| !lies_in_brought(*id)).collect())
    }

    /// Whether a path is one of what dependencies bring, or lies below one.
    fn lies_in<'b>(&'b self, brought: &'b [Brought]) -> impl Fn(PathId) -> bool + 'b {
        let has_folders = brought.iter().any(|one| one.content.kind == ContentKind::Folder);
        move |id| {
            let is_brought = |id: PathId| brought.binary_search_by_key(&id, |one| one.path).is_ok();
            let parents = std::iter::successors(Some(self.journal.paths.bytes_of(id)), |path| {
                path.iter().rposition(|byte| *byte == b'/').map(|slash| &path[..slash])
            });
            let mut parents = parents.skip(1);
            is_brought(id)
                || has_folders
                    && parents.any(|parent| self.journal.paths.find(parent).is_some_and(is_brought))
        }
    }

    fn contents(&self, ids: &[PathId]) -> Result<Vec<(PathId, Content)>, String> {
        let mut contents = Vec::with_capacity(ids.len());
        for &id in ids {
            match self.files.get(id) {
                Seen::Present(present) => contents.push((id, present.content)),
                // It was listed and is gone: it is an input no more.
                Seen::Absent => {}
                Seen::Trouble(trouble) => {
                    return Err(format!("the input `{}` {trouble}", self.journal.paths.show(id)));
                }
            }
        }
        Ok(contents)
    }

    /// The outputs of direct dependencies, groups seen through, sorted by path; whether some are not known
    /// for sure.
    fn brought(&self, node: Node) -> (Vec<Brought>, bool) {
        let id = self.plan.actions[node.index()];
        let graph = &self.workspace.graph;
        let mut brought: Vec<Brought> = Vec::new();
        let mut uncertain = false;
        for &dep in graph.deps.get(id as usize) {
            graph.each_member(dep, &mut |member| {
                let maker = &graph.actions[member as usize];
                if maker.outputs.is_empty() {
                    return;
                }
                let record = self.journal.record(&maker.name);
                let Some(record) = record.filter(|_| !self.survey.doubtful.contains(&member)) else {
                    uncertain = true;
                    return;
                };
                let declared = record.outputs.iter().filter(|made| made.declared);
                brought.extend(declared.map(|made| Brought {
                    path: made.path,
                    content: self.as_read(made),
                    target: maker.name.clone(),
                }));
            });
        }
        brought.sort_unstable_by_key(|one| one.path);
        brought.dedup_by_key(|one| one.path);
        (brought, uncertain)
    }

    /// An output as whoever reads it finds it: through a link.
    fn as_read(&self, made: &Made) -> Content {
        match self.files.get(made.path) {
            Seen::Present(present) if made.content.kind == ContentKind::Link && present.link.is_some() => {
                present.content
            }
            _ => made.content,
        }
    }

    /// What goes to a worker.
    pub fn job(&self, node: Node, assessment: &Assessment, probes: &[PartDigest]) -> Job<'a> {
        let action = self.action(node);
        let (reason, look_up) = match &assessment.decision {
            Decision::LookUp(reason) => (reason.clone(), true),
            Decision::Run(reason) => (reason.clone(), false),
            Decision::UpToDate => (Reason::CheckFailed, false),
        };
        let record = self.journal.record(&action.name);
        let only_outputs = matches!(reason, Reason::OutputMissing { .. } | Reason::OutputModified { .. });
        let known = record.map(|record| record.fingerprint).filter(|known| only_outputs && *known != [0; 32]);
        let is_declared = |id: PathId| assessment.inputs.binary_search_by_key(&id, |(path, _)| *path).is_ok();
        let lies_in_brought = self.lies_in(&assessment.brought);
        let known_by_depfile = record.filter(|_| action.depfile.is_some());
        let discovered = known_by_depfile.iter().flat_map(|record| &record.discovered).map(|(path, _)| *path);
        let discovered = discovered.filter(|&id| !is_declared(id) && !lies_in_brought(id));
        let brought_node = |one: &Brought| InputNode {
            path: self.journal.paths.bytes_of(one.path).to_vec(),
            content: one.content,
            link: None,
        };
        let files = assessment.brought.iter().filter_map(|one| self.journal.record(&one.target));
        let mut brought_files: Vec<&Made> = files.flat_map(|record| &record.outputs).collect();
        brought_files.sort_unstable_by_key(|made| made.path);
        brought_files.dedup_by_key(|made| made.path);
        Job {
            node,
            action,
            values: self.values(node, probes),
            definition: assessment.definition.clone(),
            declared: assessment.inputs.iter().filter_map(|(id, _)| self.watched(*id)).collect(),
            discovered: discovered.filter_map(|id| self.watched(id)).collect(),
            tools: action
                .tools
                .iter()
                .filter_map(|tool| self.watched(*self.survey.tools.get(tool)?))
                .collect(),
            brought: assessment.brought.iter().map(brought_node).collect(),
            brought_files: brought_files.into_iter().filter_map(|made| self.watched_file(made)).collect(),
            reason,
            look_up,
            known,
            batched: action.batch > 0,
            certain: !assessment.uncertain,
        }
    }

    fn watched(&self, id: PathId) -> Option<Watched> {
        match self.files.get(id) {
            Seen::Present(present) => {
                Some(Watched { path: self.journal.paths.bytes_of(id).to_vec(), present: present.clone() })
            }
            _ => None,
        }
    }

    /// A file among a dependency's outputs; folders change their times when anything is written into them.
    fn watched_file(&self, made: &Made) -> Option<Watched> {
        (made.content.kind != ContentKind::Folder).then(|| self.watched(made.path)).flatten()
    }
}

/// The exported values of what an action depends on, as they are remembered, for whoever renders its texts.
pub fn tell_exports(graph: &Graph, id: u32, journal: &Journal, exported: &Exported) {
    for &dep in graph.deps.get(id as usize) {
        graph.each_member(dep, &mut |member| {
            let name = &graph.actions[member as usize].name;
            match journal.record(name) {
                Some(record) => exported.put(name, &record.exports),
                None => exported.forget(name),
            }
        });
    }
}

/// How far two clocks that are right may be apart: a cache may be another machine's, too.
const CLOCKS_MS: u64 = 60_000;

/// How old a result is, if that is older than it may be, or if it is dated later than now: nobody knows how old it is.
pub fn expired_ms(valid_for_ms: Option<u64>, finished_unix_ms: u64, now_unix_ms: u64) -> Option<u64> {
    let age_ms = now_unix_ms.saturating_sub(finished_unix_ms);
    let is_later = finished_unix_ms > now_unix_ms.saturating_add(CLOCKS_MS);
    valid_for_ms.filter(|&valid_ms| is_later || age_ms > valid_ms).map(|_| age_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_valid_for_its_time_and_not_before_it_was_made() {
        let now = 10 * CLOCKS_MS;
        for (valid_for_ms, finished, age_ms) in [
            (None, 0, None),
            (None, u64::MAX, None),
            (Some(100), now - 100, None),
            (Some(100), now - 101, Some(101)),
            (Some(100), now + CLOCKS_MS, None),
            (Some(100), now + CLOCKS_MS + 1, Some(0)),
            (Some(u64::MAX), u64::MAX, Some(0)),
        ] {
            assert_eq!(expired_ms(valid_for_ms, finished, now), age_ms, "{valid_for_ms:?} {finished}");
        }
    }
}
