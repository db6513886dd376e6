//! `Pipeline`: policies compiled into one plan.

use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{CircuitBreaker, ConcurrencyLimit, HedgePolicy, RateLimit, Retry, Timeout, Weights, limits};
use crate::base::Source;
use crate::pipeline::{Exhausted, Limits, Plan, Target};
use crate::policy::fallback::FallbackConfig;
use crate::policy::timeout::TimeoutConfig;
use crate::python::call::{ByHand, Callee, Colour, Guard, GuardRef, Hedging, Substitute, Wiring};
use crate::python::convert::{choice, refuse};
use crate::python::errors;
use crate::python::heartbeat::Pulse;
use crate::python::judge::Judge;
use crate::python::once::intern;

/// The policies a plan is compiled from, beside whom it asks.
#[derive(Debug)]
pub struct Parts<'py> {
    /// In whose name the call's events are sent.
    pub source: Source,
    /// When to make further attempts.
    pub retry: Option<Bound<'py, Retry>>,
    /// The clocks.
    pub timeout: Option<Bound<'py, Timeout>>,
    /// `exc -> Verdict`.
    pub classify: Bound<'py, PyAny>,
    /// The limits, and what weighs a call for them.
    pub limits: (Limits, Weights),
    /// Whom to ask.
    pub target: Target,
    /// What to do when no node may be asked.
    pub exhausted: Exhausted,
    /// The key function of a keyed breaker.
    pub key: Option<Py<PyAny>>,
    /// What looks at answers and streams.
    pub answers: Answers,
    /// Another answer, when all has failed: a `holdfast._fallback.Fallback`.
    pub fallback: Option<Bound<'py, PyAny>>,
    /// When one more attempt is made beside a slow one: a `holdfast._hedge.Hedge`, and may there be threads?
    pub hedge: Option<(Bound<'py, HedgePolicy>, bool)>,
    /// A manager's heartbeat.
    pub pulse: Option<Arc<Pulse>>,
}

/// What looks at answers and streams: `(validate, governor, resume)`, each a callable or none.
pub type Answers = (Option<Py<PyAny>>, Option<Py<PyAny>>, Option<Py<PyAny>>);

impl Parts<'_> {
    /// Compiles them.
    pub fn wire(self) -> PyResult<Wiring> {
        let py = self.classify.py();
        if !self.classify.is_callable() {
            return Err(refuse("classify", "be callable: classify(exc) -> Verdict", &self.classify));
        }
        let retry = self.retry.as_ref().map(Bound::get);
        let judge =
            Judge::new(py, self.classify.unbind(), retry.and_then(|retry| retry.result_predicate(py)));
        let plan = Plan {
            source: self.source,
            retry: retry.map(|retry| retry.config().clone()),
            timeout: self.timeout.map_or_else(TimeoutConfig::default, |timeout| timeout.get().config()),
            limits: self.limits.0,
            target: self.target,
            exhausted: self.exhausted,
            fallback: self.fallback.as_ref().map(fallback_config).transpose()?,
            hedge: self.hedge.as_ref().map(|(hedge, _)| hedge.get().policy()),
            cap: None,
        };
        let backoff = retry.and_then(|retry| retry.asked(py));
        let (validate, governor, resume) = self.answers;
        Ok(Wiring {
            plan: Arc::new(plan),
            judge,
            backoff,
            key: self.key,
            weights: self.limits.1,
            validate,
            governor,
            resume,
            substitute: self.fallback.as_ref().map(Substitute::new).transpose()?,
            hedging: self.hedge.map(|(hedge, threads)| Hedging::new(hedge.as_any(), threads)),
            balancer: None,
            pulse: self.pulse,
            by_hand: None,
        })
    }
}

/// What the core is told of a `holdfast._fallback.Fallback`.
fn fallback_config(fallback: &Bound<'_, PyAny>) -> PyResult<FallbackConfig> {
    let asked = fallback.getattr(intern!(fallback.py(), "_asked"))?.is_truthy()?;
    Ok(FallbackConfig { asked })
}

/// Several policies as one guard.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Pipeline {
    wiring: Arc<Wiring>,
    retry: Option<Py<Retry>>,
    timeout: Option<Py<Timeout>>,
    breaker: Option<Py<CircuitBreaker>>,
    bulkhead: Option<Py<ConcurrencyLimit>>,
    rates: Vec<Py<RateLimit>>,
}

impl Pipeline {
    /// What its guards share.
    pub fn wiring(&self) -> Arc<Wiring> {
        Arc::clone(&self.wiring)
    }
}

#[pymethods]
impl Pipeline {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "the public fields, each by keyword")]
    #[pyo3(signature = (*, retry, breaker, timeout, bulkhead, rates, classify, answers, name, fallback=None,
                        like=None))]
    fn new(
        retry: Option<Bound<'_, Retry>>,
        breaker: Option<Bound<'_, CircuitBreaker>>,
        timeout: Option<Bound<'_, Timeout>>,
        bulkhead: Option<Bound<'_, ConcurrencyLimit>>,
        rates: Vec<Bound<'_, RateLimit>>,
        classify: Bound<'_, PyAny>,
        answers: Answers,
        name: &str,
        fallback: Option<Bound<'_, PyAny>>,
        // Another form of this pipeline, whose events are its own.
        like: Option<Bound<'_, Self>>,
    ) -> PyResult<Self> {
        let py = classify.py();
        let kept = (retry.as_ref().map(|r| r.clone().unbind()), timeout.as_ref().map(|t| t.clone().unbind()));
        let clocks = timeout.as_ref().map_or_else(TimeoutConfig::default, |timeout| timeout.get().config());
        let target = breaker.as_ref().map(|breaker| breaker.get().target(&clocks)).transpose();
        let target = target.map_err(|error| errors::config(py, &error))?;
        let (target, whole) = target.unwrap_or((Target::Bare, None));
        let parts = Parts {
            source: like.map_or_else(|| Source::new(name), |like| like.get().wiring.plan.source.clone()),
            retry,
            timeout,
            classify,
            limits: limits(&rates, bulkhead.as_ref()),
            target,
            exhausted: Exhausted::default(),
            key: breaker.as_ref().and_then(|breaker| breaker.get().key_function(py)),
            answers,
            fallback,
            hedge: None,
            pulse: None,
        };
        let mut wiring = parts.wire()?;
        wiring.by_hand = whole.map(|whole| ByHand::of(whole, &wiring.plan));
        let wiring = Arc::new(wiring);
        Ok(Self {
            wiring,
            retry: kept.0,
            timeout: kept.1,
            breaker: breaker.map(Bound::unbind),
            bulkhead: bulkhead.map(Bound::unbind),
            rates: rates.into_iter().map(Bound::unbind).collect(),
        })
    }

    /// Its label.
    #[getter]
    fn name(&self) -> &str {
        self.wiring.plan.source.name()
    }

    /// The number that its events carry.
    #[getter]
    fn source_id(&self) -> u64 {
        self.wiring.plan.source.id().0
    }

    /// Its retry policy, or `None`.
    #[getter]
    fn retry(&self, py: Python<'_>) -> Option<Py<Retry>> {
        self.retry.as_ref().map(|policy| policy.clone_ref(py))
    }

    /// Its clocks, or `None`.
    #[getter]
    fn timeout(&self, py: Python<'_>) -> Option<Py<Timeout>> {
        self.timeout.as_ref().map(|policy| policy.clone_ref(py))
    }

    /// Its breaker, or `None`.
    #[getter]
    fn breaker(&self, py: Python<'_>) -> Option<Py<CircuitBreaker>> {
        self.breaker.as_ref().map(|policy| policy.clone_ref(py))
    }

    /// Its concurrency limit, or `None`.
    #[getter]
    fn bulkhead(&self, py: Python<'_>) -> Option<Py<ConcurrencyLimit>> {
        self.bulkhead.as_ref().map(|policy| policy.clone_ref(py))
    }

    /// Its rate limit, a tuple of them where there are several, or `None`.
    #[getter]
    fn rate_limit(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok(match self.rates.as_slice() {
            [] => None,
            [rate] => Some(rate.clone_ref(py).into_any()),
            several => Some(PyTuple::new(py, several)?.into_any().unbind()),
        })
    }

    /// Its breaker's metrics, or `None`.
    #[getter]
    fn metrics(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.breaker.as_ref().map(|breaker| breaker.getattr(py, "metrics")).transpose()
    }

    /// The guarded form of `function`, which is of this colour.
    fn _guard(
        slf: &Bound<'_, Self>,
        function: Bound<'_, PyAny>,
        colour: &Bound<'_, PyAny>,
    ) -> PyResult<GuardRef> {
        let names = "'function', 'coroutine', 'generator', 'async_generator'";
        let colour = choice("colour", colour, names, Colour::from_name)?;
        let wiring = Arc::clone(&slf.get().wiring);
        Guard::make(wiring, slf.clone().into_any(), Callee::Function(function.unbind()), colour)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.wiring.traverse(&visit)?;
        visit.call(&self.retry)?;
        visit.call(&self.timeout)?;
        visit.call(&self.breaker)?;
        visit.call(&self.bulkhead)?;
        self.rates.iter().try_for_each(|rate| visit.call(rate))
    }
}
