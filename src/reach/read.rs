//! Finding what an edit reaches, and reading that much.
#![allow(clippy::disallowed_methods, reason = "shell: reads pieces of the file")]

use super::{EVERYBODY, GOAL, GROUP, HEAD, MAGIC, piece_checksum};
use crate::bytes::Reader;
use crate::content::{ContentKind, Memo, Stat};
use crate::graph::action::Action;
use crate::graph::kept::{self, Settings};
use crate::graph::names::number;
use crate::journal::Journal;
use crate::journal::part::{FilePaths, Part};
use crate::path_table::PathId;
use crate::plan::{Lists, Plan};
use crate::snapshot::open_own;
use crate::standstill::Proof;
use crate::workspace::{Asked, Caller, Given, Located, Workspace, machine, refuse_foreign, slashed};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of a request, its map read.
pub struct Reach {
    pub(super) file: File,
    pub(super) tail: Vec<u8>,
    map: Vec<u8>,
    front: Front,
    pub(super) proof: Proof,
    /// Files that moved or were not at rest.
    moved: Vec<usize>,
}

struct Front {
    names: Vec<String>,
    settings: Option<Settings>,
    files: Vec<PathBuf>,
    tools: Vec<(String, u32, Option<Memo>)>,
    flags: Range<usize>,
    piece_ends: Range<usize>,
    user_ends: Range<usize>,
    users: Range<usize>,
    dependent_ends: Range<usize>,
    dependents: Range<usize>,
    path_ends: Range<usize>,
    paths: Range<usize>,
}

/// What an edit reaches, ready to be run.
pub struct Reached {
    /// With only what is needed to decide on the plan's actions.
    pub workspace: Workspace,
    /// What is reached.
    pub plan: Plan,
    /// The goals as they were asked for.
    pub names: Vec<String>,
    /// What is remembered of it.
    pub part: Seen,
}

/// What is remembered of what an edit reaches.
pub struct Seen {
    /// Records of the plan's actions and of what they depend on.
    pub journal: Journal,
    /// The source files of every node of the plan.
    pub inputs: Vec<Vec<PathId>>,
    /// Tools by name.
    pub tools: Vec<(String, PathId)>,
    /// What was read.
    pub reach: Reach,
    /// The number that each node of the plan has in the file.
    pub nodes: Vec<u32>,
}

/// A journal, the source files of every node, and tools by name.
type Remembered = (Journal, Vec<Vec<PathId>>, Vec<(String, PathId)>);

struct Piece {
    action: Action,
    deps: Vec<u32>,
    after: Vec<u32>,
    inputs: Vec<u32>,
}

impl Front {
    fn read(map: &[u8], tie: u64) -> Option<Self> {
        let mut from = Reader(map);
        (from.u64()? == tie).then_some(())?;
        let names = from.texts()?;
        let settings = Some(kept::read_settings(&mut from)?);
        let path = |from: &mut Reader<'_>| {
            let length = from.u32()? as usize;
            Some(PathBuf::from(std::ffi::OsString::from_vec(from.take(length)?.to_vec())))
        };
        let files = from.list(4, path)?;
        let tools = from.list(9, |from| {
            let (name, path) = (from.text()?, from.u32()?);
            let memo = if from.option()?.is_some() { Some(from.memo()?) } else { None };
            Some((name, path, memo))
        })?;
        let mut bytes = |each: usize| {
            let length = (from.u32()? as usize).checked_mul(each)?;
            let start = map.len() - from.0.len();
            from.take(length).map(|_| start..start + length)
        };
        Some(Self {
            names,
            settings,
            files,
            tools,
            flags: bytes(1)?,
            piece_ends: bytes(4)?,
            user_ends: bytes(4)?,
            users: bytes(4)?,
            dependent_ends: bytes(4)?,
            dependents: bytes(4)?,
            path_ends: bytes(4)?,
            paths: bytes(1)?,
        })
    }
}

impl Reach {
    /// Reads the map of a request; `None`: there is none that belongs to the proof.
    pub fn open(place: &Path, proof: Proof, moved: Vec<usize>) -> Option<Self> {
        let file = open_own(place)?;
        let mut head = [0; HEAD];
        file.read_exact_at(&mut head, 0).ok()?;
        (head[..16] == *MAGIC).then_some(())?;
        let length = |at: usize| {
            let written = u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
            usize::try_from(written).ok()
        };
        let (map_len, tail_len) = (length(80)?, length(88)?);
        let whole = file.metadata().ok()?.len();
        (map_len.checked_add(tail_len)? as u64 <= whole).then_some(())?;
        let mut map = vec![0; map_len + tail_len];
        file.read_exact_at(&mut map, HEAD as u64).ok()?;
        let tail = map.split_off(map_len);
        let sound = |sum: &[u8], part: &[u8]| *sum == *blake3::hash(part).as_bytes();
        (sound(&head[16..48], &map) && sound(&head[48..80], &tail)).then_some(())?;
        let front = Front::read(&map, proof.tie())?;
        let reach = Self { file, tail, map, front, proof, moved };
        (reach.tail.len() == 16 + 8 * reach.len()).then_some(reach)
    }

    fn len(&self) -> usize {
        self.front.flags.len()
    }

    fn table(&self, table: &Range<usize>, at: usize) -> u32 {
        let at = table.start + at * 4;
        u32::from_le_bytes(self.map[at..at + 4].try_into().expect("four bytes"))
    }

    fn list<'s>(
        &'s self,
        (ends, items): (&'s Range<usize>, &'s Range<usize>),
        at: usize,
    ) -> impl Iterator<Item = u32> + use<'s> {
        let start = if at == 0 { 0 } else { self.table(ends, at - 1) };
        (start..self.table(ends, at)).map(|at| self.table(items, at as usize))
    }

    /// Who reads or makes a file of the proof.
    pub(super) fn users(&self, row: usize) -> impl Iterator<Item = u32> + '_ {
        self.list((&self.front.user_ends, &self.front.users), row)
    }

    /// How many files the proof has.
    pub(super) fn row_count(&self) -> usize {
        self.front.user_ends.len() / 4
    }

    fn flags(&self, node: u32) -> u8 {
        self.map[self.front.flags.start + node as usize]
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.tail[at..at + 8].try_into().expect("eight bytes"))
    }

    /// Where each of these nodes, which are sorted, stands among the proof's actions; groups do not.
    pub(super) fn action_numbers(&self, nodes: &[u32]) -> Vec<Option<usize>> {
        let (mut at, mut count) = (0, 0);
        let number = |&node: &u32| {
            count += (at..node).filter(|&before| self.flags(before) & GROUP == 0).count();
            at = node;
            (self.flags(node) & GROUP == 0).then_some(count)
        };
        nodes.iter().map(number).collect()
    }

    /// Whether a file of the proof shows what it showed.
    pub(super) fn rests(&self, row: usize) -> bool {
        self.moved.binary_search(&row).is_err()
    }

    /// What the journal showed.
    pub fn journal_stat(&self) -> Option<Stat> {
        Some(self.proof.stat(self.proof.find(b".iact/journal")?))
    }

    /// How many actions the request has.
    pub fn action_count(&self) -> usize {
        self.proof.action_count()
    }

    /// How long the map is.
    pub(super) fn map_len(&self) -> usize {
        self.map.len()
    }

    /// Where the record of a node lies in the journal.
    pub(super) fn place(&self, node: u32) -> Option<u64> {
        Some(self.number(16 + 8 * node as usize)).filter(|at| *at > 0)
    }

    /// The nodes that depend on what moved, sorted; `None`: that cannot be told, or they are many.
    fn cone(&self) -> Option<Vec<u32>> {
        let mut is_reached = vec![false; self.len()];
        let mut open: Vec<u32> = Vec::new();
        for &row in &self.moved {
            let before = open.len();
            open.extend(self.users(row));
            let is_plain = open.len() > before && !open[before..].contains(&EVERYBODY);
            (is_plain && !self.proof.follows(row)).then_some(())?;
        }
        let mut reached = Vec::new();
        while let Some(node) = open.pop() {
            if !std::mem::replace(is_reached.get_mut(node as usize)?, true) {
                reached.push(node);
                open.extend(self.list((&self.front.dependent_ends, &self.front.dependents), node as usize));
            }
        }
        reached.sort_unstable();
        (reached.len() <= self.many()).then_some(reached)
    }

    /// More nodes than that are read the long way.
    fn many(&self) -> usize {
        64 + self.len() / 4
    }

    fn body(&self, index: usize) -> Option<Vec<u8>> {
        let start = if index == 0 { 0 } else { self.table(&self.front.piece_ends, index - 1) };
        let length = self.table(&self.front.piece_ends, index).checked_sub(start)? as usize;
        let mut piece = vec![0; length];
        let first = (HEAD + self.map.len() + self.tail.len()) as u64;
        self.file.read_exact_at(&mut piece, first + u64::from(start)).ok()?;
        let body = piece.split_off(8.min(length));
        (piece == piece_checksum(&body)).then_some(body)
    }

    fn piece(&self, node: u32) -> Option<Piece> {
        let body = self.body(node as usize)?;
        let mut from = Reader(&body);
        let action = kept::read_action(&mut from)?;
        let mut numbers = || from.list(4, Reader::u32);
        Some(Piece { action, deps: numbers()?, after: numbers()?, inputs: numbers()? })
    }

    /// The pieces of these nodes, and of what has to be known of their dependencies.
    fn pieces(&self, cone: &[u32]) -> Option<BTreeMap<u32, Piece>> {
        let mut pieces = BTreeMap::new();
        let mut open: Vec<u32> = Vec::new();
        for &node in cone {
            let piece = self.piece(node)?;
            if !piece.action.is_group {
                open.extend(&piece.deps);
            }
            pieces.insert(node, piece);
        }
        let mut seen = rustc_hash::FxHashSet::default();
        while let Some(node) = open.pop() {
            if !seen.insert(node) {
                continue;
            }
            let piece = match pieces.entry(node) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.piece(node)?),
            };
            if piece.action.is_group {
                open.extend(&piece.deps);
            }
            (pieces.len() <= 2 * self.many()).then_some(())?;
        }
        Some(pieces)
    }

    /// Reads what is reached; `None`: the long way is better, or has more to tell.
    pub fn load(mut self, located: &Located, caller: &Caller, given: Given) -> Option<Reached> {
        let cone = self.cone()?;
        let mut pieces = self.pieces(&cone)?;
        let mut files = self.front.files.iter();
        files
            .all(|file| {
                !(file.starts_with(&located.root) || *file == located.file) || refuse_foreign(file).is_ok()
            })
            .then_some(())?;
        let all: Vec<u32> = pieces.keys().copied().collect();
        let local = |node: &u32| all.binary_search(node).ok().map(number);
        let mut lists = [Lists::default(), Lists::default()];
        for (node, piece) in &pieces {
            let is_asked = piece.action.is_group || cone.binary_search(node).is_ok();
            for (to, from) in lists.iter_mut().zip([&piece.deps, &piece.after]) {
                to.push(from.iter().filter(|_| is_asked).filter_map(local));
            }
        }
        let goals: Vec<u32> = cone.iter().filter_map(local).collect();
        let [deps, after] = lists;
        let mut plan = Plan::new(all.len(), &goals, &deps, &after, true);
        plan.goal = cone.iter().map(|&node| self.flags(node) & GOAL > 0).collect();
        let needs_outputs = |node: &u32| {
            let action = &pieces[node].action;
            action.depfile.is_some()
                || action.inputs.as_ref().is_some_and(|inputs| !inputs.patterns.roots().is_empty())
        };
        let outputs = if cone.iter().any(needs_outputs) {
            Reader(&self.body(self.len())?).texts()?
        } else {
            Vec::new()
        };
        let settings = self.front.settings.take()?;
        let function = settings.0.cache.digest.unwrap_or_default();
        let (journal, inputs, tools) = self.remembered(located, function, (&cone, &pieces))?;
        let actions = all.iter().filter_map(|node| pieces.remove(node)).map(|piece| piece.action).collect();
        let folder = File::open(&located.root).ok()?;
        let mut graph = kept::assemble(settings, actions, [deps, after], outputs);
        graph.is_part = true;
        let workspace = Workspace {
            root: located.root.clone(),
            folder: folder.into(),
            here: located.start.strip_prefix(&located.root).map(slashed).unwrap_or_default(),
            graph,
            machine: machine(),
            caller: caller.clone(),
            given,
            read_files: std::mem::take(&mut self.front.files),
            asked: Asked::default(),
        };
        let names = std::mem::take(&mut self.front.names);
        tracing::debug!(actions = plan.len(), "what moved reaches few actions");
        let part = Seen { journal, inputs, tools, reach: self, nodes: cone };
        Some(Reached { workspace, plan, names, part })
    }

    fn remembered(
        &self,
        located: &Located,
        function: iact_cache::DigestFunction,
        (cone, pieces): (&[u32], &BTreeMap<u32, Piece>),
    ) -> Option<Remembered> {
        let known = pieces.iter().filter(|(_, piece)| !piece.action.is_group);
        let records = known.filter_map(|(node, piece)| Some((piece.action.name.clone(), self.place(*node)?)));
        let records: Vec<(String, u64)> = records.collect();
        let names: Vec<String> = records.iter().map(|(name, _)| name.clone()).collect();
        let tools = self.front.tools.iter().map(|(_, path, _)| *path);
        let also = cone.iter().flat_map(|node| pieces[node].inputs.iter().copied()).chain(tools).collect();
        let count = self.front.path_ends.len() / 4;
        let paths = FilePaths {
            bytes: Arc::new(self.map[self.front.paths.clone()].to_vec()),
            ends: (0..count).map(|at| self.table(&self.front.path_ends, at)).collect(),
        };
        let part = Part { length: self.number(0), outdated: self.number(8), paths, records, also };
        let (mut journal, here) = Journal::read_part(located.root.join(".iact/journal"), function, part)?;
        for name in names {
            let record = journal.record(&name)?;
            let mut contents = record.inputs.clone();
            contents.extend_from_slice(&record.discovered);
            contents.extend(record.outputs.iter().map(|made| (made.path, made.content)));
            for (path, content) in contents {
                if !matches!(content.kind, ContentKind::File | ContentKind::Executable) {
                    continue;
                }
                let row = self.proof.find(journal.paths.bytes_of(path));
                if let Some(row) = row.filter(|row| self.rests(*row)) {
                    let memo = Memo { stat: self.proof.stat(row), content, trusted: true };
                    journal.trust(path, memo);
                }
            }
        }
        let inputs = cone.iter().map(|node| {
            let mut ids: Vec<PathId> = pieces[node].inputs.iter().map(|&path| here(path)).collect();
            ids.sort_unstable();
            ids
        });
        let inputs = inputs.collect();
        let tools = self.front.tools.iter().map(|(name, path, memo)| {
            let path = here(*path);
            memo.iter().for_each(|memo| journal.trust(path, *memo));
            (name.clone(), path)
        });
        let tools = tools.collect();
        Some((journal, inputs, tools))
    }
}
