//! How long to wait before a retry.

use std::time::Duration;

use crate::base::{ConfigError, Dice};

/// How the computed wait is spread, always after the cap (A4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jitter {
    /// The wait itself.
    None,
    /// Uniform in `[0, wait)`, mean `wait / 2` ("full jitter", Brooker 2015).
    Full,
    /// Uniform in `[wait / 2, wait)`, mean `3/4 · wait`.
    Equal,
}

impl Jitter {
    /// The jitter called `name`: "none", "full" or "equal".
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "full" => Some(Self::Full),
            "equal" => Some(Self::Equal),
            _ => None,
        }
    }

    fn spread(self, wait: Duration, dice: &mut dyn Dice) -> Duration {
        match self {
            Self::None => wait,
            Self::Full => wait.mul_f64(dice.unit()),
            Self::Equal => wait.mul_f64(0.5 + dice.unit() / 2.0),
        }
    }
}

/// The law by which waits grow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Backoff {
    /// Always the same; zero is legal.
    Constant(Duration),
    /// `first + (n − 1) · step` before retry n, at most `cap`.
    Linear {
        /// The wait before the first retry.
        first: Duration,
        /// What each further retry adds.
        step: Duration,
        /// The longest wait before jitter.
        cap: Duration,
        /// The spread.
        jitter: Jitter,
    },
    /// `first · factorⁿ⁻¹` before retry n, at most `cap`.
    Exponential {
        /// The wait before the first retry.
        first: Duration,
        /// What each further retry multiplies by.
        factor: f64,
        /// The longest wait before jitter.
        cap: Duration,
        /// The spread.
        jitter: Jitter,
    },
    /// Uniform in `[first, 3 · previous wait]`, at most `cap` ("decorrelated jitter", Brooker 2015).
    Decorrelated {
        /// The shortest wait.
        first: Duration,
        /// The longest wait.
        cap: Duration,
    },
    /// The caller is asked: the pipeline hands the question to its driver.
    Asked,
}

impl Default for Backoff {
    /// 0.5 s, doubled to at most 8 s, full jitter: provider blips last seconds, and 8 s is the longest
    /// pause that the clients' own retries make.
    fn default() -> Self {
        Self::Exponential {
            first: Duration::from_millis(500),
            factor: 2.0,
            cap: Duration::from_secs(8),
            jitter: Jitter::Full,
        }
    }
}

impl Backoff {
    /// Checks the numbers.
    pub fn validate(self) -> Result<Self, ConfigError> {
        match self {
            Self::Exponential { factor, .. } if !factor.is_finite() || factor < 1.0 => {
                Err(ConfigError::new("factor", "be a finite number of at least 1", factor))
            }
            Self::Decorrelated { first, .. } if first.is_zero() => {
                Err(ConfigError::new("first", "be positive, for the wait grows from it", 0))
            }
            Self::Exponential { first, cap, .. }
            | Self::Linear { first, cap, .. }
            | Self::Decorrelated { first, cap }
                if cap < first =>
            {
                Err(ConfigError::new("cap", format!("be at least first ({first:?})"), format!("{cap:?}")))
            }
            fine => Ok(fine),
        }
    }

    /// The wait before retry `retry` (counted from 1), given the `previous` wait of the same call.
    /// `None` if the caller must be asked.
    pub fn wait(&self, retry: u32, previous: Duration, dice: &mut dyn Dice) -> Option<Duration> {
        let steps = retry.saturating_sub(1);
        Some(match *self {
            Self::Constant(wait) => wait,
            Self::Linear { first, step, cap, jitter } => {
                let wait = first.saturating_add(step.saturating_mul(steps)).min(cap);
                jitter.spread(wait, dice)
            }
            Self::Exponential { first, factor, cap, jitter } => {
                let grown = first.as_secs_f64() * factor.powf(f64::from(steps));
                let wait = Duration::try_from_secs_f64(grown).unwrap_or(cap).min(cap);
                jitter.spread(wait, dice)
            }
            Self::Decorrelated { first, cap } => {
                let top = previous.max(first).saturating_mul(3).min(cap).max(first);
                first + top.saturating_sub(first).mul_f64(dice.unit())
            }
            Self::Asked => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::base::SplitMix;

    fn draws(backoff: Backoff, retry: u32) -> Vec<Duration> {
        let mut dice = SplitMix::new(42);
        let mut previous = Duration::ZERO;
        let mut draw = || {
            previous = backoff.wait(retry, previous, &mut dice).expect("a law, not a question");
            previous
        };
        (0..1000).map(|_| draw()).collect()
    }

    fn mean(waits: &[Duration]) -> f64 {
        waits.iter().map(Duration::as_secs_f64).sum::<f64>() / waits.len() as f64
    }

    #[test]
    fn a4_jitter_comes_after_the_cap() {
        let waits = draws(Backoff::default(), 20);
        assert!(waits.iter().collect::<HashSet<_>>().len() >= 990);
        assert!(waits.iter().all(|w| *w < Duration::from_secs(8)));
        assert!((mean(&waits) - 4.0).abs() < 0.3, "mean {}", mean(&waits));
    }

    #[test]
    fn a4_each_jitter_has_the_mean_it_promises() {
        let law = |jitter| Backoff::Exponential {
            first: Duration::from_secs(8),
            factor: 2.0,
            cap: Duration::from_secs(8),
            jitter,
        };
        assert!((mean(&draws(law(Jitter::None), 1)) - 8.0).abs() < 1e-9);
        assert!((mean(&draws(law(Jitter::Full), 1)) - 4.0).abs() < 0.3);
        assert!((mean(&draws(law(Jitter::Equal), 1)) - 6.0).abs() < 0.2);
    }

    #[test]
    fn decorrelated_waits_stay_between_first_and_cap() {
        let (first, cap) = (Duration::from_millis(100), Duration::from_secs(2));
        let waits = draws(Backoff::Decorrelated { first, cap }, 1);
        assert!(waits.iter().all(|w| (first..=cap).contains(w)));
        assert!(waits.iter().any(|w| *w > cap / 2));
    }

    #[test]
    fn growth_never_overflows() {
        let law = Backoff::Exponential {
            first: Duration::from_secs(1),
            factor: 10.0,
            cap: Duration::from_secs(5),
            jitter: Jitter::None,
        };
        assert_eq!(law.wait(u32::MAX, Duration::ZERO, &mut SplitMix::new(1)), Some(Duration::from_secs(5)));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let law = Backoff::Exponential {
            first: Duration::from_secs(9),
            factor: 2.0,
            cap: Duration::from_secs(8),
            jitter: Jitter::Full,
        };
        assert_eq!(law.validate().unwrap_err().field, "cap");
    }
}
