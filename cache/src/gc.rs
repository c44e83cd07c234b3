//! What goes when a cache has outgrown its limits: results × blobs × policy → what is removed.
//!
//! Least recently used results go first, and with them the blobs nothing else refers to. A result that lacks
//! a blob is useless and goes. A blob no result refers to goes once it is older than the grace period: until
//! then somebody may be about to publish the result it belongs to, and no result goes to make room for it.
//! Pinned results stay, whatever the limits say and whatever they lack. While a result that could not be read stays, every
//! blob stays: it may need it. It goes when its turn comes, so an error that lasts does not fill the disk.
//! While results could not even be listed, nothing goes: any blob may be theirs, and results alone free next to nothing.
//!
//! Results go in one order, so a blob goes with the last of those that need it in that order: to know that one is enough, and a
//! sweep remembers no list of what each result needs.
//!
//! Guessing a result's worth from its build time was refused: nobody can predict what such a cache keeps.

use crate::digest::Digest;

/// What a sweep has to bring about.
#[derive(Clone, Copy, Debug)]
pub struct SweepPolicy {
    /// The most bytes to keep; `None`: any number.
    pub max_bytes: Option<u64>,
    /// How long ago a result may have been used last; `None`: any time.
    pub max_age_ms: Option<u64>,
    /// How long a blob without a result is left alone.
    pub grace_ms: u64,
    /// The time now.
    pub now_unix_ms: u64,
}

impl SweepPolicy {
    /// Removes only what is of no use to anybody.
    pub fn unlimited(now_unix_ms: u64) -> Self {
        Self { max_bytes: None, max_age_ms: None, grace_ms: 3_600_000, now_unix_ms }
    }
}

/// A result in the cache.
#[derive(Clone, Debug)]
pub(crate) struct ResultFacts {
    pub(crate) action: [u8; 32],
    pub(crate) size: u64,
    pub(crate) used_unix_ms: u64,
    pub(crate) pinned: bool,
    pub(crate) state: State,
}

/// What is known of the blobs of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// They have been claimed, all of them; of a pinned one those that are there.
    Known,
    /// It is damaged, or one of its folders is, or one is not there: no use to anybody. Of a pinned one have been claimed those
    /// that are there and known.
    Lost,
    /// It could not be read just now.
    Unread,
}

/// The blobs of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Everything it needs, folders' files included.
    Known(Vec<Digest>),
    /// It is damaged, or one of its folders is: what it needs besides.
    Lost(Vec<Digest>),
}

/// A blob in the cache.
#[derive(Clone, Debug)]
pub(crate) struct BlobFacts {
    pub(crate) size: u64,
    pub(crate) changed_unix_ms: u64,
    /// Of the results that need it the one that goes last.
    pub(crate) last: Option<u32>,
}

impl ResultFacts {
    /// What is greater goes later.
    fn turn(&self) -> (bool, u64, &[u8; 32]) {
        (self.pinned, self.used_unix_ms, &self.action)
    }
}

/// Enters what a result needs: where each blob is, or that it is not there. What is lost needs nothing, unless it is pinned.
pub(crate) fn claim(
    results: &mut [ResultFacts],
    index: usize,
    needed: &[Option<usize>],
    blobs: &mut [BlobFacts],
) {
    let result = &mut results[index];
    if !result.pinned && (result.state == State::Lost || needed.contains(&None)) {
        result.state = State::Lost;
        return;
    }
    let turn = |result: u32| results[result as usize].turn();
    let this = u32::try_from(index).expect("fewer than 2^32 results");
    for &blob in needed.iter().flatten() {
        let blob = &mut blobs[blob];
        if blob.last.is_none_or(|last| turn(last) < turn(this)) {
            blob.last = Some(this);
        }
    }
}

/// What to remove: indices into what was given, results first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sweep {
    pub(crate) results: Vec<usize>,
    pub(crate) blobs: Vec<usize>,
    /// What is left afterwards.
    pub(crate) kept_bytes: u64,
    /// When the oldest of the blobs that stay without a result changed.
    pub(crate) orphan_unix_ms: Option<u64>,
}

impl Sweep {
    /// Of nothing at all.
    pub(crate) fn nothing(results: &[ResultFacts], blobs: &[BlobFacts]) -> Self {
        let sizes = results.iter().map(|result| result.size).chain(blobs.iter().map(|blob| blob.size));
        Self { kept_bytes: sizes.sum(), ..Self::default() }
    }

    /// Leaves a blob that no result refers to.
    fn leave(&mut self, blob: &BlobFacts) {
        let oldest = self.orphan_unix_ms.unwrap_or(u64::MAX);
        self.orphan_unix_ms = Some(oldest.min(blob.changed_unix_ms));
    }
}

/// Decides what goes. All that is needed has been [claimed](claim).
pub(crate) fn plan_sweep(results: &[ResultFacts], blobs: &[BlobFacts], policy: &SweepPolicy) -> Sweep {
    let mut sweep = Sweep::nothing(results, blobs);
    let unread = |result: &ResultFacts| result.state == State::Unread;
    if results.iter().any(|result| unread(result) && result.pinned) {
        return sweep;
    }
    let any_unread = results.iter().any(unread);
    let mut unclaimed_bytes = 0;
    // What goes with each result.
    let mut blob_bytes = vec![0; results.len()];
    for (index, blob) in blobs.iter().enumerate() {
        if let Some(last) = blob.last {
            blob_bytes[last as usize] += blob.size;
            continue;
        }
        // From a clock that was wrong is as good as old.
        let is_old = blob.changed_unix_ms.abs_diff(policy.now_unix_ms) >= policy.grace_ms;
        if is_old && !any_unread {
            sweep.kept_bytes -= blob.size;
            sweep.blobs.push(index);
        } else {
            unclaimed_bytes += blob.size;
            sweep.leave(blob);
        }
    }
    let is_lost = |index: usize| results[index].state == State::Lost;
    let mut order: Vec<usize> = (0..results.len()).collect();
    order.sort_unstable_by_key(|index| (!is_lost(*index), results[*index].turn()));
    let oldest = policy.max_age_ms.map_or(0, |age| policy.now_unix_ms.saturating_sub(age));
    let mut goes = vec![false; results.len()];
    let mut is_unsure = false;
    for index in order {
        let result = &results[index];
        let too_many = policy.max_bytes.is_some_and(|limit| sweep.kept_bytes - unclaimed_bytes > limit);
        let is_wanted = !is_lost(index) && !too_many && result.used_unix_ms >= oldest;
        if is_wanted || result.pinned {
            is_unsure |= unread(result);
            continue;
        }
        sweep.kept_bytes -= result.size + blob_bytes[index];
        sweep.results.push(index);
        goes[index] = true;
    }
    for (index, blob) in
        blobs.iter().enumerate().filter(|(_, blob)| blob.last.is_some_and(|last| goes[last as usize]))
    {
        if is_unsure {
            sweep.kept_bytes += blob.size;
            sweep.leave(blob);
        } else {
            sweep.blobs.push(index);
        }
    }
    sweep
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustc_hash::FxHashSet;

    use super::*;

    const NOW: u64 = 1_000_000;

    /// Which blobs each result needs, by number.
    type Needed = Vec<Vec<u8>>;

    prop_compose! {
        fn cache()(
            results in prop::collection::vec(
                (0..NOW, any::<bool>(), 0..40_u8, prop::collection::vec(0..8_u8, 0..5)),
                0..12,
            ),
            blobs in prop::collection::btree_set(0..8_u8, 0..8),
        ) -> (Vec<ResultFacts>, Needed, Vec<BlobFacts>, Vec<u8>) {
            let numbers: Vec<u8> = blobs.into_iter().collect();
            let blob = |number: &u8| BlobFacts {
                size: 10 + u64::from(*number),
                changed_unix_ms: NOW - 1000 * u64::from(*number),
                last: None,
            };
            let mut blobs: Vec<BlobFacts> = numbers.iter().map(blob).collect();
            let result = |(at, (used_unix_ms, pinned, read, _)): (usize, &(u64, bool, u8, Vec<u8>))| ResultFacts {
                action: [at as u8; 32],
                size: 5,
                used_unix_ms: *used_unix_ms,
                pinned: *pinned && at % 3 == 0,
                state: match read {
                    0..4 => State::Lost,
                    4 => State::Unread,
                    _ => State::Known,
                },
            };
            let mut facts: Vec<ResultFacts> = results.iter().enumerate().map(result).collect();
            let mut needed = Needed::new();
            for (index, (_, _, _, needs)) in results.into_iter().enumerate() {
                let is_known = facts[index].state != State::Unread;
                let find = |number| numbers.iter().position(|one| one == number);
                let found: Vec<Option<usize>> = needs.iter().map(find).collect();
                needed.push(if is_known { needs } else { Vec::new() });
                if is_known {
                    claim(&mut facts, index, &found, &mut blobs);
                }
            }
            (facts, needed, blobs, numbers)
        }
    }

    fn unread(result: &ResultFacts) -> bool {
        result.state == State::Unread
    }

    fn check(
        results: &[ResultFacts],
        needed: &Needed,
        (blobs, numbers): (&[BlobFacts], &[u8]),
        policy: &SweepPolicy,
    ) {
        let sweep = plan_sweep(results, blobs, policy);
        let gone_results: FxHashSet<_> = sweep.results.iter().copied().collect();
        let gone_blobs: FxHashSet<_> = sweep.blobs.iter().copied().collect();
        assert_eq!(
            (gone_results.len(), gone_blobs.len()),
            (sweep.results.len(), sweep.blobs.len()),
            "each once"
        );

        let of = |result: &ResultFacts| &needed[usize::from(result.action[0])];
        let present = |number: &u8| numbers.iter().position(|one| one == number);
        let whole = |result: &ResultFacts| {
            matches!(result.state, State::Known) && of(result).iter().all(|number| present(number).is_some())
        };
        let kept: Vec<&ResultFacts> =
            (0..results.len()).filter(|at| !gone_results.contains(at)).map(|at| &results[at]).collect();
        let pinned = |results: &mut dyn Iterator<Item = &ResultFacts>| results.filter(|r| r.pinned).count();
        assert_eq!(pinned(&mut results.iter()), pinned(&mut kept.iter().copied()), "what is pinned stays");
        if kept.iter().copied().any(unread) {
            assert_eq!(gone_blobs.len(), 0, "what could not be read may need it");
        }
        let any_unread = results.iter().any(unread);
        if results.iter().any(|result| result.pinned && unread(result)) {
            assert_eq!((gone_results.len(), gone_blobs.len()), (0, 0), "nobody knows what the pin holds");
            return;
        }
        for result in &kept {
            assert!(
                whole(result) || result.pinned || unread(result),
                "a result that stays without need has all its blobs"
            );
            for at in of(result).iter().filter_map(present) {
                assert!(!gone_blobs.contains(&at));
            }
        }
        let kept_blobs: Vec<usize> = (0..blobs.len()).filter(|at| !gone_blobs.contains(at)).collect();
        let bytes =
            kept.iter().map(|r| r.size).chain(kept_blobs.iter().map(|at| blobs[*at].size)).sum::<u64>();
        assert_eq!(bytes, sweep.kept_bytes);

        let refers = |result: &ResultFacts, at: usize| of(result).contains(&numbers[at]);
        let is_young = |at: usize| blobs[at].changed_unix_ms + policy.grace_ms > NOW;
        let mut unclaimed_bytes = 0;
        for at in kept_blobs.iter().copied().filter(|at| !kept.iter().any(|result| refers(result, *at))) {
            assert!(is_young(at) || any_unread, "only the young stay without a result");
            unclaimed_bytes += blobs[at].size;
        }
        let oldest = policy.max_age_ms.map_or(0, |age| NOW - age);
        let free = || kept.iter().filter(|result| !result.pinned);
        assert!(free().all(|result| result.used_unix_ms >= oldest));
        let claimed_bytes = sweep.kept_bytes - unclaimed_bytes;
        if policy.max_bytes.is_some_and(|limit| claimed_bytes > limit) {
            assert_eq!(free().count(), 0, "over the limit only for what has to stay");
        }
        for at in sweep.results.iter().filter(|at| whole(&results[**at])) {
            assert!(
                free().all(|r| r.used_unix_ms >= results[*at].used_unix_ms),
                "the least recently used go first"
            );
        }
        let whole_gone = sweep.results.iter().map(|at| &results[*at]).filter(|result| whole(result));
        if let Some(last) = whole_gone.max_by_key(|result| (result.used_unix_ms, result.action))
            && last.used_unix_ms >= oldest
        {
            // Gone, or left for what could not be read: nobody claims them any more.
            let is_left = |at: &usize| !kept.iter().any(|result| refers(result, *at));
            let with_it: FxHashSet<usize> = of(last).iter().filter_map(present).filter(is_left).collect();
            let before = claimed_bytes + last.size + with_it.iter().map(|at| blobs[*at].size).sum::<u64>();
            assert!(policy.max_bytes.is_some_and(|limit| before > limit), "none goes for what none needs");
        }
        if policy.max_bytes.is_none() && policy.max_age_ms.is_none() {
            assert!(sweep.results.iter().all(|at| !whole(&results[*at])), "no limit, no loss");
        }
    }

    proptest! {
        #[test]
        fn what_stays_is_whole_and_within_the_limits(
            (results, needed, blobs, numbers) in cache(),
            max_bytes in prop::option::of(0..200_u64),
            max_age_ms in prop::option::of(0..NOW),
            grace_ms in 0..10_000_u64,
        ) {
            let policy = SweepPolicy { max_bytes, max_age_ms, grace_ms, now_unix_ms: NOW };
            check(&results, &needed, (&blobs, &numbers), &policy);
        }
    }
}
