//! Another answer for a call that has failed, and good answers kept for that day.
//!
//! What the answer is, Python's half knows (`holdfast._fallback`): an object with one method per colour. A
//! driver that is told to fall back becomes the delegate of what that method gives, and has nothing else to
//! do with it.

use parking_lot::Mutex;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use super::raw::Visitor;
use super::under_way::{Call, moment};
use crate::pipeline::{Execution, Finish};
use crate::python::judge;
use crate::python::once::intern;

/// Python's half of a fallback.
#[derive(Debug)]
pub struct Substitute {
    half: Py<PyAny>,
    /// Are good answers kept?
    keeps: bool,
}

impl Substitute {
    /// Reads a `holdfast._fallback.Fallback`.
    pub fn new(half: &Bound<'_, PyAny>) -> PyResult<Self> {
        let keeps = half.getattr(intern!(half.py(), "_keeps"))?.is_truthy()?;
        Ok(Self { half: half.clone().unbind(), keeps })
    }

    /// Are good answers kept?
    pub const fn keeps(&self) -> bool {
        self.keeps
    }

    /// The object itself, for Python's garbage collector.
    pub const fn half(&self) -> &Py<PyAny> {
        &self.half
    }
}

/// What stands in the place of a failed call.
#[derive(Debug)]
pub enum Instead {
    /// Nothing: this value is handed on (the user's rule may have refused it, after the last attempt).
    Nothing(Py<PyAny>),
    /// What Python's half gave.
    Made(Py<PyAny>),
}

/// Tells the world that a fallback has answered. Python's half calls it with the way it did.
#[pyclass(frozen, module = "holdfast._native")]
#[derive(Debug)]
struct Tell(Mutex<Option<Execution>>);

#[pymethods]
impl Tell {
    fn __call__(&self, how: &str) {
        let how = match how {
            "call" => "call",
            "last_good" => "last_good",
            _ => "value",
        };
        if let Some(execution) = self.0.lock().take() {
            moment(|at| execution.fell_back(how, at));
        }
    }
}

impl Call {
    /// What Python gets of a whole answer: with a fallback's in its place, or kept for one.
    pub fn answer(&mut self, py: Python<'_>, finish: Finish) -> PyResult<Py<PyAny>> {
        match finish {
            Finish::FallBack(otherwise) => match self.instead(py, *otherwise, intern!(py, "_answer"))? {
                Instead::Nothing(value) | Instead::Made(value) => Ok(value),
            },
            finish => {
                let value = self.finish(py, finish)?;
                if self.keeps() {
                    self.keep(py, intern!(py, "_keep"), value.bind(py))?;
                }
                Ok(value)
            }
        }
    }

    /// The same where the answer is awaited: Python's half may have something to wait for.
    pub fn async_answer(&mut self, py: Python<'_>, finish: Finish) -> PyResult<Instead> {
        match finish {
            Finish::FallBack(otherwise) => self.instead(py, *otherwise, intern!(py, "_aanswer")),
            finish => {
                let value = self.finish(py, finish)?;
                let keeps = self.keeps();
                let kept = if keeps { self.keep(py, intern!(py, "_akeep"), value.bind(py))? } else { None };
                Ok(kept.map_or(Instead::Nothing(value), Instead::Made))
            }
        }
    }

    /// Are good answers kept? Not those that go on from a broken stream: they are no answer to the arguments.
    pub fn keeps(&self) -> bool {
        self.substitute().is_some_and(Substitute::keeps) && !self.is_resumed() && !self.passes()
    }

    /// Asks Python's half in the `way` of our colour for what stands in the place of a failed call.
    pub fn instead(
        &mut self,
        py: Python<'_>,
        otherwise: Finish,
        way: &Bound<'_, PyString>,
    ) -> PyResult<Instead> {
        let (last, execution) = self.ended(py, otherwise);
        let error = match last {
            Err(error) if error.value(py).is_instance_of::<PyException>() => error,
            // An interrupt ends the call.
            last => return last.map(Instead::Nothing),
        };
        let Some(substitute) = self.substitute() else { return Err(error) };
        let tell = Py::new(py, Tell(Mutex::new(execution)))?;
        let told = substitute.half.bind(py).call_method1(way, (self.facts(py)?, error.value(py), tell));
        told.map(|made| Instead::Made(made.unbind()))
    }

    /// Has Python's half keep a good answer. What it gives, if anything, is the driver's to go on with.
    pub fn keep<'py>(
        &self,
        py: Python<'py>,
        way: &Bound<'py, PyString>,
        answer: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let Some(substitute) = self.substitute() else { return Ok(None) };
        let half = substitute.half.bind(py);
        let kept = self.facts(py).and_then(|facts| half.call_method1(way, (facts, answer)));
        match kept {
            Ok(going_on) => Ok(Some(going_on).filter(|g| !g.is_none()).map(Bound::unbind)),
            // A good answer is worth more than its copy.
            Err(broken) => judge::report(broken, half).map(|()| None),
        }
    }

    /// Python's half of the fallback, if there is one.
    pub fn substitute(&self) -> Option<&Substitute> {
        self.guard.get().wiring().substitute.as_ref()
    }

    /// Is the call only passed on, because guards are switched off?
    pub const fn passes(&self) -> bool {
        self.passes
    }

    /// Does the attempt go on with a stream that broke?
    pub const fn is_resumed(&self) -> bool {
        self.interrupted.is_some()
    }

    /// What names the call: in whose name, which function, with what.
    pub fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let guard = self.guard.get();
        let name = guard.wiring().plan.source.name();
        let kwargs = self.kwargs.as_ref().map_or_else(|| PyDict::new(py), |kwargs| kwargs.bind(py).clone());
        (name, guard.callee().function(), self.args.bind(py), kwargs).into_pyobject(py)
    }
}

/// The items of a stream, as far as they have been handed out and held back.
#[derive(Debug, Default)]
pub struct Kept(Option<Vec<Py<PyAny>>>);

impl Kept {
    /// Longer streams are not kept: somebody's memory has an end.
    const LONGEST: usize = 10_000;

    /// Keeps from now on, if `wanted`.
    pub fn new(wanted: bool) -> Self {
        Self(wanted.then(Vec::new))
    }

    /// Is it keeping?
    pub const fn is_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// One more item.
    pub fn push(&mut self, py: Python<'_>, item: &Py<PyAny>) {
        match &mut self.0 {
            Some(items) if items.len() < Self::LONGEST => items.push(item.clone_ref(py)),
            items => *items = None,
        }
    }

    /// All of them, if all were kept.
    pub fn take<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        self.0.take().map(|items| PyList::new(py, items)).transpose()
    }

    /// For Python's garbage collector.
    pub fn traverse<V: Visitor>(&self, visit: &V) -> Result<(), V::Stop> {
        self.0.iter().flatten().try_for_each(|item| visit.call(item))
    }
}
