//! Hearing of commands that start. A start is told quietly, since whoever is woken for each takes the time of a short
//! command; it is heard with the next event, or when a moment has passed.
//!
//! Invariant: whatever is told quietly is heard at most [`LONGEST_MS`] later, most often [`FIRST_MS`], and before anything
//! that the same worker tells afterwards.

use super::Drive;
use crate::plan::Node;
use rustc_hash::FxHashSet;

/// How long a start may go unheard at first.
const FIRST_MS: u64 = 8;
/// And when it took longer before it was told: each wait is twice the one before, up to this one.
const LONGEST_MS: u64 = 250;

/// Who was handed over and has not been heard of.
#[derive(Default)]
pub(super) struct Hush {
    silent: FxHashSet<Node>,
    pause_ms: u64,
    due_ms: u64,
}

impl Hush {
    pub(super) fn expect(&mut self, node: Node, now_ms: u64) {
        if self.silent.is_empty() || self.due_ms > now_ms + FIRST_MS {
            (self.pause_ms, self.due_ms) = (FIRST_MS, now_ms + FIRST_MS);
        }
        self.silent.insert(node);
    }

    pub(super) fn heard(&mut self, node: Node) {
        self.silent.remove(&node);
    }

    pub(super) fn wake_ms(&self) -> Option<u64> {
        (!self.silent.is_empty()).then_some(self.due_ms)
    }

    /// Time has passed: when to listen again.
    pub(super) fn listened(&mut self, now_ms: u64) {
        if now_ms >= self.due_ms {
            self.pause_ms = (self.pause_ms * 2).min(LONGEST_MS);
            self.due_ms = now_ms + self.pause_ms;
        }
    }
}

impl<'a> Drive<'_, 'a> {
    /// Takes in what was told quietly.
    pub(super) fn hear_quiet(&mut self, pool: &super::Pool<'_, 'a>) {
        for event in self.shared.take_quiet() {
            self.handle(event, pool);
        }
        self.state.hush.listened(self.shared.now_ms());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_soon_then_seldom_and_never_without_reason() {
        let mut hush = Hush::default();
        assert_eq!(hush.wake_ms(), None);
        hush.expect(Node(1), 100);
        assert_eq!(hush.wake_ms(), Some(108));
        let mut waits = Vec::new();
        for _ in 0..8 {
            let due_ms = hush.wake_ms().unwrap();
            hush.listened(due_ms - 1);
            hush.listened(due_ms);
            waits.push(hush.wake_ms().unwrap() - due_ms);
        }
        assert_eq!(waits, [16, 32, 64, 128, 250, 250, 250, 250]);
        let now_ms = hush.wake_ms().unwrap() - 200;
        hush.expect(Node(2), now_ms);
        assert_eq!(hush.wake_ms(), Some(now_ms + 8), "another one is soon heard of");
        hush.heard(Node(1));
        hush.heard(Node(2));
        assert_eq!(hush.wake_ms(), None);
    }
}
