//! The native drivers: they carry out what the pipeline's machine decides.
//!
//! ```text
//!  Guard.__call__ ─ colour ─┬─ function           function.rs      blocks, lets go of the GIL to wait
//!                           ├─ coroutine function coroutine.rs     an awaitable that resumes the user's
//!                           ├─ generator          generator.rs     an iterator around the user's
//!                           └─ async generator    async_stream.rs  an async iterator around the user's
//! ```
//!
//! Every driver is the same loop: ask the [`Execution`](crate::pipeline::Execution) for a step, do it, report
//! back. None decides anything. What they share is in `call.rs` (one call and what it holds), `callee.rs`
//! (what to call), `resume.rs` (one step of somebody's awaitable) and `alarm.rs` (our own clocks in asyncio).

mod alarm;
mod async_stream;
mod call;
mod callee;
mod coroutine;
mod function;
mod generator;
mod guard;
mod resume;
mod wait;

pub use async_stream::{AsyncStream, StreamStep};
pub use call::moment;
pub use callee::{Callee, Colour, NodeTargets, Targets};
pub use coroutine::Drive;
pub use generator::Stream;
pub use guard::{ByHand, Guard, Wiring};
