//! The messages of the Remote Execution API, version 2, that digests are made of and results are written in.
//!
//! They are plain data; encoding is canonical (fields in the order of their numbers, nothing unknown, lists
//! sorted by whoever fills them in), so that one value has one digest. Generated code was refused: these few
//! messages change never, and a build must not need `protoc`.
//!
//! Names, paths, link targets, arguments and environment values are *bytes* here where the API says `string`:
//! both are wire type 2, so every valid UTF-8 name is encoded exactly as the API wants it, and any other name
//! is kept byte for byte, never on the key of another. A server may refuse such a name; a client has to look
//! before it uploads.

use prost::Message;

use crate::digest::{self, DigestFunction};

/// `build.bazel.remote.execution.v2.Action`.
#[derive(Clone, PartialEq, Message)]
pub struct Action {
    /// Digest of the [`Command`].
    #[prost(message, optional, tag = "1")]
    pub command_digest: Option<Digest>,
    /// Digest of the root [`Directory`] of the inputs.
    #[prost(message, optional, tag = "2")]
    pub input_root_digest: Option<Digest>,
    /// After which the execution is ended.
    #[prost(message, optional, tag = "6")]
    pub timeout: Option<Duration>,
    /// Whether the result must not be stored.
    #[prost(bool, tag = "7")]
    pub do_not_cache: bool,
    /// Sets this action apart from others of the same content.
    #[prost(bytes = "vec", tag = "9")]
    pub salt: Vec<u8>,
    /// What the executing machine has to be.
    #[prost(message, optional, tag = "10")]
    pub platform: Option<Platform>,
}

/// `build.bazel.remote.execution.v2.Command`.
#[derive(Clone, PartialEq, Message)]
pub struct Command {
    /// The program and its arguments.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub arguments: Vec<Vec<u8>>,
    /// The environment, sorted by name.
    #[prost(message, repeated, tag = "2")]
    pub environment_variables: Vec<EnvironmentVariable>,
    /// Superseded by `output_paths`.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub output_files: Vec<Vec<u8>>,
    /// Superseded by `output_paths`.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub output_directories: Vec<Vec<u8>>,
    /// Superseded by the action's.
    #[prost(message, optional, tag = "5")]
    pub platform: Option<Platform>,
    /// Relative to the input root.
    #[prost(bytes = "vec", tag = "6")]
    pub working_directory: Vec<u8>,
    /// Relative to the working directory, sorted, without duplicates.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub output_paths: Vec<Vec<u8>>,
    /// Which properties of outputs are wanted, sorted.
    #[prost(string, repeated, tag = "8")]
    pub output_node_properties: Vec<String>,
    /// 0: a tree; 1: folders; 2: both.
    #[prost(int32, tag = "9")]
    pub output_directory_format: i32,
}

/// `build.bazel.remote.execution.v2.Command.EnvironmentVariable`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct EnvironmentVariable {
    /// The variable's name.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// The variable's value.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `build.bazel.remote.execution.v2.Platform`.
#[derive(Clone, PartialEq, Message)]
pub struct Platform {
    /// Sorted by name, then by value.
    #[prost(message, repeated, tag = "1")]
    pub properties: Vec<PlatformProperty>,
}

/// `build.bazel.remote.execution.v2.Platform.Property`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct PlatformProperty {
    /// The property's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The property's value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `build.bazel.remote.execution.v2.Digest`.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Digest {
    /// Lower-case hexadecimal digits.
    #[prost(string, tag = "1")]
    pub hash: String,
    /// The number of bytes.
    #[prost(int64, tag = "2")]
    pub size_bytes: i64,
}

/// `build.bazel.remote.execution.v2.Directory`; each list is sorted by name.
#[derive(Clone, PartialEq, Message)]
pub struct Directory {
    /// The files in it.
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<FileNode>,
    /// The folders in it.
    #[prost(message, repeated, tag = "2")]
    pub directories: Vec<DirectoryNode>,
    /// The symbolic links in it.
    #[prost(message, repeated, tag = "3")]
    pub symlinks: Vec<SymlinkNode>,
    /// More about the folder itself.
    #[prost(message, optional, tag = "5")]
    pub node_properties: Option<NodeProperties>,
}

/// `build.bazel.remote.execution.v2.FileNode`.
#[derive(Clone, PartialEq, Message)]
pub struct FileNode {
    /// The file's name in its folder.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// Digest of its content.
    #[prost(message, optional, tag = "2")]
    pub digest: Option<Digest>,
    /// Whether it can be executed.
    #[prost(bool, tag = "4")]
    pub is_executable: bool,
    /// More about it.
    #[prost(message, optional, tag = "6")]
    pub node_properties: Option<NodeProperties>,
}

/// `build.bazel.remote.execution.v2.DirectoryNode`.
#[derive(Clone, PartialEq, Message)]
pub struct DirectoryNode {
    /// The folder's name in its folder.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// Digest of its [`Directory`].
    #[prost(message, optional, tag = "2")]
    pub digest: Option<Digest>,
}

/// `build.bazel.remote.execution.v2.SymlinkNode`.
#[derive(Clone, PartialEq, Message)]
pub struct SymlinkNode {
    /// The link's name in its folder.
    #[prost(bytes = "vec", tag = "1")]
    pub name: Vec<u8>,
    /// What it points to, as written in it.
    #[prost(bytes = "vec", tag = "2")]
    pub target: Vec<u8>,
    /// More about it.
    #[prost(message, optional, tag = "4")]
    pub node_properties: Option<NodeProperties>,
}

/// `build.bazel.remote.execution.v2.NodeProperties`.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProperties {
    /// Sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub properties: Vec<NodeProperty>,
    /// When the file was changed last.
    #[prost(message, optional, tag = "2")]
    pub mtime: Option<Timestamp>,
    /// Its permissions.
    #[prost(message, optional, tag = "3")]
    pub unix_mode: Option<UInt32Value>,
}

/// `build.bazel.remote.execution.v2.NodeProperty`.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProperty {
    /// The property's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The property's value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `build.bazel.remote.execution.v2.ActionResult`.
#[derive(Clone, PartialEq, Message)]
pub struct ActionResult {
    /// Outputs that are files.
    #[prost(message, repeated, tag = "2")]
    pub output_files: Vec<OutputFile>,
    /// Outputs that are folders.
    #[prost(message, repeated, tag = "3")]
    pub output_directories: Vec<OutputDirectory>,
    /// How the command ended.
    #[prost(int32, tag = "4")]
    pub exit_code: i32,
    /// Standard output itself; never written by iact.
    #[prost(bytes = "vec", tag = "5")]
    pub stdout_raw: Vec<u8>,
    /// Digest of the standard output.
    #[prost(message, optional, tag = "6")]
    pub stdout_digest: Option<Digest>,
    /// Standard error itself; never written by iact.
    #[prost(bytes = "vec", tag = "7")]
    pub stderr_raw: Vec<u8>,
    /// Digest of the standard error.
    #[prost(message, optional, tag = "8")]
    pub stderr_digest: Option<Digest>,
    /// How it was executed.
    #[prost(message, optional, tag = "9")]
    pub execution_metadata: Option<ExecutedActionMetadata>,
    /// Superseded by `output_symlinks`.
    #[prost(message, repeated, tag = "10")]
    pub output_file_symlinks: Vec<OutputSymlink>,
    /// Superseded by `output_symlinks`.
    #[prost(message, repeated, tag = "11")]
    pub output_directory_symlinks: Vec<OutputSymlink>,
    /// Outputs that are symbolic links.
    #[prost(message, repeated, tag = "12")]
    pub output_symlinks: Vec<OutputSymlink>,
}

/// `build.bazel.remote.execution.v2.OutputFile`.
#[derive(Clone, PartialEq, Message)]
pub struct OutputFile {
    /// Relative to the working directory.
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// Digest of its content.
    #[prost(message, optional, tag = "2")]
    pub digest: Option<Digest>,
    /// Whether it can be executed.
    #[prost(bool, tag = "4")]
    pub is_executable: bool,
    /// Its content, if asked for inline.
    #[prost(bytes = "vec", tag = "5")]
    pub contents: Vec<u8>,
    /// More about it.
    #[prost(message, optional, tag = "7")]
    pub node_properties: Option<NodeProperties>,
}

/// `build.bazel.remote.execution.v2.OutputDirectory`.
#[derive(Clone, PartialEq, Message)]
pub struct OutputDirectory {
    /// Relative to the working directory.
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// Digest of its [`Tree`].
    #[prost(message, optional, tag = "3")]
    pub tree_digest: Option<Digest>,
    /// Whether parents stand before children in the tree, each folder once.
    #[prost(bool, tag = "4")]
    pub is_topologically_sorted: bool,
    /// Digest of its root [`Directory`].
    #[prost(message, optional, tag = "5")]
    pub root_directory_digest: Option<Digest>,
}

/// `build.bazel.remote.execution.v2.OutputSymlink`.
#[derive(Clone, PartialEq, Message)]
pub struct OutputSymlink {
    /// Relative to the working directory.
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// What it points to, as written in it.
    #[prost(bytes = "vec", tag = "2")]
    pub target: Vec<u8>,
    /// More about it.
    #[prost(message, optional, tag = "4")]
    pub node_properties: Option<NodeProperties>,
}

/// `build.bazel.remote.execution.v2.Tree`.
#[derive(Clone, PartialEq, Message)]
pub struct Tree {
    /// The folder itself.
    #[prost(message, optional, tag = "1")]
    pub root: Option<Directory>,
    /// Every folder below it, each once.
    #[prost(message, repeated, tag = "2")]
    pub children: Vec<Directory>,
}

/// `build.bazel.remote.execution.v2.ExecutedActionMetadata`.
#[derive(Clone, PartialEq, Message)]
pub struct ExecutedActionMetadata {
    /// Who executed it.
    #[prost(string, tag = "1")]
    pub worker: String,
    /// When it was queued.
    #[prost(message, optional, tag = "2")]
    pub queued_timestamp: Option<Timestamp>,
    /// When the worker got it.
    #[prost(message, optional, tag = "3")]
    pub worker_start_timestamp: Option<Timestamp>,
    /// When the worker was through with it.
    #[prost(message, optional, tag = "4")]
    pub worker_completed_timestamp: Option<Timestamp>,
    /// When fetching inputs began.
    #[prost(message, optional, tag = "5")]
    pub input_fetch_start_timestamp: Option<Timestamp>,
    /// When fetching inputs ended.
    #[prost(message, optional, tag = "6")]
    pub input_fetch_completed_timestamp: Option<Timestamp>,
    /// When the command began.
    #[prost(message, optional, tag = "7")]
    pub execution_start_timestamp: Option<Timestamp>,
    /// When the command ended.
    #[prost(message, optional, tag = "8")]
    pub execution_completed_timestamp: Option<Timestamp>,
    /// When uploading outputs began.
    #[prost(message, optional, tag = "9")]
    pub output_upload_start_timestamp: Option<Timestamp>,
    /// When uploading outputs ended.
    #[prost(message, optional, tag = "10")]
    pub output_upload_completed_timestamp: Option<Timestamp>,
    /// Whatever else the worker tells.
    #[prost(message, repeated, tag = "11")]
    pub auxiliary_metadata: Vec<Any>,
    /// How long the command took.
    #[prost(message, optional, tag = "12")]
    pub virtual_execution_duration: Option<Duration>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    /// Since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Within the second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Duration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// The rest.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `google.protobuf.UInt32Value`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct UInt32Value {
    /// The number.
    #[prost(uint32, tag = "1")]
    pub value: u32,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// What `value` is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl From<digest::Digest> for Digest {
    fn from(digest: digest::Digest) -> Self {
        Self { hash: digest.hex(), size_bytes: i64::try_from(digest.size).unwrap_or(i64::MAX) }
    }
}

impl Digest {
    /// The digest it spells, if it is a well-formed one.
    pub fn read(&self) -> Option<digest::Digest> {
        digest::Digest::from_hex(&self.hash, u64::try_from(self.size_bytes).ok()?).ok()
    }
}

/// The digest of a message: of its canonical encoding.
pub fn digest_of(function: DigestFunction, message: &impl Message) -> digest::Digest {
    digest::Digest::of(function, &message.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: DigestFunction = DigestFunction::Sha256;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn platform() -> Option<Platform> {
        Some(Platform { properties: vec![PlatformProperty { name: "os".into(), value: "linux".into() }] })
    }

    fn command() -> Command {
        Command {
            arguments: vec!["sh".into(), "-c".into(), "true".into()],
            environment_variables: vec![
                EnvironmentVariable { name: "A".into(), value: "1".into() },
                EnvironmentVariable { name: "B".into(), value: Vec::new() },
            ],
            platform: platform(),
            working_directory: "w".into(),
            output_paths: vec!["o".into(), "p".into()],
            output_node_properties: vec!["x".into()],
            output_directory_format: 2,
            ..Default::default()
        }
    }

    // The expected bytes were made by hand from the published field numbers, not by this code.

    #[test]
    fn a_command_has_its_known_encoding() {
        assert_eq!(
            hex(&command().encode_to_vec()),
            "0a0273680a022d630a047472756512060a014112013112030a01422a0d0a0b0a026f7312056c696e75783201773a016f3a01704201784802"
        );
    }

    #[test]
    fn an_action_has_its_known_encoding() {
        let root =
            digest::Digest::from_hex("5c3768c1ce117ef83b421d7cc48cf224529217f031d7e67bee4c9ebae2beccb9", 249);
        let action = Action {
            command_digest: Some(digest_of(SHA, &command()).into()),
            input_root_digest: Some(root.expect("well-formed").into()),
            timeout: Some(Duration { seconds: 90, nanos: 5 }),
            do_not_cache: true,
            salt: b"\x00\xffsalt".to_vec(),
            platform: platform(),
        };
        assert_eq!(
            hex(&action.encode_to_vec()),
            "0a440a4032363863613039663234616461316130356462633232373139323934653033343666646232373838363264353535636238373838303864\
             303436303738626261103812450a403563333736386331636531313765663833623432316437636334386366323234353239323137663033316437\
             653637626565346339656261653262656363623910f9013204085a100538014a0600ff73616c74520d0a0b0a026f7312056c696e7578"
        );
        assert_eq!(
            digest_of(SHA, &action).hex(),
            "022595eb9448cccf64371e08794fe746d6692941181a3eb82439854a748fe92b"
        );
    }

    #[test]
    fn what_is_empty_has_no_bytes() {
        assert!(Action::default().encode_to_vec().is_empty());
        assert!(Directory::default().encode_to_vec().is_empty());
        let empty = Digest::from(digest::Digest::of(SHA, b""));
        assert_eq!(empty.encode_to_vec().len(), 2 + 64, "a size of 0 is left out");
    }

    #[test]
    fn a_malformed_digest_is_none() {
        let good = Digest::from(digest::Digest::of(SHA, b"x"));
        assert_eq!(good.read(), Some(digest::Digest::of(SHA, b"x")));
        let bad = [
            Digest { size_bytes: -1, ..good.clone() },
            Digest { hash: good.hash.to_uppercase(), ..good.clone() },
            Digest { hash: good.hash[1..].to_owned(), ..good.clone() },
            Digest::default(),
        ];
        assert!(bad.iter().all(|digest| digest.read().is_none()));
    }
}
