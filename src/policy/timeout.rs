//! Timeouts: which of the clocks of a call binds, and when it expires.
//!
//! Four clocks: *total* over the whole call, queueing and back-off included; *attempt* over one attempt;
//! *first item* over the wait for a stream's first content item; *idle* over each later gap. The last
//! three run only while we wait for the callee, never in the consumer's time.

use std::time::Duration;

use crate::base::{ConfigError, Time};

/// The limits; none means that the clock is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutConfig {
    /// Over the whole call.
    pub total: Option<Duration>,
    /// Over one attempt.
    pub attempt: Option<Duration>,
    /// Until a stream's first item.
    pub first_item: Option<Duration>,
    /// Between two items of a stream.
    pub idle: Option<Duration>,
    /// What happens to a value that arrives after the deadline: `false` returns it, `true` raises.
    pub late_raises: bool,
}

/// One of the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Over the whole call.
    Total,
    /// Over one attempt.
    Attempt,
    /// Until a stream's first item.
    FirstItem,
    /// Between two items of a stream.
    Idle,
}

impl Which {
    /// The clock's name, as Python users read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Attempt => "attempt",
            Self::FirstItem => "first_item",
            Self::Idle => "idle",
        }
    }
}

/// A moment at which a clock expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// When.
    pub at: Time,
    /// Which clock it is.
    pub which: Which,
    /// The limit it was set to.
    pub limit: Duration,
}

/// Where a call stands, as far as its clocks are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for an answer that is not a stream.
    Answer,
    /// Waiting for a stream's first item.
    FirstItem,
    /// Waiting for a later item.
    NextItem,
}

impl TimeoutConfig {
    /// Checks the numbers: a limit of zero would refuse every call.
    pub fn validate(self) -> Result<Self, ConfigError> {
        let limits = [
            ("total", self.total),
            ("attempt", self.attempt),
            ("first_item", self.first_item),
            ("idle", self.idle),
        ];
        for (field, limit) in limits {
            if limit.is_some_and(|span| span.is_zero()) {
                return Err(ConfigError::new(field, "be positive", 0));
            }
        }
        Ok(self)
    }

    /// Is any clock on?
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.total.is_some() || self.attempt.is_some() || self.first_item.is_some() || self.idle.is_some()
    }

    /// The clock that expires first, given when the call and its attempt began and since when we have
    /// been waiting for the callee.
    #[inline]
    #[must_use]
    pub fn binding(
        &self,
        phase: Phase,
        call: Option<Expiry>,
        attempt_began: Time,
        waiting_since: Time,
    ) -> Option<Expiry> {
        let clock = |limit: Option<Duration>, from: Time, which| {
            limit.map(|limit| Expiry { at: from.after(limit), which, limit })
        };
        let attempt = match phase {
            Phase::NextItem => None,
            Phase::Answer | Phase::FirstItem => clock(self.attempt, attempt_began, Which::Attempt),
        };
        let gap = match phase {
            Phase::Answer => None,
            Phase::FirstItem => clock(self.first_item, waiting_since, Which::FirstItem),
            Phase::NextItem => clock(self.idle, waiting_since, Which::Idle),
        };
        nearer(nearer(call, attempt), gap)
    }
}

/// Of two clocks the one that expires first; of two that expire at once the first one.
#[inline]
fn nearer(one: Option<Expiry>, other: Option<Expiry>) -> Option<Expiry> {
    match (one, other) {
        (Some(one), Some(other)) if other.at < one.at => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_earliest_clock_binds() {
        let config = TimeoutConfig {
            attempt: Some(5 * S),
            first_item: Some(2 * S),
            idle: Some(S),
            ..TimeoutConfig::default()
        };
        let at = |phase, waiting| {
            config.binding(phase, None, Time::ZERO, Time::from_millis(waiting)).unwrap().which
        };
        assert_eq!(at(Phase::Answer, 0), Which::Attempt);
        assert_eq!(at(Phase::FirstItem, 0), Which::FirstItem);
        assert_eq!(at(Phase::FirstItem, 4000), Which::Attempt);
        assert_eq!(at(Phase::NextItem, 4000), Which::Idle);
    }

    #[test]
    fn zero_is_refused_by_name() {
        let config = TimeoutConfig { idle: Some(Duration::ZERO), ..TimeoutConfig::default() };
        assert_eq!(config.validate().unwrap_err().field, "idle");
    }
}
