//! The lines of the semantics that the breaker owns, one test each, named by their ids.

mod access;
mod doors;
mod figures;
mod leases;
mod open_time;
mod probes;
mod rates;
mod stress;

use std::time::Duration;

use super::*;
use crate::base::{Blame, Failure, Verdict};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A breaker with a clock, dice and an outbox of its own.
struct Desk {
    breaker: Breaker,
    now: Time,
    dice: SplitMix,
    out: Outbox,
}

impl Desk {
    fn new(config: BreakerConfig) -> Self {
        let config = config.validate().expect("a valid configuration");
        // Neither zero nor a whole millisecond: nothing may depend on where the clock starts.
        let now = Time::from_nanos(1_234_567_891);
        let breaker = Breaker::new(Source::new("b"), config);
        Self { breaker, now, dice: SplitMix::new(7), out: Outbox::new(0) }
    }

    fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    fn try_admit(&mut self) -> Result<Permit, crate::base::Rejection> {
        self.breaker.admit(self.now, &mut self.dice, &mut self.out)
    }

    fn admit(&mut self) -> Permit {
        self.try_admit().expect("admitted")
    }

    fn settle(&mut self, permit: Permit, verdict: Verdict) {
        self.breaker.settle(permit, &verdict, self.now, &mut self.dice, &mut self.out);
    }

    fn call(&mut self, verdict: Verdict) {
        let permit = self.admit();
        self.settle(permit, verdict);
    }

    fn calls(&mut self, times: u32, verdict: Verdict) {
        for _ in 0..times {
            self.call(verdict);
        }
    }

    fn state(&self) -> State {
        self.breaker.state()
    }

    fn metrics(&self) -> Metrics {
        self.breaker.metrics(self.now)
    }
}

impl Desk {
    /// Trips it by consecutive failures.
    fn trip(&mut self) {
        self.calls(self.breaker.config().failure_threshold.expect("the rule is on"), FAIL);
        assert_eq!(self.state(), State::Open);
    }

    /// What has happened since the last look: the kind of each event, with its reason.
    fn events(&mut self) -> Vec<(&'static str, &'static str)> {
        let told = |event: Event| match event {
            Event::CircuitOpened { reason, .. } => ("opened", reason),
            Event::CircuitClosed { reason, .. } => ("closed", reason),
            Event::WouldOpen { reason, .. } => ("would_open", reason),
            event => (event.kind().as_str(), ""),
        };
        self.out.drain().map(told).collect()
    }
}

const FAIL: Verdict = Verdict::Fail(Failure::plain());

fn failure(blame: Blame, delay: Option<Duration>) -> Failure {
    Failure { blame, delay, ..Failure::plain() }
}

fn throttled(delay: Option<Duration>) -> Verdict {
    Verdict::Throttled(failure(Blame::Rate, delay))
}

fn fail_after(delay: Duration) -> Verdict {
    Verdict::Fail(failure(Blame::Endpoint, Some(delay)))
}

/// Five failures in a row open it, for thirty seconds; two good probes close it.
#[test]
fn it_trips_and_recovers() {
    let mut desk = Desk::new(BreakerConfig::default());
    desk.calls(4, FAIL);
    desk.call(Verdict::Ok);
    desk.calls(4, FAIL);
    assert_eq!(desk.state(), State::Closed, "a success in between breaks the row");
    desk.call(FAIL);
    assert_eq!(desk.state(), State::Open);
    let refused = desk.try_admit().expect_err("open");
    assert_eq!((refused.reason, refused.retry_after), ("open", Some(SECOND * 30)));
    desk.advance(SECOND * 30);
    assert_eq!(desk.state(), State::Open, "reading changes nothing");
    desk.call(Verdict::Ok);
    assert_eq!(desk.state(), State::HalfOpen);
    desk.call(Verdict::Ok);
    assert_eq!(desk.state(), State::Closed);
    let told = [("opened", "consecutive_failures"), ("circuit_half_opened", ""), ("closed", "recovered")];
    assert_eq!(desk.events(), told);
    let metrics = desk.metrics();
    assert_eq!((metrics.successes, metrics.failures, metrics.rejected, metrics.opened), (3, 9, 1, 1));
    assert_eq!(metrics.mean_recovery_time, Some(SECOND * 30));
    assert_eq!(metrics.state_since, Some(desk.now));
}

/// The whole breaker, its rules included, is small enough for one per node, model and key.
#[test]
fn a_breaker_is_small() {
    assert!(size_of::<Breaker>() <= 440, "{} bytes", size_of::<Breaker>());
    assert!(size_of::<Permit>() <= 32, "{} bytes", size_of::<Permit>());
    let desk = Desk::new(BreakerConfig::default());
    assert!(desk.breaker.memory.is_none(), "the default rules need no window");
}
