//! `CircuitBreaker`, its state and its metrics.

use std::sync::Arc;
use std::time::SystemTime;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::base::Source;
use crate::pipeline::Target;
use crate::policy::breaker::{Breaker, BreakerConfig, Keyed, Metrics, State, WindowKind};
use crate::python::call::moment;
use crate::python::convert::{count, given, positive_span, real, refuse, span};
use crate::python::errors;
use crate::runtime::clock;

/// How many keys a keyed breaker remembers before it forgets idle, closed ones.
const KEYS: usize = 1024;

/// A circuit breaker; the instance is the state.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct CircuitBreaker {
    breaker: Arc<Breaker>,
    keyed: Option<Arc<Keyed>>,
    classify: Option<Py<PyAny>>,
    key: Option<Py<PyAny>>,
}

impl CircuitBreaker {
    /// A Python face for a breaker that lives elsewhere, such as a node's.
    pub const fn view(breaker: Arc<Breaker>) -> Self {
        Self { breaker, keyed: None, classify: None, key: None }
    }

    /// What a plan asks.
    pub fn target(&self) -> Target {
        self.keyed.as_ref().map_or_else(
            || Target::Breaker(Arc::clone(&self.breaker)),
            |keyed| Target::Keyed(Arc::clone(keyed)),
        )
    }

    /// The breaker itself.
    pub const fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// The key function, if there is one breaker per key.
    pub fn key_function(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.key.as_ref().map(|key| key.clone_ref(py))
    }
}

#[pymethods]
impl CircuitBreaker {
    /// `window` is a number of seconds (float) or of calls (`("count", n)`); the defaults are Python's.
    #[new]
    #[pyo3(signature = (name, *, failure_threshold, success_threshold, open_timeout, half_open_max_calls,
                        failure_rate, slow_call_rate, slow_call, minimum_calls, window, window_calls,
                        open_timeout_factor, open_timeout_max, open_timeout_jitter, probe_lease,
                        classify, key))]
    #[expect(clippy::too_many_arguments, reason = "the public fields, each by keyword")]
    fn new(
        name: &str,
        failure_threshold: Option<Bound<'_, PyAny>>,
        success_threshold: &Bound<'_, PyAny>,
        open_timeout: &Bound<'_, PyAny>,
        half_open_max_calls: &Bound<'_, PyAny>,
        failure_rate: Option<Bound<'_, PyAny>>,
        slow_call_rate: Option<Bound<'_, PyAny>>,
        slow_call: Option<Bound<'_, PyAny>>,
        minimum_calls: &Bound<'_, PyAny>,
        window: Option<Bound<'_, PyAny>>,
        window_calls: Option<Bound<'_, PyAny>>,
        open_timeout_factor: &Bound<'_, PyAny>,
        open_timeout_max: Option<Bound<'_, PyAny>>,
        open_timeout_jitter: &Bound<'_, PyAny>,
        probe_lease: Option<Bound<'_, PyAny>>,
        classify: Option<Py<PyAny>>,
        key: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let py = success_threshold.py();
        if let Some(key) = key.as_ref().filter(|key| !key.is_callable()) {
            return Err(refuse("key", "be callable: key(args, kwargs) -> str", key));
        }
        let defaults = BreakerConfig::default();
        let config = BreakerConfig {
            failure_threshold: given(failure_threshold.as_ref())
                .map(|v| count("failure_threshold", v, 1))
                .transpose()?,
            success_threshold: count("success_threshold", success_threshold, 1)?,
            open_timeout: positive_span("open_timeout", open_timeout)?,
            half_open_max_calls: count("half_open_max_calls", half_open_max_calls, 1)?,
            failure_rate: given(failure_rate.as_ref()).map(|v| real("failure_rate", v)).transpose()?,
            slow_call_rate: given(slow_call_rate.as_ref()).map(|v| real("slow_call_rate", v)).transpose()?,
            slow_call: given(slow_call.as_ref()).map(|v| span("slow_call", v)).transpose()?,
            minimum_calls: count("minimum_calls", minimum_calls, 1)?,
            window: window_kind(window.as_ref(), window_calls.as_ref())?.unwrap_or(defaults.window),
            open_timeout_factor: real("open_timeout_factor", open_timeout_factor)?,
            open_timeout_max: given(open_timeout_max.as_ref())
                .map(|v| positive_span("open_timeout_max", v))
                .transpose()?,
            open_timeout_jitter: real("open_timeout_jitter", open_timeout_jitter)?,
            probe_lease: given(probe_lease.as_ref())
                .map(|v| positive_span("probe_lease", v))
                .transpose()?
                .unwrap_or(defaults.probe_lease),
            cooldown_cap: defaults.cooldown_cap,
        };
        let config = config.validate().map_err(|error| errors::config(py, &error))?;
        let breaker = Arc::new(Breaker::new(Source::new(name), config));
        let key = key.map(Bound::unbind);
        let template = || breaker.fork(breaker.source().clone());
        let keyed = key.as_ref().map(|_| Arc::new(Keyed::new(template(), KEYS)));
        Ok(Self { breaker, keyed, classify, key })
    }

    /// Its label.
    #[getter]
    fn name(&self) -> &str {
        self.breaker.source().name()
    }

    /// The number that its events carry; no other source has it.
    #[getter]
    fn source_id(&self) -> u64 {
        self.breaker.source().id().0
    }

    /// Its state. Reading changes nothing: "open" becomes "half_open" when the first probe is admitted.
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        state(py, self.breaker.state())
    }

    /// Seconds until it is worth asking again, or `None`.
    #[getter]
    fn retry_after(&self) -> Option<f64> {
        self.breaker.retry_after(clock::now()).map(|span| span.as_secs_f64())
    }

    /// A frozen snapshot of its counts.
    #[getter]
    fn metrics(&self) -> BreakerMetrics {
        let now = clock::now();
        BreakerMetrics::new(&self.breaker.metrics(now), now)
    }

    /// Opens it until `reset`.
    fn force_open(&self) {
        moment(|at| self.breaker.force_open(at.now, at.out));
    }

    /// Closes it until `reset`, whatever happens.
    fn force_closed(&self) {
        moment(|at| self.breaker.force_closed(at.now, at.out));
    }

    /// Admits everything and records nothing, until `reset`.
    fn disable(&self) {
        moment(|at| self.breaker.disable(at.now, at.out));
    }

    /// Admits everything and says when it would have opened, until `reset`.
    fn shadow(&self) {
        moment(|at| self.breaker.shadow(at.now, at.out));
    }

    /// Closes it and forgets its recent past; the only way out of the manual states.
    fn reset(&self) {
        moment(|at| self.breaker.reset(at.now, at.out));
    }

    /// The user's own classifier, or `None`.
    #[getter]
    fn classify(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.classify.as_ref().map(|rule| rule.clone_ref(py))
    }

    /// The key function, or `None`.
    #[getter]
    fn key(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.key_function(py)
    }

    /// The breaker of one key.
    fn _of(&self, key: &str) -> Option<Self> {
        self.keyed.as_ref().map(|keyed| Self::view(keyed.get(key, clock::now())))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.classify)?;
        visit.call(&self.key)
    }
}

fn window_kind(
    seconds: Option<&Bound<'_, PyAny>>,
    calls: Option<&Bound<'_, PyAny>>,
) -> PyResult<Option<WindowKind>> {
    if let Some(calls) = given(calls) {
        return Ok(Some(WindowKind::Count(count("window", calls, 1)?)));
    }
    given(seconds).map(|v| positive_span("window", v).map(WindowKind::Time)).transpose()
}

/// The member of `holdfast.BreakerState`.
fn state(py: Python<'_>, state: State) -> PyResult<Py<PyAny>> {
    static MEMBERS: PyOnceLock<Vec<Py<PyAny>>> = PyOnceLock::new();
    let members = MEMBERS.get_or_try_init(py, || {
        let class = py.import("holdfast._policies")?.getattr("BreakerState")?;
        State::ALL.iter().map(|s| Ok(class.call1((s.as_str(),))?.unbind())).collect::<PyResult<Vec<_>>>()
    })?;
    Ok(members[state as usize].clone_ref(py))
}

/// A breaker's counts at one instant. `calls = successes + failures + throttled + ignored + late + lost +
/// rejected + in_flight`: each call is in exactly one term.
#[pyclass(frozen, get_all, module = "holdfast._native")]
#[derive(Debug)]
pub struct BreakerMetrics {
    calls: u64,
    successes: u64,
    failures: u64,
    throttled: u64,
    ignored: u64,
    late: u64,
    lost: u64,
    rejected: u64,
    in_flight: u64,
    slow: u64,
    opened: u64,
    failure_rate: f64,
    slow_call_rate: f64,
    mean_recovery_time: Option<f64>,
    state_since: Option<SystemTime>,
}

impl BreakerMetrics {
    fn new(m: &Metrics, now: crate::base::Time) -> Self {
        Self {
            calls: m.calls,
            successes: m.successes,
            failures: m.failures,
            throttled: m.throttled,
            ignored: m.ignored,
            late: m.late,
            lost: m.lost,
            rejected: m.rejected,
            in_flight: m.in_flight,
            slow: m.slow,
            opened: m.opened,
            failure_rate: m.failure_rate,
            slow_call_rate: m.slow_call_rate,
            mean_recovery_time: m.mean_recovery_time.map(|span| span.as_secs_f64()),
            state_since: m.state_since.map(|since| clock::wall() - now.since(since)),
        }
    }
}

#[pymethods]
impl BreakerMetrics {
    fn __repr__(&self) -> String {
        format!(
            "BreakerMetrics(calls={}, successes={}, failures={}, throttled={}, ignored={}, late={}, lost={}, \
             rejected={}, in_flight={}, slow={}, opened={})",
            self.calls,
            self.successes,
            self.failures,
            self.throttled,
            self.ignored,
            self.late,
            self.lost,
            self.rejected,
            self.in_flight,
            self.slow,
            self.opened
        )
    }
}
