//! Plan + events → what may be decided, started, skipped next. No clock, no thread, no file.
//!
//! Invariants: every node passes through [`Schedule::set`] and ends exactly once; a node is ready only when
//! everything it waits for has ended well (or is order only, or harmless); resources taken equal resources of
//! what runs; the order of what starts is the longest remaining path first, ties by id, so equal events give
//! equal schedules. What needs more processors than are free waits at the head of the queue and nothing
//! overtakes it: it would starve. Refused: work stealing order (rayon's), which knows nothing of critical
//! paths.

use crate::plan::{Lists, Node, Plan};
use crate::report::Outcome;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// What an action takes of the machine while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Processors; more than the budget counts as the whole budget.
    pub cpus: u32,
    /// Bytes of memory; more than the budget counts as the whole budget.
    pub memory_bytes: u64,
    /// Index into [`Budget::pools`].
    pub pool: Option<u32>,
    /// Nothing else beside it.
    pub exclusive: bool,
}

impl Default for Demand {
    fn default() -> Self {
        Self { cpus: 1, memory_bytes: 0, pool: None, exclusive: false }
    }
}

/// What there is to take.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Processors: `-j`.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Slots of every pool.
    pub pools: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Something it waits for has not ended.
    Waiting,
    /// It may be decided on.
    Ready,
    /// Decided on by the engine, no work asked for yet (a batch being gathered, an assessment).
    Held,
    /// It waits for resources.
    Queued,
    /// It runs.
    Running,
    /// It ended.
    Ended(Outcome),
}

type Rank = (u64, Reverse<Node>);

/// The state of a run.
#[derive(Debug)]
pub struct Schedule {
    state: Vec<State>,
    waits_for: Vec<u32>,
    dependents: Lists<(Node, bool)>,
    priority: Vec<u64>,
    /// The highest priority among the dependents of each node.
    behind: Vec<u64>,
    demand: Vec<Demand>,
    free: Budget,
    budget: Budget,
    ready: BinaryHeap<Reverse<Node>>,
    queue: BinaryHeap<Rank>,
    /// What waits for a slot of a full pool, out of the way of the queue.
    pool_queue: Vec<BinaryHeap<Rank>>,
    /// Nodes that run under another one's resources.
    riders: BTreeMap<Node, Vec<Node>>,
    rides: Vec<bool>,
    ended: Vec<(Node, Outcome)>,
    running: u32,
    /// What runs or was taken in advance.
    at_work: Vec<Node>,
    in_advance: Vec<Node>,
    exclusive: bool,
    open: usize,
    keep_going: bool,
    stopped: bool,
    /// What a stop does not reach; empty: nothing.
    spared: Vec<bool>,
}

impl Schedule {
    /// A run of `plan`. `cost_ms` is what every node took last time (any guess will do), `demand` what it
    /// needs.
    pub fn new(plan: &Plan, cost_ms: &[u64], demand: Vec<Demand>, budget: Budget, keep_going: bool) -> Self {
        let (dependents, priority) = (dependents(plan), longest_paths(plan, cost_ms));
        let highest = |node: Node| {
            let after = dependents.get(node.index()).iter();
            after.map(|(dependent, _)| priority[dependent.index()]).max().unwrap_or(0)
        };
        let mut schedule = Self {
            behind: plan.nodes().map(highest).collect(),
            state: vec![State::Waiting; plan.len()],
            waits_for: plan.nodes().map(|node| edge_count(plan, node)).collect(),
            dependents,
            priority,
            demand,
            free: budget.clone(),
            pool_queue: budget.pools.iter().map(|_| BinaryHeap::new()).collect(),
            budget,
            ready: BinaryHeap::new(),
            queue: BinaryHeap::new(),
            riders: BTreeMap::new(),
            rides: vec![false; plan.len()],
            ended: Vec::new(),
            running: 0,
            at_work: Vec::new(),
            in_advance: Vec::new(),
            exclusive: false,
            open: plan.len(),
            keep_going,
            stopped: false,
            spared: Vec::new(),
        };
        for node in plan.nodes().filter(|&node| edge_count(plan, node) == 0) {
            schedule.set(node, State::Ready);
        }
        schedule
    }

    /// A stop does not reach these: they start all the same when what they wait for has ended.
    pub fn spare(&mut self, nodes: impl IntoIterator<Item = Node>) {
        for node in nodes {
            self.spared.resize(self.state.len(), false);
            self.spared[node.index()] = true;
        }
    }

    /// Whether a stop does not reach the node.
    pub fn is_spared(&self, node: Node) -> bool {
        self.spared.get(node.index()).is_some_and(|spared| *spared)
    }

    /// The next node whose dependencies are all there; the engine decides on it and calls [`Self::queue`],
    /// [`Self::queue_batch`] or [`Self::finish`].
    pub fn next_ready(&mut self) -> Option<Node> {
        while let Some(Reverse(node)) = self.ready.pop() {
            if self.state[node.index()] == State::Ready {
                self.set(node, State::Held);
                return Some(node);
            }
        }
        None
    }

    /// The node has work to do and waits for its resources.
    pub fn queue(&mut self, node: Node) {
        self.set(node, State::Queued);
    }

    /// The nodes (not empty) share one command under the first one's resources.
    pub fn queue_batch(&mut self, nodes: &[Node]) {
        let (&leader, riders) = nodes.split_first().expect("a batch has a member");
        if !riders.is_empty() {
            self.riders.insert(leader, riders.to_vec());
            riders.iter().for_each(|rider| self.rides[rider.index()] = true);
        }
        self.set(leader, State::Queued);
    }

    /// The next node to start, if one may start now; its resources are taken.
    pub fn next_to_start(&mut self) -> Option<Node> {
        while let Some(&(_, Reverse(node))) = self.queue.peek() {
            if self.state[node.index()] != State::Queued {
                self.queue.pop();
                continue;
            }
            let demand = self.demand[node.index()];
            if self.exclusive || demand.exclusive && self.running > 0 || !self.fits(demand) {
                return None;
            }
            let rank = self.queue.pop().expect("it was just seen");
            if let Some(pool) = demand.pool.filter(|&pool| self.free.pools[pool as usize] == 0) {
                self.pool_queue[pool as usize].push(rank);
                continue;
            }
            self.set(node, State::Running);
            for rider in self.riders.get(&node).cloned().unwrap_or_default() {
                self.set(rider, State::Running);
            }
            return Some(node);
        }
        None
    }

    /// The next node to start as soon as a processor is free, if it is certain already that it will be: nothing that what is
    /// at work makes ready could come before it. It has no resources until [`Self::promote`] gives it those of a node that
    /// has ended.
    pub fn next_in_advance(&mut self, may: impl FnOnce(Node) -> bool) -> Option<Node> {
        while let Some(&(priority, Reverse(node))) = self.queue.peek() {
            if self.state[node.index()] != State::Queued {
                self.queue.pop();
                continue;
            }
            let first = self.at_work.iter().all(|busy| priority > self.behind[busy.index()]);
            let plain = self.demand[node.index()] == Demand::default() && !self.riders.contains_key(&node);
            if self.running == 0 || self.exclusive || !plain || !first || !may(node) {
                return None;
            }
            self.queue.pop();
            self.rides[node.index()] = true;
            self.in_advance.push(node);
            self.set(node, State::Running);
            return Some(node);
        }
        None
    }

    /// Whether a node that was taken in advance may start.
    pub fn has_free_slot(&self) -> bool {
        !self.exclusive && self.fits(Demand::default())
    }

    /// Whether a node was taken in advance and has not got its resources yet.
    pub fn is_in_advance(&self, node: Node) -> bool {
        self.is_running(node) && self.in_advance.contains(&node)
    }

    /// What was taken in advance starts: it takes its resources, which are free.
    pub fn promote(&mut self, node: Node) {
        self.in_advance.retain(|other| *other != node);
        self.rides[node.index()] = false;
        self.take(node);
    }

    /// What was taken in advance does not start, and the engine holds it again.
    pub fn withdraw(&mut self, node: Node) {
        self.hold(node);
    }

    /// What runs under this node's resources beside it.
    pub fn riders(&self, leader: Node) -> &[Node] {
        self.riders.get(&leader).map_or(&[], Vec::as_slice)
    }

    /// The node does not run any more but has not ended: its resources are free, the engine holds it.
    pub fn hold(&mut self, node: Node) {
        self.release(node);
        self.riders.remove(&node);
        self.rides[node.index()] = false;
        self.set(node, State::Held);
    }

    /// The node ended. `harmless`: its dependents go on whatever the outcome (`when`, `severity`).
    pub fn finish(&mut self, node: Node, outcome: Outcome, harmless: bool) {
        if self.state[node.index()] == State::Running {
            self.release(node);
        }
        self.riders.remove(&node);
        self.rides[node.index()] = false;
        self.set(node, State::Ended(outcome));
        let good = harmless || matches!(outcome, Outcome::Executed | Outcome::Cached | Outcome::UpToDate);
        self.pass_on(node, good);
        if outcome == Outcome::Failed && !harmless && !self.keep_going {
            self.stop();
        }
    }

    /// Nothing more is started; what waits is cancelled, what runs may end.
    pub fn stop(&mut self) {
        if std::mem::replace(&mut self.stopped, true) {
            return;
        }
        let mut cancelled = Vec::new();
        for index in 0..self.state.len() {
            let node = Node(u32::try_from(index).expect("a node's index"));
            if !matches!(self.state[index], State::Running | State::Ended(_)) && !self.is_spared(node) {
                self.end(node, Outcome::Cancelled);
                cancelled.push(node);
            }
        }
        if !self.spared.is_empty() {
            // What is spared may stand behind what has just gone.
            self.pool_queue.iter_mut().for_each(|pool| self.queue.append(pool));
            // Nothing else still waits.
            cancelled.into_iter().for_each(|node| self.pass_on(node, false));
        }
    }

    /// As [`Self::stop`], and nothing is spared any more.
    pub fn stop_all(&mut self) {
        self.spared.clear();
        self.stopped = false;
        self.stop();
    }

    /// Nodes that ended without the engine's doing (skipped, cancelled) since the last call.
    pub fn drain_ended(&mut self) -> Vec<(Node, Outcome)> {
        std::mem::take(&mut self.ended)
    }

    /// Whether every node has ended.
    pub fn is_over(&self) -> bool {
        self.open == 0
    }

    /// Whether the run was told to start nothing more, this node included.
    pub fn is_stopped_for(&self, node: Node) -> bool {
        self.stopped && !self.is_spared(node)
    }

    /// Whether the run was told to start nothing more.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether the node holds its resources.
    pub fn is_running(&self, node: Node) -> bool {
        self.state[node.index()] == State::Running
    }

    /// How many commands run, riders not counted.
    pub fn running(&self) -> u32 {
        self.running
    }

    /// How long the rest takes at least: the longest path that starts at the node.
    pub fn priority_ms(&self, node: Node) -> u64 {
        self.priority[node.index()]
    }

    /// The one place where a state changes; keeps every derived view.
    fn set(&mut self, node: Node, to: State) {
        let from = std::mem::replace(&mut self.state[node.index()], to);
        if from == State::Running {
            self.at_work.retain(|busy| *busy != node);
            self.in_advance.retain(|other| *other != node);
        }
        if to == State::Running {
            self.at_work.push(node);
        }
        match to {
            State::Ready => self.ready.push(Reverse(node)),
            State::Queued => self.queue.push((self.priority[node.index()], Reverse(node))),
            State::Running if !self.rides[node.index()] => self.take(node),
            State::Ended(_) => {
                assert!(!matches!(from, State::Ended(_)), "a node ends once");
                self.open -= 1;
            }
            State::Waiting | State::Held | State::Running => {}
        }
    }

    fn fits(&self, demand: Demand) -> bool {
        demand.cpus.min(self.budget.cpus) <= self.free.cpus
            && demand.memory_bytes.min(self.budget.memory_bytes) <= self.free.memory_bytes
    }

    fn take(&mut self, node: Node) {
        let demand = self.demand[node.index()];
        self.free.cpus -= demand.cpus.min(self.budget.cpus);
        self.free.memory_bytes -= demand.memory_bytes.min(self.budget.memory_bytes);
        if let Some(pool) = demand.pool {
            self.free.pools[pool as usize] -= 1;
        }
        self.exclusive = demand.exclusive;
        self.running += 1;
    }

    fn release(&mut self, node: Node) {
        if self.rides[node.index()] {
            return;
        }
        let demand = self.demand[node.index()];
        self.free.cpus += demand.cpus.min(self.budget.cpus);
        self.free.memory_bytes += demand.memory_bytes.min(self.budget.memory_bytes);
        if let Some(pool) = demand.pool {
            self.free.pools[pool as usize] += 1;
            self.queue.extend(self.pool_queue[pool as usize].pop());
        }
        self.exclusive = false;
        self.running -= 1;
    }

    /// Tells the dependents; what depends on a failure is skipped, and so is what depends on that.
    fn pass_on(&mut self, node: Node, good: bool) {
        let mut news = vec![(node, good)];
        while let Some((node, good)) = news.pop() {
            for at in 0..self.dependents.get(node.index()).len() {
                let (dependent, order_only) = self.dependents.get(node.index())[at];
                let index = dependent.index();
                self.waits_for[index] -= 1;
                if self.state[index] != State::Waiting {
                    continue;
                }
                if !good && !order_only {
                    self.end(dependent, Outcome::Skipped);
                    news.push((dependent, false));
                } else if self.waits_for[index] == 0 {
                    self.set(dependent, State::Ready);
                }
            }
        }
    }

    fn end(&mut self, node: Node, outcome: Outcome) {
        self.set(node, State::Ended(outcome));
        self.ended.push((node, outcome));
    }
}

fn edge_count(plan: &Plan, node: Node) -> u32 {
    u32::try_from(plan.edges.get(node.index()).len()).expect("fewer than 2^32 edges")
}

fn dependents(plan: &Plan) -> Lists<(Node, bool)> {
    let mut of: Vec<Vec<(Node, bool)>> = vec![Vec::new(); plan.len()];
    for node in plan.nodes() {
        for edge in plan.edges.get(node.index()) {
            of[edge.on.index()].push((node, edge.order_only));
        }
    }
    let mut lists = Lists::default();
    of.into_iter().for_each(|list| lists.push(list));
    lists
}

/// For every node what it and the longest chain of its dependents take.
fn longest_paths(plan: &Plan, cost_ms: &[u64]) -> Vec<u64> {
    let mut longest: Vec<u64> = cost_ms.to_vec();
    for node in plan.nodes().rev() {
        for edge in plan.edges.get(node.index()) {
            let through = cost_ms[edge.on.index()].saturating_add(longest[node.index()]);
            longest[edge.on.index()] = longest[edge.on.index()].max(through);
        }
    }
    longest
}

#[cfg(test)]
mod simulation;
