//! `FailoverManager`: nodes, their targets and their heartbeat, for Python.

use std::sync::Arc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::balancer::{self, Spread};
use super::errands::Task;
use super::heartbeat::{self, Asked, Pulse};
use super::policies::{
    Answers, CircuitBreaker, ConcurrencyLimit, HedgePolicy, Parts, RateLimit, Retry, Timeout, Weights, limits,
};
use super::views::{ManagerMetrics, NodeView, Reliability};
use crate::base::{ConfigError, NodeId, Source};
use crate::pipeline::{Exhausted, Limits, Roster, Target};
use crate::policy::timeout::TimeoutConfig;
use crate::pool::{Evidence, NodeConfig, Pool};
use crate::python::call::{Callee, Colour, Guard, GuardRef, NodeTargets, Race, Targets, Wiring, moment};
use crate::python::convert::{choice, count, positive_span, real};
use crate::python::errors;
use crate::python::once::intern;
use crate::runtime::clock;
use crate::runtime::medic::Care;

/// A pool of nodes and the policies of the calls to them; the instance is the state.
#[pyclass(subclass, frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct FailoverManager {
    wiring: Arc<Wiring>,
    roster: Arc<Roster>,
    targets: Arc<Targets>,
    pulse: Arc<Pulse>,
}

/// A node as Python describes it.
struct Described {
    config: NodeConfig,
    targets: NodeTargets,
    asked: Option<Asked>,
    care: Option<Care>,
    limits: (Limits, Weights),
}

/// A node's own limits.
type Quotas<'py> = (Vec<Bound<'py, RateLimit>>, Option<Bound<'py, ConcurrencyLimit>>);

fn config_error(py: Python<'_>, error: &ConfigError) -> PyErr {
    errors::config(py, error)
}

/// Reads `(node, name, weight, tier, callables, probe, domains, (is heard, own heartbeat), care, (rates, bulkhead))`.
fn describe(row: &Bound<'_, PyAny>) -> PyResult<Described> {
    let row = row.cast::<PyTuple>()?;
    let name: String = row.get_item(1)?.extract()?;
    let mut config = NodeConfig::new(name);
    config.weight = real("weight", &row.get_item(2)?)?;
    config.tier = count("tier", &row.get_item(3)?, 0)?;
    let domains: Vec<String> = row.get_item(6)?.extract()?;
    config.domains = domains.into_iter().map(Arc::from).collect();
    let mut callables = row.get_item(4)?.cast_into::<PyList>()?.into_iter();
    let mut next = || callables.next().filter(|c| !c.is_none()).map(Bound::unbind);
    let targets =
        NodeTargets { node: row.get_item(0)?.unbind(), callables: [next(), next(), next(), next()] };
    let how = row.get_item(5)?;
    let asked = if how.is_none() { None } else { Some(heartbeat::asked(how.cast::<PyTuple>()?)?) };
    let (heard, own): (bool, Option<Bound<'_, PyTuple>>) = row.get_item(7)?.extract()?;
    config.heartbeat = heard;
    config.own_heartbeat = own.map(|fields| heartbeat::config(&fields)).transpose()?;
    config.validate().map_err(|error| config_error(row.py(), &error))?;
    let care: Option<(Py<PyAny>, Option<Py<PyAny>>)> = row.get_item(8)?.extract()?;
    let care =
        care.map(|(restart, sync)| Care { restart: Task::job(restart), sync_state: sync.map(Task::job) });
    let (rates, bulkhead): Quotas<'_> = row.get_item(9)?.extract()?;
    Ok(Described { config, targets, asked, care, limits: limits(&rates, bulkhead.as_ref()) })
}

impl FailoverManager {
    fn adopt(&self, id: NodeId, node: Described) {
        if let Some(asked) = node.asked {
            self.pulse.set(id, asked);
        }
        if let Some(care) = node.care {
            self.pulse.care(id, care);
        }
        let (limits, weights) = node.limits;
        self.wiring.weights.adopt(id, weights);
        self.roster.limit(id, limits);
        self.targets.write().insert(id, Arc::new(node.targets));
    }

    fn id_of(&self, py: Python<'_>, name: &str) -> PyResult<NodeId> {
        let missing = || ConfigError::new("name", "name a node of the pool", format!("{name:?}"));
        self.roster.pool().id_of(name).ok_or_else(|| config_error(py, &missing()))
    }
}

#[pymethods]
impl FailoverManager {
    #[new]
    #[pyo3(signature = (*, name, nodes, heartbeat, breaker, retry, timeout, bulkhead, rates, classify,
                        answers, exhausted, cooldown_cap, spread, recovery, fallback=None, hedge=None))]
    #[expect(clippy::too_many_arguments, reason = "the public fields, each by keyword")]
    fn new(
        name: &str,
        nodes: Vec<Bound<'_, PyAny>>,
        heartbeat: Option<Bound<'_, PyTuple>>,
        breaker: Option<Bound<'_, CircuitBreaker>>,
        retry: Option<Bound<'_, Retry>>,
        timeout: Option<Bound<'_, Timeout>>,
        bulkhead: Option<Bound<'_, ConcurrencyLimit>>,
        rates: Vec<Bound<'_, RateLimit>>,
        classify: Bound<'_, PyAny>,
        answers: Answers,
        exhausted: &Bound<'_, PyAny>,
        cooldown_cap: &Bound<'_, PyAny>,
        spread: &Bound<'_, PyTuple>,
        recovery: &Bound<'_, PyTuple>,
        fallback: Option<Bound<'_, PyAny>>,
        hedge: Option<(Bound<'_, HedgePolicy>, bool)>,
    ) -> PyResult<Self> {
        let py = classify.py();
        let described = nodes.iter().map(describe).collect::<PyResult<Vec<_>>>()?;
        let heartbeat = heartbeat.map(|fields| heartbeat::config(&fields)).transpose()?;
        let care = heartbeat::care(recovery, heartbeat.as_ref())?;
        let source = Source::new(name);
        let configs = described.iter().map(|node| node.config.clone()).collect();
        let cap = positive_span("cooldown_cap", cooldown_cap)?;
        let Spread { config, chooser, key } = balancer::spread(spread, cap)?;
        let pool = Pool::with_config(source.clone(), configs, heartbeat, &config)
            .map_err(|e| config_error(py, &e))?;
        pool.watch(clock::now());
        let clocks = timeout.as_ref().map_or_else(TimeoutConfig::default, |timeout| timeout.get().config());
        // The nodes' breakers are named after a template that has a name, else after the manager.
        let named =
            breaker.as_ref().map_or(Ok(true), |b| b.getattr(intern!(py, "_is_named"))?.is_truthy())?;
        let template = breaker.map(|breaker| breaker.get().template(&clocks, cap)).transpose();
        let template = template.map_err(|e| config_error(py, &e))?;
        let template = template.map(|own| if named { own } else { own.fork(source.clone()) });
        let roster = Arc::new(Roster::new(Arc::new(pool), source.clone(), template));
        let pulse = Arc::new(Pulse::new(Arc::clone(&roster), care));
        let parts = Parts {
            source,
            retry,
            timeout,
            classify,
            limits: limits(&rates, bulkhead.as_ref()),
            target: Target::Roster(Arc::clone(&roster)),
            exhausted: choice(
                "exhausted",
                exhausted,
                "'fail_fast', 'wait', 'try_anyway'",
                Exhausted::from_name,
            )?,
            key,
            answers,
            fallback,
            hedge,
            pulse: Some(Arc::clone(&pulse)),
        };
        let mut wiring = parts.wire()?;
        wiring.balancer = chooser;
        let manager = Self { wiring: Arc::new(wiring), roster, targets: Arc::new(Targets::default()), pulse };
        for node in described {
            let id = manager.id_of(py, &node.config.name)?;
            manager.adopt(id, node);
        }
        manager.pulse.review();
        Ok(manager)
    }

    /// Its label.
    #[getter]
    fn name(&self) -> &str {
        self.wiring.plan.source.name()
    }

    /// The number that its events carry.
    #[getter]
    fn source_id(&self) -> u64 {
        self.wiring.plan.source.id().0
    }

    /// A manager has a breaker per node: see `node_breaker`.
    #[getter]
    #[expect(clippy::unused_self, reason = "a getter of Python's has a self")]
    const fn breaker(&self) -> Option<Py<CircuitBreaker>> {
        None
    }

    /// Its counts at this moment.
    #[getter]
    fn metrics(&self) -> ManagerMetrics {
        ManagerMetrics::of(&self.roster)
    }

    /// How reliable its nodes have been so far, each and together.
    fn reliability(&self, py: Python<'_>) -> PyResult<Reliability> {
        Reliability::of(py, &self.roster, clock::now())
    }

    /// The guarded form of `function` (given the node first), or with `None` of the nodes' own targets.
    fn _guard(
        slf: &Bound<'_, Self>,
        function: Option<Bound<'_, PyAny>>,
        colour: &Bound<'_, PyAny>,
    ) -> PyResult<GuardRef> {
        let names = "'function', 'coroutine', 'generator', 'async_generator'";
        let colour = choice("colour", colour, names, Colour::from_name)?;
        let manager = slf.get();
        let targets = Arc::clone(&manager.targets);
        let callee = match function {
            Some(function) => Callee::WithNode(function.unbind(), targets),
            None => Callee::Target(targets, colour),
        };
        Guard::make(Arc::clone(&manager.wiring), slf.clone().into_any(), callee, colour)
    }

    /// One call of such a guard on `replicas` nodes at once.
    fn _race(
        slf: &Bound<'_, Self>,
        function: Option<Bound<'_, PyAny>>,
        colour: &Bound<'_, PyAny>,
        replicas: &Bound<'_, PyAny>,
        args: Bound<'_, PyTuple>,
        kwargs: Bound<'_, PyDict>,
    ) -> PyResult<Race> {
        let replicas = count("n", replicas, 1)?;
        Ok(Race::new(Self::_guard(slf, function, colour)?, args, Some(kwargs), replicas))
    }

    fn _views(&self) -> Vec<NodeView> {
        let now = clock::now();
        let views = self.roster.pool().views(now);
        views.into_iter().map(|view| NodeView::of(view, &self.roster, now)).collect()
    }

    fn _add(&self, py: Python<'_>, row: &Bound<'_, PyAny>) -> PyResult<()> {
        let node = describe(row)?;
        let id = moment(|at| self.roster.add(node.config.clone(), at.now, at.out));
        self.adopt(id.map_err(|error| config_error(py, &error))?, node);
        self.pulse.review();
        self.pulse.wake();
        Ok(())
    }

    fn _explain(&self) -> Vec<(String, String)> {
        let told = self.roster.explain(clock::now());
        told.into_iter().map(|(name, why)| (name.to_string(), why)).collect()
    }

    /// The breaker of a node, or `None` if nodes have none.
    fn node_breaker(&self, py: Python<'_>, name: &str) -> PyResult<Option<CircuitBreaker>> {
        let id = self.id_of(py, name)?;
        Ok(self.roster.breaker(id).map(CircuitBreaker::view))
    }

    /// Starts the heartbeat. Calls work without it: it begins with the first of them.
    fn start(&self) -> PyResult<()> {
        self.pulse.start()
    }

    /// Ends the heartbeat; calls still work, and the next one starts it again.
    fn stop(&self) {
        self.pulse.stop();
    }

    /// Takes a node out; calls that are there end as they would have.
    fn remove_node(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let id = moment(|at| self.roster.remove(name, at.now, at.out));
        let id = id.map_err(|error| config_error(py, &error))?;
        self.pulse.remove(id);
        self.wiring.weights.forget(id);
        // Calls under way hold their own targets; the map's are let go outside its lock (R3).
        let gone = self.targets.write().remove(&id);
        drop(gone);
        Ok(())
    }

    /// Gives a node no new call; the event `node_drained` tells when its last one has ended.
    fn drain(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let done = moment(|at| self.roster.pool().drain(name, at.now, at.out));
        done.map(drop).map_err(|error| config_error(py, &error))
    }

    /// Lets a node that was disabled or drained have calls again.
    fn enable(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let done = moment(|at| self.roster.pool().enable(name, at.now, at.out));
        done.map(drop).map_err(|error| config_error(py, &error))
    }

    /// Gives a node no call until it is enabled again, whatever else happens.
    fn disable(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let done = moment(|at| self.roster.pool().disable(name, at.now, at.out));
        done.map(drop).map_err(|error| config_error(py, &error))
    }

    /// An outside monitor's word on a node: `ok=False` marks it failed, `ok=True` takes that back.
    #[pyo3(signature = (name, ok, reason=""))]
    fn report(&self, py: Python<'_>, name: &str, ok: bool, reason: &str) -> PyResult<()> {
        let id = self.id_of(py, name)?;
        moment(|at| {
            if ok {
                self.roster.pool().acquit(id, Evidence::Report, at.now, at.out);
            } else {
                self.roster.pool().convict(id, Evidence::Report, reason, at.now, at.out);
            }
        });
        Ok(())
    }

    /// The process of a node, which is ours, has ended by itself.
    fn _process_ended(&self, name: &str, how: &str) {
        // The node may have left meanwhile.
        if let Some(id) = self.roster.pool().id_of(name) {
            moment(|at| self.roster.pool().convict(id, Evidence::Process, how, at.now, at.out));
        }
    }

    /// The process of a node, which is ours, has been started: what its end had said is taken back.
    fn _process_started(&self, name: &str) {
        if let Some(id) = self.roster.pool().id_of(name) {
            moment(|at| self.roster.pool().acquit(id, Evidence::Process, at.now, at.out));
        }
    }

    /// A heartbeat that a node sends us.
    fn beat(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let id = self.id_of(py, name)?;
        moment(|at| self.roster.beat(id, at.now, at.out));
        // From now on its silence counts: somebody must listen.
        self.pulse.ensure()?;
        self.pulse.wake();
        Ok(())
    }

    /// Waits until `n` nodes are ready, with the GIL released; `False` if `timeout` seconds ran out.
    #[pyo3(signature = (n=1, timeout=None))]
    fn wait_ready(&self, py: Python<'_>, n: usize, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        self.pulse.ensure()?;
        heartbeat::wait_ready(py, &self.roster, n, timeout)
    }

    /// The same, awaited: the waiting is native.
    #[pyo3(signature = (n=1, timeout=None))]
    fn await_ready<'py>(
        &self,
        py: Python<'py>,
        n: usize,
        timeout: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.pulse.ensure()?;
        heartbeat::await_ready(py, &self.roster, n, timeout)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.wiring.traverse(&visit)?;
        self.pulse.traverse(&visit)?;
        let Some(targets) = self.targets.try_read() else { return Ok(()) };
        for target in targets.values() {
            visit.call(&target.node)?;
            target.callables.iter().try_for_each(|callable| visit.call(callable))?;
        }
        Ok(())
    }
}
