//! The return of a node: after a hold, its share grows over a ramp instead of coming at once (B24, P9).
//!
//! A node that is back is cold: caches, connections and whatever broke it. And a primary tier that flaps
//! takes all traffic with it each time. So for the hold nothing is sent to it, and over the ramp a growing
//! part of what it would get, as long as others can take the rest; calls that are elsewhere stay there.

use std::time::Duration;

use crate::base::Time;

/// The part of its turns that a node takes at the very beginning of its ramp: with less it would learn
/// nothing.
const FIRST_SHARE: f64 = 0.1;

/// How returning nodes are damped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ramp {
    /// Nothing is sent to a node for this long after it is back.
    pub(super) hold: Duration,
    /// From then on its share grows for this long.
    pub(super) slow_start: Duration,
}

impl Ramp {
    /// Are returning nodes damped at all?
    pub(super) const fn is_on(&self) -> bool {
        !(self.hold.is_zero() && self.slow_start.is_zero())
    }

    /// When a node that is back since `since` gets all its share again.
    pub(super) fn end(&self, since: Time) -> Time {
        since.after(self.hold).after(self.slow_start)
    }

    /// The part of its turns that a node takes which is back since `since`: 0 to 1.
    pub(super) fn share(&self, since: Time, now: Time) -> f64 {
        let begin = since.after(self.hold);
        if now < begin {
            return 0.0;
        }
        if self.slow_start.is_zero() {
            return 1.0;
        }
        let part = now.since(begin).as_secs_f64() / self.slow_start.as_secs_f64();
        part.clamp(FIRST_SHARE, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b24_p9_first_nothing_then_more_and_more_then_all() {
        let ramp = Ramp { hold: Duration::from_secs(10), slow_start: Duration::from_secs(100) };
        let share = |second: u64| ramp.share(Time::from_millis(1000), Time::from_millis(1000 * (1 + second)));
        let shares = [share(0), share(9), share(10), share(60), share(110), share(500)];
        let expected = [0.0, 0.0, FIRST_SHARE, 0.5, 1.0, 1.0];
        assert!(shares.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{shares:?}");
        assert_eq!(ramp.end(Time::ZERO), Time::from_millis(110_000));
        assert!(!Ramp::default().is_on());
        assert!((Ramp::default().share(Time::ZERO, Time::ZERO) - 1.0).abs() < 1e-12);
    }
}
