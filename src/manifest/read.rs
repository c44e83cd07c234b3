//! A checked document → declarations. Nothing can go wrong here any more, so nothing is asked twice.
//!
//! Invariant: every place is one of the whole file, also if the document is that of a piece of it (`pieces.rs`).

use super::decl::{
    Amount, Cache, Dep, ForEach, Manifest, Need, Port, Probe, Ready, Remote, Requirement, Retain, Retry,
    Service, Severity, Spanned, Table, Target, Text, Token, When, Work, Workspace,
};
use super::{entries, quantity};
use crate::error::{Source, Span};
use iact_cache::DigestFunction;
use std::sync::Arc;
use toml::de::{DeString, DeTable, DeValue};

/// Something in a document, and where in the file the document begins.
pub(super) struct Placed<'a, T> {
    of: &'a toml::Spanned<T>,
    base: usize,
}

impl<T> Clone for Placed<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Placed<'_, T> {}

impl<'a, T> Placed<'a, T> {
    fn get_ref(self) -> &'a T {
        self.of.get_ref()
    }

    fn span(self) -> Span {
        let span = self.of.span();
        super::span(self.base + span.start..self.base + span.end)
    }
}

impl<'a, 't> Value<'a, 't> {
    fn get(self, key: &str) -> Option<Self> {
        self.get_ref().get(key).map(|of| Placed { of, ..self })
    }
}

type Value<'a, 't> = Placed<'a, DeValue<'t>>;
type Key<'a, 't> = Placed<'a, DeString<'t>>;
type Entry<'a, 't> = (Key<'a, 't>, Value<'a, 't>);

/// A whole document.
pub(super) fn manifest(source: Arc<Source>, folder: &str, document: &DeTable<'_>) -> Manifest {
    let mut manifest = empty(source, folder);
    fill(&mut manifest, document, 0);
    manifest
}

fn empty(source: Arc<Source>, folder: &str) -> Manifest {
    Manifest {
        source,
        folder: folder.to_owned(),
        requires: None,
        workspace: Workspace::default(),
        vars: Table::new(),
        env: Table::new(),
        cache: Cache::default(),
        remote: None,
        pools: Vec::new(),
        targets: Vec::new(),
        services: Vec::new(),
    }
}

/// Takes over what a document that begins at `base` of the file says; its targets follow those that are there.
pub(super) fn fill(manifest: &mut Manifest, document: &DeTable<'_>, base: usize) {
    for (key, value) in in_order(document, base) {
        match key.get_ref().as_ref() {
            "iact" => manifest.requires = version(value),
            "workspace" => manifest.workspace = workspace(value),
            "vars" => manifest.vars = values(value),
            "env" => manifest.env = values(value),
            "cache" => manifest.cache = cache(value),
            "remote" => manifest.remote = Some(Spanned { value: remote(value), span: value.span() }),
            "pool" => {
                manifest.pools = ordered(value).map(|(name, pool)| (named(name), slots(pool))).collect();
            }
            "target" => manifest.targets.extend(ordered(value).map(target)),
            "service" => manifest.services.extend(ordered(value).map(service)),
            _ => {}
        }
    }
}

/// The targets of a table of them that stands in a document that begins at `base`.
pub(super) fn targets(table: &toml::Spanned<DeValue<'_>>, base: usize) -> Vec<Target> {
    ordered(Placed { of: table, base }).map(target).collect()
}

fn in_order<'a, 't: 'a>(table: &'a DeTable<'t>, base: usize) -> impl Iterator<Item = Entry<'a, 't>> {
    entries(table).into_iter().map(move |(key, value)| (Placed { of: key, base }, Placed { of: value, base }))
}

/// The entries of a table in the file's order.
fn ordered<'a, 't: 'a>(value: Value<'a, 't>) -> impl Iterator<Item = Entry<'a, 't>> {
    value.get_ref().as_table().into_iter().flat_map(move |table| in_order(table, value.base))
}

/// The entries of a table in any order.
fn fields<'a, 't: 'a>(value: Value<'a, 't>) -> impl Iterator<Item = Entry<'a, 't>> {
    let placed = move |(key, of)| (Placed { of: key, base: value.base }, Placed { of, ..value });
    value.get_ref().as_table().into_iter().flatten().map(placed)
}

/// A text, or the text a number or boolean is written as.
pub(super) fn written(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.clone().into_owned(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => String::new(),
    }
}

fn text(value: Value<'_, '_>) -> Text {
    Text { value: written(value.get_ref()), span: value.span() }
}

fn named(key: Key<'_, '_>) -> Text {
    Text { value: key.get_ref().clone().into_owned(), span: key.span() }
}

fn texts(value: Value<'_, '_>) -> Vec<Text> {
    match value.get_ref() {
        DeValue::Array(_) => items(value).map(text).collect(),
        _ => vec![text(value)],
    }
}

fn values(value: Value<'_, '_>) -> Table {
    ordered(value).map(|(key, value)| (named(key), text(value))).collect()
}

fn flag(value: Value<'_, '_>) -> bool {
    value.get_ref().as_bool().unwrap_or_default()
}

fn number(value: Value<'_, '_>) -> Option<u64> {
    let number = value.get_ref().as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn count(value: Value<'_, '_>) -> u32 {
    number(value).and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

fn duration_ms(value: Value<'_, '_>) -> Option<u64> {
    value.get_ref().as_str().and_then(|text| quantity::duration_ms(text).ok())
}

fn bytes(value: Value<'_, '_>) -> Option<u64> {
    number(value).or_else(|| value.get_ref().as_str().and_then(|text| quantity::size_bytes(text).ok()))
}

fn version(value: Value<'_, '_>) -> Option<Spanned<semver::VersionReq>> {
    let required = semver::VersionReq::parse(value.get_ref().as_str()?).ok()?;
    Some(Spanned { value: required, span: value.span() })
}

fn workspace(value: Value<'_, '_>) -> Workspace {
    let mut workspace = Workspace::default();
    for (key, value) in fields(value) {
        match key.get_ref().as_ref() {
            "name" => workspace.name = Some(text(value)),
            "default" => workspace.default = texts(value),
            "include" => workspace.include = texts(value),
            "shell" => workspace.shell = Some(texts(value)),
            "gitignore" => workspace.gitignore = Some(flag(value)),
            _ => {}
        }
    }
    workspace
}

fn cache(value: Value<'_, '_>) -> Cache {
    let mut cache = Cache::default();
    for (key, value) in fields(value) {
        match key.get_ref().as_ref() {
            "max_size" => cache.max_size = bytes(value),
            "max_age" => cache.max_age_ms = duration_ms(value),
            "digest" => {
                let sha256 = value.get_ref().as_str() == Some("sha256");
                cache.digest = Some(if sha256 { DigestFunction::Sha256 } else { DigestFunction::Blake3 });
            }
            "durability" => cache.durable = Some(value.get_ref().as_str() == Some("batch")),
            _ => {}
        }
    }
    cache
}

fn remote(value: Value<'_, '_>) -> Remote {
    let mut remote = Remote::default();
    for (key, value) in fields(value) {
        match key.get_ref().as_ref() {
            "url" => remote.url = text(value),
            "instance" => remote.instance = Some(text(value)),
            "mode" => remote.writes = Some(value.get_ref().as_str() == Some("read-write")),
            "execute" => remote.execute = flag(value),
            "token_env" => remote.token = Some(Token::Env(text(value))),
            "token_file" => remote.token = Some(Token::File(text(value))),
            "token_command" => remote.token = Some(Token::Command(text(value))),
            "headers" => remote.headers = values(value),
            "tls" => {
                for (key, value) in fields(value) {
                    match key.get_ref().as_ref() {
                        "ca" => remote.tls_ca = Some(text(value)),
                        "cert" => remote.tls_cert = Some(text(value)),
                        "key" => remote.tls_key = Some(text(value)),
                        _ => {}
                    }
                }
            }
            "scope" => remote.scope = Some(text(value)),
            "trust" => {
                for (key, value) in fields(value) {
                    match key.get_ref().as_ref() {
                        "require_signature" => remote.require_signature = Some(flag(value)),
                        "keys" => remote.keys = values(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    remote
}

fn slots(value: Value<'_, '_>) -> u32 {
    fields(value).next().map(|(_, slots)| count(slots)).unwrap_or_default()
}

fn dep(value: Value<'_, '_>) -> Dep {
    let DeValue::Table(_) = value.get_ref() else { return Dep { target: text(value), vars: Table::new() } };
    let mut dep = Dep { target: Text::default(), vars: Table::new() };
    for (key, value) in fields(value) {
        match key.get_ref().as_ref() {
            "target" => dep.target = text(value),
            _ => dep.vars = values(value),
        }
    }
    dep
}

fn items<'a, 't: 'a>(value: Value<'a, 't>) -> impl ExactSizeIterator<Item = Value<'a, 't>> {
    let items = value.get_ref().as_array().map(|items| &items[..]).unwrap_or_default();
    items.iter().map(move |of| Placed { of, ..value })
}

fn target((name, value): Entry<'_, '_>) -> Target {
    let mut target = Target { name: named(name), span: value.span(), ..Target::default() };
    for (key, value) in fields(value) {
        let key = key.get_ref().as_ref();
        match key {
            "run" => target.work = Work::Run(text(value)),
            "exec" => target.work = Work::Exec(texts(value)),
            "deps" => target.deps = items(value).map(dep).collect(),
            "inputs" => target.inputs = Some(texts(value)),
            "outputs" => target.outputs = texts(value),
            "description" => target.description = Some(text(value)),
            "aliases" => target.aliases = texts(value),
            "tags" => target.tags = texts(value),
            "group" => target.group = Some(text(value)),
            "after" => target.after = texts(value),
            "keep_outputs" => target.keep_outputs = flag(value),
            "cwd" => target.cwd = Some(text(value)),
            "shell" => target.shell = Some(texts(value)),
            "vars" => target.vars = values(value),
            "matrix" => {
                target.matrix = ordered(value).map(|(key, value)| (named(key), texts(value))).collect();
            }
            "for_each" => target.for_each = Some(for_each(value)),
            "env" => target.env = values(value),
            "pass_env" => target.pass_env = texts(value),
            "untracked_env" => target.untracked_env = texts(value),
            "tools" => target.tools = texts(value),
            "probes" => target.probes = texts(value),
            "depfile" => target.depfile = Some(text(value)),
            "cache" => target.cache = Some(flag(value)),
            "remote" => target.remote = Some(flag(value)),
            "relocatable" => target.relocatable = Some(flag(value)),
            "timeout" => target.timeout_ms = duration_ms(value),
            "check" => target.check = Some(text(value)),
            "verify" => target.verify = Some(text(value)),
            "cpus" => target.cpus = Some(amount(value)),
            "pool" => target.pool = Some(text(value)),
            "exclusive" => target.exclusive = flag(value),
            _ => rare(&mut target, key, value),
        }
    }
    target
}

fn rare(target: &mut Target, key: &str, value: Value<'_, '_>) {
    let rare = target.rare.get_or_insert_default();
    match key {
        "secrets" => rare.secrets = texts(value),
        "services" => rare.services = texts(value),
        "valid_for" => rare.valid_for_ms = duration_ms(value),
        "retain" => rare.retain = Some(retain(value)),
        "exports" => rare.exports = texts(value),
        "retry" => rare.retry = Some(retry(value)),
        "memory" => rare.memory_bytes = bytes(value),
        "lock" => rare.lock = Some(text(value)),
        "when" => rare.when = Some(when(value)),
        "requires" => rare.requires = items(value).filter_map(requirement).collect(),
        "severity" => {
            rare.severity = match value.get_ref().as_str() {
                Some("warn") => Severity::Warn,
                Some("info") => Severity::Info,
                _ => Severity::Error,
            };
        }
        "confirm" => rare.confirm = Some(text(value)),
        "on_failure" => rare.on_failure = texts(value),
        "finally" => rare.finally = texts(value),
        "interactive" => rare.interactive = flag(value),
        "platform" => rare.platform = values(value),
        _ => {}
    }
}

fn for_each(value: Value<'_, '_>) -> ForEach {
    let DeValue::Table(_) = value.get_ref() else { return ForEach { glob: text(value), batch: None } };
    ForEach { glob: value.get("glob").map(text).unwrap_or_default(), batch: value.get("batch").map(count) }
}

fn amount(value: Value<'_, '_>) -> Amount {
    if number(value).is_some() { Amount::Count(count(value)) } else { Amount::All }
}

fn retain(value: Value<'_, '_>) -> Retain {
    let get = |key| value.get(key);
    Retain { age_ms: get("age").and_then(duration_ms), last: get("last").map(count) }
}

fn retry(value: Value<'_, '_>) -> Retry {
    let get = |key| value.get(key);
    let codes = get("on_exit").into_iter().flat_map(items);
    Retry {
        attempts: get("attempts").map(count).unwrap_or_default(),
        delay_ms: get("delay").and_then(duration_ms).unwrap_or(1000),
        max_delay_ms: get("max_delay").and_then(duration_ms),
        on_exit: codes.map(|code| i32::try_from(count(code)).unwrap_or(i32::MAX)).collect(),
    }
}

fn when(value: Value<'_, '_>) -> When {
    let list = |key| value.get(key).map(texts).unwrap_or_default();
    When { os: list("os"), arch: list("arch"), exists: list("exists"), env: list("env") }
}

fn requirement(value: Value<'_, '_>) -> Option<Requirement> {
    let get = |key| value.get(key);
    let need = if let Some(name) = get("tool") {
        Need::Tool { name: text(name), version: get("version").map(text) }
    } else if let Some(name) = get("env") {
        Need::Env(text(name))
    } else if let Some(path) = get("file") {
        Need::File(text(path))
    } else if let Some(size) = get("disk") {
        Need::DiskBytes(bytes(size)?)
    } else {
        Need::MemoryBytes(bytes(get("memory")?)?)
    };
    let optional = get("optional").is_some_and(flag);
    Some(Requirement { need, hint: get("hint").map(text), optional, span: value.span() })
}

fn service((name, value): Entry<'_, '_>) -> Service {
    let mut service = Service { name: named(name), span: value.span(), ..Service::default() };
    for (key, value) in fields(value) {
        match key.get_ref().as_ref() {
            "run" => service.work = Work::Run(text(value)),
            "exec" => service.work = Work::Exec(texts(value)),
            "cwd" => service.cwd = Some(text(value)),
            "env" => service.env = values(value),
            "secrets" => service.secrets = texts(value),
            "deps" => service.deps = items(value).map(dep).collect(),
            "services" => service.services = texts(value),
            "port" => {
                let fixed = number(value).and_then(|port| u16::try_from(port).ok());
                service.port = Some(fixed.map_or(Port::Auto, Port::Fixed));
            }
            "ready" => service.ready = ready(value),
            "stop" => {
                let get = |key| value.get(key);
                service.stop_signal = get("signal").map(text);
                service.stop_grace_ms = get("grace").and_then(duration_ms);
            }
            "data" => service.data = Some(text(value)),
            "keep_data" => service.keep_data = flag(value),
            _ => {}
        }
    }
    service
}

fn ready(value: Value<'_, '_>) -> Option<Ready> {
    let get = |key| value.get(key);
    let tcp = get("tcp").map(|address| Probe::Tcp(text(address)));
    let http = || get("http").map(|url| Probe::Http(text(url)));
    let run = || get("run").map(|command| Probe::Run(text(command)));
    let log = || get("log").map(|pattern| Probe::Log(text(pattern)));
    Some(Ready {
        probe: tcp.or_else(http).or_else(run).or_else(log)?,
        interval_ms: get("interval").and_then(duration_ms),
        timeout_ms: get("timeout").and_then(duration_ms),
    })
}
