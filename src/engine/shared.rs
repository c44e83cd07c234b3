//! What the workers of a run share: things that look after themselves, borrowed for as long as the run lasts.
//!
//! Invariant: nothing here is part of the build's state; that belongs to one thread. A worker never calls
//! rayon.
#![allow(clippy::disallowed_methods, reason = "shell: time, folders, the jobserver")]

mod cache;
mod commands;

pub use cache::Cache;

use super::confirm::Approved;
use super::exports::{self, Exported};
use super::job::Event;
use super::jobserver::Jobserver;
use super::locks;
use super::secrets::Secrets;
use super::service::Services;
use super::spawn::{Children, Stop};
use crate::graph::action::Action;
use crate::graph::instance::{self, Texts};
use crate::log::LogWriter;
use crate::plan::Node;
use crate::report::Stream;
use crate::scan::walk::Outputs;
use crate::template::Layer;
use crate::workspace::Workspace;
use rustc_hash::FxHashMap;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a tree may take to end after it was asked to.
pub const GRACE_MS: u64 = 5_000;

/// Variables every action gets from its caller; none is in the fingerprint.
pub(super) const ALWAYS_PASSED: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TERM"];

/// What the workers of a run share.
pub struct Shared<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// Its files, for collecting and restoring outputs.
    pub outputs: iact_cache::Workspace,
    /// Every declared output: wildcards do not see them.
    pub declared: Outputs,
    /// The cache, if it may be used.
    pub cache: Option<Cache>,
    /// Made with the first command that runs.
    // Dropped before `children`: until its folder is gone the supervisor has to know of it.
    jobserver: OnceLock<Option<Jobserver>>,
    /// Starts processes.
    pub children: Arc<Children>,
    /// What actions need to run beside them.
    pub services: Services,
    /// Ends them.
    pub stop: Stop,
    /// To the thread that owns the build.
    pub events: SyncSender<Event>,
    /// Told without waking the owner of the build; comes before anything that is told later the usual way.
    quiet: Mutex<Vec<Event>>,
    /// `-j`.
    pub jobs: u32,
    /// Threads for moving one action's files.
    pub io_threads: usize,
    /// When the run began.
    pub began: Instant,
    /// What targets exported.
    pub exported: Arc<Exported>,
    /// What is masked.
    pub secrets: Secrets,
    /// What was confirmed.
    pub approved: Approved,
    /// Ends cleanups, which the first signal does not.
    pub cleanups: Option<Cleanups>,
    /// Whether there is a terminal to own.
    pub has_terminal: bool,
    /// Bells of single actions, where one may be ended while the run goes on.
    ends: Option<Mutex<FxHashMap<String, Stop>>>,
    /// Whether there is a log of any action: most say nothing, and an earlier log has to be looked for only then.
    logs: OnceLock<AtomicBool>,
    /// Whether stats of the workspace's file system may vouch for contents, asked once.
    keeps_times: OnceLock<bool>,
}

/// Actions that run to their end although the run was told to end.
pub struct Cleanups {
    /// Their names.
    pub names: BTreeSet<String>,
    /// What ends them.
    pub stop: Stop,
}

fn has_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

/// What a [`Shared`] is made of.
pub struct Parts<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// The cache, if it may be used.
    pub cache: Option<Cache>,
    /// Starts processes.
    pub children: Children,
    /// Ends them.
    pub stop: Stop,
    /// To the thread that owns the build.
    pub events: SyncSender<Event>,
}

impl<'a> Shared<'a> {
    /// Everything together.
    ///
    /// # Errors
    /// The workspace's folder cannot be opened.
    pub fn new(parts: Parts<'a>, jobs: u32) -> std::io::Result<Self> {
        let workspace = parts.workspace;
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            workspace,
            outputs: iact_cache::Workspace::open(&workspace.root)?,
            declared: Outputs::new(workspace.graph.makers.paths().map(str::to_owned).collect()),
            cache: parts.cache,
            children: Arc::new(parts.children),
            services: Services::default(),
            stop: parts.stop,
            events: parts.events,
            quiet: Mutex::default(),
            jobs,
            io_threads: processors.min(4),
            began: Instant::now(),
            exported: Arc::default(),
            secrets: Secrets::default(),
            approved: Approved::default(),
            cleanups: None,
            has_terminal: has_terminal(),
            ends: None,
            jobserver: OnceLock::new(),
            logs: OnceLock::new(),
            keeps_times: OnceLock::new(),
        })
    }

    /// Makes ready for another run; single actions of it may be ended.
    ///
    /// # Errors
    /// No more file descriptors.
    pub fn begin_again(&mut self) -> std::io::Result<()> {
        if self.stop.signal().is_some() {
            self.stop = Stop::new()?;
        }
        self.ends = Some(Mutex::default());
        self.services.begin_again();
        self.began = Instant::now();
        Ok(())
    }

    /// Ends a single action, with its whole tree, or keeps it from starting.
    pub fn end_action(&self, name: &str) {
        if let Some(stop) = self.own_stop(name, None) {
            stop.end(Signal::TERM);
        }
    }

    /// The action takes no step any more: its bells are not needed.
    pub fn action_ended(&self, name: &str) {
        if let Some(ends) = &self.ends {
            ends.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
    }

    /// The bells of one action, if it may be ended alone: by a service that died, by a change that makes it obsolete.
    fn stop_of(&self, action: &Action) -> Option<Stop> {
        let by_service = self.services.stop_of(action);
        if self.ends.is_none() {
            return by_service;
        }
        self.own_stop(&action.name, by_service)
    }

    /// The bells that [`Self::end_action`] rings. What rang before the action had bells of its own rings those too.
    fn own_stop(&self, name: &str, given: Option<Stop>) -> Option<Stop> {
        let mut ends = self.ends.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ends.get(name).cloned();
        let stop = match (given, known) {
            (None, Some(known)) => return Some(known),
            (Some(given), known) => {
                if known.is_some_and(|known| known.signal().is_some()) {
                    given.end(Signal::TERM);
                }
                given
            }
            (None, None) => self.bells(name).branch().ok()?,
        };
        ends.insert(name.to_owned(), stop.clone());
        Some(stop)
    }

    /// Milliseconds since the run began.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// An action did something: services that depend on it are not what they were.
    pub fn outdate_services(&self, id: u32) {
        let graph = &self.workspace.graph;
        let depends = |on: u32| {
            let mut depends = false;
            graph.each_member(on, &mut |member| depends |= member == id);
            depends
        };
        let outdated = graph.services.iter().filter(|service| service.deps.iter().any(|&on| depends(on)));
        let names: Vec<&str> = outdated.map(|service| service.name.as_str()).collect();
        if !names.is_empty() {
            self.services.outdate(&names);
        }
    }

    /// Tells the owner of the build the next time it hears anything, or has waited for a while: nobody is woken.
    pub fn tell_quietly(&self, event: Event) {
        self.quiet.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// What was told quietly since the last call.
    pub fn take_quiet(&self) -> Vec<Event> {
        std::mem::take(&mut *self.quiet.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the owner of the build. It outlives every worker, so nobody else can be meant by an error.
    pub fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// The texts of an action as they run here and now: the workspace's path, the files of a batch, the ports
    /// of its services.
    ///
    /// # Errors
    /// A template that does not render with these values.
    pub fn texts(&self, action: &Action, files: &[&str]) -> Result<Texts, String> {
        self.texts_with(action, files, Layer::default()).map(|(texts, _)| texts)
    }

    /// The same with a layer of own values, and the exported values that were asked for.
    ///
    /// # Errors
    /// As [`Self::texts`].
    pub fn texts_with(
        &self,
        action: &Action,
        files: &[&str],
        mut layer: Layer,
    ) -> Result<(Texts, Vec<exports::Read>), String> {
        let Some(bound) = &action.late else {
            let texts = Texts {
                argv: action.argv.clone(),
                env: action.env.clone(),
                probes: action.probes.clone(),
                check: action.check.clone(),
                verify: action.verify.clone(),
            };
            return Ok((texts, Vec::new()));
        };
        let graph = &self.workspace.graph;
        layer.set_text("workspace", self.workspace.root.to_string_lossy());
        if !files.is_empty() {
            let file =
                |path: &&str| crate::template::File { path: crate::path::relative_to(&action.folder, path) };
            layer.set("files", crate::template::Value::Files(files.iter().map(file).collect()));
        }
        let mut bound = (**bound).clone();
        bound.scope = self.services.with_ports(action, bound.scope.with_layer(Arc::new(layer)));
        let read = Arc::new(Mutex::new(Vec::new()));
        if let Some(answers) = bound.scope.lookup().filter(|_| action.rare().reads_exports) {
            let answers = exports::Answers::new(answers, Arc::clone(&self.exported), Arc::clone(&read));
            bound.scope = bound.scope.with_lookup(Arc::new(answers));
        }
        let texts = instance::texts(&graph.manifests, &graph.templates, &bound, &action.shell)
            .map_err(|wrong| wrong.message)?;
        let mut read = std::mem::take(&mut *read.lock().unwrap_or_else(PoisonError::into_inner));
        read.sort_unstable();
        read.dedup();
        Ok((texts, read))
    }

    /// The whole environment of an action.
    pub fn environment(&self, action: &Action, env: &[(String, String)]) -> Vec<(OsString, OsString)> {
        let caller = &self.workspace.caller;
        let passed = ALWAYS_PASSED.iter().copied();
        let passed = passed.chain(action.pass_env.iter().chain(&action.untracked_env).map(String::as_str));
        let mut all: Vec<(OsString, OsString)> =
            passed.filter_map(|name| Some((name.into(), caller.var(name)?.clone()))).collect();
        if iact_cache::chaos::planted(iact_cache::chaos::Bug::LeakEnv) {
            all.clone_from(&caller.env);
        }
        if let Some(jobserver) = self.jobserver() {
            all.push(("MAKEFLAGS".into(), jobserver.makeflags().into()));
        }
        let held = locks::held_for(caller, action.rare().lock.as_deref());
        all.extend(held.map(|held| (locks::HELD.into(), held)));
        for (name, value) in env {
            all.retain(|(known, _)| known != name.as_str());
            all.push((name.into(), value.into()));
        }
        for name in &action.rare().secrets {
            let value = self.secrets.get(&action.folder, name);
            all.retain(|(known, _)| known != name.as_str());
            all.extend(value.map(|value| (name.into(), value.clone())));
        }
        all
    }

    /// The bells that end this action with the run.
    pub fn bells(&self, name: &str) -> &Stop {
        match &self.cleanups {
            Some(cleanups) if cleanups.names.contains(name) => &cleanups.stop,
            _ => &self.stop,
        }
    }

    /// Whether this action's command owns the terminal.
    pub fn owns_terminal(&self, action: &Action) -> bool {
        self.has_terminal && action.rare().interactive
    }

    /// Waits, unless the run ends before; whether it did not.
    pub fn pause(&self, action: &Action, pause_ms: u64) -> bool {
        let own = self.stop_of(action);
        own.as_ref().unwrap_or(self.bells(&action.name)).wait(Duration::from_millis(pause_ms))
    }

    /// Where the log of an action lies; its name is a digest, since a target's name may hold anything.
    pub fn log_path(&self, name: &str) -> (String, PathBuf) {
        let stem = log_stem(name);
        let path = self.workspace.memory().join("log").join(&stem);
        (stem, path)
    }

    /// A log to be written in place of an earlier one.
    pub fn log_writer(&self, path: PathBuf) -> LogWriter {
        if self.has_logs() { LogWriter::new(path) } else { LogWriter::first(path) }
    }

    /// Whether there may be a log of any action.
    pub fn has_logs(&self) -> bool {
        self.logs().load(Ordering::Acquire)
    }

    /// Completes a log; whether there is one now.
    ///
    /// # Errors
    /// The first write that failed.
    pub fn finish_log(&self, log: LogWriter) -> std::io::Result<bool> {
        let finished = log.finish();
        if !matches!(finished, Ok(false)) {
            self.logs().store(true, Ordering::Release);
        }
        finished
    }

    fn logs(&self) -> &AtomicBool {
        let look = || match std::fs::read_dir(self.workspace.memory().join("log")) {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) => error.kind() != std::io::ErrorKind::NotFound,
        };
        self.logs.get_or_init(|| AtomicBool::new(look()))
    }

    /// Where a command writes what it exports.
    pub fn exports_path(&self, name: &str) -> PathBuf {
        self.workspace.memory().join("exports").join(log_stem(name))
    }

    /// Forwards a piece of output.
    pub fn output(&self, node: Node, stream: Stream, bytes: &[u8]) {
        self.tell(Event::Output(node, stream, bytes.to_vec()));
    }
}

/// The name of an action's log file.
pub fn log_stem(name: &str) -> String {
    blake3::hash(name.as_bytes()).to_hex()[..32].to_owned()
}

/// Where a program of that name could be on a PATH, in order.
pub fn path_places<'a>(path: &'a OsStr, name: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    std::env::split_paths(path).filter(|folder| folder.is_absolute()).map(move |folder| folder.join(name))
}

/// The first program of that name on a PATH that may be executed.
pub fn find_program(path: &OsStr, name: &str) -> Option<PathBuf> {
    path_places(path, name).find(|program| {
        std::fs::metadata(program).is_ok_and(|facts| facts.is_file())
            && rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok()
    })
}

/// A path from bytes.
pub fn os_path(path: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(path.to_vec()))
}
