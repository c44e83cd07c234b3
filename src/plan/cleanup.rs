//! `on_failure` and `finally`: targets that run after others, if something happened to those.
//!
//! Invariant: a cleanup is a node like any other, once in a plan however many targets name it; it waits for
//! all of those, and what runs in the end runs after what runs on failure. What only cleanups depend on is
//! conditional as well, and waits with them. Refused: nodes that are added while a run goes on; what a run may
//! need is known, checked and confirmed before it starts.

use super::{Lists, Node, Plan};
use std::collections::{BTreeMap, BTreeSet};

/// What has to have happened to its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum On {
    /// It failed, or was interrupted.
    Failure,
    /// It was started.
    Start,
}

/// Who runs after whom, by the graph's ids.
#[derive(Clone, Debug, Default)]
pub struct Cleanups {
    of: BTreeMap<u32, [Vec<u32>; 2]>,
}

impl Cleanups {
    /// Notes the cleanups of an action.
    pub fn add(&mut self, owner: u32, on_failure: Vec<u32>, finally: Vec<u32>) {
        if !on_failure.is_empty() || !finally.is_empty() {
            self.of.insert(owner, [on_failure, finally]);
        }
    }

    /// For every action, what it has to come after because of this.
    pub fn order(&self, len: usize) -> Vec<Vec<u32>> {
        let mut after = vec![Vec::new(); len];
        for (&owner, [on_failure, finally]) in &self.of {
            on_failure.iter().for_each(|&cleanup| after[cleanup as usize].push(owner));
            for &cleanup in finally {
                after[cleanup as usize].push(owner);
                after[cleanup as usize].extend(on_failure.iter().filter(|&&first| first != cleanup));
            }
        }
        after
    }
}

/// What makes a conditional node run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Any of these.
    pub triggers: BTreeSet<(Node, On)>,
    /// It is wanted anyway.
    pub wanted: bool,
}

/// The lists a plan is made of.
#[derive(Clone, Copy)]
pub struct Edges<'a> {
    /// What each depends on.
    pub deps: &'a Lists<u32>,
    /// What each comes after.
    pub after: &'a Lists<u32>,
    /// What runs after some.
    pub cleanups: &'a Cleanups,
    /// Whether an action only stands for its dependencies.
    pub is_group: &'a dyn Fn(u32) -> bool,
}

#[derive(Default)]
struct Found {
    triggers: BTreeMap<u32, BTreeSet<(u32, On)>>,
    after: BTreeMap<u32, BTreeSet<u32>>,
}

impl Plan {
    /// The plan for `goals` with everything that may have to run after something in it.
    pub fn with_cleanups(goals: &[u32], edges: Edges<'_>, only: bool) -> Self {
        let len = edges.deps.len();
        let plain = Self::new(len, goals, edges.deps, edges.after, only);
        if !plain.actions.iter().any(|action| edges.cleanups.of.contains_key(action)) {
            return plain;
        }
        let found = find(&plain.actions, edges, only);
        let mut after = Lists::default();
        for action in 0..len {
            let behind = u32::try_from(action).ok().and_then(|id| found.after.get(&id)).into_iter().flatten();
            after.push(edges.after.get(action).iter().copied().chain(behind.copied()));
        }
        let wanted: BTreeSet<u32> = plain.actions.into_iter().collect();
        let all: Vec<u32> = goals.iter().chain(found.triggers.keys()).copied().collect();
        let mut plan = Self::new(len, &all, edges.deps, &after, only);
        let node_of: BTreeMap<u32, Node> =
            plan.nodes().map(|node| (plan.actions[node.index()], node)).collect();
        plan.goal = plan.actions.iter().map(|action| goals.contains(action)).collect();
        for (action, triggers) in found.triggers {
            let triggers = triggers.into_iter().filter_map(|(owner, on)| Some((*node_of.get(&owner)?, on)));
            let condition = Condition { triggers: triggers.collect(), wanted: wanted.contains(&action) };
            plan.conditions.insert(node_of[&action], condition);
        }
        plan
    }
}

/// Level by level: the cleanups of what is wanted, then those of what only they brought, and so on. A node
/// that only cleanups depend on takes its condition from the level that brought it.
fn find(wanted: &[u32], edges: Edges<'_>, only: bool) -> Found {
    let mut found = Found::default();
    let mut seen: BTreeSet<u32> = wanted.iter().copied().collect();
    let mut level: Vec<u32> = wanted.to_vec();
    while !level.is_empty() {
        let mut fresh: BTreeSet<u32> = BTreeSet::new();
        for owner in &level {
            let Some([on_failure, finally]) = edges.cleanups.of.get(owner) else { continue };
            let owners = members(*owner, edges);
            for (on, list) in [(On::Failure, on_failure), (On::Start, finally)] {
                for &cleanup in list {
                    let before = if on == On::Start { on_failure.as_slice() } else { &[] };
                    let before = before.iter().filter(|&&first| first != cleanup);
                    found.after.entry(cleanup).or_default().extend(before);
                    let brought = if only { vec![cleanup] } else { closure(cleanup, edges.deps) };
                    for action in brought {
                        if action != cleanup && seen.contains(&action) {
                            continue;
                        }
                        fresh.insert(action);
                        found.triggers.entry(action).or_default().extend(owners.iter().map(|&o| (o, on)));
                        found.after.entry(action).or_default().extend(&owners);
                    }
                }
            }
        }
        level = fresh.into_iter().filter(|&action| seen.insert(action)).collect();
    }
    found
}

/// What a group stands for; anything else stands for itself.
fn members(action: u32, edges: Edges<'_>) -> Vec<u32> {
    let mut open = vec![action];
    let mut seen = BTreeSet::new();
    let mut members = Vec::new();
    while let Some(action) = open.pop() {
        if !seen.insert(action) {
            continue;
        }
        if (edges.is_group)(action) {
            open.extend(edges.deps.get(action as usize));
        } else {
            members.push(action);
        }
    }
    members
}

fn closure(action: u32, deps: &Lists<u32>) -> Vec<u32> {
    let mut open = vec![action];
    let mut seen = BTreeSet::new();
    while let Some(action) = open.pop() {
        if seen.insert(action) {
            open.extend(deps.get(action as usize));
        }
    }
    seen.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Edge;

    fn lists(rows: &[&[u32]]) -> Lists<u32> {
        let mut lists = Lists::default();
        rows.iter().for_each(|row| lists.push(row.iter().copied()));
        lists
    }

    /// 0 deploy, 1 rollback, 2 report, 3 what rollback needs, 4 what deploy and rollback need, 5 a group of 0
    fn plan(goals: &[u32], cleanups: &Cleanups) -> Plan {
        let deps = lists(&[&[4], &[3, 4], &[], &[], &[], &[0]]);
        let after = lists(&[&[], &[], &[], &[], &[], &[]]);
        let is_group = |action| action == 5;
        let edges = Edges { deps: &deps, after: &after, cleanups, is_group: &is_group };
        Plan::with_cleanups(goals, edges, false)
    }

    fn deploy() -> Cleanups {
        let mut cleanups = Cleanups::default();
        cleanups.add(0, vec![1], vec![2]);
        cleanups
    }

    #[test]
    fn cleanups_come_after_their_owner_and_what_only_they_need_is_conditional() {
        let plan = plan(&[0], &deploy());
        let at = |action: u32| Node(plan.actions.iter().position(|&a| a == action).unwrap() as u32);
        assert_eq!(plan.len(), 5);
        for (action, on) in [(1, On::Failure), (2, On::Start), (3, On::Failure)] {
            let condition = &plan.conditions[&at(action)];
            assert_eq!(condition.triggers, BTreeSet::from([(at(0), on)]));
            assert!(!condition.wanted);
            assert!(plan.edges.get(at(action).index()).contains(&Edge { on: at(0), order_only: true }));
        }
        assert!(!plan.conditions.contains_key(&at(4)), "what is needed anyway is not conditional");
        assert!(plan.edges.get(at(2).index()).contains(&Edge { on: at(1), order_only: true }));
        assert_eq!(plan.goal.iter().filter(|goal| **goal).count(), 1);
    }

    #[test]
    fn a_cleanup_that_is_a_goal_runs_anyway_and_after_its_owner() {
        let plan = plan(&[2, 0], &deploy());
        let report = plan.nodes().find(|node| plan.actions[node.index()] == 2).unwrap();
        assert!(plan.conditions[&report].wanted);
        let place = |action: u32| plan.actions.iter().position(|&a| a == action);
        assert!(place(0) < place(2));
    }

    #[test]
    fn a_groups_cleanup_waits_for_its_members() {
        let mut cleanups = Cleanups::default();
        cleanups.add(5, vec![], vec![2]);
        let plan = plan(&[5], &cleanups);
        let at = |action: u32| Node(plan.actions.iter().position(|&a| a == action).unwrap() as u32);
        assert_eq!(plan.conditions[&at(2)].triggers, BTreeSet::from([(at(0), On::Start)]));
    }

    #[test]
    fn without_cleanups_a_plan_is_a_plan() {
        assert!(plan(&[5, 1], &Cleanups::default()).conditions.is_empty());
    }
}
