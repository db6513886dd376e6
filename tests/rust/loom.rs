//! The hand-written atomics, model-checked: every interleaving of two threads, up to three preemptions.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --no-default-features --release --test loom`
#![cfg(loom)]

use std::time::Duration;

use holdfast::base::{Failure, Outbox, Source, SplitMix, Time, Verdict};
use holdfast::policy::breaker::lease::{Claim, Leases, Ousted, Take};
use holdfast::policy::breaker::{Breaker, BreakerConfig, Permit, State};
use holdfast::policy::limit::Priority;
use holdfast::policy::limit::adaptive::{Aimd, AimdConfig};
use holdfast::policy::limit::slots::{Entry, Slots};
use holdfast::policy::limit::{Place, Rate, RateConfig};
use holdfast::window::{Count, Era, InFlight, Mark, Tagged, Tally, Timed};
use loom::sync::Arc;
use loom::thread;

const FAIL: Verdict = Verdict::Fail(Failure::plain());
const SECOND: Duration = Duration::from_secs(1);
const BAD: Mark = Mark { failed: true, slow: false };

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Runs `two` in a second thread beside `one`.
fn both<T: Send + Sync + 'static, A, B: 'static>(
    shared: &Arc<T>,
    one: impl FnOnce(&T) -> A,
    two: impl FnOnce(&T) -> B + 'static,
) -> (A, B) {
    let theirs = Arc::clone(shared);
    let other = thread::spawn(move || two(&theirs));
    let mine = one(shared);
    (mine, other.join().unwrap())
}

fn breaker(failure_threshold: u32) -> Arc<Breaker> {
    let config = BreakerConfig {
        failure_threshold: Some(failure_threshold),
        success_threshold: 1,
        open_timeout: SECOND,
        probe_lease: SECOND,
        ..BreakerConfig::default()
    };
    Arc::new(Breaker::new(Source::new("b"), config))
}

/// The permit, if it was admitted, and the number of events.
fn admit(breaker: &Breaker, now: Time) -> (Option<Permit>, usize) {
    let mut out = Outbox::new(0);
    let permit = breaker.admit(now, &mut SplitMix::new(0), &mut out).ok();
    (permit, out.events().len())
}

/// The number of events.
fn settle(breaker: &Breaker, permit: Permit, verdict: &Verdict, now: Time) -> usize {
    let mut out = Outbox::new(0);
    breaker.settle(permit, verdict, now, &mut SplitMix::new(0), &mut out);
    out.events().len()
}

fn now() -> Time {
    Time::from_millis(5)
}

/// B13: of two failures that both reach the threshold, one opens and tells.
#[test]
fn b13_one_trip_one_event() {
    explore(|| {
        let breaker = breaker(1);
        let (one, two) = (admit(&breaker, now()).0.unwrap(), admit(&breaker, now()).0.unwrap());
        let (a, b) = both(&breaker, |b| settle(b, one, &FAIL, now()), |b| settle(b, two, &FAIL, now()));
        let m = breaker.metrics(now());
        assert_eq!((a + b, m.opened, breaker.state()), (1, 1, State::Open));
        assert_eq!((m.failures + m.late, m.in_flight), (2, 0));
    });
}

/// No failure in a row is lost between threads: two of two trip.
#[test]
fn two_failures_make_a_row_of_two() {
    explore(|| {
        let breaker = breaker(2);
        let (one, two) = (admit(&breaker, now()).0.unwrap(), admit(&breaker, now()).0.unwrap());
        both(&breaker, |b| settle(b, one, &FAIL, now()), |b| settle(b, two, &FAIL, now()));
        assert_eq!(breaker.state(), State::Open);
    });
}

/// B5: of two arrivals at an open breaker whose time is over exactly one runs, and one event tells of it.
#[test]
fn b5_one_of_two_arrivals_probes() {
    explore(|| {
        let breaker = breaker(1);
        settle(&breaker, admit(&breaker, now()).0.unwrap(), &FAIL, now());
        let due = now().after(SECOND);
        let (a, b) = both(&breaker, |b| admit(b, due), move |b| admit(b, due));
        assert_eq!((a.1 + b.1, breaker.state()), (1, State::HalfOpen));
        assert!(a.0.is_some() != b.0.is_some());
        let m = breaker.metrics(due);
        assert_eq!((m.in_flight, m.rejected), (1, 1));
    });
}

/// B6: while a failed probe is being settled nobody slips into its slot.
#[test]
fn b6_nobody_slips_in_behind_a_failed_probe() {
    explore(|| {
        let breaker = breaker(1);
        settle(&breaker, admit(&breaker, now()).0.unwrap(), &FAIL, now());
        let due = now().after(SECOND);
        let probe = admit(&breaker, due).0.unwrap();
        let (_, (slipped, _)) = both(&breaker, |b| settle(b, probe, &FAIL, due), move |b| admit(b, due));
        assert!(slipped.is_none());
        assert_eq!(breaker.state(), State::Open);
    });
}

/// B3: a probe that ends just as its lease is taken over is counted once, and only one of the two is heard.
#[test]
fn b3_a_slot_is_claimed_or_taken_over_never_both() {
    explore(|| {
        let leases = Arc::new(Leases::new());
        let era = Era::new(2);
        let Take::Taken(lease, Ousted::Nobody) = leases.take(era, now(), SECOND, 1) else { panic!("vacant") };
        // The two threads do not agree about the time: for one the lease has just run out.
        let (claim, take) = both(
            &leases,
            |l| {
                let claim = l.claim(lease, now());
                if claim == Claim::Held {
                    l.free(lease);
                }
                claim
            },
            move |l| l.take(era, now().after(SECOND), SECOND, 1),
        );
        match (claim, take) {
            (Claim::Held, Take::Taken(_, Ousted::Nobody) | Take::Full) => {}
            (Claim::Gone, Take::Taken(_, Ousted::Lost)) => {}
            other => panic!("{other:?}"),
        }
    });
}

/// A newcomer of a later round and a probe of the round before never both count that probe.
#[test]
fn a_probe_of_an_earlier_round_is_counted_once() {
    explore(|| {
        let leases = Arc::new(Leases::new());
        let (old, new) = (Era::new(2), Era::new(4));
        let Take::Taken(lease, _) = leases.take(old, now(), SECOND, 1) else { panic!("vacant") };
        let (claim, take) = both(
            &leases,
            |l| {
                let claim = l.claim(lease, now());
                if claim == Claim::Held {
                    l.free(lease);
                }
                claim
            },
            move |l| l.take(new, now(), SECOND, 1),
        );
        let Take::Taken(taken, ousted) = take else { panic!("a new round finds its slots vacant") };
        assert_eq!(claim == Claim::Held, ousted == Ousted::Nobody);
        assert_eq!(leases.claim(taken, now()), Claim::Held, "the newcomer's slot is its own");
    });
}

/// A renewal and a take-over of the same lease: one of them wins.
#[test]
fn b4_a_lease_is_renewed_or_taken_over() {
    explore(|| {
        let leases = Arc::new(Leases::new());
        let era = Era::new(2);
        let Take::Taken(mut lease, _) = leases.take(era, now(), SECOND, 1) else { panic!("vacant") };
        let almost = now().after(SECOND / 2);
        let (claim, take) = both(
            &leases,
            |l| {
                l.renew(&mut lease, almost, SECOND);
                l.claim(lease, almost)
            },
            move |l| l.take(era, now().after(SECOND), SECOND, 1),
        );
        assert_eq!(claim == Claim::Held, take == Take::Full, "{claim:?} {take:?}");
    });
}

/// A success just as the breaker trips: judged or late, never both, and it cannot close what has opened.
#[test]
fn b1_a_settle_beside_a_trip_is_judged_or_late() {
    explore(|| {
        let breaker = breaker(1);
        let (one, two) = (admit(&breaker, now()).0.unwrap(), admit(&breaker, now()).0.unwrap());
        both(
            &breaker,
            |b| settle(b, one, &FAIL, now()),
            |b| {
                if let Err(late) = b.settle_ok(two, now()) {
                    settle(b, late, &Verdict::Ok, now());
                }
            },
        );
        let m = breaker.metrics(now());
        assert_eq!((m.failures, m.successes + m.late, m.in_flight), (1, 1, 0));
        assert_eq!(breaker.state(), State::Open);
    });
}

/// The sum rule in a snapshot taken beside a call.
#[test]
fn the_sum_rule_holds_beside_a_call() {
    explore(|| {
        let breaker = breaker(1);
        let (m, ()) = both(
            &breaker,
            |b| b.metrics(now()),
            |b| {
                let permit = b.admit_fast(now()).unwrap();
                b.settle_ok(permit, now()).unwrap();
            },
        );
        assert_eq!(m.calls, m.successes + m.in_flight);
        assert!(m.calls <= 1);
    });
}

/// An order beside a trip: the order stands (B20).
#[test]
fn b20_an_order_beside_a_trip_stands() {
    explore(|| {
        let breaker = breaker(1);
        let permit = admit(&breaker, now()).0.unwrap();
        both(&breaker, |b| settle(b, permit, &FAIL, now()), |b| b.disable(now(), &mut Outbox::new(0)));
        assert_eq!(breaker.state(), State::Disabled);
    });
}

/// No record is lost when two threads roll the same bucket.
#[test]
fn a_timed_window_loses_no_record() {
    explore(|| {
        let window = Arc::new(Timed::new(SECOND * 16));
        let (past, era) = (now(), Era::new(1));
        window.record(era, past, BAD);
        let later = past.after(SECOND * 16);
        both(&window, |w| w.record(era, later, BAD), move |w| w.record(era, later, Mark::default()));
        assert_eq!(window.tally(era, later), Tally { calls: 2, failures: 1, slow: 0 });
    });
}

/// A straggler of an earlier era neither adds to the new one nor wipes it out.
#[test]
fn a_timed_window_keeps_stragglers_out() {
    explore(|| {
        let window = Arc::new(Timed::new(SECOND * 16));
        let (old, new) = (Era::new(1), Era::new(2));
        both(&window, |w| w.record(old, now(), BAD), move |w| w.record(new, now(), BAD));
        assert_eq!(window.tally(new, now()), Tally { calls: 1, failures: 1, slow: 0 });
    });
}

/// The totals of a count window are the sum of its marks, though two threads write the same place.
#[test]
fn a_count_window_keeps_its_books() {
    explore(|| {
        let window = Arc::new(Count::new(1));
        let era = Era::new(1);
        window.record(era, BAD);
        both(&window, |w| w.record(era, BAD), move |w| w.record(era, Mark::default()));
        let tally = window.tally(era);
        assert_eq!(tally.calls, 1);
        // Whichever came last is the one mark; a good call after it makes the window clean.
        window.record(era, Mark::default());
        assert_eq!(window.tally(era), Tally { calls: 1, failures: 0, slow: 0 });
    });
}

/// A straggler of an earlier era leaves no trace in a count window.
#[test]
fn a_count_window_keeps_stragglers_out() {
    explore(|| {
        let window = Arc::new(Count::new(2));
        let (old, new) = (Era::new(1), Era::new(2));
        both(&window, |w| w.record(old, BAD), move |w| w.record(new, Mark::default()));
        assert_eq!(window.tally(new), Tally { calls: 1, failures: 0, slow: 0 });
        window.record(new, Mark::default());
        window.record(new, Mark::default());
        assert_eq!(window.tally(new), Tally { calls: 2, failures: 0, slow: 0 });
    });
}

/// A call that ends just as its bucket is moved on is not left behind.
#[test]
fn in_flight_calls_leave_though_their_bucket_moves() {
    explore(|| {
        let calls = Arc::new(InFlight::new(SECOND * 14));
        let (era, start) = (Era::new(1), now());
        assert!(calls.enter(era, start));
        let later = start.after(SECOND * 16);
        both(&calls, |c| c.leave(era, start), move |c| assert!(c.enter(era, later)));
        assert_eq!(calls.older(era, later), 0, "the one left, the other is young");
        calls.leave(era, later);
        assert_eq!(calls.older(era, later.after(SECOND * 100)), 0);
    });
}

/// Two that move the same bucket on move it once.
#[test]
fn in_flight_calls_are_moved_once() {
    explore(|| {
        let calls = Arc::new(InFlight::new(SECOND * 14));
        let (era, start) = (Era::new(1), now());
        assert!(calls.enter(era, start));
        let later = start.after(SECOND * 16);
        both(&calls, |c| c.enter(era, later), move |c| c.enter(era, later));
        assert_eq!(calls.older(era, later), 1);
        assert_eq!(calls.older(era, later.after(SECOND * 14)), 3);
    });
}

/// B22: a look beside a call that moves a stuck one out of its bucket does not hide that one afterwards.
#[test]
fn b22_a_look_beside_a_move_hides_nobody() {
    explore(|| {
        let calls = Arc::new(InFlight::new(SECOND * 14));
        let (era, start) = (Era::new(1), now());
        assert!(calls.enter(era, start));
        let later = start.after(SECOND * 16);
        both(&calls, |c| assert!(c.enter(era, later)), move |c| c.older(era, later));
        assert_eq!(calls.older(era, later), 1);
    });
}

/// B22: a look at nobody, beside a call that starts, does not hide it once it is old; nor does a second start.
#[test]
fn b22_a_look_beside_a_start_hides_nobody() {
    explore(|| {
        let calls = Arc::new(InFlight::new(SECOND * 14));
        let era = Era::new(1);
        both(&calls, |c| assert!(c.enter(era, now())), move |c| c.older(era, now()));
        assert_eq!(calls.older(era, now().after(SECOND * 13)), 0);
        assert_eq!(calls.older(era, now().after(SECOND * 14)), 1);
    });
}

/// B22: of two calls that are told of late, the elder one says until when nobody need look.
#[test]
fn b22_two_starts_beside_each_other_are_both_seen() {
    explore(|| {
        let calls = Arc::new(InFlight::new(SECOND * 14));
        let (era, first) = (Era::new(1), now());
        let second = first.after(SECOND * 2);
        // Nobody need look until fourteen seconds from now; both calls started before.
        assert_eq!(calls.older(era, first.after(SECOND * 4)), 0);
        both(&calls, move |c| assert!(c.enter(era, first)), move |c| assert!(c.enter(era, second)));
        assert_eq!(calls.older(era, first.after(SECOND * 14)), 1);
        assert_eq!(calls.older(era, second.after(SECOND * 14)), 2);
    });
}

/// A tagged number counts every update of its era, and none of an earlier one.
#[test]
fn a_tagged_number_is_exact() {
    explore(|| {
        let number = Arc::new(Tagged::new());
        let (old, new) = (Era::new(1), Era::new(2));
        number.update(old, |n| n + 7);
        both(
            &number,
            |n| n.update(new, |v| v + 1),
            move |n| {
                n.update(old, |v| v + 1);
                n.update(new, |v| v + 1);
            },
        );
        assert_eq!(number.get(new), 2);
    });
}

/// What became of one who asked for a slot and, if it was given a place in line, looked whether it was called.
fn enter(slots: &Slots) -> Option<std::sync::Arc<Place>> {
    match slots.enter(1, Priority::Normal).0 {
        Entry::In(_) => None,
        Entry::Waiting(place) => Some(place),
        Entry::Full | Entry::Shed => panic!("the line is long enough for two"),
    }
}

/// L1, L4: one gives the only slot back while another asks for it: that one has it, at once or by a call.
#[test]
fn l4_a_slot_that_comes_back_meets_who_asks_for_it() {
    explore(|| {
        let slots = Arc::new(Slots::new(1));
        assert!(slots.take().is_some());
        let (_, place) = both(&slots, |s| drop(s.give_back()), |s| enter(s));
        if let Some(place) = place {
            assert!(slots.leave(&place), "no wake-up is lost");
        }
        assert_eq!(slots.load(), (1, 0));
        drop(slots.give_back());
        assert_eq!(slots.load(), (0, 0));
    });
}

/// L4: one leaves the line while the slot comes back: it is passed on, or free, and never lost or doubled.
#[test]
fn l4_leaving_the_line_and_being_called_are_not_both() {
    explore(|| {
        let slots = Arc::new(Slots::new(1));
        assert!(slots.take().is_some());
        let (first, second) = (enter_line(&slots), enter_line(&slots));
        let (_, granted) = both(&slots, |s| drop(s.give_back()), move |s| s.leave(&first));
        if granted {
            drop(slots.give_back());
        }
        assert_eq!(slots.load(), (1, 0));
        assert!(slots.leave(&second), "the slot is the second's, one way or the other");
        drop(slots.give_back());
        assert_eq!(slots.load(), (0, 0));
    });
}

fn enter_line(slots: &Slots) -> std::sync::Arc<Place> {
    match slots.enter(9, Priority::Normal).0 {
        Entry::Waiting(place) => place,
        other => panic!("{other:?}"),
    }
}

/// Of two who take the last slot one gets it.
#[test]
fn never_more_slots_than_the_limit() {
    explore(|| {
        let slots = Arc::new(Slots::new(1));
        let (a, b) = both(&slots, |s| s.take().is_some(), |s| s.take().is_some());
        assert!(a != b);
        assert_eq!(slots.load(), (1, 0));
    });
}

/// A limit that grows just as somebody comes to wait lets them in.
#[test]
fn a_growing_limit_forgets_nobody() {
    explore(|| {
        let slots = Arc::new(Slots::new(1));
        assert!(slots.take().is_some());
        let (_, place) = both(&slots, |s| drop(s.set_limit(|| 2)), |s| enter(s));
        if let Some(place) = place {
            assert!(slots.leave(&place));
        }
        assert_eq!(slots.load(), (2, 0));
    });
}

/// L5: of two complaints of one round trip one cuts.
#[test]
fn l5_one_cut_per_round_trip() {
    explore(|| {
        let law = Arc::new(Aimd::new(AimdConfig { initial: 10, minimum: 1, maximum: 64 }));
        let round = law.epoch();
        let (a, b) = both(&law, |l| l.overloaded(round), move |l| l.overloaded(round));
        assert!(a != b);
        assert_eq!(law.limit(), 7);
    });
}

/// Of two who ask a rate limit for what there is once, one gets it; what is given back is there again.
#[test]
fn a_rate_is_not_used_twice() {
    explore(|| {
        let config = RateConfig { permits: 1.0, per: SECOND, burst: None };
        let rate = Arc::new(Rate::new(Source::new("r"), config));
        let (a, b) = both(&rate, |r| r.take(1.0, now()), |r| r.take(1.0, now()));
        assert!(a.is_some() != b.is_some());
        for ration in [a, b].into_iter().flatten() {
            rate.refund(ration, &mut Outbox::new(0));
        }
        assert!(rate.take(1.0, now()).is_some());
        assert!(rate.take(1.0, now()).is_none());
    });
}
