//! The lock beside the limits' atomics: one interface for ours and for the model checker's.

#[cfg(loom)]
use loom::sync::{Mutex, MutexGuard};
#[cfg(not(loom))]
use parking_lot::{Mutex, MutexGuard};

/// Held for a few instructions, while nobody is called.
#[derive(Debug, Default)]
pub(super) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    /// Waits for it.
    #[cfg(not(loom))]
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }

    /// Waits for it. A model that panicked is at its end anyway.
    #[cfg(loom)]
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
