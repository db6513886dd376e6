//! The manual clock, and the system's beside it. Time is the process', so these run one at a time.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread;

use parking_lot::{Mutex, MutexGuard};

use super::*;

/// Held by every test of this crate that reads the clock.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock()
}

/// Manual mode for one test.
pub(crate) struct Manual(#[expect(dead_code, reason = "held until dropped")] MutexGuard<'static, ()>);

pub(crate) fn manual() -> Manual {
    let turn = alone();
    install_manual().unwrap();
    Manual(turn)
}

impl Drop for Manual {
    fn drop(&mut self) {
        remove_manual().unwrap();
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn never() -> bool {
    false
}

fn tick(span: Duration) {
    advance(span, &mut || thread::yield_now()).unwrap();
}

/// Lets `n` threads park, in real time: the manual clock cannot know of those on their way.
fn until_parked(n: usize) {
    while station().timers().len() < n {
        thread::yield_now();
    }
}

#[test]
fn time_stands_still_until_it_is_moved_and_never_runs_backwards() {
    let clock = manual();
    let (start, wall_start) = (now(), wall());
    assert_eq!(now(), start);
    tick(secs(3600));
    assert_eq!((now().since(start), wall().duration_since(wall_start).unwrap()), (secs(3600), secs(3600)));
    assert_eq!(install_manual(), Err(ClockError::AlreadyManual));
    let last = now();
    remove_manual().unwrap();
    assert!(now() >= last);
    assert_eq!(advance(secs(1), &mut || {}), Err(ClockError::NotManual));
    install_manual().unwrap();
    drop(clock);
}

/// Callbacks fire in the order of their times, each at exactly its own.
#[test]
fn each_waiter_is_woken_at_its_time() {
    let _clock = manual();
    let start = now();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handles: Vec<_> = [5, 1, 3, 9]
        .into_iter()
        .map(|s| {
            let seen = seen.clone();
            call_at(start.after(secs(s)), Box::new(move |_| seen.lock().push((s, now().since(start)))))
        })
        .collect();
    tick(secs(6));
    assert_eq!(*seen.lock(), [(1, secs(1)), (3, secs(3)), (5, secs(5))]);
    drop(handles);
    tick(secs(6));
    assert_eq!(seen.lock().len(), 3, "a dropped handle is forgotten");
}

/// One `advance` carries a thread through three waits in a row: time does not run ahead of it.
#[test]
fn a_woken_thread_parks_again_before_time_goes_on() {
    let _clock = manual();
    let start = now();
    thread::scope(|s| {
        let waiter = s.spawn(|| {
            let mut busy = Busy::idle();
            let mut woken = Vec::new();
            for n in [10, 20, 30] {
                let Waited::Due(carried) = wait_until(start.after(secs(n)), secs(1), busy, &mut never) else {
                    panic!("nobody interrupts");
                };
                woken.push(now().since(start));
                busy = carried;
            }
            woken
        });
        until_parked(1);
        tick(secs(100));
        assert_eq!(waiter.join().unwrap(), [secs(10), secs(20), secs(30)]);
    });
    assert_eq!(now().since(start), secs(100));
}

/// R8: an interrupted wait ends at once, under either clock.
#[test]
fn r8_an_interrupted_wait_ends() {
    for manual_mode in [true, false] {
        let _turn = alone();
        if manual_mode {
            install_manual().unwrap();
        }
        let mut looks = 0;
        let mut third_look = || {
            looks += 1;
            looks == 3
        };
        let due = now().after(secs(3600));
        let waited = wait_until(due, Duration::from_millis(1), Busy::idle(), &mut third_look);
        assert!(matches!(waited, Waited::Interrupted));
        if manual_mode {
            remove_manual().unwrap();
        }
    }
}

/// A thread that waits an hour of the system's time is taken over by the manual clock, and back.
#[test]
fn a_change_of_mode_loses_nobody() {
    let turn = alone();
    let start = now();
    thread::scope(|s| {
        let waiter = s.spawn(|| {
            let mut waits = 0;
            for n in [3600, 7200] {
                wait_until(start.after(secs(n)), secs(1), Busy::idle(), &mut never);
                waits += 1;
            }
            waits
        });
        until_parked(1);
        install_manual().unwrap();
        tick(secs(3601));
        until_parked(1);
        remove_manual().unwrap();
        until_parked(1);
        install_manual().unwrap();
        tick(secs(3601));
        assert_eq!(waiter.join().unwrap(), 2);
    });
    remove_manual().unwrap();
    drop(turn);
}

/// Somebody who never gets done delays time once, for a bounded while, and not at every step.
#[test]
fn one_who_hangs_is_waited_for_once() {
    let _clock = manual();
    let hung = Arc::new(Mutex::new(None));
    let (keep, steps) = (hung.clone(), AtomicUsize::new(0));
    let _hangs = call_at(now().after(secs(1)), Box::new(move |busy| *keep.lock() = Some(busy)));
    let count = &mut || {
        steps.fetch_add(1, Ordering::Relaxed);
    };
    advance(secs(1), count).unwrap();
    let first = steps.swap(0, Ordering::Relaxed);
    advance(secs(1), count).unwrap();
    assert!(first > 100 && steps.load(Ordering::Relaxed) == 2, "{first} {steps:?}");
    assert_eq!(busy(), 1);
    hung.lock().take();
    assert_eq!(busy(), 0);
}

/// Under the system's clock a wait ends when it should, within what a loaded machine allows.
#[test]
fn the_systems_clock_ends_waits_too() {
    let _turn = alone();
    let start = now();
    let due = start.after(Duration::from_millis(20));
    assert!(matches!(wait_until(due, secs(1), Busy::idle(), &mut never), Waited::Due(_)));
    assert!(now() >= due);
    assert!(wall() > UNIX_EPOCH);
}
