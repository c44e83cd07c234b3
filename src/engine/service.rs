//! The services of a run: started when the first action that needs them is about to run, once, shared, and
//! ended after the last action.
//!
//! Each service has a thread that starts it and tries until it is ready, and one that passes on what it says
//! until it ends; workers wait for [`Services::need`]. All that they know of each other is one [`State`] behind
//! a lock.
//!
//! Where a workspace is watched, services go on between its runs: one that is needed again is there already, unless one of
//! the targets it depends on did something, or it died; then it is started anew. If the workspace is opened again, those whose
//! definition is the same live on as `elders`, and are found as those of any other iact would be.
//!
//! Invariants: a service is started at most once in a run, after those it needs, and ended before them.
//! Nothing here outlives the run, or the watch: [`Services::end_within`] is done only when every tree is gone, every scratch
//! folder removed and every thread joined; a killed iact's services are ended by its supervisor, like actions.
//! An action whose service died while it ran has failed, whatever its exit code. What a service says goes to
//! its log and nowhere else.
//!
//! Refused: a daemon that keeps services between runs (`iact up` holds them as long as somebody wants it, see
//! `hold`); restarting what died, which would hide it.
#![allow(clippy::disallowed_methods, reason = "shell: threads and time")]

mod data;
pub mod hold;
mod ports;
mod ready;
mod start;
mod tail;
mod told;

use super::secrets::Secrets;
use super::shared::{ALWAYS_PASSED, Shared};
use super::spawn::{Children, Stop};
use crate::graph::action::Action;
use crate::graph::service::{Service, with_needs};
use crate::manifest::decl::{self, Manifest};
use crate::template::{Scope, Templates};
use crate::workspace::Workspace;
use hold::{Hold, Place, Published};
use ports::Ports;
use rustc_hash::FxHashMap;
use rustix::process::Signal;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tail::Tail;

/// How far a service has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has needed it yet.
    Idle,
    /// It is being started.
    Starting,
    /// It is ready, on its port if it has one.
    Ready(Option<u16>),
    /// It did not get ready, or died; with its last lines.
    Failed(String),
    /// It was ended because it was no longer needed.
    Over,
}

/// The services of one run, or of `iact up`. Nothing is made before the first one is needed.
#[derive(Default)]
pub struct Services {
    house: OnceLock<Arc<House>>,
    /// Those of the workspace as it was opened before, as far as they go on.
    elders: Vec<Services>,
}

/// What everybody who deals with services shares.
struct House {
    manifests: Arc<Vec<Manifest>>,
    templates: Arc<Templates>,
    services: Arc<Vec<Service>>,
    root: PathBuf,
    memory: PathBuf,
    /// What every service gets of its caller's environment.
    passed: Vec<(OsString, OsString)>,
    /// The secrets of services, as far as they are set.
    secrets: Secrets,
    children: Arc<Children>,
    /// Of the run.
    stop: Stop,
    /// Whether this is `iact up`.
    is_up: bool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    /// Actions that run with services, by name.
    users: FxHashMap<String, User>,
    /// Ports given out.
    ports: Vec<u16>,
    threads: Vec<JoinHandle<()>>,
    /// Nothing more is started, and nobody waits any longer.
    is_over: bool,
}

struct Slot {
    phase: Phase,
    /// The bells of its process, until everything of it is gone.
    stop: Option<Stop>,
    /// They have rung.
    rung: bool,
    /// It is to end.
    ending: bool,
    /// Rings when its process has ended, for tries that are under way.
    life: Option<Stop>,
    /// How its process ended.
    ended: Option<String>,
    tail: Tail,
    hold: Option<Hold>,
    published: Option<Published>,
    /// It is run by somebody else.
    is_theirs: bool,
}

struct User {
    stop: Stop,
    services: Vec<u32>,
}

impl Services {
    /// Prepares for the services of a workspace.
    pub fn open(&self, workspace: &Workspace, children: &Arc<Children>, stop: &Stop, is_up: bool) {
        self.house(workspace, children, stop, is_up);
    }

    fn house(
        &self,
        workspace: &Workspace,
        children: &Arc<Children>,
        stop: &Stop,
        is_up: bool,
    ) -> &Arc<House> {
        self.house.get_or_init(|| {
            let (graph, caller) = (&workspace.graph, &workspace.caller);
            let passed =
                ALWAYS_PASSED.iter().filter_map(|name| Some(((*name).into(), caller.var(name)?.clone())));
            let slots = graph.services.iter().map(|_| Slot::default()).collect();
            Arc::new(House {
                manifests: Arc::clone(&graph.manifests),
                templates: Arc::clone(&graph.templates),
                services: Arc::clone(&graph.services),
                root: workspace.root.clone(),
                memory: workspace.memory(),
                passed: passed.collect(),
                secrets: Secrets::of_services(workspace),
                children: Arc::clone(children),
                stop: stop.clone(),
                is_up,
                state: Mutex::new(State { slots, ..State::default() }),
                changed: Condvar::new(),
            })
        })
    }

    /// Waits until the services of an action are ready, starting those that nobody has needed yet. From then on
    /// to [`Self::release`] the action's texts have their ports, and its commands end when one of them dies.
    ///
    /// # Errors
    /// A service that is not there, for a person.
    pub fn need(&self, shared: &Shared<'_>, action: &Action) -> Result<(), String> {
        if action.services.is_empty() {
            return Ok(());
        }
        let house = self.house(shared.workspace, &shared.children, &shared.stop, false);
        if shared.stop.signal().is_some() {
            // It came before there was anybody to cancel.
            self.cancel();
        }
        let wanted: Vec<u32> = action.services.iter().map(|used| used.service).collect();
        let mut state = house.lock();
        loop {
            // What was outdated is started anew as soon as it is gone.
            house.begin(&mut state, &wanted);
            let slots = || wanted.iter().map(|&id| &state.slots[id as usize]);
            let failed = slots().filter(|slot| !slot.ending);
            if let Some(Phase::Failed(why)) =
                failed.map(|slot| &slot.phase).find(|phase| matches!(phase, Phase::Failed(_)))
            {
                return Err(why.clone());
            }
            if slots().all(|slot| !slot.ending && matches!(slot.phase, Phase::Ready(_))) {
                let stop = shared.bells(&action.name).branch();
                let stop = stop.map_err(|error| format!("cannot make a pipe: {error}"))?;
                state.users.insert(action.name.clone(), User { stop, services: wanted });
                return Ok(());
            }
            if state.is_over {
                return Err("interrupted while waiting for its services".to_owned());
            }
            state = house.wait(state, None);
        }
    }

    /// What to say of a service that died while the action ran with it.
    pub fn trouble(&self, action: &Action) -> Option<String> {
        let house = self.house.get().filter(|_| !action.services.is_empty())?;
        let state = house.lock();
        let trouble = |&id: &u32| match &state.slots[id as usize].phase {
            Phase::Failed(why) => Some(why.clone()),
            _ if state.slots[id as usize].is_theirs => house.lost(id, &state.slots[id as usize]),
            _ => None,
        };
        state.users.get(&action.name)?.services.iter().find_map(trouble)
    }

    /// The action no longer needs its services.
    pub fn release(&self, action: &Action) {
        if let Some(house) = self.house.get().filter(|_| !action.services.is_empty()) {
            house.lock().users.remove(&action.name);
        }
    }

    /// The bells for the commands of an action that runs with services.
    pub fn stop_of(&self, action: &Action) -> Option<Stop> {
        let house = self.house.get().filter(|_| !action.services.is_empty())?;
        house.lock().users.get(&action.name).map(|user| user.stop.clone())
    }

    /// The scope of an action, with the ports of its services if they run.
    pub fn with_ports(&self, action: &Action, scope: Scope) -> Scope {
        let Some(house) = self.house.get().filter(|_| !action.services.is_empty()) else { return scope };
        let state = house.lock();
        let port = |id: u32| match state.slots[id as usize].phase {
            Phase::Ready(port) => port,
            _ => None,
        };
        let ports: Vec<(String, u16)> = action
            .services
            .iter()
            .filter_map(|used| Some((used.name.clone(), port(used.service)?)))
            .collect();
        drop(state);
        let otherwise = scope.lookup();
        scope.with_lookup(Arc::new(Ports { ports, otherwise }))
    }

    /// Starts services that are not started yet, and what they need.
    pub fn begin(&self, wanted: &[u32]) {
        if let Some(house) = self.house.get() {
            house.begin(&mut house.lock(), wanted);
        }
    }

    /// How far every service has come, with what is told of those that run.
    pub fn phases(&self) -> Vec<(Phase, Option<Published>)> {
        let Some(house) = self.house.get() else { return Vec::new() };
        house.lock().slots.iter().map(|slot| (slot.phase.clone(), slot.published.clone())).collect()
    }

    /// Ends a service and those that need it.
    pub fn end_one(&self, id: u32) {
        let Some(house) = self.house.get() else { return };
        let mut state = house.lock();
        for at in 0..state.slots.len() {
            let number = u32::try_from(at).expect("fewer than 2^32 services");
            if with_needs(&house.services, [number]).contains(&id) {
                state.slots[at].ending = true;
            }
        }
        house.ring(&mut state);
        house.tell_changed(&mut state);
        // One that waits for what it needs waits no longer.
        house.changed.notify_all();
    }

    /// Makes ready for another run: what has ended may be started again.
    pub fn begin_again(&mut self) {
        self.elders.retain_mut(|elder| elder.house.get().is_some_and(|house| !house.lock().is_idle()));
        let Some(house) = self.house.get() else { return };
        let mut state = house.lock();
        state.is_over = false;
        state.users.clear();
        state.threads.retain(|thread| !thread.is_finished());
        for slot in &mut state.slots {
            let has_ended = matches!(slot.phase, Phase::Failed(_) | Phase::Over);
            if slot.stop.is_none() && (has_ended || slot.is_theirs && slot.phase != Phase::Starting) {
                *slot = Slot::default();
            }
        }
    }

    /// Services go on, but for those that failed: waits for that long until these are gone; whether they are.
    pub fn rest_within(&self, patience: Duration) -> bool {
        let Some(house) = self.house.get() else { return true };
        let until = Instant::now() + patience;
        let mut state = house.lock();
        loop {
            for slot in &mut state.slots {
                slot.ending |= slot.stop.is_some() && matches!(slot.phase, Phase::Failed(_));
            }
            house.ring(&mut state);
            let left = until.saturating_duration_since(Instant::now());
            if !state.slots.iter().any(|slot| slot.ending && slot.stop.is_some()) || left.is_zero() {
                return !left.is_zero();
            }
            state = house.wait(state, Some(left));
        }
    }

    /// These services, and those that need them, are not what they would be if they were started now: they are ended, and
    /// started again when they are needed.
    pub fn outdate(&self, names: &[&str]) {
        self.elders.iter().for_each(|elder| elder.outdate(names));
        let Some(house) = self.house.get() else { return };
        for (id, _) in
            (0..).zip(house.services.iter()).filter(|(_, service)| names.contains(&service.name.as_str()))
        {
            self.end_one(id);
        }
        let mut state = house.lock();
        for slot in state.slots.iter_mut().filter(|slot| slot.ending && slot.is_theirs) {
            *slot = Slot::default();
        }
    }

    /// What goes on of these services in a workspace that was opened again; what is declared otherwise there is ended.
    pub fn into_elders(mut self, services: &[Service]) -> Vec<Services> {
        let mut elders: Vec<Services> = std::mem::take(&mut self.elders)
            .into_iter()
            .flat_map(|elder| elder.into_elders(services))
            .collect();
        if let Some(house) = self.house.get() {
            let is_same =
                |old: &Service| services.iter().any(|new| new.name == old.name && new.digest == old.digest);
            for (id, _) in (0..).zip(house.services.iter()).filter(|(_, old)| !is_same(old)) {
                self.end_one(id);
            }
            if !house.lock().is_idle() {
                elders.push(self);
            }
        }
        elders
    }

    /// With services that go on from before.
    pub fn with_elders(elders: Vec<Services>) -> Self {
        Self { house: OnceLock::new(), elders }
    }

    /// Nobody waits for services any longer, and none is started; those that run go on.
    pub fn cancel(&self) {
        if let Some(house) = self.house.get() {
            house.lock().is_over = true;
            house.changed.notify_all();
        }
    }

    /// Waits for something to change, or for that long; whether nothing runs.
    pub fn wait(&self, patience: Duration) -> bool {
        let Some(house) = self.house.get() else { return true };
        let mut state = house.wait(house.lock(), Some(patience));
        house.ring(&mut state);
        state.is_idle()
    }

    /// Ends all services, each before those it needs, and waits for that long; whether everything is gone.
    pub fn end_within(&self, patience: Duration) -> bool {
        self.end_own_within(patience) && self.elders.iter().all(|elder| elder.end_within(patience))
    }

    fn end_own_within(&self, patience: Duration) -> bool {
        let Some(house) = self.house.get() else { return true };
        let until = Instant::now() + patience;
        let mut state = house.lock();
        state.is_over = true;
        state.slots.iter_mut().for_each(|slot| slot.ending = true);
        house.changed.notify_all();
        loop {
            house.ring(&mut state);
            if state.is_idle() {
                break;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = house.wait(state, Some(left));
        }
        let threads = std::mem::take(&mut state.threads);
        drop(state);
        for thread in threads {
            // A panic in it has been told as a failure of its service.
            let _ = thread.join();
        }
        true
    }

    /// Kills all services at once.
    pub fn kill(&self) {
        self.elders.iter().for_each(Self::kill);
        let Some(house) = self.house.get() else { return };
        house.lock().slots.iter().filter_map(|slot| slot.stop.as_ref()).for_each(Stop::kill);
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        // Only if the run did not come to its own end: nobody will look after them any more.
        while !self.end_within(Duration::from_millis(100)) {
            self.kill();
        }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            stop: None,
            rung: false,
            ending: false,
            life: None,
            ended: None,
            tail: Tail::default(),
            hold: None,
            published: None,
            is_theirs: false,
        }
    }
}

impl Slot {
    /// A failure in words, with the last lines.
    fn told(&self, name: &str, what: &str) -> String {
        let lines = self.tail.lines();
        let said = if lines.is_empty() { "; it said nothing" } else { "; it said last:" };
        format!("service `{name}` {what}{said}{lines}")
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.slots.iter().all(|slot| slot.stop.is_none() && slot.phase != Phase::Starting)
    }
}

impl House {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, patience: Option<Duration>) -> MutexGuard<'s, State> {
        match patience {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                self.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn name(&self, id: u32) -> &str {
        &self.services[id as usize].name
    }

    fn declaration(&self, id: u32) -> &decl::Service {
        self.services[id as usize].declaration(&self.manifests)
    }

    fn place(&self, id: u32) -> Place {
        Place::new(&self.memory, self.name(id))
    }

    fn begin(self: &Arc<Self>, state: &mut State, wanted: &[u32]) {
        if state.is_over {
            return;
        }
        for id in with_needs(&self.services, wanted.iter().copied()) {
            let slot = &mut state.slots[id as usize];
            if slot.ending && slot.stop.is_none() && matches!(slot.phase, Phase::Failed(_) | Phase::Over) {
                *slot = Slot::default();
            }
            if slot.phase != Phase::Idle {
                continue;
            }
            slot.phase = Phase::Starting;
            let house = Arc::clone(self);
            let thread = std::thread::Builder::new().name("service".into());
            match thread.spawn(move || start::start(&house, id)) {
                Ok(thread) => state.threads.push(thread),
                Err(error) => {
                    let why = format!("service `{}` gets no thread: {error}", self.name(id));
                    state.slots[id as usize].phase = Phase::Failed(why);
                }
            }
        }
    }

    /// Rings the bells of every service that is to end and that no running one needs.
    fn ring(&self, state: &mut State) {
        let is_needed = |state: &State, id: usize| {
            self.services.iter().zip(&state.slots).any(|(service, slot)| {
                slot.stop.is_some() && service.needs.iter().any(|need| need.service as usize == id)
            })
        };
        for id in 0..state.slots.len() {
            if state.slots[id].ending && !state.slots[id].rung && !is_needed(state, id) {
                self.ring_one(&mut state.slots[id], id);
            }
        }
    }

    fn ring_one(&self, slot: &mut Slot, id: usize) {
        let Some(stop) = &slot.stop else { return };
        slot.rung = true;
        let declared = self.services[id].declaration(&self.manifests);
        match declared.stop_signal.as_ref().map_or(Signal::TERM, |text| signal(&text.value)) {
            Signal::KILL => stop.kill(),
            signal => stop.end(signal),
        }
    }

    /// What to say of a service that another iact ran, if it is no longer what it was.
    fn lost(&self, id: u32, slot: &Slot) -> Option<String> {
        let now = self.place(id).look();
        let same = now.as_ref().map(|now| (now.holder, now.pid))
            == slot.published.as_ref().map(|was| (was.holder, was.pid));
        (!same).then(|| format!("service `{}` of `iact up` ended while it was needed", self.name(id)))
    }
}

/// A signal by the name the loader has checked.
fn signal(name: &str) -> Signal {
    match name {
        "SIGINT" => Signal::INT,
        "SIGQUIT" => Signal::QUIT,
        "SIGHUP" => Signal::HUP,
        "SIGKILL" => Signal::KILL,
        "SIGUSR1" => Signal::USR1,
        "SIGUSR2" => Signal::USR2,
        _ => Signal::TERM,
    }
}
