//! `iact watch`, and `-w`: the goals of a build, again and again.

use super::build::{Goals, approval, force, given, jobs};
use super::{End, complain, open_for};
use crate::cli::{Build, Typed, Watch};
use crate::engine::confirm::Approval;
use crate::engine::run::Options;
use crate::error::{Error, Kind, Result};
use crate::plan::Plan;
use crate::report::Report;
use crate::ui::Screen;
use crate::ui::facts::Facts;
use crate::ui::look::Look;
use crate::watch::{self, Opened, Wiring};
use crate::workspace::{Caller, Workspace};

/// How long nothing may have moved before a build, if nothing else is said.
const QUIET_MS: u64 = 2;

/// `iact watch`.
///
/// # Errors
/// As [`watch::watch`].
pub fn watch(typed: &Typed, asked: &Watch) -> Result<End> {
    follow(typed, &asked.build, asked.finish, asked.debounce.unwrap_or(QUIET_MS))
}

/// `iact build --watch`.
///
/// # Errors
/// As [`watch::watch`].
pub fn build(typed: &Typed, build: &Build) -> Result<End> {
    follow(typed, build, false, QUIET_MS)
}

fn follow(typed: &Typed, build: &Build, finish: bool, quiet_ms: u64) -> Result<End> {
    let look = Look::new(&typed.look, build.output, &Facts::of_process());
    // Its folder by name: if that is replaced, the new one is meant.
    let caller = Caller::of_process();
    let screen = || Screen::new(&look, build.json, build.summary.as_deref());
    let say = |message: String| screen().report(&Report::Warning { message }, 0);
    let wiring = Wiring {
        open: &|| opened(caller.clone(), typed, build),
        screen: &screen,
        complain: &|error| complain(typed, error),
        say: &say,
        finish,
        quiet_us: quiet_ms.saturating_mul(1_000),
    };
    watch::watch(&wiring).map(End::Signal)
}

fn opened(caller: Caller, typed: &Typed, build: &Build) -> Result<Opened> {
    let asked = build.asked();
    let workspace = open_for(caller, typed, given(&asked))?;
    let goals = Goals::of(&workspace, &asked, build.tags())?;
    let plan = goals.plan_with_cleanups(&workspace, build.only);
    workspace.graph.refuse_unused(&workspace.given.vars, &plan.actions)?;
    let approval = approval(&workspace, build)?;
    refuse_unapproved(&workspace, &plan, &approval)?;
    let options = Options {
        jobs: jobs(build),
        keep_going: build.keep_going,
        force: force(&workspace, &plan, (&build.force(), build.only))?,
        cache: !build.no_cache,
        goals: goals.names,
        approval,
        proof: None,
    };
    Ok(Opened { workspace, plan, options })
}

/// Nobody is asked each time something is saved: what wants to be confirmed has to be approved by name, or all of it.
fn refuse_unapproved(workspace: &Workspace, plan: &Plan, approval: &Approval) -> Result<()> {
    for id in &plan.actions {
        let action = &workspace.graph.actions[*id as usize];
        if action.rare().confirm.is_some() && !approval.all && !approval.actions.contains(id) {
            let name = &action.name;
            let message = format!("`{name}` wants to be confirmed, and is not watched without an approval");
            return Err(Error::new(Kind::Refused, message).hint(format!("give `--approve {name}`")));
        }
    }
    Ok(())
}
