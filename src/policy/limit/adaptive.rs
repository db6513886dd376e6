//! AIMD: the law by which a concurrency limit finds its own number.
//!
//! Additive increase, multiplicative decrease (D.-M. Chiu, R. Jain: "Analysis of the Increase and Decrease
//! Algorithms for Congestion Avoidance in Computer Networks", 1989), as TCP has it: while calls succeed the
//! limit grows by one per round trip, that is by `1 / limit` per success; when the callee says that it is
//! overloaded, or that we ask too often, it is multiplied by 0.7 (the factor of CUBIC, RFC 9438).
//!
//! What an LLM asks for beyond TCP (L5):
//!
//! - **One cut per round trip.** A cut begins a new era. Calls under way at the cut saw the old limit: their
//!   complaints are the same news, and cut nothing; their successes prove nothing about the new limit.
//! - **It grows only when used** (RFC 7661): a success counts only if every slot was in use when it came.
//! - **Only the time to the first token is a latency.** How long an answer takes is how long it is; when it begins
//!   is how long it queued. If a round's mean is twice what it takes without a queue (`latency.rs`),
//!   that is a complaint too. It is more exact than a refusal, and cuts less: a tenth, or three if it is far too much.
//!   Failures have no latency: a fast one is no sign of speed.

use super::latency::{Advice, Latency};
use super::lock::Lock;
use crate::base::sync::{AtomicU64, Ordering};
use crate::base::{ConfigError, Time};
use std::time::Duration;

/// `era:20 | limit:44`, the limit with 20 binary places.
const POINT: u32 = 20;
const ONE: u64 = 1 << POINT;
const LIMIT_BITS: u32 = 44;
const LIMIT: u64 = (1 << LIMIT_BITS) - 1;
/// A cut keeps seven tenths of the whole slots (all such numbers are per cent).
const KEEP: u64 = 70;
const PERCENT: u64 = 100;
/// And this many if first tokens come a little too late: as much as keeps a callee busy that has just begun to queue.
const KEEP_MOST: u64 = 90;
/// What a probe leaves: a quarter. Half would not do, since a queue up to as long as the base is let be: a base that
/// was learned in our own queue would never get better.
const PROBE: u64 = 25;
/// The highest maximum: more than any provider serves, and far from the word's end.
pub const MOST: u32 = 1_000_000;

/// The bounds of a limit that finds its own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AimdConfig {
    /// Where it begins. Default 8.
    pub initial: u32,
    /// It is never cut below this. Default 1.
    pub minimum: u32,
    /// It never grows above this. Default 64.
    pub maximum: u32,
}

impl Default for AimdConfig {
    fn default() -> Self {
        Self { initial: 8, minimum: 1, maximum: 64 }
    }
}

impl AimdConfig {
    /// Checks the numbers.
    pub fn validate(self) -> Result<Self, ConfigError> {
        let refuse = |field, rule: String, value| Err(ConfigError::new(field, rule, value));
        if self.minimum == 0 {
            return refuse("minimum", "be at least 1".into(), self.minimum);
        }
        if self.maximum < self.minimum || self.maximum > MOST {
            let rule = format!("be at least minimum ({}) and at most {MOST}", self.minimum);
            return refuse("maximum", rule, self.maximum);
        }
        if !(self.minimum..=self.maximum).contains(&self.initial) {
            let rule = format!("be from minimum ({}) to maximum ({})", self.minimum, self.maximum);
            return refuse("initial", rule, self.initial);
        }
        Ok(self)
    }
}

/// The stretch between two cuts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u32);

impl Epoch {
    /// The one after the next cut. They are counted in as many bits as the word has for them.
    pub(super) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1) & ((1 << (u64::BITS - LIMIT_BITS)) - 1))
    }
}

/// What became of the limit when a first token came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It was cut: the callee queues.
    Cut,
    /// It was lowered for one round trip, to see what the callee takes without a queue.
    Probe,
    /// It is back to where it was before that.
    Back,
}

/// A limit on its way. The instance is the state.
#[derive(Debug)]
pub struct Aimd {
    word: AtomicU64,
    latency: Lock<Latency>,
    config: AimdConfig,
}

impl Aimd {
    /// At its initial limit. The configuration is taken as [validated](AimdConfig::validate).
    #[must_use]
    pub fn new(config: AimdConfig) -> Self {
        let word = AtomicU64::new(u64::from(config.initial) << POINT);
        Self { word, latency: Lock::default(), config }
    }

    /// The limit now, whole slots only.
    #[must_use]
    pub fn limit(&self) -> u32 {
        whole(self.word.load(Ordering::Acquire) & LIMIT)
    }

    /// The present epoch: what a call that begins now will speak for.
    #[must_use]
    #[inline]
    pub fn epoch(&self) -> Epoch {
        epoch(self.word.load(Ordering::Acquire))
    }

    /// A call of `of` succeeded while every slot was in use. True if the limit has changed by a whole slot.
    #[must_use = "the slots must learn it"]
    pub fn succeeded(&self, of: Epoch) -> bool {
        self.change(of, |now| (now + ONE * ONE / now).min(u64::from(self.config.maximum) << POINT), false)
    }

    /// A call of `of` was told that there are too many of us. True if the limit has changed by a whole slot.
    #[must_use = "the slots must learn it"]
    pub fn overloaded(&self, of: Epoch) -> bool {
        self.cut(of, KEEP)
    }

    /// A stream of `of` brought its first token after `wait`; was every slot in use (`used`) when it came? Whenever
    /// the limit changes a new round trip begins.
    #[must_use = "the slots must learn it"]
    pub fn first_token(&self, of: Epoch, wait: Duration, now: Time, used: bool) -> Change {
        let mut latency = self.latency.lock();
        let word = self.word.load(Ordering::Acquire);
        if epoch(word) != of {
            return Change::None;
        }
        let Some(advice) = latency.takes(of, whole(word & LIMIT), wait, now, used) else {
            return Change::None;
        };
        let (changed, change) = match advice {
            Advice::Cut => (self.cut(of, KEEP_MOST), Change::Cut),
            Advice::CutDeep => (self.cut(of, KEEP), Change::Cut),
            Advice::Probe => (self.cut(of, PROBE), Change::Probe),
            Advice::Back(to) => (self.change(of, |now| now.max(u64::from(to) << POINT), true), Change::Back),
        };
        if changed {
            return change;
        }
        latency.too_late();
        Change::None
    }

    fn cut(&self, of: Epoch, keep: u64) -> bool {
        let least = u64::from(self.config.minimum) << POINT;
        self.change(of, |now| (u64::from(whole(now)) * ONE * keep / PERCENT).max(least), true)
    }

    fn change(&self, of: Epoch, law: impl Fn(u64) -> u64, begins: bool) -> bool {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let limit = word & LIMIT;
            if epoch(word) != of {
                return false;
            }
            let new = law(limit);
            let next = if begins { of.next() } else { of };
            let bits = u64::from(next.0) << LIMIT_BITS | new;
            match self.word.compare_exchange_weak(word, bits, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return whole(new) != whole(limit),
                Err(seen) => word = seen,
            }
        }
    }
}

fn whole(limit: u64) -> u32 {
    u32::try_from(limit >> POINT).unwrap_or(u32::MAX)
}

const fn epoch(word: u64) -> Epoch {
    Epoch((word >> LIMIT_BITS) as u32)
}
