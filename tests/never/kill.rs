//! kill -9 at random times and at every point where it could hurt, in builds, restores, sweeps and runs with nothing to do:
//! nothing corrupt is ever restored, no lock stays, the next build is right, and nothing is left lying about. Only who died by
//! the signal counts.

use crate::dice::Dice;
use crate::project::{IACTFILE, assert_no_litter, assert_right, assert_sound, project};
use crate::sizes::tries;
use crate::space::{Space, files, skipped};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// What is being done when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Doing {
    Build,
    Restore,
    Sweep,
    Nothing,
    /// A build that finds its journal grown too long.
    Rewrite,
}

impl Doing {
    /// What can be hit by chance.
    const LONG: [Self; 4] = [Self::Build, Self::Restore, Self::Sweep, Self::Nothing];

    /// Makes the project such that there is something to be done; its content from then on.
    fn prepare(self, space: &Space, fresh: usize, old: &str) -> String {
        match self {
            Self::Build | Self::Rewrite => {
                let content = format!("{fresh} of a longer line\n");
                space.write("in", &content);
                space.write("many/0", &content);
                content
            }
            Self::Restore => {
                space.build(&["all"]);
                space.remove("out");
                old.to_owned()
            }
            Self::Sweep | Self::Nothing => {
                space.build(&["all"]);
                old.to_owned()
            }
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Build | Self::Restore | Self::Nothing => &["build", "all", "-q"],
            Self::Rewrite => &["build", "all", "ledger", "-q"],
            Self::Sweep => &["cache", "gc", "--max-size", "8KiB"],
        }
    }
}

/// What has to be true after any death.
fn recovers(space: &Space, content: &str, case: &str) {
    assert_sound(space, case);
    let run = space.iact(["build", "--json", "all"]).limit(120).run().expect_code(0);
    assert_right(space, content, case);
    assert!(!run.said().contains("waiting: another"), "{case}: a lock stayed: {run}");
    let again = space.build(&["all"]);
    assert_eq!(again.kinds(), ["up_to_date"], "{case}: {again}");
}

/// A build that stores, one that restores: litter of the dead goes with them.
fn comes_clean(space: &Space, case: &str) {
    space.write("in", format!("clean {case}\n"));
    space.build(&["all"]);
    space.remove("out");
    let run = space.build(&["all"]);
    assert_eq!(run.kinds(), ["cached"], "{case}: {run}");
    assert_no_litter(space, case);
}

/// How many of so many kills each worker reports met what.
#[derive(Default)]
struct Met {
    kills: BTreeMap<Doing, usize>,
    /// Builds that had written something for the cache, and had not published all of it.
    publishing: usize,
}

#[test]
fn killed_at_any_time_it_recovers() {
    let mut tries = tries("kill", 240);
    let (workers, seed) = (3, tries.seed);
    let each = tries.count.div_ceil(workers);
    let mut met = Met::default();
    std::thread::scope(|scope| {
        let handles: Vec<_> =
            (0..workers as u64).map(|worker| scope.spawn(move || deaths(each, seed + worker))).collect();
        for handle in handles {
            let of_one = handle.join().expect("every death is survived");
            of_one.kills.into_iter().for_each(|(doing, count)| *met.kills.entry(doing).or_default() += count);
            met.publishing += of_one.publishing;
        }
    });
    eprintln!("kill: {:?}, {} of the builds while they published", met.kills, met.publishing);
    tries.done = met.kills.values().sum();
    for doing in Doing::LONG {
        let kills = met.kills.get(&doing).copied().unwrap_or(0);
        assert!(kills * 8 >= tries.done, "{doing:?} was killed {kills} times only");
    }
    assert!(met.publishing * 10 >= met.kills[&Doing::Build], "{} of the builds published", met.publishing);
    tries.held();
}

fn deaths(count: usize, seed: u64) -> Met {
    let mut dice = Dice::new(seed);
    let mut content = "0\n".to_owned();
    let space = project(&content);
    space.build(&["all"]);
    let mut met = Met::default();
    // How long each takes: it follows what the machine does meanwhile, and most kills come in time.
    let mut takes_us: BTreeMap<Doing, usize> = BTreeMap::new();
    let (mut killed, mut number) = (0, 0);
    while killed < count {
        assert!(number < 20 + 3 * count, "seed {seed}: only {killed} of {number} were killed");
        // In turn what was killed the least often, for some are over sooner than others.
        let doing = *Doing::LONG.iter().min_by_key(|doing| met.kills.get(doing)).expect("there are some");
        number += 1;
        content = doing.prepare(&space, number, &content);
        let case = format!("seed {seed}, {number}: {doing:?}");
        let Some(&takes) = takes_us.get(&doing) else {
            let run = space.iact(doing.arguments()).run().expect_code(0);
            takes_us.insert(doing, run.took.as_micros() as usize);
            continue;
        };
        let started = space.iact(doing.arguments()).start();
        let pid = started.pid().as_raw_pid();
        // What is published is so at the end.
        let from = if doing == Doing::Build && dice.one_in(2) { takes / 2 } else { 0 };
        std::thread::sleep(Duration::from_micros((from + dice.below(takes - from)) as u64));
        started.signal(Signal::KILL);
        let run = started.wait();
        let takes = if run.signal.is_none() { takes * 9 / 10 } else { takes * 26 / 25 };
        takes_us.insert(doing, takes.max(1_000));
        if run.signal == Some(Signal::KILL.as_raw()) {
            killed += 1;
            *met.kills.entry(doing).or_default() += 1;
            met.publishing += usize::from(doing == Doing::Build && left_unpublished(&space.cache, pid));
        }
        recovers(&space, &content, &case);
        if killed % 30 == 29 || killed == count {
            comes_clean(&space, &case);
            content = format!("clean {case}\n");
        }
    }
    met
}

/// Whether this process left files that have no name in the cache yet.
fn left_unpublished(cache: &Path, pid: i32) -> bool {
    files(&cache.join("tmp")).iter().any(|path| {
        let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
        folder.to_string_lossy().starts_with(&format!("{pid}-"))
    })
}

/// Where the program can be told to die (`cache/src/chaos.rs`), and in what.
const POINTS: [(&str, Doing); 15] = [
    ("publish.written", Doing::Build),
    ("publish.flushed", Doing::Build),
    ("publish.blob", Doing::Build),
    ("publish.result", Doing::Build),
    ("publish.done", Doing::Build),
    ("step.ran", Doing::Build),
    ("journal.cut", Doing::Build),
    ("journal.written", Doing::Build),
    ("journal.rewritten", Doing::Rewrite),
    ("run.settled", Doing::Build),
    ("restore.staged", Doing::Restore),
    ("restore.op", Doing::Restore),
    ("restore.applied", Doing::Restore),
    ("sweep.entry", Doing::Sweep),
    ("sweep.removed", Doing::Sweep),
];

/// The points that the sources name.
fn points_in(folder: &Path, found: &mut BTreeSet<String>) {
    for path in files(folder).iter().filter(|path| path.extension().is_some_and(|kind| kind == "rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        let names = text.split("point(\"").skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(names.map(str::to_owned));
    }
}

#[test]
fn every_point_of_the_sources_is_tried() {
    let mut found = BTreeSet::new();
    for folder in ["src", "cache/src"] {
        points_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    }
    let tried: BTreeSet<String> = POINTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, tried);
}

/// The project, and beside it a target whose records make a journal long.
fn with_a_ledger() -> Space {
    let ledger =
        "[target.ledger]\ninputs = ['many/*']\noutputs = ['out/ledger']\nrun = 'cp many/0 out/ledger'\n";
    let space = Space::new(&format!("{IACTFILE}{ledger}"));
    space.write("in", "0\n");
    for number in 0..1500 {
        space.write(format!("many/{number}"), "");
    }
    space
}

#[test]
fn killed_at_every_point_it_recovers() {
    if !cfg!(feature = "chaos") {
        return skipped("built without the feature `chaos`");
    }
    let mut tries = tries("points", 60);
    let space = with_a_ledger();
    let mut content = "0\n".to_owned();
    // Of each point the passing that is next; after the last of a run comes the first again.
    let mut passings = [1; POINTS.len()];
    let mut number = 0;
    while tries.done < tries.count.max(POINTS.len()) {
        let at = number % POINTS.len();
        let (point, doing) = POINTS[at];
        let passing = std::mem::replace(&mut passings[at], 1);
        number += 1;
        let case = format!("{point}:{passing}");
        // A journal is rewritten only every now and then.
        let attempts = if doing == Doing::Rewrite { 12 } else { 1 };
        let killed = (0..attempts).any(|attempt| {
            content = doing.prepare(&space, 1000 + 100 * number + attempt, &content);
            let run = space.iact(doing.arguments()).env("IACT_CHAOS_KILL", &case).run();
            assert!(run.signal.is_some() || run.code == Some(0), "{case}: {run}");
            run.signal == Some(Signal::KILL.as_raw())
        });
        assert!(killed || passing > 1, "{case} is never passed");
        recovers(&space, &content, &case);
        if killed {
            tries.done += 1;
            let last = if doing == Doing::Rewrite { 1 } else { 40 };
            passings[at] = 1 + passing % last;
        }
        assert!(number < 3 * tries.count + 3 * POINTS.len(), "only {} of {number} were killed", tries.done);
    }
    comes_clean(&space, "all points");
    tries.held();
}
