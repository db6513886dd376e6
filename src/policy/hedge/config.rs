//! What a hedge policy is made of.

use std::time::Duration;

use crate::base::ConfigError;

/// Hedges that a policy may make in a burst where there is no retry budget. As a default retry budget has
/// twice as many, a burst of hedges is the smaller evil.
pub(super) const BUDGET_TOKENS: f64 = 10.0;
/// What each first-try success earns: at most one call in ten is hedged for long.
pub(super) const BUDGET_PER_SUCCESS: f64 = 0.1;

/// After how long an attempt is late.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    /// After this long.
    Fixed(Duration),
    /// After as long as this share of the answers took, 0 to 1.
    Percentile(f64),
}

impl After {
    /// The percentile called `name`: "p50" to "p99.9".
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let percent: f64 = name.strip_prefix('p')?.parse().ok()?;
        (50.0..=99.9).contains(&percent).then_some(Self::Percentile(percent / 100.0))
    }
}

/// The fields of a hedge policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeConfig {
    /// After how long an attempt is late. Default the 95th percentile: one call in twenty is asked twice.
    pub after: After,
    /// Hedges per call. Default 1: a second one hardly ever helps where the first did not.
    pub max_hedges: u32,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self { after: After::Percentile(0.95), max_hedges: 1 }
    }
}

impl HedgeConfig {
    /// Checks the numbers.
    pub fn validate(self) -> Result<Self, ConfigError> {
        if self.max_hedges == 0 {
            return Err(ConfigError::new("max_hedges", "be at least 1 (no hedge at all is hedge=None)", 0));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_have_names() {
        assert_eq!(After::from_name("p95"), Some(After::Percentile(0.95)));
        assert_eq!(After::from_name("p99"), Some(After::Percentile(0.99)));
        for wrong in ["p0", "p100", "95", "p", "pp", "pNaN", "p-5", "pinf"] {
            assert_eq!(After::from_name(wrong), None, "{wrong}");
        }
    }
}
