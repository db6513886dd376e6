//! What weighs a call for its rate limits: beforehand by its arguments, afterwards by its answer, or by the items
//! of its stream.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::base::{NodeId, SourceId};
use crate::pipeline::Costs;
use crate::python::convert::{given, real, refuse};
use crate::python::judge::report;
use crate::python::once::intern;

/// The weighing of a pipeline's or manager's calls, and of those at a manager's nodes with limits of their own.
#[derive(Debug, Default)]
pub struct Weights {
    own: Vec<Weight>,
    /// By node; nodes come and go.
    nodes: RwLock<Vec<(NodeId, Weight)>>,
    /// Was there ever a node's? Till then nobody needs to look.
    by_node: AtomicBool,
}

/// What weighs calls for one rate limit.
#[derive(Debug)]
pub struct Weight {
    /// The limit.
    pub rate: SourceId,
    /// `(args, kwargs) -> float`.
    pub cost: Py<PyAny>,
    /// `answer -> float | None`.
    pub actual: Option<Py<PyAny>>,
}

impl Weight {
    fn cloned(&self, py: Python<'_>) -> Self {
        let actual = self.actual.as_ref().map(|actual| actual.clone_ref(py));
        Self { rate: self.rate, cost: self.cost.clone_ref(py), actual }
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.cost)?;
        visit.call(&self.actual)
    }
}

impl Weights {
    /// These.
    pub fn new(own: Vec<Weight>) -> Self {
        Self { own, ..Self::default() }
    }

    /// Is every call the same to every limit?
    pub fn are_none(&self) -> bool {
        self.own.is_empty() && !self.by_node.load(Ordering::Acquire)
    }

    /// Those of a node that joins.
    pub fn adopt(&self, node: NodeId, theirs: Self) {
        if !theirs.own.is_empty() {
            self.nodes.write().extend(theirs.own.into_iter().map(|weight| (node, weight)));
            self.by_node.store(true, Ordering::Release);
        }
    }

    /// A node has left.
    pub fn forget(&self, node: NodeId) {
        let mut gone = Vec::new();
        let mut nodes = self.nodes.write();
        while let Some(at) = nodes.iter().position(|(id, _)| *id == node) {
            gone.push(nodes.swap_remove(at));
        }
        // Python's objects are let go outside the lock (R3).
        drop(nodes);
        drop(gone);
    }

    /// What a call with these arguments weighs. A callable that raises ends the call with its error, and one
    /// that answers no weight with ours, before anybody is asked.
    pub fn weigh(&self, args: &Bound<'_, PyTuple>, kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Costs> {
        let mut costs = Costs::default();
        let py = args.py();
        self.each(py, |Weight { rate, cost, .. }| {
            let none = PyDict::new(py);
            let answer = cost.bind(py).call1((args, kwargs.unwrap_or(&none)))?;
            let weight = real("cost", &answer)?;
            if weight < 0.0 {
                return Err(refuse("cost", "answer no negative number", &answer));
            }
            costs.add(*rate, weight);
            Ok(())
        })?;
        Ok(costs)
    }

    /// What the call weighed in truth, as its answer says; limits of which it says nothing keep the estimate. A
    /// callable that raises, or answers no weight, is reported as unraisable: the answer is worth more.
    ///
    /// # Errors
    /// What interrupted it and is no `Exception`.
    pub fn settle(&self, py: Python<'_>, answer: &Py<PyAny>) -> PyResult<Option<Costs>> {
        let mut costs = None;
        self.each(py, |Weight { rate, actual, .. }| {
            if let Some(actual) = actual
                && let Some(weight) = told(actual.bind(py), answer)?
            {
                costs.get_or_insert_with(Costs::default).add(*rate, weight);
            }
            Ok(())
        })?;
        Ok(costs)
    }

    /// What reads the weight of a stream off its items; none where no limit asks.
    pub fn meter(&self, py: Python<'_>) -> PyResult<Option<Meter>> {
        let mut gauges = Vec::new();
        self.each(py, |Weight { rate, actual, .. }| {
            let Some(actual) = actual.as_ref().map(|actual| actual.bind(py)) else { return Ok(()) };
            let made = match actual.getattr_opt(intern!(py, "for_stream"))? {
                Some(make) => make.call0()?,
                None => actual.clone(),
            };
            gauges.push(Gauge { rate: *rate, actual: made.unbind(), told: None });
            Ok(())
        })?;
        Ok(if gauges.is_empty() { None } else { Some(Meter(gauges)) })
    }

    /// For Python's garbage collector.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.own.iter().try_for_each(|weight| weight.visit(visit))?;
        let Some(nodes) = self.nodes.try_read() else { return Ok(()) };
        nodes.iter().try_for_each(|(_, weight)| weight.visit(visit))
    }

    /// Each limit's once, with no lock held (R3).
    fn each(&self, py: Python<'_>, mut act: impl FnMut(&Weight) -> PyResult<()>) -> PyResult<()> {
        self.own.iter().try_for_each(&mut act)?;
        if !self.by_node.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut nodes: Vec<Weight> = self.nodes.read().iter().map(|(_, weight)| weight.cloned(py)).collect();
        nodes.sort_by_key(|weight| weight.rate);
        nodes.dedup_by_key(|weight| weight.rate);
        nodes.iter().try_for_each(act)
    }
}

/// What `actual` says that `answer` weighed.
fn told(actual: &Bound<'_, PyAny>, answer: &Py<PyAny>) -> PyResult<Option<f64>> {
    let told = actual
        .call1((answer,))
        .and_then(|told| given(Some(&told)).map(|told| real("actual", told)).transpose());
    match told {
        Ok(weight) => Ok(weight.map(|weight| weight.max(0.0))),
        Err(broken) => report(broken, actual).map(|()| None),
    }
}

/// Reads the weight of one stream off its items: the last number that is told stands (L6).
#[derive(Debug)]
pub struct Meter(Vec<Gauge>);

#[derive(Debug)]
struct Gauge {
    rate: SourceId,
    actual: Py<PyAny>,
    told: Option<f64>,
}

impl Meter {
    /// An item has come.
    ///
    /// # Errors
    /// What interrupted the reading and is no `Exception`.
    pub fn item(&mut self, py: Python<'_>, item: &Py<PyAny>) -> PyResult<()> {
        self.0.iter_mut().try_for_each(|gauge| {
            gauge.told = told(gauge.actual.bind(py), item)?.or(gauge.told);
            Ok(())
        })
    }

    /// What the stream weighed; limits of which nothing was told keep the estimate.
    pub fn costs(&self) -> Costs {
        let mut costs = Costs::default();
        for Gauge { rate, told, .. } in &self.0 {
            if let Some(weight) = told {
                costs.add(*rate, *weight);
            }
        }
        costs
    }

    /// What Python's garbage collector is to visit.
    pub fn objects(&self) -> impl Iterator<Item = &Py<PyAny>> {
        self.0.iter().map(|gauge| &gauge.actual)
    }
}
