//! The driver of async generators: an async iterator around the user's.
//!
//! As with plain generators, a failure before the first item moves on to another attempt, after it nothing
//! is tried again (A7), and closing early is neutral. Our clocks run only while somebody waits for an item.

use parking_lot::Mutex;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::async_step::{StepState, StreamStep};
use super::flow::Flow;
use super::guard::{GuardRef, packed};
use super::raw::Visitor;
use super::resume::Input;
use super::under_way::Call;
use crate::base::Time;
use crate::python::once::intern;

/// A guarded async generator.
#[pyclass(frozen, weakref, module = "holdfast._native", name = "GuardedAsyncGenerator")]
#[derive(Debug)]
pub struct AsyncStream {
    pub(super) shared: Mutex<Shared>,
}

/// What the steps of one stream share; taken out while a step runs.
#[derive(Debug)]
pub(super) enum Shared {
    New(Call),
    Open(Run),
    /// The answer was whole: what had been held back is handed out.
    Ending(Flow, Option<PyErr>),
    /// What stands in our place: the fallback's items, or what was held back while the answer is kept.
    Instead(Py<PyAny>),
    /// A step is under way.
    Busy,
    Done,
}

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) call: Call,
    pub(super) source: Py<PyAny>,
    pub(super) flow: Flow,
    /// Has anything been handed out?
    pub(super) begun: bool,
    /// Since when this step waits for the user's iterator.
    pub(super) since: Time,
}

/// What is asked of the user's iterator.
#[derive(Debug)]
pub(super) enum Request {
    Next,
    Send(Py<PyAny>),
    Throw(Py<PyAny>),
    Close,
}

/// How Python calls a guard of this colour.
#[expect(unsafe_code, reason = "it is called from C")]
pub unsafe extern "C" fn vectorcall(
    guard: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: these are the arguments of a vectorcall of a guard.
    unsafe { packed(guard, args, nargsf, names, call) }
}

/// Makes the guarded async generator; nothing runs before its first step.
fn call(
    guard: &GuardRef,
    args: Bound<'_, PyTuple>,
    kwargs: Option<Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let py = args.py();
    let call = Call::new(guard.clone_ref(py), args.unbind(), kwargs.map(Bound::unbind));
    let stream = AsyncStream { shared: Mutex::new(Shared::New(call)) };
    Ok(Py::new(py, stream)?.into_any())
}

impl Run {
    pub(super) fn traverse<V: Visitor>(&self, visit: &V) -> Result<(), V::Stop> {
        self.call.traverse(visit)?;
        self.flow.traverse(visit)?;
        visit.call(&self.source)
    }
}

impl AsyncStream {
    fn request(slf: &Bound<'_, Self>, request: Request) -> StreamStep {
        StreamStep { stream: slf.clone().unbind(), state: Mutex::new(StepState::New(request)) }
    }
}

#[pymethods]
impl AsyncStream {
    const fn __aiter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __anext__(slf: &Bound<'_, Self>) -> StreamStep {
        Self::request(slf, Request::Next)
    }

    /// Sends a value into the generator, as `agen.asend` does.
    fn asend(slf: &Bound<'_, Self>, value: Py<PyAny>) -> StreamStep {
        Self::request(slf, Request::Send(value))
    }

    /// Raises an exception inside the generator, as `agen.athrow` does.
    #[pyo3(signature = (typ, val=None, tb=None))]
    fn athrow(
        slf: &Bound<'_, Self>,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<StreamStep> {
        match Input::thrown(typ, val, tb)? {
            Input::Throw(error) => {
                Ok(Self::request(slf, Request::Throw(error.into_value(slf.py()).into_any())))
            }
            Input::Send(value) => Ok(Self::request(slf, Request::Send(value.unbind()))),
        }
    }

    /// Closes the generator: neutral for every policy.
    fn aclose(slf: &Bound<'_, Self>) -> StreamStep {
        Self::request(slf, Request::Close)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Some(shared) = self.shared.try_lock() else { return Ok(()) };
        match &*shared {
            Shared::New(call) => call.traverse(&visit),
            Shared::Open(run) => run.traverse(&visit),
            Shared::Ending(flow, _) => flow.traverse(&visit),
            Shared::Instead(source) => visit.call(source),
            Shared::Busy | Shared::Done => Ok(()),
        }
    }
}

#[pymethods]
impl StreamStep {
    const fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    const fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::none(py))
    }

    /// Resumes the step with a value.
    fn send(&self, py: Python<'_>, value: Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(py, Input::Send(value))
    }

    /// Raises an exception inside the step.
    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw(
        &self,
        py: Python<'_>,
        typ: Bound<'_, PyAny>,
        val: Option<Bound<'_, PyAny>>,
        tb: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        self.step(py, Input::thrown(typ, val, tb)?)
    }

    /// Gives the step up.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let state = std::mem::replace(&mut *self.state.lock(), StepState::Spent);
        let (inner, alarm) = match state {
            StepState::Waiting { inner, alarm, .. } => (inner, alarm),
            StepState::Sleeping { nap, .. } => (nap.inner().clone_ref(py), None),
            StepState::Closing { inner } | StepState::Instead { inner, .. } => (inner, None),
            StepState::New(_) | StepState::Spent => return Ok(()),
        };
        if let Some(alarm) = alarm {
            alarm.disarm(py);
        }
        *self.shared().lock() = Shared::Done;
        inner.bind(py).call_method0(intern!(py, "close")).map(drop)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.stream)?;
        let Some(state) = self.state.try_lock() else { return Ok(()) };
        match &*state {
            StepState::New(Request::Send(value) | Request::Throw(value)) => visit.call(value),
            StepState::Waiting { run, inner, alarm } => {
                run.traverse(&visit)?;
                if let Some(alarm) = alarm {
                    alarm.traverse(&visit)?;
                }
                visit.call(inner)
            }
            StepState::Sleeping { call, nap } => {
                call.traverse(&visit)?;
                visit.call(nap.inner())
            }
            StepState::Closing { inner } => visit.call(inner),
            StepState::Instead { source, inner } => {
                visit.call(source)?;
                visit.call(inner)
            }
            StepState::New(_) | StepState::Spent => Ok(()),
        }
    }
}
