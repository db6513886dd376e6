//! What the class offers.

use std::sync::Arc;

use parking_lot::RwLock;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::block::{self, GuardStep, Permit, Turn};
use super::fields::Fields;
use super::{BreakerMetrics, keys, lease};
use crate::base::{ConfigError, Outbox, Source, Time};
use crate::pipeline::Target;
use crate::policy::breaker::{Breaker, Keyed, State};
use crate::policy::timeout::TimeoutConfig;
use crate::python::call::moment;
use crate::python::convert::refuse;
use crate::python::errors;
use crate::runtime::clock;

/// A circuit breaker; the instance is the state.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct CircuitBreaker {
    /// Replaced at most once, before its first use, by one of another lease. Of a keyed breaker: the whole.
    core: RwLock<Arc<Breaker>>,
    /// What few breakers have.
    extras: Option<Box<Extras>>,
    created: Time,
}

/// Beside the path, so that a plain breaker is small.
#[derive(Debug, Default)]
struct Extras {
    /// As the user gave it.
    classify: Option<Py<PyAny>>,
    /// The same, over the rules for plain errors.
    judge: Option<Py<PyAny>>,
    key: Option<Py<PyAny>>,
    keyed: Option<RwLock<Arc<Keyed>>>,
    lease_chosen: bool,
}

impl CircuitBreaker {
    /// A Python face for a breaker that lives elsewhere, such as a node's.
    pub fn view(breaker: Arc<Breaker>) -> Self {
        Self { core: RwLock::new(breaker), extras: None, created: clock::now() }
    }

    /// The breaker itself; of a keyed one, the whole.
    pub fn breaker(&self) -> Arc<Breaker> {
        Arc::clone(&self.core.read())
    }

    /// The key function, if there is one breaker per key.
    pub fn key_function(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.extras.as_ref()?.key.as_ref().map(|key| key.clone_ref(py))
    }

    /// What a plan with these clocks asks, and the whole that is asked instead while it is held by hand.
    pub fn target(&self, clocks: &TimeoutConfig) -> Result<(Target, Option<Arc<Breaker>>), ConfigError> {
        self.fit_lease(clocks)?;
        let core = self.breaker();
        Ok(match self.keyed() {
            Some(keyed) => (Target::Keyed(keyed), Some(core)),
            None => (Target::Breaker(core), None),
        })
    }

    /// A fresh breaker of the same rules and name, its lease fit for these clocks.
    pub fn template(&self, clocks: &TimeoutConfig) -> Result<Breaker, ConfigError> {
        let core = self.breaker();
        let mut config = core.config().clone();
        if !self.lease_chosen() {
            config.probe_lease = lease::fitting(clocks);
        }
        lease::check(config.probe_lease, true, clocks)?;
        Ok(Breaker::new(core.source().clone(), config))
    }

    /// A permit for one block.
    pub(super) fn permit(&self, py: Python<'_>) -> PyResult<Permit> {
        if self.is_keyed() {
            let error = ConfigError::new("key", "be named for a block: breaker.of(key).guard()", self.name());
            return Err(errors::config(py, &error));
        }
        let judge = self.extras.as_ref().and_then(|extras| extras.judge.as_ref());
        Ok(Permit::new(self.breaker(), judge.map(|judge| judge.clone_ref(py))))
    }

    fn is_keyed(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.keyed.is_some())
    }

    fn keyed(&self) -> Option<Arc<Keyed>> {
        self.extras.as_ref()?.keyed.as_ref().map(|keyed| Arc::clone(&keyed.read()))
    }

    fn lease_chosen(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.lease_chosen)
    }

    /// Follows the clocks with the lease while that is still possible: nobody holds the breaker, and no
    /// call has come to it. The lock is what makes sure that nobody comes meanwhile.
    fn fit_lease(&self, clocks: &TimeoutConfig) -> Result<(), ConfigError> {
        let mut core = self.core.write();
        let lease = core.config().probe_lease;
        let fitting = lease::fitting(clocks);
        let unused = Arc::strong_count(&core) == 1 && core.metrics(clock::now()).calls == 0;
        let per_key = self.extras.as_ref().and_then(|extras| extras.keyed.as_ref());
        let mut keyed = per_key.map(|keyed| keyed.write());
        let unused = unused && keyed.as_ref().is_none_or(|keyed| Arc::strong_count(keyed) == 1 && keyed.is_empty());
        if self.lease_chosen() || !unused || fitting == lease {
            return lease::check(lease, self.lease_chosen(), clocks);
        }
        let mut config = core.config().clone();
        config.probe_lease = fitting;
        let fresh = Breaker::new(core.source().clone(), config);
        obey_as(core.state(), &fresh);
        if let Some(keyed) = &mut keyed {
            **keyed = per_key_of(&fresh);
        }
        *core = Arc::new(fresh);
        Ok(())
    }
}

#[pymethods]
impl CircuitBreaker {
    /// `made` is a name, and `fields` its fields with the window as `window` (seconds) or `window_calls`;
    /// or it is another face, whose breaker this one is too.
    #[new]
    #[pyo3(signature = (made, fields=None))]
    fn new(made: &Bound<'_, PyAny>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let py = made.py();
        if let Ok(other) = made.cast::<Self>() {
            return Ok(other.get().shared(py));
        }
        let name = made.extract::<String>()?;
        let none = PyDict::new(py);
        let fields = Fields(fields.unwrap_or(&none));
        let breaker = Breaker::new(Source::new(&name), fields.config()?);
        let key = fields.callable("key", "be callable: key(args, kwargs) -> str")?;
        let extras = Extras {
            classify: fields.get("classify")?.map(Bound::unbind),
            judge: fields.get("judge")?.map(Bound::unbind),
            keyed: key.as_ref().map(|_| RwLock::new(per_key_of(&breaker))),
            key,
            lease_chosen: fields.get("probe_lease")?.is_some(),
        };
        let plain = extras.classify.is_none() && extras.key.is_none() && !extras.lease_chosen;
        let extras = (!plain).then(|| Box::new(extras));
        Ok(Self { core: RwLock::new(Arc::new(breaker)), extras, created: clock::now() })
    }

    /// Its label.
    #[getter]
    fn name(&self) -> String {
        self.core.read().source().name().to_owned()
    }

    /// The number that its events carry; no other source has it.
    #[getter]
    fn source_id(&self) -> u64 {
        self.core.read().source().id().0
    }

    /// Its state. Reading changes nothing: "open" becomes "half_open" when the first probe is admitted.
    /// Of a keyed breaker: its own while it is held by hand, else the gravest of its keys'.
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let own = self.core.read().state();
        match self.keyed() {
            Some(keyed) if !own.is_manual() => member(py, keys::state(&keyed)),
            _ => member(py, own),
        }
    }

    /// Seconds until it is worth asking again, or `None`. Of a keyed breaker: the shortest of its keys'.
    #[getter]
    fn retry_after(&self) -> Option<f64> {
        let now = clock::now();
        let wait = match self.keyed() {
            Some(keyed) => keys::retry_after(&keyed, now),
            None => self.core.read().retry_after(now),
        };
        wait.map(|span| span.as_secs_f64())
    }

    /// A frozen snapshot of its counts. Of a keyed breaker: the sums over the keys it remembers.
    #[getter]
    fn metrics(&self) -> BreakerMetrics {
        let now = clock::now();
        let core = self.breaker();
        let metrics = match self.keyed() {
            Some(keyed) => keys::metrics(&core, &keyed, now),
            None => core.metrics(now),
        };
        BreakerMetrics::new(&metrics, self.created, now)
    }

    /// Opens it until `reset`; no key is asked meanwhile.
    fn force_open(&self) {
        let core = self.breaker();
        moment(|at| core.force_open(at.now, at.out));
    }

    /// Closes it until `reset`, whatever happens.
    fn force_closed(&self) {
        let core = self.breaker();
        moment(|at| core.force_closed(at.now, at.out));
    }

    /// Admits everything and judges nothing, until `reset`.
    fn disable(&self) {
        let core = self.breaker();
        moment(|at| core.disable(at.now, at.out));
    }

    /// Admits everything and says when it would have opened, until `reset`.
    fn shadow(&self) {
        let core = self.breaker();
        moment(|at| core.shadow(at.now, at.out));
    }

    /// Closes it, and every key's, and forgets the recent past; the only way out of the manual states.
    fn reset(&self) {
        let core = self.breaker();
        let keyed = self.keyed();
        moment(|at| core.reset(at.now, at.out));
        for one in keyed.iter().flat_map(|keyed| keyed.all()) {
            moment(|at| one.reset(at.now, at.out));
        }
    }

    /// A permit for one block: a context manager, sync and async.
    #[pyo3(name = "guard")]
    fn guard_block(&self, py: Python<'_>) -> PyResult<Permit> {
        self.permit(py)
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Py<Permit>> {
        block::enter_bare(&slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _typ: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _tb: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        block::leave_bare(py, &self.breaker(), value)?;
        Ok(false)
    }

    fn __aenter__(slf: Bound<'_, Self>) -> GuardStep {
        GuardStep::new(Turn::EnterBare(slf.unbind()))
    }

    fn __aexit__(
        &self,
        py: Python<'_>,
        _typ: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _tb: &Bound<'_, PyAny>,
    ) -> PyResult<GuardStep> {
        block::leave_bare(py, &self.breaker(), value)?;
        Ok(GuardStep::new(Turn::Left))
    }

    /// The user's own classifier, or `None`.
    #[getter]
    fn classify(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.extras.as_ref()?.classify.as_ref().map(|rule| rule.clone_ref(py))
    }

    /// The key function, or `None`.
    #[getter]
    fn key(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.key_function(py)
    }

    /// The face of one key's breaker, made if there is none.
    fn _of(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Some(keyed) = self.keyed() else {
            let error = ConfigError::new("key", "be set: this breaker is not kept by key", "None");
            return Err(errors::config(py, &error));
        };
        let Ok(name) = key.extract::<&str>() else {
            return Err(refuse("key", "be a string", key));
        };
        let judge = |extras: &Extras| Extras {
            classify: extras.classify.as_ref().map(|rule| rule.clone_ref(py)),
            judge: extras.judge.as_ref().map(|rule| rule.clone_ref(py)),
            lease_chosen: extras.lease_chosen,
            ..Extras::default()
        };
        let extras = self.extras.as_deref().map(judge).map(Box::new);
        Ok(Self { core: RwLock::new(keyed.get(name, clock::now())), extras, created: self.created })
    }

    /// The names of the breakers that it remembers for its keys.
    fn _names(&self) -> Vec<String> {
        let all = self.keyed().map(|keyed| keyed.all()).unwrap_or_default();
        all.iter().map(|one| one.source().name().to_owned()).collect()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(extras) = &self.extras else { return Ok(()) };
        visit.call(&extras.classify)?;
        visit.call(&extras.judge)?;
        visit.call(&extras.key)
    }
}

impl CircuitBreaker {
    /// Another face of the same breaker.
    fn shared(&self, py: Python<'_>) -> Self {
        let copy = |given: &Option<Py<PyAny>>| given.as_ref().map(|given| given.clone_ref(py));
        let extras = self.extras.as_deref().map(|extras| {
            Box::new(Extras {
                classify: copy(&extras.classify),
                judge: copy(&extras.judge),
                key: copy(&extras.key),
                keyed: extras.keyed.as_ref().map(|keyed| RwLock::new(Arc::clone(&keyed.read()))),
                lease_chosen: extras.lease_chosen,
            })
        });
        Self { core: RwLock::new(self.breaker()), extras, created: self.created }
    }
}

/// The registry of a keyed breaker; each key's speaks as owned by `whole`, whose listeners hear it.
fn per_key_of(whole: &Breaker) -> Arc<Keyed> {
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

/// The member of `holdfast.BreakerState`.
fn member(py: Python<'_>, state: State) -> PyResult<Py<PyAny>> {
    static MEMBERS: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
    let members = MEMBERS.get_or_try_init(py, || {
        let class = py.import("holdfast._breaker")?.getattr("BreakerState")?;
        State::ALL.iter().map(|s| Ok(class.call1((s.as_str(),))?.unbind())).collect::<PyResult<Vec<_>>>()
    })?;
    Ok(members[state as usize].clone_ref(py))
}
