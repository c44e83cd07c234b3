//! Graph × goals → plan: the actions that are wanted, with dense ids, dependencies first.
//!
//! Invariant: an edge goes from a higher id to a lower one, so every pass over the plan is one loop over a
//! vector. Refused: keeping the graph's own ids; what is not wanted would have to be skipped everywhere.

mod cleanup;

pub use cleanup::{Cleanups, Condition, Edges, On};

use std::collections::BTreeMap;

/// An index into [`Plan::actions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u32);

impl Node {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One dependency of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// What must end first.
    pub on: Node,
    /// `after`: order only; a failure does not matter.
    pub order_only: bool,
}

/// Lists of equal kind, one per index, in two vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists<T> {
    ends: Vec<u32>,
    items: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { ends: Vec::new(), items: Vec::new() }
    }
}

impl<T> Lists<T> {
    /// Adds the next list.
    pub fn push(&mut self, list: impl IntoIterator<Item = T>) {
        self.items.extend(list);
        self.ends.push(u32::try_from(self.items.len()).expect("fewer than 2^32 edges"));
    }

    /// The list of an index.
    pub fn get(&self, index: usize) -> &[T] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.items[start..self.ends[index] as usize]
    }

    /// All lists, one after the other.
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// What is wanted, dependencies first.
#[derive(Debug, Default)]
pub struct Plan {
    /// The graph's index of every node.
    pub actions: Vec<u32>,
    /// What every node waits for, sorted, without repetition.
    pub edges: Lists<Edge>,
    /// Whether a node was asked for itself.
    pub goal: Vec<bool>,
    /// What runs only if something happened to others.
    pub conditions: BTreeMap<Node, Condition>,
    /// What `when` says no to or misses an optional requirement, and why.
    pub skips: BTreeMap<Node, String>,
}

impl Plan {
    /// The plan for `goals` in a graph of `len` actions without cycles. `only` leaves out what the goals
    /// depend on.
    pub fn new(len: usize, goals: &[u32], deps: &Lists<u32>, after: &Lists<u32>, only: bool) -> Self {
        let mut plan = Self::default();
        let order = if only { distinct(goals, len) } else { dependencies_first(len, goals, deps, after) };
        let mut node_of = vec![u32::MAX; len];
        let mut is_goal = vec![false; len];
        goals.iter().for_each(|&goal| is_goal[goal as usize] = true);
        for (node, &action) in order.iter().enumerate() {
            node_of[action as usize] = u32::try_from(node).expect("fewer than 2^32 actions");
        }
        for &action in &order {
            let wanted = |order_only| {
                let node_of = &node_of;
                move |&on: &u32| {
                    let node = node_of[on as usize];
                    (node != u32::MAX).then_some(Edge { on: Node(node), order_only })
                }
            };
            let index = action as usize;
            let mut edges: Vec<Edge> = deps.get(index).iter().filter_map(wanted(false)).collect();
            edges.extend(after.get(index).iter().filter_map(wanted(true)));
            edges.sort_unstable();
            edges.dedup_by_key(|edge| edge.on);
            plan.edges.push(edges);
            plan.goal.push(is_goal[index]);
        }
        plan.actions = order;
        plan
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// All nodes, dependencies first.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = Node> + use<> {
        (0..u32::try_from(self.actions.len()).expect("fewer than 2^32 actions")).map(Node)
    }
}

fn distinct(goals: &[u32], len: usize) -> Vec<u32> {
    let mut seen = vec![false; len];
    goals.iter().copied().filter(|&goal| !std::mem::replace(&mut seen[goal as usize], true)).collect()
}

/// Depth first with a stack of its own, so that a chain of any length fits. `after` orders what is wanted and
/// wants nothing.
fn dependencies_first(len: usize, goals: &[u32], deps: &Lists<u32>, after: &Lists<u32>) -> Vec<u32> {
    let mut wanted = vec![false; len];
    let mut stack: Vec<u32> = goals.to_vec();
    while let Some(action) = stack.pop() {
        if !std::mem::replace(&mut wanted[action as usize], true) {
            stack.extend(deps.get(action as usize).iter().filter(|&&dep| !wanted[dep as usize]));
        }
    }
    let mut order = Vec::new();
    let mut entered = vec![false; len];
    let mut left = vec![false; len];
    let mut stack: Vec<u32> = goals.iter().rev().copied().collect();
    while let Some(&action) = stack.last() {
        let index = action as usize;
        if !std::mem::replace(&mut entered[index], true) {
            let before = after.get(index).iter().chain(deps.get(index)).rev();
            stack.extend(before.filter(|&&dep| wanted[dep as usize] && !entered[dep as usize]));
            continue;
        }
        stack.pop();
        if !std::mem::replace(&mut left[index], true) {
            order.push(action);
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists(rows: &[&[u32]]) -> Lists<u32> {
        let mut lists = Lists::default();
        rows.iter().for_each(|row| lists.push(row.iter().copied()));
        lists
    }

    #[test]
    fn dependencies_come_first_and_nothing_unwanted_comes() {
        let deps = lists(&[&[1, 2], &[3], &[3], &[], &[0]]);
        let plan = Plan::new(5, &[0], &deps, &lists(&[&[], &[2], &[], &[], &[]]), false);
        assert_eq!(plan.actions, [3, 2, 1, 0]);
        assert_eq!(
            plan.edges.get(2),
            [Edge { on: Node(0), order_only: false }, Edge { on: Node(1), order_only: true }]
        );
        assert_eq!(plan.goal, [false, false, false, true]);
    }

    #[test]
    fn after_orders_what_is_wanted_and_wants_nothing() {
        let none = lists(&[&[], &[], &[]]);
        let after = lists(&[&[1, 2], &[], &[]]);
        assert_eq!(Plan::new(3, &[0, 1], &none, &after, false).actions, [1, 0]);
    }

    #[test]
    fn only_keeps_the_goals_and_their_order_among_each_other() {
        let deps = lists(&[&[], &[0], &[1]]);
        let plan = Plan::new(3, &[0, 2], &deps, &lists(&[&[], &[], &[]]), true);
        assert_eq!((plan.actions.clone(), plan.edges.get(1)), (vec![0, 2], &[][..]));
    }

    #[test]
    fn a_chain_of_any_length_fits() {
        let mut deps = Lists::default();
        deps.push([]);
        (0..200_000).for_each(|dep| deps.push([dep]));
        let mut none = Lists::default();
        (0..=200_000).for_each(|_| none.push([]));
        assert_eq!(Plan::new(200_001, &[200_000], &deps, &none, false).len(), 200_001);
    }
}
