//! What goes to a worker and what comes back: values only, so that a worker shares nothing it could spoil.

use super::signal::Response;
use super::spawn::End;
use crate::content::Content;
use crate::decision::Reason;
use crate::fingerprint::{InputNode, Values};
use crate::graph::action::Action;
use crate::plan::Node;
use crate::record::{Definition, PartDigest};
use crate::report::{Outcome, Stream};
use crate::scan::read::Present;
use std::sync::mpsc::{SyncSender, TrySendError};

/// A file that must not have moved when the action ends.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Workspace-relative, or absolute.
    pub path: Vec<u8>,
    /// What it was when it was digested.
    pub present: Present,
}

/// Everything one step of an action needs.
pub struct Job<'a> {
    /// Which.
    pub node: Node,
    /// What.
    pub action: &'a Action,
    /// Facts of its definition.
    pub values: Values<'a>,
    /// Its definition.
    pub definition: Definition,
    /// Source files.
    pub declared: Vec<Watched>,
    /// Files that its depfile named last time, as far as they are there and nothing else brings them.
    pub discovered: Vec<Watched>,
    /// The programs of `tools`.
    pub tools: Vec<Watched>,
    /// Outputs of its dependencies, as the input tree takes them.
    pub brought: Vec<InputNode>,
    /// The files in them.
    pub brought_files: Vec<Watched>,
    /// Why it is not up to date.
    pub reason: Reason,
    /// Whether its result may be looked up.
    pub look_up: bool,
    /// What its fingerprint is if only its outputs are not what they were: that of its record.
    pub known: Option<PartDigest>,
    /// Whether a miss comes back instead of being run: its command is shared with others.
    pub batched: bool,
    /// `false`: what a dependency made is not known for sure, so the result vouches for nothing.
    pub certain: bool,
}

impl Job<'_> {
    /// Everything it reads by itself: source files, discovered ones, tools.
    pub fn inputs(&self) -> impl Iterator<Item = &Watched> {
        self.declared.iter().chain(&self.discovered).chain(&self.tools)
    }
}

/// What a step left behind.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub node: Node,
    /// How it ended; `None`: it is in no cache and waits for a batch.
    pub outcome: Option<Outcome>,
    /// What the command returned.
    pub exit_code: Option<i32>,
    /// For a person.
    pub message: Option<String>,
    /// Its action digest.
    pub fingerprint: Option<iact_cache::Digest>,
    /// Under which the list of discovered files is kept, without which another checkout does not find the result.
    pub path_set: Option<iact_cache::Digest>,
    /// Wall time of the step.
    pub duration_ms: u64,
    /// What the command took, now or when its result was made.
    pub command_ms: u64,
    /// When the command ended.
    pub finished_unix_ms: u64,
    /// Everything in its outputs.
    pub made: Vec<MadeFile>,
    /// Files that its depfile named.
    pub discovered: Vec<Watched>,
    /// An input that moved meanwhile.
    pub moved: Option<Vec<u8>>,
    /// What it exported, or had exported before it failed.
    pub exports: Vec<(String, String)>,
    /// Under which it is kept as a generation, once that is published.
    pub generation: Option<iact_cache::Digest>,
    /// Name of its log, if it wrote one.
    pub log: Option<String>,
    /// Whether it ended because its time was over.
    pub timed_out: bool,
    /// Whether it ended because the run was told to.
    pub cancelled: bool,
    /// Things to tell.
    pub warnings: Vec<String>,
    /// The job, for what comes after.
    pub reason: Reason,
    /// What the worker went on with by itself.
    pub next: Option<Node>,
    /// Nobody goes on by himself until this was heard.
    pub holds: bool,
}

/// A file, link or folder among the outputs.
#[derive(Clone, Debug)]
pub struct MadeFile {
    /// Workspace-relative.
    pub path: Vec<u8>,
    /// What it is; a declared folder's content is that of its tree.
    pub present: Present,
    /// Declared itself.
    pub declared: bool,
}

/// What a probe said, or why it failed.
pub type Probed = Result<Vec<PartDigest>, String>;

/// What workers and signals tell the thread that owns the build.
#[derive(Debug)]
pub enum Event {
    /// A command is about to start.
    Started(Node, Reason),
    /// It wrote something.
    Output(Node, Stream, Vec<u8>),
    /// The probes of an action ran.
    Probed(Node, Probed),
    /// The postcondition of an action ran.
    Checked(Node, Result<(), String>),
    /// A step ended.
    Done(Box<Done>),
    /// A worker panicked.
    Panicked(Vec<Node>, String),
    /// Something to tell a person.
    Warning(String),
    /// Results were published, or not.
    Published(Result<(), String>),
    /// Something may have moved: there are hints to take.
    Hinted,
    /// What a signal asks for.
    Signal(Response),
}

impl Event {
    /// Sends it without waiting; whether there was room, or nobody hears it any more.
    pub fn has_room(self, to: &SyncSender<Self>) -> bool {
        !matches!(to.try_send(self), Err(TrySendError::Full(_)))
    }
}

/// The content of a declared output.
pub fn contents(made: &[MadeFile]) -> impl Iterator<Item = (&[u8], Content)> {
    made.iter().filter(|file| file.declared).map(|file| (file.path.as_slice(), file.present.content))
}

/// The end of a command in words; `None` if it succeeded.
pub fn failure(end: &End) -> Option<String> {
    match end {
        End::Exited(0) => None,
        End::Exited(code) => Some(format!("exit {code}")),
        End::Signalled(signal) => Some(format!("killed by signal {signal}")),
        End::TimedOut => Some("timed out".to_owned()),
        End::Cancelled => Some("interrupted".to_owned()),
        End::NotStarted(why) => Some(why.to_string()),
    }
}
