//! The policies as Python values: they check what they are given and hold the core's state.
//!
//! The public classes of the same names subclass them to add docstrings, types and the decorator form.

mod breaker;
mod chaos;
mod hedge;
mod limit;
mod pipeline;
mod retry;
mod timeout;
mod weights;

pub use breaker::{BreakerMetrics, CircuitBreaker, GuardStep, Permit};
pub use chaos::Chaos;
pub use hedge::HedgePolicy;
pub use limit::{ConcurrencyLimit, LimitMetrics, RateLimit, RateMetrics, limits};
pub use pipeline::{Answers, Parts, Pipeline};
pub use retry::{Backoff, Retry, RetryBudget};
pub use timeout::Timeout;
pub use weights::{Meter, Weights};
