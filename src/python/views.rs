//! What Python reads of a manager: frozen pictures of one moment.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMappingProxy};

use crate::base::Time;
use crate::pipeline::{Costs, Roster};
use crate::pool::{self, Record};

/// What is thought of a node at one moment.
#[pyclass(frozen, get_all, module = "holdfast._native")]
#[derive(Debug)]
pub struct NodeView {
    /// Its name.
    name: String,
    /// `"up"`, `"suspect"`, `"down"`, `"recovering"` or `"draining"`.
    state: &'static str,
    /// The operator's will: `False` after `disable()`.
    enabled: bool,
    /// Whether it may be picked now.
    ready: bool,
    /// Attempts under way there.
    in_flight: u32,
    /// Seconds of work that wait there: calls in flight, failed ones held, times what one takes.
    load: f64,
    /// Seconds that a good answer is expected to take (peak EWMA); `None` before the first.
    latency: Option<f64>,
    /// How often it was marked failed.
    failures: u64,
    /// How often it came back.
    recoveries: u64,
    /// The weight it was given.
    weight: f64,
    /// The part of its tier's calls that it is meant to get at the moment, 0 to 1.
    share: f64,
    /// Its tier; the lowest is asked first.
    tier: u32,
    /// Why it last failed: the kind of the failure, or the reason that was reported; `None` before the first.
    last_error: Option<String>,
    /// Seconds until it may be asked again; `None` if no breaker, cool-down or ejection names a time.
    not_before: Option<f64>,
}

impl NodeView {
    /// The picture of a node and its breaker.
    pub fn of(view: pool::NodeView, roster: &Roster, now: Time) -> Self {
        let panics = roster.pool().panics();
        let admissible = roster.admissible(view.id, &Costs::default(), now);
        let others = view.convicted_by.iter().any(|by| *by != pool::Evidence::Breaker);
        let closed = !view.enabled || view.state == pool::NodeState::Draining;
        let open = roster.breaker(view.id).and_then(|breaker| breaker.retry_after(now));
        let cool = view.cooling.as_ref().map(|cooling| cooling.until.since(now));
        let ejected = view.ejected_until.map(|until| until.since(now));
        let wait = open.max(cool).max(ejected);
        let fit = !others && view.ejected_until.is_none() && view.cooling.is_none();
        Self {
            name: view.name.to_string(),
            state: view.state.as_str(),
            enabled: view.enabled,
            ready: !closed && (admissible && fit || panics && view.cooling.is_none()),
            in_flight: view.in_flight,
            load: view.load,
            latency: view.latency.map(|span| span.as_secs_f64()),
            failures: view.failures,
            recoveries: view.recoveries,
            weight: view.weight,
            share: view.share,
            tier: view.tier,
            last_error: view.last_error.map(|text| text.to_string()),
            not_before: wait.map(|span| span.as_secs_f64()),
        }
    }
}

impl NodeView {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[pymethods]
impl NodeView {
    fn __repr__(&self) -> String {
        let Self { name, state, ready, in_flight, failures, .. } = self;
        format!(
            "NodeView({name:?}, state={state:?}, ready={ready}, in_flight={in_flight}, failures={failures})"
        )
    }
}

/// A manager's counts at one moment.
#[pyclass(frozen, get_all, module = "holdfast._native")]
#[derive(Debug)]
pub struct ManagerMetrics {
    /// Calls that have begun.
    calls: u64,
    /// Calls that went on at another node.
    failovers: u64,
    /// Calls that no node was asked for.
    rejected: u64,
    /// Outages of nodes: how often one was marked failed.
    failures: u64,
    /// Outages that have ended.
    recoveries: u64,
    /// Recoveries / failures; `None` before the first failure.
    recovery_success_rate: Option<f64>,
    /// Seconds from being marked failed to being back; `None` before the first recovery.
    mean_recovery_time: Option<f64>,
    /// Attempts under way.
    in_flight: u64,
}

impl ManagerMetrics {
    /// The counts of a roster's calls and outages.
    pub fn of(roster: &Roster) -> Self {
        let (pool, calls) = (roster.pool().metrics(), roster.tally());
        Self {
            calls: calls.calls,
            failovers: calls.failovers,
            rejected: calls.rejected,
            failures: pool.failures,
            recoveries: pool.recoveries,
            recovery_success_rate: (pool.failures > 0).then(|| pool.recoveries as f64 / pool.failures as f64),
            mean_recovery_time: pool.mean_recovery_time.map(|span| span.as_secs_f64()),
            in_flight: pool.in_flight,
        }
    }
}

#[pymethods]
impl ManagerMetrics {
    fn __repr__(&self) -> String {
        let Self { calls, failovers, rejected, failures, recoveries, .. } = self;
        format!(
            "ManagerMetrics(calls={calls}, failovers={failovers}, rejected={rejected}, failures={failures}, \
             recoveries={recoveries})"
        )
    }
}

/// How reliable a node, or a pool and its nodes, have been up to one moment; durations are seconds.
#[pyclass(frozen, get_all, module = "holdfast._native")]
#[derive(Debug)]
pub struct Reliability {
    /// λ: failures per second of time up; of a pool, the sum of its nodes'. 1 / MTBF.
    failure_rate: f64,
    /// Mean time between failures: time up / failures; `None` before the first.
    mtbf: Option<f64>,
    /// Mean time to recovery, of the outages that have ended; `None` before the first.
    mttr: Option<f64>,
    /// Time up / time watched; of a pool, of all its nodes' time. `None` at the first moment.
    availability: Option<f64>,
    /// The nodes that are up or can come back without help / all nodes.
    fault_tolerance: f64,
    /// The least load of a node / the greatest, in attempts; `None` before the first.
    balance: Option<f64>,
    /// Failed attempts that no caller saw / failed attempts; `None` before the first.
    handling_efficiency: Option<f64>,
    /// The figures of each node by its name; empty for a node's own.
    nodes: Py<PyMappingProxy>,
}

impl Reliability {
    /// The figures of a pool and of each of its nodes.
    pub fn of(py: Python<'_>, roster: &Roster, now: Time) -> PyResult<Self> {
        let records = roster.pool().records(now);
        let nodes = PyDict::new(py);
        for (name, record) in &records {
            let figures = pool::Reliability::of_node(record);
            nodes.set_item(&**name, Self::from(py, &figures, &PyDict::new(py)))?;
        }
        let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
        Ok(Self::from(py, &pool::Reliability::of_pool(&records), &nodes))
    }

    fn from(py: Python<'_>, figures: &pool::Reliability, nodes: &Bound<'_, PyDict>) -> Self {
        let seconds = |span: std::time::Duration| span.as_secs_f64();
        Self {
            failure_rate: figures.failure_rate,
            mtbf: figures.mtbf.map(seconds),
            mttr: figures.mttr.map(seconds),
            availability: figures.availability,
            fault_tolerance: figures.fault_tolerance,
            balance: figures.balance,
            handling_efficiency: figures.handling_efficiency,
            nodes: PyMappingProxy::new(py, nodes.as_mapping()).unbind(),
        }
    }
}

#[pymethods]
impl Reliability {
    fn __repr__(&self) -> String {
        let Self { failure_rate, mtbf, mttr, availability, .. } = self;
        let shown = |x: &Option<f64>| x.map_or_else(|| "None".to_owned(), |x| x.to_string());
        let (mtbf, mttr, availability) = (shown(mtbf), shown(mttr), shown(availability));
        format!(
            "Reliability(failure_rate={failure_rate}, mtbf={mtbf}, mttr={mttr}, availability={availability})"
        )
    }
}
