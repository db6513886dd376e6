//! The machine itself: a pure function from a word and an input to a word and what came of it.
//!
//! It holds nothing, asks nothing and can be stepped by anybody; [`super::cell`] applies it to an atomic.

use std::time::Duration;

use super::config::BreakerConfig;
use super::growth;
use super::word::{State, Word};
use crate::base::{Dice, Time};
use crate::window::Era;

/// The reason of closing that counts as a recovery.
pub const RECOVERED: &str = "recovered";

/// Why a breaker opened (B23).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `failure_threshold` failures in a row.
    ConsecutiveFailures,
    /// The failure rate of the window.
    FailureRate,
    /// The slow-call rate of the window.
    SlowCallRate,
    /// A probe failed.
    ProbeFailed,
    /// The callee asked for it.
    RetryAfter,
    /// An operator did it.
    Forced,
}

impl Reason {
    /// Its name, as events carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::SlowCallRate => "slow_call_rate",
            Self::ProbeFailed => "probe_failed",
            Self::RetryAfter => "retry_after",
            Self::Forced => "forced",
        }
    }
}

/// What an operator can order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Refuse every call.
    ForceOpen,
    /// Admit every call.
    ForceClosed,
    /// Admit every call and judge none.
    Disable,
    /// Admit every call and say what would have happened.
    Shadow,
    /// Be closed and decide for yourself again.
    Reset,
}

/// A rule has decided, on behalf of an era.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trip {
    /// The era of the call that decided it.
    pub era: Era,
    /// The rule.
    pub reason: Reason,
    /// How long the callee asked us to stay away, if it did.
    pub asked: Option<Duration>,
    /// Failures in a row.
    pub failures: u32,
    /// The level of growth in force.
    pub level: u32,
}

/// What can happen to a breaker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// A call asks to come in; `ends` is when the open time is over.
    Ask {
        /// The exact end of the open time.
        ends: Time,
    },
    /// A probe of `era` went well.
    Proved {
        /// The probe's era.
        era: Era,
    },
    /// A rule says that it must open.
    Trip(Trip),
    /// A call admitted in `era`, just before it opened, brings word of a longer cool-down.
    Extend {
        /// The call's era.
        era: Era,
        /// How long the callee asks us to stay away.
        asked: Duration,
        /// The exact end of the open time so far.
        ends: Time,
    },
    /// Somebody who knows better says that the callee is well.
    Vouched,
    /// An operator speaks.
    Order(Order),
}

/// What came of an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// Nothing that anybody need know.
    None,
    /// It opened, or opened again.
    Opened {
        /// The rule.
        reason: Reason,
        /// For how long; none: until an operator ends it.
        open_for: Option<Duration>,
        /// The exact end.
        ends: Time,
        /// Failures in a row.
        failures: u32,
        /// The level of growth it leaves behind.
        level: u32,
    },
    /// Its end was moved to a later moment.
    Extended {
        /// The exact end.
        ends: Time,
    },
    /// It admits its first probe.
    HalfOpened,
    /// It closed, or an operator made it admit every call.
    Closed {
        /// "recovered", "reset", "forced", "disabled" or "shadow".
        reason: &'static str,
    },
    /// In shadow mode: it would have opened.
    WouldOpen {
        /// The rule.
        reason: Reason,
    },
}

/// The next word, and what came of the input. The same word again means that the input changes nothing.
#[must_use]
pub fn next(
    word: Word,
    input: Input,
    now: Time,
    dice: &mut dyn Dice,
    config: &BreakerConfig,
) -> (Word, Effect) {
    match (word.mode(), input) {
        (_, Input::Order(order)) => obey(word, order, now),
        (State::Open, Input::Ask { ends }) if now >= ends => {
            (word.turn(State::HalfOpen, 0), Effect::HalfOpened)
        }
        (State::HalfOpen, Input::Proved { era }) if era == word.era() => prove(word, now, config),
        (State::Open | State::HalfOpen, Input::Vouched) => {
            (word.turn(State::Closed, now.as_millis()), Effect::Closed { reason: RECOVERED })
        }
        (State::Closed | State::HalfOpen, Input::Trip(trip)) if trip.era == word.era() => {
            open(word, trip, now, dice, config)
        }
        (State::Shadow, Input::Trip(trip)) if trip.era == word.era() && is_judged(word, now) => {
            let (open_for, _) = sentence(word, trip, now, dice, config);
            let until = now.after(open_for).as_millis();
            (word.turn(State::Shadow, until), Effect::WouldOpen { reason: trip.reason })
        }
        (State::Open, Input::Extend { era, asked, ends }) if era.next() == word.era() => {
            let later = now.after(asked.min(config.cooldown_cap));
            if later > ends {
                (word.with_payload(later.as_millis()), Effect::Extended { ends: later })
            } else {
                (word, Effect::None)
            }
        }
        _ => (word, Effect::None),
    }
}

/// Do the rules look at calls in this state? A shadow that would be open now does not judge.
#[must_use]
pub fn is_judged(word: Word, now: Time) -> bool {
    match word.mode() {
        State::Closed => true,
        State::Shadow => now.as_millis() >= word.payload(),
        _ => false,
    }
}

fn obey(word: Word, order: Order, now: Time) -> (Word, Effect) {
    let was = word.mode();
    let (mode, effect) = match order {
        Order::ForceOpen => (
            State::ForcedOpen,
            Effect::Opened {
                reason: Reason::Forced,
                open_for: None,
                ends: Time::NEVER,
                failures: 0,
                level: 0,
            },
        ),
        Order::ForceClosed => (State::ForcedClosed, Effect::Closed { reason: "forced" }),
        Order::Disable => (State::Disabled, Effect::Closed { reason: "disabled" }),
        Order::Shadow => (State::Shadow, Effect::Closed { reason: "shadow" }),
        Order::Reset => {
            // A reset of a closed breaker forgets its counts as well: that is what a new era does.
            let effect = if was == State::Closed { Effect::None } else { Effect::Closed { reason: "reset" } };
            return (word.turn(State::Closed, now.as_millis()), effect);
        }
    };
    if was == mode { (word, Effect::None) } else { (word.turn(mode, 0), effect) }
}

fn prove(word: Word, now: Time, config: &BreakerConfig) -> (Word, Effect) {
    let good = word.payload() + 1;
    if good >= u64::from(config.success_threshold) {
        (word.turn(State::Closed, now.as_millis()), Effect::Closed { reason: RECOVERED })
    } else {
        (word.with_payload(good), Effect::None)
    }
}

fn open(word: Word, trip: Trip, now: Time, dice: &mut dyn Dice, config: &BreakerConfig) -> (Word, Effect) {
    let (open_for, level) = sentence(word, trip, now, dice, config);
    let ends = now.after(open_for);
    let Trip { reason, failures, .. } = trip;
    let effect = Effect::Opened { reason, open_for: Some(open_for), ends, failures, level };
    (word.turn(State::Open, ends.as_millis()), effect)
}

/// How long it is to stay open, and the level of growth that leaves.
fn sentence(
    word: Word,
    trip: Trip,
    now: Time,
    dice: &mut dyn Dice,
    config: &BreakerConfig,
) -> (Duration, u32) {
    let level = match word.mode() {
        State::Closed => growth::decay(config, trip.level, now.since(word.moment())),
        _ => trip.level,
    };
    let asked = trip.asked.map(|asked| asked.min(config.cooldown_cap));
    if trip.reason == Reason::RetryAfter {
        // Exactly as long as asked: it is no failure, so nothing grows, and nothing is spread (B19, B26).
        return (asked.unwrap_or(config.open_timeout), level);
    }
    let own = growth::spread(config, level, dice);
    (asked.map_or(own, |asked| asked.max(own)), growth::raise(config, level))
}
