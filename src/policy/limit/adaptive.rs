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
//!   is how long it queued. If the recent mean is twice the usual one, that is a complaint too. Failures have no
//!   latency: a fast one is no sign of speed.

use super::lock::Lock;
use crate::base::ConfigError;
use crate::base::sync::{AtomicU64, Ordering};
use std::time::Duration;

/// `era:20 | limit:44`, the limit with 20 binary places.
const POINT: u32 = 20;
const ONE: u64 = 1 << POINT;
const LIMIT_BITS: u32 = 44;
const LIMIT: u64 = (1 << LIMIT_BITS) - 1;
/// A cut keeps seven tenths of the whole slots.
const KEEP: (u64, u64) = (7, 10);
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
        self.change(of, |now| (now + ONE * ONE / now).min(u64::from(self.config.maximum) << POINT), 0)
    }

    /// A call of `of` was told that there are too many of us. True if the limit has changed by a whole slot.
    #[must_use = "the slots must learn it"]
    pub fn overloaded(&self, of: Epoch) -> bool {
        let cut = |now| u64::from(whole(now)) * ONE * KEEP.0 / KEEP.1;
        self.change(of, |now| cut(now).max(u64::from(self.config.minimum) << POINT), 1)
    }

    /// A stream of `of` brought its first token after `wait`. True if the limit has changed by a whole slot.
    #[must_use = "the slots must learn it"]
    pub fn first_token(&self, of: Epoch, wait: Duration) -> bool {
        if of != self.epoch() {
            return false;
        }
        let crowded = self.latency.lock().takes(wait);
        crowded && self.overloaded(of)
    }

    fn change(&self, of: Epoch, law: impl Fn(u64) -> u64, epochs: u32) -> bool {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let limit = word & LIMIT;
            if epoch(word) != of {
                return false;
            }
            let new = law(limit);
            let next = Epoch(of.0.wrapping_add(epochs));
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

/// How long first tokens take, lately and usually.
///
/// Both are exponentially weighted means. The usual one forgets slowly what it knew when things get slower, and
/// quickly when they get faster: it stands for a callee that is not crowded.
#[derive(Debug, Default)]
struct Latency {
    lately: f64,
    usually: f64,
    samples: u32,
}

impl Latency {
    /// Before so many first tokens nothing is usual.
    const FEW: u32 = 10;
    const QUICK: f64 = 0.2;
    const SLOW: f64 = 0.01;
    /// From here on it is crowded: a queue as long as the work itself.
    const CROWDED: f64 = 2.0;
    /// And a queue of less than 10 ms is none: that late an event loop or a busy machine of our own may be.
    const NOTICEABLE: f64 = 0.01;

    /// Takes a wait in; is it crowded? After a yes it looks anew: one long queue is one piece of news.
    fn takes(&mut self, wait: Duration) -> bool {
        let wait = wait.as_secs_f64();
        self.samples = self.samples.saturating_add(1);
        if self.samples <= Self::FEW {
            let share = 1.0 / f64::from(self.samples);
            self.usually += (wait - self.usually) * share;
            self.lately = self.usually;
            return false;
        }
        self.lately += (wait - self.lately) * Self::QUICK;
        let pace = if self.lately < self.usually { Self::QUICK } else { Self::SLOW };
        self.usually += (self.lately - self.usually) * pace;
        let crowded = self.lately > (self.usually * Self::CROWDED).max(self.usually + Self::NOTICEABLE);
        if crowded {
            self.lately = self.usually;
        }
        crowded
    }
}
