//! The limits' inline doors: for a first attempt that nothing holds up, and that goes well.
//!
//! What they cannot decide goes to the gates, as ever: whoever meets a shut one gives back what it has taken and
//! comes again by the machine, which waits, refuses and tells.

use std::sync::Arc;
use std::task::Waker;

use super::Limits;
use super::gates::Passes;
use crate::base::{Outbox, Time, Verdict};
use crate::policy::limit::Slot;

/// What a first attempt has taken from its limits in passing, without the machine.
#[derive(Debug, Default)]
pub struct Taken {
    /// A ration of one from so many of the rates, the first ones.
    rates: usize,
    slot: Option<Slot>,
}

impl Taken {
    /// Nothing.
    pub const NOTHING: Self = Self { rates: 0, slot: None };
}

impl Limits {
    /// May the time lag behind by a few milliseconds, as far as they are concerned?
    #[must_use]
    pub fn bear_lag(&self) -> bool {
        self.rates.iter().all(|rate| rate.bears_lag())
    }

    /// Passes them all, if nobody waits and nothing is short. The call is one of normal importance, and weighs one at
    /// each rate. `now` is looked at by the rates, `exact` by a slot where it is the last one. False: a gate is shut,
    /// [give back](Limits::give_back) what was taken before it, and ask the machine.
    #[must_use]
    #[inline]
    pub fn take(&self, taken: &mut Taken, now: Time, exact: impl FnOnce() -> Time) -> bool {
        for rate in &self.rates {
            if !rate.take_one(now) {
                return false;
            }
            taken.rates += 1;
        }
        let Some(limit) = &self.concurrency else { return true };
        taken.slot = limit.take(exact);
        taken.slot.is_some()
    }

    /// The attempt was served: its rations are used, its slot comes free; whom to wake. None if the limit wants to know
    /// more: [let it land](Limits::land).
    #[must_use]
    #[inline]
    pub fn served(&self, taken: &mut Taken, exact: impl FnOnce() -> Time) -> Option<Option<Waker>> {
        let (Some(limit), Some(slot)) = (&self.concurrency, taken.slot.take()) else { return Some(None) };
        match limit.release_fast(slot, exact) {
            Ok(waker) => Some(waker),
            Err(slot) => {
                taken.slot = Some(slot);
                None
            }
        }
    }

    /// The attempt was made and is over.
    pub fn land(&self, taken: Taken, verdict: &Verdict, now: Time, out: &mut Outbox) {
        self.passes(taken).land(verdict, now, out);
    }

    /// The attempt is not made: everything goes back.
    pub fn give_back(&self, taken: Taken, now: Time, out: &mut Outbox) {
        self.passes(taken).give_back(now, out);
    }

    /// What was taken in passing, as the machine has it.
    pub(super) fn passes(&self, taken: Taken) -> Passes {
        let rates = self.rates.iter().take(taken.rates);
        let slot = self.concurrency.as_ref().zip(taken.slot);
        Passes::of(
            rates.map(|rate| (Arc::clone(rate), 1.0, rate.one())).collect(),
            slot.map(|(limit, slot)| (Arc::clone(limit), slot)),
        )
    }
}
