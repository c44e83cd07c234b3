//! `iact build`: goals to a plan, the plan to a run, the run to a screen.

use super::still::{self, Answer, Still};
use super::{End, open};
use crate::cli::{Asked, Build, Force as Forced, Typed, VERBS};
use crate::engine::assess::Force;
use crate::engine::confirm::Approval;
use crate::engine::drive::Listener;
use crate::engine::run::{self, Options};
use crate::engine::when;
use crate::error::{Error, Kind, Result, exit};
use crate::graph::Graph;
use crate::graph::names::number;
use crate::manifest::decl::Text;
use crate::plan::{Edges, Node, Plan};
use crate::reach::Reached;
use crate::report::Report;
use crate::snapshot::{self, Snapshot};
use crate::ui::Screen;
use crate::ui::facts::Facts;
use crate::ui::look::Look;
use crate::workspace::{Given, Workspace};
use rustc_hash::FxHashSet;
use std::mem::ManuallyDrop;

impl Listener for Screen {
    fn report(&mut self, report: &Report, now_ms: u64) {
        Self::report(self, report, now_ms);
    }

    fn ask(&mut self, target: &str, question: &str) -> Option<bool> {
        crate::ui::question::ask(target, question)
    }

    fn hand_over(&mut self, to_action: bool) {
        Self::hand_over(self, to_action);
    }

    fn wants_up_to_date(&self) -> bool {
        Self::wants_up_to_date(self)
    }

    fn wake_ms(&self) -> Option<u64> {
        Self::wake_ms(self)
    }

    fn tick(&mut self, now_ms: u64) {
        Self::tick(self, now_ms);
    }
}

/// Builds, or tells what would be built.
///
/// # Errors
/// Mistakes in what was asked for or declared; not the failure of an action.
pub fn build(typed: &Typed, build: &Build) -> Result<End> {
    let asked = build.asked();
    let look = Look::new(&typed.look, build.output, &Facts::of_process());
    let still = Still::of(typed, build, &asked)?;
    let answer = still.as_ref().map_or(Answer::Nothing, Still::answer);
    if let Answer::Holds(proof) = answer {
        let mut screen = Screen::new(&look, build.json, build.summary.as_deref());
        // Only programs are told how many there could have been, and to find out takes more than ten system calls.
        let is_told = build.json || build.summary.is_some();
        still::report(&proof, &asked.goals, if is_told { jobs(build) } else { 0 }, &mut screen);
        finish(screen)?;
        return Ok(End::Code(exit::DONE));
    }
    let kept = still.as_ref().and_then(|still| {
        let reached = match answer {
            Answer::Moved(proof, moved) => still.reached(proof, moved, given(&asked)),
            _ => None,
        };
        let ended = reached.and_then(|reached| by_reach(build, &look, still, reached));
        ended.or_else(|| by_snapshot(build, &look, still, given(&asked)))
    });
    if let Some(ended) = kept {
        return ended;
    }
    // The process ends soon: to take a large graph apart would cost a tenth of what it cost to make.
    let (opened, ahead) = still::with_journal(still.as_ref(), || open(typed, given(&asked)));
    let workspace = ManuallyDrop::new(opened?);
    if build.is_bare() && !build.json && workspace.graph.manifests[0].workspace.default.is_empty() {
        return super::list::everything(typed, &workspace);
    }
    let goals = Goals::of(&workspace, &asked, build.tags())
        .map_err(|wrong| suggest_verb(wrong, &workspace, build, &asked))?;
    let plan = goals.plan_with_cleanups(&workspace, build.only);
    workspace.graph.refuse_unused(&workspace.given.vars, &plan.actions)?;
    let mut screen = Screen::new(&look, build.json, build.summary.as_deref());
    let options = Options {
        force: force(&workspace, &plan, (&build.force(), build.only))?,
        approval: approval(&workspace, build)?,
        ..options(build, &goals, still.as_ref())
    };
    if build.dry_run {
        super::question::dry_run(&workspace, &plan, &options, &mut screen)?;
        finish(screen)?;
        return Ok(End::Code(exit::DONE));
    }
    let ended = run::run_ahead((&workspace, &plan), ahead, &options, &mut screen)?;
    finish(screen)?;
    if let Some(place) = still.filter(|_| !build.only).map(|still| snapshot::place(&still.place)) {
        // Without a snapshot the next build reads the Iactfiles again.
        let _ = snapshot::write(&place, &workspace, &plan, (&options.goals, &goals.actions));
    }
    Ok(ended.signal.map_or(End::Code(ended.exit_code), End::Signal))
}

/// The first word of a build without a verb may be meant as one.
fn suggest_verb(wrong: Box<Error>, workspace: &Workspace, build: &Build, asked: &Asked) -> Box<Error> {
    match asked.goals.first() {
        Some(first) if build.is_short && workspace.graph.goal(workspace.nearest(), first).is_err() => {
            wrong.suggest(first, VERBS)
        }
        _ => wrong,
    }
}

/// The same for what depends on the few files that moved. `None`: more has to be looked at; nothing has happened yet.
fn by_reach(build: &Build, look: &Look, still: &Still, reached: Reached) -> Option<Result<End>> {
    let Reached { workspace, plan, names, part } = reached;
    let goals = Goals { names, actions: Vec::new() };
    let mut screen = Screen::new(look, build.json, build.summary.as_deref());
    let options = options(build, &goals, Some(still));
    let ended = run::run_reached((&workspace, &plan), part, &options, &mut screen).ok()?;
    let end = ended.signal.map_or(End::Code(ended.exit_code), End::Signal);
    Some(finish(screen).map(|()| end))
}

/// The same with a graph that was resolved before. `None`: there is none, or something is wrong, which the long way tells
/// with its place.
fn by_snapshot(build: &Build, look: &Look, still: &Still, given: Given) -> Option<Result<End>> {
    if build.only {
        return None;
    }
    let Snapshot { workspace, names, goals } = still.snapshot(given)?;
    let workspace = ManuallyDrop::new(workspace);
    let goals = Goals { names, actions: goals };
    let plan = goals.plan_with_cleanups(&workspace, false);
    let mut screen = Screen::new(look, build.json, build.summary.as_deref());
    let ended = run::run(&workspace, &plan, &options(build, &goals, Some(still)), &mut screen).ok()?;
    let end = ended.signal.map_or(End::Code(ended.exit_code), End::Signal);
    Some(finish(screen).map(|()| end))
}

/// What the command line decides; nothing forced, nothing approved.
fn options(build: &Build, goals: &Goals, still: Option<&Still>) -> Options {
    Options {
        jobs: jobs(build),
        keep_going: build.keep_going,
        force: Force::Nothing,
        cache: !build.no_cache,
        goals: goals.names.clone(),
        approval: Approval { all: build.yes, actions: Vec::new() },
        proof: still.map(|still| still.place.clone()),
    }
}

fn finish(screen: Screen) -> Result<()> {
    screen.finish().map_err(|error| Error::new(Kind::Environment, "cannot write the summary").because(error))
}

/// Actions at once.
pub fn jobs(build: &Build) -> u32 {
    let processors = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(build.jobs.map_or_else(processors, std::num::NonZero::get)).unwrap_or(u32::MAX)
}

/// What the command line gives to templates.
pub fn given(asked: &Asked) -> Given {
    let vars = asked.vars.iter().map(|var| (var.name.clone(), var.value.clone())).collect();
    Given { vars, args: asked.args.clone() }
}

/// What was asked for, resolved.
pub struct Goals {
    /// As they were written.
    pub names: Vec<String>,
    /// What they mean.
    pub actions: Vec<u32>,
}

impl Goals {
    /// Resolves goals and tags; without either, the workspace's default ones.
    ///
    /// # Errors
    /// A name nobody has, a tag nobody has, nothing to build.
    pub fn of(workspace: &Workspace, asked: &Asked, tags: &[String]) -> Result<Self> {
        let graph = &workspace.graph;
        let mut names = asked.goals.clone();
        let mut actions = Vec::new();
        for name in &names {
            actions.extend(graph.goal(workspace.nearest(), name)?);
        }
        for tag in tags {
            let tagged = (0..graph.actions.len()).map(|id| u32::try_from(id).expect("an action's index"));
            let tagged: Vec<u32> = tagged
                .filter(|&id| graph.declaration(id).tags.iter().any(|text| text.value == *tag))
                .filter(|&id| graph.is_default(id))
                .collect();
            if tagged.is_empty() {
                return Err(unknown_tag(graph, tag));
            }
            names.push(format!("--tag {tag}"));
            actions.extend(tagged);
        }
        if names.is_empty() {
            for text in &graph.manifests[0].workspace.default {
                actions.extend(default_goal(graph, text)?);
                names.push(text.value.clone());
            }
        }
        if names.is_empty() {
            return Err(Error::new(
                Kind::Usage,
                "nothing to build: no goal is named, and `[workspace]` has no `default`",
            )
            .hint("`iact list` shows all targets"));
        }
        Ok(Self { names, actions })
    }

    /// Every instance of every target.
    pub fn everything(workspace: &Workspace) -> Self {
        Self { names: Vec::new(), actions: (0..number(workspace.graph.actions.len())).collect() }
    }

    /// The same for a question: without a goal and without default ones, everything is meant.
    ///
    /// # Errors
    /// As [`Self::of`], but for nothing to build.
    pub fn asked_about(workspace: &Workspace, asked: &Asked, tags: &[String]) -> Result<Self> {
        let has_default = !workspace.graph.manifests[0].workspace.default.is_empty();
        if asked.goals.is_empty() && tags.is_empty() && !has_default {
            return Ok(Self::everything(workspace));
        }
        Self::of(workspace, asked, tags)
    }

    /// The plan for them.
    pub fn plan(&self, workspace: &Workspace, only: bool) -> Plan {
        let graph = &workspace.graph;
        let mut plan = Plan::new(graph.actions.len(), &self.actions, &graph.deps, &graph.after, only);
        when::ask(workspace, &mut plan);
        plan
    }

    /// The plan for them with everything that may have to run after something in it.
    pub fn plan_with_cleanups(&self, workspace: &Workspace, only: bool) -> Plan {
        let graph = &workspace.graph;
        let is_group = |id: u32| graph.actions[id as usize].is_group;
        let edges =
            Edges { deps: &graph.deps, after: &graph.after, cleanups: &graph.cleanups, is_group: &is_group };
        let mut plan = Plan::with_cleanups(&self.actions, edges, only);
        when::ask(workspace, &mut plan);
        plan
    }
}

/// The instances that a text of the workspace's `default` means.
///
/// # Errors
/// A name that nobody has, at its place.
pub fn default_goal(graph: &Graph, text: &Text) -> Result<Vec<u32>> {
    graph.goal("", &text.value).map_err(|error| {
        Box::new(Error { kind: Kind::Manifest, ..*error }).at(&graph.manifests[0].source, text.span)
    })
}

/// A tag that nobody has.
pub fn unknown_tag(graph: &Graph, tag: &str) -> Box<Error> {
    let targets = graph.manifests.iter().flat_map(|manifest| &manifest.targets);
    let tags = targets.flat_map(|target| target.tags.iter().map(|text| text.value.as_str()));
    Error::new(Kind::Usage, format!("no target has the tag `{tag}`")).suggest(tag, tags)
}

/// What the command line says yes to.
///
/// # Errors
/// A target that nobody has.
pub fn approval(workspace: &Workspace, build: &Build) -> Result<Approval> {
    let mut actions = Vec::new();
    for name in &build.approve {
        for goal in workspace.graph.goal(workspace.nearest(), name)? {
            workspace.graph.each_member(goal, &mut |member| actions.push(member));
        }
    }
    Ok(Approval { all: build.yes, actions })
}

/// What `--force` means in a plan.
///
/// # Errors
/// A target that nobody has, or that the plan has no use for; `only` leaves out some that it would have.
pub fn force(workspace: &Workspace, plan: &Plan, (forced, only): (&Forced, bool)) -> Result<Force> {
    match forced {
        Forced::Nothing => Ok(Force::Nothing),
        Forced::Everything => Ok(Force::Everything),
        Forced::Targets(names) => {
            let mut nodes: Vec<Node> = Vec::new();
            for name in names {
                let mut members = FxHashSet::default();
                for goal in workspace.graph.goal(workspace.nearest(), name)? {
                    workspace.graph.each_member(goal, &mut |member| _ = members.insert(member));
                }
                let before = nodes.len();
                nodes.extend(plan.nodes().filter(|node| members.contains(&plan.actions[node.index()])));
                if nodes.len() == before && !members.is_empty() && !only {
                    let message = format!("`--force={name}`: nothing that was asked for needs `{name}`");
                    let hint = format!("ask for it, too: `iact build {name} --force={name} …`");
                    return Err(Error::new(Kind::Usage, message).hint(hint));
                }
            }
            Ok(Force::Nodes(nodes))
        }
    }
}
