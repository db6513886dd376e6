//! A mean in which what is old counts less, and what is long past counts for nothing.
//!
//! Samples come at irregular times, so the weight of what was known decays with time and not with the number
//! of samples: by e in each τ. A figure that nobody refreshes decays towards what is neutral (P14): unknown
//! is not bad, and an old bad score is no sentence for life (P2).

use std::time::Duration;

use crate::base::Time;

/// A sample weighs at least this much, however soon it follows the one before: about the last twenty of a
/// burst matter.
const LEAST: f64 = 0.05;

/// The decaying mean.
#[derive(Clone, Copy, Debug)]
pub struct Ewma {
    tau: Duration,
    last: Option<(f64, Time)>,
}

impl Ewma {
    /// One that knows nothing yet, and forgets by e in each `tau`: above 0.
    #[must_use]
    pub const fn new(tau: Duration) -> Self {
        Self { tau, last: None }
    }

    /// Takes in a sample.
    pub fn observe(&mut self, sample: f64, now: Time) {
        let value = self.last.map_or(sample, |(value, at)| {
            let weight = (1.0 - self.kept(at, now)).max(LEAST);
            weight.mul_add(sample - value, value)
        });
        self.last = Some((value, now));
    }

    /// Takes in a sample of which bad news (a higher one) is believed at once, good news slowly.
    pub fn observe_peak(&mut self, sample: f64, now: Time) {
        match self.last {
            Some((value, _)) if sample <= value => self.observe(sample, now),
            _ => self.last = Some((sample, now)),
        }
    }

    /// The mean at `now`, decayed towards `neutral`; that itself while nothing is known.
    #[must_use]
    pub fn value_at(&self, now: Time, neutral: f64) -> f64 {
        self.last.map_or(neutral, |(value, at)| self.kept(at, now).mul_add(value - neutral, neutral))
    }

    /// The mean as of the last sample.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.last.map(|(value, _)| value)
    }

    fn kept(&self, at: Time, now: Time) -> f64 {
        (-now.since(at).as_secs_f64() / self.tau.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn p14_what_is_not_refreshed_decays_to_neutral() {
        let mut mean = Ewma::new(Duration::from_secs(10));
        assert!((mean.value_at(at(0), 2.0) - 2.0).abs() < 1e-12);
        mean.observe(10.0, at(0));
        assert!((mean.value_at(at(0), 2.0) - 10.0).abs() < 1e-12);
        assert!((mean.value_at(at(10), 2.0) - (2.0 + 8.0 / std::f64::consts::E)).abs() < 1e-9);
        assert!((mean.value_at(at(1000), 2.0) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn samples_weigh_by_the_time_between_them() {
        let mut mean = Ewma::new(Duration::from_secs(10));
        mean.observe(1.0, at(0));
        mean.observe(2.0, at(10));
        assert!((mean.last().unwrap() - (2.0 - 1.0 / std::f64::consts::E)).abs() < 1e-9);
        let mut burst = Ewma::new(Duration::from_secs(10));
        burst.observe(1.0, at(0));
        (0..100).for_each(|_| burst.observe(2.0, at(0)));
        assert!(burst.last().unwrap() > 1.99, "a burst at one moment is heard too");
    }

    #[test]
    fn a_peak_is_believed_at_once_and_forgotten_slowly() {
        let mut mean = Ewma::new(Duration::from_secs(10));
        mean.observe_peak(1.0, at(0));
        mean.observe_peak(9.0, at(1));
        assert!((mean.last().unwrap() - 9.0).abs() < 1e-12);
        mean.observe_peak(1.0, at(2));
        assert!(mean.last().unwrap() > 8.0);
    }
}
