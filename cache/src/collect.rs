//! Takes an action's outputs from the workspace into a batch, or only their digests.
//!
//! Files are read once, streaming: digested while they are copied. A FIFO, socket or device among the outputs
//! is an error; so is a file that changes while it is read, for what was read then was nobody's output. A
//! link is kept as a link, whatever it points to.
#![allow(clippy::disallowed_methods, reason = "shell: reads the workspace")]

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use rustix::fs::FileType;

use crate::action::{OutputEntry, OutputKind};
use crate::batch::Batch;
use crate::beside::BESIDE;
use crate::digest::{Digest, DigestFunction};
use crate::folder::{FileFacts, Folder, Parents, facts_of, split_path};
use crate::large::digest_open;
use crate::materialize::OutputFile;
use crate::ops;
use crate::restore::{Workspace, is_in_the_way};
use crate::tree::{Node, TreeBuilder, TreeError, check_path, encode_tree};

/// Where the content of outputs goes.
#[derive(Clone, Copy, Debug)]
pub enum Keep<'a> {
    /// Into a batch.
    In(&'a Batch),
    /// Nowhere: only digests are made.
    DigestsOnly(DigestFunction),
}

/// What an action left in its outputs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// One for each declared output, sorted by path.
    pub outputs: Vec<OutputEntry>,
    /// Everything in the outputs, sorted by path within each.
    pub files: Vec<OutputFile>,
}

/// Why outputs could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A declared output is not there.
    #[error("output `{0}` is missing")]
    MissingOutput(String),
    /// Something that cannot be stored.
    #[error("output `{path}` is a {what}, which cannot be stored")]
    NotStorable {
        /// Where.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// A parent of an output is a link or a file.
    #[error("output `{0}` is not inside the workspace: a folder on the way is a link")]
    ThroughLink(String),
    /// A file was written to while it was read.
    #[error("output `{0}` changed while it was being stored")]
    Changed(String),
    /// A path that cannot be an output's, or a folder too large.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The operating system refused.
    #[error("`{path}`: {source}")]
    Io {
        /// The path concerned, relative to the workspace.
        path: String,
        /// What it said.
        source: io::Error,
    },
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

fn at(path: &[u8]) -> impl Fn(io::Error) -> CollectError + '_ {
    move |source| match source.kind() {
        _ if is_in_the_way(&source) => CollectError::ThroughLink(lossy(path)),
        io::ErrorKind::NotFound => CollectError::MissingOutput(lossy(path)),
        _ => CollectError::Io { path: lossy(path), source },
    }
}

impl Workspace {
    /// Collects the outputs at `paths` with up to `threads` threads.
    pub fn collect<P: AsRef<str>>(
        &self,
        paths: &[P],
        keep: Keep<'_>,
        threads: usize,
    ) -> Result<Collected, CollectError> {
        let mut paths: Vec<&str> = paths.iter().map(AsRef::as_ref).collect();
        paths.sort_unstable();
        paths.dedup();
        if let &[path] = paths.as_slice()
            && let Some(file) = self.single_file(path, keep, threads)?
        {
            let files = vec![file];
            return Ok(Collected { outputs: vec![output_entry(path, &files, keep)?], files });
        }
        let mut files = Vec::new();
        let mut ends = Vec::with_capacity(paths.len());
        let mut parents = Parents::new(&self.folder);
        for path in &paths {
            check_path(path.as_bytes())?;
            let (parent, name) = split_path(path.as_bytes());
            let folder = parents.open(parent).map_err(at(path.as_bytes()))?;
            find(folder, path.as_bytes(), name, &mut files)?;
            ends.push(files.len());
        }
        self.digest_all(&mut files, keep, threads)?;
        let mut outputs = Vec::with_capacity(paths.len());
        let mut start = 0;
        for (path, end) in paths.into_iter().zip(ends) {
            outputs.push(output_entry(path, &files[start..end], keep)?);
            start = end;
        }
        Ok(Collected { outputs, files })
    }

    /// The most frequent of all, an output that is a plain file, in as few system calls as there can be; `None`: it is
    /// something else, or nothing.
    fn single_file(
        &self,
        path: &str,
        keep: Keep<'_>,
        threads: usize,
    ) -> Result<Option<OutputFile>, CollectError> {
        let path = path.as_bytes();
        check_path(path)?;
        let Ok(file) = self.folder.open_file_beneath(path) else { return Ok(None) };
        let facts = facts_of(&file).map_err(at(path))?;
        if !facts.is_file() {
            return Ok(None);
        }
        let digest = keep.take(&file, &facts, threads).map_err(at(path))?;
        if facts_of(&file).map_err(at(path))? != facts {
            return Err(CollectError::Changed(lossy(path)));
        }
        let node = Node::File { digest, executable: facts.is_executable() };
        Ok(Some(OutputFile { path: path.to_vec(), node, facts }))
    }

    fn digest_all(
        &self,
        files: &mut [OutputFile],
        keep: Keep<'_>,
        threads: usize,
    ) -> Result<(), CollectError> {
        let is_file = |index: &usize| matches!(files[*index].node, Node::File { .. });
        let found: Vec<_> = (0..files.len()).filter(is_file).map(|index| (index, OnceLock::new())).collect();
        let bytes = found.iter().map(|(index, _)| files[*index].facts.size).sum();
        let together = ops::threads_for(threads, found.len(), bytes).max(1);
        let each = threads / together;
        ops::in_parallel(together, &found, |(index, slot)| {
            let path = &files[*index].path;
            let file = self.folder.open_file_beneath(path).map_err(at(path))?;
            let facts = facts_of(&file).map_err(at(path))?;
            if !facts.is_file() {
                return Err(CollectError::Changed(lossy(path)));
            }
            let digest = keep.take(&file, &facts, each).map_err(at(path))?;
            if facts_of(&file).map_err(at(path))? != facts {
                return Err(CollectError::Changed(lossy(path)));
            }
            slot.get_or_init(|| (digest, facts));
            Ok(())
        })?;
        for (index, slot) in found {
            let (digest, facts) = slot.into_inner().expect("every file was digested");
            files[index].node = Node::File { digest, executable: facts.is_executable() };
            files[index].facts = facts;
        }
        Ok(())
    }
}

impl Keep<'_> {
    fn function(&self) -> DigestFunction {
        match self {
            Self::In(batch) => batch.digest_function(),
            Self::DigestsOnly(function) => *function,
        }
    }

    /// The digest of an open file, whose facts the caller compares afterwards. What is copied is read by one thread.
    fn take(&self, file: &File, facts: &FileFacts, threads: usize) -> io::Result<Digest> {
        match self {
            Self::In(batch) => batch.put_sized(file, facts.size),
            Self::DigestsOnly(function) => digest_open(*function, file, facts.size, threads),
        }
    }
}

/// Adds what is at `path` and below. Files have no digest yet.
fn find(parent: &Folder, path: &[u8], name: &[u8], files: &mut Vec<OutputFile>) -> Result<(), CollectError> {
    let facts = parent.facts(name).map_err(at(path))?;
    let facts: FileFacts = facts.ok_or_else(|| CollectError::MissingOutput(lossy(path)))?;
    let not_storable = |what| Err(CollectError::NotStorable { path: lossy(path), what });
    let unknown = Digest { hash: [0; 32], size: facts.size };
    let node = match facts.file_type() {
        FileType::RegularFile => Node::File { digest: unknown, executable: facts.is_executable() },
        FileType::Symlink => {
            Node::Symlink { target: parent.read_link(name).map_err(at(path))?, follows: None }
        }
        FileType::Directory => Node::EmptyDirectory,
        FileType::Fifo => return not_storable("FIFO"),
        FileType::Socket => return not_storable("socket"),
        _ => return not_storable("device"),
    };
    let is_folder = node == Node::EmptyDirectory;
    files.push(OutputFile { path: path.to_vec(), node, facts });
    if is_folder {
        let folder = parent.child(name).map_err(at(path))?;
        for (name, _) in folder.list().map_err(at(path))? {
            if name == BESIDE.as_bytes() {
                continue;
            }
            let path = [path, b"/", &name].concat();
            check_path(&path)?;
            find(&folder, &path, &name, files)?;
        }
    }
    Ok(())
}

fn output_entry(path: &str, files: &[OutputFile], keep: Keep<'_>) -> Result<OutputEntry, CollectError> {
    Ok(OutputEntry { path: path.to_owned(), kind: output_kind(files, keep)? })
}

/// What an output is, from everything found at and below its path.
fn output_kind(files: &[OutputFile], keep: Keep<'_>) -> Result<OutputKind, CollectError> {
    let (output, below) = files.split_first().expect("an output was found");
    Ok(match &output.node {
        Node::File { digest, executable } => OutputKind::File { digest: *digest, executable: *executable },
        Node::Symlink { target, .. } => OutputKind::Symlink { target: target.clone() },
        Node::EmptyDirectory | Node::Directory { .. } => {
            let mut builder = TreeBuilder::new();
            for file in below {
                builder.insert(&file.path[output.path.len() + 1..], file.node.clone())?;
            }
            let (tree, root) = encode_tree(keep.function(), builder)?;
            let tree = match keep {
                Keep::In(batch) => batch.put_bytes(&tree),
                Keep::DigestsOnly(function) => Digest::of(function, &tree),
            };
            OutputKind::Directory { tree, root }
        }
    })
}
