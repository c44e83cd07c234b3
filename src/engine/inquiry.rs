//! A workspace opened to be asked about: the memory, the survey and the cache of a run, for reading only.
//!
//! Invariant: nothing is written, the cache's folder is not even made; what runs are `probes` and `check`, and only where a
//! forecast is asked for. What was looked at stays in this process.
#![allow(clippy::disallowed_methods, reason = "shell: looks at files")]

use super::assess::{Assessor, Force, Told};
use super::forecast::{Foretold, fingerprint_now, forecast, told};
use super::run::{self, Memory};
use super::secrets::Secrets;
use super::shared::{Cache, Parts, Shared};
use super::spawn::{Children, Stop, Supervision};
use super::survey::Survey;
use crate::difference::{Difference, Now, difference};
use crate::error::{Error, Kind, Result};
use crate::plan::{Node, Plan};
use crate::record::Record;
use crate::scan::walk::Folders;
use crate::template::{Layer, Value};
use crate::workspace::Workspace;
use iact_cache::StoredResult;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long one look at ending services takes; each has its own grace.
const PATIENCE: Duration = Duration::from_secs(1);

/// A plan and everything known about it.
pub struct Inquiry<'a> {
    /// What is asked about.
    pub plan: &'a Plan,
    /// What is remembered, what was seen.
    pub memory: Memory,
    /// What was found.
    pub survey: Survey,
    shared: Shared<'a>,
    told: Told,
}

impl<'a> Inquiry<'a> {
    /// Looks at everything the plan's actions need.
    ///
    /// # Errors
    /// What has to be right before anything starts.
    pub fn open(workspace: &'a Workspace, plan: &'a Plan) -> Result<Self> {
        let mut memory = Memory::open(workspace)?;
        let cache = run::open_cache(workspace, true).ok().map(|store| Cache::new(store, true, false));
        let (events, receiver) = std::sync::mpsc::sync_channel(1);
        // Nobody tells anything while nothing runs.
        drop(receiver);
        let system =
            |error: std::io::Error| Error::new(Kind::Environment, "cannot open the workspace").because(error);
        let stop = Stop::new().map_err(system)?;
        let parts = Parts { workspace, cache, children: Children::new(None), stop, events };
        let shared = Shared::new(parts, 1).map_err(system)?;
        let folders = Folders::new(workspace.folder.as_fd(), workspace.gitignore(), &shared.declared);
        let survey = Survey::to_ask((workspace, plan), (&mut memory.journal, &mut memory.files), &folders)?;
        let told = told(&shared, plan, &memory.journal);
        Ok(Self { plan, memory, survey, shared, told })
    }

    /// The same of a run with `--no-cache`.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        self.shared.cache = None;
        self
    }

    /// What a run of the plan would do, dependencies first.
    pub fn forecast(&self, force: &Force) -> Vec<Foretold> {
        forecast(&self.shared, &self.assessor(force))
    }

    /// From now on commands may take long: they have their secrets, and do not outlive a killed iact.
    ///
    /// # Errors
    /// A secret that is not set.
    pub fn may_run(&mut self) -> Result<()> {
        self.shared.secrets = Secrets::of(self.shared.workspace, self.plan)?;
        self.shared.children = Arc::new(Children::new(Supervision::by_this_program().ok()));
        Ok(())
    }

    /// Proves outputs that were restored in another folder, beside the services of the action, which go on until
    /// [`Self::close`]. `{{ out }}` and `{{ outs }}` name the copies: in the declared order, or by name if other
    /// outputs were declared when they were made.
    ///
    /// # Errors
    /// How the proof failed.
    pub fn prove(&self, node: Node, copy: &Path, made: &StoredResult) -> std::result::Result<(), String> {
        let action = self.assessor(&Force::Nothing).action(node);
        let declared = action.outputs.iter().map(|output| output.path.as_str());
        let mut paths: Vec<&str> = made.outputs.iter().map(|output| output.path.as_str()).collect();
        if paths.len() == action.outputs.len() && declared.clone().all(|path| paths.contains(&path)) {
            paths = declared.collect();
        }
        let outs: Vec<String> =
            paths.into_iter().map(|path| copy.join(path).to_string_lossy().into_owned()).collect();
        let mut layer = Layer::default();
        if let Some(first) = outs.first() {
            layer.set_text("out", first);
        }
        layer.set("outs", Value::List(outs));
        let services = &self.shared.services;
        services.need(&self.shared, action)?;
        let proven = self.shared.texts_with(action, &[], layer).and_then(|(texts, _)| match &texts.verify {
            Some(verify) => self.shared.script(action, &texts, verify, &mut |_| ()),
            None => Ok(()),
        });
        let proven = services.trouble(action).map_or(proven, Err);
        services.release(action);
        proven
    }

    /// Ends the services that were needed.
    pub fn close(self) {
        while !self.shared.services.end_within(PATIENCE) {}
    }

    /// What decisions are made with.
    pub fn assessor<'s>(&'s self, force: &'s Force) -> Assessor<'s, 'a> {
        Assessor {
            workspace: self.shared.workspace,
            plan: self.plan,
            journal: &self.memory.journal,
            files: &self.memory.files,
            survey: &self.survey,
            force,
            told: &self.told,
            now_unix_ms: super::drive::unix_ms(),
        }
    }

    /// What a node did last.
    pub fn record(&self, node: Node) -> Option<&Record> {
        self.memory.journal.record(self.name(node))
    }

    /// The full name of a node.
    pub fn name(&self, node: Node) -> &'a str {
        &self.shared.workspace.graph.actions[self.plan.actions[node.index()] as usize].name
    }

    /// What moved since a node's last run, if that is remembered.
    pub fn difference(&self, foretold: &Foretold) -> Option<Difference> {
        let record = self.record(foretold.node)?;
        let Memory { journal, files } = &self.memory;
        let assessment = self.assessor(&Force::Nothing).assess(foretold.node, &foretold.probes).ok()?;
        let discovered: Vec<_> =
            record.discovered.iter().map(|&(path, _)| (path, files.get(path).content())).collect();
        let now = Now {
            definition: &assessment.definition,
            inputs: &assessment.inputs,
            discovered: &discovered,
            brought: &assessment.brought,
            outputs: self.survey.moved_outputs(foretold.node, record, journal, files),
        };
        Some(difference(record, now, &journal.paths))
    }
}

/// What the cache may keep of an action under.
#[derive(Debug, Default)]
pub struct KnownAs {
    /// Of its last run, then what it would have now.
    pub hashes: Vec<[u8; 32]>,
    /// Its last run is remembered and wrote nothing.
    pub was_silent: bool,
}

/// The fingerprints of an action that can be told without running anything, so without its probes.
///
/// # Errors
/// The workspace's folder cannot be opened again.
pub fn known_as(workspace: &Workspace, id: u32) -> Result<KnownAs> {
    let action = &workspace.graph.actions[id as usize];
    let mut known = KnownAs::default();
    if let Some(record) = Memory::open(workspace)?.journal.record(&action.name) {
        known.was_silent = record.log.is_none();
        known.hashes.extend(Some(record.fingerprint).filter(|hash| *hash != [0; 32]));
    }
    if action.inputs.is_some() && action.probes.is_empty() && !action.is_group {
        let graph = &workspace.graph;
        let plan = Plan::new(graph.actions.len(), &[id], &graph.deps, &graph.after, true);
        // What cannot be built now has no fingerprint now.
        if let Ok(inquiry) = Inquiry::open(workspace, &plan) {
            let assessor = inquiry.assessor(&Force::Nothing);
            let assessment = assessor.assess(Node(0), &[]);
            let now =
                assessment.ok().and_then(|assessment| fingerprint_now(&assessor, Node(0), &assessment, &[]));
            known.hashes.extend(now.map(|digest| digest.hash).filter(|hash| !known.hashes.contains(hash)));
        }
    }
    Ok(known)
}
