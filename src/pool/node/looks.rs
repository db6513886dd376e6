//! Pictures of a node at one moment.

use std::time::Duration;

use super::{Ledger, Node};
use crate::base::{FailureKind, Time};
use crate::pool::reliability::Record;
use crate::pool::view::{Cooling, Evidence, NodeView};

impl Node {
    /// What its reliability is made of. `returns`: can what speaks against it be taken back without help?
    pub(in crate::pool) fn record(&self, returns: bool, now: Time) -> Record {
        let Ledger { since, repairs, calls, failed, handled } = self.ledger;
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
            recoverable: self.open_to_traffic() && (self.convictions == 0 || returns),
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
