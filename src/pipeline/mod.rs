//! One call, from admission to answer.
//!
//! The order of the policies, outer to inner, as one formula:
//!
//! ```text
//! deadline( fallback( attempts[ budget · pick a node ](
//!     breaker( rates( slots( attempt, first-item and idle clock( the call )))))))
//! ```
//!
//! Why this order: the deadline bounds everything, waiting too; attempts sit outside the breaker, so that it
//! sees every attempt and an open one moves the call on instead of letting it sleep; back-off holds no permit.
//! The breaker is looked at before the limits, so that an open one costs no quota, and its permit is taken after
//! them, so that nobody holds one while they wait in line.
//! Retry, failover and hedge are one loop with one budget, one deadline and one commit point: retry asks *when*,
//! failover *where*, hedge *also* (`race.rs`).
//!
//! ```text
//!             start            record(failure), another node or retry
//!               │            ┌───────────────────────────────┐
//!               ▼            ▼                               │
//!   Sleep ◄── pick, admit ──► Attempt ── record(ok) ──► Finish(Return)
//!     │  wake  ▲     │           └────── record(failure, nothing left) ──► Finish(Raise)
//!     └────────┘     └─ nobody may be asked ──► Finish(Reject)
//! ```
//!
//! An end other than `Return` becomes `FallBack` where there is a fallback and nothing was handed out yet.
//!
//! It does not call the user's function, wait, read a clock or judge an exception: the driver does, and
//! reports back. A policy that is not configured costs nothing.

mod attempts;
mod execution;
mod gates;
mod nobody;
mod outside;
mod passing;
mod plan;
mod quota;
mod race;
mod roster;
mod step;

pub use execution::{Execution, Moment};
pub use gates::{Costs, Limits};
pub use passing::Taken;
pub use plan::{Exhausted, Plan, Target};
pub use roster::{Roster, Tally};
pub use step::{Attempt, Finish, Pause, Step, Tried};
