//! A choice of node that somebody outside makes: the user's own balancer.
//!
//! The core calls nobody: it names the candidates, the driver asks, and the answer comes back. An answer that
//! is none of them, or none at all, loses no call: the node is then picked in turn.

use std::sync::Arc;

use super::execution::{Execution, Moment};
use super::{Roster, Step, Target};
use crate::base::{Event, EventKind, NodeId, Time};

impl Execution {
    /// The question, where somebody outside chooses and there is somebody to choose.
    pub(super) fn offer(&self, roster: &Roster, now: Time) -> Option<Step> {
        if !roster.pool().is_balanced_outside() {
            return None;
        }
        // As in turn: who failed this call is asked again only when no other is left, the last one last (A15).
        let last = self.tried.last().map(std::slice::from_ref).unwrap_or_default();
        let circles: [&[NodeId]; 3] = [&self.tried, last, &[]];
        let offers = circles.into_iter().map(|exclude| roster.candidates(exclude, &self.costs, now));
        let candidates = offers.into_iter().find(|candidates| !candidates.is_empty())?;
        Some(Step::AskBalancer { candidates })
    }

    /// The driver has asked the user's own balancer: the node it chose, or what went wrong.
    pub fn answer_balancer(&mut self, answer: Result<NodeId, Arc<str>>, at: &mut Moment<'_>) -> Step {
        let plan = Arc::clone(&self.plan);
        let Target::Roster(roster) = &plan.target else { return self.next_attempt(at) };
        let step = match answer {
            Ok(node) => match roster.take(node, &self.costs, at) {
                Some(seat) => self.seated(roster, seat, at),
                // Somebody else was quicker, or the node has left meanwhile.
                None => self.in_turn(roster, at),
            },
            Err(error) => {
                let source = self.plan.source.clone();
                at.out.emit(EventKind::BalancerFailed, || Event::BalancerFailed { source, error });
                self.in_turn(roster, at)
            }
        };
        if !matches!(step, Step::Attempt(_)) {
            self.passes.give_back(at.now, at.out);
        }
        self.or_fall_back(step)
    }
}
