//! The real schedule under a simulated executor: seeded random graphs, budgets, failures, batches and interrupts, against
//! invariants and a recursive model. A failure prints its seed; the same seed gives the same run.

use super::{Budget, Demand, Schedule};
use crate::plan::{Lists, Node, Plan};
use crate::report::Outcome;
use std::collections::BTreeMap;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

struct World {
    random: Random,
    plan: Plan,
    demand: Vec<Demand>,
    budget: Budget,
    /// What happens to each node when it is its turn.
    fate: Vec<Outcome>,
    harmless: Vec<bool>,
    keep_going: bool,
}

fn world(seed: u64) -> World {
    let mut random = Random(seed);
    let count = 1 + random.below(24);
    let (mut deps, mut after) = (Lists::default(), Lists::default());
    for node in 0..count {
        let mut some = |limit: u64| {
            let edges = random.below(limit).min(node);
            let mut list: Vec<u32> =
                (0..edges).map(|_| u32::try_from(random.below(node)).expect("small")).collect();
            list.sort_unstable();
            list.dedup();
            list
        };
        let (hard, soft) = (some(4), some(2));
        after.push(soft.into_iter().filter(|on| !hard.contains(on)));
        deps.push(hard);
    }
    let goals: Vec<u32> = (0..u32::try_from(count).expect("small")).collect();
    let plan = Plan::new(goals.len(), &goals, &deps, &after, false);
    let cpus = 1 + u32::try_from(random.below(8)).expect("small");
    let budget = Budget { cpus, memory_bytes: 100, pools: vec![1, 2] };
    let demand = goals
        .iter()
        .map(|_| Demand {
            cpus: if random.one_in(5) {
                u32::MAX
            } else {
                1 + u32::try_from(random.below(3)).expect("small")
            },
            memory_bytes: if random.one_in(6) { random.below(150) } else { 0 },
            pool: random.one_in(4).then(|| u32::try_from(random.below(2)).expect("small")),
            exclusive: random.one_in(12),
        })
        .collect();
    let fate = goals
        .iter()
        .map(|_| match random.below(10) {
            0 => Outcome::Failed,
            1..4 => Outcome::UpToDate,
            4..6 => Outcome::Cached,
            _ => Outcome::Executed,
        })
        .collect();
    let harmless = goals.iter().map(|_| random.one_in(8)).collect();
    let keep_going = random.one_in(2);
    World { random, plan, demand, budget, fate, harmless, keep_going }
}

/// What every node must end with if nothing stops the run.
fn model(world: &World) -> Vec<Outcome> {
    let mut ends: Vec<Outcome> = Vec::new();
    for node in world.plan.nodes() {
        let blocked = world.plan.edges.get(node.index()).iter().any(|edge| {
            let on = edge.on.index();
            let failed =
                matches!(ends[on], Outcome::Failed) && !world.harmless[on] || ends[on] == Outcome::Skipped;
            !edge.order_only && failed
        });
        ends.push(if blocked { Outcome::Skipped } else { world.fate[node.index()] });
    }
    ends
}

struct Run {
    schedule: Schedule,
    ends: BTreeMap<Node, Outcome>,
    running: Vec<Vec<Node>>,
    started: Vec<Node>,
    /// Taken in advance, not started yet.
    advance: std::collections::VecDeque<Node>,
    stopped: bool,
}

impl Run {
    fn end(&mut self, world: &World, node: Node, outcome: Outcome) {
        assert!(self.ends.insert(node, outcome).is_none(), "{node:?} ends once");
        self.schedule.finish(node, outcome, world.harmless[node.index()]);
    }

    fn settle_advance(&mut self, world: &World) {
        while let Some(node) = self.advance.pop_front() {
            if self.schedule.is_stopped() {
                self.schedule.withdraw(node);
                self.end(world, node, Outcome::Cancelled);
            } else if self.schedule.has_free_slot() {
                self.start_in_advance(world, node);
            } else {
                self.advance.push_front(node);
                break;
            }
        }
    }

    fn start(&mut self, world: &World) {
        while let Some(node) = self.schedule.next_to_start() {
            assert!(self.advance.is_empty(), "{node:?} overtakes what was taken in advance");
            let group: Vec<Node> =
                std::iter::once(node).chain(self.schedule.riders(node).iter().copied()).collect();
            self.started.extend(&group);
            self.running.push(group.clone());
            group.iter().for_each(|member| self.check_start(world, *member));
        }
    }

    fn end_all(&mut self, world: &mut World, group: Vec<Node>) {
        for node in group {
            let fate = world.fate[node.index()];
            let stops = fate == Outcome::Failed && !world.harmless[node.index()] && !world.keep_going;
            self.end(world, node, fate);
            self.stopped |= stops;
        }
        // The worker that has become free goes on by itself.
        if !self.stopped && self.schedule.has_free_slot() && world.random.one_in(2) {
            let next = self.advance.pop_front();
            next.into_iter().for_each(|node| self.start_in_advance(world, node));
        }
    }

    fn start_in_advance(&mut self, world: &World, node: Node) {
        self.schedule.promote(node);
        self.started.push(node);
        self.running.push(vec![node]);
        self.check_start(world, node);
    }

    fn take_ended(&mut self) {
        for (node, outcome) in self.schedule.drain_ended() {
            assert!(self.ends.insert(node, outcome).is_none(), "{node:?} ends once");
        }
    }

    /// Everything that may start has its dependencies behind it, and fits beside what runs.
    fn check_start(&self, world: &World, node: Node) {
        for edge in world.plan.edges.get(node.index()) {
            assert!(self.ends.contains_key(&edge.on), "{node:?} started before {:?} ended", edge.on);
        }
        let leaders: Vec<Demand> = self.running.iter().map(|group| world.demand[group[0].index()]).collect();
        let sum = |of: &dyn Fn(&Demand) -> u64| leaders.iter().map(of).sum::<u64>();
        assert!(sum(&|d| u64::from(d.cpus.min(world.budget.cpus))) <= u64::from(world.budget.cpus));
        assert!(sum(&|d| d.memory_bytes.min(world.budget.memory_bytes)) <= world.budget.memory_bytes);
        for (pool, slots) in (0..).zip(&world.budget.pools) {
            let used = leaders.iter().filter(|demand| demand.pool == Some(pool)).count();
            assert!(used <= *slots as usize, "pool {pool} is overfull");
        }
        assert!(leaders.len() == 1 || leaders.iter().all(|demand| !demand.exclusive), "not alone");
        assert!(!self.stopped, "{node:?} started after the stop");
    }
}

fn simulate(seed: u64) -> (Vec<Node>, BTreeMap<Node, Outcome>) {
    let mut world = world(seed);
    let costs: Vec<u64> = (0..world.plan.len()).map(|_| world.random.below(100)).collect();
    let schedule =
        Schedule::new(&world.plan, &costs, world.demand.clone(), world.budget.clone(), world.keep_going);
    let interrupt_after = world.random.one_in(5).then(|| world.random.below(40));
    let mut run = Run {
        schedule,
        ends: BTreeMap::new(),
        running: Vec::new(),
        started: Vec::new(),
        advance: Default::default(),
        stopped: false,
    };
    let mut gathered: Vec<Node> = Vec::new();
    for step in 0.. {
        assert!(step < 10_000, "the run does not end");
        if interrupt_after == Some(step) {
            run.schedule.stop();
            run.stopped = true;
        }
        while let Some(node) = run.schedule.next_ready() {
            match world.fate[node.index()] {
                Outcome::UpToDate => run.end(&world, node, Outcome::UpToDate),
                _ if world.random.one_in(6) => gathered.push(node),
                _ => run.schedule.queue(node),
            }
        }
        run.take_ended();
        gathered.retain(|node| !run.ends.contains_key(node));
        if gathered.len() > 2 || run.running.is_empty() && !gathered.is_empty() {
            run.schedule.queue_batch(&std::mem::take(&mut gathered));
        }
        run.settle_advance(&world);
        run.start(&world);
        while run.advance.len() < 3 && world.random.one_in(2) {
            let Some(node) = run.schedule.next_in_advance(|_| true) else { break };
            run.advance.push_back(node);
        }
        if run.schedule.is_over() && run.running.is_empty() {
            break;
        }
        if !run.running.is_empty() {
            let index = usize::try_from(world.random.below(run.running.len() as u64)).expect("small");
            let group = run.running.swap_remove(index);
            if group.len() == 1 && world.random.one_in(9) {
                run.schedule.hold(group[0]);
                run.schedule.queue(group[0]);
                if run.schedule.is_stopped() {
                    // The engine never queues after a stop; it reports the node as cancelled.
                    run.end(&world, group[0], Outcome::Cancelled);
                }
                continue;
            }
            run.end_all(&mut world, group);
        }
        run.take_ended();
    }
    run.take_ended();
    assert_eq!(run.ends.len(), world.plan.len(), "every node ends");
    assert_eq!(run.schedule.running(), 0);
    if !run.stopped {
        let expected = model(&world);
        for (node, outcome) in &run.ends {
            assert_eq!(*outcome, expected[node.index()], "{node:?}");
        }
    }
    (run.started, run.ends)
}

/// `IACT_TRY_GRAPHS` makes it a long run.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test: asks how many graphs to try")]
fn random_graphs_end_as_the_model_says_within_their_budget() {
    let graphs = std::env::var("IACT_TRY_GRAPHS").map_or(40_000, |graphs| graphs.parse().expect("a number"));
    for seed in 0..graphs {
        if let Err(panic) = std::panic::catch_unwind(|| simulate(seed)) {
            let said = panic.downcast_ref::<String>().map_or("", String::as_str);
            panic!("seed {seed}: {said}");
        }
    }
}

#[test]
fn equal_events_give_equal_schedules() {
    for seed in 0..500 {
        assert_eq!(simulate(seed), simulate(seed), "seed {seed}");
    }
}

/// With one processor: the order in which a random plan's actions start, some of them taken in advance or none.
fn order(seed: u64, in_advance: bool) -> Vec<Node> {
    let mut world = world(seed);
    let costs: Vec<u64> = (0..world.plan.len()).map(|_| world.random.below(9)).collect();
    let budget = Budget { cpus: 1, memory_bytes: 0, pools: Vec::new() };
    let mut schedule =
        Schedule::new(&world.plan, &costs, vec![Demand::default(); world.plan.len()], budget, true);
    let (mut started, mut running) = (Vec::new(), None);
    let mut advance = std::collections::VecDeque::new();
    while !schedule.is_over() {
        while let Some(node) = schedule.next_ready() {
            schedule.queue(node);
        }
        if running.is_none() {
            running = match advance.pop_front() {
                Some(node) => {
                    schedule.promote(node);
                    Some(node)
                }
                None => schedule.next_to_start(),
            };
            started.extend(running);
        }
        while in_advance && let Some(node) = schedule.next_in_advance(|_| true) {
            advance.push_back(node);
        }
        schedule.finish(running.take().expect("something always runs"), Outcome::Executed, false);
    }
    started
}

#[test]
fn what_is_taken_in_advance_changes_no_order() {
    for seed in 0..2_000 {
        assert_eq!(order(seed, true), order(seed, false), "seed {seed}");
    }
}

#[test]
fn the_longest_remaining_path_starts_first() {
    let mut deps = Lists::default();
    [&[][..], &[], &[1], &[2]].into_iter().for_each(|list: &[u32]| deps.push(list.iter().copied()));
    let mut none = Lists::default();
    (0..4).for_each(|_| none.push([]));
    let plan = Plan::new(4, &[0, 3], &deps, &none, false);
    let budget = Budget { cpus: 1, memory_bytes: 0, pools: Vec::new() };
    let costs: Vec<u64> = plan.actions.iter().map(|&action| [20, 10, 10, 10][action as usize]).collect();
    let mut schedule = Schedule::new(&plan, &costs, vec![Demand::default(); 4], budget, false);
    while let Some(node) = schedule.next_ready() {
        schedule.queue(node);
    }
    let first = schedule.next_to_start().expect("one fits");
    assert_eq!(plan.actions[first.index()], 1, "30 ms of chain before 20 ms alone");
}
