//! The counter of calls under way, and the line of those who wait for one to end.
//!
//! One word holds both numbers, `waiting:32 | in use:32`, so that "there is room and nobody is before me" is
//! one look and taking the slot one compare-and-swap. While anybody waits both doors go through the lock, and a
//! slot that comes back is handed to the first in line: newcomers never overtake (L4), unless they are more
//! important than all who wait. The line is in the order of [`Priority`], and of coming within one level.
//!
//! Whenever the lock is free: `waiting` is the length of the line, and if it is not zero every slot is in use
//! that the first in line may have.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use super::lock::Lock;
use super::place::Place;
use super::priority::Priority;
use crate::base::sync::{AtomicU32, AtomicU64, Ordering};

const ONE_WAITING: u64 = 1 << 32;
const IN_USE: u64 = ONE_WAITING - 1;

/// Slots, and a line before them.
#[derive(Debug)]
pub struct Slots {
    word: AtomicU64,
    limit: AtomicU32,
    line: Lock<VecDeque<Stand>>,
}

/// One who waits.
#[derive(Debug)]
struct Stand {
    place: Arc<Place>,
    priority: Priority,
}

/// What came of asking for a slot.
#[derive(Debug)]
pub enum Entry {
    /// One is taken; so many are in use now.
    In(u32),
    /// None is free: this is the place in line.
    Waiting(Arc<Place>),
    /// None is free, and the line is as long as it may be.
    Full,
    /// The last ones that are free are kept for what is more important.
    Shed,
}

impl Slots {
    /// `limit` free slots.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self { word: AtomicU64::new(0), limit: AtomicU32::new(limit), line: Lock::default() }
    }

    /// How many there are.
    #[must_use]
    #[inline]
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// How many are in use, and how many calls wait.
    #[must_use]
    pub fn load(&self) -> (u32, u32) {
        let word = self.word.load(Ordering::Acquire);
        (in_use(word), waiting(word))
    }

    /// Takes a slot if one is free and nobody waits; how many are in use then.
    #[must_use]
    #[inline]
    pub fn take(&self) -> Option<u32> {
        self.take_below(self.limit())
    }

    #[inline]
    fn take_below(&self, limit: u32) -> Option<u32> {
        let mut word = self.word.load(Ordering::Relaxed);
        while word < u64::from(limit) {
            // The order is of no account between holders: what they share is guarded by whatever they share.
            match self.word.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(in_use(word) + 1),
                Err(seen) => word = seen,
            }
        }
        None
    }

    /// Takes a slot, or a place in a line no longer than `max_queue`; and whom to wake, who had to leave it.
    pub fn enter(&self, max_queue: u32, priority: Priority) -> (Entry, Option<Waker>) {
        if let Some(used) = self.take_below(priority.share(self.limit())) {
            return (Entry::In(used), None);
        }
        let mut line = self.line.lock();
        let at = line.partition_point(|other| other.priority >= priority);
        let mut evicted = None;
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            // A slot may have come back meanwhile, by the quick door: that is open while nobody waits.
            let free = at == 0 && in_use(word) < priority.share(self.limit());
            let full = waiting(word) >= max_queue;
            if !free && full {
                if at == line.len() {
                    let kept = in_use(word) < self.limit();
                    return (if kept { Entry::Shed } else { Entry::Full }, None);
                }
                // One goes and one comes: the word stays as it is.
                evicted = line.pop_back().and_then(|last| last.place.evict());
                break;
            }
            let new = if free { word + 1 } else { word + ONE_WAITING };
            match self.word.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) if free => return (Entry::In(in_use(new)), None),
                Ok(_) => break,
                Err(seen) => word = seen,
            }
        }
        let place = Arc::new(Place::default());
        line.insert(at, Stand { place: Arc::clone(&place), priority });
        (Entry::Waiting(place), evicted)
    }

    /// Gives a slot back, to the first in line if there is one; whom to wake, outside of every lock.
    #[must_use = "whoever waits for the slot must be woken"]
    #[inline]
    pub fn give_back(&self) -> Option<Waker> {
        let mut word = self.word.load(Ordering::Relaxed);
        while word <= IN_USE {
            match self.word.compare_exchange_weak(word, word - 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return None,
                Err(seen) => word = seen,
            }
        }
        self.hand_over()
    }

    #[cold]
    fn hand_over(&self) -> Option<Waker> {
        let mut line = self.line.lock();
        self.word.fetch_sub(1, Ordering::AcqRel);
        self.grant(&mut line)
    }

    /// Lets the first in line in, if there is room.
    fn grant(&self, line: &mut VecDeque<Stand>) -> Option<Waker> {
        let used = in_use(self.word.load(Ordering::Acquire));
        let priority = line.front()?.priority;
        if used >= priority.share(self.limit()) {
            return None;
        }
        let first = line.pop_front()?;
        // While somebody waits the word changes under the lock only, which is ours: one step is enough.
        self.word.fetch_sub(ONE_WAITING - 1, Ordering::AcqRel);
        first.place.grant()
    }

    /// Gives up a place in line at once. If it has been granted meanwhile the slot is the caller's: true.
    #[must_use = "a slot that was granted must be used or given back"]
    pub fn leave(&self, place: &Arc<Place>) -> bool {
        let mut line = self.line.lock();
        let Some(at) = line.iter().position(|other| Arc::ptr_eq(&other.place, place)) else {
            return place.is_granted();
        };
        line.remove(at);
        self.word.fetch_sub(ONE_WAITING, Ordering::AcqRel);
        false
    }

    /// Sets the number of slots to what `limit` says under the lock, and lets nobody in: if that is more than
    /// before, whoever made it so is on the way to [`set_limit`](Slots::set_limit).
    pub fn cut(&self, limit: impl FnOnce() -> u32) {
        let _line = self.line.lock();
        self.limit.store(limit(), Ordering::Relaxed);
    }

    /// Sets the number of slots to what `limit` says under the lock, so that of two who set it at once the
    /// later one has the later number; whom to wake, now that there is room for them.
    #[must_use = "whoever has got a slot must be woken"]
    pub fn set_limit(&self, limit: impl FnOnce() -> u32) -> Vec<Waker> {
        let mut line = self.line.lock();
        self.limit.store(limit(), Ordering::Relaxed);
        let mut wakers = Vec::new();
        loop {
            let before = line.len();
            wakers.extend(self.grant(&mut line));
            if line.len() == before {
                return wakers;
            }
        }
    }
}

const fn in_use(word: u64) -> u32 {
    (word & IN_USE) as u32
}

const fn waiting(word: u64) -> u32 {
    (word >> 32) as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn wait(slots: &Slots) -> Arc<Place> {
        as_one(slots, Priority::Normal)
    }

    fn as_one(slots: &Slots, priority: Priority) -> Arc<Place> {
        match slots.enter(u32::MAX, priority).0 {
            Entry::Waiting(place) => place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn l4_first_come_first_served_and_nobody_overtakes() {
        let slots = Slots::new(1);
        assert!(matches!(slots.enter(0, Priority::Normal).0, Entry::In(1)));
        let (first, second) = (wait(&slots), wait(&slots));
        assert_eq!(slots.load(), (1, 2));
        assert!(slots.give_back().is_none(), "nobody listens yet, but the call is kept");
        assert!(first.is_granted() && !second.is_granted());
        assert!(!first.listen(Waker::noop().clone()), "the call had come before");
        assert_eq!((slots.load(), slots.take()), ((1, 1), None));
    }

    #[test]
    fn l4_whoever_leaves_the_line_makes_room_at_once() {
        let slots = Slots::new(1);
        assert_eq!(slots.take(), Some(1));
        let (first, second) = (wait(&slots), wait(&slots));
        assert!(!slots.leave(&first));
        assert_eq!(slots.load(), (1, 1));
        drop(slots.give_back());
        assert!(slots.leave(&second), "it had got the slot already");
        drop(slots.give_back());
        assert_eq!(slots.load(), (0, 0));
    }

    #[test]
    fn l4_the_line_is_as_long_as_it_may_be() {
        let slots = Slots::new(1);
        assert_eq!(slots.take(), Some(1));
        assert!(matches!(slots.enter(0, Priority::Normal).0, Entry::Full));
        assert!(matches!(slots.enter(1, Priority::Normal).0, Entry::Waiting(_)));
        assert!(matches!(slots.enter(1, Priority::Normal).0, Entry::Full));
    }

    #[test]
    fn a_higher_limit_lets_in_as_many_as_there_is_room_for() {
        let slots = Slots::new(1);
        assert_eq!(slots.take(), Some(1));
        let places: Vec<_> = (0..4).map(|_| wait(&slots)).collect();
        let woken = places.iter().map(|place| place.listen(Waker::noop().clone())).filter(|new| *new).count();
        assert_eq!((woken, slots.set_limit(|| 3).len()), (4, 2));
        assert_eq!(slots.load(), (3, 2));
    }

    #[test]
    fn a_lower_limit_takes_slots_back_as_they_come_free() {
        let slots = Slots::new(3);
        (0..3).for_each(|_| assert!(slots.take().is_some()));
        let place = wait(&slots);
        assert!(slots.set_limit(|| 1).is_empty());
        (0..2).for_each(|_| assert!(slots.give_back().is_none()));
        assert!(!place.is_granted());
        drop(slots.give_back());
        assert!(place.is_granted());
        assert_eq!(slots.load(), (1, 0));
    }

    #[test]
    fn the_more_important_stand_before_the_less_important() {
        let slots = Slots::new(1);
        assert_eq!(slots.take(), Some(1));
        let [low, normal, high, other] = [Priority::Low, Priority::Normal, Priority::High, Priority::Normal]
            .map(|priority| as_one(&slots, priority));
        for next in [&high, &normal, &other, &low] {
            drop(slots.give_back());
            assert!(next.is_granted());
        }
        assert_eq!(slots.load(), (1, 0));
    }

    #[test]
    fn a_full_line_sheds_its_least_important_last_comer_for_a_more_important_one() {
        let slots = Slots::new(1);
        assert_eq!(slots.take(), Some(1));
        let [first, second] = [(); 2].map(|()| as_one(&slots, Priority::Low));
        assert!(second.listen(Waker::noop().clone()));
        let (entry, woken) = slots.enter(2, Priority::Normal);
        assert!(matches!(entry, Entry::Waiting(_)) && woken.is_some());
        assert!(second.is_evicted() && !first.is_evicted() && !slots.leave(&second));
        assert!(matches!(slots.enter(2, Priority::Low).0, Entry::Full));
        assert!(matches!(slots.enter(2, Priority::Normal).0, Entry::Waiting(_)));
        assert!(matches!(slots.enter(2, Priority::Normal).0, Entry::Full), "its like it does not push out");
        assert_eq!(slots.load(), (1, 2));
    }

    #[test]
    fn some_slots_are_kept_from_the_low_ones() {
        let slots = Slots::new(10);
        for _ in 0..8 {
            assert!(matches!(slots.enter(0, Priority::Low).0, Entry::In(_)));
        }
        assert!(matches!(slots.enter(0, Priority::Low).0, Entry::Shed));
        let low = as_one(&slots, Priority::Low);
        for _ in 0..2 {
            assert!(
                matches!(slots.enter(0, Priority::Normal).0, Entry::In(_)),
                "they pass who wait below them"
            );
        }
        assert!(
            matches!(slots.enter(1, Priority::Normal).0, Entry::Waiting(_)),
            "in the place of the low one"
        );
        assert!(low.is_evicted());
        assert_eq!(slots.load(), (10, 1));
        let last = as_one(&slots, Priority::Low);
        for _ in 0..4 {
            assert!(!last.is_granted());
            drop(slots.give_back());
        }
        assert_eq!((last.is_granted(), slots.load()), (true, (8, 0)));
    }
}
