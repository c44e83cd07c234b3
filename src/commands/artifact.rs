//! `iact artifact …`: the kept results of targets. `TARGET@N` is the N-th newest of each of the target's
//! instances.
//!
//! A target without generations has one as long as its last result is in the cache.
#![allow(clippy::disallowed_methods, reason = "shell: makes folders, asks the time")]

use super::{End, answer, document, open, style};
use crate::cli::{ArtifactVerb, Asked, Typed};
use crate::engine::drive::unix_ms;
use crate::engine::generations::{self, Generation};
use crate::engine::inquiry::Inquiry;
use crate::engine::lock::WorkspaceLock;
use crate::engine::run::{self, Memory};
use crate::error::{Error, Kind, Result, exit};
use crate::graph::action::Action;
use crate::path::is_beneath;
use crate::plan::{Node, Plan};
use crate::ui::phrase;
use crate::ui::table::{Column, table};
use crate::workspace::{Given, Workspace};
use iact_cache::{LocalStore, RestoreOptions, StoreError, StoredResult};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

/// Does what was asked for.
///
/// # Errors
/// A target or a generation that is not there; a cache or a workspace that cannot be used.
pub fn artifact(typed: &Typed, verb: &ArtifactVerb) -> Result<End> {
    let asked = match verb {
        ArtifactVerb::List { one, .. } => Asked { vars: one.vars.clone(), ..Asked::default() },
        ArtifactVerb::Verify { words } => Asked::new(words, &[]),
        _ => Asked::default(),
    };
    let vars = asked.vars.into_iter().map(|var| (var.name, var.value)).collect();
    let workspace = open(typed, Given { vars, args: Vec::new() })?;
    let read_only = !matches!(verb, ArtifactVerb::Pin { .. });
    let store = run::open_cache(&workspace, read_only).map_err(|why| wrong(&why))?;
    let kept = Kept { workspace: &workspace, store: &store };
    match verb {
        ArtifactVerb::List { one, json } => kept.list(typed, &one.target, json.json),
        ArtifactVerb::Get { target, into } => {
            let chosen = kept.choose(target)?;
            insist_on_room(&chosen, into)?;
            std::fs::create_dir_all(into).map_err(|error| wrong(&error))?;
            kept.restore(&chosen, into)?;
            // The stage was there only for a moment.
            let _ = std::fs::remove_dir(into.join(".iact/stage"));
            let _ = std::fs::remove_dir(into.join(".iact"));
            Ok(End::Code(exit::DONE))
        }
        ArtifactVerb::Restore { target } => {
            let chosen = kept.choose(target)?;
            insist_on_outputs(&chosen)?;
            let _lock = WorkspaceLock::acquire(&workspace.memory(), |_| {}).map_err(|error| wrong(&error))?;
            kept.restore(&chosen, &workspace.root)?;
            Ok(End::Code(exit::DONE))
        }
        ArtifactVerb::Verify { .. } => kept.verify(typed, &asked.goals),
        ArtifactVerb::Pin { target } => {
            for one in kept.choose(target)? {
                let owner = generations::owner(&workspace, &one.action.name);
                let digest = one.generation.digest;
                store
                    .pin(&digest, &owner)
                    .and_then(|()| generations::pin(&store, &owner, &digest))
                    .map_err(stored)?;
            }
            Ok(End::Code(exit::DONE))
        }
    }
}

fn wrong(why: &dyn std::fmt::Display) -> Box<Error> {
    Error::new(Kind::Environment, "the kept results cannot be used").because(why)
}

fn stored(error: StoreError) -> Box<Error> {
    wrong(&error)
}

/// What lies where an output would go is somebody's own.
fn insist_on_room(chosen: &[Chosen<'_>], into: &Path) -> Result<()> {
    let outputs = chosen.iter().flat_map(|one| &one.generation.result.outputs);
    let mut taken =
        outputs.map(|output| into.join(&output.path)).filter(|path| path.symlink_metadata().is_ok());
    let Some(path) = taken.next() else { return Ok(()) };
    let hint = "`iact artifact get` replaces nothing: move it away, or name another folder";
    Err(Error::new(Kind::Usage, format!("`{}` is there already", path.display())).hint(hint))
}

/// What the target does not declare today may be somebody's own by now.
fn insist_on_outputs(chosen: &[Chosen<'_>]) -> Result<()> {
    for one in chosen {
        let declared = |path: &str| one.action.outputs.iter().any(|output| is_beneath(path, &output.path));
        if let Some(output) = one.generation.result.outputs.iter().find(|output| !declared(&output.path)) {
            let (name, path) = (&one.action.name, &output.path);
            let message = format!("`{name}@{}` has `{path}`, which is no output of `{name}` now", one.number);
            let hint = format!("`iact artifact get {name}@{} DIR` writes it into a folder", one.number);
            return Err(Error::new(Kind::Usage, message).hint(hint));
        }
    }
    Ok(())
}

struct Kept<'w> {
    workspace: &'w Workspace,
    store: &'w LocalStore,
}

struct Chosen<'w> {
    id: u32,
    action: &'w Action,
    /// The newest is 1.
    number: usize,
    generation: Generation,
}

/// `TARGET@N`; without `@N` there is none.
fn numbered(written: &str) -> (&str, Option<usize>) {
    match written.rsplit_once('@') {
        Some((name, number)) if !number.is_empty() => match number.parse() {
            Ok(number) => (name, Some(number)),
            Err(_) => (written, None),
        },
        _ => (written, None),
    }
}

impl<'w> Kept<'w> {
    fn instances(&self, name: &str) -> Result<Vec<u32>> {
        let graph = &self.workspace.graph;
        let mut instances = Vec::new();
        for goal in graph.goal(self.workspace.nearest(), name)? {
            graph.each_member(goal, &mut |member| instances.push(member));
        }
        Ok(instances)
    }

    /// All generations of an instance, the newest first.
    fn all(&self, id: u32) -> Result<Vec<Chosen<'w>>> {
        let action = &self.workspace.graph.actions[id as usize];
        let owner = generations::owner(self.workspace, &action.name);
        let mut all = generations::list(self.store, &owner, unix_ms()).map_err(stored)?;
        if all.is_empty() {
            all.extend(self.last(action)?);
        }
        let chosen = |(at, generation)| Chosen { id, action, number: at + 1, generation };
        Ok(all.into_iter().enumerate().map(chosen).collect())
    }

    /// The last result, if it is in the cache.
    fn last(&self, action: &Action) -> Result<Option<Generation>> {
        let memory = Memory::open(self.workspace)?;
        let Some(record) = memory.journal.record(&action.name) else { return Ok(None) };
        let found = self.store.find(&record.fingerprint).map_err(stored)?;
        Ok(found.map(|(digest, result)| Generation { digest, result, is_pinned: false }))
    }

    /// What `TARGET@N` means; without a number, the newest.
    fn choose(&self, written: &str) -> Result<Vec<Chosen<'w>>> {
        let (name, number) = numbered(written);
        let number = number.unwrap_or(1);
        let mut chosen = Vec::new();
        for id in self.instances(name)? {
            let all = self.all(id)?;
            let (count, name) = (all.len(), &self.workspace.graph.actions[id as usize].name);
            let found = all.into_iter().find(|one| one.number == number).ok_or_else(|| {
                let there = match count {
                    0 => format!("nothing is kept of `{name}`"),
                    _ => format!(
                        "`{name}` has {}, no `@{number}`",
                        phrase::count(count as u64, "generation", "generations")
                    ),
                };
                Error::new(Kind::Usage, there).hint(format!("`iact artifact list {name}` shows what is kept"))
            })?;
            chosen.push(found);
        }
        Ok(chosen)
    }

    fn restore(&self, chosen: &[Chosen<'_>], into: &Path) -> Result<()> {
        let folder = iact_cache::Workspace::open(into).map_err(|error| wrong(&error))?;
        for one in chosen {
            put(self.store, &folder, &one.generation.result).map_err(|why| {
                Error::new(
                    Kind::Environment,
                    format!("`{}@{}` cannot be restored", one.action.name, one.number),
                )
                .because(why)
            })?;
        }
        Ok(())
    }

    fn list(&self, typed: &Typed, name: &str, as_json: bool) -> Result<End> {
        let mut all = Vec::new();
        for id in self.instances(name)? {
            all.extend(self.all(id)?);
        }
        let now_unix_ms = unix_ms();
        if as_json {
            let rows: Vec<_> = all.iter().map(|one| one.told(self.store, now_unix_ms)).collect();
            return document(&rows);
        }
        let column = |title, right| Column { title, right };
        let columns = [
            column("generation", false),
            column("age", true),
            column("took", true),
            column("size", true),
            column("", false),
            column("outputs", false),
        ];
        let row = |one: &Chosen<'_>| {
            let result = &one.generation.result;
            let outputs: Vec<&str> = result.outputs.iter().map(|output| output.path.as_str()).collect();
            vec![
                format!("{}@{}", one.action.name, one.number),
                phrase::duration(one.age_ms(now_unix_ms) / 1000 * 1000),
                phrase::duration(result.duration_ms),
                phrase::size(self.store.output_bytes(result)),
                if one.generation.is_pinned { "pinned".to_owned() } else { String::new() },
                outputs.join(" "),
            ]
        };
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        if rows.is_empty() {
            return answer(format!("nothing is kept of {name}\n"));
        }
        answer(table(&columns, &rows, style(typed)))
    }

    /// Restores each generation aside, which verifies every byte, and proves it with the target's `verify`.
    fn verify(&self, typed: &Typed, targets: &[String]) -> Result<End> {
        let mut chosen = Vec::new();
        for written in targets {
            match numbered(written) {
                (_, Some(_)) => chosen.extend(self.choose(written)?),
                (name, None) => {
                    for id in self.instances(name)? {
                        chosen.extend(self.all(id)?);
                    }
                }
            }
        }
        if targets.is_empty() {
            for (id, action) in (0..).zip(&self.workspace.graph.actions) {
                if action.rare().retain.is_some() {
                    chosen.extend(self.all(id)?);
                }
            }
        }
        let mut proven: Vec<u32> =
            chosen.iter().filter(|one| one.action.verify.is_some()).map(|one| one.id).collect();
        proven.dedup();
        let graph = &self.workspace.graph;
        let plan = Plan::new(graph.actions.len(), &proven, &graph.deps, &graph.after, true);
        let mut inquiry = Inquiry::open(self.workspace, &plan)?;
        inquiry.may_run()?;
        remove_copies(&self.workspace.memory());
        let mut text = String::new();
        let mut code = exit::DONE;
        for one in &chosen {
            let verdict = self.prove(&inquiry, one)?;
            let said = match &verdict {
                Ok(()) => "sound".to_owned(),
                Err(why) => format!("damaged: {why}"),
            };
            if verdict.is_err() {
                code = exit::STALE;
            }
            if verdict.is_err() || !typed.look.quiet {
                let _ = writeln!(text, "{}@{}  {said}", one.action.name, one.number);
            }
        }
        inquiry.close();
        answer(text)?;
        Ok(End::Code(code))
    }

    fn prove(&self, inquiry: &Inquiry<'_>, one: &Chosen<'_>) -> Result<std::result::Result<(), String>> {
        let memory = self.workspace.memory();
        std::fs::create_dir_all(&memory).map_err(|error| wrong(&error))?;
        let copy = tempfile::Builder::new().prefix(COPY).tempdir_in(memory).map_err(|error| wrong(&error))?;
        let _lock = lock_copy(copy.path());
        let folder = iact_cache::Workspace::open(copy.path()).map_err(|error| wrong(&error))?;
        if let Err(why) = put(self.store, &folder, &one.generation.result) {
            return Ok(Err(why));
        }
        let at = inquiry.plan.actions.iter().position(|&id| id == one.id);
        let node = at.and_then(|at| u32::try_from(at).ok()).map(Node);
        Ok(node.map_or(Ok(()), |node| inquiry.prove(node, copy.path(), &one.generation.result)))
    }
}

impl Chosen<'_> {
    fn age_ms(&self, now_unix_ms: u64) -> u64 {
        now_unix_ms.saturating_sub(self.generation.result.finished_unix_ms)
    }

    fn told(&self, store: &LocalStore, now_unix_ms: u64) -> serde_json::Value {
        let result = &self.generation.result;
        let outputs: Vec<_> = result.outputs.iter().map(|output| &output.path).collect();
        json!({
            "target": self.action.name,
            "generation": self.number,
            "finished_unix_ms": result.finished_unix_ms,
            "age_ms": self.age_ms(now_unix_ms),
            "duration_ms": result.duration_ms,
            "bytes": store.output_bytes(result),
            "outputs": outputs,
            "exports": result.exports.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            "digest": self.generation.digest.hex(),
            "pinned": self.generation.is_pinned,
        })
    }
}

/// Copies to be proven begin with this in the workspace's memory.
const COPY: &str = "verify-";

/// A copy is somebody's as long as he lives.
fn lock_copy(copy: &Path) -> Option<std::fs::File> {
    let lock = std::fs::File::open(copy).ok()?;
    lock.try_lock().ok()?;
    Some(lock)
}

/// Removes the copies of those who were ended.
fn remove_copies(memory: &Path) {
    let Ok(folder) = iact_cache::Workspace::open(memory) else { return };
    for entry in std::fs::read_dir(memory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(COPY) && lock_copy(&entry.path()).is_some() {
            // What stays is for the next one.
            let _ = folder.remove(&name);
        }
    }
}

fn put(
    store: &LocalStore,
    folder: &iact_cache::Workspace,
    result: &StoredResult,
) -> std::result::Result<(), String> {
    let known = |_: &[u8], _: &iact_cache::FileFacts| None;
    let options = RestoreOptions { known: &known, threads: 4, absent: false };
    folder.restore(store, &result.outputs, &options).map(drop).map_err(|error| error.to_string())
}
