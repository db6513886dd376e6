//! Heartbeats for Python: their fields, their probes, and waiting for nodes to be ready.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::call::signal;
use super::convert::{count, given, positive_span, real, span};
use super::errors;
use super::{bridge, events};
use crate::base::Time;
use crate::pipeline::Roster;
use crate::pool::HeartbeatConfig;
use crate::runtime::clock::{self, Busy, Waited};
use crate::runtime::probe::{HttpProbe, ProbeTable};
use crate::runtime::ticker::Ticker;

/// How often a wait for readiness looks: well under the shortest heartbeat worth having.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A manager's heartbeat: what keeps it going.
#[derive(Debug)]
pub struct Pulse {
    roster: Arc<Roster>,
    /// How each node is asked.
    pub probes: Arc<ProbeTable>,
    ticker: Mutex<Option<Ticker>>,
}

impl Pulse {
    /// Silent so far.
    pub fn new(roster: Arc<Roster>) -> Self {
        Self { roster, probes: Arc::default(), ticker: Mutex::new(None) }
    }

    /// Starts it, unless it beats already in this process or there is none. Cheap if it beats.
    pub fn ensure(&self) -> PyResult<()> {
        if self.roster.pool().is_unwatched() {
            return Ok(());
        }
        let beating = {
            let mut ticker = self.ticker.lock();
            match &*ticker {
                Some(ticker) => ticker.revive(),
                None => Ticker::start(self.roster.pool(), Arc::clone(&self.probes) as Arc<_>)
                    .map(|started| *ticker = Some(started)),
            }
        };
        beating.map_err(|error| no_thread(&error))?;
        // What it finds out is to be heard of even if nobody calls meanwhile.
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
        let ticker = self.ticker.lock().take();
        drop(ticker);
    }
}

/// How one node is asked, as Python described it.
#[derive(Debug)]
pub struct Asked {
    url: String,
    method: String,
    headers: Vec<(String, String)>,
    expect: Range<u16>,
}

impl Asked {
    /// The native probe.
    pub fn into_probe(self, py: Python<'_>) -> PyResult<HttpProbe> {
        HttpProbe::new(&self.url, &self.method, &self.headers, self.expect)
            .map_err(|error| errors::config(py, &error))
    }
}

/// Reads `(url, method, headers, first status, status after the last, …)`.
pub fn asked(row: &Bound<'_, PyAny>) -> PyResult<Asked> {
    let statuses: (u16, u16) = (row.get_item(3)?.extract()?, row.get_item(4)?.extract()?);
    Ok(Asked {
        url: row.get_item(0)?.extract()?,
        method: row.get_item(1)?.extract()?,
        headers: row.get_item(2)?.extract()?,
        expect: statuses.0..statuses.1,
    })
}

/// Reads `(interval, failure_threshold, recovery_threshold, timeout, jitter)`.
pub fn config(fields: &Bound<'_, PyTuple>) -> PyResult<HeartbeatConfig> {
    let at = |i| fields.get_item(i);
    let config = HeartbeatConfig {
        interval: positive_span("interval", &at(0)?)?,
        failure_threshold: count("failure_threshold", &at(1)?, 1)?,
        recovery_threshold: count("recovery_threshold", &at(2)?, 1)?,
        timeout: positive_span("timeout", &at(3)?)?,
        jitter: real("jitter", &at(4)?)?,
        ..HeartbeatConfig::default()
    };
    config.validate().map_err(|error| errors::config(fields.py(), &error))?;
    Ok(config)
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
    roster.pool().ready_count(&mut |id| roster.admissible(id, now), now) >= n
}
