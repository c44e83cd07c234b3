//! Builds of one workspace one after the other in one process: what a round has seen is kept for the next, and only what
//! was hinted at is looked at again.
//!
//! Invariant: a hint is never believed. What decides is a stat that moved and then a content that differs, so that a restore
//! of what was there, a touch or an own output starts nothing; and where hints were lost, everything is looked at. Another
//! iact may build in between: then the journal has moved, and the round starts from nothing.
//! The workspace's lock is held during a round only.
#![allow(clippy::disallowed_methods, reason = "shell: opens the workspace's memory, looks at files")]

mod conditions;
mod folders;
mod looking;

use super::drive::{Drive, Interruption, State};
use super::hint::{Hints, Mail};
use super::history::History;
use super::job::Event;
use super::pool;
use super::run::{
    EVENTS, Ended, Memory, Options, confirmed, exit_code, insist, lock, open_cache, prepare, schedule,
    settle, start, system,
};
use super::service::Services;
use super::shared::{Cache, Parts, Shared};
use super::signal::{Response, Signals};
use super::spawn::{Children, Stop, Supervision};
use super::survey::Survey;
use crate::content::Stat;
use crate::engine::drive::Listener;
use crate::error::Result;
use crate::path_table::PathId;
use crate::plan::{Node, Plan};
use crate::report::Report;
use crate::scan::walk::{Folders, Listings};
use crate::workspace::Workspace;
pub use folders::Wanted;
pub use looking::{Noticed, Stale, shown};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// How long one look at ending services takes; each has its own grace.
const PATIENCE: Duration = Duration::from_millis(20);

/// What rounds work with, whatever the workspace says by then.
pub struct Means {
    events: SyncSender<Event>,
    /// What everybody else tells.
    pub receiver: Receiver<Event>,
    /// Where hints come from.
    pub mail: Arc<Mail>,
    _signals: Signals,
}

impl Means {
    /// Ears for signals.
    ///
    /// # Errors
    /// The system gives none.
    pub fn new() -> Result<Self> {
        let (events, receiver) = sync_channel::<Event>(EVENTS);
        let teller = events.clone();
        let signals = Signals::install(move |response| Event::Signal(response).has_room(&teller))
            .map_err(|error| system("listen to signals", error))?;
        let mail = Arc::new(Mail::new(events.clone()));
        Ok(Self { events, receiver, mail, _signals: signals })
    }
}

/// How obsolete actions are treated.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// They may end by themselves.
    pub finish: bool,
    /// Paths that end nothing.
    pub suspects: FxHashSet<Vec<u8>>,
}

/// The rounds of one plan.
pub struct Rounds<'a> {
    workspace: &'a Workspace,
    plan: &'a Plan,
    options: &'a Options,
    shared: Shared<'a>,
    warnings: Vec<String>,
    sight: Option<Sight>,
    /// The journal as the last round left it.
    journal_stat: Option<Stat>,
    definition: looking::Definition,
    conditions: conditions::Conditions,
}

/// What was seen, as far as nothing moved since.
struct Sight {
    memory: Memory,
    survey: Survey,
    listings: Listings,
    /// Folders that were looked into, and places where one could be.
    visited: BTreeSet<Vec<u8>>,
    /// What is up to date unless something moves.
    fresh: Vec<bool>,
    /// Inputs that moved while an action ran that succeeded.
    moved: Vec<(Node, PathId)>,
    /// Whether other folders may be wanted than at the last call of [`Rounds::wanted`].
    folders_moved: bool,
}

impl<'a> Rounds<'a> {
    /// Nothing seen yet. `elders` are the services that go on from before.
    ///
    /// # Errors
    /// The system's own means.
    pub fn new(
        (workspace, plan, options): (&'a Workspace, &'a Plan, &'a Options),
        means: &Means,
        elders: Vec<Services>,
    ) -> Result<Self> {
        let mut warnings = Vec::new();
        let cache = if options.cache { open_cache(workspace, false) } else { Err(String::new()) };
        let cache = cache.map(|store| Cache::new(store, true, true)).map_err(|why| warnings.push(why)).ok();
        let parts = Parts {
            workspace,
            cache,
            children: Children::new(Supervision::by_this_program().ok()),
            stop: Stop::new().map_err(|error| system("make a pipe", error))?,
            events: means.events.clone(),
        };
        let mut shared =
            Shared::new(parts, options.jobs).map_err(|error| system("open the workspace", error))?;
        shared.services = Services::with_elders(elders);
        Ok(Self {
            workspace,
            plan,
            options,
            shared,
            warnings,
            sight: None,
            journal_stat: None,
            definition: looking::Definition::of(workspace),
            conditions: conditions::Conditions::of(workspace, plan),
        })
    }

    /// One build. `follow` is given the folders to watch before anything runs.
    ///
    /// # Errors
    /// What has to be right before anything starts.
    pub fn round(
        &mut self,
        means: &Means,
        manners: &Manners,
        listener: &mut dyn Listener,
        follow: &mut dyn FnMut(Wanted),
    ) -> Result<(Ended, Hints)> {
        let began = std::time::Instant::now();
        let secrets = insist(self.workspace, self.plan)?;
        let lock = lock(self.workspace, &mut self.warnings, listener)?;
        self.shared.children.share_lock(lock.as_ref());
        self.shared.begin_again().map_err(|error| system("make a pipe", error))?;
        prepare(&mut self.shared, self.plan, secrets)?;
        if self.journal_stat != looking::journal_stat(self.workspace) {
            self.sight = None;
        }
        self.survey()?;
        if let Some(wanted) = self.wanted() {
            follow(wanted);
        }
        let sight = self.sight.as_ref().expect("the survey was made");
        let of = (&sight.memory, &sight.survey);
        self.shared.approved = confirmed(&self.shared, (self.plan, self.options), of, listener)?;
        let ended = self.drive(means, manners, listener, began);
        if let Some(wanted) = self.wanted() {
            follow(wanted);
        }
        Ok(ended)
    }

    /// Ends the services. A second signal kills them.
    pub fn close(&mut self, means: &Means) {
        while !self.shared.services.end_within(PATIENCE) {
            while let Ok(event) = means.receiver.try_recv() {
                if matches!(event, Event::Signal(Response::Kill(_))) {
                    self.shared.services.kill();
                }
            }
        }
    }

    /// What goes on of the services in the workspace as it was opened again.
    pub fn elders(&mut self, reopened: &Workspace) -> Vec<Services> {
        std::mem::take(&mut self.shared.services).into_elders(&reopened.graph.services)
    }

    /// Whether an input moved while an action ran that took it for something else.
    pub fn is_unsettled(&self) -> bool {
        self.sight.as_ref().is_some_and(|sight| !sight.moved.is_empty())
    }

    /// Whether nothing was looked at, so that nothing can be noticed.
    pub fn is_blind(&self) -> bool {
        self.sight.is_none()
    }

    fn drive(
        &mut self,
        means: &Means,
        manners: &Manners,
        listener: &mut dyn Listener,
        began: std::time::Instant,
    ) -> (Ended, Hints) {
        let (plan, workspace, options) = (self.plan, self.workspace, self.options);
        let actions = plan.actions.iter().filter(|&&id| !workspace.graph.actions[id as usize].is_group);
        let listener = &mut History::new(workspace.memory(), &options.goals, listener);
        start(options, actions.count(), std::mem::take(&mut self.warnings), listener);
        let sight = self.sight.as_mut().expect("the survey was made");
        let interruption =
            Interruption { mail: &means.mail, finish: manners.finish, suspects: &manners.suspects };
        let mut drive = Drive {
            shared: &self.shared,
            plan,
            schedule: schedule(workspace, plan, options, &sight.memory.journal),
            journal: &mut sight.memory.journal,
            files: &mut sight.memory.files,
            survey: std::mem::take(&mut sight.survey),
            force: options.force.clone(),
            fresh: std::mem::take(&mut sight.fresh),
            interruption: Some(interruption),
            listener,
            state: State::default(),
        };
        pool::with_threads(&self.shared, |pool| drive.run(pool, &means.receiver));
        drive.rest_services(&means.receiver);
        settle(&mut drive);
        let state = std::mem::take(&mut drive.state);
        sight.survey = std::mem::take(&mut drive.survey);
        sight.survey.settle();
        sight.fresh = std::mem::take(&mut drive.fresh);
        sight.moved.clone_from(&state.moved);
        let discovers = |&id: &u32| workspace.graph.actions[id as usize].depfile.is_some();
        sight.folders_moved |= state.totals.executed > 0 && plan.actions.iter().any(discovers);
        let closed = sight.memory.journal.close();
        let shared = &self.shared;
        if let Err(error) = closed {
            let message =
                format!("the journal cannot be written, so the next run starts from the cache: {error}");
            listener.report(&Report::Warning { message }, shared.now_ms());
        }
        let left = looking::journal_stat(workspace);
        let is_other = |before: &Stat| left.is_none_or(|left| left.ino != before.ino);
        let is_rewritten = left.is_some() && sight.memory.journal.lengths().0 == 0;
        if is_rewritten || self.journal_stat.as_ref().is_some_and(is_other) {
            // It was rewritten, and its paths have other numbers.
            self.sight = None;
        }
        self.journal_stat = left;
        let totals = state.totals(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        listener.report(&Report::RunFinished(totals.clone()), shared.now_ms());
        let ended = Ended { exit_code: exit_code(&state, &totals), signal: state.signal, totals };
        (ended, state.hints)
    }

    /// Sees everything for the first time, or what the stale nodes need.
    fn survey(&mut self) -> Result<()> {
        let of = (self.workspace, self.plan);
        let root = self.workspace.folder.as_fd();
        let folders = Folders::new(root, self.workspace.gitignore(), &self.shared.declared);
        let Some(sight) = &mut self.sight else {
            let mut memory = Memory::open(self.workspace)?;
            let survey = Survey::to_run(of, (&mut memory.journal, &mut memory.files), &folders)?;
            let visited = visited(&folders).collect();
            self.sight = Some(Sight {
                memory,
                survey,
                listings: folders.into_listings(),
                visited,
                fresh: vec![false; self.plan.len()],
                moved: Vec::new(),
                folders_moved: true,
            });
            return Ok(());
        };
        sight.settle_dependents(self.workspace, self.plan);
        let stale: Vec<Node> = self.plan.nodes().filter(|node| !sight.fresh[node.index()]).collect();
        let folders = folders.with(std::mem::take(&mut sight.listings));
        let memory = (&mut sight.memory.journal, &mut sight.memory.files);
        let looked = sight.survey.look_again(&stale, of, memory, &folders);
        sight.keep(folders);
        looked
    }
}

/// Folders that were read or looked for.
fn visited(folders: &Folders<'_>) -> impl Iterator<Item = Vec<u8>> {
    let visited = folders.visited().lock().expect("no panic while noting").clone();
    visited.into_iter().map(|(path, _)| if path == b"." { Vec::new() } else { path })
}

impl Sight {
    /// What depends on something stale has to be decided anew; a group is as fresh as its members.
    fn settle_dependents(&mut self, workspace: &Workspace, plan: &Plan) {
        for node in plan.nodes() {
            let is_group = workspace.graph.actions[plan.actions[node.index()] as usize].is_group;
            let own = is_group || self.fresh[node.index()];
            let edges = plan.edges.get(node.index());
            self.fresh[node.index()] =
                own && edges.iter().all(|edge| edge.order_only || self.fresh[edge.on.index()]);
        }
    }

    fn keep(&mut self, folders: Folders<'_>) {
        let known = self.visited.len();
        self.visited.extend(visited(&folders));
        self.folders_moved |= self.visited.len() > known;
        self.listings = folders.into_listings();
    }
}
