//! The resolved graph of a request, kept so that no Iactfile has to be read, parsed and resolved again while none of them
//! moved: what a run of ten thousand targets with one edit would spend most of its time on.
//!
//! Invariant: a snapshot counts only if every file and folder from which the graph was made shows exactly what it showed
//! then, and each had been at rest for longer than the coarsest clock's tick; and if it belongs, as it must since it decides
//! what is executed, to the user who asks, and nobody else may write it. Losing it costs time only.
//! A mistake that shows with a snapshot is told by the long way, which knows its place in the Iactfile.
//! Considered and refused: keeping the parsed Iactfiles; to resolve them costs as much as to parse them.
//!
//! One file per request, `.iact/graph/<digest of the request>`:
//!
//! ```text
//! file  = "iact graph 1\n\0\0\0" checksum:[u8;32] body      checksum: BLAKE3 of the body
//! body  = names (of the goals, as asked for) goals (numbers) files visited graph
//! files = list of path, stat (followed; without one: not there)     the Iactfiles and what the machine's facts are from
//! visited = list of path, stat (not followed; as above)             folders that wildcards looked into
//! graph = see `graph/kept.rs`
//! ```
#![allow(clippy::disallowed_methods, reason = "shell: reads and writes the snapshot, looks at files")]

use crate::bytes::{Reader, put_bytes, put_list, put_option, put_texts, put_u32, put_u64};
use crate::content::{RACY_NS, Stat};
use crate::graph::{Graph, kept};
use crate::plan::Plan;
use crate::scan::read::stat;
use crate::standstill::forget_oldest;
use crate::workspace::{Asked, Caller, Given, Located, Workspace, machine, refuse_foreign};
use rustix::fd::BorrowedFd;
use std::ffi::CString;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"iact graph 1\n\0\0\0";
const HEAD: usize = 16 + 32;

/// What a place showed; `None`: nothing was there.
type Shown = (Vec<u8>, Option<Stat>);

/// A workspace as it was resolved for a request.
pub struct Snapshot {
    /// With only what the request needs.
    pub workspace: Workspace,
    /// The goals as they were asked for.
    pub names: Vec<String>,
    /// What they mean.
    pub goals: Vec<u32>,
}

/// Where the snapshot of a request lies, if its proof of a standstill would lie there.
pub fn place(proof: &Path) -> PathBuf {
    let memory = proof.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    memory.join("graph").join(proof.file_name().unwrap_or_default())
}

/// Keeps what was resolved for a request, if it can be told without its Iactfiles and they are at rest.
///
/// # Errors
/// What the file system says.
pub fn write(
    place: &Path,
    workspace: &Workspace,
    plan: &Plan,
    (names, goals): (&[String], &[u32]),
) -> std::io::Result<()> {
    let Some(body) = encode(workspace, plan, names, goals) else { return Ok(()) };
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temp = tempfile::NamedTempFile::new_in(folder)?;
    temp.write_all(MAGIC)?;
    temp.write_all(blake3::hash(&body).as_bytes())?;
    temp.write_all(&body)?;
    temp.persist(place).map_err(|error| error.error)?;
    forget_oldest(folder)
}

fn encode(workspace: &Workspace, plan: &Plan, names: &[String], goals: &[u32]) -> Option<Vec<u8>> {
    let root = workspace.folder.as_fd();
    if !crate::scan::times::keeps_times(root) {
        return None;
    }
    let oldest_ns = workspace.asked.began_ns.saturating_sub(RACY_NS);
    let is_old = |shown: &Option<Stat>| shown.as_ref().is_none_or(|stat| stat.moved_ns() < oldest_ns);
    let mut files: Vec<Shown> = Vec::new();
    for file in &workspace.read_files {
        let path = file.as_os_str().as_bytes().to_vec();
        let shown = show(root, &path, true)?;
        files.push((path, shown));
    }
    let visited = &workspace.asked.visited;
    if !files.iter().chain(visited).all(|(_, shown)| is_old(shown)) {
        return None;
    }
    let graph = kept::encode(&workspace.graph, plan)?;
    let node_of = |goal: &u32| plan.actions.iter().position(|id| id == goal);
    let mut to = Vec::with_capacity(graph.len() + 4096);
    put_texts(&mut to, names);
    put_list(&mut to, goals, |to, goal| {
        put_u32(to, node_of(goal).map_or(u32::MAX, crate::graph::names::number))
    });
    for shown in [&files, visited] {
        put_list(&mut to, shown, put_shown);
    }
    to.extend_from_slice(&graph);
    Some(to)
}

/// The workspace of a request as it was resolved before, if nothing moved since.
pub fn read(place: &Path, located: &Located, caller: &Caller, given: Given) -> Option<Snapshot> {
    let bytes = read_own(place)?;
    let body = bytes.get(HEAD..)?;
    if bytes[..16] != *MAGIC || bytes[16..HEAD] != *blake3::hash(body).as_bytes() {
        return None;
    }
    let mut from = Reader(body);
    let names = from.texts()?;
    let goals = from.list(4, Reader::u32)?;
    let files = from.list(5, shown)?;
    let visited = from.list(5, shown)?;
    let began_ns = crate::scan::times::file_clock_ns();
    let folder = std::fs::File::open(&located.root).ok()?;
    let same = |follow: bool| {
        let root = folder.as_fd();
        move |(path, then): &Shown| show(root, path, follow).is_some_and(|now| now == *then)
    };
    if !files.iter().all(same(true)) || !visited.iter().all(same(false)) {
        return None;
    }
    let read_files: Vec<PathBuf> =
        files.into_iter().map(|(path, _)| std::ffi::OsString::from_vec(path).into()).collect();
    let mut iactfiles =
        read_files.iter().filter(|file| file.starts_with(&located.root) || **file == located.file);
    iactfiles.all(|file| refuse_foreign(file).is_ok()).then_some(())?;
    let graph: Graph = kept::decode(from.0)?;
    if goals.iter().any(|&goal| goal as usize >= graph.actions.len()) {
        return None;
    }
    tracing::debug!(place = %place.display(), "the graph was kept");
    let here = located.start.strip_prefix(&located.root).map(crate::workspace::slashed).unwrap_or_default();
    let workspace = Workspace {
        root: located.root.clone(),
        folder: folder.into(),
        here,
        graph,
        machine: machine(),
        caller: caller.clone(),
        given,
        read_files,
        asked: Asked { globs: Vec::new(), visited, began_ns },
    };
    Some(Snapshot { workspace, names, goals })
}

/// A file that only this user can have written.
pub(crate) fn open_own(place: &Path) -> Option<std::fs::File> {
    let file = std::fs::File::options().read(true).write(true).open(place).ok()?;
    let facts = file.metadata().ok()?;
    let is_own = facts.uid() == rustix::process::geteuid().as_raw() && facts.mode() & 0o022 == 0;
    (is_own && facts.is_file()).then_some(file)
}

fn read_own(place: &Path) -> Option<Vec<u8>> {
    let mut file = open_own(place)?;
    let mut bytes = Vec::with_capacity(usize::try_from(file.metadata().ok()?.len()).ok()?);
    std::io::Read::read_to_end(&mut file, &mut bytes).ok()?;
    Some(bytes)
}

/// What is at a path; `None`: that cannot be told.
fn show(root: BorrowedFd<'_>, path: &[u8], follow: bool) -> Option<Option<Stat>> {
    stat(root, &CString::new(path).ok()?, follow).ok()
}

fn put_shown(to: &mut Vec<u8>, (path, shown): &Shown) {
    put_bytes(to, path);
    put_option(to, shown.as_ref().map(|stat| stat.dev));
    if let Some(stat) = shown {
        for number in [stat.ino, stat.size, stat.mtime_ns.cast_unsigned(), stat.ctime_ns.cast_unsigned()] {
            put_u64(to, number);
        }
        put_u32(to, stat.mode);
    }
}

fn shown(from: &mut Reader<'_>) -> Option<Shown> {
    let length = from.u32()? as usize;
    let path = from.take(length)?.to_vec();
    let Some(dev) = from.option()? else { return Some((path, None)) };
    let (ino, size) = (from.u64()?, from.u64()?);
    let (mtime_ns, ctime_ns) = (from.u64()?.cast_signed(), from.u64()?.cast_signed());
    Some((path, Some(Stat { dev, ino, size, mtime_ns, ctime_ns, mode: from.u32()? })))
}
