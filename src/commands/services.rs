//! `iact down`, `iact ps`, `iact logs`: what is asked of services that somebody else runs.
//!
//! Invariant: whether a service runs is told by the kernel's lock that its holder has, never by a file.
#![allow(clippy::disallowed_methods, reason = "shell: logs, and waiting for somebody else")]

use super::{End, answer, document, open, style};
use crate::cli::{self, ServicesJson, Typed};
use crate::engine::service::hold::{Place, Published};
use crate::error::{Error, Kind, Result, exit};
use crate::graph::service;
use crate::ui::door;
use crate::ui::table::{Column, table};
use crate::workspace::{Given, Workspace};
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often to look whether a service has ended.
const LOOK: Duration = Duration::from_millis(20);
/// How much longer than its grace a service is waited for.
const BEYOND_GRACE_MS: u64 = 10_000;

/// The services that are meant: all of them if none is named.
///
/// # Errors
/// A name that no service has, or no service at all.
pub fn chosen(workspace: &Workspace, names: &[String]) -> Result<Vec<u32>> {
    let services = &workspace.graph.services;
    if services.is_empty() {
        return Err(Error::new(Kind::Usage, "this workspace has no services"));
    }
    if names.is_empty() {
        return Ok((0..crate::graph::names::number(services.len())).collect());
    }
    let find = |name: &String| {
        let nearer = service::find(services, workspace.nearest(), name);
        nearer.or_else(|| service::find(services, "", name)).ok_or_else(|| {
            let wrong = Error::new(Kind::Usage, format!("`{name}` is not a service"));
            wrong.suggest(name, services.iter().map(|service| service.name.as_str()))
        })
    };
    names.iter().map(find).collect()
}

fn place(workspace: &Workspace, id: u32) -> Place {
    Place::new(&workspace.memory(), &workspace.graph.services[id as usize].name)
}

/// `iact down`: asks whoever runs them to end them, and waits for it.
///
/// # Errors
/// A service that does not end, or is used by a build.
pub fn down(typed: &Typed, asked: &cli::Services) -> Result<End> {
    let workspace = open(typed, Given::default())?;
    let (mut waited, mut unstarted) = (Vec::new(), Vec::new());
    for id in chosen(&workspace, &asked.services)? {
        let place = place(&workspace, id);
        let Some(held) = place.look() else {
            if is_about_to_start(&workspace, id) {
                ask(&place, &workspace.graph.services[id as usize].name)?;
                unstarted.push((id, place));
            }
            continue;
        };
        if !held.up {
            let message =
                format!("`{}` is used by a build (process {}), which ends it", held.service, held.holder);
            return Err(Error::new(Kind::Environment, message));
        }
        ask(&place, &held.service)?;
        waited.push((id, place, held));
    }
    for (id, place) in unstarted {
        let name = &workspace.graph.services[id as usize].name;
        if let Some(held) = wait_unstarted(&workspace, id, &place) {
            // It was started just now, and may not have heard.
            ask(&place, name)?;
            waited.push((id, place, held));
        } else {
            door::print(format!("{name} ended\n"));
        }
    }
    for (id, place, held) in waited {
        wait(&workspace, id, &place, &held)?;
        door::print(format!("{} ended\n", held.service));
    }
    Ok(End::Code(exit::DONE))
}

fn ask(place: &Place, name: &str) -> Result<()> {
    place
        .ask_to_stop()
        .map_err(|error| Error::new(Kind::Environment, format!("cannot ask `{name}` to end")).because(error))
}

/// Whether an `iact up` will run it when what it needs is ready.
fn is_about_to_start(workspace: &Workspace, id: u32) -> bool {
    let name = &workspace.graph.services[id as usize].name;
    let ids = 0..crate::graph::names::number(workspace.graph.services.len());
    ids.filter_map(|other| place(workspace, other).look()).any(|held| held.up && held.waiting.contains(name))
}

/// Waits until its `iact up` has heard that it is not to start; what is told of it if it has started.
fn wait_unstarted(workspace: &Workspace, id: u32, place: &Place) -> Option<Published> {
    while place.has_unheard() && is_about_to_start(workspace, id) {
        std::thread::sleep(LOOK);
    }
    let held = place.look();
    if held.is_none() {
        // Nobody hears it any more.
        place.is_asked_to_stop();
    }
    held
}

fn wait(workspace: &Workspace, id: u32, place: &Place, held: &Published) -> Result<()> {
    let declared = workspace.graph.services[id as usize].declaration(&workspace.graph.manifests);
    let grace_ms = declared.stop_grace_ms.unwrap_or(crate::engine::shared::GRACE_MS);
    let until = Instant::now() + Duration::from_millis(grace_ms + BEYOND_GRACE_MS);
    while place.look().is_some_and(|now| now.pid == held.pid) {
        if Instant::now() > until {
            let message = format!("`{}` (process {}) does not end", held.service, held.pid);
            let hint = format!("it is held by process {}: end that", held.holder);
            return Err(Error::new(Kind::Environment, message).hint(hint));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// `iact ps`: every service, and what is known of those that run.
///
/// # Errors
/// Mistakes in an Iactfile.
pub fn ps(typed: &Typed, ps: &ServicesJson) -> Result<End> {
    let workspace = open(typed, Given::default())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    // A workspace without services has none to show; that is no mistake.
    let has_some = !workspace.graph.services.is_empty() || !ps.asked.services.is_empty();
    let ids = if has_some { chosen(&workspace, &ps.asked.services)? } else { Vec::new() };
    let name = |id: u32| workspace.graph.services[id as usize].name.as_str();
    let rows: Vec<(&str, Option<Published>)> =
        ids.into_iter().map(|id| (name(id), place(&workspace, id).look())).collect();
    let state = |held: &Option<Published>| match held {
        None => "stopped",
        Some(held) if held.ready => "ready",
        Some(_) => "starting",
    };
    if ps.json.json {
        let row = |(name, held): &(&str, Option<Published>)| {
            serde_json::json!({
                "service": name,
                "state": state(held),
                "port": held.as_ref().and_then(|held| held.port),
                "pid": held.as_ref().map(|held| held.pid),
                "holder": held.as_ref().map(|held| held.holder),
                "held_by": held.as_ref().map(|held| if held.up { "up" } else { "build" }),
                "started_unix_ms": held.as_ref().map(|held| held.started_unix_ms),
            })
        };
        return document(&rows.iter().map(row).collect::<Vec<_>>());
    }
    let columns = [
        ("SERVICE", false),
        ("STATE", false),
        ("PORT", true),
        ("PROCESS", true),
        ("SINCE", true),
        ("HELD BY", false),
    ];
    let columns = columns.map(|(title, right)| Column { title, right });
    let cells = |(name, held): &(&str, Option<Published>)| {
        let of = |text: &dyn Fn(&Published) -> String| held.as_ref().map(text).unwrap_or_default();
        let since = |held: &Published| {
            let ms = now_unix_ms.saturating_sub(held.started_unix_ms) / 1000 * 1000;
            crate::manifest::quantity::Duration { ms }.to_string()
        };
        vec![
            (*name).to_owned(),
            state(held).to_owned(),
            of(&|held| held.port.map_or_else(String::new, |port| port.to_string())),
            of(&|held| held.pid.to_string()),
            of(&since),
            of(&|held| format!("iact {} ({})", if held.up { "up" } else { "build" }, held.holder)),
        ]
    };
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    answer(if rows.is_empty() { String::new() } else { table(&columns, &rows, style(typed)) })
}

/// `iact logs`: what services said since they were started last.
///
/// # Errors
/// A named service without a log.
pub fn logs(typed: &Typed, asked: &cli::Services) -> Result<End> {
    let workspace = open(typed, Given::default())?;
    let ids = chosen(&workspace, &asked.services)?;
    let mut shown = 0;
    for &id in &ids {
        let name = &workspace.graph.services[id as usize].name;
        let log = place(&workspace, id).log();
        let mut file = match std::fs::File::open(&log) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                door::tell(format!("there is no log of `{name}`: it has not been started\n"));
                continue;
            }
            Err(error) => {
                let message = format!("the log of `{name}` cannot be read");
                return Err(Error::new(Kind::Environment, message).because(error));
            }
        };
        if ids.len() > 1 {
            door::tell(format!("{name}:\n"));
        }
        shown += 1;
        // What cannot be read any further has been shown as far as it goes.
        let _ = io::copy(&mut file, &mut door::Answer);
    }
    let code = if shown == 0 && !asked.services.is_empty() { exit::FAILED } else { exit::DONE };
    Ok(End::Code(code))
}
