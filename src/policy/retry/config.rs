//! What a retry policy is made of.

use std::sync::Arc;
use std::time::Duration;

use super::{Backoff, Budget};
use crate::base::ConfigError;

/// The fields of a retry policy; everything that changes during a call belongs to the call (A6).
#[derive(Clone, Debug)]
pub struct RetryConfig {
    /// Attempts per call over all nodes, the first included; at least 1. Default 3.
    pub attempts: u32,
    /// The wait before a node is asked again.
    pub backoff: Backoff,
    /// The budget that retries draw on; none: unlimited.
    pub budget: Option<Arc<Budget>>,
    /// No attempt starts later than this after the call began; none: no such bound.
    pub max_elapsed: Option<Duration>,
    /// Whether a wait the callee asked for is waited. Default yes.
    pub respect_retry_after: bool,
    /// The longest such wait inside a call. Default 60 s, the cap that the stricter clients use.
    pub retry_after_cap: Duration,
    /// Retry even what an inner guarded call has given up on (A2). Default no.
    pub nested: bool,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff: Backoff::default(),
            budget: None,
            max_elapsed: None,
            respect_retry_after: true,
            retry_after_cap: Duration::from_mins(1),
            nested: false,
        }
    }
}

impl RetryConfig {
    /// Checks the numbers.
    pub fn validate(self) -> Result<Self, ConfigError> {
        if self.attempts == 0 {
            return Err(ConfigError::new("attempts", "be at least 1: the first attempt counts", 0));
        }
        if self.max_elapsed.is_some_and(|span| span.is_zero()) {
            return Err(ConfigError::new("max_elapsed", "be positive", 0));
        }
        self.backoff.validate()?;
        Ok(self)
    }
}
