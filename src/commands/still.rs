//! Answering a build from the proof of a standstill, before anything is read that a graph is made of.
#![allow(clippy::disallowed_methods, reason = "shell: opens the workspace, asks the time")]

use crate::cli::{Asked, Build, Force, Typed};
use crate::engine::drive::Listener;
use crate::error::Result;
use crate::journal::ahead::Ahead;
use crate::reach::{self, Reach, Reached};
use crate::report::{Report, RunFinished, SCHEMA};
use crate::snapshot::{self, Snapshot};
use crate::standstill::{self, Look, Proof, variable};
use crate::workspace::{Caller, Given, Located, Place, locate};
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

/// What a proof says.
pub enum Answer {
    /// Nothing moved.
    Holds(Proof),
    /// A few files moved, by their number in it.
    Moved(Proof, Vec<usize>),
    /// There is none, or it does not say.
    Nothing,
}

/// A request that may be answered by a proof.
pub struct Still {
    root: OwnedFd,
    caller: Caller,
    located: Located,
    /// Where the proof lies.
    pub place: PathBuf,
}

impl Still {
    /// `None` for requests that have to be decided the long way.
    ///
    /// # Errors
    /// There is no workspace.
    pub fn of(typed: &Typed, build: &Build, asked: &Asked) -> Result<Option<Self>> {
        if build.dry_run || !matches!(build.force(), Force::Nothing) {
            return Ok(None);
        }
        let caller = Caller::of_process();
        let place = Place { directory: typed.place.directory.clone(), file: typed.place.file.clone() };
        let located = locate(&caller, &place)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(root) = rustix::fs::open(&located.root, flags, Mode::empty()) else { return Ok(None) };
        let mut request = Vec::new();
        let mut word = |word: &[u8]| {
            request.extend_from_slice(&(word.len() as u64).to_le_bytes());
            request.extend_from_slice(word);
        };
        word(located.start.as_os_str().as_bytes());
        word(located.file.as_os_str().as_bytes());
        word(if build.only { b"only" } else { b"" });
        let vars = asked.vars.iter().flat_map(|var| [&var.name, &var.value]);
        let lists: [Vec<&String>; 4] = [
            asked.goals.iter().collect(),
            build.tags().iter().collect(),
            vars.collect(),
            asked.args.iter().collect(),
        ];
        for list in lists {
            word(&(list.len() as u64).to_le_bytes());
            list.iter().for_each(|text| word(text.as_bytes()));
        }
        let place = standstill::place(&located.root.join(".iact"), &request);
        Ok(Some(Self { root, caller, located, place }))
    }

    /// What the proof says, if there is one.
    pub fn answer(&self) -> Answer {
        let Some(proof) = Proof::read(&self.place) else { return Answer::Nothing };
        let value = |name: &str| variable(self.caller.var(name).map(AsRef::as_ref));
        match proof.look(self.root.as_fd(), value) {
            Look::Holds => Answer::Holds(proof),
            Look::Moved(moved) => Answer::Moved(proof, moved),
            Look::Otherwise => Answer::Nothing,
        }
    }

    /// What depends on the files that moved, if that can be told and is little.
    pub fn reached(&self, proof: Proof, moved: Vec<usize>, given: Given) -> Option<Reached> {
        Reach::open(&reach::place(&self.place), proof, moved)?.load(&self.located, &self.caller, given)
    }

    /// The workspace as it was resolved for this request before, if nothing of it moved.
    pub fn snapshot(&self, given: Given) -> Option<Snapshot> {
        snapshot::read(&snapshot::place(&self.place), &self.located, &self.caller, given)
    }
}

/// Does something while the journal is read, if there is one that is long.
pub fn with_journal<T>(still: Option<&Still>, work: impl FnOnce() -> T) -> (T, Option<Ahead>) {
    let Some(still) = still.filter(|still| Ahead::is_worth_it(still.root.as_fd())) else {
        return (work(), None);
    };
    std::thread::scope(|scope| {
        let ahead = scope.spawn(|| Ahead::read(still.located.root.join(".iact/journal")));
        (work(), ahead.join().ok().flatten())
    })
}

/// Tells that everything is up to date.
pub fn report(proof: &Proof, goals: &[String], jobs: u32, listener: &mut dyn Listener) {
    let began = Instant::now();
    let actions = u32::try_from(proof.action_count()).unwrap_or(u32::MAX);
    listener.report(&Report::RunStarted { schema: SCHEMA, goals: goals.to_vec(), actions, jobs }, 0);
    if listener.wants_up_to_date() {
        for (name, fingerprint) in proof.actions() {
            listener.report(&standstill::up_to_date(name, fingerprint), 0);
        }
    }
    let duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let totals = RunFinished { ok: true, up_to_date: actions, duration_ms, ..RunFinished::default() };
    listener.report(&Report::RunFinished(totals), duration_ms);
}
