//! The end of a call that went badly: another answer, where there may be one.

use super::execution::{Execution, Moment};
use super::{Finish, Step};
use crate::base::{Event, EventKind, FailureKind};

impl Execution {
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
}
