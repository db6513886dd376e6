//! A breaker's configuration, read from Python's values.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::policy::breaker::{BreakerConfig, WindowKind};
use crate::python::convert::{count, given, positive_span, real, refuse};
use crate::python::errors;

/// The fields of one breaker by name; a field that is missing is off.
pub struct Fields<'a, 'py>(pub &'a Bound<'py, PyDict>);

impl<'py> Fields<'_, 'py> {
    /// The field's value, unless it is missing or `None`.
    pub fn get(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(name)?.filter(|value| !value.is_none()))
    }

    /// The field's value if it is callable; none if it is missing or `None`.
    pub fn callable(&self, name: &'static str, rule: &str) -> PyResult<Option<Py<PyAny>>> {
        match self.get(name)? {
            Some(value) if value.is_callable() => Ok(Some(value.unbind())),
            Some(value) => Err(refuse(name, rule, &value)),
            None => Ok(None),
        }
    }

    /// The rules, checked field by field and against each other.
    pub fn config(&self) -> PyResult<BreakerConfig> {
        let defaults = BreakerConfig::default();
        let config = BreakerConfig {
            failure_threshold: self.read("failure_threshold", |f, v| count(f, v, 1))?,
            success_threshold: self.must("success_threshold", |f, v| count(f, v, 1))?,
            open_timeout: self.must("open_timeout", positive_span)?,
            half_open_max_calls: self.must("half_open_max_calls", |f, v| count(f, v, 1))?,
            failure_rate: self.read("failure_rate", real)?,
            slow_call_rate: self.read("slow_call_rate", real)?,
            slow_call: self.read("slow_call", positive_span)?,
            minimum_calls: self.must("minimum_calls", |f, v| count(f, v, 1))?,
            window: self.window()?.unwrap_or(defaults.window),
            open_timeout_factor: self.must("open_timeout_factor", real)?,
            open_timeout_max: self.read("open_timeout_max", positive_span)?,
            open_timeout_jitter: self.must("open_timeout_jitter", real)?,
            probe_lease: self.read("probe_lease", positive_span)?.unwrap_or(defaults.probe_lease),
            cooldown_cap: defaults.cooldown_cap,
        };
        config.validate().map_err(|error| errors::config(self.0.py(), &error))
    }

    /// Seconds, or `window_calls` for a number of calls. A rate without either has nothing to look back on.
    fn window(&self) -> PyResult<Option<WindowKind>> {
        if let Some(calls) = self.read("window_calls", |_, v| count("window", v, 1))? {
            return Ok(Some(WindowKind::Count(calls)));
        }
        let window = self.read("window", positive_span)?;
        for rate in ["failure_rate", "slow_call_rate"] {
            if window.is_none() && self.get(rate)?.is_some() {
                let none = self.0.py().None().into_bound(self.0.py());
                let rule = format!("be seconds or a CountWindow: {rate} is judged over it");
                return Err(refuse("window", rule, &none));
            }
        }
        Ok(window.map(WindowKind::Time))
    }

    fn read<T>(
        &self,
        name: &'static str,
        convert: impl Fn(&'static str, &Bound<'py, PyAny>) -> PyResult<T>,
    ) -> PyResult<Option<T>> {
        self.get(name)?.map(|value| convert(name, &value)).transpose()
    }

    /// A field that cannot be off: `None` is refused as any other wrong value is.
    fn must<T>(
        &self,
        name: &'static str,
        convert: impl Fn(&'static str, &Bound<'py, PyAny>) -> PyResult<T>,
    ) -> PyResult<T> {
        let value = self.0.get_item(name)?;
        let none = || self.0.py().None().into_bound(self.0.py());
        convert(name, given(value.as_ref()).unwrap_or(&none()))
    }
}
