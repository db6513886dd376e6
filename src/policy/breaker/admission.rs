//! The door in: may this call be tried?

use std::time::Duration;

use super::Breaker;
use super::lease::{Ousted, Take};
use super::metrics::count;
use super::permit::Permit;
use super::state::{Input, Reason, Trip};
use super::trip::{self, Memory};
use super::word::{State, Word};
use crate::base::sync::Ordering;
use crate::base::{Dice, Outbox, Rejection, RejectionKind, Time};

/// What a call refused by a half-open breaker is told to wait at most: its probe mostly ends long before
/// its lease does.
const PROBE_WAIT: Duration = Duration::from_secs(1);

impl Breaker {
    /// Admits a call or refuses it. Every permit must be [settled](Breaker::settle).
    ///
    /// # Errors
    /// The refusal. Its reason is the state's name. `retry_after` is, of an open breaker, the rest of its
    /// open time; of a half-open one, the time until its earliest lease runs out, but at most a second; of
    /// one forced open, unknown.
    pub fn admit(&self, now: Time, dice: &mut dyn Dice, out: &mut Outbox) -> Result<Permit, Rejection> {
        loop {
            let word = self.cell.word();
            match word.mode() {
                State::ForcedClosed | State::Disabled => return Ok(self.let_in(word, now)),
                State::Closed | State::Shadow => match self.overdue(word, now) {
                    None => return Ok(self.let_in(word, now)),
                    Some(trip) => self.step(|_| Input::Trip(trip), now, dice, out),
                },
                State::Open => {
                    let ends = self.cell.ends(word);
                    if now < ends {
                        return Err(self.refuse(word, Some(ends.since(now))));
                    }
                    self.step(|word| Input::Ask { ends: self.cell.ends(word) }, now, dice, out);
                }
                State::HalfOpen => {
                    if let Some(answer) = self.take_lease(word, now) {
                        return answer;
                    }
                }
                State::ForcedOpen => return Err(self.refuse(word, None)),
            }
        }
    }

    /// The same for a closed breaker with nothing due, without the weight of the whole. None says nothing:
    /// ask [`admit`](Breaker::admit). `now` is looked at only if [`times_calls`](Breaker::times_calls).
    #[must_use]
    #[inline]
    pub fn admit_fast(&self, now: Time) -> Option<Permit> {
        match &self.memory {
            Some(memory) => self.admit_remembered(memory, now),
            None => self.admit_plain(now),
        }
    }

    /// The same where [no rule remembers or times calls](Breaker::is_plain).
    #[must_use]
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is a load and an addition")]
    pub fn admit_plain(&self, now: Time) -> Option<Permit> {
        let word = self.cell.word();
        match word.mode() {
            State::Closed | State::ForcedClosed | State::Disabled => {
                count(&self.cell.counters.admitted);
                Some(Permit::new(word, now))
            }
            _ => None,
        }
    }

    /// The same where the rules remember calls.
    #[inline]
    fn admit_remembered(&self, memory: &Memory, now: Time) -> Option<Permit> {
        let word = self.cell.word();
        let held = word.is(State::ForcedClosed) || word.is(State::Disabled);
        if !held && !word.is(State::Closed) {
            return None;
        }
        let mut permit = Permit::new(word, now);
        if !held && let Some(calls) = &memory.in_flight {
            if calls.older(word.era(), now) > 0 && self.overdue(word, now).is_some() {
                return None;
            }
            permit.followed = calls.enter(word.era(), now);
        }
        count(&self.cell.counters.admitted);
        Some(permit)
    }

    /// Do failures in a row alone open it, so that the fast doors remember nothing else and look at no time? It
    /// never changes.
    #[must_use]
    #[inline]
    pub const fn is_plain(&self) -> bool {
        self.memory.is_none() && self.config.slow_call.is_none()
    }

    /// Does it matter when a call was admitted? It never changes.
    #[must_use]
    #[inline]
    pub const fn times_calls(&self) -> bool {
        self.config.slow_call.is_some()
    }

    /// Does it matter when a call ends, to the fast doors? It never changes.
    #[must_use]
    #[inline]
    pub fn needs_now(&self) -> bool {
        trip::needs_now(&self.config)
    }

    /// May the time that the fast doors are given lag behind by a few milliseconds? Yes, if no span that is
    /// measured is under a second: then an error of so much is under a hundredth of it.
    #[must_use]
    pub fn bears_lag(&self) -> bool {
        trip::bears_lag(&self.config)
    }

    /// Would a call be admitted at `now`? A look that changes nothing.
    #[must_use]
    pub fn would_admit(&self, now: Time) -> bool {
        self.retry_after(now).is_none_or(|wait| wait.is_zero()) && self.state() != State::ForcedOpen
    }

    /// Is it open, and will it still be at `then` unless somebody steps in? A half-open one is not: its
    /// probe may end at any moment.
    #[must_use]
    pub fn is_shut(&self, then: Time) -> bool {
        matches!(self.state(), State::Open | State::ForcedOpen) && !self.would_admit(then)
    }

    /// After how long it is worth asking again: zero if a probe could go now, none if nothing is refused or
    /// nobody knows.
    #[must_use]
    pub fn retry_after(&self, now: Time) -> Option<Duration> {
        let word = self.cell.word();
        match word.mode() {
            State::Open => Some(self.cell.ends(word).since(now)),
            State::HalfOpen => {
                let slots = self.config.half_open_max_calls;
                let vacancy = self.cell.leases.vacancy(word.era(), now, slots);
                Some(vacancy.map_or_else(|expiry| expiry.since(now).min(PROBE_WAIT), |()| Duration::ZERO))
            }
            _ => None,
        }
    }

    /// The trip that calls under way have caused by lasting too long (B22).
    fn overdue(&self, word: Word, now: Time) -> Option<Trip> {
        let memory = self.memory.as_deref().filter(|memory| memory.stuck(word.era(), now) > 0)?;
        self.trip(word, Some(memory), now)
    }

    /// The trip that the rules call for, if they do.
    pub(super) fn trip(&self, word: Word, memory: Option<&Memory>, now: Time) -> Option<Trip> {
        if !super::state::is_judged(word, now) {
            return None;
        }
        let reason = trip::judge(&self.cell.streak, memory, word.era(), now, &self.config)?;
        Some(self.trip_for(word, reason, None))
    }

    pub(super) fn trip_for(&self, word: Word, reason: Reason, asked: Option<Duration>) -> Trip {
        let failures = u32::try_from(self.cell.streak.get(word.era())).unwrap_or(u32::MAX);
        Trip { era: word.era(), reason, asked, failures, level: self.cell.level() }
    }

    #[inline]
    fn let_in(&self, word: Word, now: Time) -> Permit {
        count(&self.cell.counters.admitted);
        let mut permit = Permit::new(word, now);
        if let Some(memory) = &self.memory
            && matches!(word.mode(), State::Closed | State::Shadow)
        {
            permit.followed = memory.enter(word.era(), now);
        }
        permit
    }

    /// A probe's permit, or the refusal; none if a later round has begun.
    fn take_lease(&self, word: Word, now: Time) -> Option<Result<Permit, Rejection>> {
        let counters = &self.cell.counters;
        match self.cell.leases.take(word.era(), now, self.config.probe_lease, self.config.half_open_max_calls)
        {
            Take::Taken(lease, ousted) => {
                match ousted {
                    Ousted::Nobody => {}
                    Ousted::Lost => {
                        counters.lost.fetch_add(1, Ordering::Release);
                    }
                    Ousted::Late => count(&counters.late),
                }
                // The slot may be free because the round has just ended: then this is no probe of it (B6).
                if self.cell.word().stamp() != word.stamp() && self.cell.leases.give_up(lease) {
                    return None;
                }
                count(&counters.admitted);
                let mut permit = Permit::new(word, now);
                permit.lease = Some(lease);
                Some(Ok(permit))
            }
            Take::Full => Some(Err(self.refuse(word, self.retry_after(now)))),
            Take::Stale => None,
        }
    }

    fn refuse(&self, word: Word, retry_after: Option<Duration>) -> Rejection {
        count(&self.cell.counters.rejected);
        let reason = word.mode().as_str();
        Rejection::new(RejectionKind::CircuitOpen, reason, retry_after, self.source.clone())
    }
}
