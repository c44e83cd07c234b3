//! What an action came to, as the engine sees it, and its form as a REAPI `ActionResult`.
//!
//! Only successes are kept, so there is no exit code here: an `ActionResult` with another one than 0 is
//! refused. The conversion is lossless for outputs sorted by path. What REAPI has no field for (exported
//! values) travels in `auxiliary_metadata` under [`EXPORTS_TYPE`], where a server keeps it untouched and
//! other clients ignore it.

use prost::Message;

use crate::digest::Digest;
use crate::tree::check_path;
use crate::wire;

/// Type of the `Any` that holds exported values: a message with `repeated EnvironmentVariable` as field 1.
pub const EXPORTS_TYPE: &str = "type.googleapis.com/iact.v1.Exports";

/// The result of an action that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredResult {
    /// What it made, sorted by path.
    pub outputs: Vec<OutputEntry>,
    /// What it wrote to standard output; `None` if nothing.
    pub stdout: Option<Digest>,
    /// What it wrote to standard error; `None` if nothing.
    pub stderr: Option<Digest>,
    /// The values it exported, in its order.
    pub exports: Vec<(String, String)>,
    /// How long the command took.
    pub duration_ms: u64,
    /// When it ended.
    pub finished_unix_ms: u64,
    /// Who made it: a machine, a CI run.
    pub made_by: String,
}

/// One declared output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputEntry {
    /// Relative to the workspace.
    pub path: String,
    /// What is there.
    pub kind: OutputKind,
}

/// What an output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// A file.
    File {
        /// Of its content.
        digest: Digest,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A folder with everything below it.
    Directory {
        /// Of its `Tree` blob.
        tree: Digest,
        /// Of its root `Directory`: equal for equal folders.
        root: Digest,
    },
    /// A symbolic link, dangling or not.
    Symlink {
        /// What is written in it.
        target: Vec<u8>,
    },
}

/// Why an `ActionResult` is not a result of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// The bytes are no `ActionResult`.
    #[error("not an action result")]
    Encoding,
    /// It is the result of a failure.
    #[error("a result with exit code {0}")]
    Failed(i32),
    /// A field has a value it cannot have.
    #[error("`{0}` of an action result is malformed")]
    Field(&'static str),
}

#[derive(Clone, PartialEq, Message)]
struct Exports {
    #[prost(message, repeated, tag = "1")]
    values: Vec<wire::EnvironmentVariable>,
}

impl StoredResult {
    /// Every blob the result names itself. A folder's files are named by its tree.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> {
        let outputs = self.outputs.iter().filter_map(|output| match output.kind {
            OutputKind::File { digest, .. } => Some(digest),
            OutputKind::Directory { tree, .. } => Some(tree),
            OutputKind::Symlink { .. } => None,
        });
        outputs.chain(self.stdout).chain(self.stderr)
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// Reads what [`StoredResult::encode`], or another REAPI client, wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, ResultError> {
        Self::from_wire(wire::ActionResult::decode(bytes).map_err(|_| ResultError::Encoding)?)
    }

    /// The result as a REAPI message.
    pub fn to_wire(&self) -> wire::ActionResult {
        let mut result = wire::ActionResult {
            stdout_digest: self.stdout.map(Into::into),
            stderr_digest: self.stderr.map(Into::into),
            ..Default::default()
        };
        let mut outputs: Vec<&OutputEntry> = self.outputs.iter().collect();
        outputs.sort_by(|a, b| a.path.cmp(&b.path));
        for output in outputs {
            let path = output.path.clone().into_bytes();
            match &output.kind {
                OutputKind::File { digest, executable } => result.output_files.push(wire::OutputFile {
                    path,
                    digest: Some((*digest).into()),
                    is_executable: *executable,
                    ..Default::default()
                }),
                OutputKind::Directory { tree, root } => {
                    result.output_directories.push(wire::OutputDirectory {
                        path,
                        tree_digest: Some((*tree).into()),
                        is_topologically_sorted: true,
                        root_directory_digest: Some((*root).into()),
                    })
                }
                OutputKind::Symlink { target } => result.output_symlinks.push(wire::OutputSymlink {
                    path,
                    target: target.clone(),
                    node_properties: None,
                }),
            }
        }
        result.execution_metadata = Some(self.metadata());
        result
    }

    fn metadata(&self) -> wire::ExecutedActionMetadata {
        let variable = |(name, value): &(String, String)| wire::EnvironmentVariable {
            name: name.clone().into_bytes(),
            value: value.clone().into_bytes(),
        };
        let exports = Exports { values: self.exports.iter().map(variable).collect() };
        let any = wire::Any { type_url: EXPORTS_TYPE.to_owned(), value: exports.encode_to_vec() };
        let duration = timestamp(self.duration_ms);
        wire::ExecutedActionMetadata {
            worker: self.made_by.clone(),
            execution_start_timestamp: Some(timestamp(
                self.finished_unix_ms.saturating_sub(self.duration_ms),
            )),
            execution_completed_timestamp: Some(timestamp(self.finished_unix_ms)),
            virtual_execution_duration: Some(wire::Duration {
                seconds: duration.seconds,
                nanos: duration.nanos,
            }),
            auxiliary_metadata: if self.exports.is_empty() { Vec::new() } else { vec![any] },
            ..Default::default()
        }
    }

    /// The result in a REAPI message.
    pub fn from_wire(result: wire::ActionResult) -> Result<Self, ResultError> {
        if result.exit_code != 0 {
            return Err(ResultError::Failed(result.exit_code));
        }
        let metadata = result.execution_metadata.unwrap_or_default();
        let finished_unix_ms = unix_ms(metadata.execution_completed_timestamp.unwrap_or_default())?;
        let duration_ms = match metadata.virtual_execution_duration {
            Some(wire::Duration { seconds, nanos }) => unix_ms(wire::Timestamp { seconds, nanos })?,
            None => {
                finished_unix_ms
                    - unix_ms(metadata.execution_start_timestamp.unwrap_or_default())?.min(finished_unix_ms)
            }
        };
        let mut outputs = Vec::new();
        for file in result.output_files {
            let kind =
                OutputKind::File { digest: required(file.digest.as_ref())?, executable: file.is_executable };
            outputs.push(OutputEntry { path: output_path(file.path)?, kind });
        }
        for folder in result.output_directories {
            let kind = OutputKind::Directory {
                tree: required(folder.tree_digest.as_ref())?,
                root: required(folder.root_directory_digest.as_ref())?,
            };
            outputs.push(OutputEntry { path: output_path(folder.path)?, kind });
        }
        for link in result.output_symlinks {
            if link.target.is_empty() || link.target.contains(&0) {
                return Err(ResultError::Field("target"));
            }
            outputs.push(OutputEntry {
                path: output_path(link.path)?,
                kind: OutputKind::Symlink { target: link.target },
            });
        }
        outputs.sort_by(|a, b| a.path.cmp(&b.path));
        if outputs.windows(2).any(|pair| pair[0].path == pair[1].path) {
            return Err(ResultError::Field("path"));
        }
        Ok(Self {
            outputs,
            stdout: result.stdout_digest.as_ref().map(|digest| required(Some(digest))).transpose()?,
            stderr: result.stderr_digest.as_ref().map(|digest| required(Some(digest))).transpose()?,
            exports: exports(&metadata.auxiliary_metadata)?,
            duration_ms,
            finished_unix_ms,
            made_by: metadata.worker,
        })
    }
}

fn required(digest: Option<&wire::Digest>) -> Result<Digest, ResultError> {
    digest.and_then(wire::Digest::read).ok_or(ResultError::Field("digest"))
}

fn output_path(path: Vec<u8>) -> Result<String, ResultError> {
    check_path(&path).map_err(|_| ResultError::Field("path"))?;
    String::from_utf8(path).map_err(|_| ResultError::Field("path"))
}

fn exports(metadata: &[wire::Any]) -> Result<Vec<(String, String)>, ResultError> {
    let wrong = ResultError::Field("exports");
    let Some(any) = metadata.iter().find(|any| any.type_url == EXPORTS_TYPE) else { return Ok(Vec::new()) };
    let exports = Exports::decode(any.value.as_slice()).map_err(|_| wrong.clone())?;
    let text = |bytes| String::from_utf8(bytes).map_err(|_| wrong.clone());
    exports.values.into_iter().map(|variable| Ok((text(variable.name)?, text(variable.value)?))).collect()
}

fn timestamp(unix_ms: u64) -> wire::Timestamp {
    let seconds = i64::try_from(unix_ms / 1000).expect("a thousandth of a u64 fits");
    wire::Timestamp { seconds, nanos: i32::try_from(unix_ms % 1000 * 1_000_000).expect("less than a second") }
}

fn unix_ms(timestamp: wire::Timestamp) -> Result<u64, ResultError> {
    let wrong = ResultError::Field("timestamp");
    let seconds = u64::try_from(timestamp.seconds).map_err(|_| wrong.clone())?;
    let nanos = u64::try_from(timestamp.nanos).map_err(|_| wrong.clone())?;
    seconds.checked_mul(1000).and_then(|ms| ms.checked_add(nanos / 1_000_000)).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::DigestFunction;

    fn sha(text: &str) -> Digest {
        Digest::of(DigestFunction::Sha256, text.as_bytes())
    }

    fn known(hex: &str, size: u64) -> Digest {
        Digest::from_hex(hex, size).expect("well-formed")
    }

    #[test]
    fn a_result_has_its_known_encoding() {
        let tree = known("30fda35db85b157e4254d5c9f2a03b07877fa5ba7ef992caf4495773347dcacb", 333);
        let root = known("5c3768c1ce117ef83b421d7cc48cf224529217f031d7e67bee4c9ebae2beccb9", 249);
        let entry = |path: &str, kind| OutputEntry { path: path.to_owned(), kind };
        let result = StoredResult {
            outputs: vec![
                entry("o", OutputKind::File { digest: sha("data"), executable: true }),
                entry("p", OutputKind::Directory { tree, root }),
                entry("q", OutputKind::Symlink { target: b"gone".to_vec() }),
            ],
            stdout: Some(sha("out")),
            stderr: Some(sha("err")),
            exports: vec![("K".to_owned(), "v".to_owned())],
            duration_ms: 1750,
            finished_unix_ms: 1_700_000_001_250,
            made_by: "ci".to_owned(),
        };
        let bytes = result.encode();
        assert_eq!(
            Digest::of(DigestFunction::Sha256, &bytes),
            known("16bb35e8fc21242ad60cd37214797a2f7719fcc4abefaa0f65d0c286ac33b00a", 470),
            "made by hand from the published field numbers"
        );
        assert_eq!(StoredResult::decode(&bytes), Ok(result));
    }

    #[test]
    fn a_result_of_another_client_is_read_or_refused() {
        let file =
            wire::OutputFile { path: b"o".to_vec(), digest: Some(sha("").into()), ..Default::default() };
        let sound = wire::ActionResult { output_files: vec![file.clone()], ..Default::default() };
        assert_eq!(StoredResult::from_wire(sound.clone()).expect("no metadata is fine").duration_ms, 0);
        let with = |change: &dyn Fn(&mut wire::ActionResult)| {
            let mut result = sound.clone();
            change(&mut result);
            StoredResult::from_wire(result)
        };
        assert_eq!(with(&|result| result.exit_code = 1), Err(ResultError::Failed(1)));
        assert_eq!(with(&|result| result.output_files.push(file.clone())), Err(ResultError::Field("path")));
        assert_eq!(
            with(&|result| result.output_files[0].path = b"../o".to_vec()),
            Err(ResultError::Field("path"))
        );
        assert_eq!(
            with(&|result| result.output_files[0].path = b"\xff".to_vec()),
            Err(ResultError::Field("path"))
        );
        assert_eq!(with(&|result| result.output_files[0].digest = None), Err(ResultError::Field("digest")));
        let link = wire::OutputSymlink { path: b"l".to_vec(), ..Default::default() };
        assert_eq!(
            with(&|result| result.output_symlinks.push(link.clone())),
            Err(ResultError::Field("target"))
        );
        let metadata =
            |metadata: wire::ExecutedActionMetadata| with(&|r| r.execution_metadata = Some(metadata.clone()));
        let before_1970 = Some(wire::Timestamp { seconds: -1, nanos: 0 });
        let times =
            wire::ExecutedActionMetadata { execution_completed_timestamp: before_1970, ..Default::default() };
        assert_eq!(metadata(times), Err(ResultError::Field("timestamp")));
        let times = wire::ExecutedActionMetadata {
            execution_start_timestamp: Some(timestamp(5_000)),
            execution_completed_timestamp: Some(timestamp(7_500)),
            ..Default::default()
        };
        assert_eq!(metadata(times).expect("times only").duration_ms, 2_500);
    }

    proptest! {
        #[test]
        fn what_is_encoded_reads_back(
            paths in prop::collection::btree_set("[a-c]{1,3}(/[a-c]{1,2}){0,2}", 0..6),
            kinds in prop::collection::vec((0..3_u8, any::<[u8; 32]>(), any::<u32>(), any::<bool>()), 6),
            exports in prop::collection::vec((any::<String>(), any::<String>()), 0..3),
            times in (0..u64::from(u32::MAX), 0..u64::MAX / 2),
            made_by in any::<String>(),
        ) {
            let output = |(path, (kind, hash, size, executable)): (String, (u8, [u8; 32], u32, bool))| {
                let digest = Digest { hash, size: size.into() };
                let kind = match kind {
                    0 => OutputKind::File { digest, executable },
                    1 => OutputKind::Directory { tree: digest, root: digest },
                    _ => OutputKind::Symlink { target: b"\xff../x".to_vec() },
                };
                OutputEntry { path, kind }
            };
            let outputs: Vec<_> = paths.into_iter().zip(kinds).map(output).collect();
            let stdout = outputs.first().map(|_| sha("out"));
            let (duration_ms, finished_unix_ms) = times;
            let stderr = None;
            let result =
                StoredResult { outputs, stdout, stderr, exports, duration_ms, finished_unix_ms, made_by };
            prop_assert_eq!(StoredResult::decode(&result.encode()), Ok(result));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = StoredResult::decode(&bytes);
        }
    }
}
