//! `Timeout`: the four clocks of a call.

use pyo3::prelude::*;

use crate::policy::timeout::TimeoutConfig;
use crate::python::convert::{choice, given, positive_span};

/// The clocks of a call; a frozen value.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Timeout {
    config: TimeoutConfig,
}

impl Timeout {
    /// The limits.
    pub const fn config(&self) -> TimeoutConfig {
        self.config
    }
}

#[pymethods]
impl Timeout {
    #[new]
    #[pyo3(signature = (total=None, *, attempt=None, first_item=None, idle=None, late=None))]
    fn new(
        total: Option<&Bound<'_, PyAny>>,
        attempt: Option<&Bound<'_, PyAny>>,
        first_item: Option<&Bound<'_, PyAny>>,
        idle: Option<&Bound<'_, PyAny>>,
        late: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let limit = |field, value| given(value).map(|value| positive_span(field, value)).transpose();
        let parse = |name: &str| match name {
            "return" => Some(false),
            "raise" => Some(true),
            _ => None,
        };
        let late = late.map(|v| choice("late", v, "'return', 'raise'", parse)).transpose()?;
        let config = TimeoutConfig {
            total: limit("total", total)?,
            attempt: limit("attempt", attempt)?,
            first_item: limit("first_item", first_item)?,
            idle: limit("idle", idle)?,
            late_raises: late.unwrap_or(false),
        };
        Ok(Self { config })
    }

    /// Seconds the whole call may take, or `None`.
    #[getter]
    fn total(&self) -> Option<f64> {
        self.config.total.map(|span| span.as_secs_f64())
    }

    /// Seconds one attempt may take, or `None`.
    #[getter]
    fn attempt(&self) -> Option<f64> {
        self.config.attempt.map(|span| span.as_secs_f64())
    }

    /// Seconds until a stream's first item, or `None`.
    #[getter]
    fn first_item(&self) -> Option<f64> {
        self.config.first_item.map(|span| span.as_secs_f64())
    }

    /// Seconds between two items of a stream, or `None`.
    #[getter]
    fn idle(&self) -> Option<f64> {
        self.config.idle.map(|span| span.as_secs_f64())
    }

    /// What happens to a value that comes too late: "return" or "raise".
    #[getter]
    const fn late(&self) -> &'static str {
        if self.config.late_raises { "raise" } else { "return" }
    }
}
