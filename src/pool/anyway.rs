//! The pick of last resort: a node that the operator has not closed, whatever speaks against it.

use super::Pool;
use crate::base::{Dice, NodeId};

impl Pool {
    /// A node outside `exclude` that is neither draining nor disabled, drawn at random, now counted as
    /// having one more call in flight; none if there is no such node.
    pub fn pick_anyway(&self, exclude: &[NodeId], dice: &mut dyn Dice) -> Option<NodeId> {
        let mut members = self.members.lock();
        let open = members.nodes.iter().filter(|n| n.open_to_traffic() && !exclude.contains(&n.id));
        let ids: Vec<NodeId> = open.map(|n| n.id).collect();
        let id = *ids.get(dice.below(ids.len()))?;
        members.count_in(id);
        Some(id)
    }
}
