//! The limits as laws: what holds for every history of a rate, of an adaptive limit, and of the gates of a call.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use holdfast::base::{
    Failure, FailureKind, Outbox, Rejection, RejectionKind, Source, SplitMix, Time, Verdict,
};
use holdfast::pipeline::{Execution, Finish, Limits, Moment, Pause, Plan, Step, Target};
use holdfast::policy::breaker::{Breaker, BreakerConfig};
use holdfast::policy::limit::adaptive::{Aimd, AimdConfig};
use holdfast::policy::limit::{
    Concurrency, ConcurrencyConfig, Outcome, Place, Priority, Rate, RateConfig, rate,
};
use holdfast::policy::retry::{Backoff, RetryConfig};
use holdfast::policy::timeout::{Expiry, Which};
use proptest::prelude::*;

const S: Duration = Duration::from_secs(1);
const OK: Verdict = Verdict::Ok;
const OVERLOADED: Verdict = Verdict::Throttled(Failure { kind: FailureKind::RateLimit, ..Failure::plain() });

fn rate(permits: f64, per: Duration, burst: f64) -> Rate {
    let config = RateConfig { permits, per, burst: Some(burst) }.validate().unwrap();
    Rate::new(Source::new("r"), config)
}

fn out() -> Outbox {
    Outbox::new(0)
}

fn at(seconds: f64) -> Time {
    Time::ZERO.after(Duration::from_secs_f64(seconds))
}

// ---- rate ----

/// One request in a history: how long after the one before, what it weighs, and whether it is given back.
#[derive(Clone, Copy, Debug)]
struct Request {
    gap_ms: u64,
    cost: u32,
    refunded: bool,
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    let request = (0u64..400, 1u32..4, prop::bool::weighted(0.2));
    let request = request.prop_map(|(gap_ms, cost, refunded)| Request { gap_ms, cost, refunded });
    prop::collection::vec(request, 1..200)
}

proptest! {
    /// Whatever is asked for and when: in no stretch of time passes more than the burst and what the rate brings in
    /// it. Time runs in milliseconds, weights are whole, so the sums are exact but for the rounding of the interval.
    #[test]
    fn in_no_window_passes_more_than_burst_and_rate(history in requests(), per_second in 1u32..50, burst in 3u32..20) {
        let limit = rate(f64::from(per_second), S, f64::from(burst));
        let (mut now, mut passed) = (Time::ZERO, Vec::new());
        for request in history {
            now = now.after(Duration::from_millis(request.gap_ms));
            if let Some(ration) = limit.take(f64::from(request.cost), now) {
                if request.refunded {
                    limit.refund(ration, &mut out());
                } else {
                    passed.push((now, f64::from(request.cost)));
                }
            }
        }
        for (i, (from, _)) in passed.iter().enumerate() {
            let mut sum = 0.0;
            for (to, cost) in &passed[i..] {
                sum += cost;
                let allowed = f64::from(burst) + to.since(*from).as_secs_f64() * f64::from(per_second);
                prop_assert!(sum <= allowed + 1e-6, "{sum} in {:?}, allowed {allowed}", to.since(*from));
            }
        }
    }

    /// And no less: whoever asks again at the moment it is told passes then.
    #[test]
    fn who_comes_when_told_passes(costs in prop::collection::vec(1u32..4, 1..60), per_second in 1u32..50) {
        let limit = rate(f64::from(per_second), S, 3.0);
        let mut now = Time::ZERO;
        for cost in costs.into_iter().map(f64::from) {
            match limit.enter(cost, Priority::Normal, None, now) {
                rate::Entry::In(_) => {}
                rate::Entry::Refused(told) => {
                    now = now.after(told.retry_after.unwrap());
                    prop_assert!(limit.take(cost, now).is_some());
                }
                rate::Entry::Waiting(..) => prop_assert!(false, "nobody waits without a deadline"),
            }
        }
    }
}

fn stand(limit: &Rate, cost: f64, deadline: f64, now: f64) -> (Arc<Place>, Time) {
    match limit.enter(cost, Priority::Normal, Some(at(deadline)), at(now)) {
        rate::Entry::Waiting(place, due) => (place, due),
        other => panic!("{other:?}"),
    }
}

fn refused(entry: rate::Entry) -> Rejection {
    match entry {
        rate::Entry::Refused(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn l4_those_who_wait_pass_in_order_each_at_its_own_time() {
    let limit = rate(1.0, S, 1.0);
    assert!(limit.take(1.0, at(0.0)).is_some());
    let (first, one) = stand(&limit, 1.0, 9.0, 0.0);
    let (second, two) = stand(&limit, 1.0, 9.0, 0.0);
    assert_eq!((one, two), (at(1.0), at(2.0)));
    assert!(limit.take(1.0, at(1.0)).is_none(), "newcomers do not overtake");
    // The second looks when only the first's time has come: the first is served, the second goes on waiting.
    let entry = limit.resume(second, 1.0, Some(at(9.0)), at(1.0), &mut out());
    assert!(matches!(entry, rate::Entry::Waiting(_, due) if due == at(2.0)));
    assert!(matches!(limit.resume(first, 1.0, Some(at(9.0)), at(1.5), &mut out()), rate::Entry::In(_)));
    assert_eq!(limit.level(at(1.5)).queued, 1);
}

#[test]
fn l4_who_leaves_the_line_owes_nothing_and_those_behind_move_up() {
    let limit = rate(1.0, S, 1.0);
    assert!(limit.take(1.0, at(0.0)).is_some());
    let (first, _) = stand(&limit, 1.0, 9.0, 0.0);
    let (second, due) = stand(&limit, 1.0, 9.0, 0.0);
    assert_eq!(due, at(2.0));
    limit.leave(&first, 1.0, &mut out());
    assert!(!second.listen(std::task::Waker::noop().clone()), "it is called, for its turn comes sooner");
    assert!(matches!(limit.resume(second, 1.0, Some(at(9.0)), at(1.0), &mut out()), rate::Entry::In(_)));
}

#[test]
fn nobody_waits_for_a_turn_behind_the_deadline_or_for_more_than_fits() {
    let limit = rate(1.0, S, 2.0);
    assert!(limit.take(2.0, at(0.0)).is_some());
    let late = refused(limit.enter(1.0, Priority::Normal, Some(at(0.5)), at(0.0)));
    assert_eq!((late.reason, late.retry_after), ("deadline", Some(S)));
    let large = refused(limit.enter(3.0, Priority::Normal, Some(at(99.0)), at(0.0)));
    assert_eq!((large.reason, large.retry_after), ("too_large", None));
    assert_eq!(limit.level(at(0.0)).queued, 0);
}

#[test]
fn l6_the_estimate_is_settled_by_the_actual_in_both_directions() {
    let limit = rate(60.0, 60 * S, 60.0);
    let left = |now| limit.level(at(now)).available;
    assert!(limit.take(30.0, at(0.0)).is_some());
    limit.settle(30.0, 10.0, at(0.0), &mut out());
    assert!((left(0.0) - 50.0).abs() < 1e-6);
    limit.settle(10.0, 45.0, at(0.0), &mut out());
    assert!((left(0.0) - 15.0).abs() < 1e-6);
    limit.settle(0.0, 500.0, at(0.0), &mut out());
    assert!(left(0.0) < 1e-6, "a debt");
    assert!(left(430.0) < 1e-6, "which is worked off at the rate");
    assert!(left(500.0) > 14.9);
}

#[test]
fn l6_headers_only_tighten() {
    let limit = rate(60.0, 60 * S, 60.0);
    let left = |now| limit.level(at(now)).available;
    limit.tighten(100.0, None, at(0.0));
    assert!((left(0.0) - 60.0).abs() < 1e-6);
    limit.tighten(5.0, None, at(0.0));
    assert!((left(0.0) - 5.0).abs() < 1e-6);
    limit.tighten(50.0, None, at(0.0));
    assert!((left(0.0) - 5.0).abs() < 1e-6);
    limit.tighten(0.0, Some(20 * S), at(0.0));
    assert!(limit.take(1.0, at(19.9)).is_none());
    assert!(limit.take(1.0, at(20.0)).is_some());
}

#[test]
fn p12_of_two_closures_the_later_end_stands() {
    let limit = rate(60.0, 60 * S, 60.0);
    limit.close(at(30.0));
    limit.close(at(10.0));
    assert!(limit.take(1.0, at(29.0)).is_none());
    assert!(limit.take(1.0, at(30.0)).is_some());
}

#[test]
fn nonsense_is_refused_by_name() {
    let field = |permits, per, burst| RateConfig { permits, per, burst }.validate().unwrap_err().field;
    assert_eq!(field(0.0, S, None), "requests");
    assert_eq!(field(f64::NAN, S, None), "requests");
    assert_eq!(field(1.0, Duration::ZERO, None), "per");
    assert_eq!(field(1.0, S, Some(-1.0)), "burst");
    let field =
        |initial, minimum, maximum| AimdConfig { initial, minimum, maximum }.validate().unwrap_err().field;
    assert_eq!(
        (field(8, 0, 9), field(8, 1, 7), field(1, 2, 3), field(2, 3, 2)),
        ("minimum", "initial", "initial", "maximum")
    );
}

// ---- adaptive ----

fn aimd(initial: u32) -> Aimd {
    Aimd::new(AimdConfig { initial, minimum: 1, maximum: 64 })
}

/// Applies one change; only the limit is of interest here.
fn apply(changed: bool) -> bool {
    changed
}

proptest! {
    /// Whatever happens the limit stays within its bounds, one success adds less than a slot, and one complaint takes
    /// away three tenths, unless that is below the minimum.
    #[test]
    fn the_limit_stays_within_its_bounds(
        steps in prop::collection::vec(any::<bool>(), 1..400),
        initial in 1u32..=64,
        minimum in 1u32..8,
    ) {
        let config = AimdConfig { initial: initial.max(minimum), minimum, maximum: 64 };
        let law = Aimd::new(config);
        for served in steps {
            let before = law.limit();
            if served {
                apply(law.succeeded(law.epoch()));
                prop_assert!(law.limit() == before || law.limit() == before + 1);
            } else {
                apply(law.overloaded(law.epoch()));
                prop_assert!(law.limit() >= minimum && law.limit() <= before);
                prop_assert!(before == minimum || law.limit() < before);
                prop_assert!(f64::from(law.limit()) + 1.0 >= f64::from(before) * 0.7);
            }
            prop_assert!((minimum..=64).contains(&law.limit()));
        }
    }
}

#[test]
fn l5_one_cut_per_round_trip() {
    let law = aimd(20);
    let round = law.epoch();
    for _ in 0..20 {
        apply(law.overloaded(round));
    }
    assert_eq!(law.limit(), 14);
    apply(law.overloaded(law.epoch()));
    assert_eq!(law.limit(), 9, "the next round trip is news again");
}

#[test]
fn l5_a_round_trip_of_successes_adds_one() {
    let law = aimd(10);
    for _ in 0..11 {
        apply(law.succeeded(law.epoch()));
    }
    assert_eq!(law.limit(), 11);
}

#[test]
fn l5_successes_of_the_round_that_was_cut_prove_nothing() {
    let law = aimd(10);
    let round = law.epoch();
    apply(law.overloaded(round));
    for _ in 0..100 {
        apply(law.succeeded(round));
    }
    assert_eq!(law.limit(), 7);
}

#[test]
fn l5_only_a_late_first_token_is_a_complaint() {
    let law = aimd(10);
    let begins = |seconds: f64, n| {
        for _ in 0..n {
            apply(law.first_token(law.epoch(), Duration::from_secs_f64(seconds)));
        }
        law.limit()
    };
    assert_eq!(begins(0.5, 50), 10);
    assert_eq!(begins(0.7, 50), 10, "a little later is no queue");
    assert!(begins(3.0, 10) < 10, "as long again and more is one");
}

#[test]
fn l5_our_own_jitter_is_no_queue() {
    let law = aimd(10);
    for n in 0..200 {
        let wait = Duration::from_micros(if n % 2 == 0 { 500 } else { 8000 });
        assert!(!law.first_token(law.epoch(), wait), "a few milliseconds are what a busy machine adds");
    }
    for _ in 0..20 {
        apply(law.first_token(law.epoch(), Duration::from_millis(60)));
    }
    assert!(law.limit() < 10);
}

fn concurrency(limit: u32, max_queue: u32, adaptive: bool) -> Arc<Concurrency> {
    let adaptive = adaptive.then_some(AimdConfig { initial: limit, minimum: 1, maximum: 64 });
    let config = ConcurrencyConfig { limit, max_queue, queue_timeout: None, adaptive }.validate().unwrap();
    Arc::new(Concurrency::new(Source::new("c"), config))
}

#[test]
fn l5_it_grows_only_when_used_and_not_by_failures() {
    let limit = concurrency(4, 0, true);
    let run = |together: u32, verdict: &Verdict| {
        let slots: Vec<_> = (0..together).filter_map(|_| limit.take(|| Time::ZERO)).collect();
        for slot in slots {
            limit.release(slot, Outcome::of(verdict), Time::ZERO, &mut out());
        }
        limit.load().limit
    };
    (0..100).for_each(|_| assert_eq!(run(3, &OK), 4, "one slot was always free"));
    let fast_failure = Verdict::Fail(Failure::plain());
    (0..100).for_each(|_| assert_eq!(run(4, &fast_failure), 4));
    (0..5).for_each(|_| assert!(run(4, &OK) >= 4));
    assert_eq!(limit.load().limit, 5);
    assert_eq!(run(5, &OVERLOADED), 3, "five complaints of one round");
    assert_eq!(limit.load().cuts, 1);
}

/// A callee whose capacity changes under way: it refuses what is above it, and answers in the order it was asked. The
/// limit follows, both ways.
#[test]
fn l5_it_follows_a_capacity_that_changes() {
    let limit = concurrency(8, 0, true);
    let mut running = VecDeque::new();
    let mut mean_at = |capacity: usize, calls: u32| {
        let mut sum = 0;
        for call in 0..calls {
            // There is always more to do: whatever slot is free is taken.
            while let Some(slot) = limit.take(|| Time::ZERO) {
                let verdict = if running.len() < capacity { OK } else { OVERLOADED };
                running.push_back((slot, Outcome::of(&verdict)));
            }
            let (slot, outcome) = running.pop_front().unwrap();
            limit.release(slot, outcome, Time::ZERO, &mut out());
            sum += if call >= calls / 2 { limit.load().limit } else { 0 };
        }
        f64::from(sum) / f64::from(calls - calls / 2)
    };
    let (wide, narrow, wide_again) = (mean_at(40, 20_000), mean_at(6, 20_000), mean_at(40, 20_000));
    assert!((3.5..=7.0).contains(&narrow), "at six: {narrow}");
    assert!((26.0..=42.0).contains(&wide), "at forty: {wide}");
    assert!((wide - wide_again).abs() < 5.0, "at forty again: {wide_again}");
}

// ---- the gates of a call ----

struct Calls {
    plan: Arc<Plan>,
    dice: SplitMix,
    now: Time,
}

impl Calls {
    fn new(limits: Limits, target: Target) -> Self {
        let retry = RetryConfig { backoff: Backoff::Constant(S), ..RetryConfig::default() };
        let plan = Plan { limits, target, retry: Some(retry), ..Plan::bare(Source::new("p")) };
        Self { plan: Arc::new(plan), dice: SplitMix::new(1), now: Time::ZERO }
    }

    fn moment<R>(&mut self, act: impl FnOnce(&mut Moment<'_>) -> R) -> R {
        act(&mut Moment { now: self.now, dice: &mut self.dice, out: &mut out() })
    }

    fn start(&mut self, deadline: Option<Duration>) -> (Execution, Step) {
        let plan = Arc::clone(&self.plan);
        let limit = |limit| Expiry { at: Time::ZERO.after(limit), which: Which::Total, limit };
        self.moment(|at| Execution::start(plan, None, deadline.map(limit), at))
    }
}

/// L1, L2: whatever becomes of calls, and in whatever order they come to it, at the end nothing is in use: no slot, no
/// place in line, no probe; and the rate has lost only what attempts have used.
#[derive(Clone, Copy, Debug)]
enum Act {
    Start { deadline: bool },
    End { which: usize, verdict: usize },
    Abandon { which: usize },
    Wake { which: usize },
    Later { ms: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => any::<bool>().prop_map(|deadline| Act::Start { deadline }),
        3 => (any::<usize>(), 0usize..4).prop_map(|(which, verdict)| Act::End { which, verdict }),
        2 => any::<usize>().prop_map(|which| Act::Abandon { which }),
        2 => any::<usize>().prop_map(|which| Act::Wake { which }),
        2 => (0u64..3000).prop_map(|ms| Act::Later { ms }),
    ];
    prop::collection::vec(act, 1..120)
}

proptest! {
    #[test]
    fn l1_l2_every_path_leaves_every_counter_at_zero(history in acts(), slots in 1u32..4, queue in 0u32..4) {
        const FAIL: Verdict = Verdict::Fail(Failure::plain());
        let verdicts = [OK, FAIL, OVERLOADED, Verdict::Ignore];
        let config = BreakerConfig {
            failure_threshold: Some(2), success_threshold: 1, open_timeout: S, ..BreakerConfig::default()
        };
        let breaker = Arc::new(Breaker::new(Source::new("b"), config));
        let (bulkhead, limit) = (concurrency(slots, queue, slots == 3), Arc::new(rate(2.0, S, 4.0)));
        let limits = Limits { rates: vec![Arc::clone(&limit)], concurrency: Some(Arc::clone(&bulkhead)) };
        let mut calls = Calls::new(limits, Target::Breaker(Arc::clone(&breaker)));
        let mut live: Vec<(Execution, Step)> = Vec::new();
        for act in history {
            match act {
                Act::Start { deadline } => live.push(calls.start(deadline.then_some(3600 * S))),
                Act::Later { ms } => calls.now = calls.now.after(Duration::from_millis(ms)),
                Act::End { which, verdict } if !live.is_empty() => {
                    let at = which % live.len();
                    let (mut call, step) = live.swap_remove(at);
                    let next = match step {
                        Step::Attempt(_) => calls.moment(|at| call.record(&verdicts[verdict], at)),
                        other => other,
                    };
                    live.push((call, next));
                }
                Act::Wake { which } if !live.is_empty() => {
                    let at = which % live.len();
                    let (mut call, step) = live.swap_remove(at);
                    let next = match step {
                        Step::Sleep { until: Pause { at, place } } if place.is_some() || at <= calls.now => {
                            calls.moment(|at| call.wake(at))
                        }
                        other => other,
                    };
                    live.push((call, next));
                }
                Act::Abandon { which } if !live.is_empty() => {
                    let at = which % live.len();
                    let (mut call, _) = live.swap_remove(at);
                    calls.moment(|at| call.abandon(at));
                }
                _ => {}
            }
            live.retain(|(_, step)| !matches!(step, Step::Finish(_)));
            let running = live.iter().filter(|(_, step)| matches!(step, Step::Attempt(_))).count();
            prop_assert!(bulkhead.load().in_use as usize >= running);
            prop_assert_eq!(breaker.metrics(calls.now).in_flight, running as u64);
        }
        for (mut call, _) in live {
            calls.moment(|at| call.abandon(at));
        }
        let load = bulkhead.load();
        prop_assert_eq!((load.in_use, load.queued), (0, 0));
        prop_assert_eq!(limit.level(calls.now).queued, 0);
        prop_assert_eq!(breaker.metrics(calls.now).in_flight, 0);
        prop_assert!((limit.level(calls.now.after(3600 * S)).available - 4.0).abs() < 1e-6);
    }
}

#[test]
fn a_refusal_by_a_limit_ends_the_call_and_says_who() {
    let limits = Limits { rates: Vec::new(), concurrency: Some(concurrency(1, 0, false)) };
    let mut calls = Calls::new(limits, Target::Bare);
    let (mut first, _) = calls.start(None);
    let (_, step) = calls.start(None);
    let Step::Finish(Finish::Reject(rejection)) = step else { panic!("{step:?}") };
    assert_eq!((rejection.kind, rejection.reason), (RejectionKind::BulkheadFull, "full"));
    calls.moment(|at| first.abandon(at));
}
