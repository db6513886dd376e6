//! The guarded form of a callable, as Python sees it.

use std::sync::Arc;

use pyo3::exceptions::PyAttributeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use super::{Callee, Colour, async_stream, coroutine, function, generator};
use crate::pipeline::{Plan, Target};
use crate::policy::breaker::Breaker;
use crate::python::convert::refuse;
use crate::python::heartbeat::Pulse;
use crate::python::judge::Judge;
use crate::python::policies::Weights;

/// What a guard is built from, beside its callee: shared by all guards of one pipeline or manager.
#[derive(Debug)]
pub struct Wiring {
    /// The compiled policies.
    pub plan: Arc<Plan>,
    /// How outcomes are judged.
    pub judge: Judge,
    /// The user's own back-off.
    pub backoff: Option<Py<PyAny>>,
    /// `(args, kwargs) -> str`: which of a keyed breaker's breakers.
    pub key: Option<Py<PyAny>>,
    /// What weighs a call for its rate limits.
    pub weights: Weights,
    /// `value -> None`, raising if a complete answer is not true.
    pub validate: Option<Py<PyAny>>,
    /// `() -> Governor`: decides, attempt by attempt, what of a stream is handed out and when.
    pub governor: Option<Py<PyAny>>,
    /// `StreamInterrupted -> (args, kwargs) | None`: how to go on after a stream broke.
    pub resume: Option<Py<PyAny>>,
    /// What asks a manager's nodes for signs of life.
    pub pulse: Option<Arc<Pulse>>,
    /// What is asked instead of the key's breaker while an operator holds them all.
    pub by_hand: Option<ByHand>,
}

/// A keyed breaker as a whole: while it is held by hand, every call goes to it and no key is asked.
#[derive(Debug)]
pub struct ByHand {
    whole: Arc<Breaker>,
    plan: Arc<Plan>,
}

impl ByHand {
    /// The same plan as `plan`, that asks `whole`.
    pub fn of(whole: Arc<Breaker>, plan: &Plan) -> Self {
        let plan = Plan {
            source: plan.source.clone(),
            retry: plan.retry.clone(),
            timeout: plan.timeout,
            limits: plan.limits.clone(),
            target: Target::Breaker(Arc::clone(&whole)),
            exhausted: plan.exhausted,
        };
        Self { whole, plan: Arc::new(plan) }
    }
}

impl Wiring {
    /// For Python's garbage collector.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.judge.traverse(visit)?;
        visit.call(&self.backoff)?;
        visit.call(&self.key)?;
        self.weights.traverse(visit)?;
        visit.call(&self.validate)?;
        visit.call(&self.governor)?;
        visit.call(&self.resume)
    }
}

/// A guarded callable, of the same colour as what it guards.
#[pyclass(frozen, weakref, dict, module = "holdfast._native")]
#[derive(Debug)]
pub struct Guard {
    wiring: Arc<Wiring>,
    owner: Py<PyAny>,
    callee: Callee,
    colour: Colour,
}

impl Guard {
    /// A guard of `callee` by `wiring`, which `owner` (a pipeline or manager) keeps alive.
    pub const fn new(wiring: Arc<Wiring>, owner: Py<PyAny>, callee: Callee, colour: Colour) -> Self {
        Self { wiring, owner, callee, colour }
    }

    pub(super) fn wiring(&self) -> &Wiring {
        &self.wiring
    }

    pub(super) const fn callee(&self) -> &Callee {
        &self.callee
    }

    /// A manager's heartbeat begins with its first call, and again with the first one in a forked child.
    pub(super) fn keep_beating(&self) -> PyResult<()> {
        self.wiring.pulse.as_ref().map_or(Ok(()), |pulse| pulse.ensure())
    }

    /// The breaker, where it is all there is: then a call that goes well may pass by the inline doors.
    pub(super) fn lone_breaker(&self) -> Option<&Arc<Breaker>> {
        let Wiring { plan, judge, validate: None, governor: None, .. } = &*self.wiring else { return None };
        match &plan.target {
            Target::Breaker(breaker)
                if plan.retry.is_none() && !plan.timeout.is_on() && plan.limits.are_off() =>
            {
                judge.trusts_values().then_some(breaker)
            }
            _ => None,
        }
    }

    /// The plan for a call that begins now.
    pub(super) fn plan(&self) -> &Arc<Plan> {
        match &self.wiring.by_hand {
            Some(by_hand) if by_hand.whole.state().is_manual() => &by_hand.plan,
            _ => &self.wiring.plan,
        }
    }

    /// The call's key, where `plan` keeps breakers by key. A key function that raises ends the call with its
    /// error, and one that answers no string with ours, before anybody is asked.
    pub(super) fn key(
        &self,
        py: Python<'_>,
        plan: &Plan,
        args: &Bound<'_, PyTuple>,
        kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Option<Box<str>>> {
        let (Some(key), Target::Keyed(_)) = (&self.wiring.key, &plan.target) else {
            return Ok(None);
        };
        let none = PyDict::new(py);
        let answer = key.bind(py).call1((args, kwargs.unwrap_or(&none)))?;
        match answer.extract::<&str>() {
            Ok(name) => Ok(Some(name.into())),
            Err(_) => Err(refuse("key", "answer a string: key(args, kwargs) -> str", &answer)),
        }
    }
}

#[pymethods]
impl Guard {
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        slf: &Bound<'py, Self>,
        args: Bound<'py, PyTuple>,
        kwargs: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        match slf.get().colour {
            Colour::Function => function::call(slf, args, kwargs),
            Colour::Coroutine => coroutine::call(slf, args, kwargs),
            Colour::Generator => generator::call(slf, args, kwargs),
            Colour::AsyncGenerator => async_stream::call(slf, args, kwargs),
        }
    }

    /// Binds as a method, as a function would.
    fn __get__(
        slf: &Bound<'_, Self>,
        instance: &Bound<'_, PyAny>,
        _owner: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let py = slf.py();
        if instance.is_none() {
            return Ok(slf.clone().into_any().unbind());
        }
        let method = py.import(intern!(py, "types"))?.getattr(intern!(py, "MethodType"))?;
        Ok(method.call1((slf, instance))?.unbind())
    }

    /// What introspection asks of a function is answered by the guarded one.
    fn __getattr__(&self, py: Python<'_>, name: &Bound<'_, PyString>) -> PyResult<Py<PyAny>> {
        const FORWARDED: [&str; 6] =
            ["__code__", "__defaults__", "__kwdefaults__", "__annotations__", "__name__", "__globals__"];
        let text = name.to_str()?;
        match self.callee.function() {
            Some(function) if FORWARDED.contains(&text) => Ok(function.bind(py).getattr(name)?.unbind()),
            _ => Err(PyAttributeError::new_err(format!("'holdfast guard' object has no attribute '{text}'"))),
        }
    }

    /// Pickles and copies by qualified name, as a function does.
    fn __reduce__(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        Ok(slf.getattr(intern!(slf.py(), "__qualname__"))?.unbind())
    }

    fn __repr__(slf: &Bound<'_, Self>) -> String {
        let name = slf.getattr("__qualname__").map_or_else(|_| "call".into(), |n| n.to_string());
        format!("<holdfast guard of {name}>")
    }

    /// The pipeline or manager whose policies guard this callable.
    #[getter]
    fn pipeline(&self, py: Python<'_>) -> Py<PyAny> {
        self.owner.clone_ref(py)
    }

    /// How its answer is given: "function", "coroutine", "generator" or "async_generator".
    #[getter]
    const fn colour(&self) -> &'static str {
        self.colour.as_str()
    }

    /// The breaker, or `None`.
    #[getter]
    fn breaker(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.owner.bind(py).getattr(intern!(py, "breaker"))?.unbind())
    }

    /// The breaker's metrics, or `None`; a manager's own for a manager's guards.
    #[getter]
    fn metrics(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.owner.bind(py).getattr(intern!(py, "metrics"))?.unbind())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)?;
        self.callee.traverse(&visit)
    }
}
