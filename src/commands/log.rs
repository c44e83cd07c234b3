//! `iact log`: what a target's command wrote when it ran last, each stream to its own.
//!
//! Invariant: nothing is run or written. A log that is not in the workspace any more is read from the cache, if its result is
//! there: standard output, then standard error, since a result keeps them apart.

use super::build::{Goals, given};
use super::{End, open};
use crate::cli::{Asked, One, Typed};
use crate::engine::inquiry::known_as;
use crate::engine::run::open_cache;
use crate::engine::shared::log_stem;
use crate::error::{Error, Kind, Result, exit};
use crate::log::{LogReader, Replayed};
use crate::report::Stream;
use crate::ui::door::{self, Pipe};
use crate::workspace::Workspace;
use iact_cache::Store;
use std::io::{self, Write};

/// What was found of a log.
enum Found {
    /// It was shown.
    Shown,
    /// The command wrote nothing.
    Silent,
    /// Nobody knows.
    Nothing,
}

/// Shows the logs of a target's instances.
///
/// # Errors
/// A target that nobody has, no log of any instance.
pub fn log(typed: &Typed, one: &One) -> Result<End> {
    let asked = Asked { goals: vec![one.target.clone()], vars: one.vars.clone(), args: Vec::new() };
    let workspace = open(typed, given(&asked))?;
    let goals = Goals::of(&workspace, &asked, &[])?;
    let mut ids = Vec::new();
    for goal in goals.actions {
        workspace.graph.each_member(goal, &mut |member| ids.push(member));
    }
    workspace.graph.refuse_unused(&workspace.given.vars, &ids)?;
    let mut nothing = 0;
    for &id in &ids {
        let name = &workspace.graph.actions[id as usize].name;
        if ids.len() > 1 {
            door::tell(format!("{name}:\n"));
        }
        match replay(&workspace, id)? {
            Found::Shown => {}
            Found::Silent => door::tell(format!("`{name}` wrote nothing when it ran\n")),
            Found::Nothing => {
                nothing += 1;
                door::tell(format!("there is no log of `{name}`\n"));
            }
        }
    }
    if nothing == ids.len() {
        return Err(Error::new(Kind::Environment, format!("`{}` has no log", one.target))
            .hint(format!("`iact build {}` makes one", one.target)));
    }
    Ok(End::Code(exit::DONE))
}

fn replay(workspace: &Workspace, id: u32) -> Result<Found> {
    let name = &workspace.graph.actions[id as usize].name;
    let unreadable = |error: io::Error| {
        Error::new(Kind::Environment, format!("the log of `{name}` cannot be read")).because(error)
    };
    match LogReader::open(&workspace.memory().join("log").join(log_stem(name))) {
        Ok(log) => {
            let show = |stream, bytes: &[u8]| {
                door::write(if stream == Stream::Stdout { Pipe::Stdout } else { Pipe::Stderr }, bytes);
                Ok(())
            };
            if log.replay(show).map_err(unreadable)? == Replayed::Prefix {
                door::tell(format!("the log of `{name}` ends here: it was cut off\n"));
            }
            Ok(Found::Shown)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => cached(workspace, id),
        Err(error) => Err(unreadable(error)),
    }
}

/// The log of a result in the cache.
fn cached(workspace: &Workspace, id: u32) -> Result<Found> {
    let known = known_as(workspace, id)?;
    let nothing = if known.was_silent { Found::Silent } else { Found::Nothing };
    let Ok(store) = open_cache(workspace, true) else { return Ok(nothing) };
    let found = known.hashes.iter().find_map(|hash| store.find(hash).ok().flatten());
    let Some((_, result)) = found else { return Ok(nothing) };
    let mut whole = true;
    for (blob, pipe) in [(&result.stdout, Pipe::Stdout), (&result.stderr, Pipe::Stderr)] {
        whole &= blob.is_none_or(|blob| store.read_blob(&blob, &mut Shown(pipe)).is_ok());
    }
    Ok(match result.stdout.or(result.stderr) {
        _ if !whole => Found::Nothing,
        Some(_) => Found::Shown,
        None => Found::Silent,
    })
}

struct Shown(Pipe);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        door::write(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
