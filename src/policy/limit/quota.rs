//! How much a rate limit allows.

use std::time::Duration;

use crate::base::ConfigError;

/// The longest a burst may reach ahead: ten years, far from where nanoseconds end.
const LONGEST: f64 = 10.0 * 366.0 * 86_400.0 * 1e9;

/// The fields of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateConfig {
    /// How many permits there are in each `per`.
    pub permits: f64,
    /// The stretch of time. Default 60 s.
    pub per: Duration,
    /// How many may be used at once after a rest; none: as many as there are in one `per`, at least one.
    pub burst: Option<f64>,
}

impl RateConfig {
    /// Checks the numbers.
    pub fn validate(self) -> Result<Self, ConfigError> {
        if self.per.is_zero() {
            return Err(ConfigError::new("per", "be positive", 0));
        }
        for (field, value) in [("requests", self.permits), ("burst", self.burst())] {
            if !(value.is_finite() && value > 0.0) {
                return Err(ConfigError::new(field, "be a finite number above 0", value));
            }
        }
        if self.interval() < 1e-3 || self.interval() * self.burst().max(1.0) > LONGEST {
            return Err(ConfigError::new("requests", "be a rate that can be kept by a clock", self.permits));
        }
        Ok(self)
    }

    /// The burst in force.
    #[must_use]
    pub fn burst(&self) -> f64 {
        self.burst.unwrap_or_else(|| self.permits.max(1.0))
    }

    /// Nanoseconds per permit.
    pub(super) fn interval(&self) -> f64 {
        self.per.as_secs_f64() * 1e9 / self.permits
    }
}
