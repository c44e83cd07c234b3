//! What a graph refuses: cycles, overlapping outputs, inputs that are somebody's output without an edge.

use super::action::Action;
use super::build::{Builder, Edges};
use super::complete::WORTH_THREADS;
use super::instance::Bound;
use super::names::{number, target};
use super::overlap::Makers;
use crate::error::{Error, Kind, Result, Span};
use crate::manifest::decl::Manifest;
use crate::scan::patterns::is_below;
use petgraph::graph::{DiGraph, NodeIndex};
use rayon::prelude::*;
use rustc_hash::FxHashSet;

/// The pools of a workspace: those of the root and of every folder.
///
/// # Errors
/// One name with two sizes.
pub fn pools(manifests: &[Manifest]) -> Result<Vec<(String, u32)>> {
    let mut pools: Vec<(String, u32)> = Vec::new();
    for manifest in manifests {
        for (name, slots) in &manifest.pools {
            match pools.iter().find(|(known, _)| *known == name.value) {
                Some((_, known)) if known != slots => {
                    let message = format!("pool `{}` has {known} slots elsewhere", name.value);
                    return Err(Error::new(Kind::Manifest, message).at(&manifest.source, name.span));
                }
                Some(_) => {}
                None => pools.push((name.value.clone(), *slots)),
            }
        }
    }
    Ok(pools)
}

fn place(manifests: &[Manifest], bound: &Bound, span: Span, message: String) -> Box<Error> {
    Error::new(Kind::Manifest, message).at(&manifests[bound.decl.manifest as usize].source, span)
}

/// Where an instance's n-th output was written.
fn output_span(manifests: &[Manifest], bound: &Bound, action: &Action, path: &str) -> Span {
    let own = target(manifests, bound.decl);
    let at = action.outputs.iter().position(|output| output.path == path);
    let depfile = own.depfile.as_ref().filter(|_| action.depfile.as_deref() == Some(path));
    at.and_then(|at| own.outputs.get(at)).or(depfile).map_or(own.name.span, |text| text.span)
}

/// Refuses two outputs one of which is, or holds, the other.
pub fn overlaps(manifests: &[Manifest], bounds: &[Bound], actions: &[Action], makers: &Makers) -> Result<()> {
    let Some([(outer, a), (inner, b)]) = makers.overlap() else {
        return case_twins(manifests, bounds, actions, makers);
    };
    let (owner, other) = (&actions[*a as usize], &actions[*b as usize]);
    let message = match (a == b, outer == inner) {
        (true, true) => format!("`{}` declares the output `{inner}` twice", owner.name),
        (true, false) => format!("the output `{inner}` of `{}` lies in its output `{outer}`", owner.name),
        (false, true) => format!("`{}` and `{}` both make `{inner}`", owner.name, other.name),
        (false, false) => {
            format!(
                "the output `{inner}` of `{}` lies in the output `{outer}` of `{}`",
                other.name, owner.name
            )
        }
    };
    let bound = &bounds[*b as usize];
    Err(place(manifests, bound, output_span(manifests, bound, other, inner), message))
}

/// Refuses outputs that are, or hold, an Iactfile: it would be removed before the action runs.
pub fn spares_iactfiles(
    manifests: &[Manifest],
    bounds: &[Bound],
    actions: &[Action],
    makers: &Makers,
) -> Result<()> {
    for manifest in manifests {
        let file = crate::workspace::FILE_NAME;
        let path =
            if manifest.folder.is_empty() { file.to_owned() } else { format!("{}/{file}", manifest.folder) };
        if let Some((output, maker)) = makers.touching(&path).next() {
            let (bound, action) = (&bounds[*maker as usize], &actions[*maker as usize]);
            let message = format!("the output `{output}` of `{}` would replace `{path}`", action.name);
            return Err(place(manifests, bound, output_span(manifests, bound, action, output), message));
        }
    }
    Ok(())
}

/// Refuses outputs that are one file where case does not count: a result made here could not be restored there.
fn case_twins(manifests: &[Manifest], bounds: &[Bound], actions: &[Action], makers: &Makers) -> Result<()> {
    let Some([(one, _), (other, maker)]) = makers.case_twins() else { return Ok(()) };
    let bound = &bounds[*maker as usize];
    let span = output_span(manifests, bound, &actions[*maker as usize], other);
    Err(place(manifests, bound, span, format!("the outputs `{one}` and `{other}` differ only in case")))
}

/// Refuses cycles, naming every target on the way.
pub fn cycles(
    manifests: &[Manifest],
    bounds: &[Bound],
    actions: &[Action],
    edges: [&[Vec<u32>]; 3],
) -> Result<()> {
    let mut graph: DiGraph<(), (), u32> = DiGraph::with_capacity(actions.len(), actions.len());
    for _ in actions {
        graph.add_node(());
    }
    for lists in edges {
        for (from, list) in lists.iter().enumerate() {
            for &on in list {
                graph.add_edge(NodeIndex::new(from), NodeIndex::new(on as usize), ());
            }
        }
    }
    let Err(cycle) = petgraph::algo::toposort(&graph, None) else { return Ok(()) };
    let path = way_back(&graph, cycle.node_id());
    let names: Vec<String> = path.iter().map(|node| format!("`{}`", actions[node.index()].name)).collect();
    let first = path[0].index();
    let own = target(manifests, bounds[first].decl);
    let next = &actions[path.get(1).unwrap_or(&path[0]).index()];
    let next_name = &target(manifests, bounds[path[1].index()].decl).name.value;
    let written = own.deps.iter().map(|dep| &dep.target).chain(&own.after);
    let span = written.clone().find(|text| text.value == next.name || text.value == *next_name);
    let span = span.map_or(own.name.span, |text| text.span);
    let message = format!("there is a cycle: {}", names.join(" → "));
    Err(place(manifests, &bounds[first], span, message))
}

/// A shortest way from a node on a cycle back to itself, both ends included.
fn way_back(graph: &DiGraph<(), (), u32>, start: NodeIndex<u32>) -> Vec<NodeIndex<u32>> {
    let mut came_from = vec![None; graph.node_count()];
    let mut open = std::collections::VecDeque::from([start]);
    while let Some(node) = open.pop_front() {
        for next in graph.neighbors(node) {
            if next == start {
                let mut path = vec![start, node];
                let mut at = node;
                while let Some(before) = came_from[at.index()].filter(|_| at != start) {
                    path.push(before);
                    at = before;
                }
                if path.last() != Some(&start) {
                    path.push(start);
                }
                path.reverse();
                return path;
            }
            if came_from[next.index()].is_none() {
                came_from[next.index()] = Some(node);
                open.push_back(next);
            }
        }
    }
    vec![start, start]
}

/// Calls `each` with every action a dependency brings: itself, or through groups.
pub fn each_member(deps: &[Vec<u32>], actions: &[Action], on: u32, each: &mut dyn FnMut(u32)) {
    if !actions[on as usize].is_group {
        return each(on);
    }
    let mut open = vec![on];
    let mut seen = FxHashSet::default();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        if actions[id as usize].is_group {
            open.extend(&deps[id as usize]);
        } else {
            each(id);
        }
    }
}

/// Whether the outputs of `on` are inputs of `id` by an edge of its own or through groups.
pub fn brings(deps: &[Vec<u32>], actions: &[Action], id: u32, on: u32) -> bool {
    let mut found = false;
    for &dep in &deps[id as usize] {
        each_member(deps, actions, dep, &mut |member| found |= member == on);
    }
    found
}

/// What [`inputs`] says of every instance.
pub(super) fn all_inputs(builder: &Builder<'_>, edges: &Edges, makers: &Makers) -> Vec<Result<Vec<String>>> {
    let one = |id: usize| {
        let brings = |on| brings(&edges.deps, &builder.actions, number(id), on);
        inputs((builder.manifests(), &builder.bounds[id]), &builder.actions, number(id), makers, &brings)
    };
    let ids = 0..builder.actions.len();
    if ids.len() < WORTH_THREADS {
        ids.map(one).collect()
    } else {
        ids.into_par_iter().with_min_len(32).map(one).collect()
    }
}

/// Refuses an instance's own outputs among its inputs, and others' without an edge; returns the literals that
/// must exist.
fn inputs(
    (manifests, bound): (&[Manifest], &Bound),
    actions: &[Action],
    id: u32,
    makers: &Makers,
    brings: &dyn Fn(u32) -> bool,
) -> Result<Vec<String>> {
    let action = &actions[id as usize];
    let Some(inputs) = &action.inputs else { return Ok(Vec::new()) };
    let own = target(manifests, bound.decl);
    let declared = own.inputs.as_deref().unwrap_or_default();
    let each = own.for_each.as_ref().map(|each| each.glob.span);
    let span = |index: usize| declared.get(index).map(|text| text.span).or(each).unwrap_or(own.name.span);
    for output in &action.outputs {
        if let Some(index) = inputs.patterns.first_taking(&output.path, output.is_folder) {
            let message =
                format!("the output `{}` of `{}` is among its own inputs", output.path, action.name);
            let wrong = place(manifests, bound, span(index), message);
            return Err(wrong.hint(format!("exclude it with `!{}`", output.path)));
        }
    }
    let tools = own.tools.iter().zip(&action.tools);
    for (written, at) in tools.filter_map(|(written, tool)| Some((written, tool.strip_prefix("./")?))) {
        if let Some(maker) = makers.of(at).filter(|&maker| maker != id && !brings(maker)) {
            let maker = &actions[maker as usize].name;
            let message = format!("the tool `{at}` of `{}` is made by `{maker}`", action.name);
            let wrong = place(manifests, bound, written.span, message);
            return Err(wrong.hint(format!("add `{maker}` to `deps`")));
        }
    }
    let mut must_exist = Vec::new();
    for (index, literal) in inputs.patterns.literals() {
        let mut brought = false;
        for (path, maker) in makers.touching(literal) {
            if *maker == id || !inputs.patterns.takes(path, true) && !is_below(literal, path) {
                continue;
            }
            if !brings(*maker) {
                let maker = &actions[*maker as usize].name;
                let message =
                    format!("the input `{literal}` of `{}` is made by `{maker}`: `{path}`", action.name);
                let wrong = place(manifests, bound, span(index), message);
                return Err(wrong.hint(format!("add `{maker}` to `deps`")));
            }
            brought |= is_below(literal, path);
        }
        // The empty one is the workspace's own folder.
        if !brought && !literal.is_empty() {
            must_exist.push(literal.to_owned());
        }
    }
    Ok(must_exist)
}
