//! What one guarded call is made of: the policies, compiled once and shared by all calls.

use std::sync::Arc;
use std::time::Duration;

use super::{Limits, Roster};
use crate::base::{Source, Time};
use crate::policy::breaker::{Breaker, Keyed};
use crate::policy::fallback::FallbackConfig;
use crate::policy::hedge::Hedge;
use crate::policy::retry::{Backoff, RetryConfig};
use crate::policy::timeout::{Expiry, Phase, TimeoutConfig, Which};

/// What to do when no node may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exhausted {
    /// Refuse at once.
    FailFast,
    /// Wait for the earliest node within the deadline; without a deadline, refuse at once.
    #[default]
    Wait,
    /// Ask one anyway, unless it is draining or disabled by hand.
    TryAnyway,
}

impl Exhausted {
    /// The policy called `name`: "fail_fast", "wait" or "try_anyway".
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "fail_fast" => Some(Self::FailFast),
            "wait" => Some(Self::Wait),
            "try_anyway" => Some(Self::TryAnyway),
            _ => None,
        }
    }
}

/// Whom a call asks.
#[derive(Clone, Debug, Default)]
pub enum Target {
    /// The function itself.
    #[default]
    Bare,
    /// The function, behind one breaker.
    Breaker(Arc<Breaker>),
    /// The function, behind the breaker of the call's key.
    Keyed(Arc<Keyed>),
    /// One of a pool's nodes, each behind its own breaker.
    Roster(Arc<Roster>),
}

/// The compiled policies of a guard.
#[derive(Debug)]
pub struct Plan {
    /// In whose name the call's own events are sent.
    pub source: Source,
    /// When to make further attempts; none: only untried nodes are asked.
    pub retry: Option<RetryConfig>,
    /// The clocks.
    pub timeout: TimeoutConfig,
    /// The limits that every attempt must pass.
    pub limits: Limits,
    /// Whom to ask.
    pub target: Target,
    /// What to do when no node may be asked.
    pub exhausted: Exhausted,
    /// Whether another answer is given when all this has failed; none: the failure is raised.
    pub fallback: Option<FallbackConfig>,
    /// When one more attempt is made beside one that is slow; none: never.
    pub hedge: Option<Arc<Hedge>>,
    /// The most attempts, whatever the policies allow; none: as many as they do.
    pub cap: Option<u32>,
}

impl Plan {
    /// A plan with nothing configured: the call is only passed on.
    #[must_use]
    pub fn bare(source: Source) -> Self {
        Self {
            source,
            retry: None,
            timeout: TimeoutConfig::default(),
            limits: Limits::default(),
            target: Target::Bare,
            exhausted: Exhausted::default(),
            fallback: None,
            hedge: None,
            cap: None,
        }
    }

    /// The same plan while users test their own code: at most `attempts` of them, and no waits between them.
    #[must_use]
    pub fn for_tests(&self, attempts: u32) -> Self {
        let at_once = |retry: &RetryConfig| RetryConfig {
            backoff: Backoff::Constant(Duration::ZERO),
            respect_retry_after: false,
            ..retry.clone()
        };
        Self {
            source: self.source.clone(),
            retry: self.retry.as_ref().map(at_once),
            limits: self.limits.clone(),
            target: self.target.clone(),
            hedge: self.hedge.clone(),
            cap: Some(attempts),
            ..*self
        }
    }

    /// How many attempts a call may make: with no retry policy, one, or one for each of a pool's nodes.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        let allowed = match (&self.retry, &self.target) {
            (Some(retry), _) => retry.attempts,
            (None, Target::Roster(_)) => u32::MAX,
            (None, _) => 1,
        };
        self.cap.map_or(allowed, |cap| allowed.min(cap))
    }

    /// The moment by which a call that begins at `began` must be over.
    #[must_use]
    pub fn deadline(&self, began: Time) -> Option<Expiry> {
        self.timeout.total.map(|limit| Expiry { at: began.after(limit), which: Which::Total, limit })
    }

    /// The clock that a first attempt which answers at `now` has missed, if it and its call began at `began`.
    #[must_use]
    pub fn missed(&self, began: Time, now: Time) -> Option<Expiry> {
        let clock = self.timeout.binding(Phase::Answer, self.deadline(began), began, began);
        clock.filter(|expiry| expiry.at < now)
    }

    /// A first attempt has succeeded: the budget earns (A3).
    pub fn deposit(&self) {
        if let Some(budget) = self.retry.as_ref().and_then(|retry| retry.budget.as_ref()) {
            budget.deposit();
        }
    }

    /// The longest wait inside a call that the callee may ask for; none: such wishes are not heard.
    #[must_use]
    pub fn wish_cap(&self) -> Option<Duration> {
        self.retry.as_ref().filter(|r| r.respect_retry_after).map(|r| r.retry_after_cap)
    }
}
