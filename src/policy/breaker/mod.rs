//! The circuit breaker: stops asking a callee that fails, and finds out when it is well again.
//!
//! Why it exists: a call to something broken costs the caller its time and the callee its recovery. After
//! enough failures the breaker refuses calls at once; after a while it lets a probe through; when probes
//! succeed it closes.
//!
//! ```text
//!                a rule trips, or Retry-After
//!      ┌────────┐ ───────────────────────────▶ ┌──────┐
//!      │ closed │                              │ open │◀──────────┐
//!      └────────┘ ◀──────────┐                 └──────┘           │ a probe fails, or
//!                            │                    │ time is over, │ is told to wait
//!        success_threshold   │                    ▼ a call comes  │
//!        good probes         │                 ┌───────────┐      │
//!                            └──────────────── │ half-open │ ─────┘
//!                                              └───────────┘
//!      by hand, from anywhere: forced open · forced closed · disabled · shadow;   reset ▶ closed
//! ```
//!
//! How it is held, from the inside out:
//!
//! | file | what |
//! |---|---|
//! | `word` | mode, era and one payload in 64 bits |
//! | `state` | the machine: a pure function over the word |
//! | `growth` | how long it stays open |
//! | `trip` | the rules that say when it must |
//! | `lease` | who may probe |
//! | `cell` | the atomics, and the machine applied to them |
//! | `permit`, `metrics` | what a caller holds; what was counted |
//! | `admission`, `settlement` | the two doors |
//! | `keyed` | one breaker per key |
//!
//! Each change of state begins a new **era**, and every permit carries the era it was given in. A call that
//! ends in a later era is counted `late` and changes no state (B1), so nothing a slow call says can close
//! or open a breaker whose picture has changed meanwhile. The one thing such a call may still do is to
//! bring news from the callee itself: if the era it was admitted in is the one that just ended in opening,
//! and it carries a Retry-After later than the end of the open time, the end moves there (P12).
//!
//! Nothing here takes a lock. With one thread every count is exact; several threads may together trip a rule
//! one call late, never early, and each change of state is made, and reported, by exactly one of them.
//!
//! What it does not do: read a clock, wait, call a listener, classify errors, choose a node. It reports no
//! refused call as an event either: whoever asked knows whether that ended a call or moved it elsewhere.

pub mod admission;
pub mod cell;
pub mod config;
pub mod growth;
pub mod keyed;
pub mod lease;
pub mod metrics;
pub mod permit;
pub mod settlement;
pub mod state;
pub mod trip;
pub mod word;

#[cfg(all(test, not(loom)))]
mod tests;

pub use config::{BreakerConfig, WindowKind};
pub use keyed::Keyed;
pub use metrics::Metrics;
pub use permit::Permit;
pub use word::State;

use cell::Cell;
use metrics::share;
use state::{Effect, Input, Order};
use trip::Memory;

use crate::base::{Dice, Event, EventKind, Outbox, Source, SplitMix, Time};

/// A circuit breaker: one per thing that can fail on its own.
#[derive(Debug)]
pub struct Breaker {
    cell: Cell,
    memory: Option<Box<Memory>>,
    source: Source,
    config: BreakerConfig,
}

impl Breaker {
    /// A closed breaker that speaks as `source`. The configuration is taken as
    /// [validated](BreakerConfig::validate).
    #[must_use]
    pub fn new(source: Source, config: BreakerConfig) -> Self {
        Self { cell: Cell::new(), memory: Memory::for_rules(&config), source, config }
    }

    /// A fresh breaker of the same rules, for a node or a key of its own.
    #[must_use]
    pub fn fork(&self, source: Source) -> Self {
        Self::new(source, self.config.clone())
    }

    /// As whom it speaks.
    #[must_use]
    pub const fn source(&self) -> &Source {
        &self.source
    }

    /// Its rules.
    #[must_use]
    pub const fn config(&self) -> &BreakerConfig {
        &self.config
    }

    /// Its state. An open breaker whose time is over stays open until a call comes: reading changes nothing.
    #[must_use]
    pub fn state(&self) -> State {
        self.cell.word().mode()
    }

    /// What it has counted so far, as of `now`.
    #[must_use]
    pub fn metrics(&self, now: Time) -> Metrics {
        let mut metrics = self.cell.counters.snapshot(|| self.cell.leases.expired(now));
        if let Some(memory) = &self.memory {
            let (tally, stuck) = memory.rates(self.cell.judged_era(now), now);
            metrics.failure_rate = share(tally.failures, tally.calls);
            metrics.slow_call_rate = share(tally.slow + stuck, tally.calls + stuck);
        } else {
            let judged = metrics.successes + metrics.failures;
            metrics.failure_rate = share(metrics.failures, judged);
            metrics.slow_call_rate = share(metrics.slow, judged);
        }
        (metrics.mean_recovery_time, metrics.state_since) = self.cell.history();
        metrics
    }

    /// Refuses every call until an operator says otherwise.
    pub fn force_open(&self, now: Time, out: &mut Outbox) {
        self.order(Order::ForceOpen, now, out);
    }

    /// Admits every call, whatever comes of it, until an operator says otherwise.
    pub fn force_closed(&self, now: Time, out: &mut Outbox) {
        self.order(Order::ForceClosed, now, out);
    }

    /// Stands aside: admits and counts every call, judges none.
    pub fn disable(&self, now: Time, out: &mut Outbox) {
        self.order(Order::Disable, now, out);
    }

    /// Admits every call, and says in events when it would have opened (B21).
    pub fn shadow(&self, now: Time, out: &mut Outbox) {
        self.order(Order::Shadow, now, out);
    }

    /// Closed, with nothing remembered, and deciding for itself again. What was counted stays counted.
    pub fn reset(&self, now: Time, out: &mut Outbox) {
        self.order(Order::Reset, now, out);
        self.cell.flatten();
    }

    /// Somebody who knows better says that the callee is well: if it is open or half-open it closes, as if its
    /// probes had gone well. What an operator has ordered stands.
    pub fn vouch(&self, now: Time, out: &mut Outbox) {
        // Nothing is spread where nothing opens: no dice are rolled.
        self.step(|_| Input::Vouched, now, &mut SplitMix::new(0), out);
    }

    fn order(&self, order: Order, now: Time, out: &mut Outbox) {
        // No order rolls dice.
        self.step(|_| Input::Order(order), now, &mut SplitMix::new(0), out);
    }

    /// Applies an input and reports what came of it.
    fn step(&self, input: impl Fn(word::Word) -> Input, now: Time, dice: &mut dyn Dice, out: &mut Outbox) {
        let source = || self.source.clone();
        match self.cell.apply(input, now, dice, &self.config) {
            Effect::None | Effect::Extended { .. } => {}
            Effect::Opened { reason, open_for, failures, .. } => out.emit(EventKind::CircuitOpened, || {
                Event::CircuitOpened { source: source(), reason: reason.as_str(), open_for, failures }
            }),
            Effect::HalfOpened => {
                out.emit(EventKind::CircuitHalfOpened, || Event::CircuitHalfOpened { source: source() });
            }
            Effect::Closed { reason } => {
                out.emit(EventKind::CircuitClosed, || Event::CircuitClosed { source: source(), reason });
            }
            Effect::WouldOpen { reason } => out.emit(EventKind::WouldOpen, || Event::WouldOpen {
                source: source(),
                reason: reason.as_str(),
            }),
        }
    }
}
