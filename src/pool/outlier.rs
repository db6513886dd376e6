//! Outliers: a node that fails much more often than the others, and not often enough to be given up.
//!
//! A breaker judges a node by itself; here a node is compared with the others, which tells a bad node from a
//! bad day. Where all fail alike the fault is ours or the network's, and nobody is put out (P5).
//!
//! A node is put out ("ejected") for a while, longer each time; it is never the last one, and never more
//! than a share of the pool (P3). It is judged anew when it is back.

use std::time::Duration;

use crate::base::Time;

/// Within this time what happened is mostly forgotten.
const MEMORY: Duration = Duration::from_mins(1);
/// Outcomes before a node is judged, and before it counts as one to compare with.
const ENOUGH: f64 = 20.0;
const ENOUGH_TO_COMPARE: f64 = 5.0;
/// How much larger its share of failures must be than that of the others' median.
const MARGIN: f64 = 0.3;
/// The first time out, and the longest.
const FIRST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(5);
/// Well for this long after it was out: the next time is a first one again.
const FORGIVEN: Duration = Duration::from_mins(10);

/// What is known of one node's outcomes.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    good: f64,
    bad: f64,
    at: Time,
    times: u32,
    until: Option<Time>,
}

impl Conduct {
    /// Takes in an outcome.
    pub(super) fn note(&mut self, good: bool, now: Time) {
        let kept = self.kept(now);
        (self.good, self.bad, self.at) = (self.good * kept, self.bad * kept, now);
        *(if good { &mut self.good } else { &mut self.bad }) += 1.0;
    }

    /// Until when it is put out, if it is at `now`.
    pub(super) fn out_until(&self, now: Time) -> Option<Time> {
        self.until.filter(|&until| until > now)
    }

    /// The share of failures, where enough is known to compare with.
    pub(super) fn comparable(&self, now: Time) -> Option<f64> {
        self.rate(ENOUGH_TO_COMPARE, now)
    }

    /// The share of failures, if it is an outlier among `others`: none if it is not, or nobody knows.
    pub(super) fn outlies(&self, others: &mut [f64], now: Time) -> Option<f64> {
        let rate = self.rate(ENOUGH, now)?;
        let middle = others.len() / 2;
        if others.is_empty() {
            return None;
        }
        let (_, median, _) = others.select_nth_unstable_by(middle, f64::total_cmp);
        (rate - *median >= MARGIN).then_some(rate)
    }

    /// Puts it out; says until when.
    pub(super) fn eject(&mut self, now: Time) -> Time {
        let forgiven = self.until.is_none_or(|until| now > until.after(FORGIVEN));
        self.times = if forgiven { 1 } else { self.times.saturating_add(1) };
        let until = now.after(FIRST.saturating_mul(self.times).min(LONGEST));
        (self.good, self.bad, self.until) = (0.0, 0.0, Some(until));
        until
    }

    /// Back in before its time.
    pub(super) fn pardon(&mut self) {
        self.until = None;
    }

    fn rate(&self, enough: f64, now: Time) -> Option<f64> {
        let all = self.good + self.bad;
        (all * self.kept(now) >= enough).then(|| self.bad / all)
    }

    fn kept(&self, now: Time) -> f64 {
        (-now.since(self.at).as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

/// How many of `nodes` may be out at once, for whatever reason, without one more being put out.
pub(super) fn most_out(nodes: usize, max_ejected: f64) -> usize {
    let share = (nodes as f64 * max_ejected).floor();
    // Between 0 and the number of nodes, so it fits; and one always stays.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the number of nodes")]
    let most = share as usize;
    most.min(nodes.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conduct(good: u32, bad: u32) -> Conduct {
        let mut conduct = Conduct::default();
        (0..good).for_each(|_| conduct.note(true, Time::ZERO));
        (0..bad).for_each(|_| conduct.note(false, Time::ZERO));
        conduct
    }

    #[test]
    fn an_outlier_fails_much_more_than_the_others() {
        let bad = conduct(12, 8);
        assert!(bad.outlies(&mut [0.0, 0.1, 0.05], Time::ZERO).is_some());
        assert!(bad.outlies(&mut [0.0, 0.2, 0.3], Time::ZERO).is_none());
        assert!(conduct(11, 8).outlies(&mut [0.0], Time::ZERO).is_none(), "too few to judge");
        assert!(bad.outlies(&mut [0.0], Time::ZERO.after(MEMORY)).is_none(), "too long ago");
    }

    #[test]
    fn p5_where_all_fail_alike_nobody_is_an_outlier() {
        let bad = conduct(0, 100);
        assert!(bad.outlies(&mut [1.0, 0.9, 1.0], Time::ZERO).is_none());
        assert!(bad.outlies(&mut [], Time::ZERO).is_none(), "with nobody to compare there is no outlier");
    }

    #[test]
    fn each_time_out_is_longer_until_it_is_forgiven() {
        let mut conduct = conduct(0, 20);
        let mut now = Time::ZERO;
        let mut spans = Vec::new();
        for _ in 0..12 {
            let until = conduct.eject(now);
            assert!(conduct.out_until(now).is_some() && conduct.out_until(until).is_none());
            spans.push(until.since(now).as_secs());
            now = until.after(Duration::from_secs(1));
        }
        assert_eq!(spans, [30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
        let later = now.after(FORGIVEN).after(Duration::from_secs(1));
        assert_eq!(conduct.eject(later).since(later).as_secs(), 30);
    }

    #[test]
    fn p3_one_always_stays() {
        let most = |nodes| most_out(nodes, 0.5);
        assert_eq!([most(0), most(1), most(2), most(3), most(10)], [0, 0, 1, 1, 5]);
        assert_eq!([most_out(3, 1.0), most_out(10, 0.0)], [2, 0]);
    }
}
