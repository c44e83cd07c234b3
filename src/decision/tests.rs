//! Which fact leads to which decision, and which of several reasons is told.

use super::*;
use iact_cache::{Digest, DigestFunction};

fn content(text: &str) -> Content {
    Content::file(Digest::of(DigestFunction::Blake3, text.as_bytes()), false)
}

struct World {
    always: bool,
    forced: bool,
    record: Option<Record>,
    definition: Definition,
    inputs: Vec<(PathId, Content)>,
    discovered: Vec<(PathId, Option<Content>)>,
    brought: Vec<Brought>,
    outputs: Outputs,
    expired_ms: Option<u64>,
    paths: PathTable,
}

fn brought(path: PathId, text: &str) -> Brought {
    Brought { path, content: content(text), target: "maker".into() }
}

fn world() -> World {
    let mut paths = PathTable::default();
    let ids: Vec<PathId> =
        ["a", "b", "h", "made", "out"].iter().map(|path| paths.intern(path.as_bytes())).collect();
    let definition = Definition {
        whole: [1; 32],
        env: vec![("LANG".into(), [1; 32])],
        tools: vec![("gcc".into(), [1; 32])],
        probes: vec![("gcc -v".into(), [1; 32])],
        ..Definition::default()
    };
    let inputs = vec![(ids[0], content("1")), (ids[1], content("2"))];
    let record = Record {
        definition: definition.clone(),
        inputs: inputs.clone(),
        discovered: vec![(ids[2], content("h"))],
        brought: vec![brought(ids[3], "m")],
        ..Record::default()
    };
    World {
        always: false,
        forced: false,
        record: Some(record),
        definition,
        inputs,
        discovered: vec![(ids[2], Some(content("h")))],
        brought: vec![brought(ids[3], "m")],
        outputs: Outputs::Intact,
        expired_ms: None,
        paths,
    }
}

fn told(world: &World) -> Decision {
    decide(
        &Facts {
            always: world.always,
            forced: world.forced,
            record: world.record.as_ref(),
            definition: &world.definition,
            inputs: &world.inputs,
            discovered: &world.discovered,
            brought: &world.brought,
            outputs: &world.outputs,
            expired_ms: world.expired_ms,
        },
        &world.paths,
    )
}

type Row = (&'static str, fn(&mut World), fn() -> Decision);

fn look_up(reason: Reason) -> Decision {
    Decision::LookUp(reason)
}

const ROWS: &[Row] = &[
    ("nothing moved", |_| {}, || Decision::UpToDate),
    ("no inputs declared", |w| w.always = true, || Decision::Run(Reason::Always)),
    ("nothing remembered", |w| w.record = None, || look_up(Reason::FirstBuild)),
    ("forced", |w| w.forced = true, || Decision::Run(Reason::Forced)),
    (
        "an input's content",
        |w| w.inputs[1].1 = content("9"),
        || look_up(Reason::InputChanged { path: "b".into() }),
    ),
    ("an input less", |w| w.inputs.truncate(1), || look_up(Reason::InputRemoved { path: "b".into() })),
    (
        "an input more",
        |w| w.record.as_mut().expect("one").inputs.retain(|(path, _)| path.0 > 0),
        || look_up(Reason::InputAdded { path: "a".into() }),
    ),
    (
        "changed comes before added and removed",
        |w| {
            w.record.as_mut().expect("one").inputs.remove(0);
            w.inputs[1].1 = content("9");
        },
        || look_up(Reason::InputChanged { path: "b".into() }),
    ),
    (
        "a discovered input",
        |w| w.discovered[0].1 = Some(content("9")),
        || look_up(Reason::InputChanged { path: "h".into() }),
    ),
    (
        "a discovered input gone",
        |w| w.discovered[0].1 = None,
        || look_up(Reason::InputRemoved { path: "h".into() }),
    ),
    (
        "an input that moved while it ran",
        |w| w.record.as_mut().expect("one").moved = Some(PathId(0)),
        || look_up(Reason::InputChanged { path: "a".into() }),
    ),
    (
        "the command",
        |w| (w.definition.whole, w.definition.command) = ([2; 32], [2; 32]),
        || look_up(Reason::CommandChanged),
    ),
    (
        "a variable's value",
        |w| (w.definition.whole, w.definition.env[0].1) = ([2; 32], [2; 32]),
        || look_up(Reason::EnvChanged { name: "LANG".into() }),
    ),
    (
        "a variable less",
        |w| {
            w.definition.whole = [2; 32];
            w.definition.env.clear();
        },
        || look_up(Reason::EnvChanged { name: "LANG".into() }),
    ),
    (
        "a tool",
        |w| (w.definition.whole, w.definition.tools[0].1) = ([2; 32], [2; 32]),
        || look_up(Reason::ToolChanged { tool: "gcc".into() }),
    ),
    (
        "a probe",
        |w| (w.definition.whole, w.definition.probes[0].1) = ([2; 32], [2; 32]),
        || look_up(Reason::ProbeChanged { probe: "gcc -v".into() }),
    ),
    (
        "a dependency's output",
        |w| w.brought[0].content = content("9"),
        || look_up(Reason::DependencyChanged { target: "maker".into(), path: "made".into() }),
    ),
    (
        "a dependency less",
        |w| w.brought.clear(),
        || look_up(Reason::DependencyChanged { target: "maker".into(), path: "made".into() }),
    ),
    ("a dependency of another name", |w| w.brought[0].target = "renamed".into(), || Decision::UpToDate),
    (
        "the declared list",
        |w| (w.definition.whole, w.definition.outputs) = ([2; 32], [2; 32]),
        || look_up(Reason::OutputsChanged),
    ),
    (
        "an output gone",
        |w| w.outputs = Outputs::Missing(PathId(4)),
        || look_up(Reason::OutputMissing { path: "out".into() }),
    ),
    (
        "an output edited",
        |w| w.outputs = Outputs::Modified("out".into()),
        || look_up(Reason::OutputModified { path: "out".into() }),
    ),
    (
        "too old",
        |w| w.expired_ms = Some(61_000),
        || Decision::LookUp(Reason::Expired { age: "1m 01s".into() }),
    ),
    (
        "input before command before output",
        |w| {
            w.outputs = Outputs::Missing(PathId(4));
            (w.definition.whole, w.definition.command) = ([2; 32], [2; 32]);
            w.inputs[0].1 = content("9");
        },
        || look_up(Reason::InputChanged { path: "a".into() }),
    ),
    (
        "forced, and told what moved",
        |w| {
            w.forced = true;
            w.outputs = Outputs::Missing(PathId(4));
        },
        || Decision::Run(Reason::OutputMissing { path: "out".into() }),
    ),
];

#[test]
fn every_fact_leads_to_its_decision() {
    for (name, change, expected) in ROWS {
        let mut world = world();
        change(&mut world);
        assert_eq!(told(&world), expected(), "{name}");
    }
}
