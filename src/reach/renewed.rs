//! Writing what a run of a few actions came to into the proof and the map, so that the next request starts from there.
//!
//! Invariant: what did not end well, and what cannot be told for sure, is noted as not at rest: it is decided on again. If
//! something else happened than what was known before (new files, folders, links), nothing is written, and the journal, which
//! is another one then, sends the next request the long way. Whoever writes holds the workspace's lock.
#![allow(clippy::disallowed_methods, reason = "shell: writes the file")]

use super::HEAD;
use super::read::Reach;
use crate::content::ContentKind;
use crate::engine::drive::Listener;
use crate::journal::Journal;
use crate::path_table::PathId;
use crate::plan::{Node, Plan};
use crate::record::Record;
use crate::scan::Files;
use crate::scan::read::{Seen, stat};
use crate::standstill::{Renewed, up_to_date};
use crate::workspace::Workspace;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where a run of a few actions ended.
pub struct Left<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// What was reached.
    pub plan: &'a Plan,
    /// What was remembered, written.
    pub journal: &'a Journal,
    /// What was seen.
    pub files: &'a Files,
    /// Which nodes ended well, and for long.
    pub settled: &'a [bool],
}

/// What is known of the reached part after a run.
pub struct Known {
    /// What was read.
    pub reach: Reach,
    /// The number that each node of the plan has in the file.
    pub nodes: Vec<u32>,
    /// The source files of every node of the plan.
    pub inputs: Vec<Vec<PathId>>,
}

impl Known {
    /// Tells of the request's actions that nothing reached.
    pub fn tell_others(&self, listener: &mut dyn Listener) {
        let own: Vec<usize> = self.reach.action_numbers(&self.nodes).into_iter().flatten().collect();
        for (at, (name, fingerprint)) in self.reach.proof.actions().enumerate() {
            if own.binary_search(&at).is_err() {
                listener.report(&up_to_date(name, fingerprint), 0);
            }
        }
    }

    /// Writes it into the proof at `proof`, and beside it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn renew(mut self, proof: &Path, left: &Left<'_>) -> std::io::Result<()> {
        let Some(rows) = self.rows(left) else { return Ok(()) };
        let name =
            |node: Node| left.workspace.graph.actions[left.plan.actions[node.index()] as usize].name.as_str();
        let record = |node: Node| left.journal.record(name(node));
        let numbers = self.reach.action_numbers(&self.nodes);
        let fingerprints: Vec<(usize, [u8; 32])> = left
            .plan
            .nodes()
            .zip(numbers)
            .filter_map(|(node, number)| Some((number?, record(node)?.fingerprint)))
            .collect();
        let (length, outdated) = left.journal.lengths();
        let tail = &mut self.reach.tail;
        tail[..8].copy_from_slice(&length.to_le_bytes());
        tail[8..16].copy_from_slice(&outdated.to_le_bytes());
        for (node, &old) in left.plan.nodes().zip(&self.nodes) {
            let at = 16 + 8 * old as usize;
            let place = left.journal.place(name(node)).unwrap_or_default();
            tail[at..at + 8].copy_from_slice(&place.to_le_bytes());
        }
        let after_map = (HEAD + self.reach.map_len()) as u64;
        let Reach { file, tail, proof: known, .. } = self.reach;
        file.write_all_at(&tail, after_map)?;
        file.write_all_at(blake3::hash(&tail).as_bytes(), 48)?;
        known.renew(proof, &rows, &fingerprints)
    }

    /// What the proof's files show now; `None`: something is there that the proof does not know.
    fn rows(&self, left: &Left<'_>) -> Option<Vec<Renewed>> {
        if left.journal.has_new_paths() {
            return None;
        }
        let mut rows: BTreeMap<usize, Renewed> = BTreeMap::new();
        let mut unsettled: Vec<u32> = Vec::new();
        for (node, &old) in left.plan.nodes().zip(&self.nodes) {
            let action = &left.workspace.graph.actions[left.plan.actions[node.index()] as usize];
            if action.is_group {
                continue;
            }
            match left.journal.record(&action.name).filter(|_| left.settled[node.index()]) {
                Some(record) => self.settled(left, (node, old, record), &mut rows)?,
                None => unsettled.push(old),
            }
        }
        if !unsettled.is_empty() {
            let mut named = vec![false; unsettled.len()];
            for row in 0..self.reach.row_count() {
                for user in self.reach.users(row) {
                    let Ok(at) = unsettled.binary_search(&user) else { continue };
                    named[at] = true;
                    let stat = self.reach.proof.stat(row);
                    rows.entry(row).or_insert(Renewed { row, stat, young: true }).young = true;
                }
            }
            // What nothing stands for would be forgotten.
            (!named.contains(&false)).then_some(())?;
        }
        let row = self.reach.proof.find(b".iact/journal")?;
        let journal = stat(left.workspace.folder.as_fd(), c".iact/journal", false).ok()??;
        rows.insert(row, Renewed { row, stat: journal, young: false });
        Some(rows.into_values().collect())
    }

    fn settled(
        &self,
        left: &Left<'_>,
        (node, old, record): (Node, u32, &Record),
        rows: &mut BTreeMap<usize, Renewed>,
    ) -> Option<()> {
        let acted =
            left.journal.place(&left.workspace.graph.actions[left.plan.actions[node.index()] as usize].name)
                != self.reach.place(old);
        let is_file = |kind| matches!(kind, ContentKind::File | ContentKind::Executable);
        if acted && !record.outputs.iter().all(|made| is_file(made.content.kind)) {
            return None;
        }
        let outputs = record.outputs.iter().filter(|made| made.content.kind != ContentKind::Folder);
        let paths = outputs.map(|made| made.path).chain(record.discovered.iter().map(|(path, _)| *path));
        for path in paths.chain(self.inputs[node.index()].iter().copied()) {
            let row = self.reach.proof.find(left.journal.paths.bytes_of(path))?;
            self.reach.users(row).any(|user| user == old).then_some(())?;
            let Seen::Present(present) = left.files.get(path) else { return None };
            if !present.stat.is_file() {
                (!acted && self.reach.rests(row)).then_some(())?;
                continue;
            }
            let memo = left.journal.memo(path);
            let young = !memo.is_some_and(|memo| memo.trusted && memo.stat == present.stat);
            let renewed = Renewed { row, stat: present.stat, young };
            rows.entry(row).and_modify(|row| row.young |= young).or_insert(renewed);
        }
        Some(())
    }
}
