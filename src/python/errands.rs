//! Errands for Python: probes and restarts written in Python, and the thread that takes them.
//!
//! The thread waits here with the GIL released, and only ever hands out: what blocks is done by others
//! (`holdfast._background`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::apart;
use crate::base::NodeId;
use crate::runtime::errands::{self, Errand, Job, Outcome, What};
use crate::runtime::probe::{Answer, AnswerFuture, Heard, Probe, ProbeFuture};

/// How long the thread waits at a stretch; it is woken when something comes.
const PATIENCE: Duration = Duration::from_hours(1);

/// Is there a thread that takes errands, or one being started?
static TAKING: AtomicBool = AtomicBool::new(false);
/// Has the interpreter begun to exit?
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Makes sure that what is sent is taken. No lock is held here (R3).
pub fn ensure_thread() {
    if TAKING.load(Ordering::Acquire) || CLOSED.load(Ordering::Acquire) {
        return;
    }
    let _shutting_down = apart(|py| {
        let started = py.import("holdfast._background").and_then(|m| m.call_method0("ensure_thread"));
        match started {
            Ok(_) => TAKING.store(true, Ordering::Release),
            Err(error) => error.write_unraisable(py, None),
        }
    });
}

/// The thread has ended with its process' fork.
pub fn forget_thread() {
    TAKING.store(false, Ordering::Release);
}

/// A job of Python's: `task(order)` is called by the thread that takes errands, and must not block.
pub struct Task(pub Py<PyAny>);

impl Task {
    /// The job that `task` does.
    pub fn job(task: Py<PyAny>) -> Job {
        Arc::new(Self(task))
    }
}

/// A probe written in Python.
pub struct PythonProbe(pub Job);

impl Probe for PythonProbe {
    fn probe(&self, _node: NodeId) -> ProbeFuture {
        let job = self.0.clone();
        Box::pin(async move {
            match errands::run(job, Duration::MAX).await.0 {
                Outcome::Done(result) => result.map_err(Into::into),
                Outcome::TimedOut | Outcome::Unheard => Err("timeout".into()),
            }
        })
    }

    fn ask(&self, _node: NodeId, patience: Duration) -> AnswerFuture {
        let job = self.0.clone();
        Box::pin(async move {
            let (outcome, woken) = errands::run(job, patience).await;
            let heard = match outcome {
                Outcome::Done(Ok(())) => Heard::Beat,
                Outcome::Done(Err(reason)) => Heard::Miss(reason),
                Outcome::TimedOut => Heard::Miss("timeout".into()),
                Outcome::Unheard => Heard::Nothing,
            };
            Answer { heard, woken }
        })
    }
}

/// What is asked of a task of Python's, and the way back.
#[pyclass(frozen, module = "holdfast._native")]
#[derive(Debug)]
pub struct Order(Errand);

#[pymethods]
impl Order {
    /// "do", "look" (are you awake?) or "stop".
    #[getter]
    const fn what(&self) -> &'static str {
        match self.0.what {
            What::Do => "do",
            What::Look => "look",
            What::Stop => "stop",
        }
    }

    /// The task is being begun: from now on its timeout runs.
    fn begun(&self) {
        self.0.begun();
    }

    /// The task has ended well, or because of `problem`: a few words without secrets.
    #[pyo3(signature = (problem=None))]
    fn done(&self, problem: Option<&str>) {
        self.0.done(problem.map_or(Ok(()), |problem| Err(problem.into())));
    }

    /// Whoever does the task is awake.
    fn awake(&self) {
        self.0.awake();
    }
}

/// Waits with the GIL released for something to do; a list of `(task, order)`, or `None` when the process
/// ends.
#[pyfunction]
pub fn take_errands(py: Python<'_>) -> PyResult<Option<Bound<'_, PyList>>> {
    loop {
        let Some(batch) = py.detach(|| errands::take(PATIENCE)) else { return Ok(None) };
        if batch.is_empty() {
            continue;
        }
        let list = PyList::empty(py);
        for errand in batch {
            let job = Arc::clone(&errand.job);
            if let Some(task) = job.downcast_ref::<Task>() {
                list.append((task.0.clone_ref(py), Order(errand)))?;
            }
        }
        return Ok(Some(list));
    }
}

/// Ends the thread that takes errands; nothing more is done for anybody.
#[pyfunction]
pub fn close_errands() {
    CLOSED.store(true, Ordering::Release);
    errands::close();
}
