//! The door out: what came of it?

use std::time::Duration;

use super::Breaker;
use super::lease::Claim;
use super::metrics::count;
use super::permit::{Pace, Permit};
use super::state::{Input, Reason, is_judged};
use super::trip;
use super::word::{State, Word};
use crate::base::sync::Ordering;
use crate::base::verdict::Blame;
use crate::base::{Dice, Outbox, Time, Verdict};
use crate::window::Mark;

/// A verdict as a breaker sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// The callee answered.
    Success,
    /// The callee failed; it may have said how long to stay away.
    Failure(Option<Duration>),
    /// The callee asked us to slow down: it works, and it is busy (B26).
    Throttled(Option<Duration>),
    /// Nothing is known about the callee: the call was cancelled, or failed by another's fault (B7, B18).
    Neutral,
}

impl Outcome {
    fn of(verdict: &Verdict) -> Self {
        // "Retry-After: 0" asks for no open time; the wait before a retry is the retry's affair.
        let delay = verdict.failure().and_then(|failure| failure.delay).filter(|delay| !delay.is_zero());
        match verdict {
            Verdict::Ok => Self::Success,
            Verdict::Throttled(_) => Self::Throttled(delay),
            Verdict::Fail(failure) => match failure.blame {
                Blame::Endpoint => Self::Failure(delay),
                Blame::Rate => Self::Throttled(delay),
                Blame::Credential | Blame::Model | Blame::Nobody => Self::Neutral,
            },
            Verdict::Ignore => Self::Neutral,
        }
    }

    /// How long the callee asked us to stay away.
    const fn asked(self) -> Option<Duration> {
        match self {
            Self::Failure(delay) | Self::Throttled(delay) => delay,
            Self::Success | Self::Neutral => None,
        }
    }
}

impl Breaker {
    /// Takes a permit back and judges the call by its verdict. The caller's own result or error is none of
    /// the breaker's business: whatever happens here, it stands (B15).
    #[expect(clippy::needless_pass_by_value, reason = "taking the permit away is what makes it single-use")]
    pub fn settle(
        &self,
        permit: Permit,
        verdict: &Verdict,
        now: Time,
        dice: &mut dyn Dice,
        out: &mut Outbox,
    ) {
        let outcome = Outcome::of(verdict);
        if let Some(lease) = permit.lease {
            match self.cell.leases.claim(lease, now) {
                Claim::Held => {
                    self.settle_held(&permit, outcome, now, dice, out);
                    // Only now: a slot freed before the verdict would let another probe slip through (B6).
                    self.cell.leases.free(lease);
                }
                Claim::Expired => {
                    self.cell.counters.lost.fetch_add(1, Ordering::Release);
                }
                Claim::Gone => {}
            }
        } else {
            self.unfollow(&permit);
            self.settle_held(&permit, outcome, now, dice, out);
        }
    }

    /// The same for a success that changes nothing, without the weight of the whole.
    ///
    /// # Errors
    /// The permit, if there is more to it: take it to [`settle`](Breaker::settle).
    #[inline]
    pub fn settle_ok(&self, permit: Permit, now: Time) -> Result<(), Permit> {
        if self.is_plain() { self.settle_ok_plain(permit) } else { self.settle_ok_timed(permit, now) }
    }

    /// The same where [no rule remembers or times calls](Breaker::is_plain).
    ///
    /// # Errors
    /// As [`settle_ok`](Breaker::settle_ok).
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "it is a look and an addition")]
    pub fn settle_ok_plain(&self, permit: Permit) -> Result<(), Permit> {
        let word = self.cell.word();
        if permit.stamp != word.stamp() || permit.lease.is_some() || word.mode() == State::Shadow {
            return Err(permit);
        }
        if word.mode() == State::Closed {
            trip::remember(&self.cell.streak, None, word.era(), Time::ZERO, Mark::default());
        }
        count(&self.cell.counters.successes);
        Ok(())
    }

    /// The same where the rules remember calls, or time them.
    ///
    /// # Errors
    /// As [`settle_ok`](Breaker::settle_ok).
    #[inline]
    pub fn settle_ok_timed(&self, permit: Permit, now: Time) -> Result<(), Permit> {
        let word = self.cell.word();
        if permit.stamp != word.stamp() || permit.lease.is_some() || word.is(State::Shadow) {
            return Err(permit);
        }
        let slow = permit.is_slow(now, self.config.slow_call);
        if word.is(State::Closed) {
            let era = word.era();
            if let Some(memory) = &self.memory {
                if slow || memory.stuck(era, now) > 0 || !memory.window.record_good(era, now) {
                    return Err(permit);
                }
                if permit.followed {
                    memory.leave(era, permit.admitted_at);
                }
            }
            trip::remember(&self.cell.streak, None, era, now, Mark::default());
        }
        if slow {
            count(&self.cell.counters.slow);
        }
        count(&self.cell.counters.successes);
        Ok(())
    }

    /// The same for a plain failure, one that asks for no wait, and that trips nothing.
    ///
    /// # Errors
    /// The permit, if there is more to it: take it to [`settle`](Breaker::settle).
    #[inline]
    pub fn settle_failed(&self, permit: Permit) -> Result<(), Permit> {
        let word = self.cell.word();
        if !self.is_plain()
            || permit.stamp != word.stamp()
            || permit.lease.is_some()
            || word.mode() == State::Shadow
        {
            return Err(permit);
        }
        if word.mode() == State::Closed {
            let (era, threshold) = (word.era(), self.config.failure_threshold);
            let failures = self.cell.streak.get(era) + 1;
            if threshold.is_some_and(|threshold| failures >= u64::from(threshold)) {
                return Err(permit);
            }
            trip::remember(&self.cell.streak, None, era, Time::ZERO, Mark { failed: true, slow: false });
        }
        count(&self.cell.counters.failures);
        Ok(())
    }

    /// A sign of life from a call under way: a probe's lease starts anew (B4). Of other calls it says nothing.
    #[inline]
    pub fn renew(&self, permit: &mut Permit, now: Time) {
        if let Some(lease) = &mut permit.lease {
            self.cell.leases.renew(lease, now, self.config.probe_lease);
        }
    }

    /// The first item of a stream has come: that is the moment by which it counts as slow or not.
    pub fn first_item(&self, permit: &mut Permit, now: Time) {
        if self.config.slow_call.is_some() && permit.pace == Pace::Unknown {
            let slow = permit.is_slow(now, self.config.slow_call);
            permit.pace = if slow { Pace::Slow } else { Pace::Quick };
            self.unfollow(permit);
            permit.followed = false;
        }
        self.renew(permit, now);
    }

    fn unfollow(&self, permit: &Permit) {
        if let (true, Some(memory)) = (permit.followed, &self.memory) {
            memory.leave(permit.era(), permit.admitted_at);
        }
    }

    /// Counts and judges a call that nobody else has counted.
    fn settle_held(
        &self,
        permit: &Permit,
        outcome: Outcome,
        now: Time,
        dice: &mut dyn Dice,
        out: &mut Outbox,
    ) {
        let word = self.cell.word();
        if word.stamp() != permit.stamp {
            count(&self.cell.counters.late);
            if let Some(asked) = outcome.asked() {
                let era = permit.era();
                self.step(|word| Input::Extend { era, asked, ends: self.cell.ends(word) }, now, dice, out);
            }
            return;
        }
        let slow = permit.is_slow(now, self.config.slow_call);
        self.count(outcome, slow);
        if let Some(input) = self.judge(word, outcome, slow, now) {
            self.step(|_| input, now, dice, out);
        }
    }

    fn count(&self, outcome: Outcome, slow: bool) {
        let counters = &self.cell.counters;
        let (term, judged) = match outcome {
            Outcome::Success => (&counters.successes, true),
            Outcome::Failure(_) => (&counters.failures, true),
            Outcome::Throttled(_) => (&counters.throttled, false),
            Outcome::Neutral => (&counters.ignored, false),
        };
        if judged && slow {
            count(&counters.slow);
        }
        count(term);
    }

    /// What an outcome of the present era asks of the machine.
    fn judge(&self, word: Word, outcome: Outcome, slow: bool, now: Time) -> Option<Input> {
        match (word.mode(), outcome) {
            (State::HalfOpen, Outcome::Success) => {
                // Where slow answers open a breaker, a slow answer does not close it.
                if slow && self.config.slow_call_rate.is_some() {
                    return Some(Input::Trip(self.trip_for(word, Reason::ProbeFailed, None)));
                }
                Some(Input::Proved { era: word.era() })
            }
            (State::HalfOpen, Outcome::Failure(asked)) => {
                Some(Input::Trip(self.trip_for(word, Reason::ProbeFailed, asked)))
            }
            (State::Closed | State::Shadow, _) if is_judged(word, now) => {
                self.judge_by_rules(word, outcome, slow, now)
            }
            (State::HalfOpen, Outcome::Throttled(Some(asked))) => {
                Some(Input::Trip(self.trip_for(word, Reason::RetryAfter, Some(asked))))
            }
            _ => None,
        }
    }

    fn judge_by_rules(&self, word: Word, outcome: Outcome, slow: bool, now: Time) -> Option<Input> {
        let memory = self.memory.as_deref();
        if let Outcome::Success | Outcome::Failure(_) = outcome {
            let mark = Mark { failed: outcome != Outcome::Success, slow };
            trip::remember(&self.cell.streak, memory, word.era(), now, mark);
        }
        if let Outcome::Throttled(Some(asked)) = outcome {
            return Some(Input::Trip(self.trip_for(word, Reason::RetryAfter, Some(asked))));
        }
        self.trip(word, memory, now)
            .map(|trip| Input::Trip(super::state::Trip { asked: outcome.asked(), ..trip }))
    }
}
