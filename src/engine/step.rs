//! One action: look up → materialize, or run → collect → store.
//!
//! Invariants: a step always comes back with a [`Done`], whatever happened; a result is stored only if the
//! command exited with 0, nobody signalled it, its whole output was read, all outputs are there, the
//! postcondition and the proof hold, and no input moved while it ran. Trouble with the cache is a warning and
//! a miss.
#![allow(clippy::disallowed_methods, reason = "shell: looks at files, asks the time")]

mod discovered;
mod keep;
mod lookup;
mod moved;

use super::job::{Done, Event, Job, Watched, failure};
use super::retry::pause_ms;
use super::shared::Shared;
use super::spawn::{End, Ended, Stdin};
use super::{exports, leftovers};
use crate::decision::Reason;
use crate::fingerprint::InputNode;
use crate::graph::instance::Texts;
use crate::report::Outcome;
use crate::scan::read::small_file;
use crate::scan::times::{Moment, file_clock_ns};
use iact_cache::Restores;
use iact_cache::chaos::{Bug, planted, point};
use moved::moved_input;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Takes one step of an action. Called on a worker thread.
pub fn step(shared: &Shared<'_>, mut job: Job<'_>) -> Done {
    let began = Instant::now();
    let mut step = Step {
        shared,
        done: blank(&job),
        expired: None,
        is_beside: false,
        restores: shared.outputs.restores(),
    };
    step.take(&mut job);
    ended(step.done, job, began)
}

/// Restores the result that was there last, if it is in the cache; else all is left to a step. `restores` is handed on
/// from one to the next.
pub fn restore<'s>(shared: &'s Shared<'_>, mut job: Job<'_>, restores: &mut Option<Restores<'s>>) -> Done {
    let began = Instant::now();
    let from = restores.take().unwrap_or_else(|| shared.outputs.restores());
    let mut step = Step { shared, done: blank(&job), expired: None, is_beside: false, restores: from };
    match shared.texts(job.action, &[]) {
        _ if shared.stop.signal().is_some() => step.done.outcome = None,
        Ok(texts) if step.look_up_known(&mut job, &texts) => {}
        _ => step.done.outcome = None,
    }
    let Step { done, restores: from, .. } = step;
    *restores = Some(from);
    ended(done, job, began)
}

fn ended(mut done: Done, job: Job<'_>, began: Instant) -> Done {
    done.reason = job.reason;
    done.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    done
}

fn blank(job: &Job<'_>) -> Done {
    Done {
        node: job.node,
        outcome: Some(Outcome::Failed),
        exit_code: None,
        message: None,
        fingerprint: None,
        path_set: None,
        duration_ms: 0,
        command_ms: 0,
        finished_unix_ms: 0,
        made: Vec::new(),
        discovered: Vec::new(),
        moved: None,
        exports: Vec::new(),
        generation: None,
        log: None,
        timed_out: false,
        cancelled: false,
        warnings: Vec::new(),
        reason: job.reason.clone(),
        next: None,
        holds: false,
    }
}

/// The longest list of exported values that is read.
const EXPORTS_BYTES: u64 = 1 << 20;

/// A step on its way.
pub(super) struct Step<'s, 'a> {
    shared: &'s Shared<'a>,
    pub(super) done: Done,
    /// A result that was found is older than it may be.
    expired: Option<Reason>,
    /// The depfile names files beside the workspace by where they lie from it.
    is_beside: bool,
    restores: Restores<'s>,
}

/// What became of a command.
pub(super) struct Ran {
    pub(super) ended: Ended,
    /// By the clock of files.
    pub(super) began: Moment,
    /// Whether everything it wrote is in the log.
    pub(super) log_whole: bool,
    /// What it exported.
    pub(super) exports: Result<exports::Values, String>,
}

impl<'s, 'a> Step<'s, 'a> {
    /// A step of a job whose command has run already, with others of its batch.
    pub(super) fn of_batch(shared: &'s Shared<'a>, job: &Job<'_>) -> Self {
        let restores = shared.outputs.restores();
        let mut step = Self { shared, done: blank(job), expired: None, is_beside: false, restores };
        match step.fingerprint(job, &job.discovered) {
            Ok(digest) => step.done.fingerprint = digest,
            Err(message) => step.fail(message),
        }
        step
    }

    fn take(&mut self, job: &mut Job<'_>) {
        let mut texts = match self.shared.texts(job.action, &[]) {
            Ok(texts) => texts,
            Err(message) => return self.fail(message),
        };
        texts.env.extend(job.values.given.iter().cloned());
        if self.look_up_known(job, &texts) {
            return;
        }
        let digest = match self.fingerprint(job, &job.discovered) {
            Ok(digest) => digest,
            Err(message) => return self.fail(message),
        };
        self.done.fingerprint = digest;
        if let Some(digest) = digest.filter(|_| job.look_up && job.action.cache) {
            match self.look_up(job, digest, &texts) {
                Ok(true) => return,
                Ok(false) => {}
                Err(reason) => job.reason = reason,
            }
            if let Some(expired) = self.expired.take() {
                job.reason = job.reason.clone().min(expired);
            }
        }
        if job.batched {
            self.done.outcome = None;
            return;
        }
        if let Err(why) = self.shared.approved.admit(self.shared.workspace, job.action) {
            return self.fail(why.to_string());
        }
        let started = Event::Started(job.node, job.reason.clone());
        if self.shared.owns_terminal(job.action) {
            self.shared.tell(started);
        } else {
            self.shared.tell_quietly(started);
        }
        if let Err(message) = self.shared.services.need(self.shared, job.action) {
            return self.fail(message);
        }
        self.with_services(job, texts);
        if self.done.outcome == Some(Outcome::Failed) {
            self.blame_services(job);
        }
        self.shared.services.release(job.action);
    }

    /// Whether a service that the action uses has died: then that is what went wrong.
    fn blame_services(&mut self, job: &Job<'_>) -> bool {
        let Some(trouble) = self.shared.services.trouble(job.action) else { return false };
        (self.done.cancelled, self.done.timed_out) = (false, false);
        self.fail(trouble);
        true
    }

    fn with_services(&mut self, job: &Job<'_>, mut texts: Texts) {
        if !job.action.services.is_empty() {
            match self.shared.texts(job.action, &[]) {
                Ok(with_ports) => texts = with_ports,
                Err(message) => return self.fail(message),
            }
            texts.env.extend(job.values.given.iter().cloned());
        }
        self.attempts(job, &texts);
    }

    /// Runs the command until it succeeds or `retry` has had enough; its services are ready.
    fn attempts(&mut self, job: &Job<'_>, texts: &Texts) {
        for attempt in 1.. {
            if let Err(message) = leftovers::prepare(self.shared, job.action) {
                return self.fail(message);
            }
            let ran = self.command(job, texts);
            if self.blame_services(job) {
                return;
            }
            self.after(job, texts, &ran);
            let failed = self.done.outcome == Some(Outcome::Failed);
            let Some(retry) = job.action.retry.as_ref().filter(|_| failed) else { return };
            let random = u64::from(Instant::now().elapsed().subsec_nanos()) ^ file_clock_ns().cast_unsigned();
            let Some(pause_ms) = pause_ms(retry, attempt, &ran.ended.end, random) else { return };
            let (name, how) = (&job.action.name, self.done.message.clone().or(failure(&ran.ended.end)));
            let pause = crate::manifest::quantity::Duration { ms: pause_ms };
            let told = format!(
                "`{name}` failed ({}), attempt {attempt} of {}; again in {pause}",
                how.unwrap_or_default(),
                retry.attempts
            );
            self.shared.tell(Event::Warning(told));
            if !self.shared.pause(job.action, pause_ms) {
                self.done.cancelled = true;
                return;
            }
            let (fingerprint, warnings) = (self.done.fingerprint, std::mem::take(&mut self.done.warnings));
            self.done = Done { fingerprint, warnings, ..blank(job) };
        }
    }

    fn fail(&mut self, message: String) {
        self.done.outcome = Some(Outcome::Failed);
        self.done.message = Some(message);
    }

    fn warn(&mut self, message: String) {
        self.done.warnings.push(message);
    }

    fn command(&mut self, job: &Job<'_>, texts: &Texts) -> Ran {
        let (stem, path) = self.shared.log_path(&job.action.name);
        let mut log = self.shared.log_writer(path);
        let began = self.shared.moment();
        let stdin = if self.shared.owns_terminal(job.action) { Stdin::Terminal } else { Stdin::Null };
        let exports =
            (!job.action.rare().exports.is_empty()).then(|| self.shared.exports_path(&job.action.name));
        let mut texts = std::borrow::Cow::Borrowed(texts);
        if let Some(path) = &exports {
            // Without the file it is the command that fails, and says so.
            let _ = path.parent().map(std::fs::create_dir_all);
            let _ = std::fs::write(path, "");
            texts.to_mut().env.push(("IACT_EXPORTS".to_owned(), path.to_string_lossy().into_owned()));
        }
        let command = (job.action, texts.argv.as_slice());
        let ended = self.shared.run_on(stdin, command, &texts, &mut |stream, bytes| {
            log.write(stream, bytes);
            self.shared.output(job.node, stream, bytes);
        });
        let exports = exports.map_or(Ok(Vec::new()), |path| {
            let text = small_file(&path, EXPORTS_BYTES).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(Vec::new()),
                _ => Err(format!("what it wrote to `$IACT_EXPORTS` cannot be read: {error}")),
            });
            let _ = std::fs::remove_file(&path);
            let text = text?;
            let secret = self.shared.secrets.are_in(&text);
            if secret { Err("it exported a secret".to_owned()) } else { exports::parse(&text) }
        });
        let log_whole = match self.shared.finish_log(log) {
            Ok(wrote) => {
                self.done.log = wrote.then_some(stem);
                true
            }
            Err(error) => {
                self.warn(format!("the log of `{}` could not be kept: {error}", job.action.name));
                false
            }
        };
        if ended.left_running {
            self.warn(format!("`{}` ended but left processes running", job.action.name));
        }
        Ran { ended, began, log_whole, exports }
    }

    /// What follows the end of the command: facts, postcondition, proof, outputs, the cache.
    pub(super) fn after(&mut self, job: &Job<'_>, texts: &Texts, ran: &Ran) {
        self.done.command_ms = ran.ended.duration_ms;
        self.done.finished_unix_ms = unix_ms();
        self.done.exports = ran.exports.clone().unwrap_or_default();
        if let End::Exited(code) = ran.ended.end {
            self.done.exit_code = Some(code);
        }
        let forgiven = match ran.ended.end {
            End::Cancelled => planted(Bug::StoreOnSignal),
            End::Signalled(_) => planted(Bug::NoCodeIsZero),
            _ => false,
        };
        if let Some(failure) = failure(&ran.ended.end).filter(|_| !forgiven) {
            self.done.timed_out = matches!(ran.ended.end, End::TimedOut);
            self.done.cancelled = matches!(ran.ended.end, End::Cancelled);
            let limit = job.action.timeout_ms.filter(|_| self.done.timed_out);
            let limit =
                limit.map(|ms| format!("timeout after {}", crate::manifest::quantity::Duration { ms }));
            // A plain exit code is said by whoever shows it.
            self.done.message = limit.or((self.done.exit_code.is_none()).then_some(failure));
            return;
        }
        point("step.ran");
        if let Err(why) = self.discover(job, ran.began) {
            return self.fail(why);
        }
        if self.done.moved.is_none() && !planted(Bug::NoRestat) {
            self.done.moved = moved_input(self.shared, job, ran.began);
        }
        for (what, script) in [("check", &texts.check), ("verify", &texts.verify)] {
            if let Some(script) = script
                && let Err(why) = self.shared.script(job.action, texts, script, &mut |_| ())
            {
                return self.fail(format!("`{what}` failed: {why}"));
            }
        }
        let declared = &job.action.rare().exports;
        if let Err(why) =
            ran.exports.as_ref().map_err(String::clone).and_then(|all| exports::check(declared, all))
        {
            return self.fail(why);
        }
        self.keep(job, ran);
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// An input as the tree takes it.
pub fn input_node(input: &Watched) -> InputNode {
    let link = input.present.link.as_ref().map(|link| (link.text.clone(), link.through.is_some()));
    InputNode { path: input.path.clone(), content: input.present.content, link }
}
