//! From Python values to the core's, with errors that name field, rule and value.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDelta, PyFloat, PyInt, PyString};

use super::errors;
use crate::base::ConfigError;

const SECONDS_RULE: &str = "be a finite number of seconds or a timedelta";

/// Is there really a value: neither missing nor `None`?
pub fn given<'a, 'py>(value: Option<&'a Bound<'py, PyAny>>) -> Option<&'a Bound<'py, PyAny>> {
    value.filter(|v| !v.is_none())
}

/// A duration in seconds that may be zero: a finite `float`, an `int` (not a `bool`), or a `timedelta`.
pub fn span(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    // Numbers first: to ask for a timedelta loads `datetime`, which `import holdfast` need not.
    let is_number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
    let seconds = if !is_number && value.is_instance_of::<PyDelta>() {
        value.call_method0("total_seconds")?.extract::<f64>()?
    } else {
        number(field, value, SECONDS_RULE)?
    };
    if !seconds.is_finite() {
        return Err(refuse(field, SECONDS_RULE, value));
    }
    if seconds < 0.0 {
        return Err(refuse(field, "not be negative", value));
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| refuse(field, "be a representable duration", value))
}

/// A duration in seconds that must be more than zero.
pub fn positive_span(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let span = span(field, value)?;
    if span.is_zero() {
        return Err(refuse(field, "be positive", value));
    }
    Ok(span)
}

/// A finite real number.
pub fn real(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let x = number(field, value, "be a finite number")?;
    if x.is_finite() { Ok(x) } else { Err(refuse(field, "be a finite number", value)) }
}

/// A whole number of at least `least`.
pub fn count(field: &'static str, value: &Bound<'_, PyAny>, least: u32) -> PyResult<u32> {
    let rule = || format!("be a whole number of at least {least}");
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(refuse(field, rule(), value));
    }
    match value.extract::<u32>() {
        Ok(n) if n >= least => Ok(n),
        Ok(_) => Err(refuse(field, rule(), value)),
        Err(_) => Err(refuse(field, format!("{} and at most {}", rule(), u32::MAX), value)),
    }
}

/// A name from a closed list.
pub fn choice<T>(
    field: &'static str,
    value: &Bound<'_, PyAny>,
    names: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> PyResult<T> {
    value
        .cast::<PyString>()
        .ok()
        .and_then(|text| text.to_str().ok().and_then(&parse))
        .ok_or_else(|| refuse(field, format!("be one of {names}"), value))
}

/// The error for a value that breaks a rule; the value is shown shortened.
pub fn refuse(field: &'static str, rule: impl Into<String>, value: &Bound<'_, PyAny>) -> PyErr {
    errors::config_about(value, &ConfigError::new(field, rule, shown(value)))
}

/// A short `repr`, safe against objects whose `repr` raises or is long.
pub fn shown(value: &Bound<'_, PyAny>) -> String {
    const LONGEST: usize = 80;
    let text = value.repr().map_or_else(
        |_| format!("<{}>", value.get_type().name().map_or_else(|_| "object".into(), |n| n.to_string())),
        |r| r.to_string_lossy().into_owned(),
    );
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST).chain("…".chars()).collect()
}

fn number(field: &'static str, value: &Bound<'_, PyAny>, rule: &str) -> PyResult<f64> {
    let is_number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
    if !is_number || value.is_instance_of::<PyBool>() {
        return Err(refuse(field, rule, value));
    }
    value.extract::<f64>().map_err(|_| refuse(field, rule, value))
}
