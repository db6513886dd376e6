//! Threads on one breaker: what one admission and its settling take when others do the same at the same time.
//!
//! `cargo bench --no-default-features --bench contention [-- --json FILE]`. Beside the shared breaker each thread
//! has one of its own, for what the machine gives without any sharing. No interpreter is involved, so no GIL.
//! Medians of the rounds; more threads than processors only take turns.
#![allow(missing_docs, reason = "a program, not a library")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use holdfast::base::{Outbox, Source, SplitMix, Time, Verdict};
use holdfast::policy::breaker::{Breaker, BreakerConfig, WindowKind};

const ROUNDS: usize = 11;
const CALLS: u32 = 100_000;
const THREADS: [usize; 4] = [1, 2, 4, 8];

fn made(rates: bool) -> Breaker {
    let rate = rates.then_some(1.0);
    let window = WindowKind::Time(Duration::from_mins(1));
    let config = BreakerConfig { failure_rate: rate, window, ..BreakerConfig::default() };
    Breaker::new(Source::new("bench"), config.validate().expect("valid rules"))
}

/// Successful calls, one after another, as a thread makes them.
fn calls(breaker: &Breaker, seed: u64) {
    let (mut now, mut dice, mut out) = (Time::from_millis(1000), SplitMix::new(seed), Outbox::new(0));
    for _ in 0..CALLS {
        let permit = match breaker.admit_fast(black_box(now)) {
            Some(permit) => permit,
            None => breaker.admit(now, &mut dice, &mut out).expect("closed"),
        };
        if let Err(permit) = breaker.settle_ok(black_box(permit), black_box(now)) {
            breaker.settle(permit, &Verdict::Ok, now, &mut dice, &mut out);
        }
        now = now.after(Duration::from_micros(1));
    }
}

/// Nanoseconds from the first thread's first call to the last one's last, per call of one thread.
fn round(threads: usize, breakers: &[Breaker]) -> f64 {
    let together = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let work = |n: usize| {
            let (together, breaker) = (&together, &breakers[n % breakers.len()]);
            scope.spawn(move || {
                together.wait();
                let start = now();
                calls(breaker, n as u64);
                (start, now())
            })
        };
        let handles: Vec<_> = (0..threads).map(work).collect();
        handles.into_iter().map(|handle| handle.join().expect("no thread panics")).collect()
    });
    let first = spans.iter().map(|(start, _)| *start).min().expect("there are threads");
    let last = spans.iter().map(|(_, end)| *end).max().expect("there are threads");
    (last - first).as_secs_f64() * 1e9 / f64::from(CALLS)
}

#[expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]
fn now() -> Instant {
    Instant::now()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let file = arguments.iter().position(|word| word == "--json").and_then(|at| arguments.get(at + 1));
    let mut told = String::new();
    for (rules, rates) in [("failures in a row", false), ("and failure rate", true)] {
        for threads in THREADS {
            for (kind, count) in [("one breaker", 1), ("a breaker each", threads)] {
                let breakers: Vec<Breaker> = (0..count).map(|_| made(rates)).collect();
                let took = median((0..ROUNDS).map(|_| round(threads, &breakers)).collect());
                let each = took / threads as f64;
                println!(
                    "{threads} threads, {kind}, {rules}: {took:7.1} ns per call of a thread, {each:6.1} over all"
                );
                let comma = if told.is_empty() { "" } else { ",\n " };
                write!(
                    told,
                    r#"{comma}{{"rules": "{rules}", "threads": {threads}, "kind": "{kind}", "ns": {took:.2}}}"#
                )
                .expect("writing to a string");
            }
        }
    }
    if let Some(file) = file {
        std::fs::write(file, format!("[{told}]\n")).expect("the file can be written");
    }
}
