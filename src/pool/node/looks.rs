//! A node as seen at one moment: looks, which change nothing.

use std::sync::Arc;
use std::time::Duration;

use super::{Ledger, Node, Outage};
use crate::base::{FailureKind, Time};
use crate::pool::detector::Detector;
use crate::pool::reliability::Record;
use crate::pool::view::{Cooling, Evidence, NodeState, NodeView};

impl Node {
    /// ready = enabled ∧ not draining ∧ nobody speaks against it.
    pub(in crate::pool) const fn ready(&self) -> bool {
        self.open_to_traffic() && self.convictions == 0
    }

    /// May traffic be sent there if its breaker has no objection? A node that only its breaker speaks
    /// against may: real traffic is what acquits it.
    pub(in crate::pool) const fn pickable(&self) -> bool {
        self.open_to_traffic() && self.convictions & !Evidence::Breaker.flag() == 0
    }

    pub(in crate::pool) const fn open_to_traffic(&self) -> bool {
        self.enabled && !self.draining
    }

    pub(in crate::pool) const fn convicted_by(&self, by: Evidence) -> bool {
        self.convictions & by.flag() != 0
    }

    pub(in crate::pool) const fn state(&self) -> NodeState {
        match (self.draining, self.outage) {
            (true, _) => NodeState::Draining,
            (false, Some(outage)) if outage.reviving => NodeState::Recovering,
            (false, Some(_)) => NodeState::Down,
            (false, None) if self.suspect => NodeState::Suspect,
            (false, None) => NodeState::Up,
        }
    }

    /// Is it out, and has its traffic not yet found a new home?
    pub(in crate::pool) const fn stranded(&self) -> bool {
        matches!(self.outage, Some(Outage { rehoused: false, .. }))
    }

    pub(in crate::pool) const fn in_flight(&self) -> u32 {
        self.load.in_flight()
    }

    /// Is it in an outage?
    pub(in crate::pool) const fn is_out(&self) -> bool {
        self.outage.is_some()
    }

    /// Does nobody speak against it?
    pub(in crate::pool) const fn is_healthy(&self) -> bool {
        self.convictions == 0
    }

    /// Does only its breaker speak against it, and would that let a call pass by now?
    pub(in crate::pool) fn awaits_probe(&self, now: Time) -> bool {
        self.convicted_by(Evidence::Breaker) && self.asked_again.is_some_and(|then| then <= now)
    }

    /// Is there somebody who judges its heartbeat?
    pub(in crate::pool) const fn is_heard(&self) -> bool {
        self.detector.is_some()
    }

    /// When its silence will mean something next.
    pub(in crate::pool) fn next_look(&self, now: Time) -> Option<Time> {
        self.detector.as_ref()?.next_change(now)
    }

    /// Does its silence count, if it is listened to?
    pub(in crate::pool) fn counts_silence(&self) -> bool {
        self.detector.as_ref().is_some_and(Detector::counts_silence)
    }

    pub(in crate::pool) fn misses(&self) -> u32 {
        self.detector.as_ref().map_or(0, Detector::misses)
    }

    pub(in crate::pool) fn beats_to_acquit(&self) -> u32 {
        self.detector.as_ref().map_or(0, Detector::beats_to_acquit)
    }

    pub(in crate::pool) fn last_error(&self) -> Option<Arc<str>> {
        self.last_error.clone()
    }

    /// Has its heartbeat come so often in a row that it outweighs what traffic has said?
    pub(in crate::pool) const fn is_vouched_for(&self, enough: u32) -> bool {
        self.convicted_by(Evidence::Breaker)
            && !self.convicted_by(Evidence::Heartbeat)
            && self.beats >= enough
    }

    /// What its reliability is made of. `returns`: can what speaks against it be taken back without help?
    pub(in crate::pool) fn record(&self, returns: bool, now: Time) -> Record {
        let Ledger { since, repairs, calls, failed, handled } = self.ledger;
        let given_up = self.given_up.is_some_and(|until| now < until);
        let present = self.outage.map_or(Duration::ZERO, |outage| now.since(outage.since));
        Record {
            watched: since.map_or(Duration::ZERO, |since| now.since(since)),
            down: repairs + present,
            repairs,
            failures: self.failures,
            recoveries: self.recoveries,
            calls,
            failed,
            handled,
            recoverable: self.open_to_traffic() && (self.convictions == 0 || returns && !given_up),
        }
    }

    pub(in crate::pool) fn view(
        &self,
        cooling: Option<(Time, FailureKind, &str)>,
        now: Time,
        usual: f64,
        share: f64,
    ) -> NodeView {
        NodeView {
            id: self.id,
            name: self.config.name.clone(),
            state: self.state(),
            enabled: self.enabled,
            ready: self.ready(),
            convicted_by: Evidence::ALL.into_iter().filter(|&by| self.convicted_by(by)).collect(),
            down_since: self.outage.map(|outage| outage.since),
            in_flight: self.load.in_flight(),
            load: self.load.work(now, usual),
            share,
            latency: self.latency.map(Duration::from_secs_f64),
            failures: self.failures,
            recoveries: self.recoveries,
            weight: self.config.weight,
            tier: self.config.tier,
            last_error: self.last_error(),
            cooling: cooling.map(|(until, kind, domain)| Cooling { until, kind, domain: domain.into() }),
            ejected_until: self.conduct.out_until(now),
        }
    }
}
