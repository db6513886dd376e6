//! The one door for time: the system's clock, or one that a test moves by hand.
//!
//! Why it exists: what reads time here, and waits here, is tested without waiting. In manual mode time
//! stands still until [`advance`] moves it, from one due waiter to the next: each is woken at exactly
//! its time and finishes what it woke for before time goes on.
//!
//! ```text
//!   system ──install_manual──▶ manual (time stands still, starting from the system's)
//!     ▲                          │ advance(d): fire the first due waiter ─▶ wait until nobody is busy ─┐
//!     └──────remove_manual───────┘              ▲──────────────────────────────────────────────────────┘
//! ```
//!
//! A waiter that is woken holds a [`Busy`] until it waits again or is done; while one is held, time
//! does not go on. When the mode changes, everybody who waits is woken, reads the clock, and waits anew.
//! Time never runs backwards, not even when the manual clock is removed far ahead of the system's: the
//! system's then goes on from there.
//!
//! What it deliberately does not do: the wall clock decides nothing (B12); [`wall`] is for stamps only.

#[cfg(test)]
pub(crate) mod tests;
mod timers;
mod wait;

pub use timers::{Busy, Callback, TimerHandle, call_at};
pub use wait::{Bell, Waited, sleep_until, wait_for, wait_until};

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::base::Time;
use timers::station;

static MANUAL: AtomicBool = AtomicBool::new(false);
/// The manual clock's time. Written under the station's lock.
static MANUAL_NOW: AtomicU64 = AtomicU64::new(0);
/// Wall time at the manual clock's zero, in nanoseconds since 1970.
static MANUAL_WALL: AtomicU64 = AtomicU64::new(0);
/// How far the system's clock was put ahead by manual clocks.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// Why time could not be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockError {
    /// No manual clock is installed.
    NotManual,
    /// A manual clock is installed already.
    AlreadyManual,
    /// Another `advance` is under way.
    Advancing,
}

impl fmt::Display for ClockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotManual => "no manual clock is installed",
            Self::AlreadyManual => "a manual clock is installed already",
            Self::Advancing => "the manual clock is being advanced already",
        })
    }
}

impl std::error::Error for ClockError {}

/// This moment.
#[must_use]
pub fn now() -> Time {
    if is_manual() { Time::from_nanos(MANUAL_NOW.load(Ordering::Acquire)) } else { system_now() }
}

/// The wall clock, for stamps. In manual mode it moves with the manual clock.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one door for the wall clock")]
pub fn wall() -> SystemTime {
    if is_manual() {
        let nanos = MANUAL_WALL.load(Ordering::Acquire).saturating_add(now().as_nanos());
        UNIX_EPOCH + Duration::from_nanos(nanos)
    } else {
        SystemTime::now()
    }
}

/// How far manual clocks, since removed, have put the present ahead of the system's.
#[must_use]
pub fn ahead() -> Duration {
    Duration::from_nanos(AHEAD.load(Ordering::Acquire))
}

/// Is time moved by hand?
#[must_use]
pub fn is_manual() -> bool {
    MANUAL.load(Ordering::Acquire)
}

/// From now on time stands still until [`advance`] moves it, in the whole process.
pub fn install_manual() -> Result<(), ClockError> {
    let waiters = {
        let mut timers = station().timers();
        if is_manual() {
            return Err(ClockError::AlreadyManual);
        }
        let (now, wall) = (now(), wall());
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(now.since(Time::ZERO));
        MANUAL_NOW.store(now.as_nanos(), Ordering::Release);
        MANUAL_WALL.store(u64::try_from(wall.as_nanos()).unwrap_or(0), Ordering::Release);
        MANUAL.store(true, Ordering::Release);
        timers.take_all()
    };
    waiters.into_iter().for_each(timers::fire);
    Ok(())
}

/// From now on time is the system's again, and not earlier than it has been.
pub fn remove_manual() -> Result<(), ClockError> {
    let waiters = {
        let mut timers = station().timers();
        if !is_manual() {
            return Err(ClockError::NotManual);
        }
        let ahead = now().since(system_now());
        AHEAD.fetch_add(u64::try_from(ahead.as_nanos()).unwrap_or(0), Ordering::AcqRel);
        MANUAL.store(false, Ordering::Release);
        timers.take_all()
    };
    waiters.into_iter().for_each(timers::fire);
    Ok(())
}

/// Moves the manual clock by `span`, waking everybody whose time comes on the way, each at its time.
///
/// After each step it waits until everybody is done with what they woke for, and for at most two
/// seconds of real time: one that hangs for good delays time once. `settle` is called at least once per
/// step, and every millisecond while it waits: the place to let other threads run or a loop turn.
pub fn advance(span: Duration, settle: &mut dyn FnMut()) -> Result<(), ClockError> {
    let _turn = station().begin_advance()?;
    let target = now().after(span);
    loop {
        station().settle(settle);
        if !step_towards(target)? {
            station().settle(settle);
            return Ok(());
        }
    }
}

/// One step of [`advance`], for those who settle in their own way (an event loop): wakes the first
/// waiter due by `target`, at its time, and says true; or moves time to `target` and says false.
pub fn step_towards(target: Time) -> Result<bool, ClockError> {
    let waiter = {
        let mut timers = station().timers();
        if !is_manual() {
            return Err(ClockError::NotManual);
        }
        let next = timers.take_first(target);
        let moment = next.as_ref().map_or(target, |&(due, _)| due).max(now());
        MANUAL_NOW.store(moment.as_nanos(), Ordering::Release);
        next
    };
    let woken = waiter.is_some();
    if let Some((_, waiter)) = waiter {
        timers::fire(waiter);
    }
    Ok(woken)
}

/// How many of those who were woken are not done yet.
#[must_use]
pub fn busy() -> usize {
    station().busy()
}

/// Makes what would otherwise be made at first use: a fork must not catch it half-made.
pub(super) fn prepare_fork() {
    let _ = (station(), system_now());
}

#[expect(clippy::disallowed_methods, reason = "this is the one door for time")]
fn system_now() -> Time {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let nanos = ORIGIN.get_or_init(Instant::now).elapsed().as_nanos();
    let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
    Time::from_nanos(nanos.saturating_add(AHEAD.load(Ordering::Acquire)))
}
