//! `iact graph`: what depends on what, drawn for other programs.

use super::build::{Goals, given};
use super::{End, answer, open};
use crate::cli::{self, GraphFormat, Typed};
use crate::error::{Error, Kind, Result};
use crate::graph::names::full;
use crate::plan::Plan;
use crate::ui::graph::{Edge, EdgeKind, Node, NodeKind, dot, json, mermaid};
use crate::workspace::Workspace;
use rustc_hash::FxHashMap;

/// Draws goals and all they depend on, or everything.
///
/// # Errors
/// A mistake in an Iactfile, a goal that nobody has.
pub fn graph(typed: &Typed, graph: &cli::Graph) -> Result<End> {
    let asked = graph.goals.asked();
    let workspace = open(typed, given(&asked))?;
    let goals = if asked.goals.is_empty() && graph.goals.tags.is_empty() {
        Goals::everything(&workspace)
    } else {
        Goals::of(&workspace, &asked, &graph.goals.tags)?
    };
    let plan = goals.plan(&workspace, false);
    workspace.graph.refuse_unused(&workspace.given.vars, &plan.actions)?;
    let (nodes, edges) = drawn(&workspace, &plan);
    match graph.format {
        GraphFormat::Dot => answer(dot(&nodes, &edges)),
        GraphFormat::Mermaid => answer(mermaid(&nodes, &edges)),
        GraphFormat::Json => answer(json(&nodes, &edges)),
        GraphFormat::Svg | GraphFormat::Html => Err(Error::new(Kind::Usage, "not there yet")),
    }
}

fn drawn(workspace: &Workspace, plan: &Plan) -> (Vec<Node>, Vec<Edge>) {
    let graph = &workspace.graph;
    let mut nodes = Vec::with_capacity(plan.len());
    let mut edges = Vec::new();
    for &id in &plan.actions {
        let action = &graph.actions[id as usize];
        let kind = if action.is_group { NodeKind::Group } else { NodeKind::Target };
        nodes.push(Node { name: action.name.clone(), kind });
    }
    let mut services: FxHashMap<String, usize> = FxHashMap::default();
    for node in plan.nodes() {
        let from = node.index();
        for edge in plan.edges.get(from) {
            let kind = if edge.order_only { EdgeKind::After } else { EdgeKind::Dep };
            edges.push(Edge { from, to: edge.on.index(), kind });
        }
        let id = plan.actions[from];
        for service in graph.declaration(id).rare.iter().flat_map(|rare| &rare.services) {
            let name = full(&graph.manifest(id).folder, &service.value);
            let to = *services.entry(name.clone()).or_insert(nodes.len());
            if to == nodes.len() {
                nodes.push(Node { name, kind: NodeKind::Service });
            }
            edges.push(Edge { from, to, kind: EdgeKind::Service });
        }
    }
    (nodes, edges)
}
