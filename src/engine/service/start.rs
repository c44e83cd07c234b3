//! Starts one service: waits for what it needs, takes the right to run it, gives it a port and a scratch
//! folder, runs it, and tries until it is ready.
//!
//! Invariant: whatever goes wrong ends as [`Phase::Failed`] with the service's name in the message, and with its
//! process asked to end; its scratch folder, its log and what is told of it are given up only after its whole
//! tree is gone.
#![allow(clippy::disallowed_methods, reason = "shell: threads, time, files, processes")]

use super::data::Data;
use super::hold::{Hold, Place, Taken};
use super::ports::{self, Ports};
use super::tail::Tail;
use super::{House, Phase, ready};
use crate::engine::job::failure;
use crate::engine::shared::GRACE_MS;
use crate::engine::spawn::{End, Launch, Stdin, Stop};
use crate::graph::service::{self, Ready, Texts};
use crate::manifest::decl::{Port, Service as Declared};
use crate::manifest::quantity;
use crate::report::Stream;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a service may take to get ready if nothing is said.
const TIMEOUT_MS: u64 = 60_000;
/// The first and the longest pause between tries if nothing is said.
const PAUSE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(200)];
/// How long the service of a killed holder may take to be gone.
const ORPHANED: Duration = Duration::from_secs(15);
/// How often to look whether somebody else's service is ready.
const LOOK: Duration = Duration::from_millis(50);

/// Starts a service whose phase is [`Phase::Starting`] and says what came of it.
pub(super) fn start(house: &Arc<House>, id: u32) {
    let outcome = catch_unwind(AssertUnwindSafe(|| try_start(house, id)));
    let outcome = outcome.unwrap_or_else(|_| Err(format!("service `{}`: a bug in iact", house.name(id))));
    let mut state = house.lock();
    let slot = &mut state.slots[id as usize];
    // It may have died a moment after it was ready.
    slot.phase = match (outcome, &slot.ended) {
        (Ok(_), Some(how)) => {
            Phase::Failed(slot.told(house.name(id), &format!("ended as soon as it was ready: {how}")))
        }
        (Ok(port), None) => Phase::Ready(port),
        (Err(_), _) if slot.ending => Phase::Over,
        (Err(why), _) => Phase::Failed(why),
    };
    if matches!(slot.phase, Phase::Failed(_)) && !slot.rung {
        house.ring_one(slot, id as usize);
    }
    house.tell_changed(&mut state);
    drop(state);
    house.changed.notify_all();
}

fn try_start(house: &Arc<House>, id: u32) -> Result<Option<u16>, String> {
    let name = house.name(id);
    let needed = needed_ports(house, id)?;
    let say = |why: String| format!("service `{name}` {why}");
    let place = house.place(id);
    let hold = match take(house, id, &place).map_err(say)? {
        Ok(hold) => hold,
        Err(port) => return Ok(port),
    };
    let declared = house.declaration(id);
    let port = port(house, declared).map_err(say)?;
    let data = Data::make(house, id, &place).map_err(say)?;
    let texts = render(house, id, (port, &needed), &data).map_err(say)?;
    let cwd = cwd(house, id, &texts).map_err(say)?;
    let folder = house.services[id as usize].folder.as_str();
    let env = environment((house, folder), declared, &texts).map_err(say)?;
    let pattern = match &texts.ready {
        Some(Ready::Log(pattern)) => {
            Some(regex::bytes::Regex::new(pattern).map_err(|error| say(error.to_string()))?)
        }
        _ => None,
    };
    let pipes = |error: std::io::Error| say(format!("cannot be started: {error}"));
    let (stop, life) = (Stop::new().map_err(pipes)?, house.stop.branch().map_err(pipes)?);
    {
        let mut state = house.lock();
        if state.is_over || state.slots[id as usize].ending {
            return Err(say("was not started: interrupted".to_owned()));
        }
        let slot = &mut state.slots[id as usize];
        (slot.stop, slot.life, slot.hold) = (Some(stop.clone()), Some(life.clone()), Some(hold));
        (slot.ended, slot.tail) = (None, Tail::of(pattern));
    }
    let process = Process {
        house: Arc::clone(house),
        id,
        argv: texts.argv.iter().map(OsString::from).collect(),
        env,
        cwd,
        stop,
        port,
        place,
        data: Some(data),
    };
    let tries = Tries {
        house,
        id,
        life,
        ready: texts.ready,
        port,
        cwd: process.cwd.clone(),
        env: process.env.clone(),
    };
    let thread = std::thread::Builder::new().name(format!("service {name}")).spawn(move || process.run());
    house.lock().threads.push(thread.map_err(pipes)?);
    tries.until_ready().map(|()| port)
}

/// Waits for the services it needs; their ports.
fn needed_ports(house: &House, id: u32) -> Result<Vec<(String, u16)>, String> {
    let needs = &house.services[id as usize].needs;
    let mut state = house.lock();
    loop {
        let mut ports = Vec::new();
        let mut waits = false;
        for need in needs {
            let slot = &state.slots[need.service as usize];
            match &slot.phase {
                _ if slot.ending => waits = true,
                Phase::Ready(port) => ports.extend(port.map(|port| (need.name.clone(), port))),
                Phase::Failed(why) => {
                    return Err(format!("service `{}` cannot start: {why}", house.name(id)));
                }
                Phase::Idle | Phase::Starting | Phase::Over => waits = true,
            }
        }
        if state.is_over || state.slots[id as usize].ending {
            return Err(format!("service `{}` was not started: interrupted", house.name(id)));
        }
        if !waits {
            return Ok(ports);
        }
        state = house.wait(state, None);
    }
}

/// The right to run the service, or the port of somebody else's that is the same.
fn take(house: &House, id: u32, place: &Place) -> Result<Result<Hold, Option<u16>>, String> {
    let begin = Instant::now();
    let digest = hex(&house.services[id as usize].digest);
    loop {
        let theirs = match Hold::take(place).map_err(|error| format!("cannot be locked: {error}"))? {
            Taken::Ours(hold) => {
                house.children.hold_if_killed(hold.file());
                return Ok(Ok(hold));
            }
            Taken::Theirs(theirs) => theirs,
        };
        match theirs {
            // Its supervisor ends it, and it is free; who is not seen from here may live all the same.
            Some(theirs) if theirs.is_orphaned() && begin.elapsed() < ORPHANED => {}
            Some(theirs) if house.is_up && theirs.up => {
                return Err(format!("is up already (process {})", theirs.holder));
            }
            Some(theirs) if theirs.digest != digest && theirs.up => {
                return Err(format!(
                    "runs in another definition, by `iact up` (process {}): `iact down {}` ends it",
                    theirs.holder, theirs.service
                ));
            }
            Some(theirs) if !house.is_up && theirs.ready && theirs.digest == digest => {
                let port = theirs.port;
                let mut state = house.lock();
                let slot = &mut state.slots[id as usize];
                (slot.published, slot.is_theirs) = (Some(theirs), true);
                return Ok(Err(port));
            }
            _ => {}
        }
        if !house.is_up && begin.elapsed() > Duration::from_millis(timeout_ms(house.declaration(id))) {
            return Err("is held by another iact and does not get ready".to_owned());
        }
        let state = house.lock();
        if state.is_over || state.slots[id as usize].ending {
            return Err("was not started: interrupted".to_owned());
        }
        drop(house.wait(state, Some(LOOK)));
    }
}

fn port(house: &House, declared: &Declared) -> Result<Option<u16>, String> {
    match declared.port {
        None => Ok(None),
        Some(Port::Fixed(port)) if ports::is_taken(port) => Err(format!(
            "cannot start: port {port} is taken, somebody else listens there; end that, or declare `port = \"auto\"`"
        )),
        Some(Port::Fixed(port)) => Ok(Some(port)),
        Some(Port::Auto) => {
            let mut state = house.lock();
            let port = ports::free(&state.ports)?;
            state.ports.push(port);
            Ok(Some(port))
        }
    }
}

fn render(
    house: &House,
    id: u32,
    ports: (Option<u16>, &[(String, u16)]),
    data: &Data,
) -> Result<Texts, String> {
    let service = &house.services[id as usize];
    let (own, needed) = ports;
    let port = own.map(|port| port.to_string()).unwrap_or_default();
    let mut layer = service::own_layer(house.declaration(id), &port, &data.path.to_string_lossy());
    layer.set_text("workspace", house.root.to_string_lossy());
    let otherwise = service.scope.lookup();
    let ports = Ports { ports: needed.to_vec(), otherwise };
    let scope = service.scope.with_layer(Arc::new(layer)).with_lookup(Arc::new(ports));
    service::texts(&house.manifests, &house.templates, service, &scope).map_err(|wrong| wrong.message)
}

fn cwd(house: &House, id: u32, texts: &Texts) -> Result<PathBuf, String> {
    if texts.cwd.starts_with('/') {
        return Ok(PathBuf::from(&texts.cwd));
    }
    let folder = &house.services[id as usize].folder;
    if texts.cwd.is_empty() {
        return Ok(house.root.join(folder));
    }
    let normal = crate::path::normalise(folder, &texts.cwd).map_err(|why| format!("`cwd`: {why}"))?;
    Ok(house.root.join(normal.path))
}

/// The whole environment of a service: its secrets come last, so that nothing hides them.
fn environment(
    (house, folder): (&House, &str),
    declared: &Declared,
    texts: &Texts,
) -> Result<Vec<(OsString, OsString)>, String> {
    let mut all = house.passed.clone();
    let set = texts.env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let mut secrets = Vec::with_capacity(declared.secrets.len());
    for text in &declared.secrets {
        let value = house
            .secrets
            .get(folder, &text.value)
            .ok_or_else(|| format!("needs the secret `{}`, which is not set", text.value))?;
        secrets.push((OsString::from(&text.value), value.clone()));
    }
    for (name, value) in set.chain(secrets) {
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
    }
    Ok(all)
}

/// A service's process, on a thread of its own.
struct Process {
    house: Arc<House>,
    id: u32,
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    stop: Stop,
    port: Option<u16>,
    place: Place,
    data: Option<Data>,
}

impl Process {
    fn run(self) {
        let declared = self.house.declaration(self.id);
        let launch = Launch {
            argv: &self.argv,
            cwd: &self.cwd,
            env: &self.env,
            timeout_ms: None,
            grace_ms: declared.stop_grace_ms.unwrap_or(GRACE_MS),
            stdin: Stdin::Null,
        };
        // A log that cannot be written is missed by nobody but its reader; the last lines are kept anyhow.
        let mut log = File::create(self.place.log()).ok();
        let mut tell = |bytes: &[u8]| {
            if let Some(file) = &mut log
                && file.write_all(bytes).is_err()
            {
                log = None;
            }
            if self.house.lock().slots[self.id as usize].tail.add(bytes) {
                self.house.changed.notify_all();
            }
        };
        let secrets = &self.house.secrets;
        let mut maskers = secrets.masker().zip(secrets.masker());
        let mut output = |stream, bytes: &[u8]| match (&mut maskers, stream) {
            (None, _) => tell(bytes),
            (Some((out, _)), Stream::Stdout) => tell(&out.write(bytes)),
            (Some((_, err)), Stream::Stderr) => tell(&err.write(bytes)),
        };
        let mut started = |pid| self.house.tell_started(self.id, pid, self.port);
        let ended = self.house.children.run_whole(&launch, &self.stop, &mut output, &mut started);
        for mut masker in maskers.into_iter().flat_map(|(out, err)| [out, err]) {
            tell(&masker.finish());
        }
        self.ended(&ended.end);
    }

    /// Its process has ended, and with it its users.
    fn ended(&self, end: &End) {
        let how = failure(end).unwrap_or_else(|| "exit 0".to_owned());
        let mut state = self.house.lock();
        let slot = &mut state.slots[self.id as usize];
        slot.ended = Some(how.clone());
        if let Some(life) = slot.life.take() {
            life.kill();
        }
        let name = self.house.name(self.id);
        if slot.ending {
            slot.phase = Phase::Over;
        } else if matches!(slot.phase, Phase::Ready(_)) {
            slot.phase = Phase::Failed(slot.told(name, &format!("ended while it was needed: {how}")));
            let users = state.users.values().filter(|user| user.services.contains(&self.id));
            users.for_each(|user| user.stop.end(rustix::process::Signal::TERM));
        }
        drop(state);
        self.house.changed.notify_all();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.data = None;
        let mut state = self.house.lock();
        let slot = &mut state.slots[self.id as usize];
        slot.ended.get_or_insert_with(|| "a bug in iact".to_owned());
        (slot.hold, slot.stop) = (None, None);
        drop(state);
        self.house.changed.notify_all();
    }
}

/// The tries at a service that runs.
struct Tries<'h> {
    house: &'h House,
    id: u32,
    life: Stop,
    ready: Option<Ready>,
    port: Option<u16>,
    cwd: PathBuf,
    env: Vec<(OsString, OsString)>,
}

fn timeout_ms(declared: &Declared) -> u64 {
    declared.ready.as_ref().and_then(|ready| ready.timeout_ms).unwrap_or(TIMEOUT_MS)
}

impl Tries<'_> {
    /// Tries until it is ready, ends, or its time is over. Without a `ready` of its own a service with a port is
    /// ready when somebody listens there, and one without is at once.
    fn until_ready(&self) -> Result<(), String> {
        let begin = Instant::now();
        let declared = self.house.declaration(self.id);
        let timeout_ms = timeout_ms(declared);
        let limit = Duration::from_millis(timeout_ms);
        let interval = declared.ready.as_ref().and_then(|ready| ready.interval_ms).map(Duration::from_millis);
        let mut pause = interval.unwrap_or(PAUSE[0]);
        let mut last = String::new();
        loop {
            self.lives()?;
            match self.attempt(limit.saturating_sub(begin.elapsed())) {
                Ok(()) => return self.lives(),
                // What a try cut short by the limit says is less than what one before it said.
                Err(why) if last.is_empty() || begin.elapsed() < limit => last = why,
                Err(_) => {}
            }
            let left = limit.saturating_sub(begin.elapsed());
            if left.is_zero() {
                break;
            }
            self.pause(pause.min(left))?;
            pause = interval.unwrap_or((pause * 2).min(PAUSE[1]));
        }
        self.lives()?;
        let limit = quantity::Duration { ms: timeout_ms };
        let state = self.house.lock();
        let last = if last.is_empty() { String::new() } else { format!(" ({last})") };
        let what = format!("was not ready within {limit}{last}");
        Err(state.slots[self.id as usize].told(self.house.name(self.id), &what))
    }

    /// Whether it has neither ended nor is to end.
    fn lives(&self) -> Result<(), String> {
        let state = self.house.lock();
        let slot = &state.slots[self.id as usize];
        let name = self.house.name(self.id);
        if state.is_over || slot.ending {
            return Err(format!("service `{name}` was not ready yet: interrupted"));
        }
        match &slot.ended {
            Some(how) => Err(slot.told(name, &format!("ended before it was ready: {how}"))),
            None => Ok(()),
        }
    }

    fn pause(&self, pause: Duration) -> Result<(), String> {
        let until = Instant::now() + pause;
        loop {
            self.lives()?;
            let state = self.house.lock();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.slots[self.id as usize].tail.matched {
                return Ok(());
            }
            if state.is_over || state.slots[self.id as usize].ended.is_some() {
                continue;
            }
            drop(self.house.wait(state, Some(left)));
        }
    }

    fn attempt(&self, left: Duration) -> Result<(), String> {
        match (&self.ready, self.port) {
            (Some(Ready::Tcp(address)), _) => ready::connect(address).map(drop),
            (Some(Ready::Http(url)), _) => ready::get(url),
            (Some(Ready::Log(pattern)), _) => {
                let matched = self.house.lock().slots[self.id as usize].tail.matched;
                if matched { Ok(()) } else { Err(format!("no line matches `{pattern}`")) }
            }
            (Some(Ready::Run(argv)), _) => self.run(argv, left),
            (None, Some(port)) => ready::connect(&format!("127.0.0.1:{port}")).map(drop),
            (None, None) if self.house.lock().slots[self.id as usize].published.is_some() => Ok(()),
            (None, None) => Err("it is just being started".to_owned()),
        }
    }

    fn run(&self, argv: &[String], left: Duration) -> Result<(), String> {
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        let launch = Launch {
            argv: &argv,
            cwd: &self.cwd,
            env: &self.env,
            timeout_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)),
            grace_ms: 0,
            stdin: Stdin::Null,
        };
        let mut said = Tail::default();
        let ended = self.house.children.run(&launch, &self.life, &mut |_, bytes| {
            said.add(bytes);
        });
        match failure(&ended.end) {
            None => Ok(()),
            Some(how) => Err(format!("its `ready` command: {how}{}", said.lines())),
        }
    }
}

pub(super) fn hex(digest: &[u8; 32]) -> String {
    blake3::Hash::from(*digest).to_hex().to_string()
}
