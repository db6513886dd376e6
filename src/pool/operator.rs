//! The operator's will: who belongs to the pool, and who gets calls.

use super::{NodeConfig, Pool};
use crate::base::{ConfigError, Event, EventKind, NodeId, Outbox, Time};

impl Pool {
    /// A node joins.
    pub fn add(&self, node: NodeConfig, now: Time, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        let mut members = self.members.lock();
        let id = members.join(node)?;
        members.welcome(id, now);
        members.get_mut(id).into_iter().for_each(|node| node.watch(now));
        out.emit(EventKind::NodeAdded, || Event::NodeAdded {
            source: self.source.clone(),
            node: members.name(id),
        });
        members.house_the_stranded(out);
        members.watch_for_panic(out);
        Ok(id)
    }

    /// A node leaves. Calls that are there end as they would have.
    pub fn remove(&self, name: &str, _now: Time, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        self.members.lock().remove(name, out)
    }

    /// A node gets no new call; "node_drained" tells when its last one has ended.
    pub fn drain(&self, name: &str, _now: Time, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        let mut members = self.members.lock();
        let node = members.named(name)?;
        let (id, empty) = (node.id, node.drain());
        if empty {
            members.tell_drained(id, out);
        }
        members.watch_for_panic(out);
        Ok(id)
    }

    /// A node that was disabled or draining gets calls again, if nobody speaks against it.
    pub fn enable(&self, name: &str, now: Time, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        let mut members = self.members.lock();
        let node = members.named(name)?;
        node.enable(now);
        let id = node.id;
        members.damp(now);
        members.house_the_stranded(out);
        members.watch_for_panic(out);
        Ok(id)
    }

    /// A node gets no call until it is enabled again, whatever else happens.
    pub fn disable(&self, name: &str, _now: Time, out: &mut Outbox) -> Result<NodeId, ConfigError> {
        let mut members = self.members.lock();
        let node = members.named(name)?;
        node.disable();
        let id = node.id;
        members.watch_for_panic(out);
        Ok(id)
    }
}
