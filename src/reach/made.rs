//! Writing down what an edit would reach, after a run in which everything was up to date.
#![allow(clippy::disallowed_methods, reason = "shell: writes the file")]

use super::{EVERYBODY, GOAL, GROUP, HEAD, MAGIC, piece_checksum};
use crate::bytes::{put_bytes, put_list, put_option, put_texts, put_u32, put_u64};
use crate::graph::kept;
use crate::graph::names::number;
use crate::journal::Journal;
use crate::journal::format::put_memo;
use crate::path_table::PathId;
use crate::plan::Plan;
use crate::standstill::{Rested, forget_oldest};
use crate::workspace::Workspace;
use rustc_hash::{FxHashMap, FxHashSet};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What it is made from.
pub struct Made<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// What was wanted.
    pub plan: &'a Plan,
    /// The goals as they were asked for.
    pub names: &'a [String],
    /// What is remembered, as it lies in the file.
    pub journal: &'a Journal,
    /// The source files of every node.
    pub inputs: &'a [Vec<PathId>],
    /// Tools by name.
    pub tools: Vec<(&'a str, PathId)>,
    /// The proof's files.
    pub rested: &'a [Rested],
    /// Files that mean more than themselves.
    pub fixed: FxHashSet<Vec<u8>>,
}

/// Writes it. `tie`: which proof it belongs to.
///
/// # Errors
/// What the file system says.
pub fn write(place: &Path, tie: u64, made: &Made<'_>) -> std::io::Result<()> {
    let Some((map, tail, pieces)) = made.encode(tie) else { return Ok(()) };
    let folder = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut temp = tempfile::NamedTempFile::new_in(folder)?;
    let mut bytes = Vec::with_capacity(HEAD + map.len() + tail.len() + pieces.len());
    bytes.extend_from_slice(MAGIC);
    for part in [&map, &tail] {
        bytes.extend_from_slice(blake3::hash(part).as_bytes());
    }
    for part in [&map, &tail] {
        put_u64(&mut bytes, part.len() as u64);
    }
    [map, tail, pieces].iter().for_each(|part| bytes.extend_from_slice(part));
    temp.write_all(&bytes)?;
    temp.persist(place).map_err(|error| error.error)?;
    forget_oldest(folder)
}

impl Made<'_> {
    fn encode(&self, tie: u64) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
        let graph = &self.workspace.graph;
        let (length, outdated) = self.journal.lengths();
        if length == 0 || !kept::is_plain(graph, self.plan) {
            return None;
        }
        let (pieces, ends) = self.pieces()?;
        let mut map = Vec::new();
        put_u64(&mut map, tie);
        put_texts(&mut map, self.names);
        kept::put_settings(&mut map, graph);
        put_list(&mut map, &self.workspace.read_files, |to, file| put_bytes(to, file.as_os_str().as_bytes()));
        put_list(&mut map, &self.tools, |to, (name, path)| {
            put_bytes(to, name.as_bytes());
            put_u32(to, path.0);
            let memo = self.journal.memo(*path);
            put_option(to, memo.map(|_| 0));
            if let Some(memo) = memo {
                put_memo(to, memo);
            }
        });
        let flag = |(&goal, &id): (&bool, &u32)| {
            let group = graph.actions[id as usize].is_group;
            (u8::from(goal) * GOAL) | (u8::from(group) * GROUP)
        };
        let flags: Vec<u8> = self.plan.goal.iter().zip(&self.plan.actions).map(flag).collect();
        put_bytes(&mut map, &flags);
        let (user_ends, users) = self.users();
        let (dependent_ends, dependents) = self.dependents();
        let (paths, path_ends) = self.journal.paths.raw();
        for table in [&ends, &user_ends, &users, &dependent_ends, &dependents] {
            put_list(&mut map, table, |to, number| put_u32(to, *number));
        }
        put_list(&mut map, path_ends, |to, end| put_u32(to, *end));
        put_bytes(&mut map, paths);
        let mut tail = Vec::new();
        put_u64(&mut tail, length);
        put_u64(&mut tail, outdated);
        for &id in &self.plan.actions {
            put_u64(&mut tail, self.journal.place(&graph.actions[id as usize].name).unwrap_or_default());
        }
        Some((map, tail, pieces))
    }

    /// `None`: something wanted depends on what is not wanted.
    fn pieces(&self) -> Option<(Vec<u8>, Vec<u32>)> {
        let graph = &self.workspace.graph;
        let mut new = vec![u32::MAX; graph.actions.len()];
        for (node, &id) in self.plan.actions.iter().enumerate() {
            new[id as usize] = number(node);
        }
        let mut pieces = Vec::new();
        let mut ends = Vec::with_capacity(new.len() + 1);
        let mut add = |body: &[u8]| {
            pieces.extend_from_slice(&piece_checksum(body));
            pieces.extend_from_slice(body);
            u32::try_from(pieces.len()).ok().map(|end| ends.push(end))
        };
        let mut body = Vec::new();
        for (node, &id) in self.plan.actions.iter().enumerate() {
            body.clear();
            kept::put_action(&mut body, &graph.actions[id as usize]);
            let deps = graph.deps.get(id as usize);
            let mut list: Vec<u32> = deps.iter().map(|&on| new[on as usize]).collect();
            if list.contains(&u32::MAX) {
                return None;
            }
            list.sort_unstable();
            put_list(&mut body, &list, |to, on| put_u32(to, *on));
            let after = graph.after.get(id as usize).iter().map(|&on| new[on as usize]);
            let after: Vec<u32> = after.filter(|&on| on != u32::MAX).collect();
            put_list(&mut body, &after, |to, on| put_u32(to, *on));
            put_list(&mut body, &self.inputs[node], |to, path| put_u32(to, path.0));
            add(&body)?;
        }
        body.clear();
        let outputs: Vec<&str> = graph.makers.paths().collect();
        put_list(&mut body, &outputs, |to, path| put_bytes(to, path.as_bytes()));
        add(&body)?;
        Some((pieces, ends))
    }

    /// For each file of the proof who reads or makes it.
    fn users(&self) -> (Vec<u32>, Vec<u32>) {
        let mut rows: FxHashMap<PathId, [u32; 2]> = FxHashMap::default();
        let mut users: Vec<Vec<u32>> = vec![Vec::new(); self.rested.len()];
        for (row, rested) in self.rested.iter().enumerate() {
            if self.fixed.contains(&rested.path) {
                users[row].push(EVERYBODY);
            }
            if let Some(id) = self.journal.paths.find(&rested.path) {
                rows.entry(id).or_insert([u32::MAX; 2])[usize::from(rested.follow)] = number(row);
            }
        }
        for (node, &id) in self.plan.actions.iter().enumerate() {
            let record = self.journal.record(&self.workspace.graph.actions[id as usize].name);
            let more = record.into_iter().flat_map(|record| {
                let made = record.outputs.iter().map(|made| made.path);
                record.discovered.iter().map(|(path, _)| *path).chain(made)
            });
            for path in self.inputs[node].iter().copied().chain(more) {
                for row in rows.get(&path).into_iter().flatten().filter(|row| **row != u32::MAX) {
                    let users = &mut users[*row as usize];
                    if users.last() != Some(&number(node)) {
                        users.push(number(node));
                    }
                }
            }
        }
        flat(users)
    }

    fn dependents(&self) -> (Vec<u32>, Vec<u32>) {
        let mut dependents: Vec<Vec<u32>> = vec![Vec::new(); self.plan.len()];
        for node in self.plan.nodes() {
            for edge in self.plan.edges.get(node.index()) {
                dependents[edge.on.index()].push(node.0);
            }
        }
        flat(dependents)
    }
}

/// Lists as the ends of each and all items.
fn flat(lists: Vec<Vec<u32>>) -> (Vec<u32>, Vec<u32>) {
    let mut items = Vec::new();
    let mut ends = Vec::with_capacity(lists.len());
    for list in lists {
        items.extend(list);
        ends.push(number(items.len()));
    }
    (ends, items)
}
