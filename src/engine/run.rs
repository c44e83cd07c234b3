//! One run from a plan to its totals: the lock, the memory, the survey, the loop, the flush.
//!
//! Invariant: what a run reports as done is in the journal, and what it reports as stored is published,
//! before it ends.
#![allow(clippy::disallowed_methods, reason = "shell: opens the workspace's memory and the cache")]

use super::assess::{Assessor, Force};
use super::confirm::{self, Approval, Approved};
use super::drive::{Drive, Listener, State};
use super::history::History;
use super::job::Event;
use super::lock::{Holder, NotLocked, WorkspaceLock};
use super::pool;
use super::rest::{Acted, Seenness};
use super::secrets::Secrets;
use super::shared::{Cache, Cleanups, Parts, Shared};
use super::signal::Signals;
use super::spawn::{Children, Stop, Supervision};
use super::survey::{self, Survey, asked};
use super::{forecast, generations, old_logs, requires};
use crate::error::{Error, Kind, Result, exit};
use crate::graph::action::Action;
use crate::journal::Journal;
use crate::journal::ahead::Ahead;
use crate::path_table::PathId;
use crate::plan::{Node, Plan};
use crate::reach::{self, Known, Left};
use crate::report::{Report, RunFinished, SCHEMA};
use crate::scan::Files;
use crate::scan::read::stat;
use crate::scan::times::Times;
use crate::scan::walk::{Folders, Visited};
use crate::schedule::{Budget, Demand, Schedule};
use crate::workspace::Workspace;
use iact_cache::chaos::{Bug, planted, point};
use iact_cache::{LocalOptions, LocalStore, SweepPolicy};
use rustix::process::Signal;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

/// What the command line decides about a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Actions at once.
    pub jobs: u32,
    /// Build what does not depend on a failure.
    pub keep_going: bool,
    /// What runs although up to date.
    pub force: Force,
    /// Whether the cache may be read and written.
    pub cache: bool,
    /// The goals as they were asked for.
    pub goals: Vec<String>,
    /// What was said yes to.
    pub approval: Approval,
    /// Where the proof of a standstill goes, if one may be made.
    pub proof: Option<PathBuf>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its totals.
    pub totals: RunFinished,
    /// What the process ends with.
    pub exit_code: u8,
    /// The signal that ended it.
    pub signal: Option<Signal>,
}

/// Events that may wait for the thread that owns the build; a piece of output is at most 64 KiB.
pub(super) const EVENTS: usize = 256;

/// What a cache keeps if nothing is said.
pub const DEFAULT_MAX_SIZE: u64 = 20 << 30;

/// The memory of a workspace and its files, as a run or a question starts with them.
pub struct Memory {
    /// What is remembered.
    pub journal: Journal,
    /// What was seen: nothing yet.
    pub files: Files,
}

impl Memory {
    /// Reads the journal.
    ///
    /// # Errors
    /// The workspace's folder cannot be opened again.
    pub fn open(workspace: &Workspace) -> Result<Self> {
        let function = workspace.digest_function();
        let journal = Journal::read(workspace.memory().join("journal"), function);
        let root = workspace.folder.try_clone().map_err(|error| system("open the workspace", error))?;
        Ok(Self { journal, files: Files::new(root, function) })
    }

    /// The same for who holds the workspace's lock and may have read the journal ahead.
    fn of_ahead(workspace: &Workspace, ahead: Option<Ahead>, lock: Option<&WorkspaceLock>) -> Result<Self> {
        let function = workspace.digest_function();
        let taken = lock.and(ahead).and_then(|ahead| ahead.take(workspace.folder.as_fd(), function));
        let Some(journal) = taken else { return Self::open(workspace) };
        let root = workspace.folder.try_clone().map_err(|error| system("open the workspace", error))?;
        Ok(Self { journal, files: Files::new(root, function) })
    }

    /// What is remembered of a part, if nobody wrote since it was read.
    fn of_part(
        workspace: &Workspace,
        part: reach::Seen,
        lock: Option<&WorkspaceLock>,
    ) -> Result<(Self, Option<Reached>)> {
        let now = stat(workspace.folder.as_fd(), c".iact/journal", false).ok().flatten();
        if lock.is_none() || now.is_none() || now != part.reach.journal_stat() {
            return Err(Error::new(Kind::Environment, "the journal has moved"));
        }
        let root = workspace.folder.try_clone().map_err(|error| system("open the workspace", error))?;
        let files = Files::new(root, workspace.digest_function());
        let reach::Seen { journal, inputs, tools, reach, nodes } = part;
        Ok((Self { journal, files }, Some((Known { reach, nodes, inputs }, tools))))
    }
}

/// What is known of a part, and its tools.
type Reached = (Known, Vec<(String, PathId)>);

/// Opens the local cache; a cache that cannot be opened is a warning.
pub fn open_cache(workspace: &Workspace, read_only: bool) -> std::result::Result<LocalStore, String> {
    let declared = &workspace.graph.manifests[0].cache;
    let options = LocalOptions {
        digest: workspace.digest_function(),
        durable: declared.durable.unwrap_or(true),
        read_only,
    };
    LocalStore::open(workspace.cache_folder(), options).map_err(|error| error.to_string())
}

pub(super) fn system(what: &str, error: impl std::fmt::Display) -> Box<Error> {
    Error::new(Kind::Environment, format!("cannot {what}")).because(error)
}

/// Runs a plan.
///
/// # Errors
/// What has to be right before anything starts: tools, inputs, the system's own means.
pub fn run(
    workspace: &Workspace,
    plan: &Plan,
    options: &Options,
    listener: &mut dyn Listener,
) -> Result<Ended> {
    let read: Read<'_> = Box::new(|_| Ok((Memory::open(workspace)?, None)));
    run_known((workspace, plan), read, options, listener).map(|(ended, _)| ended)
}

/// The same with a journal that was read ahead, in a process that ends afterwards.
///
/// # Errors
/// As [`run`].
pub fn run_ahead(
    (workspace, plan): (&Workspace, &Plan),
    ahead: Option<Ahead>,
    options: &Options,
    listener: &mut dyn Listener,
) -> Result<Ended> {
    let read: Read<'_> = Box::new(|lock| Ok((Memory::of_ahead(workspace, ahead, lock)?, None)));
    let (ended, memory) = run_known((workspace, plan), read, options, listener)?;
    // To take a long journal apart would cost a quarter of what it cost to read.
    std::mem::forget(memory);
    Ok(ended)
}

/// Runs what an edit reaches.
///
/// # Errors
/// As [`run`], and if more than was thought has to be looked at: then nothing has happened yet.
pub fn run_reached(
    (workspace, plan): (&Workspace, &Plan),
    part: reach::Seen,
    options: &Options,
    listener: &mut dyn Listener,
) -> Result<Ended> {
    let read: Read<'_> = Box::new(|lock| Memory::of_part(workspace, part, lock));
    run_known((workspace, plan), read, options, listener).map(|(ended, _)| ended)
}

/// Reads the memory once the lock is held, or was given up.
type Read<'r> = Box<dyn FnOnce(Option<&WorkspaceLock>) -> Result<(Memory, Option<Reached>)> + 'r>;

fn run_known(
    (workspace, plan): (&Workspace, &Plan),
    read: Read<'_>,
    options: &Options,
    listener: &mut dyn Listener,
) -> Result<(Ended, Memory)> {
    let began = std::time::Instant::now();
    let mut warnings = Vec::new();
    let secrets = insist(workspace, plan)?;
    if !workspace.memory().exists() {
        survey::require_inputs(workspace, plan)?;
    }
    let lock = lock(workspace, &mut warnings, listener)?;
    let (mut memory, known) = read(lock.as_ref())?;
    let since = memory.journal.lengths().0;
    if since == 0 {
        warnings.extend(Times::of(workspace.folder.as_fd()).told());
    }
    let cache = cache_of(workspace, options, &mut warnings);
    let (events, receiver) = sync_channel::<Event>(EVENTS);
    let stop = Stop::new().map_err(|error| system("make a pipe", error))?;
    let supervision = Supervision::by_this_program().ok().filter(|_| !planted(Bug::NoSupervisor));
    let children = Children::new(supervision);
    children.share_lock(lock.as_ref());
    let parts = Parts { workspace, cache, children, stop, events: events.clone() };
    let mut shared = Shared::new(parts, options.jobs).map_err(|error| system("open the workspace", error))?;
    prepare(&mut shared, plan, secrets)?;
    let folders = Folders::new(workspace.folder.as_fd(), workspace.gitignore(), &shared.declared);
    let (survey, known) = first_look((workspace, plan), known, &mut memory, &folders)?;
    shared.approved = confirmed(&shared, (plan, options), (&memory, &survey), listener)?;
    let listener = &mut History::new(workspace.memory(), &options.goals, listener);
    let actions = plan.actions.iter().filter(|&&id| !workspace.graph.actions[id as usize].is_group).count();
    let others = known.as_ref().map_or(0, |known| known.reach.action_count() - actions);
    start(options, others + actions, warnings, listener);
    if let Some(known) = known.as_ref().filter(|_| listener.wants_up_to_date()) {
        known.tell_others(listener);
    }
    let signals = Signals::install(move |response| Event::Signal(response).has_room(&events))
        .map_err(|error| system("listen to signals", error))?;
    let mut drive = Drive {
        shared: &shared,
        plan,
        schedule: schedule(workspace, plan, options, &memory.journal),
        journal: &mut memory.journal,
        files: &mut memory.files,
        survey,
        force: options.force.clone(),
        fresh: vec![false; plan.len()],
        interruption: None,
        listener,
        state: State::default(),
    };
    drive.state.totals.up_to_date = u32::try_from(others).expect("fewer than 2^32 actions");
    pool::with_threads(&shared, |pool| drive.run(pool, &receiver));
    drive.end_services(&receiver);
    settle(&mut drive);
    old_logs::thin(&shared);
    point("run.settled");
    let state = std::mem::take(&mut drive.state);
    let (survey, settled) = (std::mem::take(&mut drive.survey), std::mem::take(&mut drive.fresh));
    drop(signals);
    let closed = memory.journal.close();
    if let Some(place) = options.proof.as_ref().filter(|_| closed.is_ok()) {
        let left =
            Left { workspace, plan, journal: &memory.journal, files: &memory.files, settled: &settled };
        // Without a proof the next build takes the long way.
        let _ = match known {
            // Some may have seen what moved as it was before.
            _ if !state.moved.is_empty() => std::fs::remove_file(place),
            Some(known) => known.renew(place, &left),
            None => prove((place, &options.goals), &left, (&survey, folders.visited(), since)),
        };
    }
    closed.err().iter().for_each(|error| tell_unwritten(error, shared.now_ms(), listener));
    let totals = state.totals(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
    listener.report(&Report::RunFinished(totals.clone()), shared.now_ms());
    Ok((Ended { exit_code: exit_code(&state, &totals), signal: state.signal, totals }, memory))
}

/// Keeps that nothing has to be done, as far as that can be told.
fn prove(
    (place, goals): (&Path, &[String]),
    left: &Left<'_>,
    (survey, visited, since): (&Survey, &Visited, u64),
) -> std::io::Result<()> {
    let &Left { workspace, plan, journal, files, settled } = left;
    Seenness { workspace, plan, journal, files, survey, visited }.keep(
        place,
        goals,
        &Acted { settled, since },
    )
}

fn tell_unwritten(error: &std::io::Error, now_ms: u64, listener: &mut dyn Listener) {
    let message = format!("the journal cannot be written, so the next run starts from the cache: {error}");
    listener.report(&Report::Warning { message }, now_ms);
}

fn cache_of(workspace: &Workspace, options: &Options, warnings: &mut Vec<String>) -> Option<Cache> {
    let cache = if options.cache { open_cache(workspace, false) } else { Err(String::new()) };
    cache.map(|store| Cache::new(store, true, true)).map_err(|why| warnings.push(why)).ok()
}

/// What is there before anything runs: everything is looked at, or what is known to be read.
fn first_look(
    (workspace, plan): (&Workspace, &Plan),
    known: Option<Reached>,
    memory: &mut Memory,
    folders: &Folders<'_>,
) -> Result<(Survey, Option<Known>)> {
    let of = (&mut memory.journal, &mut memory.files);
    let Some((known, tools)) = known else {
        return Survey::to_run((workspace, plan), of, folders).map(|survey| (survey, None));
    };
    let survey = Survey::of_known((workspace, plan), (known.inputs.clone(), tools), of)?;
    Ok((survey, Some(known)))
}

/// The workspace's lock, waited for; without one the build goes on, and says so.
///
/// # Errors
/// A signal while it waits, or a wait that would have no end.
pub(super) fn lock(
    workspace: &Workspace,
    warnings: &mut Vec<String>,
    listener: &mut dyn Listener,
) -> Result<Option<WorkspaceLock>> {
    let lock = WorkspaceLock::acquire(&workspace.memory(), |holder| {
        let message = match holder {
            Holder::Process(pid) => format!("waiting: another iact (process {pid}) builds in this workspace"),
            Holder::Killed(pid) => {
                format!("waiting: commands of an iact that was killed (process {pid}) are being ended")
            }
            Holder::Unknown => "waiting: another iact builds in this workspace".to_owned(),
        };
        listener.report(&Report::Warning { message }, 0);
    });
    match lock {
        Ok(lock) => Ok(Some(lock)),
        Err(NotLocked::System(error)) => {
            warnings.push(format!(
                "the workspace cannot be locked, so another build may disturb this one: {error}"
            ));
            Ok(None)
        }
        Err(error @ NotLocked::Interrupted) => Err(Error::new(Kind::Environment, error.to_string())),
        Err(error @ NotLocked::Ancestor(_)) => {
            let hint = "name what it is to build among the `deps` of that action";
            Err(Error::new(Kind::Environment, error.to_string()).hint(hint))
        }
    }
}

/// What has to be there before anything is written.
///
/// # Errors
/// What is not: requirements, secrets.
pub(super) fn insist(workspace: &Workspace, plan: &Plan) -> Result<Secrets> {
    requires::insist(workspace, asked(plan))?;
    Secrets::of(workspace, plan)
}

/// What workers have to know; cleanups are ended by a bell of their own.
pub(super) fn prepare(shared: &mut Shared<'_>, plan: &Plan, secrets: Secrets) -> Result<()> {
    shared.secrets = secrets;
    shared.exported = Arc::default();
    if !plan.conditions.is_empty() {
        let name =
            |node: &Node| shared.workspace.graph.actions[plan.actions[node.index()] as usize].name.clone();
        let stop = Stop::new().map_err(|error| system("make a pipe", error))?;
        shared.cleanups = Some(Cleanups { names: plan.conditions.keys().map(name).collect(), stop });
    }
    Ok(())
}

/// Asks about what would run.
///
/// # Errors
/// A no, or nobody to ask.
pub(super) fn confirmed(
    shared: &Shared<'_>,
    (plan, options): (&Plan, &Options),
    (memory, survey): (&Memory, &Survey),
    listener: &mut dyn Listener,
) -> Result<Approved> {
    if asked(plan).all(|id| shared.workspace.graph.actions[id as usize].rare().confirm.is_none()) {
        return Ok(Approved::default());
    }
    let told = forecast::told(shared, plan, &memory.journal);
    let assessor = Assessor {
        workspace: shared.workspace,
        plan,
        journal: &memory.journal,
        files: &memory.files,
        survey,
        force: &options.force,
        told: &told,
        now_unix_ms: super::drive::unix_ms(),
    };
    let mut ask = |target: &str, question: &str| listener.ask(target, question);
    confirm::settle(shared, &assessor, &options.approval, &mut ask)
}

pub(super) fn start(options: &Options, actions: usize, warnings: Vec<String>, listener: &mut dyn Listener) {
    let actions = u32::try_from(actions).expect("fewer than 2^32 actions");
    let goals = options.goals.clone();
    listener.report(&Report::RunStarted { schema: SCHEMA, goals, actions, jobs: options.jobs }, 0);
    for message in warnings.into_iter().filter(|message| !message.is_empty()) {
        listener.report(&Report::Warning { message }, 0);
    }
}

/// Publishes what was stored and keeps the cache within its limits.
pub(super) fn settle(drive: &mut Drive<'_, '_>) {
    let Some(cache) = &drive.shared.cache else { return };
    let declared = &drive.shared.workspace.graph.manifests[0].cache;
    if let Err(why) = cache.publish() {
        drive.state.bug |= planted(Bug::FullCacheFails);
        drive.warn(format!("results were not stored in the cache: {why}"));
    }
    let store = &cache.store;
    for node in std::mem::take(&mut drive.state.generations) {
        let action = &drive.shared.workspace.graph.actions[drive.plan.actions[node.index()] as usize];
        let owner = generations::owner(drive.shared.workspace, &action.name);
        let retain = action.rare().retain.unwrap_or_default();
        let has = generations::finished(drive.journal, &action.name);
        if let Err(error) = generations::thin(store, &owner, retain, has, super::drive::unix_ms()) {
            drive.warn(format!("old generations of `{}` stay: {error}", action.name));
        }
    }
    let used = std::mem::take(&mut drive.state.used);
    let now_unix_ms = super::drive::unix_ms();
    // What cannot be noted is what a sweep may help.
    let _ = store.record_uses(&used, now_unix_ms);
    if !used.is_empty() && drive.state.totals.executed > 0 {
        let policy = SweepPolicy {
            max_bytes: Some(declared.max_size.unwrap_or(DEFAULT_MAX_SIZE)),
            max_age_ms: declared.max_age_ms,
            ..SweepPolicy::unlimited(now_unix_ms)
        };
        let swept = store.sweep_if_needed(&policy).map_err(|error| error.to_string());
        if let Some(trouble) = swept.map_or_else(Some, |swept| swept?.trouble) {
            drive.warn(format!("the cache could not be swept: {trouble}"));
        }
    }
}

/// What every node takes, and how long it took last time.
pub(super) fn schedule(workspace: &Workspace, plan: &Plan, options: &Options, journal: &Journal) -> Schedule {
    let actions: Vec<&Action> =
        plan.actions.iter().map(|&id| &workspace.graph.actions[id as usize]).collect();
    let cost = |action: &&Action| journal.record(&action.name).map_or(1, |record| record.duration_ms.max(1));
    let costs: Vec<u64> = actions.iter().map(cost).collect();
    let demands: Vec<Demand> = actions.iter().map(|action| action.demand).collect();
    let pools = workspace.graph.pools.iter().map(|(_, slots)| *slots).collect();
    let has_memory = demands.iter().any(|demand| demand.memory_bytes > 0);
    let memory_bytes = if has_memory { requires::memory_bytes() } else { None };
    let budget = Budget { cpus: options.jobs, memory_bytes: memory_bytes.unwrap_or(u64::MAX), pools };
    let mut schedule = Schedule::new(plan, &costs, demands, budget, options.keep_going);
    schedule.spare(plan.conditions.keys().copied());
    schedule
}

pub(super) fn exit_code(state: &State<'_>, totals: &RunFinished) -> u8 {
    match state.signal {
        _ if state.bug => exit::BUG,
        Some(signal) => u8::try_from(128 + signal.as_raw()).unwrap_or(exit::FAILED),
        None if state.timed_out => exit::TIMEOUT,
        None if totals.ok => exit::DONE,
        None => exit::FAILED,
    }
}
