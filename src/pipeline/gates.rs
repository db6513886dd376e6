//! The limits before an attempt: the rates in their order, then the slots.
//!
//! Passing them is all or nothing (L2): whoever is refused at one, or gives up waiting there, gives back what
//! the gates before it had given. While it waits for a slot it keeps its rations, while it waits for a ration
//! it has no slot yet.

use std::sync::Arc;
use std::time::Duration;

use super::execution::Held;
use super::{Execution, Finish, Moment, Pause, Step, Target};
use crate::base::{Event, EventKind, Outbox, Rejection, SourceId, Time, Verdict};
use crate::policy::breaker::Breaker;
use crate::policy::limit::{Concurrency, Outcome, Place, Priority, Rate, Ration, Slot, concurrency, rate};

/// The longest that a callee's own word keeps a rate limit closed: what a node's cool-down is capped by.
const LONGEST_CLOSURE: Duration = Duration::from_mins(10);

/// The limits of a pipeline, a manager or a node.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// How much may be asked for in a stretch of time; each is asked in turn.
    pub rates: Vec<Arc<Rate>>,
    /// How many calls may run at once.
    pub concurrency: Option<Arc<Concurrency>>,
}

/// What a call is to its limits: how important it is, and what it weighs at the rate limits that weigh their
/// calls; at every other it is one.
#[derive(Debug, Default)]
pub struct Costs {
    /// What is less is shed first.
    pub priority: Priority,
    weights: Vec<(SourceId, f64)>,
}

impl Costs {
    /// The call weighs `cost` at the limit `rate`.
    pub fn add(&mut self, rate: SourceId, cost: f64) {
        self.weights.push((rate, cost));
    }

    fn at(&self, rate: &Rate) -> f64 {
        self.told(rate).unwrap_or(1.0)
    }

    fn told(&self, rate: &Rate) -> Option<f64> {
        let id = rate.source().id();
        self.weights.iter().find(|(other, _)| *other == id).map(|(_, cost)| *cost)
    }
}

/// What an attempt has got from its limits so far, and where it waits for more.
#[derive(Debug, Default)]
pub(super) struct Passes {
    rations: Vec<(Arc<Rate>, f64, Ration)>,
    slot: Option<(Arc<Concurrency>, Slot)>,
    standing: Option<Standing>,
}

/// A place in one limit's line.
#[derive(Debug)]
struct Standing {
    place: Arc<Place>,
    line: Line,
}

#[derive(Debug)]
enum Line {
    Rate(Arc<Rate>, f64),
    /// Until when it is worth waiting there.
    Slot(Arc<Concurrency>, Time),
}

/// How far a passage has come.
#[derive(Debug)]
pub(super) enum Passage {
    Through,
    Waiting(Pause),
    Shut(Rejection),
}

impl Execution {
    /// Admits the next attempt, or says why there is none.
    pub(super) fn next_attempt(&mut self, at: &mut Moment<'_>) -> Step {
        if self.plan.limits.are_off() {
            return self.ask_target(at);
        }
        // What is known to be refused costs no quota.
        if self.target_may_be_asked(at.now)
            && let Err(held_up) = self.pass_limits(at)
        {
            return held_up;
        }
        let step = self.ask_target(at);
        // Whoever asks outside for a node asks for the attempt that has passed here.
        if !matches!(step, Step::Attempt(_) | Step::AskBalancer { .. }) {
            self.passes.give_back(at.now, at.out);
        }
        step
    }

    fn target_may_be_asked(&self, now: Time) -> bool {
        match &self.plan.target {
            Target::Bare => true,
            Target::Breaker(breaker) => breaker.would_admit(now),
            Target::Keyed(keyed) => keyed.get(self.key(), now).would_admit(now),
            Target::Roster(roster) => roster.is_ready_outside(&[], &self.costs, now),
        }
    }

    /// Goes through the limits; the step that holds it up.
    fn pass_limits(&mut self, at: &mut Moment<'_>) -> Result<(), Step> {
        let deadline = self.deadline.map(|expiry| expiry.at);
        match self.plan.limits.pass(&mut self.passes, &self.costs, deadline, at) {
            Passage::Through => Ok(()),
            Passage::Waiting(until) => Err(Step::Sleep { until }),
            Passage::Shut(_) if !self.history.is_empty() => Err(self.give_up(at)),
            Passage::Shut(rejection) => Err(reject(rejection, at)),
        }
    }

    /// Goes through the limits if that can be done without waiting.
    pub(super) fn pass_at_once(&mut self, at: &mut Moment<'_>) -> bool {
        if self.plan.limits.are_off() {
            return true;
        }
        self.plan.limits.pass_at_once(&mut self.passes, &self.costs, at)
    }

    /// Asks for admission where the attempt is to be made.
    fn ask_target(&mut self, at: &mut Moment<'_>) -> Step {
        let plan = Arc::clone(&self.plan);
        match &plan.target {
            Target::Bare => self.take_off(Held::Nothing, None, at),
            Target::Breaker(breaker) => self.through(breaker, at),
            Target::Keyed(keyed) => {
                let breaker = keyed.get(self.key(), at.now);
                self.through(&breaker, at)
            }
            Target::Roster(roster) => self.among(roster, at),
        }
    }

    fn through(&mut self, breaker: &Arc<Breaker>, at: &mut Moment<'_>) -> Step {
        match breaker.admit(at.now, at.dice, at.out) {
            Ok(permit) => self.take_off(Held::Permit(Arc::clone(breaker), permit), None, at),
            // An open breaker ends the loop (A1): what the caller learns is the failure that opened it.
            Err(_) if !self.history.is_empty() => self.give_up(at),
            Err(rejection) => reject(rejection, at),
        }
    }
}

/// Ends a call that nobody was asked for.
fn reject(rejection: Rejection, at: &mut Moment<'_>) -> Step {
    at.out.emit(EventKind::CallRejected, || Event::CallRejected {
        source: rejection.source.clone(),
        reason: rejection.reason,
        retry_after: rejection.retry_after,
    });
    Step::Finish(Finish::Reject(rejection))
}

impl Limits {
    /// Is there none?
    #[must_use]
    #[inline]
    pub fn are_off(&self) -> bool {
        self.rates.is_empty() && self.concurrency.is_none()
    }

    /// Have all of them room for such a call? A look that changes nothing.
    pub(super) fn have_room(&self, costs: &Costs, now: Time) -> bool {
        self.concurrency.as_ref().is_none_or(|limit| limit.has_room(costs.priority))
            && self.rates.iter().all(|rate| rate.has_room(costs.at(rate), costs.priority, now))
    }

    /// Goes through the gates without waiting, or not at all.
    pub(super) fn pass_at_once(&self, passes: &mut Passes, costs: &Costs, at: &mut Moment<'_>) -> bool {
        let through = matches!(self.pass(passes, costs, Some(at.now), at), Passage::Through);
        if !through {
            passes.give_back(at.now, at.out);
        }
        through
    }

    /// Goes on through the gates, from where `passes` has come to. One that is shut gives back all.
    pub(super) fn pass(
        &self,
        passes: &mut Passes,
        costs: &Costs,
        deadline: Option<Time>,
        at: &mut Moment<'_>,
    ) -> Passage {
        let passage = match self.ration(passes, costs, deadline, at) {
            Passage::Through => self.slot(passes, costs.priority, deadline, at),
            held_up => held_up,
        };
        if matches!(passage, Passage::Shut(_)) {
            passes.give_back(at.now, at.out);
        }
        passage
    }

    fn ration(
        &self,
        passes: &mut Passes,
        costs: &Costs,
        deadline: Option<Time>,
        at: &mut Moment<'_>,
    ) -> Passage {
        for rate in self.rates.iter().skip(passes.rations.len()) {
            let cost = costs.at(rate);
            let entry = match passes.standing.take() {
                Some(Standing { place, line: Line::Rate(..) }) => {
                    rate.resume(place, cost, deadline, at.now, at.out)
                }
                other => {
                    passes.standing = other;
                    rate.enter(cost, costs.priority, deadline, at.now)
                }
            };
            match entry {
                rate::Entry::In(ration) => passes.rations.push((Arc::clone(rate), cost, ration)),
                rate::Entry::Waiting(place, due) => {
                    let line = Line::Rate(Arc::clone(rate), cost);
                    passes.standing = Some(Standing { place: Arc::clone(&place), line });
                    return Passage::Waiting(Pause::in_line(due.max(at.now), place));
                }
                rate::Entry::Refused(rejection) => return Passage::Shut(rejection),
            }
        }
        Passage::Through
    }

    fn slot(
        &self,
        passes: &mut Passes,
        priority: Priority,
        deadline: Option<Time>,
        at: &mut Moment<'_>,
    ) -> Passage {
        let Some(limit) = self.concurrency.as_ref().filter(|_| passes.slot.is_none()) else {
            return Passage::Through;
        };
        let entry = match passes.standing.take() {
            Some(Standing { place, line: Line::Slot(_, until) }) => limit.resume(place, until, at.now),
            _ => limit.enter(priority, at.now, at.out),
        };
        match entry {
            concurrency::Entry::In(slot) => {
                passes.slot = Some((Arc::clone(limit), slot));
                Passage::Through
            }
            concurrency::Entry::Waiting(place, until) => {
                let until = deadline.map_or(until, |deadline| until.min(deadline));
                let line = Line::Slot(Arc::clone(limit), until);
                passes.standing = Some(Standing { place: Arc::clone(&place), line });
                Passage::Waiting(Pause::in_line(until, place))
            }
            concurrency::Entry::Refused(rejection) => Passage::Shut(rejection),
        }
    }
}

impl Passes {
    /// What was taken without the machine.
    pub(super) const fn of(
        rations: Vec<(Arc<Rate>, f64, Ration)>,
        slot: Option<(Arc<Concurrency>, Slot)>,
    ) -> Self {
        Self { rations, slot, standing: None }
    }

    /// The first content of a stream has come, so long after the attempt began.
    pub(super) fn first_item(&self, wait: Duration, now: Time, out: &mut Outbox) {
        if let Some((limit, slot)) = &self.slot {
            limit.first_item(slot, wait, now, out);
        }
    }

    /// The attempt used so much in truth, at the rate limits that weigh their calls (L6).
    pub(super) fn settle(&mut self, actual: &Costs, now: Time, out: &mut Outbox) {
        for (rate, cost, _) in &mut self.rations {
            if let Some(used) = actual.told(rate) {
                rate.settle(*cost, used, now, out);
                *cost = used;
            }
        }
    }

    /// The attempt was made and is over: its rations are used, its slot comes free.
    pub(super) fn land(self, verdict: &Verdict, now: Time, out: &mut Outbox) {
        if let Verdict::Throttled(failure) = verdict
            && let Some(delay) = failure.delay
        {
            let until = now.after(delay.min(LONGEST_CLOSURE));
            self.rations.iter().for_each(|(rate, ..)| rate.close(until));
        }
        if let Some((limit, slot)) = self.slot {
            limit.release(slot, Outcome::of(verdict), now, out);
        }
    }

    /// The attempt is not made: everything goes back, and a place in line is left at once.
    pub(super) fn give_back(&mut self, now: Time, out: &mut Outbox) {
        let Self { rations, slot, standing } = std::mem::take(self);
        let left = match standing {
            Some(Standing { place, line: Line::Slot(limit, _) }) => {
                limit.leave(&place, now).map(|slot| (limit, slot))
            }
            Some(Standing { place, line: Line::Rate(rate, cost) }) => {
                rate.leave(&place, cost, out);
                None
            }
            None => None,
        };
        for (limit, slot) in [left, slot].into_iter().flatten() {
            limit.release(slot, Outcome::Nothing, now, out);
        }
        for (rate, _, ration) in rations {
            rate.refund(ration, out);
        }
    }
}
