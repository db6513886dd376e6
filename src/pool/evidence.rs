//! What is said for and against the nodes: by traffic, by monitors, by heartbeats and their absence.

use super::members::Members;
use super::node::Change;
use super::view::Evidence;
use crate::base::{Event, EventKind, NodeId, Outbox, Time};

impl Members {
    pub(super) fn convict(&mut self, id: NodeId, by: Evidence, why: &str, now: Time, out: &mut Outbox) {
        let Some(node) = self.get_mut(id) else { return };
        let change = node.convict(by, why, now);
        match by {
            Evidence::Report => self.tell(id, change, &format!("report: {why}"), out),
            // Whoever watches the process reports it; the words say which.
            Evidence::Process => self.tell(id, change, &format!("report: process {why}"), out),
            Evidence::Heartbeat | Evidence::Breaker => self.tell(id, change, by.as_str(), out),
        }
    }

    pub(super) fn acquit(&mut self, id: NodeId, by: Evidence, now: Time, out: &mut Outbox) {
        let Some(node) = self.get_mut(id) else { return };
        let change = node.acquit(by, now);
        self.returned(change, now);
        self.tell(id, change, "", out);
    }

    pub(super) fn recovering(&mut self, id: NodeId, out: &mut Outbox) {
        let Some(node) = self.get_mut(id) else { return };
        let change = node.revive();
        self.tell(id, change, "", out);
    }

    pub(super) fn beat(&mut self, id: NodeId, now: Time, out: &mut Outbox) -> bool {
        self.schedule.answered(id, now);
        let Some(node) = self.get_mut(id) else { return false };
        let change = node.beat(now);
        self.returned(change, now);
        self.listen(id, now);
        self.tell(id, change, "", out);
        let enough = self.schedule.config_of(id).filter(|config| config.clears_traffic);
        let enough = enough.map(|config| config.recovery_threshold);
        enough.zip(self.get(id)).is_some_and(|(enough, node)| node.is_vouched_for(enough))
    }

    pub(super) fn miss(&mut self, id: NodeId, why: &str, now: Time, out: &mut Outbox) {
        if !self.schedule.answered(id, now) {
            return;
        }
        let Some(node) = self.get_mut(id).filter(|node| node.is_heard()) else { return };
        let change = node.miss(why, now);
        let misses = node.misses();
        self.listen(id, now);
        out.emit(EventKind::HeartbeatMissed, || Event::HeartbeatMissed {
            source: self.source.clone(),
            node: self.name(id),
            misses,
            reason: why.into(),
        });
        let reason = if change == Change::Failed { Evidence::Heartbeat.as_str() } else { why };
        self.tell(id, change, reason, out);
    }

    /// Nobody knows whether `id` answered, because we did not listen (P6).
    pub(super) fn unheard(&mut self, id: NodeId, now: Time) {
        self.schedule.answered(id, now);
        let interval = self.schedule.config_of(id).map(|config| config.interval);
        if let (Some(node), Some(interval)) = (self.get_mut(id), interval) {
            node.excuse(Some(interval));
            self.listen(id, now);
        }
    }

    /// Listens to those whose silence may mean something by now. If it is we who were not there, everybody's
    /// silence is shorter by that (P6).
    pub(super) fn listen_to_the_silent(&mut self, now: Time, out: &mut Outbox) {
        let late = self.schedule.lateness(now);
        if !late.is_zero() {
            self.nodes.iter_mut().for_each(|node| node.excuse(Some(late)));
            let ids: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
            for id in ids {
                self.listen(id, now);
            }
            return;
        }
        for id in self.schedule.take_silent(now) {
            let Some(node) = self.get_mut(id) else { continue };
            let change = node.look(now);
            let doubt = node.last_error().unwrap_or_default();
            self.listen(id, now);
            let reason = if change == Change::Failed { Evidence::Heartbeat.as_str() } else { &doubt };
            self.tell(id, change, reason, out);
        }
    }

    /// Whoever asked and listened before has stopped: all are due at once, and nobody is late.
    pub(super) fn restart_heartbeat(&mut self) {
        self.schedule.restart();
        for node in &mut self.nodes {
            node.excuse(None);
            if node.counts_silence() && node.config.heartbeat {
                self.schedule.look_at(node.id, Some(Time::ZERO));
            }
        }
    }

    /// A node that is back gets less than its share for a while.
    fn returned(&mut self, change: Change, now: Time) {
        if matches!(change, Change::Recovered { .. }) {
            self.damp(now);
        }
    }

    /// A node is back at `now`.
    pub(super) fn damp(&mut self, now: Time) {
        self.ramping_until = self.ramping_until.max(self.ramp.end(now));
    }

    fn listen(&mut self, id: NodeId, now: Time) {
        let next = self.get(id).and_then(|node| node.next_look(now));
        self.schedule.look_at(id, next);
    }

    /// When at the earliest the heartbeat could acquit `id`, if every beat from now on is good.
    pub(super) fn heartbeat_may_acquit(&self, id: NodeId) -> Option<Time> {
        let more = self.get(id)?.beats_to_acquit().saturating_sub(1);
        let interval = self.schedule.config_of(id)?.interval;
        Some(self.schedule.due_of(id)?.after(interval.saturating_mul(more)))
    }
}
