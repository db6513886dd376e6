//! What a breaker is told once, when it is made.

use std::time::Duration;

use crate::base::ConfigError;
use crate::window::Count;

/// The most probes at a time: the lease slots of a breaker.
pub const MAX_PROBES: u32 = 16;

/// What the rate rules look back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// The last seconds.
    Time(Duration),
    /// The last calls, 1 to 65 536.
    Count(u32),
}

/// The rules of one breaker.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerConfig {
    /// Consecutive failures that open it, from 1; none: rule off. Default 5.
    pub failure_threshold: Option<u32>,
    /// Good probes that close it again, from 1. Default 2: one could be luck.
    pub success_threshold: u32,
    /// How long it stays open before the first probe, above zero. Default 30 s.
    pub open_timeout: Duration,
    /// Probes at the same time, 1 to [`MAX_PROBES`]. Default 1: a callee that is just coming back is not to be flooded.
    pub half_open_max_calls: u32,
    /// The share of failed calls in the window that opens it (at or above), above 0 and at most 1.
    pub failure_rate: Option<f64>,
    /// The share of slow calls in the window that opens it (at or above), above 0 and at most 1. Calls
    /// under way for longer than `slow_call` count as slow already (B22).
    pub slow_call_rate: Option<f64>,
    /// A call that lasts this long or longer is slow; of a stream, the wait for its first item.
    pub slow_call: Option<Duration>,
    /// Calls the window must hold before a rate is judged at all, from 1 (B10). Default 10.
    pub minimum_calls: u32,
    /// What the rates look back on. Default the last 60 s.
    pub window: WindowKind,
    /// What the open time is multiplied by each time it opens again before it has been healthy for long
    /// enough, from 1. Default 1: always the same open time.
    pub open_timeout_factor: f64,
    /// The longest open time that growth and jitter can lead to, from `open_timeout`. Default: no limit.
    pub open_timeout_max: Option<Duration>,
    /// How far the open time is spread, as a fraction of it: ±, 0 to 1. Default 0.
    pub open_timeout_jitter: f64,
    /// How long a probe holds its slot without a sign of life, from one millisecond. Default 300 s.
    pub probe_lease: Duration,
    /// The longest open time that a callee's own Retry-After can ask for. Default 600 s: a callee that
    /// says "tomorrow" is asked once in a while all the same.
    pub cooldown_cap: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failure_threshold: Some(5),
            success_threshold: 2,
            open_timeout: Duration::from_secs(30),
            half_open_max_calls: 1,
            failure_rate: None,
            slow_call_rate: None,
            slow_call: None,
            minimum_calls: 10,
            window: WindowKind::Time(Duration::from_mins(1)),
            open_timeout_factor: 1.0,
            open_timeout_max: None,
            open_timeout_jitter: 0.0,
            probe_lease: Duration::from_mins(5),
            cooldown_cap: Duration::from_mins(10),
        }
    }
}

impl BreakerConfig {
    /// The same, if every field is in its range and none contradicts another.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn validate(self) -> Result<Self, ConfigError> {
        if let Some(n) = self.failure_threshold {
            at_least_one("failure_threshold", n)?;
        }
        at_least_one("success_threshold", self.success_threshold)?;
        at_least_one("minimum_calls", self.minimum_calls)?;
        if !(1..=MAX_PROBES).contains(&self.half_open_max_calls) {
            let rule = format!("be between 1 and {MAX_PROBES}");
            return Err(ConfigError::new("half_open_max_calls", rule, self.half_open_max_calls));
        }
        rate("failure_rate", self.failure_rate)?;
        rate("slow_call_rate", self.slow_call_rate)?;
        if let (Some(rate), None) = (self.slow_call_rate, self.slow_call) {
            return Err(ConfigError::new(
                "slow_call_rate",
                "come with slow_call, which says what is slow",
                rate,
            ));
        }
        self.validate_times()?;
        self.validate_window()?;
        Ok(self)
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        positive("open_timeout", self.open_timeout)?;
        positive("cooldown_cap", self.cooldown_cap)?;
        if let Some(limit) = self.slow_call {
            positive("slow_call", limit)?;
        }
        if self.probe_lease < Duration::from_millis(1) {
            return Err(span("probe_lease", "be at least 0.001 seconds", self.probe_lease));
        }
        let factor = self.open_timeout_factor;
        if !(factor.is_finite() && factor >= 1.0) {
            return Err(ConfigError::new("open_timeout_factor", "be a number from 1", factor));
        }
        let jitter = self.open_timeout_jitter;
        if !(0.0..=1.0).contains(&jitter) {
            return Err(ConfigError::new("open_timeout_jitter", "be between 0 and 1", jitter));
        }
        match self.open_timeout_max {
            Some(max) if max < self.open_timeout => {
                let rule = format!("be at least open_timeout ({} seconds)", self.open_timeout.as_secs_f64());
                Err(span("open_timeout_max", rule, max))
            }
            _ => Ok(()),
        }
    }

    fn validate_window(&self) -> Result<(), ConfigError> {
        match self.window {
            WindowKind::Time(window) => positive("window", window),
            WindowKind::Count(calls) if !(1..=Count::MAX).contains(&calls) => {
                Err(ConfigError::new("window", format!("hold between 1 and {} calls", Count::MAX), calls))
            }
            // Such a rule could never decide: the window would never hold enough calls.
            WindowKind::Count(calls) if self.judges_rates() && self.minimum_calls > calls => {
                let rule = format!("be at most the {calls} calls that the window holds");
                Err(ConfigError::new("minimum_calls", rule, self.minimum_calls))
            }
            WindowKind::Count(_) => Ok(()),
        }
    }

    /// Is a rate rule on, so that there must be a window?
    #[must_use]
    pub const fn judges_rates(&self) -> bool {
        self.failure_rate.is_some() || self.slow_call_rate.is_some()
    }
}

fn at_least_one(field: &'static str, n: u32) -> Result<(), ConfigError> {
    if n == 0 { Err(ConfigError::new(field, "be at least 1", n)) } else { Ok(()) }
}

fn rate(field: &'static str, rate: Option<f64>) -> Result<(), ConfigError> {
    match rate {
        Some(rate) if !(rate > 0.0 && rate <= 1.0) => {
            Err(ConfigError::new(field, "be above 0 and at most 1", rate))
        }
        _ => Ok(()),
    }
}

fn positive(field: &'static str, time: Duration) -> Result<(), ConfigError> {
    if time.is_zero() { Err(span(field, "be above 0 seconds", time)) } else { Ok(()) }
}

fn span(field: &'static str, rule: impl Into<String>, value: Duration) -> ConfigError {
    ConfigError::new(field, rule, value.as_secs_f64())
}
