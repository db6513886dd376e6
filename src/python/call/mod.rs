//! The native drivers: they carry out what the pipeline's machine decides.
//!
//! ```text
//!  Guard.__call__ ─ colour ─┬─ function           function.rs      blocks, lets go of the GIL to wait
//!                           ├─ coroutine function coroutine.rs     an awaitable that resumes the user's
//!                           ├─ generator          generator.rs     an iterator around the user's
//!                           └─ async generator    async_stream     an async iterator around the user's
//! ```
//!
//! Every driver is the same loop: ask the [`Execution`](crate::pipeline::Execution) for a step, do it, report
//! back. None decides anything. What they share is in `under_way.rs` (one call and what it holds), `callee.rs`
//! (what to call), `resume.rs` (one step of somebody's awaitable), `alarm.rs` (our own clocks in asyncio),
//! `scope.rs` and `context.rs` (what the user's code can learn of its call) and `flow.rs` (what a stream hands out, and when).
//! `quick_state.rs` is no driver: it is here because it needs unsafe code.

mod alarm;
mod arguments;
mod async_stream;
mod attempts;
mod awaitable;
mod broken;
mod by_hand;
mod callee;
mod context;
mod coroutine;
mod first;
mod flow;
mod foreign;
mod function;
mod generator;
mod guard;
mod hedging;
mod history;
mod key;
mod plain;
mod quick_state;
mod race;
mod racing;
mod raised;
mod raw;
mod refusal;
mod rest;
mod resume;
mod scope;
mod stream;
mod substitute;
mod under_way;
mod wait;

pub use async_stream::{AsyncStream, StreamStep};
pub use attempts::{Attempts, Block, NextAttempt};
pub use awaitable::Awaitable;
pub use by_hand::ByHand;
pub use callee::{Callee, Colour, NodeTargets, Targets};
pub use guard::{Guard, GuardRef, Wiring};
pub use hedging::Hedging;
pub use quick_state::quicken_state;
pub use race::Race;
pub use raw::Class;
pub use rest::{Rest, apause, pause};
pub use scope::{Scope, deadline_scope, priority_scope};
pub use stream::Stream;
pub use substitute::Substitute;
pub use under_way::{admit, moment};
pub use wait::signal;

use pyo3::Python;

/// Makes the classes that are not in the module. PyO3 would make them at first use under a lock, which a fork
/// could catch.
pub fn make_classes(py: Python<'_>) {
    py.get_type::<alarm::Ringer>();
    py.get_type::<wait::Settle>();
    py.get_type::<wait::Token>();
}
