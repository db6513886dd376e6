//! The machine that carries one call from admission to answer.

use std::sync::Arc;
use std::time::Duration;

use super::gates::Passes;
use super::passing::Taken;
use super::roster::Seat;
use super::{Attempt, Costs, Finish, Plan, Roster, Step, Target, Tried};
use crate::base::{Dice, Event, EventKind, FailureKind, NodeId, Outbox, Time, Verdict};
use crate::policy::breaker::{Breaker, Permit};
use crate::policy::limit::Priority;
use crate::policy::timeout::{Expiry, Phase};

/// The moment, the dice and the outbox: what every step of the machine is given.
pub struct Moment<'a> {
    /// The present.
    pub now: Time,
    /// The dice.
    pub dice: &'a mut dyn Dice,
    /// Where events go.
    pub out: &'a mut Outbox,
}

/// One call under way. Whoever drops it unfinished must `abandon` it first, for it holds a permit.
#[derive(Debug)]
pub struct Execution {
    pub(super) plan: Arc<Plan>,
    key: Option<Box<str>>,
    began: Time,
    pub(super) deadline: Option<Expiry>,
    pub(super) attempts: u32,
    pub(super) retries: u32,
    pub(super) waited: Duration,
    /// The wait that the callee asked for, while the user's own back-off is asked for its.
    pub(super) wish: Duration,
    pub(super) committed: bool,
    /// What it weighs at rate limits.
    pub(super) costs: Costs,
    /// What it has got from the limits for the attempt that is to come.
    pub(super) passes: Passes,
    /// Has anything ever been handed out? Then no other answer can stand in its place.
    pub(super) begun: bool,
    /// What the latest attempt failed by; none if it was ignored.
    pub(super) latest: Option<FailureKind>,
    pub(super) flight: Option<Flight>,
    /// The attempts at work beside that one.
    pub(super) others: Vec<Flight>,
    /// How many hedges have been made.
    pub(super) hedges: u32,
    /// Did something stand in the way of a hedge for the attempt under way?
    pub(super) unhedged: bool,
    pub(super) tried: Vec<NodeId>,
    pub(super) history: Vec<Tried>,
}

/// An attempt under way and what it holds.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) number: u32,
    pub(super) began: Time,
    seat: Held,
    passes: Passes,
}

#[derive(Debug)]
pub(super) enum Held {
    Nothing,
    Permit(Arc<Breaker>, Permit),
    Seat(Arc<Roster>, Seat),
}

impl Flight {
    /// The node that is asked, in a pool.
    pub(super) const fn node(&self) -> Option<NodeId> {
        match &self.seat {
            Held::Seat(_, seat) => Some(seat.node),
            Held::Nothing | Held::Permit(..) => None,
        }
    }
}

impl Execution {
    /// Begins a call. `key` picks the breaker where there is one per key; `inherited` is an outer deadline.
    pub fn start(
        plan: Arc<Plan>,
        key: Option<Box<str>>,
        inherited: Option<Expiry>,
        at: &mut Moment<'_>,
    ) -> (Self, Step) {
        Self::start_weighed(plan, key, Costs::default(), inherited, at)
    }

    /// The same for a call that weighs something else than one at rate limits.
    pub fn start_weighed(
        plan: Arc<Plan>,
        key: Option<Box<str>>,
        costs: Costs,
        inherited: Option<Expiry>,
        at: &mut Moment<'_>,
    ) -> (Self, Step) {
        let own = plan.deadline(at.now);
        let deadline = [own, inherited].into_iter().flatten().min_by_key(|expiry| expiry.at);
        let mut call = Self { key, costs, ..Self::unbegun(plan, at.now, deadline) };
        if let Target::Roster(roster) = &call.plan.target {
            roster.count_call();
        }
        let step = call.next_attempt(at);
        let step = call.or_fall_back(step);
        (call, step)
    }

    /// A call whose first attempt is under way already: its driver took it through the inline doors of its limits
    /// and its breaker at `began`, and now there is more to decide than these can.
    #[must_use]
    pub fn under_way(
        plan: Arc<Plan>,
        taken: Taken,
        permit: Option<(Arc<Breaker>, Permit)>,
        began: Time,
    ) -> Self {
        let seat = permit.map_or(Held::Nothing, |(breaker, permit)| Held::Permit(breaker, permit));
        let flight = Some(Flight { number: 1, began, seat, passes: plan.limits.passes(taken) });
        let deadline = plan.deadline(began);
        Self { attempts: 1, flight, ..Self::unbegun(plan, began, deadline) }
    }

    fn unbegun(plan: Arc<Plan>, began: Time, deadline: Option<Expiry>) -> Self {
        Self {
            plan,
            key: None,
            began,
            deadline,
            attempts: 0,
            retries: 0,
            waited: Duration::ZERO,
            wish: Duration::ZERO,
            committed: false,
            costs: Costs::default(),
            passes: Passes::default(),
            begun: false,
            latest: None,
            flight: None,
            others: Vec::new(),
            hedges: 0,
            unhedged: false,
            tried: Vec::new(),
            history: Vec::new(),
        }
    }

    /// The wait of a [`Step::Sleep`] is over.
    pub fn wake(&mut self, at: &mut Moment<'_>) -> Step {
        let step = self.next_attempt(at);
        self.or_fall_back(step)
    }

    /// What came of the attempt.
    pub fn record(&mut self, verdict: &Verdict, at: &mut Moment<'_>) -> Step {
        let missed = if *verdict == Verdict::Ok { self.missed(at.now) } else { None };
        if missed.is_some() {
            self.with_permit(|_, permit| permit.mark_late());
        }
        let number = self.flight.as_ref().map_or(self.attempts, |flight| flight.number);
        let (node, took) = self.land(verdict, at);
        self.latest = verdict.failure().map(|failure| failure.kind);
        let step = match verdict {
            Verdict::Ok => self.succeeded(missed, at),
            Verdict::Ignore => Step::Finish(Finish::Raise),
            Verdict::Fail(failure) | Verdict::Throttled(failure) => {
                self.note_failure(number, failure.kind, node, took);
                self.after_failure(failure, node, at)
            }
        };
        if matches!(step, Step::Finish(Finish::Return)) {
            self.tell_handled();
        }
        self.or_fall_back(step)
    }

    /// The stream's first content item is on its way to the caller: from now on nothing is tried again (A7).
    pub fn commit(&mut self, at: &mut Moment<'_>) {
        let now = at.now;
        self.begun = true;
        if !std::mem::replace(&mut self.committed, true) {
            self.with_permit(|breaker, permit| breaker.first_item(permit, now));
            if let Some(flight) = &self.flight {
                let wait = now.since(flight.began);
                flight.passes.first_item(wait, now, at.out);
                if let Held::Seat(_, seat) = &flight.seat {
                    seat.passes.first_item(wait, now, at.out);
                }
            }
        }
    }

    /// The user knows how to go on after what has been handed out: further attempts are allowed again.
    pub const fn uncommit(&mut self) {
        self.committed = false;
    }

    /// The stream gave a sign of life: a probe's lease is renewed (B4).
    pub fn progress(&mut self, now: Time) {
        self.with_permit(|breaker, permit| breaker.renew(permit, now));
    }

    /// Does anything depend on the signs of life of the attempt under way, once its first item was handed out?
    #[must_use]
    pub fn wants_progress(&self) -> bool {
        let held = self.flight.as_ref().map(|flight| &flight.seat);
        !self.committed
            || matches!(
                held,
                Some(Held::Permit(_, permit) | Held::Seat(_, Seat { permit: Some((_, permit)), .. })) if permit.is_probe()
            )
    }

    /// The caller is gone: the permit goes back, and nobody is blamed (B7).
    pub fn abandon(&mut self, at: &mut Moment<'_>) {
        if self.flight.is_some() {
            self.land(&Verdict::Ignore, at);
        }
        self.give_up_others(at);
        self.passes.give_back(at.now, at.out);
    }

    /// The attempt under way has used so much at rate limits, as its answer says (L6).
    pub fn settle_costs(&mut self, actual: &Costs, at: &mut Moment<'_>) {
        if let Some(flight) = &mut self.flight {
            flight.passes.settle(actual, at.now, at.out);
            if let Held::Seat(_, seat) = &mut flight.seat {
                seat.passes.settle(actual, at.now, at.out);
            }
        }
    }

    /// The clock that will expire first while we wait in `phase` since `waiting_since`.
    #[must_use]
    pub fn binding(&self, phase: Phase, waiting_since: Time) -> Option<Expiry> {
        let attempt_began = self.flight.as_ref().map_or(self.began, |flight| flight.began);
        self.plan.timeout.binding(phase, self.deadline, attempt_began, waiting_since)
    }

    /// The moment by which the whole call must be over.
    #[must_use]
    pub const fn deadline(&self) -> Option<Expiry> {
        self.deadline
    }

    /// How important the call is.
    #[must_use]
    pub const fn priority(&self) -> Priority {
        self.costs.priority
    }

    /// The failed attempts, in order.
    #[must_use]
    pub fn history(&self) -> &[Tried] {
        &self.history
    }

    /// How many attempts have been made or begun.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When the call began.
    pub(super) const fn began(&self) -> Time {
        self.began
    }

    /// The call's key, where breakers are kept by key.
    pub(super) fn key(&self) -> &str {
        self.key.as_deref().unwrap_or_default()
    }

    /// The plan it follows.
    #[must_use]
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub(super) fn among(&mut self, roster: &Arc<Roster>, at: &mut Moment<'_>) -> Step {
        self.offer(roster, at.now).unwrap_or_else(|| self.in_turn(roster, at))
    }

    pub(super) fn in_turn(&mut self, roster: &Arc<Roster>, at: &mut Moment<'_>) -> Step {
        if let Some(seat) = roster.pick(self.key.as_deref(), &self.tried, &self.costs, at) {
            return self.seated(roster, seat, at);
        }
        // A node that failed this call is asked again only when no other is left, the last one last (A15).
        if let Some((_, others)) = self.tried.split_last().filter(|_| !self.tried.is_empty()) {
            let last = self.tried[others.len()];
            let seat = roster
                .pick(self.key.as_deref(), &[last], &self.costs, at)
                .or_else(|| roster.pick(self.key.as_deref(), &[], &self.costs, at));
            return match seat {
                Some(seat) => self.seated(roster, seat, at),
                None => self.give_up(at),
            };
        }
        self.nobody_ready(roster, at)
    }

    pub(super) fn seated(&mut self, roster: &Arc<Roster>, seat: Seat, at: &mut Moment<'_>) -> Step {
        let node = seat.node;
        if let Some(failed) = self.tried.last().copied().filter(|failed| *failed != node) {
            roster.count_failover();
            self.tell_failed_over(failed, node, at);
        }
        Step::Attempt(self.take_seat(roster, seat, at))
    }

    pub(super) fn take_seat(&mut self, roster: &Arc<Roster>, seat: Seat, at: &Moment<'_>) -> Attempt {
        let node = seat.node;
        self.fly(Held::Seat(Arc::clone(roster), seat), Some(node), at)
    }

    pub(super) fn take_off(&mut self, seat: Held, node: Option<NodeId>, at: &Moment<'_>) -> Step {
        Step::Attempt(self.fly(seat, node, at))
    }

    fn fly(&mut self, seat: Held, node: Option<NodeId>, at: &Moment<'_>) -> Attempt {
        self.attempts += 1;
        self.unhedged = false;
        let number = self.attempts;
        let passes = std::mem::take(&mut self.passes);
        self.flight = Some(Flight { number, began: at.now, seat, passes });
        Attempt { number, node }
    }

    /// Ends the attempt under way: what it held goes back with its verdict.
    pub(super) fn land(&mut self, verdict: &Verdict, at: &mut Moment<'_>) -> (Option<NodeId>, Duration) {
        let Some(flight) = self.flight.take() else { return (None, Duration::ZERO) };
        let took = at.now.since(flight.began);
        flight.passes.land(verdict, at.now, at.out);
        match flight.seat {
            Held::Nothing => (None, took),
            Held::Permit(breaker, permit) => {
                breaker.settle(permit, verdict, at.now, at.dice, at.out);
                (None, took)
            }
            Held::Seat(roster, seat) => {
                let node = seat.node;
                roster.settle(seat, verdict, took, at);
                (Some(node), took)
            }
        }
    }

    /// The call has ended well although nodes failed it: no caller has seen their failures.
    pub(super) fn tell_handled(&self) {
        if let (Target::Roster(roster), false) = (&self.plan.target, self.history.is_empty()) {
            roster.pool().handled(self.history.iter().filter_map(|tried| tried.node.as_deref()));
        }
    }

    /// The clock that an answer given now has missed. A stream that has begun is in its consumer's time.
    fn missed(&self, now: Time) -> Option<Expiry> {
        let clock = if self.committed { None } else { self.binding(Phase::Answer, now) };
        clock.filter(|expiry| expiry.at < now)
    }

    fn succeeded(&self, missed: Option<Expiry>, at: &mut Moment<'_>) -> Step {
        if self.attempts == 1 {
            self.plan.deposit();
        }
        let Some(expiry) = missed else { return Step::Finish(Finish::Return) };
        at.out.emit(EventKind::CallTimedOut, || Event::CallTimedOut {
            source: self.plan.source.clone(),
            which: expiry.which.as_str(),
            limit: expiry.limit,
        });
        if self.plan.timeout.late_raises {
            return Step::Finish(Finish::Late(expiry));
        }
        Step::Finish(Finish::Return)
    }

    fn with_permit(&mut self, act: impl FnOnce(&Breaker, &mut Permit)) {
        let held = self.flight.as_mut().map(|flight| &mut flight.seat);
        if let Some(
            Held::Permit(breaker, permit) | Held::Seat(_, Seat { permit: Some((breaker, permit)), .. }),
        ) = held
        {
            act(breaker, permit);
        }
    }

    pub(super) fn node_name(&self, node: NodeId) -> Option<Arc<str>> {
        match &self.plan.target {
            Target::Roster(roster) => Some(roster.pool().name_of(node)),
            _ => None,
        }
    }
}
