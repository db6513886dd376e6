//! Several attempts of one call at once: hedges, and replicas.
//!
//! ```text
//!   the attempt ──── late ──► hedge ────────┐
//!        │                      │           │ first success: it wins, the others are neutral
//!        └── fails: the race ───┴── fails: ─┴─► the last one decides as any failed attempt does
//!            goes on                
//! ```
//!
//! One call, one budget, one deadline, one history: a hedge is an attempt that does not wait for the one
//! before it to end.

use std::time::Duration;

use super::execution::{Execution, Flight, Moment};
use super::{Attempt, Step, Target, Tried};
use crate::base::{Event, EventKind, FailureKind, NodeId, Time, Verdict};
use crate::policy::timeout::{Expiry, Phase};

impl Execution {
    /// When the attempts under way are late enough for one more; none if there may be none. The caller has
    /// declared the call safe to be made twice (A10).
    #[must_use]
    pub fn hedge_due(&self) -> Option<Time> {
        let hedge = self.plan.hedge.as_ref()?;
        let spent = self.hedges >= hedge.config().max_hedges || self.attempts >= self.plan.attempts();
        if spent || self.unhedged || self.committed {
            return None;
        }
        let began = self.flights().map(|flight| flight.began).max()?;
        hedge.delay().map(|delay| began.after(delay))
    }

    /// Makes one more attempt beside those under way, if it is time: on another node, within the budget, and
    /// never in panic (A10).
    pub fn hedge(&mut self, at: &mut Moment<'_>) -> Option<Attempt> {
        let hedge = self.plan.hedge.clone()?;
        self.hedge_due().filter(|due| *due <= at.now)?;
        // Whatever stands in the way now is not asked about again during this attempt.
        self.unhedged = true;
        let panics = matches!(&self.plan.target, Target::Roster(roster) if roster.pool().panics());
        if panics || self.too_late(at.now) {
            return None;
        }
        let after = self.flights().map(|flight| at.now.since(flight.began)).max().unwrap_or_default();
        let attempt =
            self.beside(
                at,
                &|call| match call.plan.retry.as_ref().and_then(|retry| retry.budget.as_deref()) {
                    Some(budget) => budget.withdraw(),
                    None => hedge.withdraw(),
                },
            )?;
        self.hedges += 1;
        self.unhedged = false;
        let node = attempt.node.and_then(|node| self.node_name(node));
        at.out.emit(EventKind::HedgeStarted, || Event::HedgeStarted {
            source: self.plan.source.clone(),
            attempt: attempt.number,
            node,
            after,
        });
        Some(attempt)
    }

    /// Makes up to `more` attempts at once beside the first, each on a node of its own.
    pub fn replicate(&mut self, more: u32, at: &mut Moment<'_>) -> Vec<Attempt> {
        (0..more).map_while(|_| self.beside(at, &|_| true)).collect()
    }

    /// What came of one of the attempts under way; none while the race goes on without it (A11).
    pub fn record_one(&mut self, number: u32, verdict: &Verdict, at: &mut Moment<'_>) -> Option<Step> {
        self.bring_up(number)?;
        self.learn(verdict, at.now);
        if self.others.is_empty() {
            return Some(self.record(verdict, at));
        }
        if let Some(failure) = verdict.failure() {
            let (node, took) = self.land(verdict, at);
            self.note_failure(number, failure.kind, node, took);
            self.flight = self.others.pop();
            return None;
        }
        let step = self.record(verdict, at);
        self.give_up_others(at);
        Some(step)
    }

    /// The clock of one of the attempts under way that expires first.
    #[must_use]
    pub fn binding_of(&self, number: u32) -> Option<Expiry> {
        let flight = self.flights().find(|flight| flight.number == number)?;
        self.plan.timeout.binding(Phase::Answer, self.deadline, flight.began, flight.began)
    }

    /// The attempts under way.
    #[must_use]
    pub fn racers(&self) -> Vec<u32> {
        self.flights().map(|flight| flight.number).collect()
    }

    /// The losers: nobody is blamed, and they would have taken longer (A11, A12).
    pub(super) fn give_up_others(&mut self, at: &mut Moment<'_>) {
        while let Some(loser) = self.others.pop() {
            if let Some(hedge) = &self.plan.hedge {
                hedge.cut(at.now.since(loser.began));
            }
            self.flight = Some(loser);
            self.land(&Verdict::Ignore, at);
        }
    }

    /// A failed attempt goes into the history, and its node to the end of the line (A15).
    pub(super) fn note_failure(
        &mut self,
        number: u32,
        kind: FailureKind,
        node: Option<NodeId>,
        took: Duration,
    ) {
        let name = node.and_then(|id| self.node_name(id));
        self.history.push(Tried { number, node: name, kind, took });
        if let Some(node) = node {
            self.tried.retain(|id| *id != node);
            self.tried.push(node);
        }
    }

    /// One more attempt, on a node that is neither tried nor at work for this call, if `may` says so.
    fn beside(&mut self, at: &mut Moment<'_>, may: &dyn Fn(&Self) -> bool) -> Option<Attempt> {
        let plan = self.plan.clone();
        let Target::Roster(roster) = &plan.target else { return None };
        if self.flight.is_none() || self.attempts >= plan.attempts() {
            return None;
        }
        let mut exclude = self.tried.clone();
        exclude.extend(self.flights().filter_map(Flight::node));
        if !roster.is_ready_outside(&exclude, &self.costs, at.now) || !may(self) {
            return None;
        }
        // All or nothing (L2), and at once: nobody waits in line for a second attempt.
        if !self.pass_at_once(at) {
            return None;
        }
        let Some(seat) = roster.pick(None, &exclude, &self.costs, at) else {
            self.passes.give_back(at.now, at.out);
            return None;
        };
        self.others.extend(self.flight.take());
        Some(self.take_seat(roster, seat, at))
    }

    fn flights(&self) -> impl Iterator<Item = &Flight> {
        self.flight.iter().chain(&self.others)
    }

    /// Makes this attempt the one that is recorded.
    fn bring_up(&mut self, number: u32) -> Option<()> {
        if self.flight.as_ref().is_some_and(|flight| flight.number == number) {
            return Some(());
        }
        let place = self.others.iter().position(|flight| flight.number == number)?;
        let wanted = self.others.swap_remove(place);
        self.others.extend(self.flight.replace(wanted));
        Some(())
    }

    fn learn(&self, verdict: &Verdict, now: Time) {
        let (Some(hedge), Some(flight)) = (&self.plan.hedge, &self.flight) else { return };
        let took = now.since(flight.began);
        match verdict {
            Verdict::Ok => {
                hedge.answered(took);
                if self.attempts == 1 {
                    hedge.deposit();
                }
            }
            Verdict::Fail(failure) if failure.kind == FailureKind::Timeout => hedge.cut(took),
            // How soon a failure came says nothing of how long an answer takes.
            Verdict::Fail(_) | Verdict::Throttled(_) | Verdict::Ignore => {}
        }
    }
}
