//! Holdfast: fault tolerance for LLM applications.
//!
//! **The core decides; it never waits, reads a clock, rolls unseeded dice, calls a listener or touches
//! Python.** It takes `(input, now, dice)` and returns a step and a list of events; the drivers above it
//! do the waiting. The same code therefore runs under sync Python, async Python, threads, and a simulated
//! world in the tests.
//!
//! Arrows only point down:
//!
//! ```text
//!  python    translation and the native drivers                 (feature "python")
//!  runtime   every side effect: clock, tokio, dispatch
//!  pipeline  one call, from admission to answer
//!  policy    what to do about a call  |  pool  what to think of a node   (blind to each other)
//!  window    memory of recent outcomes
//!  base      the shared words: time, dice, ids, verdict, event, error    (std only)
//! ```
#![cfg_attr(not(feature = "python"), forbid(unsafe_code))]

pub mod base;
pub mod pipeline;
pub mod policy;
pub mod pool;
#[cfg(feature = "python")]
mod python;
// Tokio has no network under the model checker; nothing that is model-checked is in this layer.
#[cfg(not(loom))]
pub mod runtime;
pub mod window;
