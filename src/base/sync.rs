//! The atomics of the core: the standard library's, or loom's when a model checker drives them.
//!
//! Everything hand-written over atomics takes them from here, so that one `--cfg loom` puts the very
//! code that ships under the checker.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
