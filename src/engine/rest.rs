//! Making the proof of a standstill from a run after which everything is up to date.
//!
//! Invariant: no proof is made if anything could change the answer without moving a file: probes, postconditions, targets that
//! always run, rarer keys; nor if something was touched so lately that it could change again unseen.
#![allow(clippy::disallowed_methods, reason = "shell: looks at Iactfiles and the journal")]

use super::shared::path_places;
use super::survey::Survey;
use crate::content::{ContentKind, RACY_NS, Stat};
use crate::graph::action::Action;
use crate::graph::kept;
use crate::journal::Journal;
use crate::path_table::PathId;
use crate::plan::Plan;
use crate::reach;
use crate::record::Made;
use crate::scan::Files;
use crate::scan::read::{Present, Seen, stat};
use crate::scan::walk::Visited;
use crate::standstill::{Rested, Standstill, many, variable};
use crate::workspace::Workspace;
use rustc_hash::FxHashSet;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a proof is made from.
pub struct Seenness<'a> {
    /// The workspace.
    pub workspace: &'a Workspace,
    /// What was wanted.
    pub plan: &'a Plan,
    /// What is remembered.
    pub journal: &'a Journal,
    /// What was seen.
    pub files: &'a Files,
    /// What was found.
    pub survey: &'a Survey,
    /// Which folders were read.
    pub visited: &'a Visited,
}

/// What a run did.
pub struct Acted<'a> {
    /// Which nodes ended well, and for long.
    pub settled: &'a [bool],
    /// How long the journal was before.
    pub since: u64,
}

impl Seenness<'_> {
    /// Writes the proof, if one can be made, and what an edit would reach.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self, place: &Path, names: &[String], acted: &Acted<'_>) -> std::io::Result<()> {
        let Some(proof) = self.standstill(acted) else { return Ok(()) };
        let tie = proof.write_tied(place)?;
        let made = reach::Made {
            workspace: self.workspace,
            plan: self.plan,
            names,
            journal: self.journal,
            inputs: &self.survey.inputs,
            tools: self.survey.tools.iter().map(|(name, path)| (name.as_str(), *path)).collect(),
            rested: &proof.rested,
            fixed: self.fixed(),
        };
        reach::write(&reach::place(place), tie, &made)
    }

    /// Files and folders that mean more than what is in them.
    fn fixed(&self) -> FxHashSet<Vec<u8>> {
        let visited = self.visited.lock().expect("no panic while noting");
        let by_graph = self.workspace.asked.visited.iter();
        let mut fixed: FxHashSet<Vec<u8>> =
            visited.iter().chain(by_graph).map(|(path, _)| path.clone()).collect();
        fixed.extend(self.survey.tools.values().map(|&id| self.journal.paths.bytes_of(id).to_vec()));
        fixed.extend(self.workspace.read_files.iter().map(|file| file.as_os_str().as_bytes().to_vec()));
        fixed.insert(b".iact/journal".to_vec());
        fixed
    }

    /// The proof, if one can be made.
    fn standstill(&self, acted: &Acted<'_>) -> Option<Standstill> {
        let graph = &self.workspace.graph;
        if !self.files.keeps_times() || self.survey.looks_beside {
            return None;
        }
        let mut proof = Standstill::default();
        // An Iactfile was often just edited, and then there is none.
        self.rest_fixed(&mut proof)?;
        let mut made: Vec<PathId> = Vec::new();
        // What was just made is at rest only in a while: until then nothing holds without knowing what it reaches.
        let is_rewritten = self.journal.lengths().0 == 0;
        for (&id, settled) in self.plan.actions.iter().zip(acted.settled) {
            let action = &graph.actions[id as usize];
            if action.is_group {
                continue;
            }
            if !settled
                || action.inputs.is_none()
                || !action.probes.is_empty()
                || action.check.is_some()
                || graph.declaration(id).rare.is_some()
            {
                return None;
            }
            let record = self.journal.record(&action.name)?;
            if self.journal.place(&action.name)? >= acted.since {
                let is_file =
                    |made: &Made| matches!(made.content.kind, ContentKind::File | ContentKind::Executable);
                (!is_rewritten && record.outputs.iter().all(is_file)).then_some(())?;
                made.extend(record.outputs.iter().map(|made| made.path));
                made.extend(record.discovered.iter().map(|(path, _)| *path));
            }
            proof.actions.push((action.name.clone(), record.fingerprint));
            self.tell_variables(action, &mut proof);
        }
        made.retain(|path| self.survey.wanted.binary_search(path).is_err());
        made.sort_unstable();
        made.dedup();
        self.rest_wanted(&made, &mut proof)?;
        let by_graph = self.workspace.asked.visited.iter();
        for (path, seen) in self.visited.lock().expect("no panic while noting").iter().chain(by_graph) {
            match seen {
                Some(stat) => proof.rested.push(self.old_enough(path, *stat, false)?),
                None => proof.absent.push(path.clone()),
            }
        }
        proof.rested.sort_unstable_by(|a, b| (&a.path, a.follow).cmp(&(&b.path, b.follow)));
        proof.rested.dedup_by(|a, b| a.path == b.path && a.follow == b.follow);
        proof.variables.sort_unstable();
        proof.variables.dedup();
        proof.absent.sort_unstable();
        proof.absent.dedup();
        let young = proof.rested.iter().filter(|rested| rested.young).count();
        (young == 0 || young <= many(proof.rested.len()) && kept::is_plain(graph, self.plan)).then_some(proof)
    }

    fn tell_variables(&self, action: &Action, proof: &mut Standstill) {
        for name in &action.pass_env {
            let value = self.workspace.caller.var(name);
            proof.variables.push((name.clone(), variable(value.map(AsRef::as_ref))));
        }
    }

    /// Inputs, outputs, discovered files and tools.
    fn rest_wanted(&self, made: &[PathId], proof: &mut Standstill) -> Option<()> {
        for &id in self.survey.wanted.iter().chain(made) {
            let path = self.journal.paths.bytes_of(id);
            match self.files.get(id) {
                Seen::Present(present) => self.rest(id, path, present, proof)?,
                Seen::Absent => proof.absent.push(path.to_vec()),
                Seen::Trouble(_) => return None,
            }
        }
        if self.survey.tools.is_empty() {
            return Some(());
        }
        let search = self.workspace.caller.var("PATH").cloned().unwrap_or_default();
        proof.variables.push(("PATH".into(), variable(Some(&search))));
        let by_name = self.survey.tools.iter().filter(|(tool, _)| !tool.contains('/'));
        for (tool, &found) in by_name.collect::<std::collections::BTreeMap<_, _>>() {
            let found = self.journal.paths.bytes_of(found);
            let earlier =
                path_places(&search, tool).take_while(|place| place.as_os_str().as_bytes() != found);
            proof.absent.extend(earlier.map(|place| place.as_os_str().as_bytes().to_vec()));
        }
        Some(())
    }

    fn rest(&self, id: PathId, path: &[u8], present: &Present, proof: &mut Standstill) -> Option<()> {
        if present.stat.is_folder() {
            // Its listing is among the visited folders if it matters.
            return Some(());
        }
        if let Some(link) = &present.link {
            proof.rested.push(self.old_enough(path, present.stat, false)?);
            let Some((stat, _)) = link.through else {
                // Where it leads to nothing there may be something any time.
                let root = self.workspace.folder.as_fd();
                return stat_of(root, path)?.is_folder().then_some(());
            };
            self.journal.memo(id).filter(|memo| memo.trusted && memo.stat == stat)?;
            proof.rested.push(Rested { path: path.to_vec(), stat, follow: true, young: false });
            return Some(());
        }
        let memo = self.journal.memo(id).filter(|memo| memo.trusted && memo.stat == present.stat);
        let young = memo.is_none();
        proof.rested.push(Rested { path: path.to_vec(), stat: present.stat, follow: false, young });
        Some(())
    }

    /// Something whose times were old before the first look at it.
    fn old_enough(&self, path: &[u8], stat: Stat, follow: bool) -> Option<Rested> {
        let old = stat.moved_ns() < self.workspace.asked.began_ns.saturating_sub(RACY_NS);
        old.then(|| Rested { path: path.to_vec(), stat, follow, young: false })
    }

    /// The Iactfiles, the journal, and what the machine's facts were read from.
    fn rest_fixed(&self, proof: &mut Standstill) -> Option<()> {
        let root = self.workspace.folder.as_fd();
        for file in &self.workspace.read_files {
            let path = CString::new(file.as_os_str().as_bytes()).ok()?;
            match stat(root, &path, true) {
                Ok(Some(stat)) => proof.rested.push(self.old_enough(path.as_bytes(), stat, true)?),
                Ok(None) => proof.absent.push(path.into_bytes()),
                Err(_) => return None,
            }
        }
        // Only iact writes it, and every write makes it longer or another file: its age does not matter.
        let journal = stat(root, c".iact/journal", false).ok()??;
        proof.rested.push(Rested {
            path: b".iact/journal".to_vec(),
            stat: journal,
            follow: false,
            young: false,
        });
        Some(())
    }
}

/// What the end of a link shows, if there is one.
fn stat_of(root: std::os::fd::BorrowedFd<'_>, path: &[u8]) -> Option<Stat> {
    stat(root, &CString::new(path).ok()?, true).ok().flatten()
}
