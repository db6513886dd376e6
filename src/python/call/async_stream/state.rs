//! Where a step is, and what the machine says to it.

use pyo3::prelude::*;

use super::{Request, Run, Shared};
use crate::pipeline::Step;
use crate::python::call::alarm::Alarm;
use crate::python::call::raw::Visitor;
use crate::python::call::resume::Input;
use crate::python::call::under_way::Call;
use crate::python::call::wait::Nap;
use crate::runtime::clock::Busy;

/// Where a step is.
#[derive(Debug)]
pub(super) enum StepState {
    New(Request),
    /// Waiting for what the user's iterator gave to wait for.
    Waiting {
        run: Run,
        inner: Py<PyAny>,
        alarm: Option<Alarm>,
    },
    Sleeping {
        call: Call,
        nap: Nap,
    },
    Closing {
        inner: Py<PyAny>,
    },
    /// In a step of what stands in our place.
    Instead {
        source: Py<PyAny>,
        inner: Py<PyAny>,
    },
}

/// How one step ends: with something to wait for (and the state to wait in), or for good.
pub(super) enum Turn {
    Wait(StepState, Py<PyAny>),
    Over(Shared, PyResult<Outcome>),
    /// It was not made, and the stream's state is somebody else's.
    Refused(PyErr),
}

/// What a step that ends well gives.
pub(super) enum Outcome {
    Item(Py<PyAny>),
    /// The stream is at its end.
    End,
}

/// What is to be done next.
pub(super) enum Todo<'py> {
    Follow(Call, Step, Busy),
    Ask(Run, Request),
    Resume(Run, Py<PyAny>, Option<Alarm>, Input<'py>),
    Return(Turn),
}

impl StepState {
    /// For Python's garbage collector.
    pub(super) fn traverse<V: Visitor>(&self, visit: &V) -> Result<(), V::Stop> {
        match self {
            Self::New(Request::Send(value) | Request::Throw(value)) => visit.call(value),
            Self::New(Request::Next | Request::Close) => Ok(()),
            Self::Waiting { run, inner, alarm } => {
                run.traverse(visit)?;
                if let Some(alarm) = alarm {
                    alarm.traverse(visit)?;
                }
                visit.call(inner)
            }
            Self::Sleeping { call, nap } => {
                call.traverse(visit)?;
                visit.call(nap.inner())
            }
            Self::Closing { inner } => visit.call(inner),
            Self::Instead { source, inner } => {
                visit.call(source)?;
                visit.call(inner)
            }
        }
    }
}
