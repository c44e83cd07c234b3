//! Services of a workspace: names resolved, what each needs, and a digest of what it is.
//!
//! Invariants: what a service needs never leads back to it. Its digest covers everything that can change
//! what its users see (command, environment, folder, port, readiness, the services it needs), with a
//! placeholder for what is known only when it starts; how long it may take to get ready or to end is not in
//! it. The outputs of its `deps` are inputs of every target that uses it, because those depend on them too.

use super::build::{Builder, Edges};
use super::check;
use super::instance::{Answers, PLACEHOLDER};
use super::names::{Decl, Reference, full, number, target};
use crate::error::{Error, Kind, Result, Span};
use crate::manifest::decl::{self, Dep, Manifest, Port, Text, Work};
use crate::record::PartDigest;
use crate::template::{Layer, Quoting, Scope, Templates};
use std::sync::Arc;

/// A service with its names resolved.
#[derive(Clone, Debug)]
pub struct Service {
    /// `api:db`.
    pub name: String,
    /// Which Iactfile declares it.
    pub manifest: u32,
    /// Which of its services.
    pub index: u32,
    /// Folder of that Iactfile.
    pub folder: String,
    /// The services it needs.
    pub needs: Vec<Use>,
    /// Actions that must have succeeded before it starts.
    pub deps: Vec<u32>,
    /// What its texts may name, but for `port` and `data`.
    pub scope: Scope,
    /// What it is.
    pub digest: PartDigest,
}

impl Service {
    /// Its declaration.
    pub fn declaration<'m>(&self, manifests: &'m [Manifest]) -> &'m decl::Service {
        &manifests[self.manifest as usize].services[self.index as usize]
    }
}

/// A service as somebody who needs it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// As in `service.NAME.port`.
    pub name: String,
    /// Which.
    pub service: u32,
    /// Its definition.
    pub digest: PartDigest,
}

/// When a service counts as ready, rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// `host:port` accepts.
    Tcp(String),
    /// A URL answers 2xx.
    Http(String),
    /// A command succeeds: its argv.
    Run(Vec<String>),
    /// A line of its output matches.
    Log(String),
}

/// The texts of a service, rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// Command, program first.
    pub argv: Vec<String>,
    /// Set variables, sorted by name.
    pub env: Vec<(String, String)>,
    /// Relative to the Iactfile, or absolute.
    pub cwd: String,
    /// When it counts as ready.
    pub ready: Option<Ready>,
}

/// What `port` and `data` stand for in a service's texts.
pub fn own_layer(declared: &decl::Service, port: &str, data: &str) -> Layer {
    let mut layer = Layer::default();
    if declared.port.is_some() {
        layer.set_text("port", port);
    }
    layer.set_text("data", data);
    layer
}

/// Whether a text of the service names its scratch folder.
pub fn uses_data(templates: &Templates, declared: &decl::Service) -> bool {
    let names = |text: &Text| templates.uses(&text.value).ok().flatten().is_some_and(|uses| uses.has("data"));
    declared.data.is_some() || own_texts(declared).any(names)
}

fn own_texts(declared: &decl::Service) -> impl Iterator<Item = &Text> {
    let work: &[Text] = match &declared.work {
        Work::Group => &[],
        Work::Run(text) => std::slice::from_ref(text),
        Work::Exec(words) => words,
    };
    let ready = declared.ready.as_ref().map(|ready| match &ready.probe {
        decl::Probe::Tcp(text)
        | decl::Probe::Http(text)
        | decl::Probe::Run(text)
        | decl::Probe::Log(text) => text,
    });
    let env = declared.env.iter().map(|(_, value)| value);
    work.iter().chain(env).chain(&declared.cwd).chain(&declared.data).chain(ready)
}

/// Every text of a service that may be a template.
pub fn templated(declared: &decl::Service) -> impl Iterator<Item = &Text> {
    let edges = declared.deps.iter().flat_map(|dep| dep.vars.iter().map(|(_, value)| value));
    own_texts(declared).chain(edges)
}

/// Renders the texts of a service.
///
/// # Errors
/// A template that does not render, at its place.
pub fn texts(
    manifests: &[Manifest],
    templates: &Templates,
    service: &Service,
    scope: &Scope,
) -> Result<Texts> {
    let manifest = &manifests[service.manifest as usize];
    let declared = service.declaration(manifests);
    let render = |text: &Text, quoting| {
        let rendered = templates.render(&text.value, scope, quoting);
        rendered.map(std::borrow::Cow::into_owned).map_err(|wrong| wrong.into_error(&manifest.source, text))
    };
    let plain = |text: &Text| render(text, Quoting::None);
    let shell = super::complete::usual_shell(manifests);
    let script = |text: &Text| -> Result<Vec<String>> {
        Ok(shell.iter().cloned().chain([render(text, Quoting::Shell)?]).collect())
    };
    let argv = match &declared.work {
        Work::Group => Vec::new(),
        Work::Run(text) => script(text)?,
        Work::Exec(words) => words.iter().map(plain).collect::<Result<_>>()?,
    };
    let root_env = manifests[0].env.iter().filter(|_| service.manifest != 0);
    let mut env = std::collections::BTreeMap::new();
    for (name, value) in root_env.chain(&manifest.env).chain(&declared.env) {
        env.insert(name.value.clone(), plain(value)?);
    }
    let ready = declared.ready.as_ref().map(|ready| -> Result<Ready> {
        Ok(match &ready.probe {
            decl::Probe::Tcp(text) => Ready::Tcp(plain(text)?),
            decl::Probe::Http(text) => Ready::Http(plain(text)?),
            decl::Probe::Run(text) => Ready::Run(script(text)?),
            decl::Probe::Log(text) => Ready::Log(plain(text)?),
        })
    });
    Ok(Texts {
        argv,
        env: env.into_iter().collect(),
        cwd: declared.cwd.as_ref().map(plain).transpose()?.unwrap_or_default(),
        ready: ready.transpose()?,
    })
}

/// These services and all that they need, each after what it needs.
pub fn with_needs(services: &[Service], wanted: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut open: Vec<(u32, bool)> = wanted.into_iter().map(|id| (id, false)).collect();
    open.reverse();
    let mut seen = rustc_hash::FxHashSet::default();
    let mut ordered = Vec::new();
    while let Some((id, needs_done)) = open.pop() {
        if needs_done {
            ordered.push(id);
        } else if seen.insert(id) {
            open.push((id, true));
            open.extend(services[id as usize].needs.iter().rev().map(|need| (need.service, false)));
        }
    }
    ordered
}

/// What a service's name means in a folder: as with targets, without a way to the root but `:name`.
pub fn find(services: &[Service], folder: &str, written: &str) -> Option<u32> {
    let wanted = match written.strip_prefix(':') {
        Some(root) => root.to_owned(),
        None if written.contains(':') => written.to_owned(),
        None => full(folder, written),
    };
    services.iter().position(|service| service.name == wanted).map(number)
}

/// All services of the manifests, still without needs, dependencies and digest.
pub(super) fn all(manifests: &[Manifest]) -> Vec<Service> {
    let each = manifests.iter().enumerate().flat_map(|(at, manifest)| {
        manifest.services.iter().enumerate().map(move |(index, declared)| Service {
            name: full(&manifest.folder, &declared.name.value),
            manifest: number(at),
            index: number(index),
            folder: manifest.folder.clone(),
            needs: Vec::new(),
            deps: Vec::new(),
            scope: Scope::default(),
            digest: PartDigest::default(),
        })
    });
    each.collect()
}

impl Builder<'_> {
    fn wrong(&self, manifest: u32, span: Span, message: String) -> Box<Error> {
        Error::new(Kind::Manifest, message).at(&self.manifests()[manifest as usize].source, span)
    }

    fn uses_of(&self, manifest: u32, owner: &str, written: &[Text]) -> Result<Vec<Use>> {
        let folder = &self.manifests()[manifest as usize].folder;
        let mut uses: Vec<Use> = Vec::with_capacity(written.len());
        for text in written {
            let Some(service) = find(&self.services, folder, &text.value) else {
                let message = format!("{owner} needs service `{}`, which is not defined", text.value);
                let names = self.services.iter().map(|service| service.name.as_str());
                return Err(self.wrong(manifest, text.span, message).suggest(&text.value, names));
            };
            let name = text.value.rsplit(':').next().unwrap_or_default().to_owned();
            if uses.iter().any(|other| other.service == service) {
                continue;
            }
            if uses.iter().any(|other| other.name == name) {
                let message =
                    format!("{owner} needs two services that are both `service.{name}` in a template");
                return Err(self.wrong(manifest, text.span, message));
            }
            uses.push(Use { name, service, digest: self.services[service as usize].digest });
        }
        Ok(uses)
    }

    /// Resolves what services need and depend on; makes the instances of their dependencies.
    pub(super) fn resolve_services(&mut self) -> Result<()> {
        let manifests = Arc::clone(&self.setting.manifests);
        for id in 0..self.services.len() {
            let (manifest, name) = (self.services[id].manifest, self.services[id].name.clone());
            let declared = self.services[id].declaration(&manifests);
            self.services[id].needs =
                self.uses_of(manifest, &format!("service `{name}`"), &declared.services)?;
            self.services[id].scope = Scope::new([
                Arc::clone(&self.builtin),
                Arc::clone(&self.overrides),
                Arc::clone(&self.file_vars[manifest as usize]),
            ]);
            let mut deps = Vec::new();
            for dep in &declared.deps {
                deps.extend(self.service_dep(id, dep)?);
            }
            deps.sort_unstable();
            deps.dedup();
            self.services[id].deps = deps;
            check_probe(&manifests[manifest as usize], declared)?;
        }
        self.refuse_service_cycles()
    }

    fn service_dep(&mut self, id: usize, dep: &Dep) -> Result<Vec<u32>> {
        let service = &self.services[id];
        let (manifest, folder) = (service.manifest, service.folder.clone());
        let reference = Reference::parse(&dep.target.value);
        let Some(found) = self.names.find(&folder, reference.name) else {
            let message =
                format!("service `{}` depends on `{}`, which is not defined", service.name, reference.name);
            let wrong = self.wrong(manifest, dep.target.span, message);
            return Err(wrong.suggest(reference.name, self.names.candidates(&folder)));
        };
        let vars = self.given_by(dep, manifest, &service.scope, found)?;
        self.instances(found, &vars, 0)
    }

    fn refuse_service_cycles(&self) -> Result<()> {
        for (id, service) in self.services.iter().enumerate() {
            let mut way = vec![number(id)];
            let mut seen = rustc_hash::FxHashSet::default();
            if self.leads_back(number(id), number(id), &mut seen, &mut way) {
                let names: Vec<String> =
                    way.iter().map(|&id| format!("`{}`", self.services[id as usize].name)).collect();
                let span = service.declaration(self.manifests()).name.span;
                let message = format!("services need each other in a circle: {}", names.join(" → "));
                return Err(self.wrong(service.manifest, span, message));
            }
        }
        Ok(())
    }

    fn leads_back(
        &self,
        from: u32,
        to: u32,
        seen: &mut rustc_hash::FxHashSet<u32>,
        way: &mut Vec<u32>,
    ) -> bool {
        for need in &self.services[from as usize].needs {
            way.push(need.service);
            if need.service == to || seen.insert(need.service) && self.leads_back(need.service, to, seen, way)
            {
                return true;
            }
            way.pop();
        }
        false
    }

    /// The actions that a target depends on because of its services.
    pub(super) fn deps_by_services(&self, decl: Decl) -> Result<Vec<u32>> {
        let own = target(self.manifests(), decl);
        let Some(rare) = own.rare.as_deref().filter(|rare| !rare.services.is_empty()) else {
            return Ok(Vec::new());
        };
        let uses = self.uses_of(decl.manifest, &format!("target `{}`", own.name.value), &rare.services)?;
        let all = with_needs(&self.services, uses.iter().map(|used| used.service));
        Ok(all.into_iter().flat_map(|id| self.services[id as usize].deps.iter().copied()).collect())
    }

    /// The services that a target uses, with their digests.
    pub(super) fn services_of(&self, decl: Decl) -> Result<Vec<Use>> {
        let own = target(self.manifests(), decl);
        let early = own
            .probes
            .iter()
            .map(|text| (text, "probes"))
            .chain(own.check.iter().map(|text| (text, "check")));
        for (text, key) in early {
            let asks = |uses: crate::template::Uses| uses.services().next().is_some();
            if text.value.contains("service")
                && self.templates.uses(&text.value).ok().flatten().is_some_and(asks)
            {
                let message =
                    format!("`{key}` cannot ask for a service: no service runs yet when it is tried");
                return Err(self.wrong(decl.manifest, text.span, message));
            }
        }
        let Some(rare) = own.rare.as_deref().filter(|rare| !rare.services.is_empty()) else {
            return Ok(Vec::new());
        };
        self.uses_of(decl.manifest, &format!("target `{}`", own.name.value), &rare.services)
    }

    /// Renders every service with placeholders, and digests what comes out.
    pub(super) fn define_services(&mut self, edges: &Edges) -> Result<()> {
        let manifests = Arc::clone(&self.setting.manifests);
        for id in with_needs(&self.services, 0..number(self.services.len())) {
            let at = id as usize;
            let declared = self.services[at].declaration(&manifests);
            let needs: Vec<Use> = self.services[at].needs.iter().map(|need| self.current(need)).collect();
            let answers = Answers {
                folder: self.services[at].folder.clone(),
                outs: declared
                    .deps
                    .iter()
                    .map(|dep| (dep.target.value.clone(), self.outs(edges, at, dep)))
                    .collect(),
                exporters: Vec::new(),
                services: ports(&self.services, &manifests, &needs),
            };
            let placeholder = |what: &str| format!("{PLACEHOLDER}{what}{PLACEHOLDER}");
            let own = own_layer(declared, &placeholder("port"), &placeholder("data"));
            let service = &mut self.services[at];
            service.scope = service.scope.clone().with_lookup(Arc::new(answers));
            service.needs = needs;
            let scope = service.scope.with_layer(Arc::new(own));
            let texts = texts(&manifests, &self.templates, service, &scope)?;
            service.digest = digest(declared, service, &texts);
        }
        Ok(())
    }

    fn current(&self, need: &Use) -> Use {
        Use { digest: self.services[need.service as usize].digest, ..need.clone() }
    }

    /// The outputs of one dependency of a service.
    fn outs(&self, edges: &Edges, service: usize, dep: &Dep) -> Vec<String> {
        let folder = &self.services[service].folder;
        let Some(decl) = self.names.find(folder, Reference::parse(&dep.target.value).name) else {
            return Vec::new();
        };
        let mut outs = Vec::new();
        for &on in &self.services[service].deps {
            if self.bounds[on as usize].decl == decl {
                check::each_member(&edges.deps, &self.actions, on, &mut |member| {
                    outs.extend(
                        self.actions[member as usize].outputs.iter().map(|output| output.path.clone()),
                    );
                });
            }
        }
        outs
    }
}

/// The services that may be asked for a port, and whether they have one.
pub(super) fn ports(services: &[Service], manifests: &[Manifest], uses: &[Use]) -> Vec<(String, bool)> {
    let has_port = |used: &Use| services[used.service as usize].declaration(manifests).port.is_some();
    uses.iter().map(|used| (used.name.clone(), has_port(used))).collect()
}

/// What can be told of a readiness check before it is rendered.
fn check_probe(manifest: &Manifest, declared: &decl::Service) -> Result<()> {
    let Some(ready) = &declared.ready else { return Ok(()) };
    let refuse = |text: &Text, message: String| {
        Err(Error::new(Kind::Manifest, message).at(&manifest.source, text.span))
    };
    match &ready.probe {
        decl::Probe::Http(url) if !url.value.starts_with("http://") && !url.value.starts_with("{{") => {
            refuse(url, format!("`{}` does not start with `http://`", url.value))
        }
        decl::Probe::Log(pattern) if !crate::template::is_template(&pattern.value) => {
            match regex::bytes::Regex::new(&pattern.value) {
                Ok(_) => Ok(()),
                Err(_) => refuse(pattern, format!("`{}` is not a regular expression", pattern.value)),
            }
        }
        _ => Ok(()),
    }
}

fn digest(declared: &decl::Service, service: &Service, texts: &Texts) -> PartDigest {
    let mut hasher = blake3::Hasher::new();
    let mut feed = |tag: &str, value: &[u8]| {
        hasher.update(&(tag.len() as u64).to_le_bytes()).update(tag.as_bytes());
        hasher.update(&(value.len() as u64).to_le_bytes()).update(value);
    };
    feed("service", b"1");
    texts.argv.iter().for_each(|word| feed("argv", word.as_bytes()));
    feed("folder", service.folder.as_bytes());
    feed("cwd", texts.cwd.as_bytes());
    for (name, value) in &texts.env {
        feed("env", name.as_bytes());
        feed("value", value.as_bytes());
    }
    match declared.port {
        Some(Port::Fixed(port)) => feed("port", port.to_string().as_bytes()),
        Some(Port::Auto) => feed("port", b"auto"),
        None => {}
    }
    match &texts.ready {
        Some(Ready::Tcp(text)) => feed("tcp", text.as_bytes()),
        Some(Ready::Http(text)) => feed("http", text.as_bytes()),
        Some(Ready::Run(argv)) => argv.iter().for_each(|word| feed("ready", word.as_bytes())),
        Some(Ready::Log(text)) => feed("log", text.as_bytes()),
        None => {}
    }
    if let Some(data) = &declared.data {
        feed("data", data.value.as_bytes());
    }
    feed("keep_data", &[u8::from(declared.keep_data)]);
    for need in &service.needs {
        feed("needs", need.name.as_bytes());
        feed("digest", &need.digest);
    }
    *hasher.finalize().as_bytes()
}
