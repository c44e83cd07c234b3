//! Folders as they come back from a store: nothing in them is trusted.
//!
//! Every name has to be a single normal component, no name may occur twice, and how large the whole is gets
//! measured before any of it is unfolded: equal folders are stored once, so a few kilobytes can stand for
//! more than any memory holds.

use prost::Message;
use rustc_hash::FxHashMap;

use super::{CHILD_TAG, MAX_DEPTH, MAX_ENTRIES, MAX_PATH, Node, ROOT_TAG, TreeError, is_normal_name, lossy};
use crate::digest::{Digest, DigestFunction};
use crate::wire;

/// Everything below a stored folder, parents before children, and the digest of its root `Directory`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodedTree {
    /// Paths relative to the folder. Folders, empty or not, are [`Node::EmptyDirectory`].
    pub entries: Vec<(Vec<u8>, Node)>,
    /// Of the root `Directory`.
    pub root: Digest,
}

/// Reads what [`encode_tree`], or any other REAPI client, wrote.
pub fn decode_tree(function: DigestFunction, bytes: &[u8]) -> Result<DecodedTree, TreeError> {
    let mut folders: FxHashMap<Digest, wire::Directory> = FxHashMap::default();
    let mut root = None;
    let mut rest = bytes;
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        let length = prost::encoding::decode_varint(&mut rest)
            .map_err(|_| TreeError::Malformed("a record's length"))?;
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
        let (record, after) = rest.split_at(length.ok_or(TreeError::Malformed("a record is cut off"))?);
        rest = after;
        let digest = Digest::of(function, record);
        match (*tag, root) {
            (ROOT_TAG, None) => root = Some(digest),
            (CHILD_TAG, _) => {}
            _ => return Err(TreeError::Malformed("a record's kind")),
        }
        let directory = wire::Directory::decode(record).map_err(|_| TreeError::Malformed("a folder"))?;
        folders.insert(digest, directory);
    }
    let root = root.ok_or(TreeError::Malformed("no root"))?;
    let extent = measure(&folders, &mut FxHashMap::default(), &root, 0)?;
    let mut flat = Flatten { folders: &folders, entries: Vec::with_capacity(extent.entries) };
    flat.directory(&root, &mut Vec::new())?;
    Ok(DecodedTree { entries: flat.entries, root })
}

/// How large a folder is when equal folders are unfolded.
#[derive(Clone, Copy)]
struct Extent {
    entries: usize,
    height: usize,
}

/// Looks at every folder once: a few kilobytes can stand for more than any memory holds.
fn measure(
    folders: &FxHashMap<Digest, wire::Directory>,
    known: &mut FxHashMap<Digest, Extent>,
    digest: &Digest,
    depth: usize,
) -> Result<Extent, TreeError> {
    let extent = match known.get(digest) {
        Some(extent) => *extent,
        None if depth > MAX_DEPTH => return Err(TreeError::Limit("depth")),
        None => {
            let directory = folders.get(digest).ok_or(TreeError::Malformed("a folder is missing"))?;
            let entries = directory.files.len() + directory.symlinks.len() + directory.directories.len();
            let mut extent = Extent { entries, height: 0 };
            for child in &directory.directories {
                let below = measure(folders, known, &read_digest(child.digest.as_ref())?, depth + 1)?;
                extent.entries = extent.entries.saturating_add(below.entries);
                extent.height = extent.height.max(below.height + 1);
            }
            known.insert(*digest, extent);
            extent
        }
    };
    if extent.entries > MAX_ENTRIES {
        return Err(TreeError::Limit("number of entries"));
    }
    if depth + extent.height > MAX_DEPTH {
        return Err(TreeError::Limit("depth"));
    }
    Ok(extent)
}

struct Flatten<'a> {
    folders: &'a FxHashMap<Digest, wire::Directory>,
    entries: Vec<(Vec<u8>, Node)>,
}

impl Flatten<'_> {
    fn directory(&mut self, digest: &Digest, path: &mut Vec<u8>) -> Result<(), TreeError> {
        let directory = self.folders.get(digest).ok_or(TreeError::Malformed("a folder is missing"))?;
        let names = directory.files.iter().map(|node| &node.name);
        let names = names.chain(directory.directories.iter().map(|node| &node.name));
        let mut names: Vec<_> = names.chain(directory.symlinks.iter().map(|node| &node.name)).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(TreeError::Malformed("a name occurs twice"));
        }
        for file in &directory.files {
            let digest = read_digest(file.digest.as_ref())?;
            self.push(path, &file.name, Node::File { digest, executable: file.is_executable })?;
        }
        for link in &directory.symlinks {
            let target = link.target.clone();
            if target.is_empty() || target.contains(&0) || target.len() >= MAX_PATH {
                return Err(TreeError::Malformed("a link's target"));
            }
            self.push(path, &link.name, Node::Symlink { target, follows: None })?;
        }
        for child in &directory.directories {
            self.push(path, &child.name, Node::EmptyDirectory)?;
            let length = path.len();
            extend(path, &child.name);
            self.directory(&read_digest(child.digest.as_ref())?, path)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn push(&mut self, folder: &[u8], name: &[u8], node: Node) -> Result<(), TreeError> {
        if !is_normal_name(name) {
            return Err(TreeError::Path(lossy(name)));
        }
        let mut path = Vec::with_capacity(folder.len() + 1 + name.len());
        path.extend_from_slice(folder);
        extend(&mut path, name);
        if path.len() > MAX_PATH {
            return Err(TreeError::Limit("path length"));
        }
        self.entries.push((path, node));
        Ok(())
    }
}

fn extend(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn read_digest(digest: Option<&wire::Digest>) -> Result<Digest, TreeError> {
    digest.and_then(wire::Digest::read).ok_or(TreeError::Malformed("a digest"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA: DigestFunction = DigestFunction::Sha256;

    /// A tree of raw folders: what a hostile server might send.
    fn hostile(folders: &[wire::Directory]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (at, folder) in folders.iter().enumerate() {
            bytes.push(if at == 0 { ROOT_TAG } else { CHILD_TAG });
            let folder = folder.encode_to_vec();
            prost::encoding::encode_varint(folder.len() as u64, &mut bytes);
            bytes.extend(folder);
        }
        bytes
    }

    fn push_directory(directory: &mut wire::Directory, name: &[u8], digest: Digest) {
        directory.directories.push(wire::DirectoryNode { name: name.to_vec(), digest: Some(digest.into()) });
    }

    fn node(name: &[u8]) -> wire::FileNode {
        wire::FileNode {
            name: name.to_vec(),
            digest: Some(Digest::of(SHA, b"").into()),
            ..Default::default()
        }
    }

    #[test]
    fn hostile_trees_are_refused() {
        for name in [b"..".as_slice(), b".", b"", b"a/b", b"/", b"a\0", &[b'x'; 256]] {
            let folder = wire::Directory { files: vec![node(name)], ..Default::default() };
            assert!(decode_tree(SHA, &hostile(&[folder])).is_err(), "{name:?}");
        }
        let twice = wire::Directory { files: vec![node(b"a"), node(b"a")], ..Default::default() };
        let link = wire::SymlinkNode { name: b"a".to_vec(), target: b"t".to_vec(), node_properties: None };
        let both =
            wire::Directory { files: vec![node(b"a")], symlinks: vec![link.clone()], ..Default::default() };
        let nowhere = wire::SymlinkNode { target: Vec::new(), ..link };
        let nowhere = wire::Directory { symlinks: vec![nowhere], ..Default::default() };
        let mut orphan = wire::Directory::default();
        push_directory(&mut orphan, b"d", Digest::of(SHA, b"not there"));
        let nothing = wire::FileNode { digest: None, ..node(b"a") };
        let nothing = wire::Directory { files: vec![nothing], ..Default::default() };
        for folder in [twice, both, nowhere, orphan, nothing] {
            assert!(matches!(decode_tree(SHA, &hostile(&[folder])), Err(TreeError::Malformed(_))));
        }
        for bytes in [b"".as_slice(), b"\x12\x00", b"\x0a\x05", b"\x0a\x00\x0a\x00", b"\x1a\x00", b"\x0a"] {
            assert!(decode_tree(SHA, bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_small_tree_that_unfolds_without_end_is_cut_off() {
        // Each folder holds the one before twice: 2^depth entries in a few kilobytes.
        let mut folders = vec![wire::Directory::default()];
        for _ in 0..64 {
            let below = wire::digest_of(SHA, folders.last().expect("one"));
            let mut folder = wire::Directory::default();
            push_directory(&mut folder, b"a", below);
            push_directory(&mut folder, b"b", below);
            folders.push(folder);
        }
        folders.reverse();
        assert_eq!(decode_tree(SHA, &hostile(&folders)), Err(TreeError::Limit("number of entries")));
        let mut folders = vec![wire::Directory::default()];
        for _ in 0..=MAX_DEPTH {
            let mut folder = wire::Directory::default();
            push_directory(&mut folder, b"d", wire::digest_of(SHA, folders.last().expect("one")));
            folders.push(folder);
        }
        folders.reverse();
        assert_eq!(decode_tree(SHA, &hostile(&folders)), Err(TreeError::Limit("depth")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_tree(SHA, &bytes);
            let _ = decode_tree(SHA, &[[ROOT_TAG, bytes.len() as u8 & 127].as_slice(), &bytes].concat());
        }
    }
}
