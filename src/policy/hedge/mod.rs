//! Hedge: one more attempt beside one that is slow, on another node; the first success wins.
//!
//! Why it exists: the slowest calls of a service are slow for reasons of the server they hit. Asking a second
//! one when the first has taken longer than most cuts the tail at the price of a few calls more (Dean and
//! Barroso, "The Tail at Scale", 2013).
//!
//! When it is late, a percentile of the answers so far says ([`Latencies`]); the budget bounds how much more
//! may be asked when all are late at once, for then a hedge is load and no cure.
//!
//! It does not know which call may be made twice (the caller declares that, A10), picks no node and cancels
//! nobody: the pipeline and its drivers do.

mod config;
mod latencies;

use std::time::Duration;

use parking_lot::Mutex;

pub use config::{After, HedgeConfig};
pub use latencies::Latencies;

use crate::policy::hedge::config::{BUDGET_PER_SUCCESS, BUDGET_TOKENS};

/// A hedge policy. The instance is the state: whoever shares it shares what was learned.
#[derive(Debug)]
pub struct Hedge {
    config: HedgeConfig,
    latencies: Mutex<Latencies>,
    level: Mutex<f64>,
}

impl Hedge {
    /// A policy that has learned nothing yet.
    #[must_use]
    pub fn new(config: HedgeConfig) -> Self {
        Self { config, latencies: Mutex::default(), level: Mutex::new(BUDGET_TOKENS) }
    }

    /// Its fields.
    #[must_use]
    pub const fn config(&self) -> HedgeConfig {
        self.config
    }

    /// After how long an attempt is late; none while too little is known.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        match self.config.after {
            After::Fixed(span) => Some(span),
            After::Percentile(share) => self.latencies.lock().quantile(share),
        }
    }

    /// An attempt answered after `took`.
    pub fn answered(&self, took: Duration) {
        self.latencies.lock().answered(took);
    }

    /// An attempt was cancelled, or given up by a clock of ours, after `took`: it would have taken longer (A12).
    pub fn cut(&self, took: Duration) {
        self.latencies.lock().cut(took);
    }

    /// A call succeeded at its first attempt: a share of a hedge is earned.
    pub fn deposit(&self) {
        let mut level = self.level.lock();
        *level = (*level + BUDGET_PER_SUCCESS).min(BUDGET_TOKENS);
    }

    /// Takes what one hedge costs, where there is no retry budget that it could draw on; `false` if there is
    /// not enough.
    pub fn withdraw(&self) -> bool {
        let mut level = self.level.lock();
        let enough = *level >= 1.0;
        if enough {
            *level -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_budget_is_a_burst_and_a_tenth_of_the_successes() {
        let hedge = Hedge::new(HedgeConfig::default());
        let burst = std::iter::repeat_with(|| hedge.withdraw()).take_while(|taken| *taken).count();
        assert_eq!(burst, 10);
        (0..11).for_each(|_| hedge.deposit());
        assert!(hedge.withdraw());
        assert!(!hedge.withdraw());
    }

    #[test]
    fn a_fixed_delay_needs_no_learning() {
        let after = After::Fixed(Duration::from_millis(50));
        let hedge = Hedge::new(HedgeConfig { after, ..HedgeConfig::default() });
        assert_eq!(hedge.delay(), Some(Duration::from_millis(50)));
        assert_eq!(Hedge::new(HedgeConfig::default()).delay(), None);
    }
}
