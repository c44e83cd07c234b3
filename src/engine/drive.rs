//! The loop that owns the build: decides, starts, listens, records. One thread; everybody else sends events.
//!
//! Invariants: only this thread changes the schedule, the journal and what is shown; no error leaves the loop
//! before every worker has come back; every action of the plan gets exactly one `Finished`. What a node comes
//! to is in `ends`, what it may have to wait for in `locks`, what is special about a few in `conditions`.
#![allow(clippy::disallowed_methods, reason = "shell: asks the time")]

mod advance;
mod batches;
mod conditions;
mod ends;
mod events;
mod hush;
mod interruption;
mod links;
mod locks;
mod restores;

use super::assess::{Assessment, Assessor, Force, Told};
use super::hint::Hints;
use super::job::{Event, Job};
use super::pool::{Pool, Task};
use super::service::Services;
use super::shared::Shared;
use super::survey::Survey;
use crate::decision::Decision;
use crate::graph::action::Action;
use crate::journal::Journal;
use crate::path_table::PathId;
use crate::plan::{Node, Plan};
use crate::record::PartDigest;
use crate::report::{Outcome, Report, RunFinished};
use crate::scan::Files;
use crate::schedule::Schedule;
use iact_cache::Digest;
use rustc_hash::FxHashMap;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use interruption::Interruption;

/// Who is told what happens.
pub trait Listener {
    /// Takes an event. `now_ms` is monotonic.
    fn report(&mut self, report: &Report, now_ms: u64);
    /// Asks a person, if there is one.
    fn ask(&mut self, target: &str, question: &str) -> Option<bool>;
    /// A command owns the terminal (true) or gave it back (false).
    fn hand_over(&mut self, to_action: bool);
    /// Whether it shows every action that had nothing to do; their number comes at the end.
    fn wants_up_to_date(&self) -> bool;
    /// When [`Self::tick`] is due; `None`: not before the next event.
    fn wake_ms(&self) -> Option<u64>;
    /// Time has passed.
    fn tick(&mut self, now_ms: u64);
}

/// What the loop works on.
pub struct Drive<'r, 'a> {
    /// What the workers have too.
    pub shared: &'a Shared<'a>,
    /// What is wanted.
    pub plan: &'a Plan,
    /// What is remembered.
    pub journal: &'r mut Journal,
    /// What was seen.
    pub files: &'r mut Files,
    /// What was found.
    pub survey: Survey,
    /// What may start.
    pub schedule: Schedule,
    /// What is forced.
    pub force: Force,
    /// Nodes that are up to date as long as nothing they depend on does anything; empty if that is not known.
    pub fresh: Vec<bool>,
    /// Where hints come from, if the workspace is watched.
    pub interruption: Option<Interruption<'r>>,
    /// Who is told.
    pub listener: &'r mut dyn Listener,
    /// What was done so far.
    pub state: State<'a>,
}

/// What the loop remembers of the run.
#[derive(Default)]
pub struct State<'a> {
    /// What a queued node is to do.
    stages: FxHashMap<Node, Stage<'a>>,
    /// What a node at work was decided on.
    pending: FxHashMap<Node, Pending>,
    /// Probe output of nodes at work.
    probed: FxHashMap<Node, Vec<PartDigest>>,
    /// Files of batched targets: waiting for company, and not known yet.
    batches: BTreeMap<batches::Key<'a>, Batch<'a>>,
    /// Of batched targets: no company is to be expected from these any more.
    known: rustc_hash::FxHashSet<Node>,
    /// What only has to be restored, most likely, and waits for a worker.
    restores: restores::Restores<'a>,
    hush: hush::Hush,
    links: links::Links,
    /// Who took over from an action that ended before it was heard that it had begun.
    heirs: FxHashMap<Node, Node>,
    /// Nodes at work.
    active: u32,
    publishing: bool,
    /// Totals.
    pub totals: RunFinished,
    /// The first failure was a timeout.
    pub timed_out: bool,
    /// The signal that ended the run.
    pub signal: Option<Signal>,
    /// Fingerprints of results that came from the cache, or went into it.
    pub used: Vec<Digest>,
    told: rustc_hash::FxHashSet<String>,
    stored_at_ms: u64,
    /// A worker panicked.
    pub bug: bool,
    /// Failures that are not harmless.
    hard_failed: u32,
    /// What the run tells actions.
    pub told_actions: Told,
    /// What became of nodes that others follow.
    fates: FxHashMap<Node, Fate>,
    /// What has ended, for cleanups.
    so_far: Vec<crate::report::Finished>,
    locks: locks::Locks,
    /// Who owns the terminal.
    on_terminal: Option<Node>,
    /// What is kept as a generation, once it is published.
    pub generations: Vec<Node>,
    /// Fresh nodes that are still to be told of.
    untold: Vec<Node>,
    /// What was hinted at during the run.
    pub hints: Hints,
    /// Inputs that moved while an action ran that succeeded.
    pub moved: Vec<(Node, PathId)>,
}

impl State<'_> {
    /// The totals of a run that is over.
    pub fn totals(&self, duration_ms: u64) -> RunFinished {
        let totals = &self.totals;
        let ok = self.hard_failed == 0 && totals.cancelled == 0 && self.signal.is_none();
        RunFinished { ok, duration_ms, ..totals.clone() }
    }
}

enum Stage<'a> {
    Probe,
    Check,
    Step(Box<Job<'a>>),
    Restore(Vec<Job<'a>>),
    Batch(Vec<Job<'a>>),
}

/// What became of a node.
#[derive(Clone, Debug, Default)]
struct Fate {
    is_started: bool,
    is_bad: bool,
    exit_code: i32,
    exports: Vec<(String, String)>,
}

struct Pending {
    assessment: Assessment,
}

#[derive(Default)]
struct Batch<'a> {
    gathered: Vec<Job<'a>>,
    unknown: u32,
}

/// How long stored results may wait for the flush while nothing else happens.
const PUBLISH_AFTER_MS: u64 = 3_000;
/// How long the journal may lag behind.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// How often to listen for signals while services end.
const HEAR_EVERY: Duration = Duration::from_millis(20);

impl<'a> Drive<'_, 'a> {
    /// Runs until everything has ended.
    pub fn run(&mut self, pool: &Pool<'_, 'a>, events: &Receiver<Event>) {
        self.count_batches();
        let mut flushed = std::time::Instant::now();
        loop {
            self.advance(pool);
            if self.schedule.is_over() && self.state.active == 0 && !self.state.publishing {
                break;
            }
            if flushed.elapsed() > FLUSH_EVERY && self.journal.is_dirty() {
                self.flush();
                flushed = std::time::Instant::now();
            }
            if self.schedule.running() == 0 {
                self.shared.idle();
            }
            let event = self.wait(events);
            self.hear_quiet(pool);
            match event {
                Some(event) => self.handle(event, pool),
                None => self.passed(pool),
            }
        }
    }

    /// Ends the services of the run. Signals are still heard: a second one kills.
    pub fn end_services(&mut self, events: &Receiver<Event>) {
        self.hear_until(events, |services| services.end_within(HEAR_EVERY));
    }

    /// Services go on, for the next run, but for those that failed; a signal ends them all.
    pub fn rest_services(&mut self, events: &Receiver<Event>) {
        self.hear_until(events, |services| services.rest_within(HEAR_EVERY));
        if self.state.signal.is_some() {
            self.end_services(events);
        }
    }

    fn hear_until(&mut self, events: &Receiver<Event>, is_done: impl Fn(&Services) -> bool) {
        while !is_done(&self.shared.services) {
            while let Ok(event) = events.try_recv() {
                if let Event::Signal(response) = event {
                    self.on_signal(response);
                }
            }
            if self.shared.stop.is_killed() {
                self.shared.services.kill();
            }
        }
    }

    fn wait(&self, events: &Receiver<Event>) -> Option<Event> {
        if let Ok(event) = events.try_recv() {
            return Some(event);
        }
        let now_ms = self.shared.now_ms();
        let publish = self.pending_publication().then_some(self.state.stored_at_ms + PUBLISH_AFTER_MS);
        let journal = self.journal.is_dirty().then_some(now_ms + 200);
        let lock = self.state.locks.wake_ms(now_ms);
        let wake_ms = [self.listener.wake_ms(), publish, journal, lock, self.state.hush.wake_ms()]
            .into_iter()
            .flatten()
            .min();
        let Some(wake_ms) = wake_ms else { return events.recv().ok() };
        events.recv_timeout(Duration::from_millis(wake_ms.saturating_sub(now_ms).max(1))).ok()
    }

    fn pending_publication(&self) -> bool {
        !self.state.publishing && self.shared.cache.as_ref().is_some_and(super::shared::Cache::has_pending)
    }

    fn passed(&mut self, pool: &Pool<'_, 'a>) {
        let now_ms = self.shared.now_ms();
        self.listener.tick(now_ms);
        if self.pending_publication() && now_ms >= self.state.stored_at_ms + PUBLISH_AFTER_MS {
            self.state.publishing = true;
            self.give(Task::Publish, pool);
        }
    }

    fn report(&mut self, report: &Report) {
        self.note_end(report);
        self.listener.report(report, self.shared.now_ms());
    }

    /// Says something once.
    pub fn warn(&mut self, message: String) {
        if self.state.told.insert(message.clone()) {
            self.report(&Report::Warning { message });
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.journal.flush() {
            self.warn(format!(
                "the journal cannot be written, so the next run starts from the cache: {error}"
            ));
        }
    }

    fn action(&self, node: Node) -> &'a Action {
        &self.shared.workspace.graph.actions[self.plan.actions[node.index()] as usize]
    }

    fn assessor(&self) -> Assessor<'_, 'a> {
        Assessor {
            workspace: self.shared.workspace,
            plan: self.plan,
            journal: self.journal,
            files: self.files,
            survey: &self.survey,
            force: &self.force,
            told: &self.state.told_actions,
            now_unix_ms: unix_ms(),
        }
    }

    fn advance(&mut self, pool: &Pool<'_, 'a>) {
        loop {
            while let Some(node) = self.schedule.next_ready() {
                self.ready(node);
            }
            self.form_batches();
            self.form_restores();
            self.poll_locks();
            for (node, outcome) in self.schedule.drain_ended() {
                self.ended_unrun(node, outcome);
            }
            self.settle_advance(pool);
            match self.schedule.next_to_start() {
                Some(node) => self.start(node, pool),
                None => break,
            }
        }
        self.fill_advance(pool);
        self.tell_fresh();
    }

    fn ready(&mut self, node: Node) {
        let action = self.action(node);
        if action.is_group {
            self.schedule.finish(node, Outcome::UpToDate, true);
        } else if !self.applies(node) {
            // It has ended.
        } else if self.is_fresh(node) {
            self.still_fresh(node);
        } else if action.probes.is_empty() || action.inputs.is_none() {
            self.decide(node, &[], false);
        } else {
            self.state.stages.insert(node, Stage::Probe);
            self.schedule.queue(node);
        }
    }

    /// Decides on a node. `at_work`: it holds its resources already.
    fn decide(&mut self, node: Node, probes: &[PartDigest], at_work: bool) {
        if let Err(message) = self.read_exports(node) {
            return self.failed(node, message);
        }
        self.look_through_links(node);
        let assessor = self.assessor();
        let assessment = match assessor.assess(node, probes) {
            Ok(assessment) => assessment,
            Err(message) => return self.failed(node, message),
        };
        tracing::debug!(target = self.action(node).name, decision = ?assessment.decision, "decided");
        let has_check = self.action(node).check.is_some();
        if assessment.decision == Decision::UpToDate && !has_check {
            return self.up_to_date(node);
        }
        let stage = if assessment.decision == Decision::UpToDate {
            Stage::Check
        } else {
            Stage::Step(Box::new(assessor.job(node, &assessment, probes)))
        };
        self.state.pending.insert(node, Pending { assessment });
        let forced_batch = matches!(&stage, Stage::Step(job) if job.batched && !job.look_up);
        match stage {
            Stage::Step(job) if forced_batch && !at_work => self.gather(*job),
            Stage::Step(job) if !at_work && self.is_a_small_restore(&job) => self.restore_soon(*job),
            stage => {
                self.state.stages.insert(node, stage);
                if !at_work {
                    self.schedule.queue(node);
                }
            }
        }
    }

    fn start(&mut self, node: Node, pool: &Pool<'_, 'a>) {
        if !self.lock(node) {
            return;
        }
        self.state.active += 1;
        self.hand_over(node);
        self.go_on(node, pool);
    }

    /// Hands the next stage of a node that holds its resources to a worker.
    fn go_on(&mut self, node: Node, pool: &Pool<'_, 'a>) {
        let action = self.action(node);
        let task = match self.state.stages.remove(&node).expect("what is queued has a stage") {
            Stage::Probe => Task::Probe(node, action),
            Stage::Check => Task::Check(node, action),
            Stage::Step(job) => {
                self.state.hush.expect(node, self.shared.now_ms());
                Task::Step(job)
            }
            Stage::Restore(jobs) => {
                let now_ms = self.shared.now_ms();
                jobs.iter().for_each(|job| self.state.hush.expect(job.node, now_ms));
                self.state.active += u32::try_from(jobs.len() - 1).expect("a few");
                Task::Restore(jobs)
            }
            Stage::Batch(jobs) => {
                self.state.active += u32::try_from(jobs.len() - 1).expect("a batch fits a command line");
                Task::Batch(jobs)
            }
        };
        self.give(task, pool);
    }

    fn give(&mut self, task: Task<'a>, pool: &Pool<'_, 'a>) {
        if let Err((nodes, error)) = pool.give(task) {
            // What is not published now is at the end of the run.
            self.state.publishing &= !nodes.is_empty();
            for node in nodes {
                self.state.hush.heard(node);
                self.state.active -= 1;
                self.failed(node, format!("cannot start a thread: {error}"));
            }
        }
    }
}

fn hex(digest: &PartDigest) -> String {
    Digest { hash: *digest, size: 0 }.hex()
}

/// Milliseconds since the epoch.
pub fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
