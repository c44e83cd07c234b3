//! The rooms one by one: `cargo bench --bench rooms [-- NAME]`. What whole runs cost is in `floors`.
#![allow(clippy::disallowed_methods, reason = "a benchmark: makes files to work on")]
#![allow(missing_docs, reason = "criterion's macros")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use iact::content::Content;
use iact::fingerprint::{InputNode, Values, define, fingerprint};
use iact::graph::action::Action;
use iact::journal::Journal;
use iact::manifest;
use iact::path_table::PathId;
use iact::plan::{Lists, Plan};
use iact::record::{Made, Record};
use iact::report::Outcome;
use iact::scan::Files;
use iact::scan::patterns::Patterns;
use iact::scan::walk::{Folders, Outputs};
use iact::schedule::{Budget, Demand, Schedule};
use iact::workspace::{Caller, Given, Place, Workspace};
use iact_cache::{
    Digest, DigestFunction, Hasher, Keep, LocalOptions, LocalStore, RestoreOptions, TreeBuilder,
};
use std::fmt::Write;
use std::hint::black_box;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const FUNCTION: DigestFunction = DigestFunction::Blake3;
const TARGETS: usize = 1_000;

fn digest(number: usize) -> Digest {
    Digest::of(FUNCTION, &number.to_le_bytes())
}

/// Ten layers of targets; each has three sources and reads two outputs of the layer before.
fn iactfile(count: usize) -> String {
    let layer = count / 10;
    let mut text = String::new();
    for number in 0..count {
        let deps = if number < layer {
            String::new()
        } else {
            format!("\"t{}\", \"t{}\"", number - layer, (number - layer) / layer * layer)
        };
        let _ = write!(
            text,
            "[target.t{number}]\ndeps = [{deps}]\ninputs = [\"src/{number}a\", \"src/{number}b\", \"src/{number}c\"]\n\
             outputs = [\"out/{number}\"]\nrun = \"cat src/{number}a > {{{{ out }}}}\"\n"
        );
    }
    text
}

/// A workspace with its sources.
fn workspace(count: usize) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("Iactfile.toml"), iactfile(count)).expect("a file");
    std::fs::create_dir(folder.path().join("src")).expect("a folder");
    for number in 0..count {
        for letter in ['a', 'b', 'c'] {
            let text = format!("{number}{letter}").repeat(100);
            std::fs::write(folder.path().join(format!("src/{number}{letter}")), text).expect("a file");
        }
    }
    folder
}

fn open(folder: &Path) -> Workspace {
    let caller = Caller { env: Vec::new(), folder: folder.to_owned() };
    Workspace::open(caller, &Place::default(), Given::default()).expect("a good workspace")
}

fn load(criterion: &mut Criterion) {
    let folder = workspace(TARGETS);
    let text = iactfile(TARGETS).into_bytes();
    let mut group = criterion.benchmark_group("load");
    group.throughput(Throughput::Elements(TARGETS as u64));
    group.bench_function("manifest", |bencher| {
        bencher.iter(|| {
            let source = manifest::decode("Iactfile.toml", text.clone()).expect("text");
            manifest::parse(source, "").expect("a good file")
        });
    });
    group.bench_function("manifest and graph", |bencher| bencher.iter(|| open(folder.path())));
    let opened = open(folder.path());
    let all: Vec<u32> = (0..u32::try_from(TARGETS).expect("small")).collect();
    group.bench_function("plan", |bencher| {
        bencher.iter(|| Plan::new(TARGETS, &all, &opened.graph.deps, &opened.graph.after, false));
    });
}

fn scan(criterion: &mut Criterion) {
    let folder = workspace(TARGETS);
    let opened = open(folder.path());
    let root = || opened.folder.try_clone().expect("a descriptor");
    let paths: Vec<String> =
        (0..TARGETS).flat_map(|n| ['a', 'b', 'c'].map(|letter| format!("src/{n}{letter}"))).collect();
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(paths.len() as u64));
    let look = |journal: &mut Journal| {
        let ids: Vec<PathId> = paths.iter().map(|path| journal.paths.intern(path.as_bytes())).collect();
        Files::new(root(), FUNCTION).look(journal, ids);
    };
    let nowhere = || Journal::read(folder.path().join("nothing"), FUNCTION);
    group.bench_function("read", |bencher| bencher.iter_batched_ref(nowhere, look, BatchSize::LargeInput));
    // A memo vouches only for times that were two seconds old when the file was read.
    std::thread::sleep(Duration::from_millis(2_100));
    let mut known = nowhere();
    look(&mut known);
    group.bench_function("stat", |bencher| bencher.iter(|| look(&mut known)));
    let patterns = Patterns::compile(vec!["src/**/*a".into(), "!src/1*".into()]).expect("good globs");
    let none = Outputs::default();
    group.bench_function("glob", |bencher| {
        bencher.iter(|| Folders::new(opened.folder.as_fd(), true, &none).matching(&patterns));
    });
}

fn schedule(criterion: &mut Criterion) {
    const COUNT: usize = 10_000;
    let (mut deps, mut after) = (Lists::default(), Lists::default());
    for node in 0..u32::try_from(COUNT).expect("small") {
        deps.push([1_000, 1_001].into_iter().filter_map(|before| node.checked_sub(before)));
        after.push([]);
    }
    let goals: Vec<u32> = (0..u32::try_from(COUNT).expect("small")).collect();
    let plan = Plan::new(COUNT, &goals, &deps, &after, false);
    let costs: Vec<u64> = (0..COUNT as u64).map(|node| 1 + node * 7 % 100).collect();
    let mut group = criterion.benchmark_group("schedule");
    group.throughput(Throughput::Elements(COUNT as u64));
    group.bench_function("all run", |bencher| {
        bencher.iter(|| {
            let budget = Budget { cpus: 8, memory_bytes: u64::MAX, pools: Vec::new() };
            let mut schedule = Schedule::new(&plan, &costs, vec![Demand::default(); COUNT], budget, false);
            let mut running = std::collections::VecDeque::new();
            while !schedule.is_over() {
                while let Some(node) = schedule.next_ready() {
                    schedule.queue(node);
                }
                while let Some(node) = schedule.next_to_start() {
                    running.push_back(node);
                }
                let first = running.pop_front().expect("something runs");
                schedule.finish(first, Outcome::Executed, false);
                black_box(schedule.drain_ended());
            }
        });
    });
}

fn prints(criterion: &mut Criterion) {
    let action = Action {
        name: "compile".into(),
        argv: ["bash", "-c", "gcc -c src/a.c -o out/a.o"].map(str::to_owned).to_vec(),
        env: vec![("LANG".into(), "C.UTF-8".into())],
        ..Action::default()
    };
    let values = Values { os: "linux", arch: "x86_64", ..Values::default() };
    let mut group = criterion.benchmark_group("fingerprint");
    for count in [3_usize, 1_000] {
        let inputs: Vec<InputNode> = (0..count)
            .map(|number| InputNode {
                path: format!("src/{}/{number}.c", number % 10).into_bytes(),
                content: Content::file(digest(number), false),
                link: None,
            })
            .collect();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} inputs"), |bencher| {
            bencher.iter(|| {
                let definition = define(&action, &values);
                fingerprint(FUNCTION, &action, &values, &definition, inputs.iter().cloned())
            });
        });
    }
    group.throughput(Throughput::Bytes(16 << 20));
    let bytes = vec![7_u8; 16 << 20];
    for function in [DigestFunction::Blake3, DigestFunction::Sha256] {
        group.bench_function(format!("{function:?} of 16 MiB"), |bencher| {
            bencher.iter(|| {
                let mut hasher = Hasher::new(function);
                bytes.chunks(128 << 10).for_each(|piece| hasher.update(piece));
                hasher.finish()
            });
        });
    }
    group.finish();
    criterion.bench_function("tree of 1000 files", |bencher| {
        bencher.iter(|| {
            let mut tree = TreeBuilder::new();
            for number in 0..1_000 {
                let node = iact_cache::Node::File { digest: digest(number), executable: false };
                tree.insert(format!("{}/{number}", number % 30), node).expect("no two are the same");
            }
            tree.finish(FUNCTION, None)
        });
    });
}

fn cache(criterion: &mut Criterion) {
    const FILES: usize = 500;
    let folder = tempfile::tempdir().expect("a folder");
    let tree = folder.path().join("ws/tree");
    std::fs::create_dir_all(&tree).expect("a folder");
    for number in 0..FILES {
        let bytes = number.to_le_bytes().repeat(1_250);
        std::fs::write(tree.join(number.to_string()), bytes).expect("a file");
    }
    let outputs = iact_cache::Workspace::open(&folder.path().join("ws")).expect("a folder");
    let options = LocalOptions { durable: false, ..LocalOptions::default() };
    let store = |name: &str| LocalStore::open(folder.path().join(name), options).expect("a cache");
    let mut group = criterion.benchmark_group("cache");
    group.throughput(Throughput::Bytes(FILES as u64 * 10_000));
    let mut number = 0;
    group.bench_function("store 500 files, 5 MB", |bencher| {
        let fresh = || {
            number += 1;
            store(&format!("cache{number}"))
        };
        bencher.iter_batched(
            fresh,
            |store| {
                let batch = store.batch();
                outputs.collect(&["tree"], Keep::In(&batch), 2).expect("it is there");
                batch.commit().expect("a place to store")
            },
            BatchSize::PerIteration,
        );
    });
    let store = store("cache");
    let batch = store.batch();
    let collected = outputs.collect(&["tree"], Keep::In(&batch), 2).expect("it is there");
    batch.commit().expect("a place to store");
    let restore = || {
        let known = |_: &[u8], _: &iact_cache::FileFacts| None;
        let options = RestoreOptions { known: &known, threads: 2, absent: false };
        outputs.restore(&store, &collected.outputs, &options).expect("it was just stored")
    };
    let remove = || std::fs::remove_dir_all(&tree).expect("it is there");
    group.bench_function("restore them", |bencher| {
        bencher.iter_batched(remove, |()| restore(), BatchSize::PerIteration);
    });
    group.bench_function("restore what is there", |bencher| bencher.iter(restore));
}

fn remembered(journal: &mut Journal, number: usize) -> (String, Record) {
    let content = Content::file(digest(number), false);
    let mut path = |name: &str| journal.paths.intern(format!("{name}/{number}").as_bytes());
    let record = Record {
        inputs: ["a", "b", "c"].map(|name| (path(name), content)).to_vec(),
        outputs: vec![Made { path: path("out"), content, declared: true }],
        ..Record::default()
    };
    (format!("t{number}"), record)
}

fn journal(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("journal");
    let fill = || {
        let _ = std::fs::remove_file(&file);
        let mut journal = Journal::read(file.clone(), FUNCTION);
        for number in 0..TARGETS {
            let (name, record) = remembered(&mut journal, number);
            journal.remember(&name, record);
        }
        journal.flush().expect("a place to write");
    };
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(TARGETS as u64));
    group.bench_function("write", |bencher| bencher.iter(fill));
    fill();
    group.bench_function("read", |bencher| bencher.iter(|| Journal::read(file.clone(), FUNCTION)));
    assert!(file.metadata().is_ok_and(|facts| facts.len() > 100_000));
}

criterion_group! {
    name = rooms;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = load, scan, schedule, prints, cache, journal
}
criterion_main!(rooms);
