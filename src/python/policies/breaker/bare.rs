//! The bare `with breaker:`, and what `async with` awaits.
//!
//! The bare form has only the breaker: what it entered lies on a stack that belongs to the running context
//! (a `ContextVar`), so that threads and tasks that use one breaker at the same time, and blocks inside
//! blocks, each get their own back. A child task sees its parent's stack and never takes from it, since every
//! block that it leaves it has entered itself. What breaks the order is a block that yields to somebody who
//! runs in the same context: that is what `guard()` is for.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{CircuitBreaker, Permit};
use crate::policy::breaker::Breaker;
use crate::python::once::{Once, intern};

/// What `async with` awaits: done at the first step, since nothing here waits.
#[pyclass(frozen, module = "holdfast._native")]
#[derive(Debug)]
pub struct GuardStep {
    turn: Mutex<Option<Turn>>,
}

/// Which of the two ends of a block.
#[derive(Debug)]
pub(super) enum Turn {
    Enter(Py<Permit>),
    EnterBare(Py<CircuitBreaker>),
    Left,
}

impl GuardStep {
    pub(super) const fn new(turn: Turn) -> Self {
        Self { turn: Mutex::new(Some(turn)) }
    }
}

#[pymethods]
impl GuardStep {
    const fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let turn = self.turn.lock().take();
        let value = match turn {
            Some(Turn::Enter(permit)) => {
                permit.get().take(py)?;
                permit.into_any()
            }
            Some(Turn::EnterBare(breaker)) => enter_bare(breaker.bind(py))?.into_any(),
            Some(Turn::Left) => false.into_pyobject(py)?.to_owned().into_any().unbind(),
            None => return Err(PyRuntimeError::new_err("cannot reuse already awaited guard")),
        };
        Err(PyStopIteration::new_err((value,)))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.turn.try_lock().as_deref() {
            Some(Some(Turn::Enter(permit))) => visit.call(permit),
            Some(Some(Turn::EnterBare(breaker))) => visit.call(breaker),
            _ => Ok(()),
        }
    }
}

/// Enters a bare block: its permit goes onto the context's stack.
pub(super) fn enter_bare(breaker: &Bound<'_, CircuitBreaker>) -> PyResult<Py<Permit>> {
    let py = breaker.py();
    let permit = Bound::new(py, CircuitBreaker::permit(breaker.get(), py)?)?;
    let stack = open_blocks(py)?.call_method0(intern!(py, "get"))?;
    permit.get().take(py)?;
    let stack = stack.add(PyTuple::new(py, [&permit])?)?;
    open_blocks(py)?.call_method1(intern!(py, "set"), (stack,))?;
    Ok(permit.unbind())
}

/// Leaves the bare block of `breaker` that was entered last in this context.
pub(super) fn leave_bare(
    py: Python<'_>,
    breaker: &Arc<Breaker>,
    raised: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let stack = open_blocks(py)?.call_method0(intern!(py, "get"))?.cast_into::<PyTuple>()?;
    let blocks = stack.iter().map(Bound::cast_into::<Permit>).collect::<Result<Vec<_>, _>>()?;
    let Some(top) = blocks.iter().rposition(|block| block.get().is_of(breaker)) else {
        return lost_track(breaker, raised);
    };
    let below = blocks.iter().enumerate().filter(|(place, _)| *place != top).map(|(_, block)| block);
    open_blocks(py)?.call_method1(intern!(py, "set"), (PyTuple::new(py, below.collect::<Vec<_>>())?,))?;
    blocks[top].get().give_back(py, raised)
}

/// The block was entered in another context: its permit comes back, neutral, when that context is gone. An
/// error that the block raised is not covered up by this one.
fn lost_track(breaker: &Breaker, raised: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let error = PyRuntimeError::new_err(format!(
        "the block of breaker '{}' was entered in another context than it is left in: it has yielded; use 'with \
         breaker.guard():'",
        breaker.source().name()
    ));
    match raised {
        None => Err(error),
        Some(raised) => {
            error.write_unraisable(raised.py(), Some(raised));
            Ok(())
        }
    }
}

/// The bare blocks that the running context is in, outermost first. One variable for all breakers: contexts
/// keep their variables for ever.
fn open_blocks(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: Once<Py<PyAny>> = Once::new();
    let variable = VARIABLE.get_or_try(|| {
        let default = PyDict::new(py);
        default.set_item("default", PyTuple::empty(py))?;
        let class = py.import("contextvars")?.getattr("ContextVar")?;
        Ok(class.call(("holdfast_open_blocks",), Some(&default))?.unbind())
    })?;
    Ok(variable.bind(py))
}
