//! Fallback: another answer, because the call has failed (graceful degradation).
//!
//! Why it exists: an answer of yesterday, or an honest "not now", often serves the user better than an error.
//! What the answer is, the driver's side knows; here is only when there may be one. Not for what a further
//! answer would hide: the caller's own faults and programming errors are raised as they are, unless asked for.

use crate::base::FailureKind;

/// When a fallback answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FallbackConfig {
    /// Does whoever made it look at each error himself? Then every one is shown to him.
    pub asked: bool,
}

impl FallbackConfig {
    /// Is a failure of this kind covered?
    #[must_use]
    pub const fn covers(self, kind: FailureKind) -> bool {
        use FailureKind::{Bug, Context, Policy, Request};
        // What the caller has done wrong, a substitute would only hide from him.
        self.asked || !matches!(kind, Request | Context | Policy | Bug)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_own_faults_are_covered_only_if_asked_for() {
        let (plain, asked) = (FallbackConfig::default(), FallbackConfig { asked: true });
        for kind in [FailureKind::Request, FailureKind::Policy, FailureKind::Context, FailureKind::Bug] {
            assert!(!plain.covers(kind), "{kind:?}");
            assert!(asked.covers(kind), "{kind:?}");
        }
        for kind in [FailureKind::Unknown, FailureKind::Server, FailureKind::Timeout, FailureKind::Rejected] {
            assert!(plain.covers(kind), "{kind:?}");
        }
    }
}
