//! `Bulkhead`, `AdaptiveLimit` and `RateLimit`: the limits.

use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::weights::{Weight, Weights};
use crate::base::Source;
use crate::pipeline::Limits;
use crate::policy::limit::adaptive::AimdConfig;
use crate::policy::limit::{Concurrency, ConcurrencyConfig, Priority, Rate, RateConfig};
use crate::python::convert::{count, given, positive_span, real, refuse};
use crate::python::errors;
use crate::runtime::clock;

/// A limit on how many calls run at once; the instance is the state.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct ConcurrencyLimit {
    limit: Arc<Concurrency>,
}

#[pymethods]
impl ConcurrencyLimit {
    /// `adaptive` is `(minimum, maximum)` for a limit that finds its own number.
    #[new]
    #[pyo3(signature = (name, limit, *, max_queue, queue_timeout, adaptive=None))]
    fn new(
        name: &str,
        limit: &Bound<'_, PyAny>,
        max_queue: &Bound<'_, PyAny>,
        queue_timeout: Option<&Bound<'_, PyAny>>,
        adaptive: Option<(Bound<'_, PyAny>, Bound<'_, PyAny>)>,
    ) -> PyResult<Self> {
        let field = if adaptive.is_some() { "initial" } else { "limit" };
        let initial = count(field, limit, 1)?;
        let bounds = |(minimum, maximum): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            let (minimum, maximum) = (count("minimum", &minimum, 1)?, count("maximum", &maximum, 1)?);
            Ok::<_, PyErr>(AimdConfig { initial, minimum, maximum })
        };
        let config = ConcurrencyConfig {
            limit: initial,
            max_queue: count("max_queue", max_queue, 0)?,
            queue_timeout: given(queue_timeout).map(|v| positive_span("queue_timeout", v)).transpose()?,
            adaptive: adaptive.map(bounds).transpose()?,
        };
        let config = config.validate().map_err(|error| errors::config(max_queue.py(), &error))?;
        Ok(Self { limit: Arc::new(Concurrency::new(Source::new(name), config)) })
    }

    /// How many calls may run at once now.
    #[getter]
    fn limit(&self) -> u32 {
        self.limit.load().limit
    }

    /// How many run now.
    #[getter]
    fn in_use(&self) -> u32 {
        self.limit.load().in_use
    }

    /// How many wait in line now.
    #[getter]
    fn queued(&self) -> u32 {
        self.limit.load().queued
    }

    /// How many may wait in line.
    #[getter]
    fn max_queue(&self) -> u32 {
        self.limit.config().max_queue
    }

    /// Seconds that one waits in line at most, or `None`.
    #[getter]
    fn queue_timeout(&self) -> Option<f64> {
        self.limit.config().queue_timeout.map(|span| span.as_secs_f64())
    }

    /// Seconds until a slot is likely to be free for somebody new: 0 if one is, `None` if nobody knows.
    #[getter]
    fn retry_after(&self) -> Option<f64> {
        if self.limit.has_room(Priority::Normal) {
            Some(0.0)
        } else {
            self.limit.retry_after().map(|span| span.as_secs_f64())
        }
    }

    /// How it stands, and what it has counted.
    #[getter]
    fn metrics(&self) -> LimitMetrics {
        let load = self.limit.load();
        LimitMetrics {
            limit: load.limit,
            in_use: load.in_use,
            queued: load.queued,
            rejected: load.rejected,
            cuts: load.cuts,
        }
    }

    /// Its label.
    #[getter]
    fn name(&self) -> &str {
        self.limit.source().name()
    }

    /// The number that its events carry.
    #[getter]
    fn source_id(&self) -> u64 {
        self.limit.source().id().0
    }
}

/// How a concurrency limit stands, and what it has counted; frozen.
#[pyclass(frozen, get_all, eq, module = "holdfast._native")]
#[derive(Debug, PartialEq)]
pub struct LimitMetrics {
    /// How many calls may run at once.
    limit: u32,
    /// How many run.
    in_use: u32,
    /// How many wait in line.
    queued: u32,
    /// Calls refused.
    rejected: u64,
    /// Times that an adaptive limit was cut.
    cuts: u64,
}

#[pymethods]
impl LimitMetrics {
    fn __repr__(&self) -> String {
        let Self { limit, in_use, queued, rejected, cuts } = self;
        format!(
            "LimitMetrics(limit={limit}, in_use={in_use}, queued={queued}, rejected={rejected}, cuts={cuts})"
        )
    }
}

/// A limit on requests, or weighted permits, per time; the instance is the state.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct RateLimit {
    rate: Arc<Rate>,
    cost: Option<Py<PyAny>>,
    actual: Option<Py<PyAny>>,
}

#[pymethods]
impl RateLimit {
    #[new]
    #[pyo3(signature = (name, requests, *, per, burst, cost, actual=None))]
    fn new(
        name: &str,
        requests: &Bound<'_, PyAny>,
        per: &Bound<'_, PyAny>,
        burst: Option<&Bound<'_, PyAny>>,
        cost: Option<Bound<'_, PyAny>>,
        actual: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        if let Some(actual) = actual.as_ref().filter(|actual| !actual.is_callable()) {
            return Err(refuse("actual", "be callable: actual(answer) -> float or None", actual));
        }
        if let Some(cost) = cost.as_ref().filter(|cost| !cost.is_callable()) {
            return Err(refuse("cost", "be callable: cost(args, kwargs) -> float", cost));
        }
        let config = RateConfig {
            permits: real("requests", requests)?,
            per: positive_span("per", per)?,
            burst: given(burst).map(|v| real("burst", v)).transpose()?,
        };
        let config = config.validate().map_err(|error| errors::config(requests.py(), &error))?;
        let rate = Arc::new(Rate::new(Source::new(name), config));
        Ok(Self { rate, cost: cost.map(Bound::unbind), actual: actual.map(Bound::unbind) })
    }

    /// How many permits there are in each `per`.
    #[getter]
    fn requests(&self) -> f64 {
        self.rate.config().permits
    }

    /// The stretch of time, in seconds.
    #[getter]
    fn per(&self) -> f64 {
        self.rate.config().per.as_secs_f64()
    }

    /// How many permits may be used at once after a rest.
    #[getter]
    fn burst(&self) -> f64 {
        self.rate.config().burst()
    }

    /// How many permits could be used at once now.
    #[getter]
    fn available(&self) -> f64 {
        self.rate.level(clock::now()).available
    }

    /// Seconds until a call of weight 1 could pass: 0 if it could now.
    #[getter]
    fn retry_after(&self) -> f64 {
        self.rate.earliest(1.0).since(clock::now()).as_secs_f64()
    }

    /// How it stands, and what it has counted.
    #[getter]
    fn metrics(&self) -> RateMetrics {
        let level = self.rate.level(clock::now());
        RateMetrics { available: level.available, queued: level.queued, rejected: level.rejected }
    }

    /// The callee says that `remaining` permits are left for the next `reset` seconds. It can only make the
    /// limit tighter.
    #[pyo3(signature = (remaining, reset=None))]
    fn tighten(&self, remaining: &Bound<'_, PyAny>, reset: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let left = real("remaining", remaining)?;
        if left < 0.0 {
            return Err(refuse("remaining", "not be negative", remaining));
        }
        let reset = given(reset).map(|v| positive_span("reset", v)).transpose()?;
        self.rate.tighten(left, reset, clock::now());
        Ok(())
    }

    /// Its label.
    #[getter]
    fn name(&self) -> &str {
        self.rate.source().name()
    }

    /// The number that its events carry.
    #[getter]
    fn source_id(&self) -> u64 {
        self.rate.source().id().0
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.cost)?;
        visit.call(&self.actual)
    }
}

/// How a rate limit stands, and what it has counted; frozen.
#[pyclass(frozen, get_all, eq, module = "holdfast._native")]
#[derive(Debug, PartialEq)]
pub struct RateMetrics {
    /// How many permits could be used at once.
    available: f64,
    /// Calls that wait in line.
    queued: u32,
    /// Calls refused.
    rejected: u64,
}

#[pymethods]
impl RateMetrics {
    fn __repr__(&self) -> String {
        let Self { available, queued, rejected } = self;
        format!("RateMetrics(available={available}, queued={queued}, rejected={rejected})")
    }
}

/// The core's form of limits, and what weighs a call for them.
pub fn limits(
    rates: &[Bound<'_, RateLimit>],
    concurrency: Option<&Bound<'_, ConcurrencyLimit>>,
) -> (Limits, Weights) {
    let weight = |rate: &Bound<'_, RateLimit>| {
        let limit = rate.get();
        limit.cost.as_ref().map(|cost| Weight {
            rate: limit.rate.source().id(),
            cost: cost.clone_ref(rate.py()),
            actual: limit.actual.as_ref().map(|actual| actual.clone_ref(rate.py())),
        })
    };
    let limits = Limits {
        rates: rates.iter().map(|rate| Arc::clone(&rate.get().rate)).collect(),
        concurrency: concurrency.map(|limit| Arc::clone(&limit.get().limit)),
    };
    (limits, Weights::new(rates.iter().filter_map(weight).collect()))
}
