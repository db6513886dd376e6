//! The outbox: where the core puts events, knowing who wants them.

use std::task::Waker;

use super::{Event, EventKind};

/// Where the core puts events, and whom it wants woken. It knows who listens, so that costly events nobody wants
/// are not built.
#[derive(Debug, Default)]
pub struct Outbox {
    events: Vec<Event>,
    interest: u64,
    forward: Option<fn(&Event)>,
    wakers: Wakers,
}

/// Those who are to be woken, which happens when this is dropped: nobody is forgotten.
#[derive(Debug, Default)]
struct Wakers(Vec<Waker>);

impl Drop for Wakers {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

impl Outbox {
    /// Changes of state: always built, because each of them is a log line by default.
    pub const STATE_CHANGES: u64 = mask(&[
        EventKind::CircuitOpened,
        EventKind::CircuitHalfOpened,
        EventKind::CircuitClosed,
        EventKind::WouldOpen,
        EventKind::NodeSuspected,
        EventKind::NodeMarkedFailed,
        EventKind::FailoverStarted,
        EventKind::FailoverCompleted,
        EventKind::RecoveryStarted,
        EventKind::RecoveryCompleted,
        EventKind::RestartAttempted,
        EventKind::RestartFailed,
        EventKind::RestartCompleted,
        EventKind::StateSynced,
        EventKind::RestartsExhausted,
        EventKind::NodeAdded,
        EventKind::NodeRemoved,
        EventKind::NodeDrained,
        EventKind::NodeEjected,
        EventKind::PanicEntered,
        EventKind::PanicLeft,
    ]);
    /// Every kind.
    pub const EVERYTHING: u64 = u64::MAX;

    /// An outbox for the kinds in the bit set `interest`, and the changes of state.
    #[must_use]
    pub const fn new(interest: u64) -> Self {
        Self {
            events: Vec::new(),
            interest: interest | Self::STATE_CHANGES,
            forward: None,
            wakers: Wakers(Vec::new()),
        }
    }

    /// An outbox that shows each event to `forward` as it is put in, which is while its source is still
    /// locked: that keeps the events of one source in order, whichever threads they come from. `forward`
    /// only queues, and calls nobody.
    #[must_use]
    pub const fn forwarding(interest: u64, forward: fn(&Event)) -> Self {
        Self {
            events: Vec::new(),
            interest: interest | Self::STATE_CHANGES,
            forward: Some(forward),
            wakers: Wakers(Vec::new()),
        }
    }

    /// Has each event been shown to somebody already?
    #[must_use]
    pub const fn forwards(&self) -> bool {
        self.forward.is_some()
    }

    /// Puts in the event that `build` makes, if anybody wants its kind.
    pub fn emit(&mut self, kind: EventKind, build: impl FnOnce() -> Event) {
        if self.interest & bit(kind) != 0 {
            let event = build();
            debug_assert_eq!(event.kind(), kind);
            if let Some(forward) = self.forward {
                forward(&event);
            }
            self.events.push(event);
        }
    }

    /// Has somebody woken who waits in line, if anybody does: by whoever drops the outbox, outside of every
    /// lock.
    pub fn wake(&mut self, waker: Option<Waker>) {
        self.wakers.0.extend(waker);
    }

    /// What is inside, in order.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Is there nothing inside?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Takes everything out, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }
}

/// The bit of `kind` in an interest set.
#[must_use]
pub const fn bit(kind: EventKind) -> u64 {
    1 << kind as u32
}

/// The interest set of `kinds`.
#[must_use]
pub const fn mask(kinds: &[EventKind]) -> u64 {
    let (mut set, mut i) = (0, 0);
    while i < kinds.len() {
        set |= bit(kinds[i]);
        i += 1;
    }
    set
}

#[cfg(test)]
mod tests {
    use super::super::Field;
    use super::*;
    use crate::base::Source;

    #[test]
    fn costly_kinds_are_not_built_unless_wanted() {
        let source = Source::new("b");
        let rejected = || Event::CallRejected { source: source.clone(), reason: "open", retry_after: None };
        let mut deaf = Outbox::new(0);
        deaf.emit(EventKind::CallRejected, || panic!("nobody wanted it"));
        assert!(deaf.is_empty());
        let mut keen = Outbox::new(bit(EventKind::CallRejected));
        keen.emit(EventKind::CallRejected, rejected);
        assert_eq!(keen.events()[0].fields()[0], ("reason", Field::Text("open".into())));
    }

    #[test]
    fn every_kind_has_a_bit_and_a_name_that_leads_back() {
        assert!(EventKind::ALL.len() <= 64);
        for &kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.as_str()), Some(kind));
        }
    }
}
