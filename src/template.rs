//! Templates: `{{ name }}` in the texts of an Iactfile, by MiniJinja.
//!
//! Invariant: rendering is a function of the text and the scope; it reads nothing else, ends soon (a fuel
//! limit), and never prints an undefined name. In a shell text every value arrives as the data it is (see
//! `shell`); only `| raw` opts out. Texts without braces never reach the engine.
//!
//! Refused: macros, includes and imports (a text stands alone), `safe`, `escape` and `autoescape` as ways
//! around the quoting, the environment and files as functions (loading executes nothing).

mod scope;
mod shell;

pub use scope::{File, Layer, Lookup, Scope, Value};

use crate::error::{self, Error, Kind, Source};
use crate::manifest::decl::Text;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, ErrorKind, Output, State, UndefinedBehavior};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Names that every template may have from iact; no variable can take them.
const BUILT_IN: [&str; 13] = [
    "os",
    "arch",
    "distro",
    "workspace",
    "file",
    "files",
    "args",
    "out",
    "outs",
    "out_of",
    "outs_of",
    "exports",
    "service",
];

/// Words of the template language, which no variable can take either.
const WORDS: [&str; 16] = [
    "and", "or", "not", "in", "is", "if", "else", "for", "true", "false", "none", "True", "False", "None",
    "loop", "self",
];

/// Built-in names whose values are known only when an action runs, or stay out of fingerprints.
const LATE: [&str; 3] = ["workspace", "service", "exports"];

/// Steps a template may take; a loop over 10,000 files takes some 100,000.
const FUEL: u64 = 2_000_000;

/// Bytes a template may come to; more than any system takes as a command.
const MAX_OUTPUT: usize = 16 << 20;

/// Whether a name means something of its own in templates.
pub fn is_reserved(name: &str) -> bool {
    BUILT_IN.contains(&name) || WORDS.contains(&name)
}

/// What happens to the value of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quoting {
    /// It is quoted for a POSIX shell; a list becomes several words.
    Shell,
    /// It is inserted as is; a list is joined by spaces.
    None,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// One line, as in [`Error::message`].
    pub message: String,
    /// Where in the text.
    pub range: Range<usize>,
    /// The name nobody defined, if that is it.
    pub undefined: Option<String>,
    /// What would help.
    pub hint: Option<String>,
}

impl TemplateError {
    /// As an error of the file the text stands in.
    pub fn into_error(self, source: &Arc<Source>, text: &Text) -> Box<Error> {
        let wrong = Error::new(Kind::Manifest, self.message).at(source, text.within(source, self.range));
        match self.hint {
            Some(hint) => wrong.hint(hint),
            None => wrong,
        }
    }
}

/// The names a template uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// With the attributes asked of them: `python`, `file.stem`, `service.db.port`.
    pub dotted: BTreeSet<String>,
}

impl Uses {
    /// The names themselves, without attributes, sorted; possibly with repetitions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.dotted.iter().map(|name| name.split('.').next().unwrap_or_default())
    }

    /// Whether it uses this name.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|used| used == name)
    }

    /// Whether it uses what is known only when the action runs: `workspace`, `service`, `exports`.
    pub fn is_late(&self) -> bool {
        self.names().any(|name| LATE.contains(&name))
    }

    /// The services it asks something of.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.dotted.iter().filter_map(|name| name.strip_prefix("service.")?.split('.').next())
    }
}

/// Whether a text is more than itself.
pub fn is_template(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Most texts have no brace at all, and to look for one byte is quick.
    bytes.contains(&b'{') && is_written_as_template(text)
}

fn is_written_as_template(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.windows(2).any(|pair| matches!(pair, b"{{" | b"{%")) || text.contains(COMMENT)
}

/// The template engine, set up once.
pub struct Templates {
    engine: Environment<'static>,
}

impl Default for Templates {
    fn default() -> Self {
        Self::new()
    }
}

impl Templates {
    /// Sets the engine up.
    pub fn new() -> Self {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_debug(true);
        engine.set_fuel(Some(FUEL));
        engine.set_recursion_limit(100);
        let mut syntax = SyntaxConfig::builder();
        syntax.keep_trailing_newline(true).comment_delimiters(COMMENT, "#}");
        engine.set_syntax(syntax.build().expect("delimiters that differ"));
        engine.set_auto_escape_callback(|name| match name {
            SHELL => AutoEscape::Custom(Cow::Borrowed(SHELL)),
            _ => AutoEscape::None,
        });
        engine.set_formatter(format);
        for filter in ["safe", "escape", "e", "pprint"] {
            engine.remove_filter(filter);
        }
        engine.remove_global("debug");
        engine.add_filter("raw", raw);
        Self { engine }
    }

    /// The names a text uses; `None` if it is no template.
    pub fn uses(&self, text: &str) -> Result<Option<Uses>, TemplateError> {
        if !is_template(text) {
            return Ok(None);
        }
        let template =
            self.engine.template_from_named_str(PLAIN, text).map_err(|wrong| explain(&wrong, text, None))?;
        Ok(Some(Uses { dotted: template.undeclared_variables(true).into_iter().collect() }))
    }

    /// Renders a text; one that is no template comes back as it is.
    pub fn render<'t>(
        &self,
        text: &'t str,
        scope: &Scope,
        quoting: Quoting,
    ) -> Result<Cow<'t, str>, TemplateError> {
        if !is_template(text) {
            return Ok(Cow::Borrowed(text));
        }
        let name = if quoting == Quoting::Shell { SHELL } else { PLAIN };
        let explain = |wrong: &minijinja::Error| explain(wrong, text, Some(scope));
        let mut output = Bounded(Vec::with_capacity(text.len() + 64));
        let template = self.engine.template_from_named_str(name, text).map_err(|wrong| explain(&wrong))?;
        template.render_captured_to(scope.value(), &mut output).map_err(|wrong| explain(&wrong))?;
        let rendered = String::from_utf8(output.0).expect("the engine writes text");
        if quoting == Quoting::None {
            return Ok(Cow::Owned(rendered));
        }
        shell::requote(&rendered).map(Cow::Owned).map_err(|wrong| TemplateError {
            message: wrong.to_string(),
            range: 0..text.len(),
            undefined: None,
            hint: None,
        })
    }
}

/// With its space: `${#name}` is a length in every shell.
const COMMENT: &str = "{# ";

const SHELL: &str = "shell";
const PLAIN: &str = "plain";

/// Quotes a word for a POSIX shell, if it needs it.
pub fn quoted(word: &str) -> String {
    shell::quote(word)
}

/// Collects what is rendered, up to [`MAX_OUTPUT`].
struct Bounded(Vec<u8>);

impl io::Write for &mut Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The words a value comes to.
fn words(value: &minijinja::Value) -> Result<Vec<String>, minijinja::Error> {
    let refuse = |what: &str| Err(minijinja::Error::new(ErrorKind::InvalidOperation, what.to_owned()));
    let words = match value.kind() {
        ValueKind::Undefined => Vec::new(),
        ValueKind::None => return refuse("`none` is no value to insert"),
        ValueKind::Map => return refuse("a table can not be inserted; ask for one of its entries"),
        ValueKind::Bytes => return refuse("bytes can not be inserted"),
        ValueKind::Seq | ValueKind::Iterable => {
            let mut words = Vec::new();
            for item in value.try_iter()? {
                match item.kind() {
                    ValueKind::String | ValueKind::Number | ValueKind::Bool | ValueKind::Plain => {
                        words.push(word(&item));
                    }
                    _ => return refuse("a list of lists or tables can not be inserted"),
                }
            }
            words
        }
        _ => vec![word(value)],
    };
    if words.iter().any(|word| word.contains('\0')) {
        return refuse("a value holds a NUL, which no command, path or variable can");
    }
    Ok(words)
}

/// The engine spells booleans as Python does.
fn word(value: &minijinja::Value) -> String {
    match value.kind() {
        ValueKind::Bool => value.is_true().to_string(),
        _ => value.to_string(),
    }
}

fn format(out: &mut Output, state: &mut State, value: &minijinja::Value) -> Result<(), minijinja::Error> {
    if value.is_safe() {
        return Ok(out.write_str(value.as_str().unwrap_or_default())?);
    }
    let words = words(value)?;
    if state.name() == SHELL {
        if value.is_undefined() {
            return Ok(());
        }
        if iact_cache::chaos::planted(iact_cache::chaos::Bug::Unquoted) {
            return Ok(out.write_str(&words.join(" "))?);
        }
        let mut mark = String::new();
        shell::mark(words.iter().map(String::as_str), &mut mark);
        return Ok(out.write_str(&mark)?);
    }
    Ok(out.write_str(&words.join(" "))?)
}

fn raw(value: &minijinja::Value) -> Result<minijinja::Value, minijinja::Error> {
    if value.is_safe() {
        return Ok(value.clone());
    }
    Ok(minijinja::Value::from_safe_string(words(value)?.join(" ")))
}

/// Says in our words what the engine found.
fn explain(wrong: &minijinja::Error, text: &str, scope: Option<&Scope>) -> TemplateError {
    let range = wrong.range().filter(|range| text.get(range.clone()).is_some()).unwrap_or(0..text.len());
    let detail = wrong.detail().unwrap_or_default();
    let quoted = || detail.split('`').nth(1).map(str::to_owned);
    let mut undefined = None;
    let mut hint = None;
    let message = match wrong.kind() {
        ErrorKind::UndefinedError => {
            undefined = quoted();
            match &undefined {
                Some(name) => {
                    hint = scope.and_then(|scope| scope.suggest(name));
                    format!("undefined name `{name}`")
                }
                None => "this has no value".to_owned(),
            }
        }
        ErrorKind::UnknownFunction => {
            let name =
                text.get(range.clone()).unwrap_or_default().split('(').next().unwrap_or_default().trim();
            undefined = Some(name.to_owned());
            hint = scope.and_then(|scope| scope.suggest(name));
            format!("unknown function `{name}`")
        }
        ErrorKind::UnknownFilter => {
            format!("unknown filter `{}`", text.get(range.clone()).unwrap_or_default())
        }
        ErrorKind::UnknownTest => format!("unknown test `{}`", text.get(range.clone()).unwrap_or_default()),
        ErrorKind::SyntaxError => {
            hint =
                Some("braces meant for the command stand between `{% raw %}` and `{% endraw %}`".to_owned());
            format!("not a template: {detail}")
        }
        ErrorKind::OutOfFuel => "this template does not come to an end".to_owned(),
        ErrorKind::WriteFailure => format!("this template comes to more than {MAX_OUTPUT} bytes"),
        kind if detail.is_empty() => kind.to_string(),
        _ => detail.to_owned(),
    };
    TemplateError { message, range, undefined, hint }
}

impl Scope {
    fn suggest(&self, written: &str) -> Option<String> {
        let name = written.split('.').next().unwrap_or_default();
        match name {
            "file" if self.has(name) => Some("`file` has `stem` and `dir`".to_owned()),
            _ if self.has(name) => None,
            _ => error::nearest(name, self.names()).map(|name| format!("did you mean `{name}`?")),
        }
    }
}

#[cfg(test)]
mod tests;
