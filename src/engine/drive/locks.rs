//! Named locks: who holds one, and who waits for one.
//!
//! Invariant: a lock is asked for when its action could start, in the schedule's order, and an action that has
//! to wait gives its resources back; so no lock is held by something that waits for another lock, and nothing
//! that could run stands behind something that waits.

use super::{Drive, Stage};
use crate::engine::locks::{NamedLock, folder, is_held_above};
use crate::plan::Node;
use rustc_hash::FxHashMap;

/// How often a lock that somebody else holds is tried again.
const TRY_EVERY_MS: u64 = 50;

/// The locks of a run.
#[derive(Default)]
pub(super) struct Locks {
    held: FxHashMap<Node, NamedLock>,
    waiting: Vec<Node>,
    tried_ms: u64,
}

impl Locks {
    pub(super) fn wake_ms(&self, now_ms: u64) -> Option<u64> {
        (!self.waiting.is_empty()).then(|| (self.tried_ms + TRY_EVERY_MS).max(now_ms))
    }

    /// The node has ended, or will not start.
    pub(super) fn release(&mut self, node: Node) {
        self.held.remove(&node);
        self.waiting.retain(|waiting| *waiting != node);
    }
}

impl Drive<'_, '_> {
    /// Whether the node, which holds its resources, may start as far as locks go. If not it waits without
    /// them, or has failed.
    pub(super) fn lock(&mut self, node: Node) -> bool {
        let needs = matches!(self.state.stages.get(&node), Some(Stage::Step(_) | Stage::Batch(_)));
        if !needs || self.action(node).rare().lock.is_none() || self.state.locks.held.contains_key(&node) {
            return true;
        }
        match self.try_lock(node) {
            Ok(None) => true,
            Ok(Some(holder)) => {
                let action = self.action(node);
                let name = action.rare().lock.as_deref().unwrap_or_default();
                let holder = if holder.is_empty() { String::new() } else { format!(", held by {holder}") };
                let message = format!("`{}` waits for the lock `{name}`{holder}", action.name);
                self.warn(message);
                self.state.locks.waiting.push(node);
                self.schedule.hold(node);
                false
            }
            Err(message) => {
                self.state.stages.remove(&node);
                self.failed(node, message);
                false
            }
        }
    }

    /// `Some`: somebody else has it.
    fn try_lock(&mut self, node: Node) -> Result<Option<String>, String> {
        let action = self.action(node);
        let Some(name) = &action.rare().lock else { return Ok(None) };
        let workspace = self.shared.workspace;
        let who = format!("{} in {}", action.name, workspace.root.display());
        match NamedLock::try_acquire(&folder(&workspace.caller), name, &who) {
            Ok(Ok(lock)) => {
                self.shared.children.hold_if_killed(lock.file());
                self.state.locks.held.insert(node, lock);
                Ok(None)
            }
            Ok(Err(holder)) if is_held_above(name, &holder) => Err(format!(
                "the lock `{name}` is held by an action that started this build, and each would wait for the other"
            )),
            Ok(Err(holder)) => Ok(Some(holder)),
            Err(error) => Err(format!("the lock `{name}` cannot be taken: {error}")),
        }
    }

    /// Who waits tries again; who has got its lock waits for its resources once more.
    pub(super) fn poll_locks(&mut self) {
        let now_ms = self.shared.now_ms();
        if self.state.locks.waiting.is_empty() || now_ms < self.state.locks.tried_ms + TRY_EVERY_MS {
            return;
        }
        self.state.locks.tried_ms = now_ms;
        for node in self.state.locks.waiting.clone() {
            match self.try_lock(node) {
                Ok(Some(_)) => continue,
                Ok(None) => self.schedule.queue(node),
                Err(message) => self.failed(node, message),
            }
            self.state.locks.waiting.retain(|waiting| *waiting != node);
        }
    }
}
