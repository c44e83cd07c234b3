//! `iact show`: all there is to know about a target: what is declared, what it comes to, what is there, what it did last.
//!
//! Invariant: nothing is run or written; the value of a variable is never told. What cannot be found out now (a tool that is
//! missing) is said in its place.

use super::build::{Goals, given};
use super::{End, answer, document, open, style};
use crate::cli::{Asked, Show, Typed};
use crate::engine::assess::Force;
use crate::engine::drive::unix_ms;
use crate::engine::inquiry::Inquiry;
use crate::engine::shared::{find_program, log_stem};
use crate::error::Result;
use crate::fingerprint::{Part, Words, walk};
use crate::graph::action::Action;
use crate::graph::instance::PLACEHOLDER;
use crate::graph::names::{Decl, full};
use crate::manifest::decl::Text;
use crate::plan::{Node, Plan};
use crate::record::Record;
use crate::template::quoted;
use crate::ui::phrase;
use crate::ui::table::{Fact, facts};
use crate::workspace::Workspace;
use serde_json::{Map, Value, json};

/// Shows a target.
///
/// # Errors
/// A mistake in an Iactfile, a target that nobody has.
pub fn show(typed: &Typed, show: &Show) -> Result<End> {
    let asked = Asked { goals: vec![show.one.target.clone()], vars: show.one.vars.clone(), args: Vec::new() };
    let workspace = open(typed, given(&asked))?;
    let goals = Goals::of(&workspace, &asked, &[])?;
    workspace.graph.refuse_unused(&workspace.given.vars, &goals.plan(&workspace, false).actions)?;
    let reference = crate::graph::names::Reference::parse(&show.one.target);
    let decl = match goals.actions.first() {
        Some(&id) => workspace.graph.decls[id as usize],
        None => workspace
            .graph
            .names
            .find_goal(workspace.nearest(), reference.name)
            .expect("a goal that was found has a declaration"),
    };
    let mut all = declared(&workspace, decl);
    if show.json.json {
        let mut whole = object(&all);
        let part = |(part, name, text): &(Part, String, String)| json!({"part": word(*part), "name": name, "value": readable(text)});
        let instance = |&id: &u32| {
            let one = instance(&workspace, id);
            let mut told = object(&one.facts);
            told.insert("last_run".to_owned(), one.last_run);
            told.insert(
                "fingerprint_parts".to_owned(),
                one.parts.iter().map(part).collect::<Vec<_>>().into(),
            );
            Value::from(told)
        };
        whole.insert("instances".to_owned(), goals.actions.iter().map(instance).collect::<Vec<_>>().into());
        return document(&whole);
    }
    match goals.actions.as_slice() {
        &[one] => all.extend(instance(&workspace, one).facts.into_iter().skip(1)),
        several => all.push(fact("instances", several.iter().map(|&id| name(&workspace, id)))),
    }
    answer(facts(&all, style(typed)))
}

fn name(workspace: &Workspace, id: u32) -> String {
    workspace.graph.actions[id as usize].name.clone()
}

fn fact(label: &'static str, values: impl IntoIterator<Item = impl Into<String>>) -> Fact {
    Fact { label, values: values.into_iter().map(Into::into).collect() }
}

/// What a program reads: the same facts; those that can only have one value are no lists.
fn object(facts: &[Fact]) -> Map<String, Value> {
    const SINGLE: [&str; 15] = [
        "target",
        "for_each",
        "pool",
        "check",
        "verify",
        "description",
        "group",
        "declared at",
        "instance",
        "command",
        "cwd",
        "depfile",
        "timeout",
        "trouble",
        "log",
    ];
    let value = |fact: &Fact| match SINGLE.contains(&fact.label) {
        true => json!(fact.values.first()),
        false => json!(fact.values),
    };
    let told = facts.iter().filter(|fact| ![LAST_RUN, PARTS].contains(&fact.label));
    told.map(|fact| (fact.label.replace(' ', "_"), value(fact))).collect()
}

/// What is written in the Iactfile.
fn declared(workspace: &Workspace, decl: Decl) -> Vec<Fact> {
    let manifest = &workspace.graph.manifests[decl.manifest as usize];
    let target = &manifest.targets[decl.target as usize];
    let texts = |texts: &[Text]| -> Vec<String> { texts.iter().map(|text| text.value.clone()).collect() };
    let place = crate::error::Place { source: manifest.source.clone(), span: target.name.span };
    let (line, _) = place.line_and_column();
    let dep = |dep: &crate::manifest::decl::Dep| {
        let vars: Vec<String> =
            dep.vars.iter().map(|(name, value)| format!("{}={}", name.value, value.value)).collect();
        if vars.is_empty() {
            dep.target.value.clone()
        } else {
            format!("{} ({})", dep.target.value, vars.join(", "))
        }
    };
    let pairs = |table: &[(Text, Text)]| -> Vec<String> {
        table.iter().map(|(name, value)| format!("{}={}", name.value, value.value)).collect()
    };
    let matrix =
        target.matrix.iter().map(|(name, values)| format!("{}: {}", name.value, texts(values).join(", ")));
    let rare = target.rare.as_deref();
    let flags = [
        (
            target.inputs.is_none() && target.for_each.is_none() && !workspace.graph.is_group(decl),
            "always runs",
        ),
        (target.cache == Some(false), "cache = false"),
        (target.remote == Some(false), "remote = false"),
        (target.relocatable == Some(false), "relocatable = false"),
        (target.keep_outputs, "keep_outputs"),
        (target.exclusive, "exclusive"),
        (rare.is_some_and(|rare| rare.interactive), "interactive"),
    ];
    vec![
        fact("target", [full(&manifest.folder, &target.name.value)]),
        fact("description", target.description.iter().map(|text| text.value.clone())),
        fact("aliases", texts(&target.aliases)),
        fact("group", target.group.iter().map(|text| text.value.clone())),
        fact("tags", texts(&target.tags)),
        fact("declared at", [format!("{}:{line}", manifest.source.path)]),
        fact("flags", flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag)),
        fact("vars", pairs(&target.vars)),
        fact("matrix", matrix),
        fact("for_each", target.for_each.iter().map(|each| each.glob.value.clone())),
        fact("deps", target.deps.iter().map(dep)),
        fact("after", texts(&target.after)),
        fact("inputs", texts(target.inputs.as_deref().unwrap_or_default())),
        fact("pool", target.pool.iter().map(|text| text.value.clone())),
        fact("secrets", rare.map(|rare| texts(&rare.secrets)).unwrap_or_default()),
        fact("services", rare.map(|rare| texts(&rare.services)).unwrap_or_default()),
        fact("exports", rare.map(|rare| texts(&rare.exports)).unwrap_or_default()),
    ]
}

/// An instance, for people and for programs.
struct Told {
    facts: Vec<Fact>,
    parts: Vec<(Part, String, String)>,
    last_run: Value,
}

/// Told to programs in numbers.
const LAST_RUN: &str = "last run";
/// Told to programs one by one.
const PARTS: &str = "fingerprint of";

/// What an instance comes to, finds and did last.
fn instance(workspace: &Workspace, id: u32) -> Told {
    let graph = &workspace.graph;
    let action = &graph.actions[id as usize];
    let mut facts = vec![fact("instance", [action.name.clone()])];
    if !action.is_group {
        facts.extend(rendered(workspace, action));
    }
    facts.push(fact("dependencies", graph.deps.get(id as usize).iter().map(|&id| name(workspace, id))));
    let mut told = Told { facts, parts: Vec::new(), last_run: Value::Null };
    if !action.is_group {
        find(workspace, id, &mut told);
    }
    told
}

fn rendered(workspace: &Workspace, action: &Action) -> Vec<Fact> {
    let path = workspace.caller.var("PATH").cloned().unwrap_or_default();
    let tool = |tool: &String| match find_program(&path, tool) {
        Some(found) => format!("{tool} ({})", found.display()),
        None if tool.contains('/') => tool.clone(),
        None => format!("{tool} (not on PATH)"),
    };
    let cwd = if action.cwd.is_empty() { "." } else { &action.cwd };
    let set = action.env.iter().map(|(name, _)| format!("{name} (set)"));
    let passed = action.pass_env.iter().map(|name| match workspace.caller.var(name) {
        Some(_) => format!("{name} (passed)"),
        None => format!("{name} (passed, unset now)"),
    });
    let untracked = action.untracked_env.iter().map(|name| format!("{name} (passed, untracked)"));
    let command = match action.argv.strip_prefix(action.shell.as_slice()) {
        Some([script]) => readable(script),
        _ => action.argv.iter().map(|word| quoted(&readable(word))).collect::<Vec<_>>().join(" "),
    };
    let is_script = action.argv.len() == action.shell.len() + 1 && action.argv.starts_with(&action.shell);
    vec![
        fact("command", [command]),
        fact("shell", is_script.then(|| action.shell.join(" "))),
        fact("cwd", [cwd]),
        fact(
            "outputs",
            action.outputs.iter().map(|output| {
                if output.is_folder { format!("{}/", output.path) } else { output.path.clone() }
            }),
        ),
        fact("env", set.chain(passed).chain(untracked)),
        fact("tools", action.tools.iter().map(tool)),
        fact("probes", action.probes.iter().map(|probe| readable(probe))),
        fact("check", action.check.iter().map(|check| readable(check))),
        fact("verify", action.verify.iter().map(|verify| readable(verify))),
        fact("depfile", action.depfile.iter().cloned()),
        fact("timeout", action.timeout_ms.iter().map(|ms| phrase::duration(*ms))),
    ]
}

/// Adds what a look at the workspace and its memory shows.
fn find(workspace: &Workspace, id: u32, told: &mut Told) {
    let graph = &workspace.graph;
    let action = &graph.actions[id as usize];
    let plan = Plan::new(graph.actions.len(), &[id], &graph.deps, &graph.after, true);
    let inquiry = match Inquiry::open(workspace, &plan) {
        Ok(inquiry) => inquiry,
        Err(trouble) => return told.facts.push(fact("trouble", [trouble.message])),
    };
    let node = Node(0);
    let paths = &inquiry.memory.journal.paths;
    let mut files: Vec<String> =
        inquiry.survey.inputs[node.index()].iter().map(|&path| paths.show(path).into_owned()).collect();
    files.sort_unstable();
    let record = inquiry.record(node);
    let discovered = record.iter().flat_map(|record| &record.discovered);
    told.facts.push(fact("input files", files));
    told.facts.push(fact("discovered", discovered.map(|(path, _)| paths.show(*path).into_owned())));
    if action.inputs.is_some() {
        let mut words = Words::default();
        walk(action, &inquiry.assessor(&Force::Nothing).values(node, &[]), &mut words);
        told.parts = words.0;
    }
    // The words of the command stand above already.
    let parts = told.parts.iter().filter(|(_, name, _)| name != "argv");
    told.facts.push(fact(PARTS, parts.map(|(part, name, text)| said(*part, name, &readable(text)))));
    if let Some(record) = record {
        last_run(workspace, action, record, told);
    }
}

fn word(part: Part) -> &'static str {
    match part {
        Part::Command => "command",
        Part::Outputs => "output",
        Part::Env => "env",
        Part::Tool => "tool",
        Part::Probe => "probe",
        Part::Export => "export",
    }
}

fn said(part: Part, name: &str, text: &str) -> String {
    match part {
        Part::Command => format!("{name}: {}", if text.is_empty() { "." } else { text }),
        part => format!("{} {name}: {text}", word(part)),
    }
}

fn last_run(workspace: &Workspace, action: &Action, record: &Record, told: &mut Told) {
    let fingerprint = record.fingerprint_hex();
    let ago = phrase::seconds(unix_ms().saturating_sub(record.finished_unix_ms));
    let took = phrase::duration(record.duration_ms);
    let log = record.log.as_ref().map(|_| workspace.memory().join("log").join(log_stem(&action.name)));
    let shown = fingerprint.as_ref().map(|fingerprint| format!("fingerprint {fingerprint}"));
    told.facts.push(fact(LAST_RUN, [format!("{ago} ago in {took}")].into_iter().chain(shown)));
    told.facts.push(fact("log", log.map(|path| path.display().to_string())));
    told.last_run = json!({
        "finished_unix_ms": record.finished_unix_ms,
        "duration_ms": record.duration_ms,
        "fingerprint": fingerprint,
    });
}

/// A text with `{{ … }}` in place of what is known only when it runs.
fn readable(text: &str) -> String {
    let pieces = text.split(PLACEHOLDER).enumerate();
    pieces
        .map(|(at, piece)| if at % 2 == 1 { format!("{{{{ {piece} }}}}") } else { piece.to_owned() })
        .collect()
}
