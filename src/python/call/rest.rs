//! A sleep that Python code awaits, on the clock that everything runs on.

use parking_lot::Mutex;
use pyo3::exceptions::PyStopIteration;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::resume::{Input, unmistakable};
use super::wait::{self, Look, Nap};
use crate::pipeline::Pause;
use crate::python::convert;
use crate::python::once::intern;
use crate::runtime::clock::{self, Busy};

/// A sleep of ours, to be awaited once.
#[pyclass(frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Rest(Mutex<Option<Nap>>);

impl Rest {
    /// A sleep for so long.
    pub fn until(py: Python<'_>, until: Pause) -> PyResult<Self> {
        Ok(Self(Mutex::new(Some(Nap::until(py, until)?))))
    }

    fn step(&self, py: Python<'_>, input: Input<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(nap) = self.0.lock().take() else { return Ok(None) };
        match nap.look(py, input) {
            Look::Asleep(on) => {
                *self.0.lock() = Some(nap);
                Ok(Some(on))
            }
            Look::Awake(_busy) => Ok(None),
            Look::Raised(error) => Err(unmistakable(py, error, "coroutine")),
        }
    }
}

/// Sleeps for `seconds`, with the GIL released.
#[pyfunction]
pub fn pause(py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<()> {
    let until = clock::now().after(convert::span("seconds", seconds)?);
    wait::blocking(py, until.into(), Busy::idle()).map(drop)
}

/// An awaitable that ends after `seconds`.
#[pyfunction]
pub fn apause(py: Python<'_>, seconds: &Bound<'_, PyAny>) -> PyResult<Rest> {
    let until = clock::now().after(convert::span("seconds", seconds)?);
    Rest::until(py, until.into())
}

#[pymethods]
impl Rest {
    const fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.step(py, Input::none(py))
    }

    /// Resumes it.
    fn send(&self, py: Python<'_>, _value: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let on = self.step(py, Input::none(py))?;
        on.ok_or_else(|| PyStopIteration::new_err((py.None(),)))
    }

    /// Raises an exception inside of it.
    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw(
        &self,
        py: Python<'_>,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let on = self.step(py, Input::thrown(typ, val, tb)?)?;
        on.ok_or_else(|| PyStopIteration::new_err((py.None(),)))
    }

    /// Gives it up.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let taken = self.0.lock().take();
        taken.map_or(Ok(()), |nap| nap.inner().bind(py).call_method0(intern!(py, "close")).map(drop))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(nap) = self.0.try_lock() else { return Ok(()) };
        nap.as_ref().map_or(Ok(()), |nap| visit.call(nap.inner()))
    }
}
