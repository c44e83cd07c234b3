//! `iact up`: builds what services depend on, starts them, and holds them until it is told to end.
//!
//! It is no daemon: it stays in the foreground, and with it go its services, however it ends. While it lives, a
//! build in the same workspace uses its services instead of starting its own, `iact ps` shows them and `iact
//! down` asks for their end (see `engine::service::hold`).
#![allow(clippy::disallowed_methods, reason = "shell: waits, listens to signals")]

use super::services::chosen;
use super::{End, open};
use crate::cli::{self, Typed};
use crate::engine::assess::Force;
use crate::engine::confirm::Approval;
use crate::engine::run::{self, Options};
use crate::engine::service::{Phase, Services, hold::Place};
use crate::engine::signal::{Response, Signals};
use crate::engine::spawn::{Children, Stop, Supervision};
use crate::error::{Error, Kind, Result, exit};
use crate::graph::service::with_needs;
use crate::plan::Plan;
use crate::ui::Screen;
use crate::ui::door;
use crate::ui::facts::Facts;
use crate::ui::look::Look;
use crate::workspace::{Given, Workspace};
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How often to look for signals and for requests to end a service.
const LOOK: Duration = Duration::from_millis(100);

/// Holds services until a signal, `iact down`, or the end of the last one.
///
/// # Errors
/// Mistakes in what was asked for or declared.
pub fn up(typed: &Typed, asked: &cli::Services) -> Result<End> {
    let workspace = open(typed, Given::default())?;
    let wanted = chosen(&workspace, &asked.services)?;
    let ids = with_needs(&workspace.graph.services, wanted);
    if let Some(end) = build_first(typed, &workspace, &ids)? {
        return Ok(end);
    }
    let system =
        |error: std::io::Error| Error::new(Kind::Environment, "cannot listen to signals").because(error);
    let stop = Stop::new().map_err(system)?;
    let (sender, signals) = channel();
    let listening = Signals::install(move |response| {
        // Nobody listens any more once it has ended.
        let _ = sender.send(response);
        true
    })
    .map_err(system)?;
    let children = Arc::new(Children::new(Supervision::by_this_program().ok()));
    let services = Services::default();
    services.open(&workspace, &children, &stop, true);
    let mut held =
        Held { workspace: &workspace, ids, services, stop, signals, told: Vec::new(), ended: None };
    let end = held.hold();
    drop(listening);
    Ok(end)
}

/// Builds the dependencies of services; how that ended, if it failed.
fn build_first(typed: &Typed, workspace: &Workspace, ids: &[u32]) -> Result<Option<End>> {
    let graph = &workspace.graph;
    let mut goals: Vec<u32> =
        ids.iter().flat_map(|&id| graph.services[id as usize].deps.iter().copied()).collect();
    goals.sort_unstable();
    goals.dedup();
    if goals.is_empty() {
        return Ok(None);
    }
    let plan = Plan::new(graph.actions.len(), &goals, &graph.deps, &graph.after, false);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = Options {
        jobs: u32::try_from(processors).unwrap_or(u32::MAX),
        keep_going: false,
        force: Force::Nothing,
        cache: true,
        goals: goals.iter().map(|&goal| graph.actions[goal as usize].name.clone()).collect(),
        proof: None,
        approval: Approval::default(),
    };
    let mut screen = Screen::new(&Look::new(&typed.look, None, &Facts::of_process()), false, None);
    let ended = run::run(workspace, &plan, &options, &mut screen)?;
    screen.finish().map_err(|error| Error::new(Kind::Environment, "cannot write").because(error))?;
    let end = ended.signal.map_or(End::Code(ended.exit_code), End::Signal);
    Ok((end != End::Code(exit::DONE)).then_some(end))
}

/// What `iact up` holds.
struct Held<'w> {
    workspace: &'w Workspace,
    ids: Vec<u32>,
    services: Services,
    stop: Stop,
    signals: Receiver<Response>,
    /// What was said of each last.
    told: Vec<Phase>,
    /// The signal that ended it.
    ended: Option<Signal>,
}

impl Held<'_> {
    fn name(&self, id: u32) -> &str {
        &self.workspace.graph.services[id as usize].name
    }

    fn hold(&mut self) -> End {
        self.services.begin(&self.ids);
        self.told = vec![Phase::Idle; self.workspace.graph.services.len()];
        loop {
            let is_idle = self.services.wait(LOOK);
            let failed_to_start = self.tell();
            self.listen();
            for &id in &self.ids {
                if Place::new(&self.workspace.memory(), self.name(id)).is_asked_to_stop() {
                    self.services.end_one(id);
                }
            }
            if is_idle || failed_to_start || self.ended.is_some() {
                break;
            }
        }
        while !self.services.end_within(LOOK) {
            self.listen();
            if self.stop.is_killed() {
                self.services.kill();
            }
        }
        self.tell();
        let failed = self.told.iter().any(|phase| matches!(phase, Phase::Failed(_)));
        match self.ended {
            Some(signal) => End::Signal(signal),
            None => End::Code(if failed { exit::FAILED } else { exit::DONE }),
        }
    }

    fn listen(&mut self) {
        while let Ok(response) = self.signals.try_recv() {
            match response {
                Response::End(signal) => {
                    self.ended = Some(signal);
                    self.stop.end(signal);
                    self.services.cancel();
                }
                Response::Kill(_) => self.stop.kill(),
                Response::Leave | Response::Nothing => {}
            }
        }
    }

    /// Says what has changed; whether a service did not come up.
    fn tell(&mut self) -> bool {
        let mut failed_to_start = false;
        for (at, (phase, published)) in self.services.phases().into_iter().enumerate() {
            if self.told[at] == phase {
                continue;
            }
            let name = &self.workspace.graph.services[at].name;
            match &phase {
                Phase::Ready(port) => {
                    let port = port.map_or_else(String::new, |port| format!(" on port {port}"));
                    let pid = published.map_or_else(String::new, |told| format!(" (process {})", told.pid));
                    door::tell(format!("{name} is ready{port}{pid}\n"));
                }
                Phase::Failed(_) if self.ended.is_some() => {}
                Phase::Failed(why) => {
                    failed_to_start |= matches!(self.told[at], Phase::Idle | Phase::Starting);
                    door::tell(format!("error: {why}\n"));
                }
                Phase::Over => door::tell(format!("{name} ended\n")),
                Phase::Idle | Phase::Starting => {}
            }
            self.told[at] = phase;
        }
        failed_to_start
    }
}
