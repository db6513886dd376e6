//! The right to probe: a fixed array of lease slots, each an atomic that holds its own expiry.
//!
//! A probe that never ends must not wedge the breaker (B3). So a slot is not a count that somebody has to
//! give back, it is a lease that runs out. A slot reads `era:21 | expiry:43` (milliseconds):
//!
//! ```text
//!            take: compare-and-swap                        free
//!   vacant ────────────────────────▶ leased until t ──▶ settling ──▶ vacant
//!      ▲                              │    ▲             (claimed by its own probe, cannot expire)
//!      │        taken over: expired   │    └ renew
//!      └──────────────────────────────┘
//! ```
//!
//! A slot of an earlier era is vacant as well. Two probes can never both believe that they hold a slot:
//! each knows the exact word it wrote, and every step is a compare-and-swap on that word.

use std::array;
use std::num::NonZeroU64;
use std::time::Duration;

use super::config::MAX_PROBES;
use crate::base::Time;
use crate::base::sync::{AtomicU64, Ordering};
use crate::window::Era;

const EXPIRY_BITS: u32 = u64::BITS - Era::BITS;
const EXPIRY_MAX: u64 = (1 << EXPIRY_BITS) - 1;
/// The expiry of a slot whose probe is being settled right now.
const SETTLING: u64 = EXPIRY_MAX;
const VACANT: u64 = 0;

/// A probe's proof that a slot is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    slot: u8,
    /// What it wrote there. Never vacant: so a permit needs no room of its own to say "no lease".
    word: NonZeroU64,
}

/// What became of the call whose slot was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ousted {
    /// There was none.
    Nobody,
    /// Its lease had run out: lost.
    Lost,
    /// Its round was over: late.
    Late,
}

/// The answer to a call that wants to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It may, and this became of the call before it.
    Taken(Lease, Ousted),
    /// Every slot is in use.
    Full,
    /// A later round has begun: look at the breaker again.
    Stale,
}

/// The answer to a probe that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Its slot is still its own: judge it, then [`Leases::free`] the slot.
    Held,
    /// Its lease had run out unseen: it is lost, count it.
    Expired,
    /// Its slot was taken over and it has been counted.
    Gone,
}

/// The slots of one breaker.
#[derive(Debug)]
#[repr(C)]
pub struct Leases([AtomicU64; MAX_PROBES as usize]);

impl Leases {
    /// Every slot vacant.
    #[must_use]
    pub fn new() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(VACANT)))
    }

    /// Takes one of the first `slots` slots for a probe of `era`, until `now + term`.
    #[must_use]
    pub fn take(&self, era: Era, now: Time, term: Duration, slots: u32) -> Take {
        for (place, slot) in self.in_use(slots) {
            let mut old = slot.load(Ordering::Acquire);
            loop {
                let (of, expiry) = split(old);
                if old != VACANT && of.is_after(era) {
                    return Take::Stale;
                }
                let ousted = match expiry {
                    _ if old == VACANT => Ousted::Nobody,
                    // Its own probe is just settling it: in this round it is still in use.
                    SETTLING if of == era => break,
                    SETTLING => Ousted::Nobody,
                    _ if expiry <= now.as_millis() => Ousted::Lost,
                    _ if of == era => break,
                    _ => Ousted::Late,
                };
                let word = lease_word(era, now, term);
                match slot.compare_exchange_weak(old, word.get(), Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return Take::Taken(Lease { slot: place, word }, ousted),
                    Err(seen) => old = seen,
                }
            }
        }
        Take::Full
    }

    /// Gives back a slot that was taken but not used; false if somebody has taken it over already.
    #[must_use]
    pub fn give_up(&self, lease: Lease) -> bool {
        let slot = self.slot(lease);
        slot.compare_exchange(lease.word.get(), VACANT, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// A sign of life: the lease runs until `now + term` again, unless it has run out.
    pub fn renew(&self, lease: &mut Lease, now: Time, term: Duration) {
        let (era, expiry) = split(lease.word.get());
        let word = lease_word(era, now, term);
        if expiry <= now.as_millis() || word <= lease.word {
            return;
        }
        let slot = self.slot(*lease);
        if slot.compare_exchange(lease.word.get(), word.get(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            lease.word = word;
        }
    }

    /// Takes the slot back from a probe that has ended. Only one of the two can win: the probe here, or
    /// a newcomer that takes over its slot.
    #[must_use]
    pub fn claim(&self, lease: Lease, now: Time) -> Claim {
        let (era, expiry) = split(lease.word.get());
        let expired = expiry <= now.as_millis();
        let word = if expired { VACANT } else { settling(era) };
        match self.slot(lease).compare_exchange(lease.word.get(), word, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) if expired => Claim::Expired,
            Ok(_) => Claim::Held,
            Err(_) => Claim::Gone,
        }
    }

    /// Gives back a slot that was claimed. It may have been taken over in a new round meanwhile.
    pub fn free(&self, lease: Lease) {
        let (era, _) = split(lease.word.get());
        let _taken_over =
            self.slot(lease).compare_exchange(settling(era), VACANT, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Would a probe of `era` find a slot at `now`? If not, when the first one in use runs out.
    ///
    /// # Errors
    /// The earliest expiry.
    pub fn vacancy(&self, era: Era, now: Time, slots: u32) -> Result<(), Time> {
        let mut earliest = Time::NEVER;
        for (_, slot) in self.in_use(slots) {
            let word = slot.load(Ordering::Acquire);
            let (of, expiry) = split(word);
            if word == VACANT || of != era || expiry <= now.as_millis() {
                return Ok(());
            }
            earliest = earliest.min(Time::from_millis(expiry));
        }
        Err(earliest)
    }

    /// How many probes have let their lease run out, of those nobody has taken over.
    #[must_use]
    pub fn expired(&self, now: Time) -> u64 {
        let ran_out = |slot: &&AtomicU64| {
            let word = slot.load(Ordering::Acquire);
            word != VACANT && split(word).1 <= now.as_millis()
        };
        self.0.iter().filter(ran_out).count() as u64
    }

    fn in_use(&self, slots: u32) -> impl Iterator<Item = (u8, &AtomicU64)> {
        (0u8..).zip(&self.0).take(slots as usize)
    }

    fn slot(&self, lease: Lease) -> &AtomicU64 {
        &self.0[usize::from(lease.slot)]
    }
}

impl Default for Leases {
    fn default() -> Self {
        Self::new()
    }
}

/// The term is rounded up to whole milliseconds and `now` down: a lease is never a whole one too short.
fn lease_word(era: Era, now: Time, term: Duration) -> NonZeroU64 {
    let term = Time::ZERO.after(term).as_millis_ceil();
    let expiry = now.as_millis().saturating_add(term).clamp(1, EXPIRY_MAX - 1);
    // The expiry is at least 1, so the alternative is never taken.
    NonZeroU64::new(u64::from(era.number()) << EXPIRY_BITS | expiry).unwrap_or(NonZeroU64::MIN)
}

fn settling(era: Era) -> u64 {
    u64::from(era.number()) << EXPIRY_BITS | SETTLING
}

const fn split(word: u64) -> (Era, u64) {
    (Era::new((word >> EXPIRY_BITS) as u32), word & EXPIRY_MAX)
}
