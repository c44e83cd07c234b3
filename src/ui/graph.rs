//! A graph as text for other programs: Graphviz, Mermaid, JSON. An edge goes from what depends to what it
//! depends on.
//!
//! Invariant: the same graph gives the same text, and no name can break out of its quotes.

use serde::Serialize;
use std::fmt::Write as _;

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// Something that runs.
    Target,
    /// A target that only has dependencies.
    Group,
    /// A service.
    Service,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct Node {
    /// Full name.
    pub name: String,
    /// What it stands for.
    pub kind: NodeKind,
}

/// Why one node comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// `deps`.
    Dep,
    /// `after`.
    After,
    /// `services`.
    Service,
}

/// An edge, between places in the list of nodes.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// What depends.
    pub from: usize,
    /// What it depends on.
    pub to: usize,
    /// Why.
    pub kind: EdgeKind,
}

/// For Graphviz.
pub fn dot(nodes: &[Node], edges: &[Edge]) -> String {
    let quoted =
        |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
    let mut out =
        "digraph iact {\n  rankdir = LR;\n  node [shape = box, fontname = \"sans-serif\"];\n".to_owned();
    for node in nodes {
        let shape = match node.kind {
            NodeKind::Target => "",
            NodeKind::Group => " [style = dashed]",
            NodeKind::Service => " [shape = cylinder]",
        };
        let _ = writeln!(out, "  {}{shape};", quoted(&node.name));
    }
    for edge in edges {
        let style = match edge.kind {
            EdgeKind::Dep => "",
            EdgeKind::After => " [style = dashed]",
            EdgeKind::Service => " [style = dotted]",
        };
        let _ =
            writeln!(out, "  {} -> {}{style};", quoted(&nodes[edge.from].name), quoted(&nodes[edge.to].name));
    }
    out + "}\n"
}

/// For Mermaid.
pub fn mermaid(nodes: &[Node], edges: &[Edge]) -> String {
    let mut out = "flowchart LR\n".to_owned();
    for (at, node) in nodes.iter().enumerate() {
        let name = entities(&node.name);
        let _ = match node.kind {
            NodeKind::Target => writeln!(out, "  n{at}[\"{name}\"]"),
            NodeKind::Group => writeln!(out, "  n{at}([\"{name}\"])"),
            NodeKind::Service => writeln!(out, "  n{at}[(\"{name}\")]"),
        };
    }
    for edge in edges {
        let arrow = if edge.kind == EdgeKind::Dep { "-->" } else { "-.->" };
        let _ = writeln!(out, "  n{} {arrow} n{}", edge.from, edge.to);
    }
    out
}

/// A label in Mermaid's quotes: what means something there becomes an entity.
fn entities(name: &str) -> String {
    name.chars().fold(String::with_capacity(name.len()), |mut out, c| {
        match c {
            '"' | '#' | '<' | '>' | '&' | '`' | '\\' => {
                let _ = write!(out, "#{};", c as u32);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}

#[derive(Serialize)]
struct NamedEdge<'a> {
    from: &'a str,
    to: &'a str,
    kind: EdgeKind,
}

#[derive(Serialize)]
struct Document<'a> {
    nodes: &'a [Node],
    edges: Vec<NamedEdge<'a>>,
}

/// For programs.
pub fn json(nodes: &[Node], edges: &[Edge]) -> String {
    let named =
        |edge: &Edge| NamedEdge { from: &nodes[edge.from].name, to: &nodes[edge.to].name, kind: edge.kind };
    let document = Document { nodes, edges: edges.iter().map(named).collect() };
    serde_json::to_string_pretty(&document).expect("text keys, and a writer that cannot fail") + "\n"
}
