//! One command for several files of a `for_each`, still one result per file.
//!
//! Invariant: each file's result is looked up, stored and remembered under its own fingerprint, which does
//! not know of the batch. What a batch writes is kept back until it succeeded: a failed one counts for
//! nothing, and its files run one by one. What proves a result (`check`, `verify`) is each file's own.

use super::job::{Done, Event, Job, failure};
use super::leftovers;
use super::shared::Shared;
use super::step::{Ran, Step, step};
use crate::graph::instance::Texts;
use crate::log::LogWriter;

/// Runs the jobs, which are of one target. Called on a worker thread.
pub fn batch(shared: &Shared<'_>, jobs: Vec<Job<'_>>) -> Vec<Done> {
    if jobs.len() > 1 && shared.services.need(shared, jobs[0].action).is_ok() {
        let done = together(shared, &jobs);
        shared.services.release(jobs[0].action);
        if let Some(done) = done {
            return done;
        }
    }
    jobs.into_iter().map(|job| step(shared, Job { batched: false, look_up: false, ..job })).collect()
}

/// One command for all; `None` if it failed, or could not be tried.
fn together(shared: &Shared<'_>, jobs: &[Job<'_>]) -> Option<Vec<Done>> {
    let action = jobs[0].action;
    let (rare, given) = (action.rare(), &jobs[0].values.given);
    let alone = rare.confirm.is_some() || !rare.exports.is_empty() || rare.interactive;
    if alone || jobs.iter().any(|job| job.values.given != *given) {
        return None;
    }
    let files: Vec<&str> = jobs.iter().filter_map(|job| job.action.file.as_deref()).collect();
    let with_given = |action, files: &[&str]| -> Option<Texts> {
        let mut texts = shared.texts(action, files).ok()?;
        texts.env.extend(given.iter().cloned());
        Some(texts)
    };
    let texts = with_given(action, &files)?;
    let own = jobs.iter().map(|job| with_given(job.action, &[])).collect::<Option<Vec<Texts>>>()?;
    for job in jobs {
        leftovers::prepare(shared, job.action).ok()?;
    }
    let mut logs: Vec<(String, LogWriter)> = jobs
        .iter()
        .map(|job| shared.log_path(&job.action.name))
        .map(|(stem, path)| (stem, shared.log_writer(path)))
        .collect();
    let began = shared.moment();
    for job in jobs {
        shared.tell(Event::Started(job.node, job.reason.clone()));
    }
    let ended = shared.run(action, &texts.argv, &texts, &mut |stream, bytes| {
        logs.iter_mut().for_each(|(_, log)| log.write(stream, bytes));
    });
    let failed = failure(&ended.end).is_some() && shared.bells(&action.name).signal().is_none();
    if failed || shared.services.trouble(action).is_some() {
        return None;
    }
    let mut ran = Ran { ended, began, log_whole: true, exports: Ok(Vec::new()) };
    let mut all = Vec::with_capacity(jobs.len());
    for (at, ((job, own), (stem, log))) in jobs.iter().zip(&own).zip(logs).enumerate() {
        let mut step = Step::of_batch(shared, job);
        let finished = shared.finish_log(log);
        ran.log_whole = finished.is_ok();
        step.done.log = finished.unwrap_or(false).then_some(stem);
        if at == 0 {
            replay(shared, job, step.done.log.is_some());
        }
        step.after(job, own, &ran);
        step.done.duration_ms = ran.ended.duration_ms;
        all.push(step.done);
    }
    Some(all)
}

/// The common output is shown once, with the first file.
fn replay(shared: &Shared<'_>, job: &Job<'_>, has_log: bool) {
    let (_, path) = shared.log_path(&job.action.name);
    if let Some(log) = has_log.then(|| crate::log::LogReader::open(&path).ok()).flatten() {
        // What cannot be shown again is in the log all the same.
        let _ = log.replay(|stream, bytes| {
            shared.output(job.node, stream, bytes);
            Ok(())
        });
    }
}
