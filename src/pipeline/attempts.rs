//! What follows from a failure: another node, another try, or the end.

use std::time::Duration;

use super::execution::{Execution, Moment};
use super::{Finish, Step, Target};
use crate::base::{Event, EventKind, Failure, FailureKind, NodeId, Time};
use crate::policy::retry::Backoff;

impl Execution {
    /// Decides from the latest outcome (A14), never from the first one's.
    pub(super) fn after_failure(
        &mut self,
        failure: &Failure,
        node: Option<NodeId>,
        at: &mut Moment<'_>,
    ) -> Step {
        let hopeless = self.committed || !(failure.retry || failure.fail_over);
        if hopeless || self.attempts >= self.plan.attempts() || self.too_late(at.now) {
            return self.give_up(at);
        }
        if node.is_some() && failure.fail_over && self.untried_node_is_ready(at.now) {
            return self.next_attempt(at);
        }
        if failure.retry { self.schedule(failure, at) } else { self.give_up(at) }
    }

    /// The driver has asked the user's own back-off; with no usable answer the default law rules.
    pub fn answer_backoff(&mut self, answer: Option<Duration>, at: &mut Moment<'_>) -> Step {
        let wait = answer.or_else(|| Backoff::default().wait(self.retries, self.waited, at.dice));
        let wish = std::mem::take(&mut self.wish);
        let step = self.sleep(wait.unwrap_or_default().max(wish), at);
        self.or_fall_back(step)
    }

    fn schedule(&mut self, failure: &Failure, at: &mut Moment<'_>) -> Step {
        let Some(retry) = &self.plan.retry else { return self.give_up(at) };
        let wish = failure.delay.filter(|_| retry.respect_retry_after).unwrap_or_default();
        if wish > retry.retry_after_cap {
            return self.give_up(at);
        }
        self.retries += 1;
        let Some(wait) = retry.backoff.wait(self.retries, self.waited, at.dice) else {
            self.wish = wish;
            return Step::AskBackoff { retry: self.retries };
        };
        self.sleep(wait.max(wish), at)
    }

    /// Sleeps before a node is asked again, unless the deadline or the budget forbids it (A3, A5).
    fn sleep(&mut self, wait: Duration, at: &mut Moment<'_>) -> Step {
        let until = at.now.after(wait);
        if self.too_late(until) || self.in_vain(until, at.now) {
            return self.give_up(at);
        }
        let budget = self.plan.retry.as_ref().and_then(|retry| retry.budget.as_deref());
        if budget.is_some_and(|budget| !budget.withdraw()) {
            let (source, attempts) = (self.plan.source.clone(), self.attempts);
            at.out.emit(EventKind::BudgetExhausted, || Event::BudgetExhausted { source, attempts });
            return self.give_up(at);
        }
        self.waited = wait;
        at.out.emit(EventKind::RetryScheduled, || Event::RetryScheduled {
            source: self.plan.source.clone(),
            attempt: self.attempts + 1,
            delay: wait,
            error: self.last_kind(),
            node: self.history.last().and_then(|tried| tried.node.clone()),
        });
        Step::Sleep { until: until.into() }
    }

    /// Ends the call with the last attempt's own error.
    pub(super) fn give_up(&self, at: &mut Moment<'_>) -> Step {
        if self.plan.attempts() == 1 {
            return Step::Finish(Finish::Raise);
        }
        at.out.emit(EventKind::AttemptsExhausted, || Event::AttemptsExhausted {
            source: self.plan.source.clone(),
            attempts: self.attempts,
            error: self.last_kind(),
        });
        Step::Finish(Finish::Raise)
    }

    fn untried_node_is_ready(&self, now: Time) -> bool {
        match &self.plan.target {
            Target::Roster(roster) => roster.is_ready_outside(&self.tried, &self.costs, now),
            _ => false,
        }
    }

    /// Would an attempt at `then` start after the deadline, or after `max_elapsed`?
    pub(super) fn too_late(&self, then: Time) -> bool {
        let elapsed = self.plan.retry.as_ref().and_then(|retry| retry.max_elapsed);
        self.deadline.is_some_and(|deadline| then >= deadline.at)
            || elapsed.is_some_and(|span| then >= self.began().after(span))
    }

    /// Is it known already that nobody may be asked at `then`? An open breaker ends the loop (A1) before the
    /// wait, not after it.
    fn in_vain(&self, then: Time, now: Time) -> bool {
        match &self.plan.target {
            Target::Bare => false,
            Target::Breaker(breaker) => breaker.is_shut(then),
            Target::Keyed(keyed) => keyed.get(self.key(), now).is_shut(then),
            Target::Roster(roster) => roster.is_shut(then, now),
        }
    }

    fn last_kind(&self) -> &'static str {
        self.history.last().map_or("unknown", |tried| tried.kind.as_str())
    }

    /// The fallback has answered: from now on the call has not failed.
    pub fn fell_back(&self, how: &'static str, at: &mut Moment<'_>) {
        self.tell_handled();
        let error = self.latest.map_or("rejected", FailureKind::as_str);
        let source = self.plan.source.clone();
        at.out.emit(EventKind::FallbackUsed, || Event::FallbackUsed { source, how, error });
    }

    /// A call that would end badly ends with another answer, where there may be one.
    pub(super) fn or_fall_back(&self, step: Step) -> Step {
        let Some(fallback) = self.plan.fallback.filter(|_| !self.begun) else { return step };
        let covered = match &step {
            Step::Finish(Finish::Reject(_) | Finish::Late(_)) => true,
            Step::Finish(Finish::Raise) => self.latest.map_or(fallback.asked, |kind| fallback.covers(kind)),
            _ => false,
        };
        match step {
            Step::Finish(finish) if covered => Step::Finish(Finish::FallBack(Box::new(finish))),
            step => step,
        }
    }

    pub(super) fn tell_failed_over(&self, from: NodeId, to: NodeId, at: &mut Moment<'_>) {
        let (Some(from_node), Some(to_node)) = (self.node_name(from), self.node_name(to)) else { return };
        let error = self.history.last().map_or("unknown", |tried| tried.kind.as_str());
        at.out.emit(EventKind::CallFailedOver, || Event::CallFailedOver {
            source: self.plan.source.clone(),
            from_node,
            to_node,
            attempt: self.attempts + 1,
            error,
        });
    }
}
