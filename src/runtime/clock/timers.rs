//! Who waits for the manual clock, and who is busy with what it woke them for.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{ClockError, is_manual, now};
use crate::base::Time;
use crate::runtime::process::PerProcess;

/// How long [`super::advance`] waits, in real time, for somebody who was woken. Long enough for a probe
/// over loopback on a loaded machine, short enough for a test that hangs to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it lets others run meanwhile.
const SETTLE_EVERY: Duration = Duration::from_millis(1);

static STATION: PerProcess<Station> = PerProcess::new(Station::default);

/// What is called when the time has come, or when the mode of the clock has changed: the callee reads
/// the clock. It runs on the thread that moves the clock, with no lock held.
pub type Callback = Box<dyn FnOnce(Busy) + Send>;

/// Everybody who waits in this process.
#[derive(Default)]
pub(super) struct Station {
    timers: Mutex<Timers>,
    work: Mutex<Work>,
    work_done: Condvar,
}

/// Waiters in the order of their times; those of equal times in the order they came.
#[derive(Default)]
pub(super) struct Timers {
    waiting: BTreeMap<(Time, u64), Callback>,
    arrivals: u64,
}

#[derive(Default)]
struct Work {
    busy: usize,
    /// Those that were waited for in vain: they are not waited for again.
    given_up: usize,
    advancing: bool,
}

pub(super) fn station() -> &'static Station {
    STATION.get()
}

pub(super) fn fire(waiter: Callback) {
    waiter(Busy::new());
}

/// Has `callback` called by the manual clock at `due`, or before that if the mode of the clock changes.
/// If the manual clock is at `due` already it is called at once, before this returns.
///
/// In system mode nobody is called when `due` comes: whoever waits then has a timer of their own.
/// Dropping the handle forgets the callback.
pub fn call_at(due: Time, callback: Callback) -> TimerHandle {
    let station = station();
    let mut timers = station.timers.lock();
    timers.arrivals += 1;
    let key = (due, timers.arrivals);
    if is_manual() && due <= now() {
        drop(timers);
        fire(callback);
    } else {
        timers.waiting.insert(key, callback);
    }
    TimerHandle { station, key }
}

/// A place among those who wait; given up when dropped.
#[must_use]
pub struct TimerHandle {
    station: &'static Station,
    key: (Time, u64),
}

impl Drop for TimerHandle {
    fn drop(&mut self) {
        if self.station.is_ours() {
            // Dropped outside the lock: it may hold anything.
            let _callback = self.station.timers.lock().waiting.remove(&self.key);
        }
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TimerHandle").field(&self.key.0).finish()
    }
}

/// "I was woken and am not done": while somebody holds one, the manual clock stands still.
///
/// Whoever starts more work on behalf of what woke them gives it a clone. The default one is idle.
#[derive(Default)]
#[must_use]
pub struct Busy(Option<&'static Station>);

impl Busy {
    fn new() -> Self {
        let station = station();
        station.work.lock().busy += 1;
        Self(Some(station))
    }

    /// Holds the manual clock still while something is being started that it does not know of yet.
    pub fn begin() -> Self {
        if is_manual() { Self::new() } else { Self::idle() }
    }

    /// Nobody is waiting for this one.
    pub const fn idle() -> Self {
        Self(None)
    }
}

impl Clone for Busy {
    fn clone(&self) -> Self {
        let ours = self.0.filter(|station| station.is_ours());
        if let Some(station) = ours {
            station.work.lock().busy += 1;
        }
        Self(ours)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(station) = self.0.filter(|station| station.is_ours()) {
            let mut work = station.work.lock();
            work.busy -= 1;
            work.given_up = work.given_up.min(work.busy);
            drop(work);
            station.work_done.notify_all();
        }
    }
}

impl fmt::Debug for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Busy" } else { "Busy(idle)" })
    }
}

impl Station {
    /// False in a forked child for what it inherited: its locks may be held by threads that are not there.
    fn is_ours(&self) -> bool {
        std::ptr::eq(self, station())
    }

    pub(super) fn timers(&self) -> MutexGuard<'_, Timers> {
        self.timers.lock()
    }

    pub(super) fn busy(&self) -> usize {
        self.work.lock().busy
    }

    /// Waits until nobody is busy but those given up before; gives up those who take too long.
    pub(super) fn settle(&self, settle: &mut dyn FnMut()) {
        let mut waited = Duration::ZERO;
        loop {
            settle();
            let mut work = self.work.lock();
            if work.busy <= work.given_up {
                return;
            }
            if waited >= PATIENCE {
                work.given_up = work.busy;
                return;
            }
            if self.work_done.wait_for(&mut work, SETTLE_EVERY).timed_out() {
                waited += SETTLE_EVERY;
            }
        }
    }

    pub(super) fn begin_advance(&'static self) -> Result<Advance, ClockError> {
        if !is_manual() {
            return Err(ClockError::NotManual);
        }
        let mut work = self.work.lock();
        if std::mem::replace(&mut work.advancing, true) {
            return Err(ClockError::Advancing);
        }
        Ok(Advance(self))
    }
}

/// The right to move time; one at a time.
pub(super) struct Advance(&'static Station);

impl Drop for Advance {
    fn drop(&mut self) {
        self.0.work.lock().advancing = false;
    }
}

impl Timers {
    /// The first waiter due by `target`.
    pub(super) fn take_first(&mut self, target: Time) -> Option<(Time, Callback)> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= target)?;
        let ((due, _), callback) = first.remove_entry();
        Some((due, callback))
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Everybody, in order.
    pub(super) fn take_all(&mut self) -> Vec<Callback> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}
