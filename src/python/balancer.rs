//! How a manager spreads its calls, and the user's own balancer: an object with `pick(candidates)`.

use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};

use super::convert::{choice, given, positive_span, real, span};
use super::views::NodeView;
use super::{errors, judge};
use crate::base::NodeId;
use crate::pipeline::{Plan, Target};
use crate::pool::{PoolConfig, Strategy};
use crate::runtime::clock;

/// How a manager spreads its calls.
#[derive(Debug)]
pub struct Spread {
    /// The core's fields.
    pub config: PoolConfig,
    /// The user's own balancer.
    pub chooser: Option<Chooser>,
    /// `(args, kwargs) -> str | None`: what ties a call to a node.
    pub key: Option<Py<PyAny>>,
}

/// Reads `(balancer, sticky_key, rebalance_interval or None, slow_start, failback_hold, max_ejected,
/// panic_below)`; the balancer is a name or a bound method.
pub fn spread(fields: &Bound<'_, PyTuple>, cooldown_cap: Duration) -> PyResult<Spread> {
    let at = |i| fields.get_item(i);
    let (balancer, key, interval) = (at(0)?, at(1)?, at(2)?);
    let (strategy, chooser) = if balancer.is_instance_of::<PyString>() {
        (choice("balancer", &balancer, Strategy::NAMES, Strategy::from_name)?, None)
    } else {
        (Strategy::Outside, Some(Chooser::new(balancer.unbind())))
    };
    let interval = given(Some(&interval));
    let config = PoolConfig {
        balancer: strategy,
        rebalance_interval: interval.map(|span| positive_span("rebalance_interval", span)).transpose()?,
        slow_start: span("slow_start", &at(3)?)?,
        failback_hold: span("failback_hold", &at(4)?)?,
        max_ejected: real("max_ejected", &at(5)?)?,
        panic_below: real("panic_below", &at(6)?)?,
        cooldown_cap,
    };
    config.validate().map_err(|error| errors::config(fields.py(), &error))?;
    Ok(Spread { config, chooser, key: given(Some(&key)).map(|key| key.clone().unbind()) })
}

/// What chooses among nodes.
#[derive(Debug)]
pub struct Chooser {
    pick: Py<PyAny>,
}

impl Chooser {
    /// By this bound method.
    pub const fn new(pick: Py<PyAny>) -> Self {
        Self { pick }
    }

    /// For Python's garbage collector.
    pub fn traverse(&self, visit: &pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.pick)
    }

    /// The node it chooses of `candidates`, or what went wrong, which is reported as unraisable: a broken
    /// balancer loses no call.
    ///
    /// # Errors
    /// What interrupted it and is no `Exception`.
    pub fn choose(
        &self,
        py: Python<'_>,
        plan: &Plan,
        candidates: &[NodeId],
    ) -> PyResult<Result<NodeId, Arc<str>>> {
        let Target::Roster(roster) = &plan.target else { return Ok(Err("no nodes".into())) };
        let now = clock::now();
        let mut views = Vec::new();
        for &id in candidates {
            if let Some(view) = roster.pool().view(id, now) {
                views.push((id, Py::new(py, NodeView::of(view, roster, now))?));
            }
        }
        let shown = PyList::new(py, views.iter().map(|(_, view)| view))?;
        match self.pick.bind(py).call1((shown,)).and_then(|answer| name_of(&answer)) {
            Ok(name) => {
                let chosen = views.iter().find(|(_, view)| view.get().name() == name);
                Ok(chosen.map(|(id, _)| *id).ok_or_else(|| "no candidate".into()))
            }
            Err(broken) => {
                let kind =
                    broken.get_type(py).name().map_or_else(|_| "error".into(), |name| name.to_string());
                judge::report(broken, self.pick.bind(py)).map(|()| Err(kind.into()))
            }
        }
    }
}

/// The name of the node that was answered: one of the views, a `Node`, or a name.
fn name_of(answer: &Bound<'_, PyAny>) -> PyResult<String> {
    match answer.extract::<String>() {
        Ok(name) => Ok(name),
        Err(_) => answer.getattr("name")?.extract(),
    }
}
