//! One breaker per key: provider, model, region, credential (B17).
//!
//! A key's failures say nothing of another key, so each has a breaker of its own. Keys come from users and
//! may be without end, so their number is bounded: the breaker that was asked for longest ago makes room,
//! but only if it has nothing to lose. A breaker that is not plainly closed, that has calls under way or that
//! somebody holds is kept, even if the registry grows past its bound for a while.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Breaker, State};
use crate::base::{Source, Time};

/// The breakers of many keys, all of the same rules.
#[derive(Debug)]
pub struct Keyed {
    template: Breaker,
    capacity: usize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_key: HashMap<Box<str>, Entry>,
    /// Counts the lookups: an entry's age is the number of its last one.
    lookups: u64,
}

#[derive(Debug)]
struct Entry {
    breaker: Arc<Breaker>,
    last_lookup: u64,
}

impl Keyed {
    /// Keys kept when nothing else is said: a thousand breakers are about half a megabyte.
    pub const CAPACITY: usize = 1024;

    /// An empty registry; its breakers are forks of `template`, named `<its name>/<key>` and heard by its
    /// listeners.
    #[must_use]
    pub fn new(template: Breaker, capacity: usize) -> Self {
        Self { template, capacity: capacity.max(1), entries: Mutex::default() }
    }

    /// The breaker that every key's is made from. It guards no calls itself.
    #[must_use]
    pub const fn template(&self) -> &Breaker {
        &self.template
    }

    /// The breaker of `key`, made if there is none. `now` tells idle ones from busy ones.
    #[must_use]
    pub fn get(&self, key: &str, now: Time) -> Arc<Breaker> {
        let mut entries = self.entries.lock();
        entries.lookups += 1;
        let last_lookup = entries.lookups;
        if let Some(entry) = entries.by_key.get_mut(key) {
            entry.last_lookup = last_lookup;
            return Arc::clone(&entry.breaker);
        }
        entries.make_room(self.capacity - 1, now);
        let owner = self.template.source();
        let source = Source::owned(&format!("{}/{key}", owner.name()), owner);
        let breaker = Arc::new(self.template.fork(source));
        entries.by_key.insert(key.into(), Entry { breaker: Arc::clone(&breaker), last_lookup });
        breaker
    }

    /// The breaker of `key`, if there is one. A look: it does not count as use.
    #[must_use]
    pub fn peek(&self, key: &str) -> Option<Arc<Breaker>> {
        self.entries.lock().by_key.get(key).map(|entry| Arc::clone(&entry.breaker))
    }

    /// Every breaker there is, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Breaker>> {
        self.entries.lock().by_key.values().map(|entry| Arc::clone(&entry.breaker)).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.lock().by_key.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Entries {
    /// Drops the idle entries of longest ago until `bound` are left, or none is idle. A scan of all of them:
    /// it runs only when a new key meets a full registry.
    fn make_room(&mut self, bound: usize, now: Time) {
        let Some(surplus) = self.by_key.len().checked_sub(bound).filter(|&n| n > 0) else { return };
        let mut idle: Vec<u64> =
            self.by_key.values().filter(|entry| entry.is_idle(now)).map(|entry| entry.last_lookup).collect();
        if idle.is_empty() {
            return;
        }
        let last = surplus.min(idle.len()) - 1;
        let (_, &mut youngest, _) = idle.select_nth_unstable(last);
        self.by_key.retain(|_, entry| entry.last_lookup > youngest || !entry.is_idle(now));
    }
}

impl Entry {
    /// Nothing is lost with it: closed, no call under way, and nobody who is about to make one.
    fn is_idle(&self, now: Time) -> bool {
        Arc::strong_count(&self.breaker) == 1
            && self.breaker.state() == State::Closed
            && self.breaker.metrics(now).in_flight == 0
    }
}
