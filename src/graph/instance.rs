//! A target with its variables bound, and its texts rendered.
//!
//! Order of variables, strongest first: the command line · the dependency edge · the matrix and the target's
//! own `vars` · the file's `[vars]`. Built-in names cannot be taken by any of them.

use crate::error::{Error, Kind, Result};
use crate::graph::names::{Decl, target};
use crate::manifest::decl::{Manifest, Target, Text, Work};
use crate::template::{Layer, Lookup, Quoting, Scope, Templates, Value};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Facts of the machine that templates and `when` may name.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// `linux`.
    pub os: String,
    /// `x86_64`.
    pub arch: String,
    /// `debian12`.
    pub distro: String,
}

/// The variables of an instance, as layers of a scope.
#[derive(Clone, Debug)]
pub struct Bound {
    /// Where its texts are.
    pub decl: Decl,
    /// Everything its texts may name.
    pub scope: Scope,
}

/// What stands for a value that is known only when the action runs. No path and no argument holds this byte.
pub const PLACEHOLDER: &str = "\u{1}";

/// The texts that may have to be rendered again when the action runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Command, program first; empty for a group.
    pub argv: Vec<String>,
    /// Set variables, sorted by name.
    pub env: Vec<(String, String)>,
    /// Shell texts.
    pub probes: Vec<String>,
    /// Shell text.
    pub check: Option<String>,
    /// Shell text.
    pub verify: Option<String>,
}

/// Renders the texts of an instance.
///
/// # Errors
/// A template that does not render, at its place.
pub fn texts(
    manifests: &[Manifest],
    templates: &Templates,
    bound: &Bound,
    shell: &[String],
) -> Result<Texts> {
    let manifest = &manifests[bound.decl.manifest as usize];
    let target = target(manifests, bound.decl);
    let render = |text: &Text, quoting| {
        let rendered = templates.render(&text.value, &bound.scope, quoting);
        rendered.map(std::borrow::Cow::into_owned).map_err(|wrong| wrong.into_error(&manifest.source, text))
    };
    let script = |text: &Text| render(text, Quoting::Shell);
    let argv = match &target.work {
        Work::Group => Vec::new(),
        Work::Run(text) => shell.iter().cloned().chain([script(text)?]).collect(),
        Work::Exec(words) => words.iter().map(|word| render(word, Quoting::None)).collect::<Result<_>>()?,
    };
    let root_env = manifests[0].env.iter().filter(|_| bound.decl.manifest != 0);
    let mut env: FxHashMap<&str, String> = FxHashMap::default();
    for (name, value) in root_env.chain(&manifest.env).chain(&target.env) {
        env.insert(&name.value, render(value, Quoting::None)?);
    }
    let mut env: Vec<(String, String)> =
        env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    env.sort_unstable();
    Ok(Texts {
        argv,
        env,
        probes: target.probes.iter().map(script).collect::<Result<_>>()?,
        check: target.check.as_ref().map(script).transpose()?,
        verify: target.verify.as_ref().map(script).transpose()?,
    })
}

/// Whether some text of the target must be rendered again when it runs.
pub fn is_late(manifests: &[Manifest], templates: &Templates, decl: Decl) -> bool {
    let manifest = &manifests[decl.manifest as usize];
    let target = target(manifests, decl);
    let late = |text: &Text| templates.uses(&text.value).ok().flatten().is_some_and(|uses| uses.is_late());
    let env = manifests[0].env.iter().chain(&manifest.env).chain(&target.env).map(|(_, value)| value);
    rendered_late(target).chain(env).any(late)
}

/// Whether some text of the target asks for an exported value.
pub fn reads_exports(manifests: &[Manifest], templates: &Templates, decl: Decl) -> bool {
    let manifest = &manifests[decl.manifest as usize];
    let target = target(manifests, decl);
    let env = manifests[0].env.iter().chain(&manifest.env).chain(&target.env).map(|(_, value)| value);
    rendered_late(target)
        .chain(env)
        .any(|text| templates.uses(&text.value).ok().flatten().is_some_and(|uses| uses.has("exports")))
}

fn work(target: &Target) -> &[Text] {
    match &target.work {
        Work::Group => &[],
        Work::Run(text) => std::slice::from_ref(text),
        Work::Exec(words) => words,
    }
}

fn rendered_late(target: &Target) -> impl Iterator<Item = &Text> {
    work(target).iter().chain(&target.probes).chain(&target.check).chain(&target.verify)
}

/// Every text of a target that may be a template.
pub fn templated(target: &Target) -> impl Iterator<Item = &Text> {
    let lists = target.outputs.iter().chain(target.inputs.iter().flatten()).chain(&target.tools);
    let vars = target.vars.iter().chain(&target.env).map(|(_, value)| value);
    let edges = target.deps.iter().flat_map(|dep| dep.vars.iter().map(|(_, value)| value));
    let glob = target.for_each.as_ref().map(|each| &each.glob);
    rendered_late(target)
        .chain(lists)
        .chain(vars)
        .chain(edges)
        .chain(glob)
        .chain(&target.cwd)
        .chain(&target.depfile)
        .chain(crate::graph::rare::templated(target))
}

/// What the variables of an instance are made from.
pub struct Binding<'a> {
    /// All files.
    pub manifests: &'a [Manifest],
    /// From the command line.
    pub overrides: &'a Arc<Layer>,
    /// `os`, `arch`, `distro`, `workspace` and `args`.
    pub builtin: &'a Arc<Layer>,
    /// `[vars]` of every file.
    pub file_vars: &'a [Arc<Layer>],
    /// Renders values of `vars`.
    pub templates: &'a Templates,
}

impl<'a> Binding<'a> {
    /// The scope of a target under variables given by an edge and a matrix.
    ///
    /// # Errors
    /// A variable's own template that does not render.
    pub fn scope(&self, decl: Decl, edge: &[(String, String)], axes: &[(String, String)]) -> Result<Scope> {
        let manifest = &self.manifests[decl.manifest as usize];
        let target = target(self.manifests, decl);
        let mut layers = self.given(edge, axes);
        let file_vars = Arc::clone(&self.file_vars[decl.manifest as usize]);
        if !target.vars.is_empty() {
            let outer = Scope::new(layers.iter().cloned().chain([Arc::clone(&file_vars)]));
            let mut own = Layer::default();
            for (name, value) in &target.vars {
                let rendered = self.templates.render(&value.value, &outer, Quoting::None);
                own.set_text(
                    &name.value,
                    rendered.map_err(|wrong| wrong.into_error(&manifest.source, value))?,
                );
            }
            layers.push(Arc::new(own));
        }
        layers.push(file_vars);
        Ok(Scope::new(layers))
    }

    /// The variables of an edge that make an instance of its own: not those of the matrix, nor those that
    /// change nothing.
    pub fn extra_vars(
        &self,
        decl: Decl,
        edge: &[(String, String)],
        axes: &[(String, String)],
    ) -> Vec<(String, String)> {
        let is_axis = |name: &str| axes.iter().any(|(axis, _)| axis == name);
        let counts = |(name, _): &&(String, String)| !is_axis(name) && !self.overrides.has(name);
        let mut extra: Vec<_> = edge.iter().filter(counts).cloned().collect();
        // One by one: a default may depend on those that stay.
        for (name, value) in edge.iter().filter(counts) {
            let others: Vec<_> = extra.iter().filter(|(other, _)| other != name).cloned().collect();
            if self.default_of(decl, name, &others, axes).as_ref() == Some(value) {
                extra = others;
            }
        }
        extra
    }

    /// What a variable of a target is without being given; `None`: it has no value then.
    fn default_of(
        &self,
        decl: Decl,
        name: &str,
        edge: &[(String, String)],
        axes: &[(String, String)],
    ) -> Option<String> {
        let of =
            |vars: &'a [(Text, Text)]| vars.iter().find(|(var, _)| var.value == name).map(|(_, text)| text);
        let Some(own) = of(&target(self.manifests, decl).vars) else {
            return of(&self.manifests[decl.manifest as usize].vars).map(|text| text.value.clone());
        };
        let file_vars = Arc::clone(&self.file_vars[decl.manifest as usize]);
        let outer = Scope::new(self.given(edge, axes).into_iter().chain([file_vars]));
        Some(self.templates.render(&own.value, &outer, Quoting::None).ok()?.into_owned())
    }

    /// What is stronger than the target's own variables.
    fn given(&self, edge: &[(String, String)], axes: &[(String, String)]) -> Vec<Arc<Layer>> {
        let layer = |pairs: &[(String, String)]| {
            let mut layer = Layer::default();
            pairs.iter().for_each(|(name, value)| layer.set_text(name, value));
            Arc::new(layer)
        };
        let builtin = [Arc::clone(self.builtin), Arc::clone(self.overrides)];
        let pairs = [edge, axes].into_iter().filter(|pairs| !pairs.is_empty()).map(layer);
        builtin.into_iter().chain(pairs).collect()
    }
}

/// Refuses variables with the name of something built in.
///
/// # Errors
/// The first such name, at its place.
pub fn refuse_reserved(manifests: &[Manifest]) -> Result<()> {
    for manifest in manifests {
        let own = manifest.targets.iter().flat_map(|target| {
            let axes = target.matrix.iter().map(|(name, _)| name);
            let edges = target.deps.iter().flat_map(|dep| dep.vars.iter().map(|(name, _)| name));
            target.vars.iter().map(|(name, _)| name).chain(axes).chain(edges)
        });
        for name in manifest.vars.iter().map(|(name, _)| name).chain(own) {
            if crate::template::is_reserved(&name.value) {
                let message = format!("`{}` is built in and cannot be a variable", name.value);
                return Err(Error::new(Kind::Manifest, message).at(&manifest.source, name.span));
            }
        }
    }
    Ok(())
}

/// Refuses commands for several files that name something of one of them.
///
/// # Errors
/// The first such name, at the place of its text.
pub fn refuse_one_of_batch(manifests: &[Manifest], templates: &Templates) -> Result<()> {
    for manifest in manifests {
        let batched = |target: &&Target| target.for_each.as_ref().is_some_and(|each| each.batch.is_some());
        for target in manifest.targets.iter().filter(batched) {
            for text in work(target) {
                // What is no template is told where it is rendered.
                let uses = templates.uses(&text.value).ok().flatten();
                let one = ["file", "out", "outs"]
                    .into_iter()
                    .find(|name| uses.as_ref().is_some_and(|uses| uses.has(name)));
                if let Some(name) = one {
                    let message = format!("`{name}` is one file's, and the command is for a whole batch");
                    let wrong = Error::new(Kind::Manifest, message).at(&manifest.source, text.span);
                    return Err(wrong.hint("`{{ files }}` are all its files"));
                }
            }
        }
    }
    Ok(())
}

/// Answers of the graph: outputs of dependencies now, everything else by a placeholder.
#[derive(Debug)]
pub struct Answers {
    /// Folder of the asking Iactfile: answers are relative to it.
    pub folder: String,
    /// Names as they may be written there, with the outputs of each.
    pub outs: Vec<(String, Vec<String>)>,
    /// Names as they may be written there, with the instances of each and what those export.
    pub exporters: Vec<(String, Vec<Exporter>)>,
    /// The services that may be asked for a port, and whether they have one.
    pub services: Vec<(String, bool)>,
}

/// An instance, and the names it exports.
pub type Exporter = (String, Vec<String>);

impl Lookup for Answers {
    fn outs_of(&self, name: &str) -> std::result::Result<Vec<String>, String> {
        let found = self.outs.iter().filter(|(written, _)| written == name);
        let outs: Vec<String> = found
            .flat_map(|(_, outs)| outs.iter().map(|out| crate::path::relative_to(&self.folder, out)))
            .collect();
        let known = self.outs.iter().any(|(written, _)| written == name);
        if known { Ok(outs) } else { Err(format!("`{name}` is not a dependency of this target")) }
    }

    fn exporters(&self, target: &str, name: &str) -> std::result::Result<Vec<String>, String> {
        let known = self.exporters.iter().filter(|(written, _)| written == target);
        let members: Vec<&Exporter> = known.flat_map(|(_, members)| members).collect();
        if members.is_empty() {
            return Err(format!("`{target}` is not a dependency of this target"));
        }
        let found = members.iter().filter(|(_, names)| names.iter().any(|known| known == name));
        let found: Vec<String> = found.map(|(instance, _)| instance.clone()).collect();
        if found.is_empty() {
            let names = members.iter().flat_map(|(_, names)| names.iter().map(String::as_str));
            let near = crate::error::nearest(name, names);
            let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
            return Err(format!("`{target}` does not export `{name}`{near}"));
        }
        Ok(found)
    }

    fn exported(&self, target: &str, name: &str) -> std::result::Result<String, String> {
        self.exporters(target, name)?;
        Ok(format!("{PLACEHOLDER}exports {target} {name}{PLACEHOLDER}"))
    }

    fn port_of(&self, service: &str) -> std::result::Result<String, String> {
        match self.services.iter().find(|(known, _)| known == service) {
            Some((_, true)) => Ok(format!("{PLACEHOLDER}port {service}{PLACEHOLDER}")),
            Some((_, false)) => Err(format!("service `{service}` declares no `port`")),
            None => Err(format!("`{service}` is not listed in `services` here")),
        }
    }
}

/// The layer of what everybody may name.
pub fn builtin(machine: &Machine, args: &[String]) -> Layer {
    let mut layer = Layer::default();
    layer.set_text("os", &machine.os);
    layer.set_text("arch", &machine.arch);
    layer.set_text("distro", &machine.distro);
    layer.set_text("workspace", format!("{PLACEHOLDER}workspace{PLACEHOLDER}"));
    layer.set("args", Value::List(args.to_vec()));
    layer
}
