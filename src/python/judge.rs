//! From what a call raised or returned to the verdict the core decides by.
//!
//! The rules themselves are Python's (`holdfast._classify`); here is only the translation, and the answers
//! that need no rules: a value, and a `BaseException` that is no `Exception` (B7).

use std::time::Duration;

use pyo3::exceptions::PyException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::base::{Blame, Failure, FailureKind, Verdict};
use crate::python::once::{Once, intern};

/// How one guard judges outcomes.
#[derive(Debug)]
pub struct Judge {
    /// `exc -> Verdict`, one of the classifiers of `holdfast._classify`, the user's rules composed in.
    classify: Py<PyAny>,
    /// `value -> bool`: is this value to be tried again (A13)?
    retry_if_result: Option<Py<PyAny>>,
    /// It judges exceptions as plain ones, with no rule of the user's.
    plain: bool,
}

impl Judge {
    /// A judge by these two callables.
    pub fn new(py: Python<'_>, classify: Py<PyAny>, retry_if_result: Option<Py<PyAny>>) -> Self {
        let plain = plain_rules(py).is_ok_and(|rules| rules.is(&classify));
        Self { classify, retry_if_result, plain }
    }

    /// Does it judge exceptions as plain ones, with no rule of the user's?
    pub const fn is_plain(&self) -> bool {
        self.plain
    }

    /// Is every value good, as far as this judge is concerned?
    pub const fn trusts_values(&self) -> bool {
        self.retry_if_result.is_none()
    }

    /// The verdict on an outcome. A classifier that raises never replaces the user's own exception: its
    /// error is reported as unraisable, and the outcome counts as a plain failure.
    ///
    /// # Errors
    /// What interrupted the user's rules and is no `Exception` (Ctrl-C came while they ran): it ends the
    /// call.
    pub fn verdict(&self, py: Python<'_>, outcome: &PyResult<Py<PyAny>>) -> PyResult<Verdict> {
        match outcome {
            Ok(value) => self.of_value(py, value),
            Err(error) => self.of_error(py, error),
        }
    }

    /// The verdict on an exception; errors as in [`Judge::verdict`].
    pub fn of_error(&self, py: Python<'_>, error: &PyErr) -> PyResult<Verdict> {
        let exception = error.value(py);
        if !exception.is_instance_of::<PyException>() {
            return Ok(Verdict::Ignore);
        }
        let rules = self.classify.bind(py);
        let judged = rules.call1((exception,)).and_then(|verdict| translate(&verdict));
        judged.or_else(|broken| report(broken, rules).map(|()| Verdict::Fail(Failure::plain())))
    }

    /// A value is good, unless the user's predicate wants it tried again.
    fn of_value(&self, py: Python<'_>, value: &Py<PyAny>) -> PyResult<Verdict> {
        let Some(predicate) = &self.retry_if_result else { return Ok(Verdict::Ok) };
        let predicate = predicate.bind(py);
        match predicate.call1((value,)).and_then(|answer| answer.is_truthy()) {
            Ok(false) => Ok(Verdict::Ok),
            Ok(true) => Ok(Verdict::Fail(Failure { kind: FailureKind::Output, ..Failure::plain() })),
            Err(broken) => report(broken, predicate).map(|()| Verdict::Ok),
        }
    }

    /// For Python's garbage collector.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.classify)?;
        visit.call(&self.retry_if_result)
    }
}

/// The rules for plain callables.
pub fn plain_rules(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static PLAIN: Once<Py<PyAny>> = Once::new();
    PLAIN.import(py, "holdfast._classify", "judge_plain")
}

/// The verdict on our own clock's expiry (B8).
pub const fn timed_out() -> Verdict {
    Verdict::Fail(Failure { kind: FailureKind::Timeout, ..Failure::plain() })
}

/// Reports that a rule of the user's is broken; what is no `Exception` (Ctrl-C) is handed back instead.
pub fn report(broken: PyErr, rule: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = rule.py();
    if !broken.is_instance_of::<PyException>(py) {
        return Err(broken);
    }
    broken.write_unraisable(py, Some(rule));
    Ok(())
}

/// Reads a `holdfast.Verdict`.
fn translate(verdict: &Bound<'_, PyAny>) -> PyResult<Verdict> {
    let py = verdict.py();
    let text = |name: &Bound<'_, PyString>| verdict.getattr(name)?.extract::<String>();
    let outcome = text(intern!(py, "outcome"))?;
    match outcome.as_str() {
        "ok" => return Ok(Verdict::Ok),
        "ignore" => return Ok(Verdict::Ignore),
        _ => {}
    }
    let kind = FailureKind::from_name(&text(intern!(py, "kind"))?).unwrap_or(FailureKind::Unknown);
    let delay = verdict.getattr(intern!(py, "delay"))?.extract::<Option<f64>>()?;
    let failure = Failure {
        kind,
        retry: verdict.getattr(intern!(py, "retry"))?.is_truthy()?,
        fail_over: verdict.getattr(intern!(py, "fail_over"))?.is_truthy()?,
        blame: blame(&text(intern!(py, "blame"))?),
        delay: delay.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    Ok(if outcome == "throttled" { Verdict::Throttled(failure) } else { Verdict::Fail(failure) })
}

fn blame(name: &str) -> Blame {
    match name {
        "credential" => Blame::Credential,
        "model" => Blame::Model,
        "rate" => Blame::Rate,
        "nobody" => Blame::Nobody,
        _ => Blame::Endpoint,
    }
}
