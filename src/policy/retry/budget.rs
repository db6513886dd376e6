//! The retry budget: a token bucket shared by all calls to a target (A3).
//!
//! A first-try success deposits a fraction of a token, a retry withdraws a whole one; an empty bucket
//! means that the target is failing widely and retries would only feed the outage. (The rule of gRPC's
//! retry throttling, A6 of its design, with a floor that lets a quiet client retry at once.)

use std::sync::atomic::{AtomicI64, Ordering};

use crate::base::ConfigError;

/// Tokens are kept in thousandths, so that deposits of a fraction are exact under any race.
const MILLI: f64 = 1000.0;
const MAX_TOKENS: f64 = 1e12;

/// A bucket of retry tokens. The instance is the state: whoever shares it shares the budget.
#[derive(Debug)]
pub struct Budget {
    level: AtomicI64,
    capacity: i64,
    deposit: i64,
}

impl Budget {
    /// A full bucket of `tokens` (default 20), refilled by `per_success` (default 0.1, that is one retry
    /// for ten calls) at each first-try success.
    #[expect(clippy::cast_possible_truncation, reason = "bounded by MAX_TOKENS just above")]
    pub fn new(tokens: f64, per_success: f64) -> Result<Self, ConfigError> {
        let rule = "be a finite number of at least 0";
        for (field, value) in [("tokens", tokens), ("per_success", per_success)] {
            if !value.is_finite() || !(0.0..=MAX_TOKENS).contains(&value) {
                return Err(ConfigError::new(field, rule, value));
            }
        }
        let capacity = (tokens * MILLI).round() as i64;
        Ok(Self { level: AtomicI64::new(capacity), capacity, deposit: (per_success * MILLI).round() as i64 })
    }

    /// Takes one token for a retry; `false` if there is none.
    pub fn withdraw(&self) -> bool {
        const ONE: i64 = 1000;
        let take = |level: i64| (level >= ONE).then_some(level - ONE);
        self.level.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// A call succeeded at its first attempt. A full bucket is only read.
    pub fn deposit(&self) {
        let add = |level: i64| (level < self.capacity).then(|| (level + self.deposit).min(self.capacity));
        // A full bucket is not an error: nothing is owed.
        let _full = self.level.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// Whole tokens and their fraction, now.
    #[must_use]
    pub fn tokens(&self) -> f64 {
        self.level.load(Ordering::Acquire) as f64 / MILLI
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a3_exact_under_racing_threads() {
        let budget = Budget::new(1000.0, 0.0).unwrap();
        let taken: usize = std::thread::scope(|scope| {
            let grab = || (0..25_000).filter(|_| budget.withdraw()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(grab)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!((taken, budget.tokens()), (1000, 0.0));
    }

    #[test]
    fn a3_ten_successes_buy_one_retry_and_never_more_than_the_bucket_holds() {
        let budget = Budget::new(1.0, 0.1).unwrap();
        assert!(budget.withdraw());
        assert!(!budget.withdraw());
        (0..9).for_each(|_| budget.deposit());
        assert!(!budget.withdraw());
        (0..1000).for_each(|_| budget.deposit());
        assert!((budget.tokens() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert_eq!(Budget::new(-1.0, 0.1).unwrap_err().field, "tokens");
        assert_eq!(Budget::new(1.0, f64::NAN).unwrap_err().field, "per_success");
    }
}
