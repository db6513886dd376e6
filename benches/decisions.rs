//! What the decisions of a breaker and of a pool cost: nanoseconds each, and bytes.
//!
//! `cargo bench --no-default-features --bench decisions`. The best of 15 rounds is printed: the machine's
//! other work only ever adds.
#![allow(missing_docs, reason = "a program, not a library")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast::base::{Failure, Outbox, Source, SplitMix, Time, Verdict};
use holdfast::pipeline::{Costs, Roster};
use holdfast::policy::breaker::trip::Memory;
use holdfast::policy::breaker::{Breaker, BreakerConfig, Keyed, Permit, WindowKind};
use holdfast::pool::{NodeConfig, Pool, PoolConfig, Strategy};

const ROUNDS: u32 = 15;
const CALLS: u32 = 200_000;
const FAIL: Verdict = Verdict::Fail(Failure::plain());

/// A breaker with what its doors need.
struct Desk {
    breaker: Breaker,
    now: Time,
    dice: SplitMix,
    out: Outbox,
}

impl Desk {
    fn new(config: BreakerConfig) -> Self {
        let breaker = Breaker::new(Source::new("bench"), config.validate().expect("valid rules"));
        Self { breaker, now: Time::from_millis(1000), dice: SplitMix::new(1), out: Outbox::new(0) }
    }

    fn admit(&mut self) -> Permit {
        self.breaker.admit(self.now, &mut self.dice, &mut self.out).expect("closed")
    }

    fn settle(&mut self, permit: Permit, verdict: Verdict) {
        self.breaker.settle(permit, &verdict, self.now, &mut self.dice, &mut self.out);
    }

    /// A success through the fast doors, and through the slow one where the fast one passes it on.
    fn success(&mut self) {
        let permit = match self.breaker.admit_fast(black_box(self.now)) {
            Some(permit) => permit,
            None => self.admit(),
        };
        if let Err(permit) = self.breaker.settle_ok(black_box(permit), black_box(self.now)) {
            self.settle(permit, Verdict::Ok);
        }
        self.now = self.now.after(Duration::from_micros(1));
    }
}

/// The best time of one `work`, in nanoseconds.
fn time(name: &str, mut work: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        #[expect(clippy::disallowed_methods, reason = "measuring is what this program is for")]
        let start = Instant::now();
        (0..CALLS).for_each(|_| work());
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
    }
    println!("{name:<58} {best:7.1} ns");
}

fn never() -> BreakerConfig {
    BreakerConfig { failure_threshold: Some(u32::MAX), ..BreakerConfig::default() }
}

fn with_window(window: WindowKind) -> BreakerConfig {
    BreakerConfig { failure_rate: Some(1.0), window, ..never() }
}

fn with_slowness() -> BreakerConfig {
    let window = WindowKind::Time(Duration::from_mins(1));
    let slow_call = Some(Duration::from_secs(5));
    BreakerConfig { slow_call_rate: Some(1.0), slow_call, ..with_window(window) }
}

fn successes() {
    let minute = WindowKind::Time(Duration::from_mins(1));
    let rules = [
        ("default rules", BreakerConfig::default()),
        ("failure rate, time window", with_window(minute)),
        ("failure rate, count window of 100", with_window(WindowKind::Count(100))),
        ("failure and slow-call rate", with_slowness()),
    ];
    for (name, config) in rules {
        let mut desk = Desk::new(config);
        time(&format!("admit + settle a success: {name}"), || desk.success());
    }
    let mut desk = Desk::new(with_slowness());
    let permit = desk.admit();
    desk.settle(permit, FAIL);
    time("the same with a failure in the window (slow door)", || desk.success());
}

fn failures() {
    for (name, config) in [("default rules", never()), ("failure and slow-call rate", with_slowness())] {
        let mut desk = Desk::new(config);
        (0..100).for_each(|_| desk.success());
        time(&format!("admit + settle a failure: {name}"), || {
            let permit = desk.admit();
            desk.settle(permit, black_box(FAIL));
        });
    }
}

fn refusals() {
    let mut desk = Desk::new(BreakerConfig { failure_threshold: Some(1), ..BreakerConfig::default() });
    let permit = desk.admit();
    desk.settle(permit, FAIL);
    time("refuse: open", || {
        let answer = desk.breaker.admit(black_box(desk.now), &mut desk.dice, &mut desk.out);
        drop(black_box(answer.expect_err("refused")));
    });
    desk.now = desk.now.after(Duration::from_secs(30));
    let _probe = desk.admit();
    time("refuse: half-open, all probes out", || {
        let answer = desk.breaker.admit(black_box(desk.now), &mut desk.dice, &mut desk.out);
        drop(black_box(answer.expect_err("refused")));
    });
}

fn looks() {
    let desk = Desk::new(BreakerConfig::default());
    time("state", || {
        black_box(black_box(&desk.breaker).state());
    });
    time("metrics", || {
        black_box(desk.breaker.metrics(black_box(desk.now)));
    });
    let keys = Keyed::new(Breaker::new(Source::new("keys"), BreakerConfig::default()), Keyed::CAPACITY);
    let names: Vec<String> = (0..1000).map(|n| format!("key {n}")).collect();
    let mut names = names.iter().cycle();
    time("look up one key of 1000", || {
        drop(black_box(keys.get(names.next().map_or("", |name| name), Time::ZERO)));
    });
    let mut n = 0u64;
    let fresh = || {
        n += 1;
        drop(black_box(keys.get(&n.to_string(), Time::ZERO)));
    };
    time("a new key in a full registry of 1024", fresh);
}

/// What a pick costs with its finish: all nodes ready, nobody excluded, each behind a breaker.
fn picks() {
    let strategies = [
        ("round robin", Strategy::RoundRobin),
        ("weighted", Strategy::Weighted),
        ("random", Strategy::Random),
        ("weighted random", Strategy::WeightedRandom),
        ("least connections", Strategy::LeastConnections),
        ("p2c", Strategy::PowerOfTwo),
        ("sticky", Strategy::Sticky),
    ];
    for (name, balancer) in strategies {
        for count in [10, 1000] {
            let nodes = (0..count).map(|n| NodeConfig::new(n.to_string())).collect();
            let config = PoolConfig { balancer, ..PoolConfig::default() };
            let source = Source::new("bench");
            let pool = Pool::with_config(source.clone(), nodes, None, &config).expect("valid rules");
            let breaker = Breaker::new(Source::new("node"), BreakerConfig::default());
            let roster = Roster::new(Arc::new(pool), source, Some(breaker));
            let (mut dice, mut out, mut now) = (SplitMix::new(1), Outbox::new(0), Time::from_millis(1));
            let keys: Vec<String> = (0..1000).map(|n| format!("conversation {n}")).collect();
            let mut keys = keys.iter().cycle();
            time(&format!("pick + finish, {name}, {count} nodes"), || {
                now = now.after(Duration::from_micros(1));
                let pick = roster.pool().pick_for(
                    keys.next().map(String::as_str),
                    &[],
                    &mut |id| roster.admissible(id, &Costs::default(), now),
                    now,
                    &mut dice,
                );
                let node = black_box(pick).expect("all are ready");
                roster.pool().finish(node, &Verdict::Ok, Duration::from_micros(5), now, &mut out);
            });
        }
    }
}

fn main() {
    println!("a breaker with its rules: {} bytes", size_of::<Breaker>());
    println!("a permit: {} bytes", size_of::<Permit>());
    println!("the memory of the rate rules, if one is on: {} bytes", size_of::<Memory>());
    successes();
    failures();
    refusals();
    looks();
    picks();
}
