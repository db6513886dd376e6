//! The limits' inline doors: for a first attempt that nothing holds up, and that goes well.
//!
//! What they cannot decide goes to the gates, as ever: whoever meets a shut one gives back what it has taken and
//! comes again by the machine, which waits, refuses and tells.

use std::sync::Arc;
use std::task::Waker;

use super::Limits;
use super::gates::Passes;
use crate::base::{Outbox, Time, Verdict};
use crate::policy::limit::{Ration, Slot};

/// How many rates a call can pass without a list: requests and tokens, and one more.
const RATES: usize = 3;

/// What a first attempt has taken from its limits in passing, without the machine.
#[derive(Debug, Default)]
pub struct Taken {
    rations: [Option<Ration>; RATES],
    slot: Option<Slot>,
}

impl Limits {
    /// Can a call take all of them in passing?
    #[must_use]
    pub fn are_few(&self) -> bool {
        self.rates.len() <= RATES
    }

    /// May the time lag behind by a few milliseconds, as far as they are concerned?
    #[must_use]
    pub fn bear_lag(&self) -> bool {
        self.rates.iter().all(|rate| rate.bears_lag())
    }

    /// Passes them all, if nobody waits and nothing is short. The call is one of normal importance, and weighs one at
    /// each rate; there are [few](Limits::are_few). `now` is looked at by the rates, `exact` by a slot where it is the
    /// last one.
    ///
    /// # Errors
    /// What was taken before the gate that is shut: [give it back](Limits::give_back), and ask the machine.
    #[inline]
    pub fn take(&self, now: Time, exact: impl FnOnce() -> Time) -> Result<Taken, Taken> {
        let mut taken = Taken::default();
        for (rate, place) in self.rates.iter().zip(&mut taken.rations) {
            *place = rate.take_one(now);
            if place.is_none() {
                return Err(taken);
            }
        }
        if let Some(limit) = &self.concurrency {
            taken.slot = limit.take(exact);
            if taken.slot.is_none() {
                return Err(taken);
            }
        }
        Ok(taken)
    }

    /// The attempt was served: its rations are used, its slot comes free; whom to wake.
    ///
    /// # Errors
    /// What was taken, if the limit wants to know more: [let it land](Limits::land).
    #[inline]
    pub fn served(&self, taken: Taken, exact: impl FnOnce() -> Time) -> Result<Option<Waker>, Taken> {
        match (&self.concurrency, taken.slot) {
            (Some(limit), Some(slot)) => limit
                .release_fast(slot, exact)
                .map_err(|slot| Taken { rations: taken.rations, slot: Some(slot) }),
            _ => Ok(None),
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
        let rations = self.rates.iter().zip(taken.rations);
        let rations = rations.filter_map(|(rate, ration)| Some((Arc::clone(rate), 1.0, ration?)));
        let slot = self.concurrency.as_ref().zip(taken.slot);
        Passes::of(rations.collect(), slot.map(|(limit, slot)| (Arc::clone(limit), slot)))
    }
}
