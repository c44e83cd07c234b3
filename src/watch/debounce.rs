//! When to build after something moved: soon after one save, once after a burst.
//!
//! Invariant: time is an argument; a build is never put off longer than the limit after the first event, however many
//! follow, and a file whose writing was heard to end is not waited for.
//! The quiet time grows with the burst: a save is one event or three within a millisecond, a checkout of thousands of
//! files pauses for longer now and then. Considered and refused: one fixed time, which is either slow for every save or
//! builds half of a checkout.

/// Quiet time after a file whose writing has not been heard to end.
const OPEN_US: u64 = 30_000;
/// The most that a burst makes of the quiet time by its length.
const GROWN_US: u64 = 50_000;
/// A build is not put off for longer, unless the quiet time itself is.
const LIMIT_US: u64 = 1_000_000;

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look again at this time, or when something moves.
    Wait(u64),
    /// It has been quiet for long enough.
    Build,
}

/// The events since the last build.
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    quiet_us: u64,
    /// First and last event.
    burst_us: Option<(u64, u64)>,
    open: bool,
}

impl Debounce {
    /// Builds once nothing has moved for `quiet_us`.
    pub fn new(quiet_us: u64) -> Self {
        Self { quiet_us, burst_us: None, open: false }
    }

    /// Something moved. `open`: some file is still being written.
    pub fn event(&mut self, now_us: u64, open: bool) {
        let first_us = self.burst_us.map_or(now_us, |(first_us, _)| first_us);
        self.burst_us = Some((first_us, now_us));
        self.open = open;
    }

    /// What to do; `None`: nothing has moved.
    pub fn next(&self, now_us: u64) -> Option<Next> {
        let (first_us, last_us) = self.burst_us?;
        let grown_us = ((last_us - first_us) / 4).min(GROWN_US);
        let open_us = if self.open { OPEN_US } else { 0 };
        let quiet_us = self.quiet_us.max(grown_us).max(open_us);
        let until_us = (last_us + quiet_us).min(first_us + LIMIT_US.max(self.quiet_us));
        Some(if now_us >= until_us { Next::Build } else { Next::Wait(until_us) })
    }

    /// Nothing has moved yet.
    pub fn reset(&mut self) {
        self.burst_us = None;
        self.open = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Next::{Build, Wait};

    /// Events as time and whether a file is open, then what is to be done at a time.
    type Case<'a> = (&'a [(u64, bool)], u64, Option<Next>);

    #[test]
    fn one_save_is_built_at_once_and_a_burst_once() {
        let cases: [Case<'_>; 10] = [
            (&[], 5, None),
            (&[(1_000, false)], 1_000, Some(Wait(3_000))),
            (&[(1_000, false)], 2_999, Some(Wait(3_000))),
            (&[(1_000, false)], 3_000, Some(Build)),
            (&[(1_000, false), (2_500, false)], 3_000, Some(Wait(4_500))),
            (&[(1_000, true)], 3_000, Some(Wait(31_000))),
            (&[(1_000, true), (1_200, false)], 3_200, Some(Build)),
            // A burst of 80 ms has to be quiet for 20 ms.
            (&[(0, false), (80_000, false)], 99_999, Some(Wait(100_000))),
            // A burst of a second is over.
            (&[(0, false), (990_000, false)], 1_000_000, Some(Build)),
            (&[(0, true), (999_000, true)], 999_500, Some(Wait(1_000_000))),
        ];
        for (events, now_us, expected) in cases {
            let mut debounce = Debounce::new(2_000);
            events.iter().for_each(|&(at_us, open)| debounce.event(at_us, open));
            assert_eq!(debounce.next(now_us), expected, "{events:?} at {now_us}");
        }
    }

    #[test]
    fn a_quiet_time_that_was_asked_for_is_kept_whatever_the_limit() {
        let mut debounce = Debounce::new(3_000_000);
        debounce.event(0, false);
        assert_eq!(debounce.next(2_000_000), Some(Wait(3_000_000)));
        assert_eq!(debounce.next(3_000_000), Some(Build));
        debounce.reset();
        assert_eq!(debounce.next(4_000_000), None);
    }

    proptest::proptest! {
        #[test]
        fn every_burst_ends_in_a_build_within_the_limit(
            gaps in proptest::collection::vec((0u64..200_000, proptest::bool::ANY), 1..60),
            quiet_us in 0u64..100_000,
        ) {
            let mut debounce = Debounce::new(quiet_us);
            let mut now_us = 0;
            for (gap_us, open) in gaps {
                now_us += gap_us;
                if debounce.next(now_us) == Some(Build) {
                    break;
                }
                debounce.event(now_us, open);
            }
            let (first_us, _) = debounce.burst_us.expect("there was an event");
            proptest::prop_assert_eq!(debounce.next(first_us.max(now_us) + LIMIT_US), Some(Build));
            if let Some(Wait(until_us)) = debounce.next(now_us) {
                proptest::prop_assert!(until_us > now_us && until_us <= first_us + LIMIT_US);
                proptest::prop_assert_eq!(debounce.next(until_us), Some(Build));
            }
        }
    }
}
