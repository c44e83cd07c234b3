//! `confirm`: a person says yes, or a flag does, before anything runs.
//!
//! Who said yes to what is appended to `.iact/confirmed`, one JSON object per line: `target`, `question`, `who`,
//! `how` (`terminal`, `--yes` or `--approve`) and `unix_ms`.
//!
//! Invariant: only what would run is asked about; what was not confirmed does not run, even if the forecast
//! was wrong; what a flag says yes to is noted when it would run or, if that was not foretold, when it does. A cleanup that might run is asked about like anything else: later it may be too late.
#![allow(clippy::disallowed_methods, reason = "shell: appends to the record")]

use super::assess::Assessor;
use super::forecast::forecast;
use super::requires::refused;
use super::shared::Shared;
use crate::error::Result;
use crate::graph::action::Action;
use crate::report::Forecast;
use crate::workspace::Workspace;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;

/// What the command line said yes to.
#[derive(Clone, Debug, Default)]
pub struct Approval {
    /// `--yes`.
    pub all: bool,
    /// `--approve`, by the graph's ids.
    pub actions: Vec<u32>,
}

/// What may run.
#[derive(Clone, Debug, Default)]
pub struct Approved {
    /// Names of what was confirmed and noted.
    noted: BTreeSet<String>,
    /// What else a flag says yes to, and which.
    flagged: BTreeMap<String, &'static str>,
}

impl Approved {
    /// Lets an action run that has no question, or whose question was answered with yes.
    ///
    /// # Errors
    /// It was not, or that cannot be noted.
    pub fn admit(&self, workspace: &Workspace, action: &Action) -> Result<()> {
        let Some(question) = action.rare().confirm.as_ref().filter(|_| !self.noted.contains(&action.name))
        else {
            return Ok(());
        };
        match self.flagged.get(&action.name) {
            Some(how) => record(workspace, &action.name, question, how),
            None => Err(refused("it was not confirmed")),
        }
    }
}

/// Asks about everything that would run; what may. `ask` gives no answer where there is nobody.
///
/// # Errors
/// A no, or nobody to ask.
pub fn settle(
    shared: &Shared<'_>,
    assessor: &Assessor<'_, '_>,
    approval: &Approval,
    ask: &mut dyn FnMut(&str, &str) -> Option<bool>,
) -> Result<Approved> {
    let workspace = shared.workspace;
    let mut approved = Approved::default();
    let asks = |id: &u32| workspace.graph.actions[*id as usize].rare().confirm.is_some();
    if !assessor.plan.actions.iter().any(asks) {
        return Ok(approved);
    }
    for foretold in forecast(shared, assessor) {
        let id = assessor.plan.actions[foretold.node.index()];
        let action = &workspace.graph.actions[id as usize];
        let maybe = assessor.plan.conditions.contains_key(&foretold.node);
        let runs = foretold.forecast == Forecast::Run || maybe && foretold.forecast == Forecast::Skip;
        let Some(question) = &action.rare().confirm else { continue };
        let flag =
            if approval.all { Some("--yes") } else { approval.actions.contains(&id).then_some("--approve") };
        if !runs {
            approved.flagged.extend(flag.map(|flag| (action.name.clone(), flag)));
            continue;
        }
        if assessor.plan.skips.contains_key(&foretold.node) {
            continue;
        }
        let how = match flag {
            Some(flag) => flag,
            None => match ask(&action.name, question) {
                Some(true) => "terminal",
                Some(false) => return Err(refused(format!("`{}` was not confirmed", action.name))),
                None => {
                    let message = format!("`{}` asks first: {question}", action.name);
                    return Err(refused(message).hint(format!(
                        "answer on a terminal, or pass `--approve {}` or `--yes`",
                        action.name
                    )));
                }
            },
        };
        record(workspace, &action.name, question, how)?;
        approved.noted.insert(action.name.clone());
    }
    Ok(approved)
}

fn record(workspace: &Workspace, target: &str, question: &str, how: &str) -> Result<()> {
    let caller = &workspace.caller;
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| caller.var(name));
    let user = name.map(|name| name.to_string_lossy().into_owned());
    let uid = rustix::process::getuid().as_raw();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let who = format!("{} (uid {uid}) at {host}", user.unwrap_or_else(|| "somebody".to_owned()));
    let unix_ms = super::drive::unix_ms();
    let line = serde_json::json!({
        "target": target, "question": question, "who": who, "how": how, "unix_ms": unix_ms
    });
    let memory = workspace.memory();
    let written = std::fs::create_dir_all(&memory).and_then(|()| {
        let mut file = OpenOptions::new().append(true).create(true).open(memory.join("confirmed"))?;
        file.write_all(format!("{line}\n").as_bytes())
    });
    written.map_err(|error| refused("the confirmation cannot be recorded").because(error))
}
