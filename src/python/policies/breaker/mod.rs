//! `CircuitBreaker`: the core's breaker as a Python value.
//!
//! | file | what |
//! |---|---|
//! | `fields` | the configuration, read from Python's values |
//! | `handle` | which of the core's breakers an object is |
//! | `face` | what the class offers: state, metrics, orders, `with` |
//! | `block` | the permit of a guarded block |
//! | `bare` | `with breaker:` without one, and what `async with` awaits |
//! | `lease` | how long a probe may be silent, once the clocks around it are known |
//! | `keys` | one breaker per key, seen as a whole |
//! | `metrics` | the frozen snapshot |
//!
//! It decides nothing: each order and each verdict goes to the core as it is. What it adds is which of the
//! core's breakers is meant: the one it is, or, if it keeps one per key, the key's own. A keyed breaker has
//! one more of its own, the *whole*: while an operator holds the whole by hand, every call goes to it.

mod bare;
mod block;
mod face;
mod fields;
mod handle;
mod keys;
mod lease;
mod metrics;

pub use bare::GuardStep;
pub use block::Permit;
pub use handle::CircuitBreaker;
pub use metrics::BreakerMetrics;
