//! Random edits of random projects: after every build the outputs are what a build from scratch would make, and nothing
//! ran without need.
//!
//! The oracle is told nothing by the program: it computes expected outputs from the sources (`world`), and from its own
//! notes of what was built before which outcomes are allowed. `IACT_MODEL_STEPS` makes it run longer, `IACT_MODEL_SEED`
//! repeats one seed. Every step has dice of its own, so that a failing seed shrinks: steps are left out as long as it still
//! fails, and `IACT_MODEL_ONLY` repeats the steps that are left.

mod edits;
mod faults;
mod world;

use crate::dice::Dice;
use crate::space::{Iact, Space, tree};
use faults::Tight;
use std::collections::{BTreeMap, BTreeSet};
use world::{Expected, Kind, MIX, World};

/// What the workspace and the cache may remember, as the oracle sees it.
#[derive(Default)]
struct Notes {
    /// What every instance did last, if the workspace surely remembers.
    local: BTreeMap<String, String>,
    /// Everything every instance did since the memory was begun: a damaged end brings back what was before.
    past: BTreeMap<String, BTreeSet<String>>,
    /// What the workspace may remember since its memory was damaged.
    doubtful_local: BTreeMap<String, BTreeSet<String>>,
    /// What is surely in the cache.
    stored: BTreeSet<String>,
    /// What was in the cache before a part of it was damaged.
    doubtful: BTreeSet<String>,
}

/// How one build is started.
#[derive(Debug)]
struct Way {
    force: bool,
    no_cache: bool,
    jobs: usize,
    goals: Vec<usize>,
}

struct Model {
    /// A cache that is nearly always full; gone before the folder it is mounted in.
    tight: Option<Tight>,
    space: Space,
    dice: Dice,
    world: World,
    history: Vec<World>,
    notes: Notes,
    /// What was done, for whoever has to find out what went wrong.
    story: Vec<String>,
    /// Whether somebody has damaged the cache since it was begun.
    damaged: bool,
    old_journal: Option<Vec<u8>>,
}

/// A step that went wrong, and the story up to there.
struct Wrong {
    step: usize,
    story: Vec<String>,
    panic: Box<dyn std::any::Any + Send>,
}

fn steps(normal: usize) -> usize {
    std::env::var("IACT_MODEL_STEPS").map_or(normal, |steps| steps.parse().unwrap())
}

fn seed(own: u64) -> u64 {
    std::env::var("IACT_MODEL_SEED").map_or(own, |seed| seed.parse().unwrap())
}

#[test]
fn random_edits_never_diverge_from_a_clean_build_1() {
    Model::run(seed(1), steps(400));
}

#[test]
fn random_edits_never_diverge_from_a_clean_build_2() {
    Model::run(seed(2), steps(400));
}

#[test]
fn random_edits_never_diverge_from_a_clean_build_3() {
    Model::run(seed(3), steps(400));
}

#[test]
fn random_edits_never_diverge_from_a_clean_build_4() {
    Model::run(seed(4), steps(400));
}

/// Every run of the tests tries something that none has tried before.
#[test]
fn random_edits_from_a_fresh_seed_never_diverge_from_a_clean_build() {
    let clock = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 % 1_000_000_000;
    let seed = seed(clock);
    eprintln!("IACT_MODEL_SEED={seed}");
    Model::run(seed, steps(200));
}

/// A new project every few steps: many shapes instead of many edits.
#[test]
fn random_projects_never_diverge_from_a_clean_build() {
    for project in 0..steps(400) as u64 / 8 {
        Model::run(seed(1000) + project, 8);
    }
}

impl Model {
    fn run(seed: u64, steps: usize) {
        let only = std::env::var("IACT_MODEL_ONLY").ok();
        let mut kept: Vec<usize> = match &only {
            Some(list) => list.split(',').map(|step| step.parse().unwrap()).collect(),
            None => (0..steps).collect(),
        };
        let Err(mut wrong) = Self::attempt(seed, &kept) else { return };
        kept.retain(|step| *step <= wrong.step);
        if only.is_none() {
            shrink(seed, &mut kept, &mut wrong);
        }
        let list: Vec<String> = kept.iter().map(usize::to_string).collect();
        let last = wrong.story[wrong.story.len().saturating_sub(40)..].join("\n");
        eprintln!("IACT_MODEL_SEED={seed} IACT_MODEL_ONLY={}\n{last}", list.join(","));
        std::panic::resume_unwind(wrong.panic);
    }

    /// Takes these steps in a new workspace.
    fn attempt(seed: u64, steps: &[usize]) -> Result<(), Wrong> {
        let mut dice = Dice::new(seed);
        let space = Space::bare();
        std::fs::write(space.base().join("mix.sh"), MIX).unwrap();
        let world = World::random(&mut dice);
        let tight = if dice.one_in(4) { Tight::mount(&space.cache) } else { None };
        let mut model = Self {
            space,
            dice,
            world,
            history: Vec::new(),
            notes: Notes::default(),
            story: Vec::new(),
            tight,
            damaged: false,
            old_journal: None,
        };
        model.write_all();
        for &step in steps {
            model.dice = Dice::new(seed ^ (step as u64 + 1).wrapping_mul(0x9e6c_63d0_876a_3f6b));
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.step(step)));
            if let Err(panic) = result {
                return Err(Wrong { step, story: model.story, panic });
            }
        }
        if !model.damaged {
            model.space.iact(["cache", "verify"]).run().expect_code(0);
        }
        Ok(())
    }

    fn step(&mut self, step: usize) {
        if step > 0 {
            for _ in 0..1 + self.dice.below(3) {
                let what = self.edit();
                self.story.push(format!("{step}: {what}"));
            }
            self.write_iactfile();
        }
        if self.dice.one_in(4) {
            let what = self.fault();
            self.story.push(format!("{step}: {what}"));
            self.write_iactfile();
        }
        let way = self.way();
        self.story.push(format!("{step}: build {way:?}"));
        let again = Way { force: false, no_cache: false, jobs: 2, goals: way.goals.clone() };
        self.build(&way);
        if self.dice.one_in(2) {
            self.story.push(format!("{step}: build again"));
            self.build(&again);
        }
        self.history.push(self.world.clone());
        if self.history.len() > 12 {
            self.history.remove(0);
        }
    }

    fn way(&mut self) -> Way {
        let all: Vec<usize> = (0..self.world.targets.len()).collect();
        let dice = &mut self.dice;
        let goals = if dice.one_in(3) { vec![*dice.pick(&all), *dice.pick(&all)] } else { all };
        Way { force: dice.one_in(25), no_cache: dice.one_in(20), jobs: *dice.pick(&[1, 2, 2, 4]), goals }
    }

    /// A header that is written in the tick in which a command starts may have been read before; some file systems have ticks
    /// of a second.
    fn let_a_tick_pass(&self) {
        use std::os::unix::fs::MetadataExt;
        let facts = std::fs::metadata(self.space.path("Iactfile.toml")).unwrap();
        let is_coarse = facts.ctime_nsec() == 0 && facts.mtime_nsec() == 0;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let tick_ms = if is_coarse { 1010 - u64::from(now.subsec_millis()) } else { 10 };
        std::thread::sleep(std::time::Duration::from_millis(tick_ms));
    }

    /// One build, and everything that must be true after it.
    fn build(&mut self, way: &Way) {
        let all = self.world.expect();
        let wanted = closure(&all, &way.goals);
        let before: BTreeMap<&str, bool> =
            wanted.iter().map(|expected| (expected.name.as_str(), self.is_intact(expected))).collect();
        self.let_a_tick_pass();
        let run = self.iact(way).run();
        let outcomes = run.outcomes();
        let names: Vec<&String> = outcomes.keys().collect();
        let mut expected_names: Vec<&String> = wanted.iter().map(|expected| &expected.name).collect();
        expected_names.sort();
        assert_eq!(names, expected_names, "every action has one outcome: {run}");
        let mut broken: BTreeSet<&str> = BTreeSet::new();
        for expected in &wanted {
            let outcome = outcomes[&expected.name].as_str();
            let allowed = if expected.deps.iter().any(|dep| broken.contains(dep.as_str())) {
                vec!["skipped"]
            } else {
                self.allowed(expected, before[expected.name.as_str()], way)
            };
            assert!(
                allowed.contains(&outcome),
                "`{}` was {outcome}, allowed is {allowed:?}: {run}",
                expected.name
            );
            if matches!(outcome, "failed" | "skipped") {
                broken.insert(&expected.name);
            } else if let Some((path, made)) = &expected.output {
                assert_eq!(&tree(&self.space.path(path)), made, "`{path}` of `{}`: {run}", expected.name);
            }
            self.note(expected, outcome, way);
        }
        let ran: Vec<String> = outcomes
            .into_iter()
            .filter(|(_, outcome)| outcome == "executed" || outcome == "failed")
            .map(|(name, _)| name)
            .collect();
        assert_eq!(self.space.trail_sorted(), ran, "what really ran is what is said to have run: {run}");
        run.expect_code(i32::from(!broken.is_empty()));
    }

    fn iact(&self, way: &Way) -> Iact<'_> {
        let mut args = vec!["build".to_owned(), "--json".into(), "-k".into(), format!("-j{}", way.jobs)];
        args.extend(way.force.then(|| "--force".to_owned()));
        args.extend(way.no_cache.then(|| "--no-cache".to_owned()));
        args.extend(way.goals.iter().map(|goal| format!("t{goal}")));
        let iact = self.space.iact(args);
        match &self.world.env {
            Some(value) => iact.env("E", value),
            None => iact,
        }
    }

    fn is_intact(&self, expected: &Expected) -> bool {
        expected.output.as_ref().is_none_or(|(path, made)| &tree(&self.space.path(path)) == made)
    }

    /// Outcomes that are right for an instance whose dependencies are fine.
    fn allowed(&self, expected: &Expected, intact: bool, way: &Way) -> Vec<&'static str> {
        let target = &self.world.targets[expected.target];
        if target.fails {
            return vec!["failed"];
        }
        if target.kind == Kind::Always || way.force {
            return vec!["executed"];
        }
        if intact && self.notes.local.get(&expected.name) == Some(&expected.key) {
            return vec!["up_to_date"];
        }
        let mut allowed = if way.no_cache || target.kind == Kind::Uncached {
            vec!["executed"]
        } else if self.notes.stored.contains(&expected.key) {
            vec!["cached"]
        } else if self.notes.doubtful.contains(&expected.key) {
            vec!["cached", "executed"]
        } else {
            vec!["executed"]
        };
        let maybe = self.notes.doubtful_local.get(&expected.name);
        if intact && maybe.is_some_and(|keys| keys.contains(&expected.key)) {
            allowed.push("up_to_date");
        }
        allowed
    }

    fn note(&mut self, expected: &Expected, outcome: &str, way: &Way) {
        let target = &self.world.targets[expected.target];
        let key = expected.key.clone();
        match outcome {
            "skipped" => return,
            "failed" => {
                self.notes.local.remove(&expected.name);
                self.notes.doubtful_local.remove(&expected.name);
                return;
            }
            // What is up to date says nothing of the cache.
            "up_to_date" => {}
            _ if way.no_cache || matches!(target.kind, Kind::Uncached | Kind::Always) => {}
            // What of its outputs was right already was not read from the cache, and is as damaged there as it was.
            "cached" if self.notes.doubtful.contains(&key) => {}
            _ => {
                // Where there is no room nobody knows what is kept.
                let sure = self.tight.is_none();
                self.notes.doubtful.remove(&key);
                let kept = if sure { &mut self.notes.stored } else { &mut self.notes.doubtful };
                kept.insert(key.clone());
            }
        }
        self.notes.doubtful_local.remove(&expected.name);
        self.notes.past.entry(expected.name.clone()).or_default().insert(key.clone());
        self.notes.local.insert(expected.name.clone(), key);
    }
}

/// Leaves steps out, many at once and then fewer, as long as what is left goes wrong.
fn shrink(seed: u64, kept: &mut Vec<usize>, wrong: &mut Wrong) {
    let (mut chunk, mut attempts) = (kept.len() / 2, 0);
    while chunk > 0 && attempts < 60 {
        let mut start = 0;
        while start < kept.len() && attempts < 60 {
            let end = (start + chunk).min(kept.len());
            let fewer: Vec<usize> = [&kept[..start], &kept[end..]].concat();
            attempts += 1;
            match Model::attempt(seed, &fewer) {
                Err(again) if !fewer.is_empty() => {
                    *kept = fewer;
                    *wrong = again;
                }
                _ => start = end,
            }
        }
        chunk /= 2;
    }
}

/// The goals' instances and everything they depend on.
fn closure<'e>(all: &'e [Expected], goals: &[usize]) -> Vec<&'e Expected> {
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    for expected in all.iter().rev() {
        if goals.contains(&expected.target) || wanted.contains(expected.name.as_str()) {
            wanted.insert(&expected.name);
            wanted.extend(expected.deps.iter().map(String::as_str));
        }
    }
    all.iter().filter(|expected| wanted.contains(expected.name.as_str())).collect()
}
