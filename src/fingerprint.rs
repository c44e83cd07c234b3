//! The fingerprint: the digest of the REAPI `Action` that an action comes to.
//!
//! It covers, each part length-prefixed under its own tag so that no two definitions share bytes:
//!
//! | part | what |
//! |---|---|
//! | command | schema version, argv, working folder, operating system, architecture, depfile, `verify` with its shell, `keep_outputs`, names of secrets, the definitions of its services; the workspace's path if `relocatable = false`; that a text uses `workspace` or an `auto` port, not the value |
//! | outputs | the declared list, in order |
//! | env | name and value of every variable that is set or passed; unset and empty differ |
//! | tools | name and content of the program found on PATH, not its place |
//! | probes | text and standard output |
//! | exports | the declared names (with the command); target, name and value of every exported value that is read |
//! | inputs | path, type, executable bit and content of every source file, discovered input and dependency's output: the Merkle root of the input tree |
//!
//! Never in it: times, absolute paths, job count, terminal, timeout, retries, pools, priorities,
//! `untracked_env`, values of secrets, who runs it, whether a dependency was executed or restored.
//!
//! One walk over the definition feeds two sinks, digests ([`Definition`]) and words ([`Words`]), so that what
//! is explained is what is digested. `Action.salt` holds the digest of the whole definition: a part cannot be
//! missing from the fingerprint although `Command` has no field for it.

use crate::content::{Content, ContentKind};
use crate::graph::action::Action;
use crate::record::{Definition, PartDigest};
use iact_cache::chaos::{Bug, planted};
use iact_cache::wire;
use iact_cache::{Digest, DigestFunction};
use iact_cache::{Node, TreeBuilder, TreeError};
use prost::Message;

/// Raised when the meaning of any part changes: every earlier result is then out of reach.
const SCHEMA: &str = "iact 1";

/// What a definition depends on beside the action: facts of the machine and the caller.
#[derive(Clone, Debug, Default)]
pub struct Values<'a> {
    /// `linux`.
    pub os: &'a str,
    /// `x86_64`.
    pub arch: &'a str,
    /// The variables of `pass_env` as the caller has them.
    pub passed: Vec<(&'a str, Option<&'a [u8]>)>,
    /// The programs of `tools`.
    pub tools: Vec<(&'a str, Content)>,
    /// The output of `probes`.
    pub probes: Vec<(&'a str, PartDigest)>,
    /// Set if the action is not relocatable.
    pub workspace: Option<&'a [u8]>,
    /// Target, name and value of every exported value it reads.
    pub exports: Vec<(String, String, String)>,
    /// Variables the run itself sets: what a cleanup is told of whom it follows.
    pub given: Vec<(String, String)>,
}

/// The parts of a definition that can be named as a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// argv, working folder and all that has no part of its own.
    Command,
    /// The declared list.
    Outputs,
    /// A variable.
    Env,
    /// A tool.
    Tool,
    /// A probe.
    Probe,
    /// An exported value of a dependency.
    Export,
}

/// What a walk over a definition feeds.
pub trait Sink {
    /// One value; an absent one differs from an empty one.
    fn value(&mut self, part: Part, name: &str, value: Option<&[u8]>);
}

/// Tells a sink everything that defines an action, in a fixed order.
pub fn walk(action: &Action, values: &Values<'_>, sink: &mut impl Sink) {
    let mut command = |name: &str, value: &[u8]| sink.value(Part::Command, name, Some(value));
    command("schema", SCHEMA.as_bytes());
    action.argv.iter().for_each(|word| command("argv", word.as_bytes()));
    command("cwd", action.cwd.as_bytes());
    command("os", values.os.as_bytes());
    command("arch", values.arch.as_bytes());
    let depfile = action.depfile.as_deref().map(str::as_bytes);
    let verify = action.verify.as_deref().map(str::as_bytes);
    for (name, text) in [("depfile", depfile), ("verify", verify), ("workspace", values.workspace)] {
        if let Some(text) = text {
            command(name, text);
        }
    }
    if action.keep_outputs {
        command("keep_outputs", b"true");
    }
    if action.verify.is_some() {
        action.shell.iter().for_each(|word| command("shell", word.as_bytes()));
    }
    action.rare().exports.iter().for_each(|name| command("exports", name.as_bytes()));
    action.rare().secrets.iter().for_each(|name| command("secret", name.as_bytes()));
    for used in &action.services {
        command("service", used.name.as_bytes());
        command("service is", &used.digest);
    }
    for output in &action.outputs {
        let kind: &[u8] = if output.is_folder { b"folder" } else { b"path" };
        sink.value(Part::Outputs, &output.path, Some(kind));
    }
    for (name, value) in &action.env {
        sink.value(Part::Env, name, Some(value.as_bytes()));
    }
    for (name, value) in &values.passed {
        let value = &value.filter(|_| !planted(Bug::EnvNotInKey));
        sink.value(Part::Env, name, *value);
    }
    for (name, value) in &values.given {
        sink.value(Part::Env, name, Some(value.as_bytes()));
    }
    for (name, content) in &values.tools {
        sink.value(Part::Tool, name, Some(&content.digest.hash));
    }
    for (text, output) in &values.probes {
        sink.value(Part::Probe, text, Some(output));
    }
    for (target, name, value) in &values.exports {
        sink.value(Part::Export, &format!("{target} {name}"), Some(value.as_bytes()));
    }
}

/// Digests part by part: the bytes are gathered first, since a hasher that is fed by the word costs three times as much.
struct Digests {
    command: Vec<u8>,
    outputs: Vec<u8>,
    whole: Vec<u8>,
    definition: Definition,
}

fn feed(bytes: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&value.map_or(u64::MAX, |value| value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value.unwrap_or_default());
}

fn digest(bytes: &[u8]) -> PartDigest {
    *blake3::hash(bytes).as_bytes()
}

impl Sink for Digests {
    fn value(&mut self, part: Part, name: &str, value: Option<&[u8]>) {
        self.whole.push(part as u8);
        let start = self.whole.len();
        feed(&mut self.whole, name, value);
        let list = match part {
            Part::Command => return self.command.extend_from_slice(&self.whole[start..]),
            Part::Outputs => return self.outputs.extend_from_slice(&self.whole[start..]),
            Part::Env => &mut self.definition.env,
            Part::Tool => &mut self.definition.tools,
            Part::Probe => &mut self.definition.probes,
            Part::Export => &mut self.definition.exports,
        };
        list.push((name.to_owned(), digest(&self.whole[start..])));
    }
}

/// The definition of an action, part by part.
pub fn define(action: &Action, values: &Values<'_>) -> Definition {
    let room = || Vec::with_capacity(512);
    let mut digests =
        Digests { command: room(), outputs: room(), whole: room(), definition: Definition::default() };
    walk(action, values, &mut digests);
    Definition {
        whole: digest(&digests.whole),
        command: digest(&digests.command),
        outputs: digest(&digests.outputs),
        ..digests.definition
    }
}

/// The same walk as words, for `iact show` and `iact why`; values of variables are not told.
#[derive(Debug, Default)]
pub struct Words(pub Vec<(Part, String, String)>);

impl Sink for Words {
    fn value(&mut self, part: Part, name: &str, value: Option<&[u8]>) {
        let text = match (part, value) {
            (_, None) => "unset".to_owned(),
            (Part::Env | Part::Export, _) => "set".to_owned(),
            (Part::Tool | Part::Probe, Some(digest)) => {
                digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
            }
            (_, Some(value)) => String::from_utf8_lossy(value).into_owned(),
        };
        self.0.push((part, name.to_owned(), text));
    }
}

/// One input as the tree needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputNode {
    /// Workspace-relative, or absolute if it lies outside.
    pub path: Vec<u8>,
    /// What it is.
    pub content: Content,
    /// If it is a link: what it says, and whether reading through it ends at a file.
    pub link: Option<(Vec<u8>, bool)>,
}

/// The fingerprint: the digest of the `Action` with this definition and these inputs.
///
/// # Errors
/// Two inputs that cannot stand in one tree, or a path over the limits.
pub fn fingerprint(
    function: DigestFunction,
    action: &Action,
    values: &Values<'_>,
    definition: &Definition,
    inputs: impl IntoIterator<Item = InputNode>,
) -> Result<Digest, TreeError> {
    let mut tree = TreeBuilder::new();
    let mut beside = Vec::new();
    for input in inputs {
        if input.path.starts_with(b"/") {
            beside.push(input);
        } else {
            let InputNode { path, content, link } = input;
            tree.insert(path, node(content, link))?;
        }
    }
    let root = tree.finish(function, None)?;
    let mut outside = blake3::Hasher::new();
    beside.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    for input in beside {
        outside.update(&(input.path.len() as u64).to_le_bytes()).update(&input.path);
        outside.update(&[input.content.kind as u8]).update(&input.content.digest.hash);
    }
    let mut salt = SCHEMA.as_bytes().to_vec();
    salt.extend_from_slice(&definition.whole);
    salt.extend_from_slice(outside.finalize().as_bytes());
    let command = Digest::of(function, &command(action, values).encode_to_vec());
    let action = wire::Action {
        command_digest: Some(command.into()),
        input_root_digest: Some(root.into()),
        salt,
        ..Default::default()
    };
    Ok(Digest::of(function, &action.encode_to_vec()))
}

fn node(Content { kind, digest }: Content, link: Option<(Vec<u8>, bool)>) -> Node {
    match (kind, link) {
        // The content of a link covers what it reads through to, executable bit included.
        (ContentKind::Link, Some((target, through))) => {
            Node::Symlink { target, follows: through.then_some(digest) }
        }
        (ContentKind::Link, None) => Node::Symlink { target: digest.hex().into_bytes(), follows: None },
        (ContentKind::File, _) => Node::File { digest, executable: false },
        (ContentKind::Executable, _) => Node::File { digest, executable: true },
        (ContentKind::Folder, _) => Node::Directory { digest },
    }
}

/// What a remote worker would be told to run.
pub fn command(action: &Action, values: &Values<'_>) -> wire::Command {
    let set = action.env.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let passed = values.passed.iter().filter_map(|(name, value)| Some((name.as_bytes(), (*value)?)));
    let mut env: Vec<(&[u8], &[u8])> = set.chain(passed).collect();
    env.sort_unstable();
    let relative = |path: &str| crate::path::relative_to(&action.cwd, path).into_bytes();
    let mut output_paths: Vec<Vec<u8>> = action.outputs.iter().map(|output| relative(&output.path)).collect();
    output_paths.sort_unstable();
    wire::Command {
        arguments: action.argv.iter().map(|word| word.clone().into_bytes()).collect(),
        environment_variables: env
            .into_iter()
            .map(|(name, value)| wire::EnvironmentVariable { name: name.into(), value: value.into() })
            .collect(),
        output_paths,
        working_directory: action.cwd.clone().into(),
        platform: Some(wire::Platform {
            properties: [("ISA", values.arch), ("OSFamily", values.os)]
                .map(|(name, value)| wire::PlatformProperty {
                    name: name.to_owned(),
                    value: value.to_owned(),
                })
                .into(),
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
