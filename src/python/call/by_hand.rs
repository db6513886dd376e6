//! A keyed breaker that an operator holds.

use std::sync::Arc;

use crate::pipeline::{Plan, Target};
use crate::policy::breaker::Breaker;

/// A keyed breaker as a whole: while it is held by hand, every call goes to it and no key is asked.
#[derive(Debug)]
pub struct ByHand {
    pub(super) whole: Arc<Breaker>,
    pub(super) plan: Arc<Plan>,
}

impl ByHand {
    /// The same plan as `plan`, that asks `whole`.
    pub fn of(whole: Arc<Breaker>, plan: &Plan) -> Self {
        let plan = Plan {
            source: plan.source.clone(),
            retry: plan.retry.clone(),
            timeout: plan.timeout,
            limits: plan.limits.clone(),
            target: Target::Breaker(Arc::clone(&whole)),
            exhausted: plan.exhausted,
            fallback: plan.fallback,
            hedge: plan.hedge.clone(),
            cap: plan.cap,
        };
        Self { whole, plan: Arc::new(plan) }
    }
}
