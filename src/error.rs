//! What goes wrong on the user's side of the line, as data: a kind (which decides the exit code), a message,
//! a place in a file where there is one, causes and hints.
//!
//! Invariant: everything a person is told about a mistake goes through [`Error`]; how it looks is decided in
//! `ui`. An action's end is not an error (it is an outcome), and trouble with the cache is a warning.
//! Refused: one error enum with a variant per message; nobody matches on them, everybody renders them.

use std::fmt;
use std::sync::Arc;

/// What class of mistake it is; the exit code follows from it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line asks for something that does not exist or contradicts itself.
    Usage,
    /// An Iactfile cannot be read, parsed or resolved.
    Manifest,
    /// Something the run needs is refused or missing: trust, a tool, a confirmation.
    Refused,
    /// The machine did not let us: a file, a process, a lock.
    Environment,
    /// A bug in iact.
    Internal,
}

/// Exit codes, as documented in the README.
pub mod exit {
    /// Everything that was asked for is done.
    pub const DONE: u8 = 0;
    /// An action failed.
    pub const FAILED: u8 = 1;
    /// Usage or Iactfile.
    pub const USAGE: u8 = 2;
    /// Stale or damaged, from the verbs that answer that question.
    pub const STALE: u8 = 3;
    /// Refused: `confirm`, trust, a missing secret, tool or requirement.
    pub const REFUSED: u8 = 4;
    /// A bug in iact.
    pub const BUG: u8 = 70;
    /// A timeout.
    pub const TIMEOUT: u8 = 124;
}

impl Kind {
    /// The exit code of a run that ends with this kind of error.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage | Self::Manifest => exit::USAGE,
            Self::Refused => exit::REFUSED,
            Self::Environment => exit::FAILED,
            Self::Internal => exit::BUG,
        }
    }
}

/// A range of bytes in a source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// The text of an Iactfile and the path people know it by.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Relative to the current folder where that is shorter.
    pub path: String,
    /// The whole text.
    pub text: String,
}

/// Where in which text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text it points into.
    pub source: Arc<Source>,
    /// The range to underline.
    pub span: Span,
}

impl Place {
    /// Line and column of its beginning, from 1; columns count characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let text = self.source.text.as_str();
        let before = &text[..text.floor_char_boundary(self.span.start as usize)];
        let line = before.rfind('\n').map_or(0, |at| at + 1);
        (1 + before.bytes().filter(|byte| *byte == b'\n').count(), 1 + before[line..].chars().count())
    }
}

/// One mistake, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Decides the exit code.
    pub kind: Kind,
    /// One line, lower case, names in back-ticks, no full stop.
    pub message: String,
    /// Where it is, if it is in a file.
    pub place: Option<Place>,
    /// Lines below the message, outermost first.
    pub causes: Vec<String>,
    /// What would help.
    pub hints: Vec<String>,
}

/// The result of what may end in a message to the user. Boxed: an error is rare and large.
pub type Result<T> = std::result::Result<T, Box<Error>>;

impl Error {
    /// An error without place, cause or hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Box<Self> {
        Box::new(Self { kind, message: message.into(), place: None, causes: Vec::new(), hints: Vec::new() })
    }

    /// The same, with a place.
    #[must_use]
    pub fn at(mut self: Box<Self>, source: &Arc<Source>, span: Span) -> Box<Self> {
        self.place = Some(Place { source: Arc::clone(source), span });
        self
    }

    /// The same, with a hint.
    #[must_use]
    pub fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hints.push(hint.into());
        self
    }

    /// The same, with a cause.
    #[must_use]
    pub fn because(mut self: Box<Self>, cause: impl fmt::Display) -> Box<Self> {
        self.causes.push(cause.to_string());
        self
    }

    /// The same, with "did you mean" if a candidate is near enough to what was written.
    #[must_use]
    pub fn suggest<'a>(
        self: Box<Self>,
        written: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Box<Self> {
        match nearest(written, candidates) {
            Some(name) => self.hint(format!("did you mean `{name}`?")),
            None => self,
        }
    }
}

/// The candidate nearest to what was written, if it is near enough to be meant; of two, the one that goes on with it.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (written.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(written, name), name))
        .filter(|(distance, name)| *distance <= limit || name.starts_with(written) && written.len() > 2)
        .min_by_key(|(distance, name)| (*distance, !name.starts_with(written), *name))
        .map(|(_, name)| name)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
