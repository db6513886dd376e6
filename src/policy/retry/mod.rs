//! Retry: *when* to make another attempt, how long to wait before it, and when to stop asking.
//!
//! Why it exists: retries are the cheapest cure for a blip and the fuel of an outage. The wait is
//! jittered after its cap, so that clients never march in step (A4); the budget is shared by all calls to
//! a target, so that a full outage costs about one request a call (A3); the state belongs to one call (A6).
//!
//! It does not wait, does not pick a node, and does not judge failures: the pipeline brings the verdict,
//! the dice and the time.

mod backoff;
mod budget;
mod config;

pub use backoff::{Backoff, Jitter};
pub use budget::Budget;
pub use config::RetryConfig;
