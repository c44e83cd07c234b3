//! Manifests → graph: every instance with its texts rendered and its edges resolved. The only user of
//! petgraph.
//!
//! Invariant: a graph has no cycle, no two outputs that overlap, no input that is somebody's output without
//! an edge; what breaks one of these is refused with its place. Loading executes nothing: what the
//! workspace's files are is asked of the caller, once for every `for_each`. Considered and refused: expanding
//! only what the goals need; a mistake would then show only to whoever builds it.

pub mod action;
mod build;
pub mod check;
mod complete;
pub mod instance;
pub mod kept;
pub mod names;
pub mod overlap;
pub mod rare;
pub mod service;

use crate::error::{Error, Kind, Result};
use crate::manifest::decl::{Manifest, Target, Text, Work};
use crate::plan::{Cleanups, Lists};
use crate::scan::patterns::Patterns;
use crate::template::Templates;
use action::Action;
pub use build::build;
use instance::Machine;
use names::{Decl, Names, Reference, full, target};
use overlap::Makers;
use rustc_hash::FxHashMap;
use service::Service;
use std::sync::Arc;

/// What is asked of the machine and the caller before a graph can be made.
pub struct Setting<'a> {
    /// The root's first.
    pub manifests: Arc<Vec<Manifest>>,
    /// `NAME=VALUE` of the command line.
    pub overrides: Vec<(String, String)>,
    /// What follows `--`.
    pub args: Vec<String>,
    /// Facts of the machine.
    pub machine: Machine,
    /// The files that patterns mean, as text.
    pub files: &'a (dyn Fn(&Patterns) -> Result<Vec<String>> + Sync),
}

/// All instances of a workspace.
pub struct Graph {
    /// What was declared.
    pub manifests: Arc<Vec<Manifest>>,
    /// Where each action was declared.
    pub decls: Vec<Decl>,
    /// Every instance.
    pub actions: Vec<Action>,
    /// What each depends on.
    pub deps: Lists<u32>,
    /// What each comes after.
    pub after: Lists<u32>,
    /// What runs after some.
    pub cleanups: Cleanups,
    /// Names of pools.
    pub pools: Vec<(String, u32)>,
    /// Who makes what.
    pub makers: Makers,
    /// All names.
    pub names: Names,
    /// Every service.
    pub services: Arc<Vec<Service>>,
    /// Renders late texts.
    pub templates: Arc<Templates>,
    /// Whether actions are missing on which some of these depend.
    pub is_part: bool,
    default: Vec<bool>,
    by_name: FxHashMap<String, u32>,
    of_decl: FxHashMap<(u32, u32), Vec<u32>>,
}

/// Names that may be given to a target.
pub fn known_vars(manifests: &[Manifest], decl: Decl) -> Vec<&str> {
    let own = target(manifests, decl);
    let vars =
        own.vars.iter().chain(&manifests[decl.manifest as usize].vars).map(|(name, _)| name.value.as_str());
    vars.chain(own.matrix.iter().map(|(name, _)| name.value.as_str())).collect()
}

/// The texts of all services behind a target.
fn service_texts(graph: &Graph, decl: Decl) -> impl Iterator<Item = &Text> {
    let first = graph.of_decl.get(&(decl.manifest, decl.target)).and_then(|all| all.first());
    let uses = first.map_or(&[][..], |&id| &graph.actions[id as usize].services);
    let all = service::with_needs(&graph.services, uses.iter().map(|used| used.service));
    all.into_iter()
        .flat_map(|id| service::templated(graph.services[id as usize].declaration(&graph.manifests)))
}

impl Graph {
    /// The instances that a goal means, written in `folder`.
    ///
    /// # Errors
    /// A name that nobody has, with the nearest one that somebody has.
    pub fn goal(&self, folder: &str, written: &str) -> Result<Vec<u32>> {
        for name in [&full(folder, written), written.strip_prefix(':').unwrap_or(written)] {
            if let Some(id) = self.find(name) {
                return Ok(vec![id]);
            }
        }
        let reference = Reference::parse(written);
        let Some(decl) = self.names.find_goal(folder, reference.name) else {
            let wrong = Error::new(Kind::Usage, format!("`{written}` is not a target"));
            let wrong = wrong.suggest(reference.name, self.names.candidates(folder));
            return Err(wrong.hint("`iact list` shows all targets"));
        };
        let all = &self.of_decl[&(decl.manifest, decl.target)];
        let own = target(&self.manifests, decl);
        let chosen: Vec<u32> =
            all.iter().copied().filter(|&id| self.is_selected(id, own, &reference)).collect();
        if chosen.is_empty() && !reference.select.is_empty() {
            let wrong =
                Error::new(Kind::Usage, format!("`{written}` selects no instance of `{}`", reference.name));
            let names = all.iter().map(|&id| self.actions[id as usize].name.as_str());
            return Err(wrong.suggest(written, names));
        }
        Ok(chosen)
    }

    /// Whether an instance is one of its target's own, not made by an edge with variables.
    pub fn is_default(&self, id: u32) -> bool {
        self.default[id as usize]
    }

    fn is_selected(&self, id: u32, own: &Target, reference: &Reference<'_>) -> bool {
        let action = &self.actions[id as usize];
        let inner = Reference::parse(&action.name).select;
        reference.select.iter().all(|&(name, value)| match name {
            "" => action.file.as_deref() == Some(value),
            axis => own.matrix.iter().any(|(known, _)| known.value == axis) && inner.contains(&(axis, value)),
        })
    }

    /// The declaration of an action.
    pub fn declaration(&self, id: u32) -> &Target {
        target(&self.manifests, self.decls[id as usize])
    }

    /// The Iactfile an action was declared in.
    pub fn manifest(&self, id: u32) -> &Manifest {
        &self.manifests[self.decls[id as usize].manifest as usize]
    }

    /// Whether all actions there are are in it, and not only those of a request: only a whole one knows names.
    pub fn is_whole(&self) -> bool {
        self.by_name.len() == self.actions.len()
    }

    /// The instance of a full name.
    pub fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The instances of a declaration with its default variables.
    pub fn instances(&self, decl: Decl) -> &[u32] {
        self.of_decl.get(&(decl.manifest, decl.target)).map_or(&[], Vec::as_slice)
    }

    /// All members that a group stands for, or the action itself.
    pub fn each_member(&self, id: u32, each: &mut dyn FnMut(u32)) {
        if !self.actions[id as usize].is_group {
            return each(id);
        }
        let mut open = vec![id];
        let mut seen = rustc_hash::FxHashSet::default();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            if self.actions[id as usize].is_group {
                open.extend(self.deps.get(id as usize).iter().rev());
            } else {
                each(id);
            }
        }
    }

    /// Whether the work of a target is a group's.
    pub fn is_group(&self, decl: Decl) -> bool {
        matches!(target(&self.manifests, decl).work, Work::Group)
    }

    /// Refuses variables of the command line that nothing wanted uses.
    ///
    /// # Errors
    /// The first such name, with the nearest one that is used.
    pub fn refuse_unused(&self, overrides: &[(String, String)], wanted: &[u32]) -> Result<()> {
        if overrides.is_empty() {
            return Ok(());
        }
        let mut used: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
        let mut decls: Vec<Decl> = wanted.iter().map(|&id| self.decls[id as usize]).collect();
        decls.sort_unstable();
        decls.dedup();
        for &decl in &decls {
            let own = target(&self.manifests, decl);
            used.extend(own.matrix.iter().map(|(name, _)| name.value.clone()));
            let env = self.manifests[0].env.iter().chain(&self.manifests[decl.manifest as usize].env);
            let services = service_texts(self, decl);
            for text in instance::templated(own).chain(env.map(|(_, value)| value)).chain(services) {
                if let Ok(Some(uses)) = self.templates.uses(&text.value) {
                    used.extend(uses.names().map(str::to_owned));
                }
            }
        }
        for (name, _) in overrides {
            if !used.contains(name) {
                let wrong = Error::new(Kind::Usage, format!("no wanted target uses a variable `{name}`"));
                return Err(wrong.suggest(name, used.iter().map(String::as_str)));
            }
        }
        Ok(())
    }
}
