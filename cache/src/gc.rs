//! What goes when a cache has outgrown its limits: results × blobs × policy → what is removed.
//!
//! Least recently used results go first, and with them the blobs nothing else refers to. A result that lacks
//! a blob is useless and goes. A blob no result refers to goes once it is older than the grace period: until
//! then somebody may be about to publish the result it belongs to, and no result goes to make room for it.
//! Pinned results stay, whatever the limits say and whatever they lack. While a result that could not be read stays, every
//! blob stays: it may need it. It goes when its turn comes, so an error that lasts does not fill the disk.
//! Guessing a result's worth from its build time was refused: nobody can predict what such a cache keeps.

use rustc_hash::{FxHashMap, FxHashSet};

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
    pub(crate) needs: Needs,
}

/// The blobs of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Everything it needs, folders' files included.
    Known(Vec<Digest>),
    /// It is damaged, or one of its folders is: no use to anybody.
    Lost,
    /// It could not be read just now.
    Unread,
}

/// A blob in the cache.
#[derive(Clone, Debug)]
pub(crate) struct BlobFacts {
    pub(crate) hash: [u8; 32],
    pub(crate) size: u64,
    pub(crate) changed_unix_ms: u64,
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
    /// Leaves a blob that no result refers to.
    fn leave(&mut self, blob: &BlobFacts) {
        let oldest = self.orphan_unix_ms.unwrap_or(u64::MAX);
        self.orphan_unix_ms = Some(oldest.min(blob.changed_unix_ms));
    }
}

/// Decides what goes.
pub(crate) fn plan_sweep(results: &[ResultFacts], blobs: &[BlobFacts], policy: &SweepPolicy) -> Sweep {
    let by_hash: FxHashMap<&[u8; 32], usize> =
        blobs.iter().enumerate().map(|(index, blob)| (&blob.hash, index)).collect();
    let needs: Vec<Option<Vec<usize>>> =
        results.iter().map(|result| needed(result, blobs, &by_hash)).collect();
    let mut references = vec![0_u32; blobs.len()];
    for index in needs.iter().flatten().flatten() {
        references[*index] += 1;
    }
    let mut sweep = Sweep {
        kept_bytes: results.iter().map(|result| result.size).chain(blobs.iter().map(|blob| blob.size)).sum(),
        ..Sweep::default()
    };
    let unread = |result: &ResultFacts| result.needs == Needs::Unread;
    if results.iter().any(|result| unread(result) && result.pinned) {
        return sweep;
    }
    let any_unread = results.iter().any(unread);
    let mut unclaimed_bytes = 0;
    for (index, blob) in blobs.iter().enumerate().filter(|(index, _)| references[*index] == 0) {
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
    let is_lost = |index: usize| needs[index].is_none() && !unread(&results[index]);
    let mut order: Vec<usize> = (0..results.len()).collect();
    order.sort_by_key(|index| (!is_lost(*index), results[*index].used_unix_ms, results[*index].action));
    let oldest = policy.max_age_ms.map_or(0, |age| policy.now_unix_ms.saturating_sub(age));
    let mut freed = Vec::new();
    let mut is_unsure = false;
    for index in order {
        let result = &results[index];
        let too_many = policy.max_bytes.is_some_and(|limit| sweep.kept_bytes - unclaimed_bytes > limit);
        let is_wanted = !is_lost(index) && !too_many && result.used_unix_ms >= oldest;
        if is_wanted || result.pinned {
            is_unsure |= unread(result);
            continue;
        }
        sweep.kept_bytes -= result.size;
        sweep.results.push(index);
        for blob in needs[index].iter().flatten() {
            references[*blob] -= 1;
            if references[*blob] == 0 {
                sweep.kept_bytes -= blobs[*blob].size;
                freed.push(*blob);
            }
        }
    }
    if is_unsure {
        for blob in freed.iter().map(|index| &blobs[*index]) {
            sweep.kept_bytes += blob.size;
            sweep.leave(blob);
        }
    } else {
        sweep.blobs.append(&mut freed);
    }
    sweep
}

/// The blobs a result needs, each once; `None` if one is not there, unless a pin holds those that are.
fn needed(
    result: &ResultFacts,
    blobs: &[BlobFacts],
    by_hash: &FxHashMap<&[u8; 32], usize>,
) -> Option<Vec<usize>> {
    let Needs::Known(needs) = &result.needs else { return None };
    let mut seen = FxHashSet::default();
    let mut indices = Vec::new();
    for digest in needs.iter().filter(|digest| digest.size > 0) {
        match by_hash.get(&digest.hash).filter(|index| blobs[**index].size == digest.size) {
            Some(&index) if seen.insert(index) => indices.push(index),
            Some(_) => {}
            None if result.pinned => {}
            None => return None,
        }
    }
    Some(indices)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn blob(number: u8) -> BlobFacts {
        BlobFacts {
            hash: [number; 32],
            size: 10 + u64::from(number),
            changed_unix_ms: NOW - 1000 * u64::from(number),
        }
    }

    prop_compose! {
        fn cache()(
            results in prop::collection::vec(
                (0..NOW, any::<bool>(), 0..40_u8, prop::collection::vec(0..8_u8, 0..5)),
                0..12,
            ),
            blobs in prop::collection::btree_set(0..8_u8, 0..8),
        ) -> (Vec<ResultFacts>, Vec<BlobFacts>) {
            let digest = |number| Digest { hash: [number; 32], size: blob(number).size };
            let result = |(at, (used_unix_ms, pinned, read, blobs)): (usize, (u64, bool, u8, Vec<u8>))| ResultFacts {
                action: [at as u8; 32],
                size: 5,
                used_unix_ms,
                pinned: pinned && at % 3 == 0,
                needs: match read {
                    0..4 => Needs::Lost,
                    4 => Needs::Unread,
                    _ => Needs::Known(blobs.into_iter().map(digest).collect()),
                },
            };
            (results.into_iter().enumerate().map(result).collect(), blobs.into_iter().map(blob).collect())
        }
    }

    fn of(result: &ResultFacts) -> Vec<Digest> {
        match &result.needs {
            Needs::Known(all) => all.clone(),
            Needs::Lost | Needs::Unread => Vec::new(),
        }
    }

    fn unread(result: &ResultFacts) -> bool {
        result.needs == Needs::Unread
    }

    fn check(results: &[ResultFacts], blobs: &[BlobFacts], policy: &SweepPolicy) {
        let sweep = plan_sweep(results, blobs, policy);
        let gone_results: FxHashSet<_> = sweep.results.iter().copied().collect();
        let gone_blobs: FxHashSet<_> = sweep.blobs.iter().copied().collect();
        assert_eq!(
            (gone_results.len(), gone_blobs.len()),
            (sweep.results.len(), sweep.blobs.len()),
            "each once"
        );

        let present = |digest: &Digest| blobs.iter().position(|blob| blob.hash == digest.hash);
        let whole = |result: &ResultFacts| matches!(&result.needs, Needs::Known(all) if all.iter().all(|d| present(d).is_some()));
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

        let refers = |result: &ResultFacts, at: usize| of(result).iter().any(|d| d.hash == blobs[at].hash);
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
            let with_it: FxHashSet<usize> =
                of(last).iter().filter_map(present).filter(|at| gone_blobs.contains(at)).collect();
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
            (results, blobs) in cache(),
            max_bytes in prop::option::of(0..200_u64),
            max_age_ms in prop::option::of(0..NOW),
            grace_ms in 0..10_000_u64,
        ) {
            check(&results, &blobs, &SweepPolicy { max_bytes, max_age_ms, grace_ms, now_unix_ms: NOW });
        }
    }
}
