//! What an Iactfile declares, as typed values with the place of each. No defaults are applied and no names
//! are resolved here: this is what was written.
//!
//! Invariant: a value of these types is well-formed on its own (durations parsed, exclusive keys checked,
//! types right); whether it fits the rest of the workspace is `graph`'s question.

use crate::error::{Source, Span};
use std::ops::Range;
use std::sync::Arc;

/// A value and where it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place in the file.
    pub span: Span,
}

/// A text, possibly a template, and where it was written.
pub type Text = Spanned<String>;

impl Text {
    /// The place of a part of the text (bytes of the value), as precisely as quotes and escapes allow.
    pub fn within(&self, source: &Source, part: Range<usize>) -> Span {
        let (start, end) = (self.span.start as usize, self.span.end as usize);
        let Some(written) = source.text.get(start..end) else { return self.span };
        let Some((opening, escapes)) = opening(written) else { return self.span };
        let mut read = 0;
        let mut at = opening;
        let mut found = Span { start: self.span.start, end: self.span.end };
        while at < written.len() && read <= part.end {
            if read <= part.start {
                found.start = self.span.start + offset(at);
            }
            found.end = self.span.start + offset(at);
            let (wrote, meant) = step(&written[at..], escapes);
            at += wrote;
            read += meant;
        }
        found.end = found.end.max(found.start);
        found
    }
}

fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("inside a file of 10 MB")
}

/// How long the opening quotes are, and whether backslashes mean something behind them.
fn opening(written: &str) -> Option<(usize, bool)> {
    for (quotes, escapes) in [("\"\"\"", true), ("'''", false)] {
        if let Some(rest) = written.strip_prefix(quotes) {
            let newline = if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
            return Some((3 + newline, escapes));
        }
    }
    match written.bytes().next()? {
        b'"' => Some((1, true)),
        b'\'' => Some((1, false)),
        _ => None,
    }
}

/// Bytes written and bytes meant by the next character or escape of a string.
fn step(written: &str, escapes: bool) -> (usize, usize) {
    let mut chars = written.chars();
    let first = chars.next().map_or(1, char::len_utf8);
    let (true, true, Some(kind)) = (escapes, written.starts_with('\\'), chars.next()) else {
        return (first, first);
    };
    let digits = match kind {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        c if c.is_ascii_whitespace() => return (written.len() - written[1..].trim_start().len(), 0),
        _ => return (2, 1),
    };
    let code = written.get(2..2 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    (2 + digits, code.and_then(char::from_u32).map_or(1, char::len_utf8))
}

/// A table of names and texts in the file's order.
pub type Table = Vec<(Text, Text)>;

/// One Iactfile.
#[derive(Debug)]
pub struct Manifest {
    /// The text it was parsed from.
    pub source: Arc<Source>,
    /// Folder it stands in, relative to the workspace root; empty for the root.
    pub folder: String,
    /// `iact = ">=0.1"`.
    pub requires: Option<Spanned<semver::VersionReq>>,
    /// `[workspace]`.
    pub workspace: Workspace,
    /// `[vars]`.
    pub vars: Table,
    /// `[env]`.
    pub env: Table,
    /// `[cache]`.
    pub cache: Cache,
    /// `[remote]`.
    pub remote: Option<Spanned<Remote>>,
    /// `[pool.NAME]`: name and slots.
    pub pools: Vec<(Text, u32)>,
    /// `[target.NAME]` in the file's order.
    pub targets: Vec<Target>,
    /// `[service.NAME]` in the file's order.
    pub services: Vec<Service>,
}

/// `[workspace]`. Only the root's counts.
#[derive(Debug, Default)]
pub struct Workspace {
    /// For people.
    pub name: Option<Text>,
    /// Goals of a bare `iact build`.
    pub default: Vec<Text>,
    /// Folders, globs allowed, with an Iactfile of their own.
    pub include: Vec<Text>,
    /// argv in front of every `run`.
    pub shell: Option<Vec<Text>>,
    /// Whether wildcard globs skip what a `.gitignore` names.
    pub gitignore: Option<bool>,
}

/// `[cache]`.
#[derive(Debug, Default)]
pub struct Cache {
    /// Bytes.
    pub max_size: Option<u64>,
    /// Milliseconds.
    pub max_age_ms: Option<u64>,
    /// `blake3` or `sha256`.
    pub digest: Option<iact_cache::DigestFunction>,
    /// `durability = "batch"` (true) or `"none"` (false).
    pub durable: Option<bool>,
}

/// Where a remote's token comes from.
#[derive(Clone, Debug)]
pub enum Token {
    /// A variable.
    Env(Text),
    /// A file.
    File(Text),
    /// What a command prints.
    Command(Text),
}

/// `[remote]` and `[remote.trust]`.
#[derive(Debug, Default)]
pub struct Remote {
    /// Where it is.
    pub url: Text,
    /// Instance name.
    pub instance: Option<Text>,
    /// `mode = "read-write"` (true) or `"read"` (false).
    pub writes: Option<bool>,
    /// Whether actions run remotely.
    pub execute: bool,
    /// The token.
    pub token: Option<Token>,
    /// Sent with every request.
    pub headers: Table,
    /// The authority's certificate, a file.
    pub tls_ca: Option<Text>,
    /// The client's certificate, a file.
    pub tls_cert: Option<Text>,
    /// The client's key, a file.
    pub tls_key: Option<Text>,
    /// What this writer writes.
    pub scope: Option<Text>,
    /// Whether results without a signature are refused.
    pub require_signature: Option<bool>,
    /// Public keys by the signer's name.
    pub keys: Table,
}

/// A dependency edge.
#[derive(Clone, Debug)]
pub struct Dep {
    /// Name as written: `b`, `api:b`, `:b`, `m[db=pg]`.
    pub target: Text,
    /// Variables given by the edge.
    pub vars: Table,
}

/// What an instance of a target does.
#[derive(Debug, Default)]
pub enum Work {
    /// A group of its dependencies.
    #[default]
    Group,
    /// A script for the shell.
    Run(Text),
    /// argv of one program.
    Exec(Vec<Text>),
}

/// `for_each`.
#[derive(Debug)]
pub struct ForEach {
    /// One action for every file it matches.
    pub glob: Text,
    /// How many stale files may share one command; `None` without `batch`.
    pub batch: Option<u32>,
}

/// `cpus` and the like: a number or `"all"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// That many.
    Count(u32),
    /// The whole budget.
    All,
}

/// `retry`.
#[derive(Clone, Debug)]
pub struct Retry {
    /// At least 1.
    pub attempts: u32,
    /// First pause.
    pub delay_ms: u64,
    /// Largest pause.
    pub max_delay_ms: Option<u64>,
    /// Only these exit codes; empty means any.
    pub on_exit: Vec<i32>,
}

/// `when`.
#[derive(Clone, Debug, Default)]
pub struct When {
    /// Names of operating systems.
    pub os: Vec<Text>,
    /// Names of architectures.
    pub arch: Vec<Text>,
    /// Paths that must exist.
    pub exists: Vec<Text>,
    /// Variables that must be set.
    pub env: Vec<Text>,
}

/// What a row of `requires` asks for.
#[derive(Clone, Debug)]
pub enum Need {
    /// A program on PATH, with a version requirement.
    Tool {
        /// The program.
        name: Text,
        /// The requirement.
        version: Option<Text>,
    },
    /// A variable that is set.
    Env(Text),
    /// A file that exists.
    File(Text),
    /// Free bytes on the workspace's disk.
    DiskBytes(u64),
    /// Bytes of memory in the machine.
    MemoryBytes(u64),
}

/// One row of `requires`.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// What.
    pub need: Need,
    /// What helps if it is missing.
    pub hint: Option<Text>,
    /// Without it the target and its dependents are skipped.
    pub optional: bool,
    /// The row.
    pub span: Span,
}

/// `severity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// A failure fails the run.
    #[default]
    Error,
    /// A failure is shown; dependents go on.
    Warn,
    /// A failure is noted; dependents go on.
    Info,
}

/// `retain`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retain {
    /// Younger ones are kept.
    pub age_ms: Option<u64>,
    /// At least that many are kept.
    pub last: Option<u32>,
}

/// `[target.NAME]`.
#[derive(Debug, Default)]
pub struct Target {
    /// Its name, at its header.
    pub name: Text,
    /// For people.
    pub description: Option<Text>,
    /// Other names.
    pub aliases: Vec<Text>,
    /// For selection.
    pub tags: Vec<Text>,
    /// Heading in `iact list`.
    pub group: Option<Text>,
    /// Must succeed first; their outputs are inputs.
    pub deps: Vec<Dep>,
    /// Order only.
    pub after: Vec<Text>,
    /// Globs; `None` if absent, which means: always runs.
    pub inputs: Option<Vec<Text>>,
    /// Files and folders.
    pub outputs: Vec<Text>,
    /// Leftovers are not removed.
    pub keep_outputs: bool,
    /// `run`, `exec` or neither.
    pub work: Work,
    /// Relative to the Iactfile.
    pub cwd: Option<Text>,
    /// Overrides the workspace's.
    pub shell: Option<Vec<Text>>,
    /// Defaults.
    pub vars: Table,
    /// One instance per combination.
    pub matrix: Vec<(Text, Vec<Text>)>,
    /// One action per file.
    pub for_each: Option<ForEach>,
    /// Set; in the fingerprint.
    pub env: Table,
    /// From the caller; in the fingerprint.
    pub pass_env: Vec<Text>,
    /// From the caller; not in the fingerprint.
    pub untracked_env: Vec<Text>,
    /// Programs whose content is in the fingerprint.
    pub tools: Vec<Text>,
    /// Commands whose output is in the fingerprint.
    pub probes: Vec<Text>,
    /// A Makefile-style list of discovered inputs.
    pub depfile: Option<Text>,
    /// `cache = false`: never stored or fetched.
    pub cache: Option<bool>,
    /// `remote = false`: stays on this machine.
    pub remote: Option<bool>,
    /// `relocatable = false`: the workspace's path is in the fingerprint.
    pub relocatable: Option<bool>,
    /// The whole process tree is ended after that.
    pub timeout_ms: Option<u64>,
    /// Postcondition.
    pub check: Option<Text>,
    /// Proof before storing.
    pub verify: Option<Text>,
    /// Share of the processors.
    pub cpus: Option<Amount>,
    /// Limited slots.
    pub pool: Option<Text>,
    /// Nothing else beside it.
    pub exclusive: bool,
    /// Everything rarer than the above.
    pub rare: Option<Box<Rare>>,
    /// The whole table, for messages about the target as such.
    pub span: Span,
}

/// Keys few targets have; apart, so that fifty thousand targets stay small.
#[derive(Debug, Default)]
pub struct Rare {
    /// From the caller's environment or `.env`, masked.
    pub secrets: Vec<Text>,
    /// Started if an action that needs them really runs.
    pub services: Vec<Text>,
    /// Older is stale.
    pub valid_for_ms: Option<u64>,
    /// Generations.
    pub retain: Option<Retain>,
    /// Names written to `$IACT_EXPORTS`.
    pub exports: Vec<Text>,
    /// Again after a failure.
    pub retry: Option<Retry>,
    /// Bytes of the memory budget.
    pub memory_bytes: Option<u64>,
    /// One at a time across processes.
    pub lock: Option<Text>,
    /// Otherwise skipped.
    pub when: Option<When>,
    /// Checked before anything starts.
    pub requires: Vec<Requirement>,
    /// What a failure means for the run.
    pub severity: Severity,
    /// Asked first.
    pub confirm: Option<Text>,
    /// Run when this failed.
    pub on_failure: Vec<Text>,
    /// Run whenever this was started.
    pub finally: Vec<Text>,
    /// Owns the terminal.
    pub interactive: bool,
    /// Properties of the machine for remote execution.
    pub platform: Table,
}

/// When a service counts as ready.
#[derive(Clone, Debug)]
pub enum Probe {
    /// `host:port` accepts.
    Tcp(Text),
    /// A URL answers 2xx.
    Http(Text),
    /// A command succeeds.
    Run(Text),
    /// A line of its output matches.
    Log(Text),
}

/// `ready`.
#[derive(Clone, Debug)]
pub struct Ready {
    /// What is tried.
    pub probe: Probe,
    /// How often.
    pub interval_ms: Option<u64>,
    /// How long.
    pub timeout_ms: Option<u64>,
}

/// `port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// That one.
    Fixed(u16),
    /// A free one.
    Auto,
}

/// `[service.NAME]`.
#[derive(Debug, Default)]
pub struct Service {
    /// Its name.
    pub name: Text,
    /// What runs.
    pub work: Work,
    /// Relative to the Iactfile.
    pub cwd: Option<Text>,
    /// Set.
    pub env: Table,
    /// Masked.
    pub secrets: Vec<Text>,
    /// Targets built first.
    pub deps: Vec<Dep>,
    /// Other services it needs.
    pub services: Vec<Text>,
    /// Where it listens.
    pub port: Option<Port>,
    /// When it counts as ready.
    pub ready: Option<Ready>,
    /// Signal that ends it.
    pub stop_signal: Option<Text>,
    /// How long it may take to end.
    pub stop_grace_ms: Option<u64>,
    /// A scratch folder made fresh for each start.
    pub data: Option<Text>,
    /// The scratch folder stays.
    pub keep_data: bool,
    /// The whole table.
    pub span: Span,
}
