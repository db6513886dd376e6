//! What the class offers to Python.

use std::sync::{Arc, OnceLock};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::bare::{GuardStep, Turn, enter_bare, leave_bare};
use super::fields::Fields;
use super::handle::{Extras, per_key_of};
use super::{BreakerMetrics, CircuitBreaker, Permit, keys};
use crate::base::{ConfigError, Source};
use crate::policy::breaker::{Breaker, State};
use crate::python::call::moment;
use crate::python::convert::refuse;
use crate::python::errors;
use crate::python::once::Once;
use crate::runtime::clock;

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
            keyed: key.as_ref().map(|_| per_key_of(&breaker)),
            key,
            lease_chosen: fields.get("probe_lease")?.is_some(),
            refitted: OnceLock::new(),
        };
        let plain = extras.classify.is_none() && extras.key.is_none() && !extras.lease_chosen;
        Ok(Self::face(Arc::new(breaker), (!plain).then_some(extras), clock::now()))
    }

    /// Its label.
    #[getter]
    fn name(&self) -> &str {
        self.made.source().name()
    }

    /// The number that its events carry; no other source has it.
    #[getter]
    fn source_id(&self) -> u64 {
        self.made.source().id().0
    }

    /// Its state. Reading changes nothing: "open" becomes "half_open" when the first probe is admitted.
    /// Of a keyed breaker: its own while it is held by hand, else the gravest of its keys'.
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.state_member(py)
    }

    /// Seconds until it is worth asking again, or `None`. Of a keyed breaker: the shortest of its keys'.
    #[getter]
    fn retry_after(&self) -> Option<f64> {
        let now = clock::now();
        let wait = match self.keyed() {
            Some(keyed) => keys::retry_after(keyed, now),
            None => self.breaker().retry_after(now),
        };
        wait.map(|span| span.as_secs_f64())
    }

    /// A frozen snapshot of its counts. Of a keyed breaker: the sums over the keys it remembers.
    #[getter]
    fn metrics(&self) -> BreakerMetrics {
        let now = clock::now();
        let metrics = match self.keyed() {
            Some(keyed) => keys::metrics(self.breaker(), keyed, now),
            None => self.breaker().metrics(now),
        };
        BreakerMetrics::new(&metrics, self.created, now)
    }

    /// Opens it until `reset`; no key is asked meanwhile.
    fn force_open(&self) {
        self.order(Breaker::force_open);
    }

    /// Closes it until `reset`, whatever happens.
    fn force_closed(&self) {
        self.order(Breaker::force_closed);
    }

    /// Admits everything and judges nothing, until `reset`.
    fn disable(&self) {
        self.order(Breaker::disable);
    }

    /// Admits everything and says when it would have opened, until `reset`.
    fn shadow(&self) {
        self.order(Breaker::shadow);
    }

    /// Closes it, and every key's, and forgets the recent past; the only way out of the manual states.
    fn reset(&self) {
        self.order(Breaker::reset);
        for one in self.keyed().iter().flat_map(|keyed| keyed.all()) {
            moment(|at| one.reset(at.now, at.out));
        }
    }

    /// A permit for one block: a context manager, sync and async.
    #[pyo3(name = "guard")]
    fn guard_block(&self, py: Python<'_>) -> PyResult<Permit> {
        self.permit(py)
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Py<Permit>> {
        enter_bare(&slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _typ: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _tb: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        leave_bare(py, self.breaker(), value)?;
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
        leave_bare(py, self.breaker(), value)?;
        Ok(GuardStep::new(Turn::Left))
    }

    /// The user's own classifier, or `None`.
    #[getter]
    fn classify(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.extras()?.classify.as_ref().map(|rule| rule.clone_ref(py))
    }

    /// The key function, or `None`.
    #[getter]
    fn key(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.key_function(py)
    }

    /// The face of one key's breaker, made if there is none.
    fn _of(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Some(keyed) = self.core().keyed else {
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
        Ok(Self::face(keyed.get(name, clock::now()), self.extras().map(judge), self.created))
    }

    /// The names of the breakers that it remembers for its keys.
    fn _names(&self) -> Vec<String> {
        let all = self.keyed().map_or_else(Vec::new, |keyed| keyed.all());
        all.iter().map(|one| one.source().name().to_owned()).collect()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(extras) = self.extras() else { return Ok(()) };
        visit.call(&extras.classify)?;
        visit.call(&extras.judge)?;
        visit.call(&extras.key)
    }
}

impl CircuitBreaker {
    /// Its state, as Python's `state` is. It cannot panic: C calls it.
    #[inline]
    pub fn state_member(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if self.extras().is_none() {
            return member(py, self.made.state());
        }
        let own = self.breaker().state();
        match self.keyed() {
            Some(keyed) if !own.is_manual() => member(py, keys::state(keyed)),
            _ => member(py, own),
        }
    }
}

/// The member of `holdfast.BreakerState`.
fn member(py: Python<'_>, state: State) -> PyResult<Py<PyAny>> {
    static MEMBERS: Once<[Py<PyAny>; State::ALL.len()]> = Once::new();
    let members = match MEMBERS.get() {
        Some(members) => members,
        None => MEMBERS.get_or_try(|| {
            let class = py.import("holdfast._breaker")?.getattr("BreakerState")?;
            let mut members = State::ALL.map(|_| py.None());
            for (member, state) in members.iter_mut().zip(State::ALL) {
                *member = class.call1((state.as_str(),))?.unbind();
            }
            Ok(members)
        })?,
    };
    Ok(members[state as usize].clone_ref(py))
}
