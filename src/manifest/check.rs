//! Does a parsed document have the shapes the table of keys asks for? The first mistake in the file's order
//! is told.
//!
//! Invariant: after `document` said yes, reading it needs no more questions: every value has its type, its
//! bounds and its syntax, and every table its rules.

use super::quantity::{self, QuantityError};
use super::shape::{Fields, Names, Rule, Shape, listed};
use super::{Entry, Value, entries, keys, not_yet, span};
use crate::error::{self, Error, Kind, Place, Source, Span};
use crate::template;
use rustc_hash::FxHashSet;
use std::fmt;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// What a matrix may come to: beyond that it is a mistake, and would take gigabytes.
const MAX_INSTANCES: usize = 10_000;

type Checked = error::Result<()>;

/// Where in the document the walk is, for names in messages.
#[derive(Clone, Copy)]
struct At<'a> {
    parent: Option<&'a At<'a>>,
    name: &'a str,
    /// Whether this is one of several in a list of that name.
    entry: bool,
}

impl<'a> At<'a> {
    fn below(&'a self, name: &'a str) -> Self {
        Self { parent: Some(self), name, entry: false }
    }

    /// For the beginning of a message; written only if there is one.
    fn what(self) -> What<'a> {
        What(self)
    }

    fn dotted(&self) -> String {
        match self.parent {
            Some(parent) if !parent.name.is_empty() => format!("{}.{}", parent.dotted(), self.name),
            _ => self.name.to_owned(),
        }
    }
}

struct What<'a>(At<'a>);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.entry { write!(f, "an entry of `{}`", self.0.name) } else { write!(f, "`{}`", self.0.name) }
    }
}

/// Checks a whole document.
pub(super) fn document(source: &Arc<Source>, table: &DeTable<'_>) -> Checked {
    // Nearly every file is right, and right in any order; a wrong one is walked again for its first mistake.
    pass(source, table, false).or_else(|_| pass(source, table, true))
}

/// Whether a document is right.
pub(super) fn is_right(source: &Arc<Source>, table: &DeTable<'_>) -> bool {
    pass(source, table, false).is_ok()
}

fn pass(source: &Arc<Source>, table: &DeTable<'_>, in_order: bool) -> Checked {
    let mut check = Check { source, in_order, not_yet: None };
    check.fields(&keys::ROOT, table, Span::default(), At { parent: None, name: "", entry: false })?;
    match check.not_yet {
        None => Ok(()),
        Some((name, at)) => Err(check
            .error(format!("`{name}` is not there yet"), at)
            .hint("this version of iact knows the key but does not act on it; remove it for now")),
    }
}

struct Check<'s> {
    source: &'s Arc<Source>,
    in_order: bool,
    not_yet: Option<(&'static str, Span)>,
}

impl Check<'_> {
    fn each<'a, 't>(
        &mut self,
        table: &'a DeTable<'t>,
        mut check: impl FnMut(&mut Self, Entry<'a, 't>) -> Checked,
    ) -> Checked {
        if self.in_order {
            entries(table).into_iter().try_for_each(|entry| check(self, entry))
        } else {
            table.iter().try_for_each(|entry| check(self, entry))
        }
    }

    fn error(&self, message: String, at: Span) -> Box<Error> {
        Error::new(Kind::Manifest, message).at(self.source, at)
    }

    fn fields(&mut self, fields: &'static Fields, table: &DeTable<'_>, whole: Span, at: At<'_>) -> Checked {
        self.each(table, |check, (key, value)| {
            let name = key.get_ref().as_ref();
            let Some(row) = fields.row(name) else {
                return Err(check.unknown(fields, (key, value), at));
            };
            check.shape(&row.shape, value, at.below(name))?;
            if check.not_yet.is_none() && not_yet::is_not_yet(fields.id, name) {
                check.not_yet = Some((row.name, span(key.span())));
            }
            Ok(())
        })?;
        fields.rules.iter().try_for_each(|rule| self.rule(rule, fields, table, (whole, at)))
    }

    fn shape(&mut self, shape: &'static Shape, value: &Value<'_>, at: At<'_>) -> Checked {
        match (shape, value.get_ref()) {
            (Shape::List { of, least }, DeValue::Array(items)) => {
                if items.len() < *least {
                    return Err(self.error(format!("`{}` is an empty list", at.name), span(value.span())));
                }
                items.iter().try_for_each(|item| self.shape(of, item, At { entry: true, ..at }))
            }
            (Shape::OneOrMore(of), DeValue::Array(items)) => {
                items.iter().try_for_each(|item| self.shape(of, item, At { entry: true, ..at }))
            }
            (Shape::OneOrMore(of), _) => self.shape(of, value, at),
            (Shape::Table(fields) | Shape::TextOr(_, fields), DeValue::Table(table)) => {
                self.fields(fields, table, span(value.span()), at)
            }
            (Shape::TextOr(text, _), DeValue::String(_)) => self.shape(text, value, at),
            (Shape::Named(names, fields), DeValue::Table(table)) => {
                self.each(table, |check, (key, value)| {
                    check.name(*names, key, at.name)?;
                    let DeValue::Table(inner) = value.get_ref() else {
                        return Err(check.wrong_type(shape, value, at.below(key.get_ref())));
                    };
                    check.fields(fields, inner, span(value.span()), at.below(key.get_ref()))
                })
            }
            (Shape::Values(names), DeValue::Table(table)) => self.each(table, |check, (key, value)| {
                check.name(*names, key, at.name)?;
                check.loose(value, at.below(key.get_ref()))
            }),
            (Shape::Axes, DeValue::Table(table)) => {
                self.each(table, |check, entry| check.axis(entry, at))?;
                self.combinations(table, span(value.span()), at)
            }
            _ => self.scalar(shape, value, at),
        }
    }

    /// A value where numbers and booleans count as the text they are written as.
    fn loose(&self, value: &Value<'_>, at: At<'_>) -> Checked {
        match value.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => Ok(()),
            _ => self.scalar(&Shape::Text, value, at),
        }
    }

    fn axis(&self, (key, value): Entry<'_, '_>, at: At<'_>) -> Checked {
        self.name(Names::Variable, key, at.name)?;
        let at = at.below(key.get_ref());
        let DeValue::Array(items) = value.get_ref() else {
            return Err(self.wrong_type(&Shape::Axis, value, at));
        };
        if items.is_empty() {
            return Err(self
                .error(format!("`{}` has no values", at.dotted()), span(value.span()))
                .hint("an empty list would leave no instance at all"));
        }
        let mut seen = FxHashSet::default();
        for item in items {
            self.loose(item, at)?;
            let text = super::read::written(item.get_ref());
            if text.is_empty() || text.contains(|c: char| matches!(c, ',' | '[' | ']') || c.is_control()) {
                return Err(self
                    .error(format!("`{text}` can not be a value of `{}`", at.dotted()), span(item.span()))
                    .hint("it becomes part of a name like `test[db=pg]`: not empty, no `,`, `[`, `]` or line break"));
            }
            if !seen.insert(text.clone()) {
                return Err(self.error(format!("`{text}` is twice in `{}`", at.dotted()), span(item.span())));
            }
        }
        Ok(())
    }

    fn combinations(&self, axes: &DeTable<'_>, place: Span, at: At<'_>) -> Checked {
        let lengths = axes.iter().filter_map(|(_, axis)| axis.get_ref().as_array()).map(|axis| axis.len());
        let instances = lengths.fold(1_usize, usize::saturating_mul);
        if instances <= MAX_INSTANCES {
            return Ok(());
        }
        let message =
            format!("`{}` has {instances} combinations, and at most {MAX_INSTANCES} may be", at.name);
        Err(self.error(message, place).hint("each is an instance of its own"))
    }

    fn scalar(&self, shape: &Shape, value: &Value<'_>, at: At<'_>) -> Checked {
        let place = span(value.span());
        match (shape, value.get_ref()) {
            (Shape::Bool, DeValue::Boolean(_)) => Ok(()),
            (Shape::Count { .. } | Shape::Amount | Shape::Port | Shape::Size, DeValue::Integer(number)) => {
                let (least, most) = match shape {
                    Shape::Count { least, most } => (u64::from(*least), u64::from(*most)),
                    Shape::Amount => (1, u64::from(u32::MAX)),
                    Shape::Port => (1, u64::from(u16::MAX)),
                    _ => (0, u64::MAX),
                };
                let what = at.what();
                match u64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(count) if (least..=most).contains(&count) => Ok(()),
                    Ok(count) if count < least => {
                        Err(self.error(format!("{what} must be at least {least}"), place))
                    }
                    Err(_) if number.as_str().starts_with('-') => {
                        Err(self.error(format!("{what} must be at least {least}"), place))
                    }
                    _ => Err(self.error(format!("{what} must be at most {most}"), place)),
                }
            }
            (_, DeValue::String(text)) => match self.text(shape, text, at) {
                Some(Ok(())) => Ok(()),
                Some(Err(wrong)) => Err(wrong.at(self.source, place)),
                None => Err(self.wrong_type(shape, value, at)),
            },
            _ => Err(self.wrong_type(shape, value, at)),
        }
    }

    /// What is wrong with a text, or `None` if the shape is not one of a text.
    fn text(&self, shape: &Shape, text: &str, at: At<'_>) -> Option<Checked> {
        let what = at.what();
        let wrong = |message: String| Some(Err(Error::new(Kind::Manifest, message)));
        if text.contains('\0') {
            return wrong(format!("{what} holds a NUL, which no command, path or variable can"));
        }
        match shape {
            Shape::Amount => (text == "all").then_some(Ok(())),
            Shape::Port => (text == "auto").then_some(Ok(())),
            Shape::Bool | Shape::Count { .. } => None,
            Shape::List { .. }
            | Shape::Values(_)
            | Shape::Axes
            | Shape::Axis
            | Shape::Table(_)
            | Shape::Named(..) => None,
            Shape::Text => Some(Ok(())),
            _ if text.trim().is_empty() => wrong(format!("{what} is empty")),
            Shape::Name(names) => Some(self.name_text(*names, text, at.name)),
            Shape::EnvName => Some(self.name_text(Names::Env, text, at.name)),
            Shape::Duration => match quantity::duration_ms(text) {
                Ok(1..) => Some(Ok(())),
                Ok(0) => wrong(format!("{what} is zero")),
                Err(problem) => {
                    Some(Err(quantity_error(problem, text, "duration", "`200ms`, `30s`, `1h30m` or `30d`")))
                }
            },
            Shape::Size => match quantity::size_bytes(text) {
                Ok(_) => Some(Ok(())),
                Err(problem) => {
                    Some(Err(quantity_error(problem, text, "size", "`512MiB`, `20GiB`, `10MB` or `4096`")))
                }
            },
            Shape::Version => match semver::VersionReq::parse(text) {
                Ok(_) => Some(Ok(())),
                Err(problem) => {
                    Some(Err(Error::new(Kind::Manifest, format!("`{text}` is not a version requirement"))
                        .because(problem)
                        .hint("write it as in `>=0.1`")))
                }
            },
            Shape::Choice(of) if !of.contains(&text) => {
                let wrong = Error::new(
                    Kind::Manifest,
                    format!("{what} must be {}, found `{}`", shape.expected(), text.escape_debug()),
                );
                let near = of.iter().find(|choice| choice.contains(text) || text.contains(**choice));
                Some(Err(match near {
                    Some(choice) => wrong.hint(format!("did you mean `{choice}`?")),
                    None => wrong.suggest(text, of.iter().copied()),
                }))
            }
            _ => Some(Ok(())),
        }
    }

    fn name(&self, names: Names, key: &toml::Spanned<toml::de::DeString<'_>>, within: &str) -> Checked {
        self.name_text(names, key.get_ref(), within).map_err(|wrong| wrong.at(self.source, span(key.span())))
    }

    fn name_text(&self, names: Names, name: &str, within: &str) -> Checked {
        let wrong = |message: String| Err(Error::new(Kind::Manifest, message));
        if name.is_empty() {
            return wrong(format!("empty name in `{within}`"));
        }
        let word = |extra: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c));
        let shown = name.escape_debug();
        match names {
            Names::Target
                if !word("-_./") || !name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') =>
            {
                Err(Error::new(Kind::Manifest, format!("`{shown}` can not be a name"))
                    .hint("letters, digits, `-`, `_`, `.` and `/`, and a letter, digit or `_` first"))
            }
            Names::Target if name.split('/').any(|part| matches!(part, "" | "." | "..")) => {
                Err(Error::new(Kind::Manifest, format!("`{shown}` can not be a name"))
                    .hint("between two `/` of a name something must stand, and not `.` or `..`"))
            }
            Names::Service
                if !word("-_") || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') =>
            {
                Err(Error::new(Kind::Manifest, format!("`{shown}` can not be the name of a service"))
                    .hint("letters, digits, `-` and `_`, and a letter or `_` first"))
            }
            Names::Variable if !word("_") || name.starts_with(|c: char| c.is_ascii_digit()) => {
                Err(Error::new(Kind::Manifest, format!("`{shown}` can not be the name of a variable"))
                    .hint("letters, digits and `_`, no digit first: it is used as in `{{ name }}`"))
            }
            Names::Variable if template::is_reserved(name) => {
                Err(Error::new(Kind::Manifest, format!("`{name}` has a meaning of its own in templates"))
                    .hint("choose another name for the variable"))
            }
            Names::Env if name.contains(['=', '\0']) || name.contains(char::is_whitespace) => {
                wrong(format!("`{shown}` can not be the name of an environment variable"))
            }
            _ if name.contains('\0') => wrong(format!("`{shown}` can not be a name")),
            _ => Ok(()),
        }
    }

    fn rule(
        &self,
        rule: &Rule,
        fields: &Fields,
        table: &DeTable<'_>,
        (whole, at): (Span, At<'_>),
    ) -> Checked {
        let place = |name: &str| table.get_key_value(name).map(|(key, _)| span(key.span()));
        let present = |names: &'static [&'static str]| -> Vec<(Span, &str)> {
            let mut found: Vec<_> = names.iter().filter_map(|name| Some((place(name)?, *name))).collect();
            found.sort_by_key(|(at, _)| at.start);
            found
        };
        let count = |names: &[&str]| names.iter().filter(|name| table.contains_key(**name)).count();
        let owner = || {
            if at.entry || at.name == fields.id {
                at.what().to_string()
            } else {
                format!("`{}`", at.dotted())
            }
        };
        match rule {
            Rule::Needs(name) if place(name).is_none() => {
                Err(self.error(format!("{} needs `{name}`", owner()), whole))
            }
            Rule::AtMostOne(names) | Rule::ExactlyOne(names) if count(names) > 1 => {
                let found = present(names);
                Err(self
                    .error(format!("`{}` and `{}` exclude each other", found[0].1, found[1].1), found[1].0))
            }
            Rule::ExactlyOne(names) if count(names) == 0 => {
                Err(self.error(format!("{} needs one of {}", owner(), listed(names)), whole))
            }
            Rule::AtLeastOne(names) if count(names) == 0 => {
                Err(self.error(format!("{} needs at least one of {}", owner(), listed(names)), whole))
            }
            Rule::OnlyWith(names, others) if count(others) == 0 => match present(names).first() {
                Some(&(at, name)) => {
                    Err(self.error(format!("`{name}` needs {} beside it", either(others)), at))
                }
                None => Ok(()),
            },
            Rule::Apart(list, others) => others.iter().try_for_each(|other| self.apart((list, other), table)),
            _ => Ok(()),
        }
    }

    /// A value that is kept out of everything on one side would get into it on the other.
    fn apart(&self, (list, other): (&str, &str), table: &DeTable<'_>) -> Checked {
        let (Some(one), Some(two)) = (table.get(list), table.get(other)) else { return Ok(()) };
        let ours = names_in(one);
        let both = names_in(two).into_iter().find_map(|(name, at)| {
            let (_, ours) = ours.iter().find(|(known, _)| *known == name)?;
            Some((name, at, *ours))
        });
        let Some((name, at, ours)) = both else { return Ok(()) };
        let place = Place { source: Arc::clone(self.source), span: ours };
        let (line, column) = place.line_and_column();
        Err(self
            .error(format!("`{name}` is in both `{list}` and `{other}`"), at)
            .because(format!("it is in `{list}` at {}:{line}:{column}", self.source.path))
            .hint(format!("a command sees its `{list}` by itself: take it out of `{other}`")))
    }

    fn unknown(&self, fields: &'static Fields, (key, value): Entry<'_, '_>, at: At<'_>) -> Box<Error> {
        let name = key.get_ref().as_ref();
        let shown = name.escape_debug();
        let message = if at.name.is_empty() {
            format!("unknown key `{shown}`")
        } else {
            format!("unknown key `{shown}` in `{}`", at.dotted())
        };
        let wrong = self.error(message, span(key.span()));
        if let Some(ours) = error::nearest(name, fields.rows.iter().map(|row| row.name)) {
            return wrong.hint(format!("did you mean `{ours}`?"));
        }
        let elsewhere =
            keys::ELSEWHERE.iter().find(|(theirs, ours)| *theirs == name && fields.row(ours).is_some());
        if let Some((_, ours)) = elsewhere {
            return wrong.hint(format!("did you mean `{ours}`?"));
        }
        if fields.id == "target" && value.get_ref().is_table() {
            return wrong.hint(format!("a name with a dot needs quotes: `[target.\"{}.{shown}\"]`", at.name));
        }
        if fields.id == "root" && keys::TARGET.row(name).is_some() {
            return wrong.hint(format!("`{name}` belongs below a `[target.NAME]`"));
        }
        let known: Vec<&str> = fields.rows.iter().map(|row| row.name).collect();
        if known.len() <= 12 { wrong.hint(format!("the keys here are {}", listed(&known))) } else { wrong }
    }

    fn wrong_type(&self, shape: &Shape, value: &Value<'_>, at: At<'_>) -> Box<Error> {
        let found = match value.get_ref() {
            DeValue::String(text) if matches!(shape, Shape::Amount | Shape::Port) => {
                format!("`{}`", text.escape_debug())
            }
            DeValue::String(_) => "text".to_owned(),
            DeValue::Integer(_) => "a whole number".to_owned(),
            DeValue::Float(_) => "a number".to_owned(),
            DeValue::Boolean(_) => "a boolean".to_owned(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        let message = format!("{} must be {}, found {found}", at.what(), shape.expected());
        let wrong = self.error(message, span(value.span()));
        match (shape, value.get_ref()) {
            (Shape::List { .. } | Shape::Axis, DeValue::String(text)) => {
                wrong.hint(format!("write `{} = [{text:?}]`", at.name))
            }
            (Shape::Duration, DeValue::Integer(number)) => {
                wrong.hint(format!("say the unit: `{} = \"{number}s\"`", at.name))
            }
            (Shape::Text | Shape::Word, DeValue::Datetime(date)) => {
                wrong.hint(format!("put it in quotes: `\"{date}\"`"))
            }
            (Shape::Word, DeValue::Array(_)) if at.name == "run" => {
                wrong.hint("write one script in `'''…'''`, or use `exec` for a program and its arguments")
            }
            _ => wrong,
        }
    }
}

/// The names that a list holds, or that a table gives values to.
fn names_in<'a>(value: &'a Value<'_>) -> Vec<(&'a str, Span)> {
    match value.get_ref() {
        DeValue::Array(items) => {
            items.iter().filter_map(|item| Some((item.get_ref().as_str()?, span(item.span())))).collect()
        }
        DeValue::Table(table) => {
            entries(table).into_iter().map(|(key, _)| (key.get_ref().as_ref(), span(key.span()))).collect()
        }
        _ => Vec::new(),
    }
}

fn either(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

fn quantity_error(problem: QuantityError, text: &str, what: &str, examples: &str) -> Box<Error> {
    match problem {
        QuantityError::TooLarge => Error::new(Kind::Manifest, format!("`{text}` is too large a {what}")),
        _ => Error::new(Kind::Manifest, format!("`{text}` is not a {what}"))
            .hint(format!("write it as in {examples}")),
    }
}
