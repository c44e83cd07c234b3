//! Files that are reached through links, the last name of their path or one on the way: they may have been made by another
//! name since they were looked at.
//!
//! Invariant: once an action of the run has made something, what an action reads through a link is looked at when the action
//! is decided on. Each folder is asked once in a run whether it is a link: an output that is one counts by itself.
#![allow(clippy::disallowed_methods, reason = "shell: looks at files")]

use super::Drive;
use crate::journal::Journal;
use crate::path_table::PathId;
use crate::plan::Node;
use crate::scan::Files;
use crate::scan::read::{Seen, stat};
use rustc_hash::FxHashMap;
use std::ffi::CString;

/// Which paths lead over a link.
#[derive(Default)]
pub(super) struct Links {
    folders: FxHashMap<Vec<u8>, bool>,
    /// By the number of a path.
    paths: Vec<Option<bool>>,
}

impl Links {
    fn is_on_the_way(&mut self, id: PathId, journal: &Journal, files: &Files) -> bool {
        if self.paths.len() <= id.index() {
            self.paths.resize(journal.paths.len(), None);
        }
        if let Some(known) = self.paths[id.index()] {
            return known;
        }
        let is_led = self.leads_over_link(journal.paths.bytes_of(id), files);
        self.paths[id.index()] = Some(is_led);
        is_led
    }

    fn leads_over_link(&mut self, path: &[u8], files: &Files) -> bool {
        let Some(slash) = path.iter().rposition(|&byte| byte == b'/').filter(|&at| at > 0) else {
            return false;
        };
        let folder = &path[..slash];
        if let Some(&known) = self.folders.get(folder) {
            return known;
        }
        let is_link = || {
            let folder = CString::new(folder).ok()?;
            Some(stat(files.root(), &folder, false).ok()??.is_link())
        };
        let is_led = is_link() == Some(true) || self.leads_over_link(folder, files);
        self.folders.insert(folder.to_vec(), is_led);
        is_led
    }
}

impl Drive<'_, '_> {
    /// What links lead to may have been made since they were looked at.
    pub(super) fn look_through_links(&mut self, node: Node) {
        if self.state.totals.executed + self.state.totals.cached == 0 {
            return;
        }
        let action = self.action(node);
        let record = self.journal.record(&action.name);
        let discovered = record.iter().flat_map(|record| record.discovered.iter().map(|(path, _)| *path));
        let tools = action.tools.iter().filter_map(|tool| self.survey.tools.get(tool).copied());
        let (files, journal, links) = (&*self.files, &*self.journal, &mut self.state.links);
        let is_link = |id| matches!(files.get(id), Seen::Present(present) if present.link.is_some());
        let all = self.survey.inputs[node.index()].iter().copied().chain(discovered).chain(tools);
        let led: Vec<PathId> =
            all.filter(|&id| is_link(id) || links.is_on_the_way(id, journal, files)).collect();
        led.iter().for_each(|&path| self.files.forget(path));
        self.files.look(self.journal, led);
    }
}
