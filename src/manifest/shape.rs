//! The shapes values of an Iactfile can have, as data: the checker and the JSON Schema are two readings of
//! it.

/// What names in a table of names may look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Targets, aliases and pools: letters, digits, `-`, `_`, `.` and `/`.
    Target,
    /// Services: the same without `.` and `/`, as `service.NAME.port` is a template.
    Service,
    /// Variables of templates: identifiers that are not taken.
    Variable,
    /// Environment variables.
    Env,
    /// Anything.
    Free,
}

/// The shape of a value.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A text, possibly empty.
    Text,
    /// A text that is not empty.
    Word,
    /// A name.
    Name(Names),
    /// The name of an environment variable.
    EnvName,
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Count { least: u32, most: u32 },
    /// A whole number from 1, or `"all"`.
    Amount,
    /// 1 to 65535, or `"auto"`.
    Port,
    /// `30s`, not zero.
    Duration,
    /// `20GiB`, or a number of bytes.
    Size,
    /// A version requirement.
    Version,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A list.
    List { of: &'static Shape, least: usize },
    /// One, or a list of them.
    OneOrMore(&'static Shape),
    /// A table of names and texts; numbers and booleans are taken as they are written.
    Values(Names),
    /// A table of variables and their axes.
    Axes,
    /// A list of different values, none empty.
    Axis,
    /// A table with these keys.
    Table(&'static Fields),
    /// A table of named tables with these keys.
    Named(Names, &'static Fields),
    /// A text of that shape, or a table with these keys.
    TextOr(&'static Shape, &'static Fields),
}

/// One key.
#[derive(Debug)]
pub(crate) struct Row {
    /// As written.
    pub(crate) name: &'static str,
    /// Of its value.
    pub(crate) shape: Shape,
    /// One line about it.
    pub(crate) about: &'static str,
}

/// What the keys of one table demand of each other.
#[derive(Debug)]
pub(crate) enum Rule {
    /// This one must be there.
    Needs(&'static str),
    /// They exclude each other.
    AtMostOne(&'static [&'static str]),
    /// They exclude each other, and one must be there.
    ExactlyOne(&'static [&'static str]),
    /// Otherwise the table says nothing.
    AtLeastOne(&'static [&'static str]),
    /// The first ones only beside one of the others.
    OnlyWith(&'static [&'static str], &'static [&'static str]),
    /// No name of the first is one of the others, too.
    Apart(&'static str, &'static [&'static str]),
}

/// The keys of a table.
#[derive(Debug)]
pub(crate) struct Fields {
    /// What such a table is called.
    pub(crate) id: &'static str,
    /// The keys, the usual ones first.
    pub(crate) rows: &'static [Row],
    /// What they demand of each other.
    pub(crate) rules: &'static [Rule],
}

impl Fields {
    /// The row of a key.
    pub(crate) fn row(&self, name: &str) -> Option<&'static Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

impl Shape {
    /// For "must be …".
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Text | Self::Word => "text".into(),
            Self::Name(_) => "a name".into(),
            Self::EnvName => "the name of a variable".into(),
            Self::Bool => "`true` or `false`".into(),
            Self::Count { .. } => "a whole number".into(),
            Self::Amount => "a whole number or `\"all\"`".into(),
            Self::Port => "a port number or `\"auto\"`".into(),
            Self::Duration => "a duration such as `\"30s\"`".into(),
            Self::Size => "a size such as `\"512MiB\"`".into(),
            Self::Version => "a version requirement such as `\">=0.1\"`".into(),
            Self::Choice(of) => format!("one of {}", listed(of)),
            Self::List { of, .. } => format!("a list of {}", of.plural()),
            Self::OneOrMore(of) => format!("{} or a list of {}", of.expected(), of.plural()),
            Self::Values(_) => "a table of names and texts".into(),
            Self::Axes => "a table of lists".into(),
            Self::Axis => "a list of values".into(),
            Self::Table(_) | Self::Named(..) => "a table".into(),
            Self::TextOr(_, fields) => format!("text or a table with `{}`", fields.rows[0].name),
        }
    }

    fn plural(&self) -> String {
        match self {
            Self::Name(_) => "names".into(),
            Self::EnvName => "names of variables".into(),
            Self::Count { .. } => "whole numbers".into(),
            Self::Table(_) => "tables".into(),
            Self::TextOr(_, fields) => format!("names or tables with `{}`", fields.rows[0].name),
            other => other.expected(),
        }
    }
}

/// Names in back-ticks: `a`, `b`, `c`.
pub(crate) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
