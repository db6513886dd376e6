//! What a fork does to us (R2): the child gets everything anew, and frees nothing of its parent's.
//!
//! A forked child has one thread, the one that forked. Locks that other threads held stay locked in it
//! for ever, and a runtime whose threads are gone can be neither used nor dropped. So whatever threads
//! of ours share is held in a [`PerProcess`]: the child leaks the inherited one and makes its own.
//!
//! Pools and breakers are inherited as they are. Their locks are safe because Python threads hold them
//! only while they hold the interpreter, which the forking thread does at that moment, and because our
//! own background threads hold them only inside [`quiet`], which [`before_fork`] waits for and keeps.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, MutexGuard};

static GENERATION: AtomicUsize = AtomicUsize::new(0);
static GATE: PerProcess<Mutex<()>> = PerProcess::new(|| Mutex::new(()));

thread_local! {
    /// The gate, held by the forking thread from before the fork until after it.
    static HELD: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// How many forks lie between the first process and this one.
#[must_use]
pub fn generation() -> usize {
    GENERATION.load(Ordering::Acquire)
}

/// To be called in the parent, by the forking thread, just before a fork.
pub fn before_fork() {
    // What is being made by another thread right now would stay half-made in the child for ever.
    super::clock::prepare_fork();
    super::dispatch::prepare_fork();
    super::engine::prepare_fork();
    super::errands::prepare_fork();
    let guard = GATE.get().lock();
    HELD.with(|held| held.borrow_mut().replace(guard));
}

/// To be called in the parent, by the forking thread, just after a fork, or after one that failed.
pub fn after_fork_in_parent() {
    HELD.with(|held| held.borrow_mut().take());
}

/// To be called in the child, by its only thread, just after a fork.
pub fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    // The gate is the parent's. It stays locked for ever, and nobody asks for it again.
    HELD.with(|held| held.borrow_mut().take().map(std::mem::forget));
}

/// Held by background threads of ours for each short moment in which they touch what calls share, so
/// that no fork catches them in it.
pub fn quiet() -> MutexGuard<'static, ()> {
    GATE.get().lock()
}

/// A value that each process makes for itself.
///
/// It is a list that grows by one at each fork: the value of this process is the one at its
/// generation. Nothing is ever taken out, so nothing inherited is ever dropped.
pub(super) struct PerProcess<T: 'static> {
    make: fn() -> T,
    first: OnceLock<Link<T>>,
}

struct Link<T> {
    value: T,
    next: OnceLock<Box<Self>>,
}

impl<T> Link<T> {
    fn new(make: fn() -> T) -> Self {
        Self { value: make(), next: OnceLock::new() }
    }
}

impl<T> PerProcess<T> {
    /// `make` makes the value when a process first asks for it. It should be quick and cannot fail.
    pub(super) const fn new(make: fn() -> T) -> Self {
        Self { make, first: OnceLock::new() }
    }

    /// The value of this process.
    pub(super) fn get(&self) -> &T {
        let mut link = self.first.get_or_init(|| Link::new(self.make));
        for _ in 0..generation() {
            link = link.next.get_or_init(|| Box::new(Link::new(self.make)));
        }
        &link.value
    }
}
