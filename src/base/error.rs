//! The errors of our own making: bad configuration, and the refusal to try.

use std::fmt;
use std::time::Duration;

use super::Source;

/// A field of a configuration that breaks a rule. It names all three: field, rule and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field's name as the user wrote it.
    pub field: &'static str,
    /// What it must be, as the end of "must …".
    pub rule: String,
    /// What it was.
    pub value: String,
}

impl ConfigError {
    /// `field` must `rule`, but was `value`.
    pub fn new(field: &'static str, rule: impl Into<String>, value: impl fmt::Display) -> Self {
        Self { field, rule: rule.into(), value: value.to_string() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must {}, got {}", self.field, self.rule, self.value)
    }
}

impl std::error::Error for ConfigError {}

/// Why we did not even try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectionKind {
    /// The breaker is open, or all its probes are out.
    CircuitOpen,
    /// No node of the pool is ready.
    NoNodeReady,
    /// A rate limit has no room before the deadline.
    RateLimited,
    /// A concurrency limit and its queue are full.
    BulkheadFull,
    /// The retry budget is empty.
    BudgetExhausted,
}

/// A refusal to try, with what the caller needs to act on it.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// Which refusal.
    pub kind: RejectionKind,
    /// Why, in a few words: "open", "half_open", "forced_open", …
    pub reason: &'static str,
    /// After how long it is worth asking again, if that is known.
    pub retry_after: Option<Duration>,
    /// Who refused.
    pub source: Source,
    /// More to say, where there is more: why each node of a pool was not ready (P16).
    pub detail: Option<Box<str>>,
}

impl Rejection {
    /// A refusal by `source`.
    #[must_use]
    pub const fn new(
        kind: RejectionKind,
        reason: &'static str,
        retry_after: Option<Duration>,
        source: Source,
    ) -> Self {
        Self { kind, reason, retry_after, source, detail: None }
    }
}
