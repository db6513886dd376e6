//! A percentile of latencies, some of which are known only to be "at least t".
//!
//! A loser of a race is cancelled when the winner answers, and how long it would have taken is not known.
//! Leaving losers out would forget the slowest calls and let the percentile sink, and counting them as
//! answers would do the same; both make hedges breed hedges. The product-limit estimator counts them
//! for what they are (Kaplan and Meier, "Nonparametric Estimation from Incomplete Observations", 1958).

use std::time::Duration;

/// How many of the latest attempts are remembered: the 95th percentile then stands on 12 of them.
const REMEMBERED: usize = 256;
/// Before that many answers no percentile is told: one slow start is no distribution.
const MINIMUM: usize = 20;
/// The estimate is made anew after that many observations.
const STALE_AFTER: usize = 8;

/// The latest attempts and how long they took.
#[derive(Debug, Default)]
pub struct Latencies {
    /// A ring: nanoseconds, and was it cut?
    seen: Vec<(u64, bool)>,
    next: usize,
    answers: usize,
    fresh: Option<(f64, Duration)>,
    since: usize,
}

impl Latencies {
    /// An attempt answered after `took`.
    pub fn answered(&mut self, took: Duration) {
        self.push(took, false);
    }

    /// An attempt was cut off after `took`.
    pub fn cut(&mut self, took: Duration) {
        self.push(took, true);
    }

    /// The latency that `share` of the attempts do not exceed; none while too little is known.
    ///
    /// Where even the longest answer is not that slow, because what was slower was always cut, it is the
    /// longest time that anything is known to have taken.
    pub fn quantile(&mut self, share: f64) -> Option<Duration> {
        if self.answers < MINIMUM {
            return None;
        }
        if let Some((known, estimate)) = self.fresh
            && known.to_bits() == share.to_bits()
            && self.since < STALE_AFTER
        {
            return Some(estimate);
        }
        let estimate = product_limit(&self.seen, share);
        (self.fresh, self.since) = (Some((share, estimate)), 0);
        Some(estimate)
    }

    fn push(&mut self, took: Duration, cut: bool) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.answers += usize::from(!cut);
        self.since += 1;
        if self.seen.len() < REMEMBERED {
            self.seen.push((took, cut));
            return;
        }
        let old = std::mem::replace(&mut self.seen[self.next], (took, cut));
        self.answers -= usize::from(!old.1);
        self.next = (self.next + 1) % REMEMBERED;
    }
}

fn product_limit(seen: &[(u64, bool)], share: f64) -> Duration {
    // At the same moment answers come before cuts: who was cut then would have taken longer.
    let mut sorted = seen.to_vec();
    sorted.sort_unstable();
    let total = sorted.len();
    let mut surviving = 1.0;
    for (place, &(took, cut)) in sorted.iter().enumerate() {
        if cut {
            continue;
        }
        surviving *= 1.0 - 1.0 / (total - place) as f64;
        // A little more than nothing, for the product of many fractions is not exact.
        if 1.0 - surviving >= share - 1e-9 {
            return Duration::from_nanos(took);
        }
    }
    Duration::from_nanos(sorted.last().map_or(0, |last| last.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn estimate(seen: &[(u64, bool)], share: f64) -> u64 {
        let told = product_limit(seen, share).as_nanos();
        u64::try_from(told).unwrap()
    }

    fn observations() -> impl Strategy<Value = Vec<(u64, bool)>> {
        prop::collection::vec((1u64..1000, any::<bool>()), 1..200)
    }

    proptest! {
        /// A12: with nothing cut it is the plain percentile: the smallest value that enough do not exceed.
        #[test]
        fn a12_without_cuts_it_is_the_plain_percentile(
            mut took in prop::collection::vec(1u64..1000, 1..200), share in 0.5f64..0.99,
        ) {
            let seen: Vec<_> = took.iter().map(|t| (*t, false)).collect();
            took.sort_unstable();
            let enough = |t: &u64| took.iter().filter(|other| *other <= t).count() as f64
                >= share * took.len() as f64 - 1e-6;
            prop_assert_eq!(estimate(&seen, share), *took.iter().find(|t| enough(t)).unwrap());
        }

        /// A12: to count a loser as an answer would never give a larger percentile.
        #[test]
        fn a12_losers_raise_the_percentile_or_leave_it(seen in observations(), share in 0.5f64..0.99) {
            let naive: Vec<_> = seen.iter().map(|(t, _)| (*t, false)).collect();
            prop_assert!(estimate(&seen, share) >= estimate(&naive, share));
        }

        /// A12: one more loser never lowers it, nor does a loser that ran longer.
        #[test]
        fn a12_a_loser_more_never_lowers_it(
            seen in observations(), share in 0.5f64..0.99, at in 1u64..1000, more in 0u64..1000,
        ) {
            let mut with = seen.clone();
            with.push((at, true));
            prop_assert!(estimate(&with, share) >= estimate(&seen, share).min(seen.iter().map(|s| s.0).max().unwrap()));
            let mut longer = seen.clone();
            longer.push((at + more, true));
            prop_assert!(estimate(&longer, share) >= estimate(&with, share));
        }

        /// It is a value that was seen.
        #[test]
        fn the_estimate_was_seen(seen in observations(), share in 0.5f64..0.99) {
            let told = estimate(&seen, share);
            prop_assert!(seen.iter().any(|(t, _)| *t == told));
        }
    }

    #[test]
    fn a12_cutting_at_the_percentile_does_not_make_it_sink() {
        // Latencies 1..=100 ms, uniform; whoever is slower than the percentile is cut a little after it.
        let mut latencies = Latencies::default();
        let ms = Duration::from_millis;
        (1..=100).for_each(|t| latencies.answered(ms(t)));
        for round in 0..2000_u64 {
            let took = ms(1 + round * 37 % 100);
            let late = latencies.quantile(0.95).unwrap() + ms(1);
            if took > late { latencies.cut(late) } else { latencies.answered(took) }
        }
        let learned = latencies.quantile(0.95).unwrap();
        assert!((ms(90)..=ms(100)).contains(&learned), "{learned:?}");
    }

    #[test]
    fn too_little_is_no_percentile_and_the_old_is_forgotten() {
        let mut latencies = Latencies::default();
        (0..19).for_each(|_| latencies.answered(Duration::from_secs(9)));
        assert_eq!(latencies.quantile(0.95), None);
        (0..2 * REMEMBERED).for_each(|_| latencies.answered(Duration::from_millis(1)));
        assert_eq!(latencies.quantile(0.95), Some(Duration::from_millis(1)));
    }
}
