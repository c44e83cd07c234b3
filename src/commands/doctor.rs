//! `iact doctor`: what the targets need of this machine, whether it is there, and what helps if not.
//!
//! Invariant: changes nothing; runs nothing but programs whose version matters. What is optional, or what only
//! skipped targets need, is told and does not count.

use super::{End, answer, document, open, style};
use crate::cli::{Json, Typed};
use crate::engine::requires::{Checked, check, check_tools, show};
use crate::engine::when::refusal;
use crate::error::{Result, exit};
use crate::graph::names::number;
use crate::workspace::{Given, Workspace};
use serde_json::json;
use std::fmt::Write;

/// Shows every need; exit 4 if one is not met.
///
/// # Errors
/// Mistakes in the Iactfiles.
pub fn doctor(typed: &Typed, json: Json) -> Result<End> {
    let workspace = open(typed, Given::default())?;
    let all = || 0..number(workspace.graph.actions.len());
    let mut needs = check(&workspace, all());
    needs.extend(check_tools(&workspace, all()));
    let missing = |one: &Checked| one.state.is_err() && !is_skipped(&workspace, one);
    let code = if needs.iter().any(missing) { exit::REFUSED } else { exit::DONE };
    if json.json {
        let rows: Vec<_> = needs.iter().map(|one| told(&workspace, one)).collect();
        document(&rows)?;
        return Ok(End::Code(code));
    }
    let paint = style(typed).paint;
    let mut text = String::new();
    for one in &needs {
        let (mark, found) = match &one.state {
            Ok(found) => (paint.green("ok"), found),
            Err(why) if is_skipped(&workspace, one) => (paint.dim("absent"), why),
            Err(why) => (paint.red("missing"), why),
        };
        let targets = names(&workspace, one);
        let _ = writeln!(
            text,
            "{mark}  {}: {found}  {}",
            show(&one.requirement.need),
            paint.dim(&format!("({targets})"))
        );
        if let (Some(hint), Err(_)) = (&one.requirement.hint, &one.state) {
            let _ = writeln!(text, "    {} {hint}", paint.cyan("hint:"));
        }
    }
    if needs.is_empty() {
        text.push_str("no target needs anything of this machine\n");
    }
    answer(text)?;
    Ok(End::Code(code))
}

/// Whether only targets need it that are skipped: by `when`, or without it.
fn is_skipped(workspace: &Workspace, one: &Checked) -> bool {
    one.requirement.optional && one.state.is_err()
        || one.actions.iter().all(|&id| {
            let action = &workspace.graph.actions[id as usize];
            action.rare().when.as_ref().is_some_and(|when| refusal(workspace, action, when).is_some())
        })
}

fn names(workspace: &Workspace, one: &Checked) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<&str> =
        one.actions.iter().map(|&id| workspace.graph.declaration(id).name.value.as_str()).collect();
    names.dedup();
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn told(workspace: &Workspace, one: &Checked) -> serde_json::Value {
    let names: Vec<&String> =
        one.actions.iter().map(|&id| &workspace.graph.actions[id as usize].name).collect();
    json!({
        "need": show(&one.requirement.need),
        "ok": one.state.is_ok(),
        "found": one.state.as_ref().ok(),
        "problem": one.state.as_ref().err(),
        "hint": one.requirement.hint,
        "targets": names,
        "skipped": is_skipped(workspace, one),
    })
}
