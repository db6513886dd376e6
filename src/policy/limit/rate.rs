//! A limit on how much is asked for in a stretch of time: requests, or weighted permits such as tokens.
//!
//! The generic cell rate algorithm in its form of virtual scheduling (ITU-T I.371, annex A; ATM Forum Traffic
//! Management 4.0): one number, the *theoretical arrival time* (TAT), says until when all that was let through
//! would keep a callee busy that works at exactly the allowed rate. A request of weight w conforms if the TAT it
//! moves to, `max(TAT, now) + w · T`, is not more than `burst · T` ahead. It is a token bucket without the refilling.
//!
//! Those who may wait stand in a line, first come first served among equals, and nothing is taken for them before their turn: one
//! who leaves owes nothing, and those behind move up. Whoever wakes serves everybody whose turn has come, so that a
//! stalled event loop holds up nobody else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::lock::Lock;
use super::place::Place;
use super::priority::Priority;
use super::quota::RateConfig;
use crate::base::sync::{AtomicU32, AtomicU64, Ordering};
use crate::base::{Outbox, Rejection, RejectionKind, Source, Time};

/// What a call has used of a rate, in the nanoseconds that it keeps the callee busy.
#[derive(Debug)]
#[must_use = "a ration that was not used is refunded, or nobody else can use it"]
pub struct Ration(u64);

/// What came of asking for a ration.
#[derive(Debug)]
pub enum Entry {
    /// It is the call's.
    In(Ration),
    /// Its turn comes then, as far as known; a call of the place says that it comes sooner.
    Waiting(Arc<Place>, Time),
    /// Not in time.
    Refused(Rejection),
}

/// One who waits.
#[derive(Debug)]
struct Stand {
    place: Arc<Place>,
    weight: u64,
    priority: Priority,
    /// When its owner will look by itself.
    due: Time,
}

/// How it stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Permits that could be used at once.
    pub available: f64,
    /// Calls that wait in line.
    pub queued: u32,
    /// Calls refused so far.
    pub rejected: u64,
}

/// A rate limit. The instance is the state: whoever shares it shares the rate.
#[derive(Debug)]
pub struct Rate {
    /// The theoretical arrival time, in nanoseconds.
    tat: AtomicU64,
    /// Until then nobody passes, because the callee said so.
    closed: AtomicU64,
    /// The length of the line, for a look without the lock.
    waiting: AtomicU32,
    line: Lock<VecDeque<Stand>>,
    interval: f64,
    /// What one permit weighs.
    one: u64,
    /// How far ahead the TAT may be, in nanoseconds.
    tolerance: u64,
    config: RateConfig,
    source: Source,
    rejected: AtomicU64,
}

impl Rate {
    /// With a whole burst to use. The configuration is taken as [validated](RateConfig::validate).
    #[must_use]
    pub fn new(source: Source, config: RateConfig) -> Self {
        let interval = config.interval();
        Self {
            tat: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            line: Lock::default(),
            interval,
            one: nanos(interval),
            tolerance: nanos(interval * config.burst()),
            config,
            source,
            rejected: AtomicU64::new(0),
        }
    }

    /// As whom it speaks.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Its fields.
    #[must_use]
    pub const fn config(&self) -> &RateConfig {
        &self.config
    }

    /// How it stands.
    #[must_use]
    pub fn level(&self, now: Time) -> Level {
        let ahead = self.tat.load(Ordering::Acquire).saturating_sub(now.as_nanos());
        let left = self.tolerance.saturating_sub(ahead) as f64 / self.interval;
        let open = self.closed.load(Ordering::Acquire) <= now.as_nanos();
        Level {
            available: if open { left } else { 0.0 },
            queued: self.waiting.load(Ordering::Relaxed),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }

    /// A ration of `cost` permits, if there is one now and nobody waits: one compare-and-swap.
    #[must_use]
    #[inline]
    pub fn take(&self, cost: f64, now: Time) -> Option<Ration> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let weight = self.weight(cost);
        self.pass(weight, 0, now).then_some(Ration(weight))
    }

    /// The same for one permit, if it says true: then there is a ration [of one](Rate::one) to be used or refunded.
    #[must_use]
    #[inline]
    pub fn take_one(&self, now: Time) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0 && self.pass(self.one, 0, now)
    }

    /// The ration that [`take_one`](Rate::take_one) has given.
    pub const fn one(&self) -> Ration {
        Ration(self.one)
    }

    /// May the time that [`take_one`](Rate::take_one) is given lag behind by a few milliseconds? Yes, if what can be
    /// used at once lasts for a second or more: then that is less than a hundredth of it.
    #[must_use]
    pub const fn bears_lag(&self) -> bool {
        self.tolerance >= 1_000_000_000
    }

    /// A ration of `cost` permits now, a place in line if its turn comes before `deadline`, or a refusal;
    /// without a deadline nobody waits.
    pub fn enter(&self, cost: f64, priority: Priority, deadline: Option<Time>, now: Time) -> Entry {
        let weight = self.weight(cost);
        let kept = priority.kept(self.tolerance, weight);
        if self.waiting.load(Ordering::Relaxed) == 0 && self.pass(weight, kept, now) {
            return Entry::In(Ration(weight));
        }
        if weight > self.tolerance {
            return Entry::Refused(self.refuse("too_large", None));
        }
        let mut line = self.line.lock();
        let at = line.partition_point(|other| other.priority >= priority);
        if at == 0 && self.pass(weight, kept, now) {
            return Entry::In(Ration(weight));
        }
        let due = self.due(line.iter().take(at), weight, kept);
        let wait = Some(due.since(now));
        match deadline {
            None if kept > 0 && self.would_pass(weight, now) => {
                return Entry::Refused(self.refuse("shed", wait));
            }
            None => return Entry::Refused(self.refuse("exhausted", wait)),
            Some(deadline) if due >= deadline => return Entry::Refused(self.refuse("deadline", wait)),
            Some(_) => {}
        }
        let place = Arc::new(Place::default());
        line.insert(at, Stand { place: Arc::clone(&place), weight, priority, due });
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Entry::Waiting(place, due)
    }

    /// One who waits looks: it has its ration, goes on waiting, or its turn has moved behind `deadline`.
    pub fn resume(
        &self,
        place: Arc<Place>,
        cost: f64,
        deadline: Option<Time>,
        now: Time,
        out: &mut Outbox,
    ) -> Entry {
        let mut line = self.line.lock();
        self.serve(&mut line, now, out);
        if place.is_granted() {
            return Entry::In(Ration(self.weight(cost)));
        }
        let Some(at) = line.iter().position(|stand| Arc::ptr_eq(&stand.place, &place)) else {
            return Entry::Refused(self.refuse("deadline", None));
        };
        let Stand { weight, priority, .. } = line[at];
        let due = self.due(line.iter().take(at), weight, priority.kept(self.tolerance, weight));
        if deadline.is_some_and(|deadline| due >= deadline) {
            self.remove(&mut line, at, out);
            return Entry::Refused(self.refuse("deadline", Some(due.since(now))));
        }
        line[at].due = due;
        Entry::Waiting(place, due)
    }

    /// Gives up a place in line, at once; a ration that it had got meanwhile is used by nobody.
    pub fn leave(&self, place: &Arc<Place>, cost: f64, out: &mut Outbox) {
        let mut line = self.line.lock();
        if let Some(at) = line.iter().position(|stand| Arc::ptr_eq(&stand.place, place)) {
            self.remove(&mut line, at, out);
        } else if place.is_granted() {
            self.lighten(self.weight(cost));
            self.call_first(&mut line, out);
        }
    }

    /// Takes a ration back that was not used: the attempt was not made.
    #[expect(clippy::needless_pass_by_value, reason = "taken back by value, so that it is given back once")]
    pub fn refund(&self, ration: Ration, out: &mut Outbox) {
        self.lighten(ration.0);
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.call_first(&mut self.line.lock(), out);
        }
    }

    /// The call that used `estimated` permits used `actual` ones in truth (L6).
    pub fn settle(&self, estimated: f64, actual: f64, now: Time, out: &mut Outbox) {
        let (held, used) = (self.weight(estimated), self.weight(actual));
        if used <= held {
            return self.refund(Ration(held - used), out);
        }
        let more = used - held;
        let add = |tat: u64| Some(tat.max(now.as_nanos()).saturating_add(more));
        let _always = self.tat.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// The callee says that `remaining` permits are left until `reset` from now. It can only make the limit
    /// tighter: one that has less left keeps it (L6).
    pub fn tighten(&self, remaining: f64, reset: Option<Duration>, now: Time) {
        let left = nanos(remaining * self.interval).min(self.tolerance);
        let least = now.as_nanos().saturating_add(self.tolerance - left);
        self.tat.fetch_max(least, Ordering::AcqRel);
        if let Some(reset) = reset.filter(|_| remaining < 1.0) {
            self.close(now.after(reset));
        }
    }

    /// The callee says that nothing is left before `until`. The latest word that it ever gave stands (P12).
    pub fn close(&self, until: Time) {
        self.closed.fetch_max(until.as_nanos(), Ordering::AcqRel);
    }

    /// When a call of `cost` could pass, if nobody comes before it; a moment in the past: now.
    #[must_use]
    pub fn earliest(&self, cost: f64) -> Time {
        let line = self.line.lock();
        self.due(line.iter(), self.weight(cost), 0)
    }

    /// Could such a call pass now, with nobody waiting? A look that changes nothing.
    #[must_use]
    pub fn has_room(&self, cost: f64, priority: Priority, now: Time) -> bool {
        let weight = self.weight(cost);
        self.waiting.load(Ordering::Relaxed) == 0
            && weight <= self.tolerance
            && self.due(std::iter::empty(), weight, priority.kept(self.tolerance, weight)) <= now
    }

    /// The refusal of one that has waited in vain, or that cannot wait.
    #[must_use]
    pub fn refuse(&self, reason: &'static str, retry_after: Option<Duration>) -> Rejection {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        Rejection::new(RejectionKind::RateLimited, reason, retry_after, self.source.clone())
    }

    fn weight(&self, cost: f64) -> u64 {
        nanos(cost * self.interval)
    }

    /// Would a request of `weight` from which nothing is kept conform?
    fn would_pass(&self, weight: u64, now: Time) -> bool {
        self.due(std::iter::empty(), weight, 0) <= now
    }

    /// Moves the TAT on, if the request conforms with so much of the tolerance `kept` from it.
    #[inline]
    fn pass(&self, weight: u64, kept: u64, now: Time) -> bool {
        let now = now.as_nanos();
        if now < self.closed.load(Ordering::Relaxed) {
            return false;
        }
        let latest = now.saturating_add(self.tolerance - kept);
        let mut tat = self.tat.load(Ordering::Relaxed);
        loop {
            let next = tat.max(now).saturating_add(weight);
            if next > latest {
                return false;
            }
            match self.tat.compare_exchange_weak(tat, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(seen) => tat = seen,
            }
        }
    }

    /// When a request of `weight`, from which so much of the tolerance is `kept`, conforms after those `ahead`.
    fn due<'a>(&self, ahead: impl Iterator<Item = &'a Stand>, weight: u64, kept: u64) -> Time {
        let owed = ahead.map(|stand| stand.weight).fold(weight, u64::saturating_add);
        let tat = self.tat.load(Ordering::Acquire).saturating_add(owed);
        let from = tat.saturating_sub(self.tolerance - kept);
        Time::from_nanos(from.max(self.closed.load(Ordering::Acquire)))
    }

    /// Gives everybody their ration whose turn it is.
    fn serve(&self, line: &mut VecDeque<Stand>, now: Time, out: &mut Outbox) {
        while line.front().is_some_and(|first| self.pass(first.weight, self.kept_from(first), now)) {
            if let Some(first) = line.pop_front() {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                out.wake(first.place.grant());
            }
        }
        self.call_first(line, out);
    }

    fn kept_from(&self, stand: &Stand) -> u64 {
        stand.priority.kept(self.tolerance, stand.weight)
    }

    fn remove(&self, line: &mut VecDeque<Stand>, at: usize, out: &mut Outbox) {
        line.remove(at);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.call_first(line, out);
    }

    /// Calls the first in line, if its turn comes sooner than it knows.
    fn call_first(&self, line: &mut VecDeque<Stand>, out: &mut Outbox) {
        let Some(first) = line.front_mut() else { return };
        let due = self.due(std::iter::empty(), first.weight, self.kept_from(first));
        if due < first.due {
            first.due = due;
            out.wake(first.place.call());
        }
    }

    fn lighten(&self, weight: u64) {
        let less = |tat: u64| Some(tat.saturating_sub(weight));
        let _always = self.tat.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of floats saturates")]
fn nanos(x: f64) -> u64 {
    x.round() as u64
}
