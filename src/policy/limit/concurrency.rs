//! A limit on how many calls run at once: fixed (the bulkhead), or finding its own number.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::adaptive::{Aimd, AimdConfig, Change, Epoch};
use super::place::Place;
use super::priority::Priority;
use super::slots::{self, Slots};
use crate::base::sync::{AtomicU64, Ordering};
use crate::base::{ConfigError, FailureKind, Outbox, Rejection, RejectionKind, Source, Time, Verdict};

/// How much one call's length weighs in the mean that `retry_after` is told by: an eighth, as in TCP's
/// estimate of the round trip (RFC 6298).
const SHARE: u64 = 8;

/// The fields of a concurrency limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyConfig {
    /// How many calls run at once, at least 1; with `adaptive`, where it begins.
    pub limit: u32,
    /// How many more wait in line. Default 0.
    pub max_queue: u32,
    /// How long one waits there at most; none: until the call's deadline.
    pub queue_timeout: Option<Duration>,
    /// The bounds within which the limit finds its own number; none: it is fixed.
    pub adaptive: Option<AimdConfig>,
}

impl ConcurrencyConfig {
    /// Checks the numbers.
    pub fn validate(self) -> Result<Self, ConfigError> {
        if self.limit == 0 {
            return Err(ConfigError::new("limit", "be at least 1", 0));
        }
        if self.queue_timeout.is_some_and(|span| span.is_zero()) {
            return Err(ConfigError::new("queue_timeout", "be positive", 0));
        }
        self.adaptive.map(AimdConfig::validate).transpose()?;
        Ok(self)
    }
}

/// The right to run, until it is [released](Concurrency::release). It can be neither copied nor made.
#[derive(Debug)]
#[must_use = "a slot that is taken must be released, or it is in use for ever"]
pub struct Slot {
    /// Since when; [`Time::NEVER`]: nobody looked at the clock.
    since: Time,
    epoch: Epoch,
}

/// What came of asking for a slot.
#[derive(Debug)]
pub enum Entry {
    /// It may run.
    In(Slot),
    /// It waits in line, at most until then.
    Waiting(Arc<Place>, Time),
    /// It may not.
    Refused(Rejection),
}

/// What the end of a call says about the load on its callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was served.
    Served,
    /// There are too many of us.
    Overloaded,
    /// Nothing: it failed for another reason, or was given up.
    Nothing,
}

impl Outcome {
    /// What `verdict` says.
    #[must_use]
    pub const fn of(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Ok => Self::Served,
            Verdict::Throttled(_) => Self::Overloaded,
            Verdict::Fail(failure) => match failure.kind {
                FailureKind::Overloaded | FailureKind::RateLimit => Self::Overloaded,
                _ => Self::Nothing,
            },
            Verdict::Ignore => Self::Nothing,
        }
    }
}

/// What it has counted and how it stands, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many calls may run at once now.
    pub limit: u32,
    /// How many run.
    pub in_use: u32,
    /// How many wait in line.
    pub queued: u32,
    /// Calls refused so far.
    pub rejected: u64,
    /// Times that an adaptive limit was cut.
    pub cuts: u64,
}

/// A concurrency limit. The instance is the state: whoever shares it shares the slots.
#[derive(Debug)]
pub struct Concurrency {
    slots: Slots,
    law: Option<Aimd>,
    config: ConcurrencyConfig,
    source: Source,
    /// Nanoseconds that a slot is held, on the mean, while all are in use; 0: not known yet.
    hold: AtomicU64,
    rejected: AtomicU64,
    cuts: AtomicU64,
}

impl Concurrency {
    /// All slots free. The configuration is taken as [validated](ConcurrencyConfig::validate).
    #[must_use]
    pub fn new(source: Source, config: ConcurrencyConfig) -> Self {
        Self {
            slots: Slots::new(config.limit),
            law: config.adaptive.map(Aimd::new),
            config,
            source,
            hold: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
        }
    }

    /// As whom it speaks.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Its fields.
    #[must_use]
    pub const fn config(&self) -> &ConcurrencyConfig {
        &self.config
    }

    /// How it stands.
    #[must_use]
    pub fn load(&self) -> Load {
        let (in_use, queued) = self.slots.load();
        Load {
            limit: self.slots.limit(),
            in_use,
            queued,
            rejected: self.rejected.load(Ordering::Relaxed),
            cuts: self.cuts.load(Ordering::Relaxed),
        }
    }

    /// A slot, if one is free and nobody waits: one compare-and-swap. The clock is asked only by whoever
    /// takes the last one, for how long slots are held is of interest only when there are none.
    #[must_use]
    #[inline]
    pub fn take(&self, now: impl FnOnce() -> Time) -> Option<Slot> {
        let used = self.slots.take()?;
        let since = if used >= self.slots.limit() { now() } else { Time::NEVER };
        Some(Slot { since, epoch: self.law.as_ref().map_or_else(Epoch::default, Aimd::epoch) })
    }

    /// A slot, a place in line, or a refusal.
    pub fn enter(&self, priority: Priority, now: Time, out: &mut Outbox) -> Entry {
        let (entry, shed) = self.slots.enter(self.config.max_queue, priority);
        out.wake(shed);
        match entry {
            slots::Entry::In(_) => Entry::In(self.slot(now)),
            slots::Entry::Waiting(place) => {
                let until = self.config.queue_timeout.map_or(Time::NEVER, |span| now.after(span));
                Entry::Waiting(place, until)
            }
            slots::Entry::Full => Entry::Refused(self.refuse("full")),
            slots::Entry::Shed => Entry::Refused(self.refuse("shed")),
        }
    }

    /// One who waits looks: it has a slot, goes on waiting until `until`, or is refused.
    pub fn resume(&self, place: Arc<Place>, until: Time, now: Time) -> Entry {
        if place.is_granted() {
            return Entry::In(self.slot(now));
        }
        if place.is_evicted() {
            return Entry::Refused(self.refuse("shed"));
        }
        if now < until {
            return Entry::Waiting(place, until);
        }
        match self.leave(&place, now) {
            Some(slot) => Entry::In(slot),
            None => Entry::Refused(self.refuse("queue_timeout")),
        }
    }

    /// Gives up a place in line, at once. A slot that it had got meanwhile is the caller's.
    #[must_use = "a slot that was granted must be used or released"]
    pub fn leave(&self, place: &Arc<Place>, now: Time) -> Option<Slot> {
        self.slots.leave(place).then(|| self.slot(now))
    }

    /// The refusal of one that has waited in vain.
    #[must_use]
    pub fn refuse(&self, reason: &'static str) -> Rejection {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        Rejection::new(RejectionKind::BulkheadFull, reason, self.retry_after(), self.source.clone())
    }

    /// Is a slot free for such a call, with nobody waiting for it? A look that changes nothing.
    #[must_use]
    pub fn has_room(&self, priority: Priority) -> bool {
        let (in_use, queued) = self.slots.load();
        queued == 0 && in_use < priority.share(self.slots.limit())
    }

    /// After how long the next slot is likely to be free for somebody new, as far as anybody knows: the mean
    /// time that slots are held when all are in use, for each who is before them, shared by the slots.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let hold = self.hold.load(Ordering::Relaxed);
        let (_, queued) = self.slots.load();
        let turns = u64::from(queued) + 1;
        (hold > 0).then(|| Duration::from_nanos(hold.saturating_mul(turns) / u64::from(self.slots.limit())))
    }

    /// The first content of a stream has come: the one latency that tells of a queue (L5).
    pub fn first_item(&self, slot: &Slot, wait: Duration, now: Time, out: &mut Outbox) {
        let Some(law) = &self.law else { return };
        let change = law.first_token(slot.epoch, wait, now, self.is_full());
        match change {
            Change::None => {}
            Change::Back => self.grow(law, out),
            Change::Cut | Change::Probe => self.slots.cut(|| law.limit()),
        }
        if change == Change::Cut {
            self.cuts.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives a slot back, with what the end of its call says.
    #[expect(clippy::needless_pass_by_value, reason = "taken back by value, so that it is given back once")]
    pub fn release(&self, slot: Slot, outcome: Outcome, now: Time, out: &mut Outbox) {
        if let Some(law) = &self.law {
            match outcome {
                Outcome::Served if self.is_full() && law.succeeded(slot.epoch) => self.grow(law, out),
                Outcome::Overloaded if law.overloaded(slot.epoch) => {
                    self.cuts.fetch_add(1, Ordering::Relaxed);
                    self.slots.cut(|| law.limit());
                }
                _ => {}
            }
        }
        self.measure(&slot, || now);
        out.wake(self.slots.give_back());
    }

    /// The same for a fixed limit, of which the outcome is of no interest; whom to wake.
    ///
    /// # Errors
    /// The slot, if the limit is not fixed: take it to [`release`](Concurrency::release).
    #[inline]
    pub fn release_fast(&self, slot: Slot, now: impl FnOnce() -> Time) -> Result<Option<Waker>, Slot> {
        if self.law.is_some() {
            return Err(slot);
        }
        self.measure(&slot, now);
        Ok(self.slots.give_back())
    }

    fn slot(&self, now: Time) -> Slot {
        Slot { since: now, epoch: self.law.as_ref().map_or_else(Epoch::default, Aimd::epoch) }
    }

    fn is_full(&self) -> bool {
        self.slots.load().0 >= self.slots.limit()
    }

    /// Lets the slots have the number that the law has come to.
    #[cold]
    fn grow(&self, law: &Aimd, out: &mut Outbox) {
        for waker in self.slots.set_limit(|| law.limit()) {
            out.wake(Some(waker));
        }
    }

    /// Learns how long a slot was held. Two who write at once lose one of many samples of an estimate.
    #[inline]
    fn measure(&self, slot: &Slot, now: impl FnOnce() -> Time) {
        if slot.since == Time::NEVER {
            return;
        }
        let held = u64::try_from(now().since(slot.since).as_nanos()).unwrap_or(u64::MAX).max(1);
        let mean = self.hold.load(Ordering::Relaxed);
        let new = if mean == 0 { held } else { mean - mean / SHARE + held / SHARE };
        self.hold.store(new.max(1), Ordering::Relaxed);
    }
}
