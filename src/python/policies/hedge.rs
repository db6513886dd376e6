//! `Hedge`: when one more attempt is made beside a slow one.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::policy::hedge::{After, Hedge, HedgeConfig};
use crate::python::convert::{count, refuse, span};
use crate::python::errors;

/// A hedge policy; the instance is what was learned.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native", name = "Hedge")]
#[derive(Debug)]
pub struct HedgePolicy {
    policy: Arc<Hedge>,
}

impl HedgePolicy {
    /// The core's policy.
    pub fn policy(&self) -> Arc<Hedge> {
        Arc::clone(&self.policy)
    }
}

#[pymethods]
impl HedgePolicy {
    #[new]
    #[pyo3(signature = (after, *, max_hedges))]
    fn new(after: &Bound<'_, PyAny>, max_hedges: &Bound<'_, PyAny>) -> PyResult<Self> {
        let config =
            HedgeConfig { after: self::after(after)?, max_hedges: count("max_hedges", max_hedges, 0)? };
        let config = config.validate().map_err(|error| errors::config(after.py(), &error))?;
        Ok(Self { policy: Arc::new(Hedge::new(config)) })
    }

    /// Hedges per call.
    #[getter]
    fn max_hedges(&self) -> u32 {
        self.policy.config().max_hedges
    }

    /// Seconds after which an attempt is late, as far as is known by now; `None` while too little is.
    #[getter]
    fn delay(&self) -> Option<f64> {
        self.policy.delay().map(|delay: Duration| delay.as_secs_f64())
    }
}

fn after(value: &Bound<'_, PyAny>) -> PyResult<After> {
    let Ok(name) = value.cast::<PyString>() else { return span("after", value).map(After::Fixed) };
    let rule = "be seconds, or a percentile from 'p50' to 'p99.9'";
    After::from_name(name.to_str()?).ok_or_else(|| refuse("after", rule, value))
}
