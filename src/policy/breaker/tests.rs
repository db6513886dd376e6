//! The lines of the semantics that the breaker owns, one test each, named by their ids.

use std::time::Duration;

use super::*;
use crate::base::{Failure, Verdict};

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

fn fail() -> Verdict {
    Verdict::Fail(Failure::plain())
}

/// Five failures in a row open it, for thirty seconds; two good probes close it: the seed's own rule.
#[test]
fn it_trips_and_recovers() {
    let mut desk = Desk::new(BreakerConfig::default());
    desk.calls(5, fail());
    assert_eq!(desk.state(), State::Open);
    desk.advance(SECOND * 30);
    desk.calls(2, Verdict::Ok);
    assert_eq!(desk.state(), State::Closed);
}
