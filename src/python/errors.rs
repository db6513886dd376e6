//! Raising our own exceptions: the classes live in Python, in `holdfast._exceptions`.

use std::fmt::Write as _;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

use crate::base::error::RejectionKind;
use crate::base::{ConfigError, Rejection};
use crate::policy::timeout::Expiry;
use crate::python::once::{Once, intern};

macro_rules! class {
    ($name:ident, $text:literal) => {
        fn $name(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
            static CLASS: Once<Py<PyType>> = Once::new();
            CLASS.import(py, "holdfast._exceptions", $text)
        }
    };
}

class!(configuration_error, "ConfigurationError");
class!(call_timeout, "CallTimeout");
class!(circuit_open, "CircuitOpen");
class!(no_node_ready, "NoNodeReady");
class!(rate_limited, "RateLimited");
class!(bulkhead_full, "BulkheadFull");
class!(budget_exhausted, "BudgetExhausted");

/// `ConfigurationError(message, field=…, rule=…, value=…)`.
pub fn config(py: Python<'_>, error: &ConfigError) -> PyErr {
    raise(py, configuration_error(py), &error.to_string(), |kwargs| {
        kwargs.set_item("field", error.field)?;
        kwargs.set_item("rule", error.rule.as_str())?;
        kwargs.set_item("value", described(py, &error.value)?)
    })
}

/// The value that the core, which knows no Python objects, has described as text: a number or a name.
fn described<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into_bound_py_any(py);
    }
    if let Ok(real) = text.parse::<f64>() {
        return real.into_bound_py_any(py);
    }
    let name = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    name.unwrap_or(text).into_bound_py_any(py)
}

/// The same, with the value itself rather than its description.
pub fn config_about(value: &Bound<'_, PyAny>, error: &ConfigError) -> PyErr {
    let py = value.py();
    raise(py, configuration_error(py), &error.to_string(), |kwargs| {
        kwargs.set_item("field", error.field)?;
        kwargs.set_item("rule", error.rule.as_str())?;
        kwargs.set_item("value", value)
    })
}

/// `CallTimeout(message, limit=…, which=…)`.
pub fn timeout(py: Python<'_>, expiry: &Expiry) -> PyErr {
    let (which, seconds) = (expiry.which.as_str(), expiry.limit.as_secs_f64());
    let message = format!("the call took longer than its {which} timeout of {seconds} s");
    raise(py, call_timeout(py), &message, |kwargs| {
        kwargs.set_item("limit", seconds)?;
        kwargs.set_item("which", which)
    })
}

/// The refusal as the exception of its kind, always a fresh one (B16).
pub fn rejection(py: Python<'_>, rejection: &Rejection) -> PyErr {
    let class = match rejection.kind {
        RejectionKind::CircuitOpen => circuit_open(py),
        RejectionKind::NoNodeReady => no_node_ready(py),
        RejectionKind::RateLimited => rate_limited(py),
        RejectionKind::BulkheadFull => bulkhead_full(py),
        RejectionKind::BudgetExhausted => budget_exhausted(py),
    };
    let build = || {
        // Past Python's `__init__`, which would do the same more slowly: rejections come in storms (L7).
        let class = class?;
        let error = class.call_method1(intern!(py, "__new__"), (class, sentence(rejection)))?;
        let retry_after = rejection.retry_after.map(|span| span.as_secs_f64());
        error.setattr(intern!(py, "retry_after"), retry_after)?;
        error.setattr(intern!(py, "reason"), PyString::intern(py, rejection.reason))?;
        error.setattr(intern!(py, "source"), rejection.source.name())?;
        Ok(error)
    };
    build().map_or_else(|error: PyErr| error, PyErr::from_value)
}

fn sentence(rejection: &Rejection) -> String {
    let name = rejection.source.name();
    let mut text = match rejection.kind {
        RejectionKind::CircuitOpen => format!("circuit breaker '{name}' is {}", rejection.reason),
        RejectionKind::NoNodeReady => format!("no node of '{name}' is ready"),
        RejectionKind::RateLimited => format!("rate limit '{name}' has no room"),
        RejectionKind::BulkheadFull => format!("bulkhead '{name}' is full"),
        RejectionKind::BudgetExhausted => format!("retry budget of '{name}' is empty"),
    };
    if let Some(after) = rejection.retry_after {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "; retry after {:.3} s", after.as_secs_f64());
    }
    if let Some(detail) = &rejection.detail {
        let _infallible = write!(text, " ({detail})");
    }
    text
}

fn raise(
    py: Python<'_>,
    class: PyResult<&Bound<'_, PyType>>,
    message: &str,
    fill: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>,
) -> PyErr {
    let build = || {
        let kwargs = PyDict::new(py);
        fill(&kwargs)?;
        class?.call((message,), Some(&kwargs))
    };
    build().map_or_else(|error| error, PyErr::from_value)
}
