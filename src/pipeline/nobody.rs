//! What a call does when no node may be asked: wait, ask one anyway, or be refused with the reasons (P16).

use std::sync::Arc;
use std::time::Duration;

use super::execution::{Execution, Moment};
use super::{Exhausted, Finish, Roster, Step};
use crate::base::error::RejectionKind;
use crate::base::{Event, EventKind, Rejection};

/// A wait for a node is never shorter than this, so that a stale estimate cannot spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
/// And never longer: nodes also come back early, by an operator's hand, a report or a newcomer.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

impl Execution {
    pub(super) fn nobody_ready(&mut self, roster: &Arc<Roster>, at: &mut Moment<'_>) -> Step {
        let earliest = roster.earliest(at.now);
        match (self.plan.exhausted, self.deadline, earliest) {
            (Exhausted::TryAnyway, ..) => {
                if let Some(seat) = roster.pick_anyway(&[], &self.costs, at) {
                    return self.seated(roster, seat, at);
                }
            }
            (Exhausted::Wait, Some(deadline), Some(earliest)) if earliest < deadline.at => {
                let soonest = at.now.after(SHORTEST_WAIT);
                let until = earliest.clamp(soonest, at.now.after(LONGEST_WAIT)).into();
                return Step::Sleep { until };
            }
            _ => {}
        }
        roster.count_rejected();
        let retry_after = earliest.map(|t| t.since(at.now));
        let source = self.plan.source.clone();
        at.out.emit(EventKind::CallRejected, || Event::CallRejected {
            source: source.clone(),
            reason: "no_node_ready",
            retry_after,
        });
        let mut rejection = Rejection::new(RejectionKind::NoNodeReady, "no_node_ready", retry_after, source);
        let nodes = roster.explain(at.now);
        let told: Vec<String> = nodes.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        rejection.detail = Some(told.join("; ").into());
        Step::Finish(Finish::Reject(rejection))
    }
}
