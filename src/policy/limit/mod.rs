//! Limits: how many calls may run at once, and how many in a stretch of time.
//!
//! Why they exist: a callee that is asked for more than it can do gets slower for everybody, and one that is
//! paid by quota says no. Both are cheaper to find out here than over the network: a call that would not have
//! been served waits in line, or is refused at once.
//!
//! | file | what |
//! |---|---|
//! | `place` | where somebody stands in line, and how they are called |
//! | `slots` | the counter of calls under way, and the line before it |
//! | `concurrency` | the bulkhead (a fixed number of slots), and the limit that finds its own |
//! | `adaptive` | the law by which that one grows and shrinks (AIMD) |
//! | `priority` | how important a call is, and what is kept from the least important |
//! | `quota` | how much a rate limit allows |
//! | `rate` | requests, or weighted permits such as tokens, per time (GCRA) |
//!
//! A slot is taken by one compare-and-swap while nobody waits. Whoever gives one back while somebody does
//! hands it to the first in line, who is called by a [`Waker`](std::task::Waker) that the door returns: the
//! wake-up belongs to the caller of the door, who does it outside of every lock. One line serves threads and
//! tasks of any loop alike (L3, R4).
//!
//! What they do not do: wait, read a clock, or know what a call is. Who stands in line and is not there any
//! more must [leave](concurrency::Concurrency::leave); whoever has a slot must give it back.

pub mod adaptive;
pub mod concurrency;
mod lock;
pub mod place;
mod priority;
mod quota;
pub mod rate;
pub mod slots;

pub use concurrency::{Concurrency, ConcurrencyConfig, Outcome, Slot};
pub use place::Place;
pub use priority::Priority;
pub use quota::RateConfig;
pub use rate::{Rate, Ration};
