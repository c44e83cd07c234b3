//! What a run would do, without doing it: for `-n`, `status` and `why`.
//!
//! Invariant: writes nothing, starts nothing but `probes` and `check`. What would run is taken to change its outputs, so its
//! dependents are foretold to run; what would be restored is known exactly.

use super::assess::{Assessment, Assessor, Told, expired_ms, tell_exports};
use super::pool;
use super::shared::Shared;
use super::step::input_node;
use crate::content::{Content, ContentKind};
use crate::decision::{Decision, Reason};
use crate::fingerprint::fingerprint;
use crate::graph::action::Action;
use crate::journal::Journal;
use crate::plan::{Node, On, Plan};
use crate::record::PartDigest;
use crate::report::Forecast;
use crate::template::Layer;
use iact_cache::{Digest, Lookup, OutputEntry, OutputKind, Store, StoredResult};

/// What is foretold of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foretold {
    /// Which.
    pub node: Node,
    /// What would happen.
    pub forecast: Forecast,
    /// Why it is not up to date.
    pub reason: Option<Reason>,
    /// What went wrong in finding out, or why it is skipped.
    pub trouble: Option<String>,
    /// What its probes said.
    pub probes: Vec<PartDigest>,
    /// Its action digest, where it is known without running anything.
    pub fingerprint: Option<Digest>,
    /// Whether its outputs will be, or may be, other than they were last time.
    pub outputs_change: bool,
}

/// Foretells every action of a plan, dependencies first; groups are left out.
pub fn forecast(shared: &Shared<'_>, assessor: &Assessor<'_, '_>) -> Vec<Foretold> {
    let plan = assessor.plan;
    let mut changes = Changes { outputs: vec![None; plan.len()], exports: vec![None; plan.len()] };
    let mut all = Vec::with_capacity(plan.len());
    for node in plan.nodes() {
        let edges = || plan.edges.get(node.index()).iter().filter(|edge| !edge.order_only);
        let outputs = edges().find_map(|edge| changes.outputs[edge.on.index()]);
        let exports = edges().find_map(|edge| changes.exports[edge.on.index()]);
        let action = assessor.action(node);
        if action.is_group {
            (changes.outputs[node.index()], changes.exports[node.index()]) = (outputs, exports);
            continue;
        }
        let is_called = is_called(plan, node, &all);
        if plan.skips.contains_key(&node) || !is_called && !is_wanted(plan, node) {
            let trouble = plan.skips.get(&node).cloned();
            all.push(Foretold { forecast: Forecast::Skip, trouble, ..blank(node) });
            // What it did is not vouched for any more; what is not remembered its dependents know.
            if assessor.journal.record(&action.name).is_some() {
                changes.note(node, action);
            }
            continue;
        }
        let mut foretold = foretell(shared, assessor, node);
        let exports = exports.filter(|_| action.rare().reads_exports);
        if let Some(reason) = dependency_changed(assessor, outputs, exports)
            && foretold.forecast != Forecast::Run
        {
            foretold.reason = Some(foretold.reason.map_or(reason.clone(), |own| own.min(reason)));
            foretold.forecast = Forecast::Run;
            foretold.fingerprint = None;
            foretold.outputs_change = true;
        }
        if is_called {
            foretold = Foretold { trouble: foretold.trouble, reason: Some(Reason::Always), ..blank(node) };
        }
        if foretold.outputs_change {
            changes.note(node, action);
        }
        all.push(foretold);
    }
    all
}

/// Whose outputs, and whose exported values, will be others: for each node itself or, for a group, a member.
struct Changes {
    outputs: Vec<Option<Node>>,
    exports: Vec<Option<Node>>,
}

impl Changes {
    fn note(&mut self, node: Node, action: &Action) {
        self.outputs[node.index()] = (!action.outputs.is_empty()).then_some(node);
        self.exports[node.index()] = (!action.rare().exports.is_empty()).then_some(node);
    }
}

fn dependency_changed(
    assessor: &Assessor<'_, '_>,
    outputs: Option<Node>,
    exports: Option<Node>,
) -> Option<Reason> {
    let maker = assessor.action(outputs.or(exports)?);
    let path = match outputs {
        Some(_) => maker.outputs.first().map(|output| output.path.clone()),
        None => maker.rare().exports.first().cloned(),
    };
    Some(Reason::DependencyChanged { target: maker.name.clone(), path: path.unwrap_or_default() })
}

/// What actions are told as far as it is remembered.
pub fn told(shared: &Shared<'_>, plan: &Plan, journal: &Journal) -> Told {
    let mut told = Told::default();
    let graph = &shared.workspace.graph;
    for node in plan.nodes() {
        let id = plan.actions[node.index()];
        let action = &graph.actions[id as usize];
        if action.rare().reads_exports {
            tell_exports(graph, id, journal, &shared.exported);
            // What is not known yet makes it run.
            if let Ok((_, read)) = shared.texts_with(action, &[], Layer::default()) {
                told.exports.insert(node, read);
            }
        }
    }
    told
}

/// Whether it is a cleanup that something calls for, as far as can be told: what runs may not fail.
fn is_called(plan: &Plan, node: Node, before: &[Foretold]) -> bool {
    let runs = |owner: Node| before.iter().any(|one| one.node == owner && one.forecast == Forecast::Run);
    plan.conditions
        .get(&node)
        .is_some_and(|condition| condition.triggers.iter().any(|&(owner, on)| on == On::Start && runs(owner)))
}

fn is_wanted(plan: &Plan, node: Node) -> bool {
    plan.conditions.get(&node).is_none_or(|condition| condition.wanted)
}

fn blank(node: Node) -> Foretold {
    Foretold {
        node,
        forecast: Forecast::Run,
        reason: None,
        trouble: None,
        probes: Vec::new(),
        fingerprint: None,
        outputs_change: true,
    }
}

fn foretell(shared: &Shared<'_>, assessor: &Assessor<'_, '_>, node: Node) -> Foretold {
    let action = assessor.action(node);
    let mut foretold = blank(node);
    let probes = if action.inputs.is_none() { Ok(Vec::new()) } else { pool::probe(shared, action) };
    let assessment = probes.and_then(|probes| {
        foretold.probes = probes;
        assessor.assess(node, &foretold.probes)
    });
    let assessment = match assessment {
        Ok(assessment) => assessment,
        Err(trouble) => return Foretold { trouble: Some(trouble), ..foretold },
    };
    let check_fails = || pool::check(shared, action).is_err();
    match &assessment.decision {
        Decision::Run(reason) => foretold.reason = Some(reason.clone()),
        Decision::UpToDate if check_fails() => foretold.reason = Some(Reason::CheckFailed),
        Decision::UpToDate => {
            let record = assessor.journal.record(&action.name);
            foretold.fingerprint = record.map(|record| Digest { hash: record.fingerprint, size: 0 });
            foretold.forecast = Forecast::UpToDate;
            foretold.outputs_change = false;
        }
        Decision::LookUp(reason) => {
            foretold.fingerprint = fingerprint_now(assessor, node, &assessment, &foretold.probes);
            let store = shared.cache.as_ref().filter(|_| action.cache).map(|cache| &cache.store);
            let found =
                foretold.fingerprint.zip(store).and_then(|(digest, store)| store.lookup(&digest).ok());
            if let Some(Lookup::Hit(result)) = found
                && expired_ms(action.rare().valid_for_ms, result.finished_unix_ms, assessor.now_unix_ms)
                    .is_none()
            {
                if check_fails() {
                    foretold.reason = Some(reason.clone().min(Reason::CheckFailed));
                    return foretold;
                }
                foretold.forecast = Forecast::Restore;
                foretold.outputs_change = !is_as_recorded(assessor, &action.name, &result);
            }
            foretold.reason = Some(reason.clone());
        }
    }
    foretold
}

/// Whether a stored result is what the action made last anyway.
fn is_as_recorded(assessor: &Assessor<'_, '_>, name: &str, result: &StoredResult) -> bool {
    let Some(record) = assessor.journal.record(name) else { return false };
    let function = assessor.workspace.digest_function();
    let same = |output: &OutputEntry| {
        let content = match &output.kind {
            OutputKind::File { digest, executable } => Content::file(*digest, *executable),
            OutputKind::Directory { root, .. } => Content { kind: ContentKind::Folder, digest: *root },
            OutputKind::Symlink { target } => Content::link(function, target, None),
        };
        let id = assessor.journal.paths.find(output.path.as_bytes());
        record.outputs.iter().any(|made| Some(made.path) == id && made.content == content)
    };
    result.exports == record.exports && result.outputs.iter().all(same)
}

/// The fingerprint an action has now; `None` if what its dependencies made is not known.
pub fn fingerprint_now(
    assessor: &Assessor<'_, '_>,
    node: Node,
    assessment: &Assessment,
    probes: &[PartDigest],
) -> Option<Digest> {
    let job = assessor.job(node, assessment, probes);
    let inputs = job.declared.iter().chain(&job.discovered);
    let nodes = inputs.map(input_node).chain(job.brought.iter().cloned());
    let function = assessor.workspace.digest_function();
    let digest = fingerprint(function, job.action, &job.values, &job.definition, nodes).ok();
    digest.filter(|_| job.certain && job.action.inputs.is_some())
}
