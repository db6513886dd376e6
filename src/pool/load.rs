//! The load of a node: its calls in flight, and how long one is expected to take.
//!
//! What a call is expected to take is the peak EWMA of the good answers (Finagle's): a slow answer is
//! believed at once, quick ones only with time, and without fresh answers it decays to what is usual in the
//! pool.
//!
//! A failure adds load (P1): the place of a call that failed is held for a while as if the call were still
//! there. Otherwise a node that fails within a millisecond would always be the least loaded of all, and draw
//! every call into its black hole. Failures that are long past hold nothing (P2).

use std::time::Duration;

use crate::base::Time;
use crate::window::Ewma;

/// How long the place of a failed call is held: a node that fails at once gets no more calls than one that
/// takes this long for each.
pub(super) const HELD: Duration = Duration::from_secs(10);
/// How long it takes until a latency is mostly forgotten: long enough to bridge the gaps in LLM traffic.
pub(super) const TAU: Duration = Duration::from_secs(30);
/// Places held at most: more would say nothing new.
const MOST_HELD: u32 = 64;
/// What a call is expected to take while no answer of any node is known, in seconds.
pub(super) const UNKNOWN: f64 = 1.0;

/// What a call is taken to cost at least, in seconds: below it the differences are the clock's.
const LEAST: f64 = 0.001;

/// The calls of one node.
#[derive(Debug)]
pub(super) struct Load {
    in_flight: u32,
    held: u32,
    cost: Ewma,
}

impl Load {
    pub(super) const fn new() -> Self {
        Self { in_flight: 0, held: 0, cost: Ewma::new(TAU) }
    }

    pub(super) const fn enter(&mut self) {
        self.in_flight += 1;
    }

    pub(super) fn leave(&mut self) {
        debug_assert!(self.in_flight > 0, "each finish belongs to one pick");
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// A good answer took so long.
    pub(super) fn answered(&mut self, took: Duration, now: Time) {
        self.cost.observe_peak(took.as_secs_f64(), now);
    }

    /// Holds the place of a call that failed; says whether it did, and so must be released again.
    pub(super) const fn hold(&mut self) -> bool {
        let holds = self.held < MOST_HELD;
        self.held += holds as u32;
        holds
    }

    pub(super) const fn release(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    pub(super) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Calls there, those included whose places are held.
    pub(super) const fn busy(&self) -> u32 {
        self.in_flight.saturating_add(self.held)
    }

    /// Seconds of work that are there, where `usual` stands for what is not known.
    pub(super) fn work(&self, now: Time, usual: f64) -> f64 {
        f64::from(self.busy()) * self.cost.value_at(now, usual).max(LEAST)
    }

    /// Seconds of work that would be there with one call more.
    pub(super) fn work_with_one_more(&self, now: Time, usual: f64) -> f64 {
        f64::from(self.busy().saturating_add(1)) * self.cost.value_at(now, usual).max(LEAST)
    }
}
