//! `Retry`, `RetryBudget` and the kinds of back-off.

use std::sync::Arc;
use std::time::Duration;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDelta, PyFloat, PyInt};

use crate::policy::retry::{Backoff as Law, Budget, Jitter, RetryConfig};
use crate::python::convert::{choice, count, given, positive_span, real, refuse, span};
use crate::python::errors;
use crate::runtime::dice::ThreadDice;

/// A law by which waits grow; made by `exponential`, `linear`, `constant` and `decorrelated`.
#[pyclass(frozen, eq, module = "holdfast._native")]
#[derive(Debug, PartialEq)]
pub struct Backoff {
    law: Law,
}

impl Backoff {
    /// The law by which the waits grow.
    pub const fn law(&self) -> Law {
        self.law
    }

    fn checked(py: Python<'_>, law: Law) -> PyResult<Self> {
        law.validate().map(|law| Self { law }).map_err(|error| errors::config(py, &error))
    }
}

fn jitter(value: &Bound<'_, PyAny>) -> PyResult<Jitter> {
    choice("jitter", value, "'none', 'full', 'equal'", Jitter::from_name)
}

#[pymethods]
impl Backoff {
    /// `first · factorⁿ⁻¹` seconds before retry n, at most `cap`, then jittered.
    #[staticmethod]
    fn exponential(
        first: &Bound<'_, PyAny>,
        factor: &Bound<'_, PyAny>,
        cap: &Bound<'_, PyAny>,
        jitter: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let law = Law::Exponential {
            first: span("first", first)?,
            factor: real("factor", factor)?,
            cap: span("cap", cap)?,
            jitter: self::jitter(jitter)?,
        };
        Self::checked(first.py(), law)
    }

    /// `first + (n − 1) · step` seconds before retry n, at most `cap`, then jittered.
    #[staticmethod]
    fn linear(
        first: &Bound<'_, PyAny>,
        step: &Bound<'_, PyAny>,
        cap: &Bound<'_, PyAny>,
        jitter: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let law = Law::Linear {
            first: span("first", first)?,
            step: span("step", step)?,
            cap: span("cap", cap)?,
            jitter: self::jitter(jitter)?,
        };
        Self::checked(first.py(), law)
    }

    /// Always `seconds`.
    #[staticmethod]
    fn constant(seconds: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { law: Law::Constant(span("seconds", seconds)?) })
    }

    /// Uniform in `[first, 3 · previous wait]`, at most `cap`.
    #[staticmethod]
    fn decorrelated(first: &Bound<'_, PyAny>, cap: &Bound<'_, PyAny>) -> PyResult<Self> {
        let law = Law::Decorrelated { first: span("first", first)?, cap: span("cap", cap)? };
        Self::checked(first.py(), law)
    }

    fn __repr__(&self) -> String {
        match self.law {
            Law::Constant(wait) => format!("constant({})", wait.as_secs_f64()),
            Law::Linear { first, step, cap, .. } => {
                let (first, step, cap) = (first.as_secs_f64(), step.as_secs_f64(), cap.as_secs_f64());
                format!("linear({first}, {step}, cap={cap})")
            }
            Law::Exponential { first, factor, cap, .. } => {
                format!("exponential({}, factor={factor}, cap={})", first.as_secs_f64(), cap.as_secs_f64())
            }
            Law::Decorrelated { first, cap } => {
                format!("decorrelated({}, cap={})", first.as_secs_f64(), cap.as_secs_f64())
            }
            Law::Asked => "callable".to_owned(),
        }
    }
}

/// A budget of retries; the instance is the state.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct RetryBudget {
    budget: Arc<Budget>,
}

#[pymethods]
impl RetryBudget {
    #[new]
    #[pyo3(signature = (tokens, per_success))]
    fn new(tokens: &Bound<'_, PyAny>, per_success: &Bound<'_, PyAny>) -> PyResult<Self> {
        let budget = Budget::new(real("tokens", tokens)?, real("per_success", per_success)?)
            .map_err(|error| errors::config(tokens.py(), &error))?;
        Ok(Self { budget: Arc::new(budget) })
    }

    /// How many retries are left, with the fraction that successes have earned.
    #[getter]
    fn available(&self) -> f64 {
        self.budget.tokens()
    }
}

/// A retry policy; a frozen value, but for the budget it shares.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Retry {
    config: RetryConfig,
    asked: Option<Py<PyAny>>,
    only_on: Option<Py<PyAny>>,
    predicate: Option<Py<PyAny>>,
}

impl Retry {
    /// The core's fields.
    pub const fn config(&self) -> &RetryConfig {
        &self.config
    }

    /// The user's predicate on values, if there is one.
    pub fn result_predicate(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.predicate.as_ref().map(|rule| rule.clone_ref(py))
    }

    /// The user's own back-off, if it is a callable.
    pub fn asked(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.asked.as_ref().map(|asked| asked.clone_ref(py))
    }
}

#[pymethods]
impl Retry {
    /// `budget` is a `RetryBudget` or `None`; what else has a default has it in Python.
    #[new]
    #[pyo3(signature = (attempts, *, backoff, budget, retry_on, retry_if_result, max_elapsed,
                        respect_retry_after, retry_after_cap, nested))]
    #[expect(clippy::too_many_arguments, reason = "the public fields, each by keyword")]
    fn new(
        attempts: &Bound<'_, PyAny>,
        backoff: &Bound<'_, PyAny>,
        budget: Option<PyRef<'_, RetryBudget>>,
        retry_on: Option<Py<PyAny>>,
        retry_if_result: Option<Bound<'_, PyAny>>,
        max_elapsed: Option<Bound<'_, PyAny>>,
        respect_retry_after: bool,
        retry_after_cap: &Bound<'_, PyAny>,
        nested: bool,
    ) -> PyResult<Self> {
        let (law, asked) = law(backoff)?;
        if let Some(predicate) = retry_if_result.as_ref().filter(|p| !p.is_callable()) {
            return Err(refuse("retry_if_result", "be callable: it is given the value", predicate));
        }
        let config = RetryConfig {
            attempts: count("attempts", attempts, 1)?,
            backoff: law,
            budget: budget.map(|budget| Arc::clone(&budget.budget)),
            max_elapsed: given(max_elapsed.as_ref()).map(|v| positive_span("max_elapsed", v)).transpose()?,
            respect_retry_after,
            retry_after_cap: span("retry_after_cap", retry_after_cap)?,
            nested,
        };
        let predicate = retry_if_result.map(Bound::unbind);
        Ok(Self { config, asked, only_on: retry_on, predicate })
    }

    /// Attempts per call over all nodes, the first included.
    #[getter]
    const fn attempts(&self) -> u32 {
        self.config.attempts
    }

    /// Which exceptions are retried: a type, several, or a predicate; `None` for the classifier's own choice.
    #[getter]
    fn retry_on(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.only_on.as_ref().map(|rule| rule.clone_ref(py))
    }

    /// The predicate on the value, or `None`.
    #[getter]
    fn retry_if_result(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.result_predicate(py)
    }

    /// The wait before retry `retry` (counted from 1), drawn anew; `None` where the user's own back-off rules.
    fn draw(&self, retry: u32) -> Option<f64> {
        let wait = self.config.backoff.wait(retry, Duration::ZERO, &mut ThreadDice);
        wait.map(|wait| wait.as_secs_f64())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.asked)?;
        visit.call(&self.only_on)?;
        visit.call(&self.predicate)
    }
}

/// A back-off is a law, a number of seconds, or a callable that is asked.
fn law(backoff: &Bound<'_, PyAny>) -> PyResult<(Law, Option<Py<PyAny>>)> {
    if let Ok(law) = backoff.cast::<Backoff>() {
        return Ok((law.get().law, None));
    }
    let is_span = backoff.is_instance_of::<PyFloat>() || backoff.is_instance_of::<PyInt>();
    if is_span || backoff.is_instance_of::<PyDelta>() {
        return Ok((Law::Constant(span("backoff", backoff)?), None));
    }
    if backoff.is_callable() {
        return Ok((Law::Asked, Some(backoff.clone().unbind())));
    }
    let rule = "be hf.exponential(), hf.linear(), hf.constant(), hf.decorrelated(), seconds, or a callable";
    Err(refuse("backoff", rule, backoff))
}
