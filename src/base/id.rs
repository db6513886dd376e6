//! Who is speaking: the identity that every event carries.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number no other source in this process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

/// A node of one pool: its place in the order of joining, never given to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// A named object that speaks through events.
///
/// The name is a label: two sources may share it. The id never repeats, so that a listener of one
/// breaker does not hear another of the same name. An owned source (a node's breaker) is heard by
/// the listeners of its owner too.
#[derive(Clone, Debug)]
pub struct Source(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: SourceId,
    name: Box<str>,
    owner: Option<Source>,
}

impl Source {
    /// A new source called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::build(name, None)
    }

    /// A new source called `name`, whose events `owner`'s listeners hear as well.
    #[must_use]
    pub fn owned(name: &str, owner: &Self) -> Self {
        Self::build(name, Some(owner.clone()))
    }

    fn build(name: &str, owner: Option<Self>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = SourceId(NEXT.fetch_add(1, Ordering::Relaxed));
        Self(Arc::new(Inner { id, name: name.into(), owner }))
    }

    /// This source's own number.
    #[must_use]
    pub fn id(&self) -> SourceId {
        self.0.id
    }

    /// Its label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Itself, its owner, its owner's owner, and so on.
    pub fn chain(&self) -> impl Iterator<Item = SourceId> + '_ {
        std::iter::successors(Some(self), |s| s.0.owner.as_ref()).map(Self::id)
    }
}
