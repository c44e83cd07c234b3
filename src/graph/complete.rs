//! Completing an instance whose edges are known: command, environment, inputs and demands, rendered.
//!
//! Invariant: nothing here makes an instance or an edge, so the order in which instances are completed does not matter; of
//! several mistakes the one of the first instance is told.

use super::action::{Action, Inputs, Output};
use super::build::{Builder, Edges, SHELL, pattern};
use super::instance::{self, Answers, Bound};
use super::names::{Decl, number, target};
use super::{check, service};
use crate::error::Result;
use crate::manifest::decl::{Amount, Manifest, Target, Text};
use crate::path;
use crate::scan::patterns::Patterns;
use crate::schedule::Demand;
use crate::template::{Layer, Scope, Value};
use rayon::prelude::*;
use std::sync::Arc;

/// Below that many instances the threads would cost more than they bring.
pub(super) const WORTH_THREADS: usize = 256;

impl Builder<'_> {
    /// Renders everything that needs to know edges.
    pub(super) fn complete_all(&mut self, edges: &Edges, pools: &[(String, u32)]) -> Result<()> {
        for id in 0..self.actions.len() {
            if has_templates(self.manifests(), self.bounds[id].decl) {
                self.bounds[id].scope = self.own_scope(id, edges)?;
            }
        }
        let mut actions = std::mem::take(&mut self.actions);
        let wrong = |(action, bound): (&mut Action, &Bound)| self.complete(action, bound, pools).err();
        let first_wrong = if actions.len() < WORTH_THREADS {
            actions.iter_mut().zip(&self.bounds).find_map(wrong)
        } else {
            actions.par_iter_mut().zip(&self.bounds).with_min_len(32).find_map_first(wrong)
        };
        self.actions = actions;
        first_wrong.map_or(Ok(()), Err)
    }

    fn complete(&self, action: &mut Action, bound: &Bound, pools: &[(String, u32)]) -> Result<()> {
        let manifests = self.manifests();
        let Bound { decl, scope } = bound;
        let decl = *decl;
        let (manifest, own) = (&manifests[decl.manifest as usize], target(manifests, decl));
        let folder = &manifest.folder;
        let shell = self.shell(own);
        let texts = instance::texts(manifests, &self.templates, bound, &shell)?;
        let cwd =
            own.cwd.as_ref().map(|text| self.render(decl, text, scope).map(|cwd| (text, cwd))).transpose()?;
        let cwd = match cwd {
            None => folder.clone(),
            Some((text, cwd)) => {
                path::normalise(folder, &cwd).map_err(|why| self.at(decl, text.span, why.to_string()))?.path
            }
        };
        let depfile = match &own.depfile {
            None => None,
            Some(text) => {
                let written = self.render(decl, text, scope)?;
                Some(
                    path::normalise(folder, &written)
                        .map_err(|why| self.at(decl, text.span, why.to_string()))?
                        .path,
                )
            }
        };
        let inputs = self.inputs(bound, action.file.clone())?;
        let tools = own.tools.iter().map(|tool| Ok(tool_at(folder, self.render(decl, tool, scope)?)));
        let tools = tools.collect::<Result<_>>()?;
        // A batch renders its command again with all of its files.
        let batched = own.for_each.as_ref().is_some_and(|each| each.batch.is_some());
        let rare = self.rare(decl, scope)?;
        // What is kept is proved again elsewhere, so its proof is rendered with other paths.
        let late = batched || own.verify.is_some() || instance::is_late(manifests, &self.templates, decl);
        let sorted = |list: &[Text]| {
            let mut names: Vec<String> = list.iter().map(|name| name.value.clone()).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        let bound = late.then(|| Box::new(bound.clone()));
        let demand = self.demand(decl, pools)?;
        let services = self.services_of(decl)?;
        (action.argv, action.env, action.probes) = (texts.argv, texts.env, texts.probes);
        (action.check, action.verify) = (texts.check, texts.verify);
        (action.cwd, action.depfile, action.inputs, action.tools) = (cwd, depfile, inputs, tools);
        (action.late, action.shell, action.demand) = (bound, shell, demand);
        (action.pass_env, action.untracked_env) = (sorted(&own.pass_env), sorted(&own.untracked_env));
        action.services = services;
        action.keep_outputs = own.keep_outputs;
        action.cache = own.cache.unwrap_or(true);
        action.remote = own.remote.unwrap_or(true);
        action.relocatable = own.relocatable.unwrap_or(true);
        action.timeout_ms = own.timeout_ms;
        action.batch = own.for_each.as_ref().and_then(|each| each.batch).unwrap_or(0);
        action.severity = own.rare.as_ref().map(|rare| rare.severity).unwrap_or_default();
        action.retry = own.rare.as_ref().and_then(|rare| rare.retry.clone());
        action.demand.exclusive |= rare.as_ref().is_some_and(|rare| rare.interactive);
        action.rare = rare;
        Ok(())
    }

    /// The scope with `out`, `outs` and answers about dependencies.
    fn own_scope(&self, id: usize, edges: &Edges) -> Result<Scope> {
        let folder = &self.actions[id].folder;
        let relative = |output: &Output| path::relative_to(folder, &output.path);
        let outs: Vec<String> = self.actions[id].outputs.iter().map(relative).collect();
        let mut layer = Layer::default();
        if let Some(first) = outs.first() {
            layer.set_text("out", first);
        }
        layer.set("outs", Value::List(outs));
        let services = self.services_of(self.bounds[id].decl)?;
        let services = service::ports(&self.services, self.manifests(), &services);
        let mut answers =
            Answers { folder: folder.clone(), outs: Vec::new(), exporters: Vec::new(), services };
        for (written, ids) in &edges.written[id] {
            let (mut all, mut exporters) = (Vec::new(), Vec::new());
            ids.iter().for_each(|&on| {
                check::each_member(&edges.deps, &self.actions, on, &mut |member| {
                    all.extend(
                        self.actions[member as usize].outputs.iter().map(|output| output.path.clone()),
                    );
                    let declared = target(self.manifests(), self.bounds[member as usize].decl).rare.as_ref();
                    let names = declared.iter().flat_map(|rare| rare.exports.iter());
                    let names = names.map(|name| name.value.clone()).collect();
                    exporters.push((self.actions[member as usize].name.clone(), names));
                })
            });
            answers.outs.push((written.clone(), all));
            answers.exporters.push((written.clone(), exporters));
        }
        Ok(self.bounds[id].scope.with_layer(Arc::new(layer)).with_lookup(Arc::new(answers)))
    }

    fn inputs(&self, bound: &Bound, file: Option<String>) -> Result<Option<Inputs>> {
        let Bound { decl, scope } = bound;
        let decl = *decl;
        let own = target(self.manifests(), decl);
        if own.inputs.is_none() && file.is_none() {
            return Ok(None);
        }
        let folder = &self.manifests()[decl.manifest as usize].folder;
        let declared = own.inputs.as_deref().unwrap_or_default();
        let mut texts = Vec::with_capacity(declared.len());
        for text in declared {
            let written = self.render(decl, text, scope)?;
            texts.push(pattern(folder, &written).map_err(|why| self.at(decl, text.span, why))?);
        }
        let mut patterns = Patterns::compile(texts).map_err(|bad| {
            let text = &declared[bad.index];
            self.at(decl, text.span, format!("`{}` is not a glob", text.value)).because(bad)
        })?;
        if let Some(file) = file {
            patterns.add_literal(file);
        }
        Ok(Some(Inputs { patterns, literals: Vec::new() }))
    }

    fn shell(&self, own: &Target) -> Arc<Vec<String>> {
        match &own.shell {
            Some(words) => Arc::new(words.iter().map(|word| word.value.clone()).collect()),
            None => Arc::clone(&self.usual_shell),
        }
    }

    fn demand(&self, decl: Decl, pools: &[(String, u32)]) -> Result<Demand> {
        let own = target(self.manifests(), decl);
        let pool = match &own.pool {
            None => None,
            Some(text) => match pools.iter().position(|(name, _)| *name == text.value) {
                Some(at) => Some(number(at)),
                None => {
                    let wrong = self.at(decl, text.span, format!("pool `{}` is not defined", text.value));
                    return Err(wrong.suggest(&text.value, pools.iter().map(|(name, _)| name.as_str())));
                }
            },
        };
        let cpus = match own.cpus {
            None => 1,
            Some(Amount::Count(count)) => count.max(1),
            Some(Amount::All) => u32::MAX,
        };
        let memory_bytes = own.rare.as_ref().and_then(|rare| rare.memory_bytes).unwrap_or(0);
        Ok(Demand { cpus, memory_bytes, pool, exclusive: own.exclusive })
    }
}

/// A tool as an action has it: its name, to be found on PATH; its place from the workspace's root, behind `./`; or absolute.
fn tool_at(folder: &str, written: String) -> String {
    if !written.contains('/') || written.starts_with('/') {
        return written;
    }
    match path::normalise(folder, &written) {
        Ok(normal) => format!("./{}", normal.path),
        Err(_) => format!("./{folder}/{written}"),
    }
}

/// Whether any text of a target, or of the variables it is given, is a template.
pub(super) fn has_templates(manifests: &[Manifest], decl: Decl) -> bool {
    let env = manifests[0].env.iter().chain(&manifests[decl.manifest as usize].env);
    let texts = instance::templated(target(manifests, decl)).chain(env.map(|(_, value)| value));
    texts.into_iter().any(|text| crate::template::is_template(&text.value))
}

/// What stands in front of the scripts of a workspace.
pub(super) fn usual_shell(manifests: &[Manifest]) -> Vec<String> {
    match &manifests[0].workspace.shell {
        Some(words) => words.iter().map(|word| word.value.clone()).collect(),
        None => SHELL.map(str::to_owned).to_vec(),
    }
}
