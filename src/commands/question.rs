//! `-n`, `iact status`: what a build would do, without doing it.

use super::build::{Goals, given};
use super::{End, answer, open};
use crate::cli::{Status, Typed};
use crate::decision::Reason;
use crate::engine::assess::Force;
use crate::engine::forecast::Foretold;
use crate::engine::inquiry::Inquiry;
use crate::engine::run::Options;
use crate::error::{Result, exit};
use crate::plan::Plan;
use crate::report::{Forecast, Report, RunFinished, SCHEMA};
use crate::ui::{Screen, phrase};
use crate::workspace::Workspace;
use std::fmt::Write;

/// `iact build -n`.
///
/// # Errors
/// As [`Inquiry::open`].
pub fn dry_run(workspace: &Workspace, plan: &Plan, options: &Options, screen: &mut Screen) -> Result<()> {
    let inquiry = Inquiry::open(workspace, plan)?;
    let inquiry = if options.cache { inquiry } else { inquiry.without_cache() };
    let all = inquiry.forecast(&options.force);
    let started = Report::RunStarted {
        schema: SCHEMA,
        goals: options.goals.clone(),
        actions: u32::try_from(all.len()).expect("fewer than 2^32 actions"),
        jobs: options.jobs,
    };
    screen.report(&started, 0);
    for one in all {
        let target = workspace.graph.actions[plan.actions[one.node.index()] as usize].name.clone();
        if let Some(trouble) = one.trouble.filter(|_| one.forecast != Forecast::Skip) {
            screen.report(&Report::Warning { message: format!("`{target}`: {trouble}") }, 0);
        }
        screen.report(&Report::Planned { target, decision: one.forecast, reason: one.reason }, 0);
    }
    screen.report(&Report::RunFinished(RunFinished { ok: true, ..RunFinished::default() }), 0);
    Ok(())
}

/// `iact status`: which goals are stale; exit 3 if one is.
///
/// # Errors
/// As [`Inquiry::open`].
pub fn status(typed: &Typed, status: &Status) -> Result<End> {
    let asked = status.goals.asked();
    let workspace = open(typed, given(&asked))?;
    let goals = Goals::asked_about(&workspace, &asked, &status.goals.tags)?;
    let plan = goals.plan(&workspace, false);
    workspace.graph.refuse_unused(&workspace.given.vars, &plan.actions)?;
    let all = Inquiry::open(&workspace, &plan)?.forecast(&Force::Nothing);
    let name = |one: &Foretold| &workspace.graph.actions[plan.actions[one.node.index()] as usize];
    // A target without inputs always runs, and so does a cleanup that is called for; neither is ever stale.
    let idle = |one: &Foretold| matches!(one.forecast, Forecast::UpToDate | Forecast::Skip);
    let stale = |one: &&Foretold| {
        let is_called = plan.conditions.contains_key(&one.node) && one.reason == Some(Reason::Always);
        !idle(one) && !is_called && name(one).inputs.is_some()
    };
    let mut text = String::new();
    if status.json.json {
        let rows: Vec<serde_json::Value> = all
            .iter()
            .map(|one| serde_json::json!({"target": name(one).name, "decision": one.forecast, "reason": one.reason}))
            .collect();
        let _ = writeln!(text, "{}", serde_json::Value::from(rows));
    } else {
        for one in all.iter().filter(stale) {
            let reason = one.reason.as_ref().map(phrase::reason).or(one.trouble.clone()).unwrap_or_default();
            let state = if one.forecast == Forecast::Restore { "stale, in the cache" } else { "stale" };
            let _ = writeln!(text, "{}  {state}: {reason}", name(one).name);
        }
    }
    let code = if all.iter().any(|one| stale(&one)) { exit::STALE } else { exit::DONE };
    answer(text)?;
    Ok(End::Code(code))
}
