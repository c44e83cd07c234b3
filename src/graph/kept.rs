//! The part of a graph that a request needs, as bytes, and back again: for whoever finds that nothing moved from which the
//! graph was made.
//!
//! Invariant: only what is wholly told by these bytes is kept. Where a run would ask the Iactfile again (services, rarer
//! keys, texts rendered late, a remote), nothing is kept; what a run asks of every Iactfile (`[cache]`, `gitignore`, pools)
//! is kept with the actions. Of everything else, the places of mistakes first of all, the kept graph knows nothing: who fails
//! with one tries again with the whole.
//!
//! ```text
//! graph  = settings pools actions deps after outputs
//! action = texts, lists and numbers in the order of `put_action`
//! ```
//! The actions stand in the order of the plan and have new numbers. `outputs` are those of all other targets: wildcards must
//! not see them.

use super::Graph;
use super::action::{Action, Inputs, Output};
use super::names::{Decl, Names, number};
use super::overlap::Makers;
use crate::bytes::{Reader, put_bytes, put_flag, put_list, put_option, put_texts, put_u32};
use crate::error::Source;
use crate::manifest::decl::{Cache, Manifest, Retry, Severity, Target, Workspace};
use crate::plan::{Lists, Plan};
use crate::scan::patterns::Patterns;
use crate::schedule::Demand;
use crate::template::Templates;
use iact_cache::DigestFunction;
use std::sync::Arc;

/// Whether what is wanted of a graph can be told without the Iactfiles.
pub fn is_plain(graph: &Graph, plan: &Plan) -> bool {
    let is_plain = |&id: &u32| {
        let action = &graph.actions[id as usize];
        let rare = action.rare.is_some() || graph.declaration(id).rare.is_some();
        !rare && action.late.is_none() && action.services.is_empty()
    };
    let plain = plan.actions.iter().all(is_plain) && plan.conditions.is_empty() && plan.skips.is_empty();
    plain && graph.manifests[0].remote.is_none()
}

/// What is wanted of a graph as bytes; `None`: it cannot be told without the Iactfiles.
pub fn encode(graph: &Graph, plan: &Plan) -> Option<Vec<u8>> {
    if !is_plain(graph, plan) {
        return None;
    }
    let mut to = Vec::with_capacity(plan.actions.len() * 256);
    put_settings(&mut to, graph);
    put_list(&mut to, &plan.actions, |to, &id| put_action(to, &graph.actions[id as usize]));
    let mut new = vec![u32::MAX; graph.actions.len()];
    for (node, &id) in plan.actions.iter().enumerate() {
        new[id as usize] = number(node);
    }
    for lists in [&graph.deps, &graph.after] {
        for &id in &plan.actions {
            let mut list: Vec<u32> = lists
                .get(id as usize)
                .iter()
                .map(|&on| new[on as usize])
                .filter(|&on| on != u32::MAX)
                .collect();
            list.sort_unstable();
            put_list(&mut to, &list, |to, &on| put_u32(to, on));
        }
    }
    let others = graph.actions.iter().zip(&new).filter(|(_, new)| **new == u32::MAX);
    let outputs: Vec<&str> = others.flat_map(|(action, _)| action.writes()).collect();
    put_list(&mut to, &outputs, |to, path| put_bytes(to, path.as_bytes()));
    Some(to)
}

/// The graph again.
pub fn decode(bytes: &[u8]) -> Option<Graph> {
    let mut from = Reader(bytes);
    let settings = read_settings(&mut from)?;
    let actions = from.list(64, read_action)?;
    let count = number(actions.len());
    let mut lists = [Lists::default(), Lists::default()];
    for lists in &mut lists {
        for _ in 0..count {
            lists.push(from.list(4, |from| from.u32().filter(|&on| on < count))?);
        }
    }
    let others = from.texts()?;
    let [deps, after] = lists;
    from.0.is_empty().then(|| assemble(settings, actions, [deps, after], others))
}

/// The graph of these actions. `others` are outputs beside theirs.
pub(crate) fn assemble(
    (manifest, pools): Settings,
    actions: Vec<Action>,
    [deps, after]: [Lists<u32>; 2],
    others: Vec<String>,
) -> Graph {
    let others = others.into_iter().map(|path| (path, u32::MAX));
    let own = actions.iter().zip(0..);
    let own = own.flat_map(|(action, id)| action.writes().map(move |path| (path.to_owned(), id)));
    let makers = Makers::new(own.chain(others).collect());
    Graph {
        names: Names::new(&[]).expect("nothing has no name twice"),
        manifests: Arc::new(vec![manifest]),
        decls: vec![Decl { manifest: 0, target: 0 }; actions.len()],
        default: vec![true; actions.len()],
        actions,
        deps,
        after,
        is_part: false,
        cleanups: Default::default(),
        pools,
        makers,
        services: Arc::default(),
        templates: Arc::new(Templates::new()),
        by_name: Default::default(),
        of_decl: Default::default(),
    }
}

/// What a run reads of the root's Iactfile itself, and the pools.
pub(crate) type Settings = (Manifest, Vec<(String, u32)>);

pub(crate) fn put_settings(to: &mut Vec<u8>, graph: &Graph) {
    let root = &graph.manifests[0];
    let Cache { max_size, max_age_ms, digest, durable } = &root.cache;
    let gitignore = root.workspace.gitignore;
    let of_flag = |flag: Option<bool>| flag.map(u64::from);
    let digest = digest.map(|function| function as u64);
    for option in [*max_size, *max_age_ms, digest, of_flag(*durable), of_flag(gitignore)] {
        put_option(to, option);
    }
    put_list(to, &graph.pools, |to, (name, slots)| {
        put_bytes(to, name.as_bytes());
        put_u32(to, *slots);
    });
}

pub(crate) fn read_settings(from: &mut Reader<'_>) -> Option<Settings> {
    let (max_size, max_age_ms) = (from.option()?, from.option()?);
    let functions = [DigestFunction::Blake3, DigestFunction::Sha256];
    let digest = match from.option()? {
        Some(written) => Some(functions.into_iter().find(|function| *function as u64 == written)?),
        None => None,
    };
    let (durable, gitignore) = (from.option()?.map(|flag| flag == 1), from.option()?.map(|flag| flag == 1));
    let pools = from.list(8, |from| Some((from.text()?, from.u32()?)))?;
    let manifest = Manifest {
        source: Arc::new(Source { path: String::new(), text: String::new() }),
        folder: String::new(),
        requires: None,
        workspace: Workspace { gitignore, ..Workspace::default() },
        vars: Vec::new(),
        env: Vec::new(),
        cache: Cache { max_size, max_age_ms, digest, durable },
        remote: None,
        pools: Vec::new(),
        // Every action was declared by this one.
        targets: vec![Target::default()],
        services: Vec::new(),
    };
    Some((manifest, pools))
}

pub(crate) fn put_action(to: &mut Vec<u8>, action: &Action) {
    for text in [&action.name, &action.folder, &action.cwd] {
        put_bytes(to, text.as_bytes());
    }
    for texts in
        [&action.argv, &action.pass_env, &action.untracked_env, &action.tools, &action.probes, &*action.shell]
    {
        put_texts(to, texts);
    }
    put_list(to, &action.env, |to, (name, value)| {
        put_bytes(to, name.as_bytes());
        put_bytes(to, value.as_bytes());
    });
    put_flag(to, action.inputs.is_some());
    if let Some(inputs) = &action.inputs {
        put_texts(to, inputs.patterns.texts());
        put_texts(to, &inputs.literals);
    }
    put_list(to, &action.outputs, |to, output| {
        put_bytes(to, output.path.as_bytes());
        put_flag(to, output.is_folder);
    });
    for text in [&action.file, &action.depfile, &action.check, &action.verify] {
        put_list(to, text.as_slice(), |to, text| put_bytes(to, text.as_bytes()));
    }
    for flag in [action.is_group, action.keep_outputs, action.cache, action.remote, action.relocatable] {
        put_flag(to, flag);
    }
    put_option(to, action.timeout_ms);
    let demand = &action.demand;
    put_u32(to, demand.cpus);
    put_option(to, Some(demand.memory_bytes));
    put_option(to, demand.pool.map(u64::from));
    put_flag(to, demand.exclusive);
    put_u32(to, action.batch);
    to.push(action.severity as u8);
    put_list(to, action.retry.as_slice(), |to, retry| {
        put_u32(to, retry.attempts);
        put_option(to, Some(retry.delay_ms));
        put_option(to, retry.max_delay_ms);
        put_list(to, &retry.on_exit, |to, code| put_u32(to, code.cast_unsigned()));
    });
}

pub(crate) fn read_action(from: &mut Reader<'_>) -> Option<Action> {
    let (name, folder, cwd) = (from.text()?, from.text()?, from.text()?);
    let (argv, pass_env, untracked_env) = (from.texts()?, from.texts()?, from.texts()?);
    let (tools, probes, shell) = (from.texts()?, from.texts()?, from.texts()?);
    let env = from.list(8, |from| Some((from.text()?, from.text()?)))?;
    let patterns = if from.flag()? { Some((from.texts()?, from.texts()?)) } else { None };
    let outputs = from.list(5, |from| Some(Output { path: from.text()?, is_folder: from.flag()? }))?;
    let mut text = || Some(from.texts()?.pop());
    let (file, depfile, check, verify) = (text()?, text()?, text()?, text()?);
    let inputs = match patterns {
        Some((texts, literals)) => Some(Inputs { patterns: compile(texts, file.as_deref())?, literals }),
        None => None,
    };
    Some(Action {
        is_group: from.flag()?,
        keep_outputs: from.flag()?,
        cache: from.flag()?,
        remote: from.flag()?,
        relocatable: from.flag()?,
        timeout_ms: from.option()?,
        demand: Demand {
            cpus: from.u32()?,
            memory_bytes: from.option()??,
            pool: match from.option()? {
                Some(pool) => Some(u32::try_from(pool).ok()?),
                None => None,
            },
            exclusive: from.flag()?,
        },
        batch: from.u32()?,
        severity: {
            let written = from.byte()?;
            [Severity::Error, Severity::Warn, Severity::Info].into_iter().find(|one| *one as u8 == written)?
        },
        retry: from.list(20, read_retry)?.pop(),
        name,
        folder,
        cwd,
        argv,
        env,
        pass_env,
        untracked_env,
        tools,
        probes,
        shell: Arc::new(shell),
        inputs,
        outputs,
        file,
        depfile,
        check,
        verify,
        late: None,
        services: Vec::new(),
        rare: None,
    })
}

fn read_retry(from: &mut Reader<'_>) -> Option<Retry> {
    Some(Retry {
        attempts: from.u32()?,
        delay_ms: from.option()??,
        max_delay_ms: from.option()?,
        on_exit: from.list(4, |from| from.u32().map(u32::cast_signed))?,
    })
}

/// The file of a `for_each` was added to its patterns as it stands, wildcards and all.
fn compile(mut texts: Vec<String>, file: Option<&str>) -> Option<Patterns> {
    let added = file.and_then(|file| texts.pop_if(|last| last == file));
    if file.is_some() && added.is_none() {
        return None;
    }
    let mut patterns = Patterns::compile(texts).ok()?;
    added.into_iter().for_each(|file| patterns.add_literal(file));
    Some(patterns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::instance::Machine;
    use crate::graph::{Setting, build};

    const TEXT: &str = r#"
[workspace]
gitignore = false
[cache]
digest = "sha256"
max_size = "3GiB"
durability = "none"
[pool.few]
slots = 2
[env]
EVERYWHERE = "1"
[target.all]
deps = ["one", "each"]
[target.one]
after = ["two"]
inputs = ["src/**/*.c", "!src/not", "literal", "more/"]
outputs = ["out/a", "out/b/"]
tools = ["cc"]
probes = ["cc --version"]
pass_env = ["GIVEN"]
untracked_env = ["SHOWN"]
depfile = "out/d"
check = "true"
cwd = "src"
pool = "few"
cpus = 3
exclusive = true
keep_outputs = true
cache = false
relocatable = false
timeout = "3s"
env = { NAME = "value", EMPTY = "" }
run = "echo $NAME"
[target.two]
outputs = ["two"]
inputs = []
exec = ["touch", "two"]
[target.each]
deps = ["two"]
for_each = "each/*.sh"
run = "sh {{ file }}"
[target.other]
outputs = ["elsewhere"]
inputs = []
run = "touch elsewhere"
"#;

    fn graph(text: &str) -> Graph {
        let source = Arc::new(Source { path: "Iactfile.toml".into(), text: text.into() });
        let files = |_: &Patterns| Ok(vec!["each/a.sh".to_owned(), "each/b*.sh".to_owned()]);
        let machine = Machine { os: "linux".into(), arch: "x86_64".into(), distro: "debian12".into() };
        let manifests = Arc::new(vec![crate::manifest::parse(source, "").expect("a good Iactfile")]);
        build(&Setting { manifests, overrides: Vec::new(), args: Vec::new(), machine, files: &files })
            .unwrap_or_else(|wrong| panic!("{wrong:?}"))
    }

    fn plan(graph: &Graph, goal: &str) -> Plan {
        let goals = graph.goal("", goal).expect("it is there");
        Plan::new(graph.actions.len(), &goals, &graph.deps, &graph.after, false)
    }

    /// All there is to know of an action; of compiled globs the texts, and which of them are plain paths.
    fn told(action: &Action) -> String {
        let inputs = action.inputs.as_ref().map(|inputs| {
            let plain: Vec<_> = inputs.patterns.literals().collect();
            format!("{:?} {plain:?} {:?}", inputs.patterns.texts(), inputs.literals)
        });
        format!("{:?} {inputs:?}", Action { inputs: None, ..action.clone() })
    }

    #[test]
    fn what_comes_back_is_what_was_kept() {
        let whole = graph(TEXT);
        let plan = plan(&whole, "all");
        let kept = decode(&encode(&whole, &plan).expect("it is plain")).expect("it was just made");
        let wanted = plan.actions.iter().map(|&id| &whole.actions[id as usize]);
        assert_eq!(kept.actions.iter().map(told).collect::<Vec<_>>(), wanted.map(told).collect::<Vec<_>>());
        assert_eq!(kept.pools, whole.pools);
        let settings = |graph: &Graph| {
            format!("{:?} {:?}", graph.manifests[0].cache, graph.manifests[0].workspace.gitignore)
        };
        assert_eq!(settings(&kept), settings(&whole));
        let paths = |graph: &Graph| graph.makers.paths().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(paths(&kept), paths(&whole), "the outputs of others are hidden from wildcards too");
        let goals = [number(kept.actions.len() - 1)];
        let again = Plan::new(kept.actions.len(), &goals, &kept.deps, &kept.after, false);
        assert_eq!(again.edges, plan.edges);
    }

    #[test]
    fn what_cannot_be_told_without_the_iactfile_is_not_kept() {
        for (old, new) in [
            ("[target.two]", "[target.two]\nlock = \"name\""),
            ("[target.two]", "[target.two]\nseverity = \"warn\""),
            ("check = \"true\"", "check = \"true\"\nverify = \"true\""),
            ("exec = [\"touch\", \"two\"]", "run = \"touch {{ workspace }}/two\""),
        ] {
            let graph = graph(&TEXT.replacen(old, new, 1));
            assert!(encode(&graph, &plan(&graph, "all")).is_none(), "{new}");
            assert!(encode(&graph, &plan(&graph, "other")).is_some(), "{new}: nobody asks for it");
        }
    }

    #[test]
    fn damaged_bytes_come_to_nothing_worse_than_nothing() {
        let whole = graph(TEXT);
        let bytes = encode(&whole, &plan(&whole, "all")).expect("it is plain");
        for at in 0..bytes.len() {
            assert!(decode(&bytes[..at]).is_none(), "cut at {at}");
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x81;
            // The file's checksum finds this; here only that it ends.
            let _ = decode(&flipped);
        }
    }
}
