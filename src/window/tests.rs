//! The windows against brute force.

use std::time::Duration;

use super::timed::BUCKETS;
use super::*;
use crate::base::sync::{AtomicU64, Ordering};
use crate::base::{Dice, SplitMix};

const SECOND: Duration = Duration::from_secs(1);
const GOOD: Mark = Mark { failed: false, slow: false };
const BAD: Mark = Mark { failed: true, slow: false };

fn tally(marks: impl IntoIterator<Item = Mark>) -> Tally {
    marks.into_iter().fold(Tally::default(), |sum, mark| Tally {
        calls: sum.calls + 1,
        failures: sum.failures + u64::from(mark.failed),
        slow: sum.slow + u64::from(mark.slow),
    })
}

fn roll(dice: &mut SplitMix) -> Mark {
    Mark { failed: dice.below(3) == 0, slow: dice.below(4) == 0 }
}

/// A wait of any order of magnitude, from nanoseconds to centuries.
fn wait(dice: &mut SplitMix) -> Duration {
    let most = 1 << dice.below(63);
    Duration::from_nanos(dice.roll() % most)
}

/// A timed window holds what was recorded in this era and in the current sixteenth or the fifteen before it.
#[test]
fn b11_a_timed_window_agrees_with_brute_force() {
    for seed in 0..300 {
        let mut dice = SplitMix::new(seed);
        let width = 1 + dice.below(1_000_000_000) as u64;
        let window = Timed::new(Duration::from_nanos(width * BUCKETS));
        let (mut era, mut now) = (Era::new(0), Time::ZERO);
        let mut all: Vec<(Era, u64, Mark)> = Vec::new();
        for _ in 0..200 {
            let mark = roll(&mut dice);
            match dice.below(20) {
                0 => era = era.next(),
                1 => now = now.after(wait(&mut dice)),
                2..8 => now = now.after(Duration::from_nanos(dice.roll() % (3 * width))),
                _ => {
                    window.record(era, now, mark);
                    all.push((era, now.as_nanos() / width, mark));
                }
            }
            if now.as_nanos() > u64::MAX / 2 {
                break;
            }
            let held =
                |entry: &&(Era, u64, Mark)| entry.0 == era && entry.1 + BUCKETS > now.as_nanos() / width;
            let expected = tally(all.iter().filter(held).map(|entry| entry.2));
            assert_eq!(window.tally(era, now), expected, "seed {seed}");
            let bad = expected.failures + expected.slow > 0;
            assert_eq!(window.any_bad(era, now), bad, "seed {seed}");
        }
    }
}

/// Old buckets are gone after the window, not a nanosecond later, and after any number of bucket widths.
#[test]
fn b11_a_gap_of_any_length_forgets() {
    for widths in [16, 17, 1_000_000_000, 1 << 36, (1 << 36) + 16] {
        let window = Timed::new(SECOND * 16);
        let start = Time::from_millis(7_000);
        window.record(Era::new(3), start, BAD);
        assert_eq!(window.tally(Era::new(3), start.after(SECOND * 15)).calls, 1);
        let later = Time::from_millis(7_000 + 1000 * widths);
        assert_eq!(window.tally(Era::new(3), later), Tally::default(), "{widths} widths");
        window.record(Era::new(3), later, GOOD);
        assert_eq!(window.tally(Era::new(3), later), Tally { calls: 1, failures: 0, slow: 0 });
    }
}

/// The era wraps: what was written before the wrap is gone, and what comes after it is kept.
#[test]
fn windows_survive_the_wrap_of_the_era() {
    let (last, first) = (Era::new(u32::MAX), Era::new(0));
    let now = Time::from_millis(123_456);
    for window in [Window::Timed(Timed::new(SECOND)), Window::Count(Count::new(3))] {
        window.record(last, now, BAD);
        assert_eq!(window.tally(first, now).calls, 0);
        window.record(first, now, GOOD);
        assert_eq!(window.tally(first, now), Tally { calls: 1, failures: 0, slow: 0 });
        assert!(window.record_good(first, now));
    }
    let calls = InFlight::new(SECOND);
    assert!(calls.enter(last, now));
    assert!(calls.enter(first, now));
    assert_eq!(calls.older(first, now.after(SECOND)), 1);
}

/// A count window holds exactly the last N outcomes of this era.
#[test]
fn a_count_window_agrees_with_brute_force() {
    for seed in 0..300 {
        let mut dice = SplitMix::new(seed);
        let size = 1 + dice.below(40);
        let window = Count::new(u32::try_from(size).expect("small"));
        let mut era = Era::new(0);
        let mut all = Vec::new();
        for _ in 0..400 {
            if dice.below(60) == 0 {
                era = era.next();
                all.clear();
            }
            let mark = roll(&mut dice);
            window.record(era, mark);
            all.push(mark);
            let expected = tally(all[all.len().saturating_sub(size)..].iter().copied());
            assert_eq!(window.tally(era), expected, "seed {seed}");
            assert_eq!(window.any_bad(era), expected.failures + expected.slow > 0, "seed {seed}");
        }
    }
}

/// The books of a count window balance after many threads have written to it.
#[test]
fn a_count_window_balances_after_a_storm() {
    for size in [1, 2, 7] {
        let (window, era) = (Count::new(size), Era::new(1));
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let window = &window;
                scope.spawn(move || {
                    let mut dice = SplitMix::new(seed);
                    (0..20_000).for_each(|_| window.record(era, roll(&mut dice)));
                });
            }
        });
        (0..size).for_each(|_| window.record(era, GOOD));
        assert_eq!(window.tally(era), Tally { calls: size.into(), failures: 0, slow: 0 });
    }
}

/// Calls older than the limit are counted, those that have ended or are younger are not; calls of one
/// fourteenth of the limit are as young as the youngest of them.
#[test]
fn b22_calls_in_flight_agree_with_brute_force() {
    for seed in 0..300 {
        let mut dice = SplitMix::new(seed);
        let width = 1 + dice.below(1_000_000_000) as u64;
        let limit = width * 14;
        let calls = InFlight::new(Duration::from_nanos(limit));
        let (mut era, mut now) = (Era::new(0), Time::ZERO);
        let mut all: Vec<(Era, Time)> = Vec::new();
        let mut starts: Vec<Time> = Vec::new();
        for _ in 0..300 {
            match dice.below(20) {
                0 if dice.below(3) == 0 => era = era.next(),
                1 if dice.below(3) == 0 => now = now.after(wait(&mut dice)),
                2..8 => now = now.after(Duration::from_nanos(dice.roll() % (4 * width))),
                8..14 if !all.is_empty() => {
                    let (era, start) = all.swap_remove(dice.below(all.len()));
                    calls.leave(era, start);
                }
                _ => {
                    assert!(calls.enter(era, now), "seed {seed}");
                    all.push((era, now));
                    starts.push(now);
                }
            }
            if now.as_nanos() > u64::MAX / 2 {
                break;
            }
            let youngest = |start: Time| {
                let together =
                    starts.iter().filter(|other| other.as_nanos() / width == start.as_nanos() / width);
                together.max().copied().unwrap_or(start)
            };
            let old = |call: &&(Era, Time)| {
                call.0 == era && now.since(youngest(call.1)) >= Duration::from_nanos(limit)
            };
            assert_eq!(calls.older(era, now), all.iter().filter(old).count() as u64, "seed {seed}");
        }
    }
}

/// A call given a time a whole ring in the past is old from the start, and leaves as it came.
#[test]
fn b22_a_start_long_past_is_old_at_once() {
    let (calls, era) = (InFlight::new(SECOND * 14), Era::new(0));
    let (early, late) = (Time::from_millis(100), Time::from_millis(16_100));
    assert!(calls.enter(era, late) && calls.enter(era, early));
    assert_eq!(calls.older(era, late), 1);
    calls.leave(era, early);
    assert_eq!(calls.older(era, late), 0);
    assert_eq!(calls.older(era, late.after(SECOND * 14)), 1);
}

/// A straggler of an earlier era is not followed in the new one.
#[test]
fn b22_stragglers_are_not_followed() {
    let (calls, now) = (InFlight::new(SECOND), Time::from_millis(5));
    assert!(calls.enter(Era::new(2), now));
    assert!(!calls.enter(Era::new(1), now));
    calls.leave(Era::new(1), now);
    assert_eq!(calls.older(Era::new(2), now.after(SECOND)), 1);
}

/// Until laps repeat, after 2^36 of sixteen buckets, no gap makes an old bucket look new.
#[test]
fn b11_laps_far_apart_are_told_apart() {
    let window = Timed::new(Duration::from_nanos(BUCKETS));
    window.record(Era::new(0), Time::ZERO, BAD);
    for bits in 5..40 {
        let later = Time::ZERO.after(Duration::from_nanos(1 << bits));
        assert_eq!(window.tally(Era::new(0), later), Tally::default(), "2^{bits} buckets later");
    }
}

/// A call that leaves while its bucket is being moved makes the old ones one fewer than none: that reads as none.
#[test]
fn b22_fewer_than_none_is_none() {
    let calls = InFlight::new(SECOND);
    calls.leave(Era::new(0), Time::ZERO);
    assert_eq!(calls.older(Era::new(0), Time::ZERO), 0);
}

/// A bucket that is full follows no further call of its own tick, and makes room for the next one.
#[test]
fn b22_a_full_bucket_is_full_for_its_tick() {
    const MOST: u64 = (1 << 20) - 1;
    let (calls, era) = (InFlight::new(SECOND), Era::new(0));
    for _ in 0..MOST {
        assert!(calls.enter(era, Time::ZERO));
    }
    assert!(!calls.enter(era, Time::ZERO), "one more would spill into the tick");
    assert!(calls.enter(era, Time::ZERO.after(SECOND)), "another bucket has room");
    assert_eq!(calls.older(era, Time::ZERO.after(SECOND)), MOST);
}

#[test]
fn a_tagged_number_knows_its_era() {
    let tagged = Tagged::new();
    assert_eq!(tagged.era(), Era::new(0));
    tagged.update(Era::new(7), |n| n + 1);
    assert_eq!(tagged.era(), Era::new(7));
}

/// Who comes late with a call of an earlier turn of the ring leaves the counters of the later one alone.
#[test]
fn a_straggler_of_an_earlier_lap_is_dropped() {
    let window = Timed::new(Duration::from_nanos(BUCKETS));
    let at = |lap: u64| Time::from_nanos(lap * BUCKETS);
    window.record(Era::new(0), at(5), BAD);
    window.record(Era::new(0), at(4), GOOD);
    assert_eq!(window.tally(Era::new(0), at(5)), tally([BAD]));
}

/// A counter that is full stays full: one more would spill into its lap.
#[test]
fn a_full_counter_stays_full() {
    const FULL: u64 = 3 << 28 | ((1 << 28) - 1);
    let counter = AtomicU64::new(FULL);
    timed::add(&counter, 3);
    assert_eq!(counter.load(Ordering::Relaxed), FULL);
}

/// A look while nobody was there does not hide a call that is told of late, with a start before it.
#[test]
fn b22_a_look_at_nobody_hides_nobody() {
    let (calls, era) = (InFlight::new(SECOND), Era::new(0));
    assert_eq!(calls.older(era, Time::from_millis(1000)), 0);
    assert!(calls.enter(era, Time::from_millis(500)));
    assert_eq!(calls.older(era, Time::from_millis(1499)), 0);
    assert_eq!(calls.older(era, Time::from_millis(1500)), 1);
}
