//! `retry`: whether a failed command runs again, and after what pause.
//!
//! Invariant: pure; the pause doubles with every attempt, is never longer than `max_delay`, and jitter only
//! shortens it, by at most a half, so that what failed together does not come back together.

use super::spawn::End;
use crate::manifest::decl::Retry;

/// The pause before the next attempt; `None`: that was the last one. `random` is any number.
pub fn pause_ms(retry: &Retry, attempt: u32, end: &End, random: u64) -> Option<u64> {
    if attempt >= retry.attempts {
        return None;
    }
    let worth = match end {
        End::Cancelled | End::NotStarted(_) => false,
        // A check that failed after a command that did not, is worth another attempt where any failure is.
        End::Exited(code) => retry.on_exit.is_empty() || retry.on_exit.contains(code),
        End::Signalled(_) | End::TimedOut => retry.on_exit.is_empty(),
    };
    let doubled = retry.delay_ms.saturating_mul(1 << (attempt - 1).min(32));
    let longest = doubled.min(retry.max_delay_ms.unwrap_or(u64::MAX));
    worth.then(|| longest - random % (longest / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(max_delay_ms: Option<u64>, on_exit: &[i32]) -> Retry {
        Retry { attempts: 4, delay_ms: 100, max_delay_ms, on_exit: on_exit.to_vec() }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_jitter_shortens_them() {
        let pauses = |max, random| -> Vec<Option<u64>> {
            (1..=4).map(|attempt| pause_ms(&retry(max, &[]), attempt, &End::Exited(1), random)).collect()
        };
        assert_eq!(pauses(None, 0), [Some(100), Some(200), Some(400), None]);
        assert_eq!(pauses(Some(150), 0), [Some(100), Some(150), Some(150), None]);
        assert_eq!(pauses(None, 50), [Some(50), Some(150), Some(350), None]);
        for random in 0..1000 {
            let pause = pause_ms(&retry(None, &[]), 1, &End::Exited(1), random).unwrap();
            assert!((50..=100).contains(&pause));
        }
    }

    #[test]
    fn only_what_is_worth_it_is_tried_again() {
        let tried = |end: &End, on_exit: &[i32]| pause_ms(&retry(None, on_exit), 1, end, 0).is_some();
        for (end, any, seven) in [
            (End::Exited(1), true, false),
            (End::Exited(7), true, true),
            (End::Signalled(9), true, false),
            (End::TimedOut, true, false),
            (End::Cancelled, false, false),
        ] {
            assert_eq!((tried(&end, &[]), tried(&end, &[7])), (any, seven), "{end:?}");
        }
    }

    #[test]
    fn a_thousand_attempts_overflow_nothing() {
        let retry = Retry { attempts: 1000, delay_ms: u64::MAX / 2, max_delay_ms: None, on_exit: Vec::new() };
        assert!(pause_ms(&retry, 999, &End::Exited(1), 7).is_some());
    }
}
