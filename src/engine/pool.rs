//! The threads that take steps: as many as ever had something to do at once, at most one for every slot and one that
//! publishes. They live as long as a run, and none is started for a run in which nothing has to be done.
//!
//! Invariant: a task is taken up in the order it was handed over, so that the schedule's order holds; a worker's panic
//! becomes an event. Refused: rayon, whose workers go on looking for work for a while before they sleep, which costs
//! actions of a tenth of a millisecond a tenth of their time, and which may take up a whole other action inside one
//! that waits.
#![allow(clippy::disallowed_methods, reason = "shell: starts threads")]

use super::job::{Event, Job};
use super::shared::Shared;
use super::{batch, step};
use crate::graph::action::Action;
use crate::plan::Node;
use crate::record::PartDigest;
use crate::report::Outcome;
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What a worker is asked to do.
pub enum Task<'a> {
    /// Run an action's probes.
    Probe(Node, &'a Action),
    /// Run an action's postcondition.
    Check(Node, &'a Action),
    /// Look up, restore or run.
    Step(Box<Job<'a>>),
    /// Restore what is small, one after the other: who is woken for each takes longer than the restore.
    Restore(Vec<Job<'a>>),
    /// Run one command for all of these.
    Batch(Vec<Job<'a>>),
    /// Publish what was stored so far.
    Publish,
}

/// Where tasks are handed over.
pub struct Pool<'p, 'a> {
    desk: &'p Desk<'a>,
    start: &'p dyn Fn(usize) -> std::io::Result<()>,
    started: Cell<usize>,
    limit: usize,
}

#[derive(Default)]
struct Desk<'a> {
    tasks: Mutex<Tasks<'a>>,
    bell: Condvar,
}

#[derive(Default)]
struct Tasks<'a> {
    waiting: VecDeque<Task<'a>>,
    /// What starts as soon as a step has ended well: whoever took that step goes on with it.
    advance: VecDeque<Box<Job<'a>>>,
    /// So many steps went wrong that the owner of the build has not heard of yet: nobody goes on by himself.
    holds: u32,
    /// Workers that wait for one.
    idle: usize,
    is_over: bool,
}

/// Lets `work` hand over tasks; comes back when all of them are done.
pub fn with_threads<'a, R>(shared: &'a Shared<'a>, work: impl FnOnce(&Pool<'_, 'a>) -> R) -> R {
    let desk = Desk::default();
    std::thread::scope(|scope| {
        let start = |index: usize| {
            let name = format!("action-{index}");
            std::thread::Builder::new().name(name).spawn_scoped(scope, || desk.serve(shared)).map(drop)
        };
        let limit = shared.jobs as usize + 1;
        let _closing = Closing(&desk);
        work(&Pool { desk: &desk, start: &start, started: Cell::new(0), limit })
    })
}

/// Sends the workers home, also when the work ends with a panic.
struct Closing<'p, 'a>(&'p Desk<'a>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.bell.notify_all();
    }
}

impl<'a> Pool<'_, 'a> {
    /// Hands a task to a worker.
    ///
    /// # Errors
    /// There is no worker, and the system gives no thread; the task's nodes come back.
    pub fn give(&self, task: Task<'a>) -> Result<(), (Vec<Node>, std::io::Error)> {
        let mut tasks = self.desk.lock();
        if tasks.idle > tasks.waiting.len() {
            tasks.waiting.push_back(task);
            drop(tasks);
            self.desk.bell.notify_one();
            return Ok(());
        }
        let started = self.started.get();
        if started < self.limit {
            match (self.start)(started) {
                Ok(()) => self.started.set(started + 1),
                Err(error) if started == 0 => return Err((nodes(&task), error)),
                // Whoever gets free first takes it up.
                Err(_) => {}
            }
        }
        tasks.waiting.push_back(task);
        Ok(())
    }
}

impl<'a> Pool<'_, 'a> {
    /// Lays a step ready for the next worker who is free. Nobody is woken.
    pub fn lay_ready(&self, job: Box<Job<'a>>) {
        self.desk.lock().advance.push_back(job);
    }

    /// Takes back the first step that lies ready.
    pub fn take_back(&self) -> Option<Box<Job<'a>>> {
        self.desk.lock().advance.pop_front()
    }

    /// How many steps lie ready.
    pub fn ready(&self) -> usize {
        self.desk.lock().advance.len()
    }

    /// One step that went wrong has been heard of.
    pub fn go_on(&self) {
        self.desk.lock().holds -= 1;
    }
}

impl<'a> Desk<'a> {
    fn lock(&self) -> MutexGuard<'_, Tasks<'a>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, shared: &Shared<'a>) {
        while let Some(task) = self.next() {
            match task {
                Task::Restore(jobs) => restore(shared, jobs),
                Task::Step(job) => {
                    let mut next = Some(job);
                    while let Some(job) = next.take() {
                        let panicked = guard(shared, vec![job.node], || next = self.step(shared, *job));
                        self.lock().holds += u32::from(panicked);
                    }
                }
                task => _ = guard(shared, nodes(&task), || run(shared, task)),
            }
        }
    }

    /// Takes a step, and what to go on with if that ended well. As long as more lies ready the owner of the build need not
    /// be woken; output has to be heard before the end, and goes the other way.
    fn step(&self, shared: &Shared<'a>, job: Job<'a>) -> Option<Box<Job<'a>>> {
        let mut done = Box::new(step::step(shared, job));
        let well = matches!(done.outcome, Some(Outcome::Executed | Outcome::Cached));
        done.holds = !well || shared.stop.signal().is_some();
        let (next, left) = {
            let mut desk = self.lock();
            desk.holds += u32::from(done.holds);
            let next = if desk.holds > 0 { None } else { desk.advance.pop_front() };
            (next, desk.advance.len())
        };
        done.next = next.as_ref().map(|job| job.node);
        if done.next.is_some() && left > 0 && done.log.is_none() {
            shared.tell_quietly(Event::Done(done));
        } else {
            shared.tell(Event::Done(done));
        }
        next
    }

    /// The next task; `None` when there will be no more.
    fn next(&self) -> Option<Task<'a>> {
        let mut tasks = self.lock();
        if let Some(task) = tasks.waiting.pop_front() {
            return Some(task);
        }
        tasks.idle += 1;
        while !tasks.is_over {
            tasks = self.bell.wait(tasks).unwrap_or_else(PoisonError::into_inner);
            if let Some(task) = tasks.waiting.pop_front() {
                tasks.idle -= 1;
                return Some(task);
            }
        }
        None
    }
}

/// A panic becomes an event; whether there was one.
fn guard(shared: &Shared<'_>, nodes: Vec<Node>, work: impl FnOnce()) -> bool {
    let ended = catch_unwind(AssertUnwindSafe(work));
    let panicked = ended.is_err();
    if let Err(panic) = ended {
        let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let said = said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        shared.tell(Event::Panicked(nodes, said));
    }
    panicked
}

/// All but the last are told of quietly.
fn restore(shared: &Shared<'_>, jobs: Vec<Job<'_>>) {
    let mut restores = None;
    let mut left = jobs.len();
    for job in jobs {
        left -= 1;
        guard(shared, vec![job.node], || {
            let done = Event::Done(Box::new(step::restore(shared, job, &mut restores)));
            if left > 0 { shared.tell_quietly(done) } else { shared.tell(done) }
        });
    }
}

fn nodes(task: &Task<'_>) -> Vec<Node> {
    match task {
        Task::Probe(node, _) | Task::Check(node, _) => vec![*node],
        Task::Step(job) => vec![job.node],
        Task::Restore(jobs) | Task::Batch(jobs) => jobs.iter().map(|job| job.node).collect(),
        Task::Publish => Vec::new(),
    }
}

fn run(shared: &Shared<'_>, task: Task<'_>) {
    match task {
        Task::Probe(node, action) => shared.tell(Event::Probed(node, probe(shared, action))),
        Task::Check(node, action) => shared.tell(Event::Checked(node, check(shared, action))),
        Task::Step(job) => shared.tell(Event::Done(Box::new(step::step(shared, *job)))),
        Task::Restore(jobs) => restore(shared, jobs),
        Task::Batch(jobs) => {
            batch::batch(shared, jobs).into_iter().for_each(|done| shared.tell(Event::Done(Box::new(done))));
        }
        Task::Publish => {
            if let Some(cache) = &shared.cache {
                shared.tell(Event::Published(cache.publish()));
            }
        }
    }
}

/// The digests of what an action's probes print.
///
/// # Errors
/// The first that fails, and how.
pub fn probe(shared: &Shared<'_>, action: &Action) -> Result<Vec<PartDigest>, String> {
    let texts = shared.texts(action, &[])?;
    let mut digests = Vec::with_capacity(texts.probes.len());
    for probe in &texts.probes {
        let mut hasher = blake3::Hasher::new();
        let ended = shared.script(action, &texts, probe, &mut |bytes| {
            hasher.update(bytes);
        });
        ended.map_err(|why| format!("the probe `{probe}` failed: {why}"))?;
        digests.push(*hasher.finalize().as_bytes());
    }
    Ok(digests)
}

/// Whether an action's postcondition holds.
///
/// # Errors
/// How it failed.
pub fn check(shared: &Shared<'_>, action: &Action) -> Result<(), String> {
    let texts = shared.texts(action, &[])?;
    match &texts.check {
        Some(check) => shared.script(action, &texts, check, &mut |_| ()),
        None => Ok(()),
    }
}
