//! `when` and optional requirements: which actions of a plan do not apply here and now.
//!
//! Invariant: asked once, before anything starts; what a run makes does not change the answer. A variable that
//! is set to nothing is set. What misses a requirement takes its dependents with it, for they would miss its work;
//! groups let go of it. To `when` dependents do not mind.
#![allow(clippy::disallowed_methods, reason = "shell: looks whether paths exist")]

use super::requires;
use crate::graph::action::Action;
use crate::graph::rare::When;
use crate::plan::{Node, Plan};
use crate::workspace::Workspace;
use std::collections::BTreeMap;

/// Notes in the plan what is skipped, and why.
pub fn ask(workspace: &Workspace, plan: &mut Plan) {
    plan.skips = skips(workspace, plan);
}

/// What of the plan is skipped here and now, and why.
pub fn skips(workspace: &Workspace, plan: &Plan) -> BTreeMap<Node, String> {
    let action = |node: Node| &workspace.graph.actions[plan.actions[node.index()] as usize];
    let mut skips = BTreeMap::new();
    for node in plan.nodes() {
        let refused =
            action(node).rare().when.as_ref().and_then(|when| refusal(workspace, action(node), when));
        skips.extend(refused.map(|why| (node, why)));
    }
    let asked = plan.nodes().filter(|node| !skips.contains_key(node));
    let lacking = requires::lacking(workspace, asked.map(|node| plan.actions[node.index()]));
    if !lacking.is_empty() {
        let mut without: BTreeMap<Node, String> = BTreeMap::new();
        for node in plan.nodes().filter(|node| !skips.contains_key(node) && !action(*node).is_group) {
            let on = || {
                let mut edges = plan.edges.get(node.index()).iter().filter(|edge| !edge.order_only);
                edges.find(|edge| without.contains_key(&edge.on))
            };
            let why = match lacking.get(&plan.actions[node.index()]) {
                Some(why) => Some(why.clone()),
                None => on().map(|edge| format!("`{}` is skipped", action(edge.on).name)),
            };
            without.extend(why.map(|why| (node, why)));
        }
        skips.extend(without);
    }
    skips
}

/// The first thing that does not hold.
pub fn refusal(workspace: &Workspace, action: &Action, when: &When) -> Option<String> {
    let machine = &workspace.machine;
    let other = |what: &str, here: &str, list: &[String]| {
        let wanted = list.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        (!list.is_empty() && !list.iter().any(|name| name == here))
            .then(|| format!("{what} is `{here}`, not {wanted}"))
    };
    let folder = workspace.root.join(&action.folder);
    let absent = || when.exists.iter().find(|path| !folder.join(path).exists());
    let unset = || when.env.iter().find(|name| workspace.caller.var(name).is_none());
    other("the system", &machine.os, &when.os)
        .or_else(|| other("the processor", &machine.arch, &when.arch))
        .or_else(|| absent().map(|path| format!("`{path}` does not exist")))
        .or_else(|| unset().map(|name| format!("`{name}` is not set")))
}
