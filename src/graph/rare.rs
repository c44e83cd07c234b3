//! Keys few targets have, rendered: conditions, requirements, questions, locks, exports, generations.
//!
//! Invariant: an action without any of them carries nothing; whoever asks gets [`NONE`]. None of it is in a
//! fingerprint but the declared lists of exports and secrets.

use super::Graph;
use super::build::Builder;
use crate::error::{Error, Kind, Result, Span};
use crate::graph::names::{Decl, target};
use crate::manifest::decl::{self, Retain, Target, Text};
use crate::template::Scope;

/// `when`: all of it must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// One of these; empty: any.
    pub os: Vec<String>,
    /// One of these; empty: any.
    pub arch: Vec<String>,
    /// All of these, relative to the Iactfile or absolute.
    pub exists: Vec<String>,
    /// All of these are set.
    pub env: Vec<String>,
}

/// What a row of `requires` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A program on PATH, of a version.
    Tool(String, Option<semver::VersionReq>),
    /// A variable that is set.
    Env(String),
    /// A file that exists, relative to the Iactfile or absolute.
    File(String),
    /// Free bytes on the workspace's disk.
    DiskBytes(u64),
    /// Bytes of memory in the machine.
    MemoryBytes(u64),
}

/// One row of `requires`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What.
    pub need: Need,
    /// What helps if it is missing.
    pub hint: Option<String>,
    /// Without it the action is skipped.
    pub optional: bool,
    /// The row.
    pub span: Span,
}

/// Keys few actions have.
#[derive(Clone, Debug, Default)]
pub struct Rare {
    /// Otherwise skipped.
    pub when: Option<When>,
    /// Checked before anything starts; without the optional ones skipped.
    pub requires: Vec<Requirement>,
    /// Asked first.
    pub confirm: Option<String>,
    /// One at a time across processes.
    pub lock: Option<String>,
    /// Names it writes to `$IACT_EXPORTS`.
    pub exports: Vec<String>,
    /// Some text of it asks for an exported value.
    pub reads_exports: bool,
    /// Older is stale.
    pub valid_for_ms: Option<u64>,
    /// Generations that are kept.
    pub retain: Option<Retain>,
    /// Variables that are masked.
    pub secrets: Vec<String>,
    /// Owns the terminal.
    pub interactive: bool,
}

/// What an action without any of these keys has.
pub static NONE: Rare = Rare {
    when: None,
    requires: Vec::new(),
    confirm: None,
    lock: None,
    exports: Vec::new(),
    reads_exports: false,
    valid_for_ms: None,
    retain: None,
    secrets: Vec::new(),
    interactive: false,
};

/// The texts of these keys that may be templates.
pub fn templated(target: &Target) -> impl Iterator<Item = &Text> {
    target.rare.iter().flat_map(|rare| {
        let when = rare
            .when
            .iter()
            .flat_map(|when| when.os.iter().chain(&when.arch).chain(&when.exists).chain(&when.env));
        let requires = rare.requires.iter().flat_map(|row| {
            let need = match &row.need {
                decl::Need::Tool { name, version } => [Some(name), version.as_ref()],
                decl::Need::Env(text) | decl::Need::File(text) => [Some(text), None],
                decl::Need::DiskBytes(_) | decl::Need::MemoryBytes(_) => [None, None],
            };
            need.into_iter().flatten().chain(&row.hint)
        });
        when.chain(requires).chain(&rare.confirm).chain(&rare.lock)
    })
}

impl Builder<'_> {
    /// Renders the rare keys of an instance.
    pub(super) fn rare(&self, decl: Decl, scope: &Scope) -> Result<Option<Box<Rare>>> {
        let own = target(self.manifests(), decl);
        let reads_exports = super::instance::reads_exports(self.manifests(), &self.templates, decl);
        let rare = match own.rare.as_deref() {
            None if !reads_exports => return Ok(None),
            None => return Ok(Some(Box::new(Rare { reads_exports, ..NONE.clone() }))),
            Some(rare) => rare,
        };
        let text = |text: &Text| self.render(decl, text, scope);
        let texts = |list: &[Text]| list.iter().map(text).collect::<Result<Vec<String>>>();
        let when = |when: &decl::When| -> Result<When> {
            Ok(When {
                os: texts(&when.os)?,
                arch: texts(&when.arch)?,
                exists: texts(&when.exists)?,
                env: texts(&when.env)?,
            })
        };
        let mut requires = Vec::with_capacity(rare.requires.len());
        for row in &rare.requires {
            if row.optional && matches!(own.work, decl::Work::Group) {
                let message = "a group cannot be skipped: `optional` belongs to its members";
                return Err(self.at(decl, row.span, message));
            }
            let need = match &row.need {
                decl::Need::Tool { name, version } => {
                    let version = version.as_ref().map(|version| self.version(decl, version, scope));
                    Need::Tool(text(name)?, version.transpose()?)
                }
                decl::Need::Env(name) => Need::Env(text(name)?),
                decl::Need::File(path) => Need::File(text(path)?),
                decl::Need::DiskBytes(bytes) => Need::DiskBytes(*bytes),
                decl::Need::MemoryBytes(bytes) => Need::MemoryBytes(*bytes),
            };
            let hint = row.hint.as_ref().map(text).transpose()?;
            requires.push(Requirement { need, hint, optional: row.optional, span: row.span });
        }
        let sorted = |names: &[Text]| {
            let mut names: Vec<String> = names.iter().map(|name| name.value.clone()).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        Ok(Some(Box::new(Rare {
            when: rare.when.as_ref().map(when).transpose()?,
            requires,
            confirm: rare.confirm.as_ref().map(text).transpose()?,
            lock: rare.lock.as_ref().map(text).transpose()?,
            exports: sorted(&rare.exports),
            reads_exports,
            valid_for_ms: rare.valid_for_ms,
            retain: rare.retain,
            secrets: sorted(&rare.secrets),
            interactive: rare.interactive,
        })))
    }

    fn version(&self, decl: Decl, written: &Text, scope: &Scope) -> Result<semver::VersionReq> {
        let rendered = self.render(decl, written, scope)?;
        semver::VersionReq::parse(&rendered).map_err(|wrong| {
            let message = format!("`{rendered}` is not a version requirement");
            self.at(decl, written.span, message).because(wrong).hint("write it as in `>=2.3`")
        })
    }
}

impl Graph {
    /// An error at a row of an action's `requires`, or at any other place of its Iactfile.
    pub fn refuse_at(&self, id: u32, span: Span, message: impl Into<String>) -> Box<Error> {
        Error::new(Kind::Refused, message).at(&self.manifest(id).source, span)
    }
}
