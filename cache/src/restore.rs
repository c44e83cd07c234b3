//! Makes outputs exist in a workspace exactly as a result says, all of them or none.
//!
//! Every blob is copied to a stage on the workspace's own file system (`.iact/stage/<pid>-<random>/`) and
//! verified on the way; only when all are there is anything in the workspace touched, and then only by
//! renames. A failure before that leaves the workspace as it was. Files that are right already stay
//! untouched; declared folders become exactly equal; there are no hard links to the cache; modes are 0644 and
//! 0755 as the umask allows.
//!
//! Symbolic links are restored byte for byte, also dangling ones and ones that point out of the workspace (a
//! virtual environment needs those): making a link reads and writes nothing behind it, and nothing is ever
//! restored *through* one. A link (or file) standing where a parent folder of an output should be is refused,
//! unless it is inside a declared folder and so to be replaced.
#![allow(clippy::disallowed_methods, reason = "shell: changes the workspace")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fs::{FileType, Mode, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::action::{OutputEntry, OutputKind};
use crate::apply::apply;
use crate::chaos::{Bug, planted, point};
use crate::digest::{Digest, DigestFunction};
use crate::folder::{FileFacts, Folder, Parents, facts_of, split_path};
use crate::lock::Scratch;
use crate::materialize::{Found, Op, OutputFile, Scanned, is_below, plan, sort_wanted};
use crate::ops;
use crate::stage::Staged;
use crate::store::{Store, StoreError};
use crate::tree::{Node, TreeError, check_path, compare_paths, decode_tree};

/// A folder's tree larger than this is not read.
const MAX_TREE: u64 = 1 << 30;
const STAGE: &[u8] = b".iact/stage";

/// The folder whose outputs are restored and collected. One per run is enough.
#[derive(Debug)]
pub struct Workspace {
    path: PathBuf,
    pub(crate) folder: Folder,
    stage: Mutex<Option<Arc<Scratch>>>,
    restores: AtomicU64,
}

/// How to restore.
pub struct RestoreOptions<'a> {
    /// The digest of the file at a path, if these facts are known to belong to it; other files are read.
    pub known: &'a (dyn Fn(&[u8], &FileFacts) -> Option<Digest> + Sync),
    /// How many threads may work at once.
    pub threads: usize,
    /// Most likely nothing is there: a single file is put into place without a look first. If something is there after all,
    /// the usual way is taken.
    pub absent: bool,
}

/// What a restore left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Everything in the outputs, sorted by path.
    pub files: Vec<OutputFile>,
    /// How many files, links and whole folders were put in place; 0 if everything wanted was there already.
    pub installed: usize,
}

/// Why outputs could not be restored. The workspace is as it was; for the limits of that see `apply.rs`.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A blob is missing, damaged or out of reach.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored folder or path is refused.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Something that is no folder stands where a parent folder should be.
    #[error("`{0}` is in the way: it is not a folder")]
    InTheWay(String),
    /// The operating system refused.
    #[error("`{path}`: {source}")]
    Io {
        /// The path concerned, relative to the workspace.
        path: String,
        /// What it said.
        source: io::Error,
    },
}

impl RestoreError {
    pub(crate) fn at(path: &[u8]) -> impl Fn(io::Error) -> Self + '_ {
        move |source| {
            let path = String::from_utf8_lossy(path).into_owned();
            if is_in_the_way(&source) { Self::InTheWay(path) } else { Self::Io { path, source } }
        }
    }
}

/// A link or a file where a folder was expected.
pub(crate) fn is_in_the_way(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::LOOP | Errno::NOTDIR | Errno::XDEV))
}

impl Workspace {
    /// Opens the workspace at `root`.
    pub fn open(root: &Path) -> io::Result<Self> {
        Ok(Self {
            path: root.to_owned(),
            folder: Folder::open(root)?,
            stage: Mutex::default(),
            restores: AtomicU64::new(0),
        })
    }

    /// Where the workspace is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what is at `path`, a folder with everything in it; whether anything was there. Links are removed, never
    /// followed: what lies behind one is not this workspace's.
    pub fn remove(&self, path: &str) -> io::Result<bool> {
        let (parent, name) = split_path(path.as_bytes());
        let parent = match self.folder.beneath(parent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound || is_in_the_way(&error) => {
                return Ok(false);
            }
            parent => parent?,
        };
        let found = parent.facts(name)?.is_some();
        if found {
            parent.remove(name)?;
        }
        Ok(found)
    }

    /// For several results right after each other.
    pub fn restores(&self) -> Restores<'_> {
        Restores { workspace: self, parents: Parents::new(&self.folder) }
    }

    /// Makes `outputs` be exactly what they were when they were stored.
    pub fn restore(
        &self,
        store: &dyn Store,
        outputs: &[OutputEntry],
        options: &RestoreOptions<'_>,
    ) -> Result<Restored, RestoreError> {
        self.restores().restore(store, outputs, options)
    }

    fn restore_beneath(
        &self,
        parents: &mut Parents<'_>,
        store: &dyn Store,
        outputs: &[OutputEntry],
        options: &RestoreOptions<'_>,
    ) -> Result<Restored, RestoreError> {
        if planted(Bug::DeleteFirst) {
            outputs.iter().for_each(|output| drop(self.remove(&output.path)));
        }
        let wanted = expand(store, outputs)?;
        if planted(Bug::NoStaging) {
            return self.restore_in_place(store, wanted);
        }
        if options.absent
            && let [(path, Node::File { digest, executable: false })] = wanted.as_slice()
            && let Some(restored) = self.restore_anew(parents, store, (path, digest))?
        {
            return Ok(restored);
        }
        // Where only files are put into place, the folders they stand in are the same from the first look to the last.
        let has_folders = outputs.iter().any(|output| matches!(output.kind, OutputKind::Directory { .. }));
        let look = Look { outputs, wanted: &wanted, function: store.digest_function(), options };
        let scanned = self.scan(&look, parents)?;
        let mut facts: Vec<Option<FileFacts>> = kept_facts(&wanted, &scanned);
        let number = self.restores.fetch_add(1, Ordering::Relaxed);
        let plan = plan(&wanted, &scanned, &format!("{number}-"));
        if plan.ops.is_empty() {
            return report(wanted, &facts, &[], parents);
        }
        if has_folders {
            parents.forget();
        }
        let stage = self.stage()?;
        let staged = Staged { stage: &stage, plan: &plan, wanted: &wanted };
        let done = staged.fill(store, options.threads, &mut facts).and_then(|()| {
            point("restore.staged");
            let is_output =
                |folder: &[u8]| wanted.binary_search_by(|(path, _)| compare_paths(path, folder)).is_ok();
            apply(parents, stage.folder(), &plan.ops, is_output)
        });
        point("restore.applied");
        staged.clear(done.is_err());
        done?;
        if has_folders {
            parents.forget();
        }
        report(wanted, &facts, &plan.ops, parents)
    }

    /// Puts a file where nothing is, with one rename that replaces nothing. `None`: it cannot be done like this, and nothing
    /// was.
    fn restore_anew(
        &self,
        parents: &mut Parents<'_>,
        store: &dyn Store,
        (path, digest): (&[u8], &Digest),
    ) -> Result<Option<Restored>, RestoreError> {
        let (parent, name) = split_path(path);
        if planted(Bug::HardLinks) {
            return Ok(None);
        }
        let stage = self.stage()?;
        let staged = format!("{}-1", self.restores.fetch_add(1, Ordering::Relaxed)).into_bytes();
        let at = RestoreError::at(path);
        let file = stage.folder().create_file(&staged, Mode::from_raw_mode(0o644)).map_err(&at)?;
        let facts = store.copy_blob(digest, &file).map_err(RestoreError::from).and_then(|()| {
            let facts = facts_of(&file).map_err(&at)?;
            point("restore.staged");
            point("restore.op");
            Ok(facts)
        });
        let put = facts.map(|facts| {
            let folder = parents.make(parent).ok()?;
            let flags = RenameFlags::NOREPLACE;
            renameat_with(stage.folder(), staged.as_slice(), folder, name, flags).ok()?;
            Some(facts)
        });
        point("restore.applied");
        let Ok(Some(facts)) = put else {
            let _ = stage.folder().remove(&staged);
            return put.map(|_| None);
        };
        // The file is asked and not its name: whatever somebody else put there meanwhile is not what was verified.
        let now = facts_of(&file).map_err(&at)?;
        check_same(path, Some(facts), &now)?;
        let node = Node::File { digest: *digest, executable: false };
        Ok(Some(Restored { files: vec![OutputFile { path: path.to_vec(), node, facts: now }], installed: 1 }))
    }

    /// The planted way: each thing where it belongs, right away.
    fn restore_in_place(
        &self,
        store: &dyn Store,
        wanted: Vec<(Vec<u8>, Node)>,
    ) -> Result<Restored, RestoreError> {
        for (path, node) in &wanted {
            let (parent, name) = split_path(path);
            let folder = self.folder.beneath_made(parent).map_err(RestoreError::at(parent))?;
            let at = RestoreError::at(path);
            folder.remove(name).map_err(&at)?;
            match node {
                Node::EmptyDirectory | Node::Directory { .. } => folder.make(name).map_err(&at)?,
                Node::Symlink { target, .. } => rustix::fs::symlinkat(target.as_slice(), &folder, name)
                    .map_err(|error| at(error.into()))?,
                Node::File { digest, executable } => {
                    let mode = Mode::from_raw_mode(if *executable { 0o755 } else { 0o644 });
                    let file = folder.create_file(name, mode).map_err(&at)?;
                    store.copy_blob(digest, &file)?;
                }
            }
            point("restore.op");
        }
        let facts = vec![None; wanted.len()];
        report(wanted, &facts, &[], &mut Parents::new(&self.folder))
    }

    /// The stage of this run; what dead runs left there goes first.
    fn stage(&self) -> Result<Arc<Scratch>, RestoreError> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stage) = &*stage {
            return Ok(Arc::clone(stage));
        }
        let made = self.folder.beneath_made(STAGE).and_then(Scratch::create_swept);
        let made = Arc::new(made.map_err(RestoreError::at(STAGE))?);
        Ok(Arc::clone(stage.insert(made)))
    }

    /// What is at the outputs' paths and below, sorted like `wanted`.
    fn scan(&self, look: &Look<'_>, parents: &mut Parents<'_>) -> Result<Vec<Scanned>, RestoreError> {
        let mut roots: Vec<_> =
            look.outputs.iter().map(|output| (output.path.as_bytes(), &output.kind)).collect();
        roots.sort_by(|a, b| compare_paths(a.0, b.0));
        let mut scanned: Vec<Scanned> = Vec::new();
        let mut last_folder: Option<&[u8]> = None;
        for (path, kind) in roots {
            if last_folder.is_some_and(|folder| path == folder || is_below(path, folder)) {
                continue;
            }
            let (parent, name) = split_path(path);
            let folder = match parents.open(parent) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                folder => folder.map_err(RestoreError::at(parent))?,
            };
            let Some(facts) = folder.facts(name).map_err(RestoreError::at(path))? else { continue };
            let deep = matches!(kind, OutputKind::Directory { .. });
            scan_entry(folder, path, facts, deep, &mut scanned)?;
            last_folder = deep.then_some(path);
        }
        self.digest_candidates(&mut scanned, look)?;
        Ok(scanned)
    }

    /// Fills in the digests of the files that might be what is wanted.
    fn digest_candidates(
        &self,
        scanned: &mut [Scanned],
        &Look { wanted, function, options, .. }: &Look<'_>,
    ) -> Result<(), RestoreError> {
        let mut candidates = Vec::new();
        let mut bytes = 0;
        let mut rest = wanted;
        for (index, Scanned { path, found, facts }) in scanned.iter().enumerate() {
            let skipped = rest.partition_point(|(other, _)| compare_paths(other, path).is_lt());
            rest = &rest[skipped..];
            if let (Found::File { executable, .. }, Some((other, Node::File { digest, executable: wanted }))) =
                (found, rest.first())
                && (other, executable, facts.size) == (path, wanted, digest.size)
            {
                bytes += facts.size;
                candidates.push((index, OnceLock::new()));
            }
        }
        let threads = ops::threads_for(options.threads, candidates.len(), bytes);
        ops::in_parallel(threads, &candidates, |(index, slot)| {
            let Scanned { path, facts, .. } = &scanned[*index];
            let digest = match (options.known)(path, facts) {
                Some(digest) => Some(digest),
                None => {
                    let file = self.folder.open_file_beneath(path).map_err(RestoreError::at(path))?;
                    Some(ops::digest_file(function, &file).map_err(RestoreError::at(path))?)
                }
            };
            slot.get_or_init(|| digest);
            Ok::<_, RestoreError>(())
        })?;
        for (index, slot) in candidates {
            if let Found::File { digest, .. } = &mut scanned[index].found {
                *digest = slot.into_inner().flatten();
            }
        }
        Ok(())
    }
}

/// Restores one result after the other: neighbours share the look-up of the folder they stand in. To be dropped before
/// anything else happens, as who holds one does not see that a folder was put elsewhere.
pub struct Restores<'w> {
    workspace: &'w Workspace,
    parents: Parents<'w>,
}

impl Restores<'_> {
    /// As [`Workspace::restore`].
    pub fn restore(
        &mut self,
        store: &dyn Store,
        outputs: &[OutputEntry],
        options: &RestoreOptions<'_>,
    ) -> Result<Restored, RestoreError> {
        let restored = self.workspace.restore_beneath(&mut self.parents, store, outputs, options);
        let is_flat = |output: &OutputEntry| !matches!(output.kind, OutputKind::Directory { .. });
        if restored.is_err() || !outputs.iter().all(is_flat) {
            self.parents.forget();
        }
        restored
    }
}

/// What a restore looks for.
struct Look<'a> {
    outputs: &'a [OutputEntry],
    wanted: &'a [(Vec<u8>, Node)],
    function: DigestFunction,
    options: &'a RestoreOptions<'a>,
}

/// What is there now. A rename changes the facts of what is renamed, and a folder's change with what is
/// put into it.
fn report(
    wanted: Vec<(Vec<u8>, Node)>,
    facts: &[Option<FileFacts>],
    ops: &[Op],
    parents: &mut Parents<'_>,
) -> Result<Restored, RestoreError> {
    let mut fresh = vec![false; wanted.len()];
    for op in ops {
        if let Op::Install { path, .. } = op
            && let Ok(index) = wanted.binary_search_by(|(other, _)| compare_paths(other, path))
        {
            fresh[index] = true;
        }
    }
    let mut files = Vec::with_capacity(wanted.len());
    for (index, (path, node)) in wanted.into_iter().enumerate() {
        let known =
            facts[index].filter(|_| !fresh[index] && (ops.is_empty() || node != Node::EmptyDirectory));
        let now = match known {
            Some(facts) => facts,
            None => {
                let (parent, name) = split_path(&path);
                let found = parents.open(parent).and_then(|folder| folder.facts(name));
                let gone = || RestoreError::at(&path)(io::ErrorKind::NotFound.into());
                found.map_err(RestoreError::at(&path))?.ok_or_else(gone)?
            }
        };
        if fresh[index] && matches!(node, Node::File { .. }) {
            check_same(&path, facts[index], &now)?;
        }
        files.push(OutputFile { path, node, facts: now });
    }
    Ok(Restored { files, installed: ops.iter().filter(|op| matches!(op, Op::Install { .. })).count() })
}

/// Facts must never be told of a file that somebody has written to since its content was verified.
fn check_same(path: &[u8], staged: Option<FileFacts>, now: &FileFacts) -> Result<(), RestoreError> {
    let same = |staged: FileFacts| {
        // A copy on another file system is another file.
        let copied = staged.dev != now.dev;
        copied || (staged.ino, staged.size, staged.mtime_ns) == (now.ino, now.size, now.mtime_ns)
    };
    if staged.is_some_and(same) {
        return Ok(());
    }
    Err(RestoreError::at(path)(io::Error::other("it changed while it was being restored")))
}

/// Everything the outputs consist of.
fn expand(store: &dyn Store, outputs: &[OutputEntry]) -> Result<Vec<(Vec<u8>, Node)>, RestoreError> {
    let mut wanted = Vec::new();
    for output in outputs {
        let path = output.path.as_bytes();
        check_path(path)?;
        let node = match &output.kind {
            OutputKind::File { digest, executable } => {
                Node::File { digest: *digest, executable: *executable }
            }
            OutputKind::Symlink { target } => Node::Symlink { target: target.clone(), follows: None },
            OutputKind::Directory { tree, root } => {
                if tree.size > MAX_TREE {
                    return Err(TreeError::Limit("tree").into());
                }
                let mut bytes = Vec::new();
                store.read_blob(tree, &mut bytes)?;
                let decoded = decode_tree(store.digest_function(), &bytes)?;
                if decoded.root != *root {
                    return Err(TreeError::Malformed("its root is another").into());
                }
                for (below, node) in decoded.entries {
                    let below = [path, b"/", &below].concat();
                    check_path(&below)?;
                    wanted.push((below, node));
                }
                Node::EmptyDirectory
            }
        };
        wanted.push((path.to_vec(), node));
    }
    sort_wanted(&mut wanted)?;
    Ok(wanted)
}

fn scan_entry(
    parent: &Folder,
    path: &[u8],
    facts: FileFacts,
    deep: bool,
    scanned: &mut Vec<Scanned>,
) -> Result<(), RestoreError> {
    let (_, name) = split_path(path);
    let found = match facts.file_type() {
        FileType::RegularFile => Found::File { digest: None, executable: facts.is_executable() },
        FileType::Symlink => {
            Found::Symlink { target: parent.read_link(name).map_err(RestoreError::at(path))? }
        }
        FileType::Directory => Found::Folder,
        _ => Found::Other,
    };
    let is_folder = found == Found::Folder;
    scanned.push(Scanned { path: path.to_vec(), found, facts });
    if is_folder && deep {
        let folder = parent.child(name).map_err(RestoreError::at(path))?;
        for (name, _) in folder.list().map_err(RestoreError::at(path))? {
            let path = [path, b"/", &name].concat();
            if let Some(facts) = folder.facts(&name).map_err(RestoreError::at(&path))? {
                scan_entry(&folder, &path, facts, deep, scanned)?;
            }
        }
    }
    Ok(())
}

/// The facts of what is there already, for every wanted entry.
fn kept_facts(wanted: &[(Vec<u8>, Node)], scanned: &[Scanned]) -> Vec<Option<FileFacts>> {
    let mut rest = scanned;
    let mut facts = Vec::with_capacity(wanted.len());
    for (path, _) in wanted {
        rest = &rest[rest.partition_point(|other| compare_paths(&other.path, path).is_lt())..];
        facts.push(rest.first().filter(|other| other.path == *path).map(|other| other.facts));
    }
    facts
}
