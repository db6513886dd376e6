//! The clock and the queue of events are the process': tests that use them take turns.

use std::time::Duration;

use holdfast::base::Outbox;
use holdfast::runtime::{clock, dispatch};
use parking_lot::{Mutex, MutexGuard};

static TURN: Mutex<()> = Mutex::new(());

/// A turn under the manual clock, with an empty queue that takes every kind of event.
pub struct ManualTurn(#[expect(dead_code, reason = "held until dropped")] MutexGuard<'static, ()>);

impl ManualTurn {
    pub fn take() -> Self {
        let turn = TURN.lock();
        clock::install_manual().unwrap();
        dispatch::set_interest(Outbox::EVERYTHING);
        let turn = Self(turn);
        turn.events();
        turn
    }

    /// Moves time, and lets the background finish what it is woken for.
    #[expect(clippy::unused_self, reason = "only whoever has the turn may move time")]
    pub fn advance(&self, seconds: f64) {
        clock::advance(Duration::from_secs_f64(seconds), &mut std::thread::yield_now).unwrap();
    }

    /// Everything that happened since the last time.
    #[expect(clippy::unused_self, reason = "only whoever has the turn may take the events")]
    pub fn events(&self) -> Vec<dispatch::Stamped> {
        dispatch::wake();
        dispatch::take(Duration::ZERO).events
    }
}

impl Drop for ManualTurn {
    fn drop(&mut self) {
        dispatch::set_interest(0);
        clock::remove_manual().unwrap();
    }
}
