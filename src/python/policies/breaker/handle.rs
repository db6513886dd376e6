//! Which of the core's breakers a Python object is, and when that is settled.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use pyo3::prelude::*;

use super::{Permit, lease};
use crate::base::{ConfigError, Outbox, Time};
use crate::pipeline::Target;
use crate::policy::breaker::{Breaker, BreakerConfig, Keyed, State};
use crate::policy::timeout::TimeoutConfig;
use crate::python::call::moment;
use crate::python::errors;
use crate::runtime::clock;

/// Held for reading by who is about to use a breaker, for writing by who replaces an unused one. One for all
/// breakers: each is put into its first pipeline once, and a lock of its own would be most of its face.
static FITTING: RwLock<()> = RwLock::new(());

/// A circuit breaker; the instance is the state.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct CircuitBreaker {
    pub(super) made: Arc<Breaker>,
    /// What few breakers have: beside the path, so that a plain breaker is small.
    extras: OnceLock<Box<Extras>>,
    pub(super) created: Time,
}

#[derive(Debug, Default)]
pub(super) struct Extras {
    /// What is used in place of what was made: the same with another lease.
    pub(super) refitted: OnceLock<Core>,
    /// As the user gave it.
    pub(super) classify: Option<Py<PyAny>>,
    /// The same, over the rules for plain errors.
    pub(super) judge: Option<Py<PyAny>>,
    pub(super) key: Option<Py<PyAny>>,
    pub(super) keyed: Option<Arc<Keyed>>,
    pub(super) lease_chosen: bool,
}

/// A breaker; if it is kept by key, the whole and the keys'.
#[derive(Clone, Debug)]
pub(super) struct Core {
    pub(super) breaker: Arc<Breaker>,
    pub(super) keyed: Option<Arc<Keyed>>,
}

impl CircuitBreaker {
    /// A Python face for a breaker that lives elsewhere, such as a node's.
    pub fn view(breaker: Arc<Breaker>) -> Self {
        Self::face(breaker, None, clock::now())
    }

    /// What a plan with these clocks asks, and the whole that is asked instead while it is held by hand.
    pub fn target(&self, clocks: &TimeoutConfig) -> Result<(Target, Option<Arc<Breaker>>), ConfigError> {
        let core = self.fit_lease(clocks)?;
        Ok(match core.keyed {
            Some(keyed) => (Target::Keyed(keyed), Some(core.breaker)),
            None => (Target::Breaker(core.breaker), None),
        })
    }

    /// A fresh breaker of the same rules and name, its lease fit for these clocks, that waits no longer than
    /// `cooldown_cap` for what a callee asks.
    pub fn template(&self, clocks: &TimeoutConfig, cooldown_cap: Duration) -> Result<Breaker, ConfigError> {
        let mut config = BreakerConfig { cooldown_cap, ..self.made.config().clone() };
        if !self.lease_chosen() {
            config.probe_lease = lease::fitting(clocks);
        }
        lease::check(config.probe_lease, true, clocks)?;
        Ok(Breaker::new(self.made.source().clone(), config))
    }

    /// The key function, if there is one breaker per key.
    pub fn key_function(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.extras()?.key.as_ref().map(|key| key.clone_ref(py))
    }

    /// A permit for one block.
    pub(super) fn permit(&self, py: Python<'_>) -> PyResult<Permit> {
        let core = self.core();
        if core.keyed.is_some() {
            let error = ConfigError::new(
                "key",
                "be named for a block: breaker.of(key).guard()",
                self.made.source().name(),
            );
            return Err(errors::config(py, &error));
        }
        let judge = self.extras().and_then(|extras| extras.judge.as_ref());
        Ok(Permit::new(core.breaker, judge.map(|judge| judge.clone_ref(py))))
    }

    pub(super) fn face(made: Arc<Breaker>, extras: Option<Extras>, created: Time) -> Self {
        let extras = extras.map_or_else(OnceLock::new, |extras| OnceLock::from(Box::new(extras)));
        Self { made, extras, created }
    }

    pub(super) fn extras(&self) -> Option<&Extras> {
        self.extras.get().map(Box::as_ref)
    }

    fn lease_chosen(&self) -> bool {
        self.extras().is_some_and(|extras| extras.lease_chosen)
    }

    /// The breaker, to look at; of a keyed one, the whole.
    pub(super) fn breaker(&self) -> &Arc<Breaker> {
        self.extras().and_then(|extras| extras.refitted.get()).map_or(&self.made, |core| &core.breaker)
    }

    pub(super) fn keyed(&self) -> Option<&Arc<Keyed>> {
        let extras = self.extras()?;
        extras.refitted.get().map_or(extras.keyed.as_ref(), |core| core.keyed.as_ref())
    }

    /// The same, to be used.
    pub(super) fn core(&self) -> Core {
        let _nobody_replaces_it = FITTING.read();
        self.peek()
    }

    fn peek(&self) -> Core {
        Core { breaker: Arc::clone(self.breaker()), keyed: self.keyed().map(Arc::clone) }
    }

    /// Lets the lease follow the clocks while that is still possible: nobody uses the breaker, and no call
    /// has come to it.
    fn fit_lease(&self, clocks: &TimeoutConfig) -> Result<Core, ConfigError> {
        let _nobody_uses_it = FITTING.write();
        let lease = self.breaker().config().probe_lease;
        let fitting = lease::fitting(clocks);
        if self.lease_chosen() || fitting == lease || self.is_in_use() {
            lease::check(lease, self.lease_chosen(), clocks)?;
            return Ok(self.peek());
        }
        let mut config = self.made.config().clone();
        config.probe_lease = fitting;
        let fresh = Breaker::new(self.made.source().clone(), config);
        obey_as(self.made.state(), &fresh);
        let keyed = self.keyed().map(|_| per_key_of(&fresh));
        let refitted = Core { breaker: Arc::new(fresh), keyed };
        Ok(self.extras.get_or_init(Box::default).refitted.get_or_init(|| refitted).clone())
    }

    fn is_in_use(&self) -> bool {
        let refitted = self.extras().is_some_and(|extras| extras.refitted.get().is_some());
        let keys_used = self.keyed().is_some_and(|keyed| Arc::strong_count(keyed) > 1 || !keyed.is_empty());
        refitted
            || keys_used
            || Arc::strong_count(&self.made) > 1
            || self.made.metrics(clock::now()).calls > 0
    }
}

impl CircuitBreaker {
    pub(super) fn order(&self, order: impl FnOnce(&Breaker, Time, &mut Outbox)) {
        let core = self.core();
        moment(|at| order(&core.breaker, at.now, at.out));
    }

    /// Another face of the same breaker.
    pub(super) fn shared(&self, py: Python<'_>) -> Self {
        let core = self.core();
        let copy = |given: &Option<Py<PyAny>>| given.as_ref().map(|given| given.clone_ref(py));
        let extras = self.extras().map(|extras| Extras {
            classify: copy(&extras.classify),
            judge: copy(&extras.judge),
            key: copy(&extras.key),
            keyed: core.keyed,
            lease_chosen: extras.lease_chosen,
            refitted: OnceLock::new(),
        });
        Self::face(core.breaker, extras, self.created)
    }
}

/// The registry of a keyed breaker; each key's speaks as owned by `whole`, whose listeners hear it.
pub(super) fn per_key_of(whole: &Breaker) -> Arc<Keyed> {
    Arc::new(Keyed::new(whole.fork(whole.source().clone()), Keyed::CAPACITY))
}

/// Brings `fresh` into the state that an operator gave the one it replaces, which everybody has heard of.
fn obey_as(state: State, fresh: &Breaker) {
    let now = clock::now();
    let mut unheard = Outbox::default();
    match state {
        State::ForcedOpen => fresh.force_open(now, &mut unheard),
        State::ForcedClosed => fresh.force_closed(now, &mut unheard),
        State::Disabled => fresh.disable(now, &mut unheard),
        State::Shadow => fresh.shadow(now, &mut unheard),
        State::Closed | State::Open | State::HalfOpen => {}
    }
}
