//! Folders as Merkle trees: one digest says what is in a folder and everything below it.
//!
//! Canonical: each list of a `Directory` is sorted by name, no name occurs twice, so that equal folders have
//! equal digests whatever the order of insertion. Paths are relative, `/`-separated and normal (no empty, `.`
//! or `..` component, no NUL) and are kept byte for byte.
//!
//! A symbolic link that an action reads *through* says so: [`Node::Symlink`]'s `follows` is the digest of
//! what it resolves to, kept as node property `iact.follows`, so that changing the file behind the link
//! changes the folder's digest.

mod decode;

use prost::Message;
use rustc_hash::FxHashSet;

use crate::digest::{Digest, DigestFunction, encode_hex};
use crate::wire;

pub use decode::{DecodedTree, decode_tree};

/// The most components a path may have.
pub const MAX_DEPTH: usize = 256;
/// The longest path, in bytes.
pub const MAX_PATH: usize = 4096;
/// The longest name, in bytes.
pub const MAX_NAME: usize = 255;
/// The most entries a stored folder may have.
pub const MAX_ENTRIES: usize = 1_000_000;

const FOLLOWS: &str = "iact.follows";

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file.
    File {
        /// Of its content.
        digest: Digest,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// What is written in it.
        target: Vec<u8>,
        /// Digest of what it resolves to, if it is read through.
        follows: Option<Digest>,
    },
    /// A folder of which only the digest is needed.
    Directory {
        /// Of its `Directory` message.
        digest: Digest,
    },
    /// A folder with nothing in it.
    EmptyDirectory,
}

/// Why a path or a stored folder is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The path is absolute, leaves its root, or has an empty, `.`, `..`, too long or NUL-bearing component.
    #[error("`{0}` is not a normal relative path")]
    Path(String),
    /// Two different things at one path.
    #[error("`{0}` is two things at once")]
    Conflict(String),
    /// Too deep, too long or too many.
    #[error("a folder is too large: {0}")]
    Limit(&'static str),
    /// The bytes are not what they should be.
    #[error("a stored folder is malformed: {0}")]
    Malformed(&'static str),
}

/// Whether `path` is relative, normal and within the limits.
pub fn check_path(path: &[u8]) -> Result<(), TreeError> {
    let normal = path.len() <= MAX_PATH
        && path.split(|byte| *byte == b'/').all(is_normal_name)
        && path.iter().filter(|byte| **byte == b'/').count() < MAX_DEPTH;
    if normal { Ok(()) } else { Err(TreeError::Path(lossy(path))) }
}

fn is_normal_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name != b"."
        && name != b".."
        && !name.iter().any(|b| matches!(b, b'/' | 0))
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// Takes every `Directory` blob of a tree, children before parents; equal folders may come more than once.
pub type DirectorySink<'a> = &'a mut dyn FnMut(Digest, Vec<u8>);

/// Collects paths and makes folders of them.
#[derive(Default, Debug)]
pub struct TreeBuilder {
    entries: Vec<(Vec<u8>, Node)>,
}

impl TreeBuilder {
    /// A builder of the empty folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `node` at `path`.
    pub fn insert(&mut self, path: impl Into<Vec<u8>>, node: Node) -> Result<(), TreeError> {
        let path = path.into();
        check_path(&path)?;
        self.entries.push((path, node));
        Ok(())
    }

    /// The digest of the root folder. `sink` gets the blobs if anybody wants them.
    pub fn finish(
        mut self,
        function: DigestFunction,
        sink: Option<DirectorySink<'_>>,
    ) -> Result<Digest, TreeError> {
        self.entries.sort_unstable_by(|a, b| compare_paths(&a.0, &b.0));
        let mut nobody = |_, _| {};
        let mut walk = Walk { function, sink: sink.unwrap_or(&mut nobody) };
        walk.directory(&self.entries, 0)
    }
}

/// By component: the separator sorts before every byte a name can have.
pub(crate) fn compare_paths(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(key).cmp(b.iter().map(key))
}

struct Walk<'a> {
    function: DigestFunction,
    sink: DirectorySink<'a>,
}

impl Walk<'_> {
    /// `entries` share the first `skip` bytes of their paths: the folder's own path and a separator.
    fn directory(&mut self, entries: &[(Vec<u8>, Node)], skip: usize) -> Result<Digest, TreeError> {
        let mut directory = DirectoryBytes::default();
        let mut rest = entries;
        while let Some((path, node)) = rest.first() {
            let tail = &path[skip..];
            let end = tail.iter().position(|byte| *byte == b'/').unwrap_or(tail.len());
            let name = &tail[..end];
            let below = |other: &[u8]| {
                other[skip..].starts_with(name) && matches!(other.get(skip + name.len()), None | Some(b'/'))
            };
            let count = rest.iter().take_while(|(other, _)| below(other)).count();
            let (group, after) = rest.split_at(count);
            rest = after;
            let is_leaf = |entry: &(Vec<u8>, Node)| entry.0.len() == skip + name.len();
            let leaves = group.iter().take_while(|entry| is_leaf(entry)).count();
            if group[..leaves].iter().any(|(_, other)| other != node) {
                return Err(TreeError::Conflict(lossy(path)));
            }
            let inner = &group[leaves..];
            if inner.is_empty() {
                self.leaf(&mut directory, name, node);
            } else if leaves == 0 || *node == Node::EmptyDirectory {
                let digest = self.directory(inner, skip + name.len() + 1)?;
                directory.folder(name, &digest);
            } else {
                return Err(TreeError::Conflict(lossy(path)));
            }
        }
        let bytes = directory.finish();
        let digest = Digest::of(self.function, &bytes);
        (self.sink)(digest, bytes);
        Ok(digest)
    }

    fn leaf(&mut self, directory: &mut DirectoryBytes, name: &[u8], node: &Node) {
        match node {
            Node::File { digest, executable } => directory.file(name, digest, *executable),
            Node::Symlink { target, follows } => directory.symlink(name, target, follows.as_ref()),
            Node::Directory { digest } => directory.folder(name, digest),
            Node::EmptyDirectory => {
                let digest = Digest::of(self.function, &[]);
                (self.sink)(digest, Vec::new());
                directory.folder(name, &digest);
            }
        }
    }
}

/// A `Directory` message as it grows: its three lists, each encoded already. Nothing but the bytes is needed, and a message
/// of its own for every file and digest would cost several times as much.
#[derive(Default)]
struct DirectoryBytes {
    files: Vec<u8>,
    folders: Vec<u8>,
    symlinks: Vec<u8>,
}

/// A field of this number that has a length.
const fn tag(number: u8) -> u8 {
    number << 3 | 2
}

/// A field of this number that is a number.
const fn number_tag(number: u8) -> u8 {
    number << 3
}

fn put(into: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    into.push(tag);
    prost::encoding::encode_varint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

/// A `Digest` as field 2; a size of nothing is left out.
fn put_digest(into: &mut Vec<u8>, digest: &Digest) {
    let size_len = if digest.size > 0 { 1 + prost::encoding::encoded_len_varint(digest.size) } else { 0 };
    into.push(tag(2));
    prost::encoding::encode_varint((2 + 64 + size_len) as u64, into);
    put(into, tag(1), &encode_hex(&digest.hash));
    if digest.size > 0 {
        into.push(number_tag(2));
        prost::encoding::encode_varint(digest.size, into);
    }
}

impl DirectoryBytes {
    fn file(&mut self, name: &[u8], digest: &Digest, executable: bool) {
        let mut node = Vec::with_capacity(name.len() + 96);
        put(&mut node, tag(1), name);
        put_digest(&mut node, digest);
        if executable {
            node.extend_from_slice(&[number_tag(4), 1]);
        }
        put(&mut self.files, tag(1), &node);
    }

    fn folder(&mut self, name: &[u8], digest: &Digest) {
        let mut node = Vec::with_capacity(name.len() + 96);
        put(&mut node, tag(1), name);
        put_digest(&mut node, digest);
        put(&mut self.folders, tag(2), &node);
    }

    fn symlink(&mut self, name: &[u8], target: &[u8], follows: Option<&Digest>) {
        let node = wire::SymlinkNode {
            name: name.to_vec(),
            target: target.to_vec(),
            node_properties: follows.map(|digest| wire::NodeProperties {
                properties: vec![wire::NodeProperty {
                    name: FOLLOWS.to_owned(),
                    value: format!("{digest:?}"),
                }],
                ..Default::default()
            }),
        };
        put(&mut self.symlinks, tag(3), &node.encode_to_vec());
    }

    fn finish(self) -> Vec<u8> {
        let mut bytes = self.files;
        bytes.extend_from_slice(&self.folders);
        bytes.extend_from_slice(&self.symlinks);
        bytes
    }
}

/// A folder as one blob: the encoded `Tree`, and the digest of its root `Directory`.
///
/// Folders stand parents first, equal ones once, as REAPI's `is_topologically_sorted` asks. A
/// [`Node::Directory`] has no content to put in and must not be among the entries.
pub fn encode_tree(function: DigestFunction, builder: TreeBuilder) -> Result<(Vec<u8>, Digest), TreeError> {
    debug_assert!(!builder.entries.iter().any(|(_, node)| matches!(node, Node::Directory { .. })));
    if builder.entries.len() > MAX_ENTRIES {
        // What could not be read again must not be written.
        return Err(TreeError::Limit("number of entries"));
    }
    let mut seen = FxHashSet::default();
    let mut folders = Vec::new();
    let root = builder.finish(
        function,
        Some(&mut |digest, bytes| {
            if seen.insert(digest) {
                folders.push(bytes);
            }
        }),
    )?;
    let mut tree = Vec::with_capacity(folders.iter().map(|bytes| bytes.len() + 6).sum());
    for (position, bytes) in folders.iter().rev().enumerate() {
        tree.push(if position == 0 { ROOT_TAG } else { CHILD_TAG });
        prost::encoding::encode_varint(bytes.len() as u64, &mut tree);
        tree.extend_from_slice(bytes);
    }
    Ok((tree, root))
}

const ROOT_TAG: u8 = 1 << 3 | 2;
const CHILD_TAG: u8 = 2 << 3 | 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA: DigestFunction = DigestFunction::Sha256;

    fn file(content: &str) -> Node {
        Node::File { digest: Digest::of(SHA, content.as_bytes()), executable: false }
    }

    fn builder(entries: &[(&str, Node)]) -> TreeBuilder {
        let mut builder = TreeBuilder::new();
        for (path, node) in entries {
            builder.insert(*path, node.clone()).expect("a normal path");
        }
        builder
    }

    fn root(entries: &[(&str, Node)]) -> Result<Digest, TreeError> {
        builder(entries).finish(SHA, None)
    }

    #[test]
    fn a_folder_has_its_known_digest() {
        let data = Digest::of(SHA, b"data");
        let link = |follows| Node::Symlink { target: b"../t".to_vec(), follows };
        let entries = [
            ("l", link(Some(data))),
            ("foo/baz", Node::File { digest: data, executable: true }),
            ("bar", file("")),
        ];
        let (tree, root) = encode_tree(SHA, builder(&entries)).expect("a folder");
        assert_eq!(root.hex(), "5c3768c1ce117ef83b421d7cc48cf224529217f031d7e67bee4c9ebae2beccb9");
        assert_eq!(
            Digest::of(SHA, &tree).hex(),
            "30fda35db85b157e4254d5c9f2a03b07877fa5ba7ef992caf4495773347dcacb"
        );
        let standard = wire::Tree::decode(tree.as_slice()).expect("a tree");
        assert_eq!(standard.children.len(), 1);
    }

    #[test]
    fn an_empty_folder_is_not_the_absence_of_one() {
        assert_eq!(root(&[]).expect("a folder"), Digest::of(SHA, b""));
        assert_ne!(root(&[("d", Node::EmptyDirectory)]), root(&[]));
        assert_eq!(
            root(&[("d", Node::EmptyDirectory), ("d/f", file("x"))]),
            root(&[("d/f", file("x"))]),
            "a folder may be named before what is in it"
        );
    }

    #[test]
    fn anything_that_changes_changes_the_digest() {
        let data = Digest::of(SHA, b"data");
        let link = |target: &str, follows| Node::Symlink { target: target.into(), follows };
        let folders = [
            vec![("a", file("data"))],
            vec![("b", file("data"))],
            vec![("a", file("other"))],
            vec![("a", Node::File { digest: data, executable: true })],
            vec![("a", link("data", None))],
            vec![("a", link("datum", None))],
            vec![("a", link("data", Some(data)))],
            vec![("a", Node::Directory { digest: data })],
            vec![("a", Node::EmptyDirectory)],
            vec![("a/a", file("data"))],
            vec![("a", file("data")), ("b", file("data"))],
        ];
        let digests: Vec<Digest> = folders.iter().map(|folder| root(folder).expect("a folder")).collect();
        for (at, digest) in digests.iter().enumerate() {
            assert!(!digests[..at].contains(digest), "{:?}", folders[at]);
        }
    }

    #[test]
    fn two_things_at_one_path_are_refused() {
        assert!(root(&[("a", file("1")), ("a", file("1"))]).is_ok());
        for other in [("a", file("2")), ("a/b", file("1")), ("a", Node::EmptyDirectory)] {
            assert_eq!(root(&[("a", file("1")), other]), Err(TreeError::Conflict("a".into())));
        }
    }

    #[test]
    fn only_normal_paths_are_taken() {
        let deep = vec!["d"; MAX_DEPTH].join("/");
        for path in ["a", "-", "...", "a/.b", "\u{1f600}", "a\nb", " ", &deep, &"n".repeat(255)] {
            assert_eq!(check_path(path.as_bytes()), Ok(()), "{path:?}");
        }
        assert_eq!(check_path(b"\xff\xfe"), Ok(()));
        let long = "n".repeat(256);
        for path in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "./a",
            "a/..",
            "a/./b",
            "a\0",
            &long,
            &format!("{deep}/d"),
        ] {
            assert!(check_path(path.as_bytes()).is_err(), "{path:?}");
            assert!(TreeBuilder::new().insert(path, Node::EmptyDirectory).is_err());
        }
    }

    fn entries() -> impl Strategy<Value = Vec<(String, Node)>> {
        let node = prop_oneof![
            3 => ("[ab]{0,2}", any::<bool>()).prop_map(|(content, executable)| Node::File {
                digest: Digest::of(SHA, content.as_bytes()),
                executable
            }),
            1 => "[a-c./]{1,5}".prop_map(|target| Node::Symlink { target: target.into_bytes(), follows: None }),
            1 => Just(Node::EmptyDirectory),
        ];
        prop::collection::vec(("[abA.-]{1,2}(/[abA.-]{1,2}){0,3}", node), 0..12)
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_a_tree_reads_back(entries in entries(), seed in any::<u64>()) {
            let mut taken: Vec<(String, Node)> = Vec::new();
            for (path, node) in entries {
                let mut tried = taken.clone();
                tried.push((path, node));
                let mut builder = TreeBuilder::new();
                let normal = tried.iter().try_for_each(|(path, node)| builder.insert(path.as_str(), node.clone()));
                if normal.is_ok() && builder.finish(SHA, None).is_ok() {
                    taken = tried;
                }
            }
            let build = |entries: &[(String, Node)]| {
                let mut builder = TreeBuilder::new();
                entries.iter().for_each(|(path, node)| builder.insert(path.as_str(), node.clone()).expect("normal"));
                encode_tree(SHA, builder).expect("a folder")
            };
            let (tree, root) = build(&taken);
            let mut other = taken.clone();
            other.sort_by_key(|(path, _)| Digest::of(SHA, format!("{seed}{path}").as_bytes()));
            prop_assert_eq!(&build(&other), &(tree.clone(), root));

            let decoded = decode_tree(SHA, &tree).expect("what was encoded");
            prop_assert_eq!(decoded.root, root);
            for (path, node) in &taken {
                prop_assert!(decoded.entries.contains(&(path.clone().into_bytes(), node.clone())));
            }
            let mut again = TreeBuilder::new();
            for (path, node) in decoded.entries {
                again.insert(path, node).expect("normal");
            }
            prop_assert_eq!(encode_tree(SHA, again).expect("a folder"), (tree, root));
        }
    }
}
