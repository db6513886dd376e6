//! The time by the kernel's tick: a memory read, where the exact time takes twenty nanoseconds.
//!
//! It lags behind the exact time by at most a tick, 1 to 10 ms by the kernel's configuration, and never runs ahead
//! of it. A breaker whose spans are long enough not to care is asked by it. Where the system has no such clock, it
//! is the exact one.

use std::time::Duration;

use crate::base::Time;
use crate::runtime::clock;

/// More than this it never lags behind the exact time, not even where a busy host holds the kernel's ticks up.
pub const MOST_LAG: Duration = Duration::from_secs(1);

#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
pub fn now() -> Time {
    use std::sync::atomic::{AtomicI64, Ordering};

    /// What the kernel's monotonic clock showed at the origin of ours, plus one; 0: not known yet.
    static ORIGIN: AtomicI64 = AtomicI64::new(0);

    #[cold]
    fn find_origin() -> i64 {
        // The kernel's clock is read after ours: the least of some differences is the one that nothing came
        // between. Ours is read without what manual clocks have put it ahead.
        let difference =
            |_| read(libc::CLOCK_MONOTONIC) - nanos(clock::now()) + nanos(Time::ZERO.after(clock::ahead()));
        let origin = (0..8).map(difference).min().unwrap_or_default().max(0) + 1;
        ORIGIN.store(origin, Ordering::Relaxed);
        origin
    }

    if clock::is_manual() {
        return clock::now();
    }
    let known = ORIGIN.load(Ordering::Relaxed);
    let origin = if known == 0 { find_origin() } else { known };
    let since = read(libc::CLOCK_MONOTONIC_COARSE) - origin + 1;
    Time::from_nanos(since.max(0).unsigned_abs()).after(clock::ahead())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[inline]
pub fn now() -> Time {
    clock::now()
}

/// One of the kernel's clocks, in nanoseconds.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
#[expect(unsafe_code, reason = "the standard library does not read this clock")]
fn read(clock: libc::clockid_t) -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is ours to be written to. Of a clock that is not there nothing is written, which reads as
    // the origin; both clocks have been in Linux since 2.6.32.
    unsafe {
        libc::clock_gettime(clock, &raw mut now);
    }
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn nanos(time: Time) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}
