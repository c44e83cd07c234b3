//! Building the graph: instances first, then edges, then everything that must know its edges to be rendered.
//!
//! Invariant: what is known without a wildcard comes before what a wildcard finds, so that no wildcard sees an output; an
//! edge with variables may make instances, which are resolved too, and never without end.

use super::action::{Action, Output};
use super::instance::{self, Binding, Bound};
use super::names::{Decl, Names, Reference, full, number, target};
use super::overlap::Makers;
use super::service::{self, Service};
use super::{Graph, Setting, check, known_vars};
use crate::error::{Error, Kind, Result, Span};
use crate::manifest::decl::{Dep, Manifest, Text, Work};
use crate::path;
use crate::plan::{Cleanups, Lists};
use crate::scan::patterns::Patterns;
use crate::scan::walk::Outputs;
use crate::template::{File, Layer, Quoting, Scope, Templates, Value};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The default command in front of a script.
pub(super) const SHELL: [&str; 4] = ["bash", "-euo", "pipefail", "-c"];

/// Instances that edges with variables may lead to, one from the other.
const MAX_CHAIN: u32 = 100;

/// A graph on its way.
pub(super) struct Builder<'a> {
    pub(super) setting: &'a Setting<'a>,
    pub(super) names: Names,
    pub(super) templates: Templates,
    pub(super) overrides: Arc<Layer>,
    pub(super) builtin: Arc<Layer>,
    pub(super) file_vars: Vec<Arc<Layer>>,
    pub(super) services: Vec<Service>,
    pub(super) usual_shell: Arc<Vec<String>>,
    pub(super) actions: Vec<Action>,
    pub(super) bounds: Vec<Bound>,
    pub(super) chain: Vec<u32>,
    /// What stands in the brackets of each name, part by part.
    parts: Vec<Vec<String>>,
    pub(super) outputs: Outputs,
    pub(super) by_name: FxHashMap<String, u32>,
    pub(super) of_decl: FxHashMap<(u32, u32), Vec<u32>>,
}

/// Builds the graph of a workspace.
///
/// # Errors
/// The first thing the format page says is refused, with its place.
pub fn build(setting: &Setting<'_>) -> Result<Graph> {
    let manifests = &setting.manifests;
    instance::refuse_reserved(manifests)?;
    let layer = |pairs: &mut dyn Iterator<Item = (&str, &str)>| {
        let mut layer = Layer::default();
        pairs.for_each(|(name, value)| layer.set_text(name, value));
        Arc::new(layer)
    };
    let targets = manifests.iter().map(|file| file.targets.len()).sum();
    let mut builder = Builder {
        setting,
        names: Names::new(manifests)?,
        templates: Templates::new(),
        overrides: layer(&mut setting.overrides.iter().map(|(name, value)| (name.as_str(), value.as_str()))),
        builtin: Arc::new(instance::builtin(&setting.machine, &setting.args)),
        file_vars: manifests
            .iter()
            .map(|file| layer(&mut file.vars.iter().map(|(name, value)| (&*name.value, &*value.value))))
            .collect(),
        services: service::all(manifests),
        usual_shell: Arc::new(super::complete::usual_shell(manifests)),
        actions: Vec::with_capacity(targets),
        bounds: Vec::with_capacity(targets),
        chain: Vec::with_capacity(targets),
        parts: Vec::with_capacity(targets),
        outputs: Outputs::default(),
        by_name: with_room(targets),
        of_decl: with_room(targets),
    };
    // Wildcards do not see outputs, so those that are known without a wildcard come first.
    for by_wildcard in [false, true] {
        for (at, manifest) in manifests.iter().enumerate() {
            for (index, target) in manifest.targets.iter().enumerate() {
                if target.for_each.is_some() == by_wildcard {
                    builder.instances(Decl { manifest: number(at), target: number(index) }, &[], 0)?;
                }
            }
        }
        let outputs = builder.actions.iter().flat_map(|action| &action.outputs);
        builder.outputs = Outputs::new(outputs.map(|output| output.path.clone()).collect());
    }
    instance::refuse_one_of_batch(manifests, &builder.templates)?;
    builder.refuse_unknown_defaults()?;
    builder.resolve_services()?;
    let edges = builder.edges()?;
    builder.finish(edges)
}

/// An empty map that need not grow while that many come.
pub(super) fn with_room<K, V>(count: usize) -> FxHashMap<K, V> {
    FxHashMap::with_capacity_and_hasher(count, rustc_hash::FxBuildHasher)
}

/// The edges of every instance.
pub(super) struct Edges {
    pub(super) deps: Vec<Vec<u32>>,
    pub(super) after: Vec<Vec<u32>>,
    pub(super) cleanups: Cleanups,
    /// Names as written in `deps`, with what each means: for `outs_of`, of what has templates.
    pub(super) written: Vec<Vec<(String, Vec<u32>)>>,
}

impl Builder<'_> {
    pub(super) fn manifests(&self) -> &[Manifest] {
        &self.setting.manifests
    }

    pub(super) fn at(&self, decl: Decl, span: Span, message: impl Into<String>) -> Box<Error> {
        Error::new(Kind::Manifest, message).at(&self.manifests()[decl.manifest as usize].source, span)
    }

    pub(super) fn render(&self, decl: Decl, text: &Text, scope: &Scope) -> Result<String> {
        let source = &self.manifests()[decl.manifest as usize].source;
        let rendered = self.templates.render(&text.value, scope, Quoting::None);
        rendered.map(std::borrow::Cow::into_owned).map_err(|wrong| wrong.into_error(source, text))
    }

    fn overridden(&self, name: &str) -> Option<&str> {
        let found = self.setting.overrides.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The instances of a target under an edge's variables, made if they are new.
    pub(super) fn instances(
        &mut self,
        decl: Decl,
        edge: &[(String, String)],
        chain: u32,
    ) -> Result<Vec<u32>> {
        if edge.is_empty()
            && let Some(known) = self.of_decl.get(&(decl.manifest, decl.target))
        {
            return Ok(known.clone());
        }
        let mut made = Vec::new();
        for axes in self.combinations(decl, edge) {
            let manifests = Arc::clone(&self.setting.manifests);
            let own = target(&manifests, decl);
            let binding = Binding {
                manifests: &manifests,
                overrides: &self.overrides,
                builtin: &self.builtin,
                file_vars: &self.file_vars,
                templates: &self.templates,
            };
            let scope = binding.scope(decl, edge, &axes)?;
            let extra = binding.extra_vars(decl, edge, &axes);
            let parts: Vec<String> =
                axes.iter().chain(&extra).map(|(name, value)| format!("{name}={value}")).collect();
            match &own.for_each {
                None => made.push(self.instance(Bound { decl, scope }, parts, None, chain)?),
                Some(each) => {
                    for file in self.each_file(decl, &each.glob, &scope)? {
                        let mut parts = parts.clone();
                        parts.push(file.clone());
                        let bound = Bound { decl, scope: scope.clone() };
                        made.push(self.instance(bound, parts, Some(file), chain)?);
                    }
                }
            }
        }
        if edge.is_empty() {
            self.of_decl.insert((decl.manifest, decl.target), made.clone());
        }
        Ok(made)
    }

    /// Every combination of the matrix, narrowed by the command line and by an edge.
    fn combinations(&self, decl: Decl, edge: &[(String, String)]) -> Vec<Vec<(String, String)>> {
        let mut all: Vec<Vec<(String, String)>> = vec![Vec::new()];
        for (axis, values) in &target(self.manifests(), decl).matrix {
            let given = self.overridden(&axis.value).map(str::to_owned);
            let chosen = given
                .or_else(|| edge.iter().find(|(name, _)| *name == axis.value).map(|pair| pair.1.clone()));
            let values: Vec<String> = match chosen {
                Some(value) => vec![value],
                None => values.iter().map(|value| value.value.clone()).collect(),
            };
            let with = |combination: &Vec<(String, String)>, value: &String| {
                combination.iter().cloned().chain([(axis.value.clone(), value.clone())]).collect()
            };
            all = all.iter().flat_map(|one| values.iter().map(move |value| with(one, value))).collect();
        }
        all
    }

    fn each_file(&self, decl: Decl, glob: &Text, scope: &Scope) -> Result<Vec<String>> {
        let folder = &self.manifests()[decl.manifest as usize].folder;
        let written = self.render(decl, glob, scope)?;
        let pattern = pattern(folder, &written).map_err(|why| self.at(decl, glob.span, why))?;
        let patterns = Patterns::compile(vec![pattern])
            .map_err(|bad| self.at(decl, glob.span, format!("`{written}` is not a glob")).because(bad))?;
        let found = (self.setting.files)(&patterns)?;
        Ok(found.into_iter().filter(|file| !self.outputs.covers(file)).collect())
    }

    fn instance(
        &mut self,
        bound: Bound,
        parts: Vec<String>,
        file: Option<String>,
        chain: u32,
    ) -> Result<u32> {
        let Bound { decl, scope } = bound;
        let manifests = Arc::clone(&self.setting.manifests);
        let (manifest, own) = (&manifests[decl.manifest as usize], target(&manifests, decl));
        let mut name = full(&manifest.folder, &own.name.value);
        if !parts.is_empty() {
            name = format!("{name}[{}]", parts.join(","));
        }
        if let Some(&known) = self.by_name.get(&name) {
            if self.parts[known as usize] != parts {
                let message = format!("`{name}` would be two instances with different variables");
                let wrong = self.at(decl, own.name.span, message);
                return Err(
                    wrong.hint("in a value that a dependency gives it, a `,` reads as the next variable")
                );
            }
            return Ok(known);
        }
        let mut layer = Layer::default();
        if let Some(file) = &file {
            let path = File { path: path::relative_to(&manifest.folder, file) };
            layer.set("files", Value::Files(vec![path.clone()]));
            layer.set("file", Value::File(path));
        }
        let scope = if file.is_some() { scope.with_layer(Arc::new(layer)) } else { scope };
        let mut outputs = Vec::with_capacity(own.outputs.len());
        for text in &own.outputs {
            let written = self.render(decl, text, &scope)?;
            let normal = path::normalise_output(&manifest.folder, &written)
                .map_err(|why| self.at(decl, text.span, why.to_string()))?;
            outputs.push(Output { path: normal.path, is_folder: normal.folder });
        }
        let id = number(self.actions.len());
        self.actions.push(Action {
            name: name.clone(),
            is_group: matches!(own.work, Work::Group),
            folder: manifest.folder.clone(),
            outputs,
            file,
            ..Action::default()
        });
        self.by_name.insert(name, id);
        self.bounds.push(Bound { decl, scope });
        self.chain.push(chain);
        self.parts.push(parts);
        Ok(id)
    }

    fn refuse_unknown_defaults(&self) -> Result<()> {
        let root = &self.manifests()[0];
        for text in &root.workspace.default {
            let name = Reference::parse(&text.value).name;
            if self.names.find("", name).is_none() {
                let wrong = Error::new(Kind::Manifest, format!("the default goal `{name}` is not defined"));
                return Err(wrong.at(&root.source, text.span).suggest(name, self.names.candidates("")));
            }
        }
        Ok(())
    }

    /// Resolves `deps` and `after` of every instance; edges with variables may add instances, which are
    /// resolved too.
    fn edges(&mut self) -> Result<Edges> {
        let manifests = Arc::clone(&self.setting.manifests);
        let mut edges =
            Edges { deps: Vec::new(), after: Vec::new(), cleanups: Cleanups::default(), written: Vec::new() };
        let mut next = 0;
        while next < self.actions.len() {
            let decl = self.bounds[next].decl;
            let own = target(&manifests, decl);
            let (mut deps, mut written) = (Vec::new(), Vec::new());
            let may_ask = super::complete::has_templates(&manifests, decl);
            for dep in &own.deps {
                let found = self.dep(next, decl, dep)?;
                deps.extend_from_slice(&found);
                written.extend(may_ask.then(|| (dep.target.value.clone(), found)));
            }
            deps.extend(self.deps_by_services(decl)?);
            let mut after = self.named(next, decl, &own.after)?;
            if let Some(rare) = own.rare.as_deref() {
                let lists = [&rare.on_failure, &rare.finally].map(|names| self.named(next, decl, names));
                let [on_failure, finally] = lists;
                edges.cleanups.add(number(next), on_failure?, finally?);
            }
            for list in [&mut deps, &mut after] {
                list.sort_unstable();
                list.dedup();
            }
            edges.deps.push(deps);
            edges.after.push(after);
            edges.written.push(written);
            next += 1;
        }
        Ok(edges)
    }

    fn named(&mut self, from: usize, decl: Decl, names: &[Text]) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for name in names {
            found.extend(self.dep(from, decl, &Dep { target: name.clone(), vars: Vec::new() })?);
        }
        Ok(found)
    }

    fn dep(&mut self, from: usize, decl: Decl, dep: &Dep) -> Result<Vec<u32>> {
        let manifests = Arc::clone(&self.setting.manifests);
        let folder = &manifests[decl.manifest as usize].folder;
        let reference = Reference::parse(&dep.target.value);
        let Some(found) = self.names.find(folder, reference.name) else {
            let owner = &self.actions[from].name;
            let message = format!("target `{owner}` depends on `{}`, which is not defined", reference.name);
            let wrong = self.at(decl, dep.target.span, message);
            return Err(wrong.suggest(reference.name, self.names.candidates(folder)));
        };
        let vars = self.given_by(dep, decl.manifest, &self.bounds[from].scope, found)?;
        let chain = self.chain[from] + u32::from(!vars.is_empty());
        if chain > MAX_CHAIN {
            return Err(self.at(
                decl,
                dep.target.span,
                "dependencies with variables lead to ever new instances",
            ));
        }
        let made = self.instances(found, &vars, chain)?;
        let file = reference.select.iter().find(|(name, _)| name.is_empty()).map(|(_, file)| *file);
        let chosen: Vec<u32> = match file {
            None => return Ok(made),
            Some(file) => {
                let is_it = |id: &u32| self.actions[*id as usize].file.as_deref() == Some(file);
                made.into_iter().filter(is_it).collect()
            }
        };
        if chosen.is_empty() {
            return Err(self.at(
                decl,
                dep.target.span,
                format!("`{}` selects no instance", dep.target.value),
            ));
        }
        Ok(chosen)
    }

    /// The variables that an edge, written in a file, gives to what it leads to; sorted by name.
    pub(super) fn given_by(
        &self,
        dep: &Dep,
        manifest: u32,
        scope: &Scope,
        found: Decl,
    ) -> Result<Vec<(String, String)>> {
        let source = &self.manifests()[manifest as usize].source;
        let wrong = |message| Error::new(Kind::Manifest, message).at(source, dep.target.span);
        let mut vars = Vec::with_capacity(dep.vars.len());
        for (name, text) in &dep.vars {
            let value = self.templates.render(&text.value, scope, Quoting::None);
            let value = value.map_err(|wrong| wrong.into_error(source, text))?;
            vars.push((name.value.clone(), value.into_owned()));
        }
        let matrix = &target(self.manifests(), found).matrix;
        let select = Reference::parse(&dep.target.value).select;
        for (name, value) in select.into_iter().filter(|(name, _)| !name.is_empty()) {
            let axis = matrix.iter().find(|(axis, _)| axis.value == name);
            if let Some((_, values)) =
                axis.filter(|(_, values)| values.iter().all(|text| text.value != value))
            {
                let wrong = wrong(format!("`{}` selects no instance", dep.target.value));
                return Err(wrong.suggest(value, values.iter().map(|text| text.value.as_str())));
            }
            vars.push((name.to_owned(), value.to_owned()));
        }
        vars.sort_unstable();
        vars.dedup();
        for (name, _) in &vars {
            self.refuse_unknown_var(found, name).map_err(|wrong| wrong.at(source, dep.target.span))?;
        }
        if let Some(twice) = vars.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let [(name, one), (_, other)] = twice else { unreachable!("windows of two") };
            return Err(wrong(format!("the variable `{name}` cannot be both `{one}` and `{other}`")));
        }
        Ok(vars)
    }

    fn refuse_unknown_var(&self, decl: Decl, name: &str) -> Result<()> {
        let own = target(self.manifests(), decl);
        let known = known_vars(self.manifests(), decl);
        if known.contains(&name) {
            return Ok(());
        }
        let message = format!("`{}` has no variable `{name}`", own.name.value);
        Err(Error::new(Kind::Manifest, message).suggest(name, known))
    }

    fn finish(mut self, edges: Edges) -> Result<Graph> {
        let pools = check::pools(self.manifests())?;
        let behind = edges.cleanups.order(self.actions.len());
        check::cycles(self.manifests(), &self.bounds, &self.actions, [&edges.deps, &edges.after, &behind])?;
        self.define_services(&edges)?;
        self.complete_all(&edges, &pools)?;
        let makers = Makers::of_all(&self.actions);
        check::overlaps(self.manifests(), &self.bounds, &self.actions, &makers)?;
        check::spares_iactfiles(self.manifests(), &self.bounds, &self.actions, &makers)?;
        for (action, literals) in check::all_inputs(&self, &edges, &makers).into_iter().enumerate() {
            let literals = literals?;
            if let Some(inputs) = &mut self.actions[action].inputs {
                inputs.literals = literals;
            }
        }
        let mut default = vec![false; self.actions.len()];
        for (at, manifest) in self.manifests().iter().enumerate() {
            let own = (0..manifest.targets.len())
                .filter_map(|index| self.of_decl.get(&(number(at), number(index))));
            own.flatten().for_each(|&id| default[id as usize] = true);
        }
        let mut lists = (Lists::default(), Lists::default());
        edges.deps.into_iter().for_each(|list| lists.0.push(list));
        edges.after.into_iter().for_each(|list| lists.1.push(list));
        Ok(Graph {
            manifests: Arc::clone(&self.setting.manifests),
            decls: self.bounds.iter().map(|bound| bound.decl).collect(),
            actions: self.actions,
            deps: lists.0,
            after: lists.1,
            cleanups: edges.cleanups,
            pools,
            makers,
            names: self.names,
            services: Arc::new(self.services),
            templates: Arc::new(self.templates),
            is_part: false,
            default,
            by_name: self.by_name,
            of_decl: self.of_decl,
        })
    }
}

/// A declared pattern, workspace-relative, its `!` kept.
pub(super) fn pattern(folder: &str, written: &str) -> std::result::Result<String, String> {
    let rest = written.strip_prefix('!');
    let normal = path::normalise(folder, rest.unwrap_or(written)).map_err(|why| why.to_string())?;
    Ok(if rest.is_some() { format!("!{}", normal.path) } else { normal.path })
}
