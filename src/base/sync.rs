//! The atomics of the core: the standard library's, or loom's when a model checker drives them.
//!
//! Everything hand-written over atomics takes them from here, so that one `--cfg loom` puts the very
//! code that ships under the checker.
//!
//! Under a Python with an interpreter lock whoever calls a breaker's doors holds that lock, and does not let go of
//! it in there. So there are never two who change its counters and windows at once, and what would be a locked
//! instruction, five nanoseconds each, is a plain one: [`replace`] and [`add_one`]. They are still atomics, for
//! those who only read, on whichever thread. Without that lock, and without Python, they are what they seem.

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Does the interpreter's lock keep all but one thread out?
const ONE_AT_A_TIME: bool = cfg!(all(feature = "python", not(Py_GIL_DISABLED), not(test), not(loom)));

/// Puts `new` where `old` was read just before, or says what is there by now. It may fail for no reason.
#[inline]
pub fn replace(word: &AtomicU64, old: u64, new: u64) -> Result<(), u64> {
    if ONE_AT_A_TIME {
        word.store(new, Ordering::Release);
        return Ok(());
    }
    word.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
}

/// Adds one.
#[inline]
pub fn add_one(counter: &AtomicU64) {
    if ONE_AT_A_TIME {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    } else {
        counter.fetch_add(1, Ordering::Release);
    }
}
