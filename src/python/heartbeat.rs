//! Heartbeats for Python: their fields, their probes, and waiting for nodes to be ready.

use std::collections::HashMap;
use std::fmt;
use std::iter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use pyo3::exceptions::PyOSError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::call::signal;
use super::convert::{count, given, positive_span, real, span};
use super::detector::FailureDetector;
use super::errands::{PythonProbe, Task};
use super::policies::Backoff;
use super::{bridge, errands, errors, events};
use crate::base::{NodeId, Time};
use crate::pipeline::{Costs, Roster};
use crate::pool::{DetectorConfig, HeartbeatConfig, RecoveryConfig};
use crate::runtime::clock::{self, Busy, Waited};
use crate::runtime::engine;
use crate::runtime::errands::Job;
use crate::runtime::medic::{Care, Cares, Medic, MedicConfig};
use crate::runtime::probe::{Heard, HttpProbe, Probe, ProbeTable, TcpProbe};
use crate::runtime::ticker::Ticker;

/// How often a wait for readiness looks: well under the shortest heartbeat worth having.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How often a thread that waits for an answer looks for Ctrl-C (R8).
const SIGNAL_EVERY: Duration = Duration::from_millis(40);
/// How long a node that no heartbeat asks may take to be acquitted after a restart.
const RECOVERS_WITHIN: Duration = Duration::from_secs(30);
/// A probe that is asked by itself asks for no node of a pool.
const NOBODY: NodeId = NodeId(u32::MAX);

/// A manager's heartbeat: what keeps it going.
pub struct Pulse {
    roster: Arc<Roster>,
    /// How each node is asked.
    probes: Arc<ProbeTable>,
    /// The tasks of those asked by Python, for its garbage collector.
    tasks: RwLock<HashMap<NodeId, Job>>,
    ticker: Mutex<Option<Ticker>>,
    /// Did somebody start it by hand? Else it begins with a call, and only if there is a heartbeat.
    started: AtomicBool,
    /// Is there anything to keep going? Every call asks.
    needed: AtomicBool,
    /// How the nodes that are out are restarted.
    cares: Arc<Cares>,
    medic: Medic,
}

impl Pulse {
    /// Silent so far.
    pub fn new(roster: Arc<Roster>, care: MedicConfig) -> Self {
        let (probes, cares) = (Arc::new(ProbeTable::default()), Arc::new(Cares::default()));
        let medic = Medic::new(roster.pool(), care, Arc::clone(&probes) as Arc<_>, Arc::clone(&cares));
        let [started, needed] = [false, true].map(AtomicBool::new);
        let (tasks, ticker) = (RwLock::default(), Mutex::new(None));
        Self { roster, probes, tasks, ticker, started, needed, cares, medic }
    }

    /// From now on `node` is restarted so when it is out.
    pub fn care(&self, node: NodeId, care: Care) {
        let old = self.cares.write().insert(node, care);
        // Let go outside the lock: it is somebody else's code (R3).
        drop(old);
    }

    /// From now on `node` is asked as `asked` says.
    pub fn set(&self, node: NodeId, asked: Asked) {
        let task = match &asked {
            Asked::ByPython(job) => self.tasks.write().insert(node, job.clone()),
            Asked::Natively(_) => self.tasks.write().remove(&node),
        };
        // Let go outside the lock: it is somebody else's code (R3).
        drop(task);
        self.probes.set(node, asked.into_probe());
    }

    /// `node` has left.
    pub fn remove(&self, node: NodeId) {
        self.probes.remove(node);
        let task = self.tasks.write().remove(&node);
        let care = self.cares.write().remove(&node);
        drop((task, care));
    }

    /// For Python's garbage collector.
    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let (Some(tasks), Some(cares)) = (self.tasks.try_read(), self.cares.try_read()) else {
            return Ok(());
        };
        let care = cares.values().flat_map(|care| iter::once(&care.restart).chain(&care.sync_state));
        let mut tasks = tasks.values().chain(care).filter_map(|job| job.downcast_ref::<Task>());
        tasks.try_for_each(|task| visit.call(&task.0))
    }

    /// The nodes have changed: is there anything to keep going?
    pub fn review(&self) {
        // One at a time, so that the last to look has the last word.
        let _turn = self.ticker.lock();
        let needed = self.beats() || !self.cares.read().is_empty();
        self.needed.store(needed, Ordering::Release);
    }

    fn beats(&self) -> bool {
        let pool = self.roster.pool();
        !pool.is_unwatched() || self.started.load(Ordering::Relaxed) && pool.rebalances()
    }

    /// Starts it because somebody said so: then the nodes' shares are kept up to date as well while nobody calls.
    pub fn start(&self) -> PyResult<()> {
        self.started.store(true, Ordering::Relaxed);
        self.review();
        self.ensure()
    }

    /// Starts it, unless it beats already in this process or there is none. Cheap if it beats.
    pub fn ensure(&self) -> PyResult<()> {
        if !self.needed.load(Ordering::Acquire) {
            return Ok(());
        }
        self.attend()?;
        if !self.beats() {
            return Ok(());
        }
        let beating = {
            let mut ticker = self.ticker.lock();
            match &*ticker {
                Some(ticker) => ticker.revive(),
                None => Ticker::start(&self.roster, Arc::clone(&self.probes) as Arc<_>)
                    .map(|started| *ticker = Some(started)),
            }
        };
        beating.map_err(|error| no_thread(&error))?;
        if !self.tasks.read().is_empty() {
            errands::ensure_thread();
        }
        // What it finds out is to be heard of even if nobody calls meanwhile.
        if !self.roster.pool().is_unwatched() {
            events::ensure_delivery();
        }
        Ok(())
    }

    /// Begins to restart those who are out, if there is anybody who can be restarted.
    fn attend(&self) -> PyResult<()> {
        if self.cares.read().is_empty() {
            return Ok(());
        }
        self.medic.revive().map_err(|error| no_thread(&error))?;
        errands::ensure_thread();
        events::ensure_delivery();
        Ok(())
    }

    /// The pool has changed: somebody may be due earlier than it thinks.
    pub fn wake(&self) {
        if let Some(ticker) = &*self.ticker.lock() {
            ticker.wake();
        }
    }

    /// Ends it, until the next start or call.
    pub fn stop(&self) {
        self.started.store(false, Ordering::Relaxed);
        self.review();
        let ticker = self.ticker.lock().take();
        drop(ticker);
        self.medic.stop();
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse").field("probes", &self.probes).finish_non_exhaustive()
    }
}

/// How one node is asked, as Python described it.
pub enum Asked {
    /// Natively.
    Natively(Arc<dyn Probe>),
    /// By a task of Python's.
    ByPython(Job),
}

impl Asked {
    /// The probe.
    pub fn into_probe(self) -> Arc<dyn Probe> {
        match self {
            Self::Natively(probe) => probe,
            Self::ByPython(job) => Arc::new(PythonProbe(job)),
        }
    }
}

/// Reads `("http", url, method, headers, first status, status after the last)`, `("tcp", address)` or
/// `("python", task)`.
pub fn asked(how: &Bound<'_, PyTuple>) -> PyResult<Asked> {
    let (py, at) = (how.py(), |i| how.get_item(i));
    let refused = |error| errors::config(py, &error);
    Ok(match at(0)?.extract::<String>()?.as_str() {
        "http" => {
            let (url, method) = (at(1)?.extract::<String>()?, at(2)?.extract::<String>()?);
            let headers: Vec<(String, String)> = at(3)?.extract()?;
            let expect = at(4)?.extract()?..at(5)?.extract()?;
            let probe = HttpProbe::new(&url, &method, &headers, expect).map_err(refused)?;
            Asked::Natively(Arc::new(probe))
        }
        "tcp" => Asked::Natively(Arc::new(TcpProbe::new(&at(1)?.extract::<String>()?).map_err(refused)?)),
        _ => Asked::ByPython(Task::job(at(1)?.unbind())),
    })
}

/// Asks once, natively, with the GIL released: is there a sign of life within `timeout`?
#[pyfunction]
pub fn ask(how: &Bound<'_, PyTuple>, timeout: &Bound<'_, PyAny>) -> PyResult<bool> {
    let (asked, patience) = (asked(how)?, positive_span("timeout", timeout)?);
    let (tell, told) = mpsc::channel();
    let question = async move {
        let answer = asked.into_probe().ask(NOBODY, patience).await;
        drop(tell.send(answer.heard));
    };
    let task = engine::spawn(question).map_err(|error| no_thread(&error))?;
    let heard = how.py().detach(move || hear(&told));
    if heard.is_err() {
        task.abort();
    }
    heard
}

/// Waits for an answer, or for Ctrl-C.
fn hear(told: &mpsc::Receiver<Heard>) -> PyResult<bool> {
    loop {
        match told.recv_timeout(SIGNAL_EVERY) {
            Ok(heard) => return Ok(heard == Heard::Beat),
            // The engine was shut down under it: the process is about to end.
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(false),
            Err(mpsc::RecvTimeoutError::Timeout) => signal().map_or(Ok(()), Err)?,
        }
    }
}

/// The same as an awaitable.
#[pyfunction]
pub fn aask<'py>(how: &Bound<'py, PyTuple>, timeout: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let (asked, patience) = (asked(how)?, positive_span("timeout", timeout)?);
    bridge::future_into_py(how.py(), async move {
        let answer = asked.into_probe().ask(NOBODY, patience).await;
        Ok(answer.heard == Heard::Beat)
    })
}

/// Reads `(interval, failure_threshold, recovery_threshold, timeout, jitter, detector, asks, clears_traffic)`.
pub fn config(fields: &Bound<'_, PyTuple>) -> PyResult<HeartbeatConfig> {
    let at = |i| fields.get_item(i);
    let detector: Option<Bound<'_, FailureDetector>> = at(5)?.extract()?;
    let config = HeartbeatConfig {
        interval: positive_span("interval", &at(0)?)?,
        failure_threshold: count("failure_threshold", &at(1)?, 1)?,
        recovery_threshold: count("recovery_threshold", &at(2)?, 1)?,
        timeout: positive_span("timeout", &at(3)?)?,
        jitter: real("jitter", &at(4)?)?,
        detector: detector.map_or(DetectorConfig::Counting, |detector| detector.get().config().clone()),
        asks: at(6)?.extract()?,
        clears_traffic: at(7)?.extract()?,
    };
    config.validate().map_err(|error| errors::config(fields.py(), &error))?;
    Ok(config)
}

/// Reads `(max_restarts, within, backoff, timeout)`; `beat` is the heartbeat that a restarted node is given.
pub fn care(fields: &Bound<'_, PyTuple>, beat: Option<&HeartbeatConfig>) -> PyResult<MedicConfig> {
    let at = |i| fields.get_item(i);
    let usual = |beat: &HeartbeatConfig| {
        let beats = beat.failure_threshold.saturating_add(beat.recovery_threshold);
        beat.interval.saturating_mul(beats).saturating_add(beat.timeout)
    };
    let recovery = RecoveryConfig {
        max_restarts: count("max_restarts", &at(0)?, 1)?,
        within: positive_span("within", &at(1)?)?,
        patience: beat.map_or(RECOVERS_WITHIN, usual),
    };
    recovery.validate().map_err(|error| errors::config(fields.py(), &error))?;
    let backoff = at(2)?.cast::<Backoff>()?.get().law();
    Ok(MedicConfig { recovery, backoff, timeout: positive_span("timeout", &at(3)?)? })
}

/// Refuses the fields of a recovery that break a rule.
#[pyfunction]
#[pyo3(signature = (*fields))]
pub fn check_recovery(fields: &Bound<'_, PyTuple>) -> PyResult<()> {
    care(fields, None).map(drop)
}

/// Refuses what is neither `host:port` nor a URL.
#[pyfunction]
pub fn check_address(py: Python<'_>, address: &str) -> PyResult<()> {
    TcpProbe::new(address).map(drop).map_err(|error| errors::config(py, &error))
}

/// Refuses the fields of a heartbeat that break a rule.
#[pyfunction]
#[pyo3(signature = (*fields))]
pub fn check_heartbeat(fields: &Bound<'_, PyTuple>) -> PyResult<()> {
    config(fields).map(drop)
}

/// The error for a system that gives us no thread.
pub fn no_thread(error: &std::io::Error) -> PyErr {
    PyOSError::new_err(format!("holdfast: the background runtime could not be started: {error}"))
}

/// Waits with the GIL released until `n` nodes are ready; false if `timeout` ran out.
pub fn wait_ready(
    py: Python<'_>,
    roster: &Roster,
    n: usize,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<bool> {
    let deadline = until(timeout)?;
    let mut raised = None;
    let ready = py.detach(|| {
        let mut busy = Busy::idle();
        loop {
            let now = clock::now();
            if is_ready(roster, n, now) {
                return true;
            }
            if now >= deadline {
                return false;
            }
            let next = now.after(LOOK_EVERY).min(deadline);
            let waited = clock::wait_until(next, LOOK_EVERY, busy, &mut || {
                raised = signal();
                raised.is_some()
            });
            match waited {
                Waited::Due(held) => busy = held,
                Waited::Interrupted => return false,
            }
        }
    });
    raised.map_or(Ok(ready), Err)
}

/// The same as an awaitable.
pub fn await_ready<'py>(
    py: Python<'py>,
    roster: &Arc<Roster>,
    n: usize,
    timeout: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (deadline, roster) = (until(timeout)?, Arc::clone(roster));
    bridge::future_into_py(py, async move {
        let mut busy = Busy::idle();
        loop {
            let now = clock::now();
            if is_ready(&roster, n, now) {
                return Ok(true);
            }
            if now >= deadline {
                return Ok(false);
            }
            busy = clock::sleep_until(now.after(LOOK_EVERY).min(deadline), busy).await;
        }
    })
}

fn until(timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Time> {
    let limit = given(timeout).map(|value| span("timeout", value)).transpose()?;
    Ok(limit.map_or(Time::NEVER, |limit| clock::now().after(limit)))
}

fn is_ready(roster: &Roster, n: usize, now: Time) -> bool {
    roster.pool().ready_count(&mut |id| roster.admissible(id, &Costs::default(), now), now) >= n
}
