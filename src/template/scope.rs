//! What a template can name: layers of values, strongest first, and questions to whoever renders.

use minijinja::value::{Object, ObjectRepr, Value as Any};
use minijinja::{ErrorKind, State};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A value that can be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// Several texts; several words in a shell text.
    List(Vec<String>),
    /// A file with `stem` and `dir`.
    File(File),
    /// Several files.
    Files(Vec<File>),
}

/// A file as templates see it: its path, `file.stem` and `file.dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Relative to the Iactfile.
    pub path: String,
}

impl File {
    /// Name without folder and last suffix: `dump` for `tasks/db/dump.sh`.
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        match name.rfind('.') {
            Some(dot) if dot > 0 => &name[..dot],
            _ => name,
        }
    }

    /// Its folder: `tasks/db` for `tasks/db/dump.sh`, `.` for `dump.sh`.
    pub fn dir(&self) -> &str {
        self.path.rfind('/').map_or(".", |slash| &self.path[..slash])
    }
}

impl Object for File {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Any) -> Option<Any> {
        match key.as_str()? {
            "stem" => Some(Any::from(self.stem())),
            "dir" => Some(Any::from(self.dir())),
            _ => None,
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// Names and values of one origin.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    names: BTreeMap<String, Any>,
}

impl Layer {
    /// Gives a name a value.
    pub fn set(&mut self, name: impl Into<String>, value: Value) {
        let value = match value {
            Value::Text(text) => Any::from(text),
            Value::List(texts) => Any::from_iter(texts),
            Value::File(file) => Any::from_object(file),
            Value::Files(files) => files.into_iter().map(Any::from_object).collect(),
        };
        self.names.insert(name.into(), value);
    }

    /// Gives a name a text.
    pub fn set_text(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.set(name, Value::Text(text.into()));
    }

    /// Whether it has the name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Its names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }
}

/// What a template asks of other targets and of services. An answer that can not be given is a message for a
/// person.
pub trait Lookup: fmt::Debug + Send + Sync {
    /// `outs_of("target")`: the outputs of a dependency, relative to the asking Iactfile.
    fn outs_of(&self, target: &str) -> Result<Vec<String>, String>;

    /// `exports("target").NAME`: a value a dependency exported.
    fn exported(&self, target: &str, name: &str) -> Result<String, String>;

    /// The instances that export a value of that name for a dependency.
    fn exporters(&self, target: &str, name: &str) -> Result<Vec<String>, String>;

    /// `service.NAME.port`: where a service listens.
    fn port_of(&self, service: &str) -> Result<String, String>;
}

/// What a template can name. Cheap to make and to clone: layers are shared.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    layers: Vec<Arc<Layer>>,
    lookup: Option<Arc<dyn Lookup>>,
}

impl Scope {
    /// Layers, strongest first.
    pub fn new(layers: impl IntoIterator<Item = Arc<Layer>>) -> Self {
        Self { layers: layers.into_iter().collect(), lookup: None }
    }

    /// The same, with answers for `outs_of`, `exports` and `service`.
    #[must_use]
    pub fn with_lookup(mut self, lookup: Arc<dyn Lookup>) -> Self {
        self.lookup = Some(lookup);
        self
    }

    /// Who answers `outs_of`, `exports` and `service`.
    pub fn lookup(&self) -> Option<Arc<dyn Lookup>> {
        self.lookup.clone()
    }

    /// The same, with a layer that is stronger than all others.
    #[must_use]
    pub fn with_layer(&self, layer: Arc<Layer>) -> Self {
        let mut layers = Vec::with_capacity(self.layers.len() + 1);
        layers.push(layer);
        layers.extend(self.layers.iter().cloned());
        Self { layers, lookup: self.lookup.clone() }
    }

    /// All names, for suggestions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let asked =
            if self.lookup.is_some() { &["out_of", "outs_of", "exports", "service"][..] } else { &[] };
        self.layers.iter().flat_map(|layer| layer.names()).chain(asked.iter().copied())
    }

    /// Whether some layer has the name.
    pub fn has(&self, name: &str) -> bool {
        self.layers.iter().any(|layer| layer.has(name))
    }

    pub(super) fn value(&self) -> Any {
        Any::from_object(self.clone())
    }
}

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Any) -> Option<Any> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Any> {
        if let Some(value) = self.layers.iter().find_map(|layer| layer.names.get(key)) {
            return Some(value.clone());
        }
        let lookup = Arc::clone(self.lookup.as_ref()?);
        match key {
            "out_of" => Some(Any::from_object(Function { lookup, kind: FunctionKind::OutOf })),
            "outs_of" => Some(Any::from_object(Function { lookup, kind: FunctionKind::OutsOf })),
            "exports" => Some(Any::from_object(Function { lookup, kind: FunctionKind::Exports })),
            "service" => Some(Any::from_object(Services { lookup })),
            _ => None,
        }
    }
}

fn refuse(message: impl Into<String>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message.into())
}

fn answer<T: Into<Any>>(answer: Result<T, String>) -> Any {
    answer.map_or_else(|message| Any::from(refuse(message)), Into::into)
}

#[derive(Debug)]
enum FunctionKind {
    OutOf,
    OutsOf,
    Exports,
}

#[derive(Debug)]
struct Function {
    lookup: Arc<dyn Lookup>,
    kind: FunctionKind,
}

impl Object for Function {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Any]) -> Result<Any, minijinja::Error> {
        let [target] = args else { return Err(refuse("it takes one argument, the name of a target")) };
        let target = target.as_str().ok_or_else(|| refuse("it takes the name of a target, as a text"))?;
        let lookup = Arc::clone(&self.lookup);
        match self.kind {
            FunctionKind::Exports => Ok(Any::from_object(Exports { lookup, target: target.to_owned() })),
            FunctionKind::OutsOf => lookup.outs_of(target).map(Any::from_iter).map_err(refuse),
            FunctionKind::OutOf => {
                let outs = lookup.outs_of(target).map_err(refuse)?;
                outs.into_iter()
                    .next()
                    .map(Any::from)
                    .ok_or_else(|| refuse(format!("`{target}` has no outputs")))
            }
        }
    }
}

#[derive(Debug)]
struct Exports {
    lookup: Arc<dyn Lookup>,
    target: String,
}

impl Object for Exports {
    fn get_value(self: &Arc<Self>, key: &Any) -> Option<Any> {
        Some(answer(self.lookup.exported(&self.target, key.as_str()?)))
    }
}

#[derive(Debug)]
struct Services {
    lookup: Arc<dyn Lookup>,
}

impl Object for Services {
    fn get_value(self: &Arc<Self>, key: &Any) -> Option<Any> {
        let lookup = Arc::clone(&self.lookup);
        Some(Any::from_object(OneService { lookup, name: key.as_str()?.to_owned() }))
    }
}

#[derive(Debug)]
struct OneService {
    lookup: Arc<dyn Lookup>,
    name: String,
}

impl Object for OneService {
    fn get_value(self: &Arc<Self>, key: &Any) -> Option<Any> {
        (key.as_str()? == "port").then(|| answer(self.lookup.port_of(&self.name)))
    }
}
