//! The manual clock, for users' tests, and what a fork and an exit mean to the runtime.

use std::time::{Duration, UNIX_EPOCH};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::{convert, errands, events};
use crate::base::Time;
use crate::runtime::{self, clock, engine};

fn refused(error: clock::ClockError) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// Seconds since the process' own origin.
#[pyfunction]
pub fn now() -> f64 {
    clock::now().since(Time::ZERO).as_secs_f64()
}

/// Seconds of the wall clock since 1970, for stamps that other processes read.
#[pyfunction]
pub fn wall() -> f64 {
    clock::wall().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Is time moved by hand?
#[pyfunction]
pub fn is_clock_manual() -> bool {
    clock::is_manual()
}

/// From now on time stands still until it is advanced.
#[pyfunction]
pub fn install_manual_clock() -> PyResult<()> {
    clock::install_manual().map_err(refused)
}

/// From now on time is the system's again.
#[pyfunction]
pub fn remove_manual_clock() -> PyResult<()> {
    clock::remove_manual().map_err(refused)
}

/// Moves time on, waking everybody whose time comes, each at its own moment.
#[pyfunction]
pub fn advance_clock(py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
    let span = convert::span("seconds", seconds)?;
    py.detach(|| clock::advance(span, &mut || std::thread::yield_now())).map_err(refused)
}

/// The moment `seconds` from now, for `step_clock`.
#[pyfunction]
pub fn clock_target(seconds: &Bound<'_, PyAny>) -> PyResult<u64> {
    Ok(clock::now().after(convert::span("seconds", seconds)?).as_nanos())
}

/// Wakes the first waiter due by `target` and says true, or moves time there and says false.
#[pyfunction]
pub fn step_clock(py: Python<'_>, target: u64) -> PyResult<bool> {
    py.detach(|| clock::step_towards(Time::from_nanos(target))).map_err(refused)
}

/// Is somebody who was woken not done yet?
#[pyfunction]
pub fn clock_busy() -> bool {
    clock::busy() > 0
}

/// Readies the runtime for a fork.
#[pyfunction]
pub fn before_fork(py: Python<'_>) {
    py.detach(runtime::before_fork);
}

/// Goes on in the parent.
#[pyfunction]
pub fn after_fork_in_parent() {
    runtime::after_fork_in_parent();
}

/// Begins anew in the child.
#[pyfunction]
pub fn after_fork_in_child() {
    runtime::after_fork_in_child();
    events::forget_delivery();
    errands::forget_thread();
}

/// Stops the background runtime; the interpreter is about to exit.
#[pyfunction]
pub fn shutdown(py: Python<'_>) {
    const PATIENCE: Duration = Duration::from_secs(1);
    py.detach(|| engine::shutdown(PATIENCE));
}
