//! What of a stream is handed out, and when.
//!
//! A plain generator's items are handed out as they come, and nothing is kept. A chat model's stream has a
//! *governor*, a Python object made anew for each attempt, which may hold items back (an empty role chunk,
//! a tool call that is not complete yet) and says at the end whether the answer is whole.

use std::collections::VecDeque;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::raw::Visitor;
use super::substitute::Kept;
use super::under_way::{Call, moment};
use crate::pipeline::Costs;
use crate::python::once::intern;
use crate::python::policies::Meter;
use crate::runtime::clock;

/// The items of one attempt on their way to the consumer.
#[derive(Debug, Default)]
pub struct Flow {
    governor: Option<Py<PyAny>>,
    pending: VecDeque<Py<PyAny>>,
    heard: bool,
    kept: Kept,
    meter: Option<Meter>,
}

impl Flow {
    /// A flow for one attempt, governed if there is a factory of governors.
    ///
    /// `interrupted` is the error of a stream that this attempt goes on with.
    pub fn new(
        py: Python<'_>,
        factory: Option<&Py<PyAny>>,
        interrupted: Option<&Py<PyAny>>,
    ) -> PyResult<Self> {
        let governor = factory.map(|factory| factory.call0(py)).transpose()?;
        if let (Some(governor), Some(error)) = (&governor, interrupted)
            && let Some(after) = governor.bind(py).getattr_opt(intern!(py, "after"))?
        {
            after.call1((error,))?;
        }
        Ok(Self { governor, ..Self::default() })
    }

    /// The same, with a copy of what is released kept if `wanted`.
    pub fn kept(mut self, wanted: bool) -> Self {
        self.kept = Kept::new(wanted);
        self
    }

    /// The same, with its weight read off its items.
    pub fn metered(mut self, meter: Option<Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// What it has weighed so far, if it is weighed.
    pub fn costs(&self) -> Option<Costs> {
        self.meter.as_ref().map(Meter::costs)
    }

    /// All that was released, if it was kept.
    pub fn take_kept<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        self.kept.take(py)
    }

    /// Does it let items pass as they come, and look at none?
    pub fn passes(&self) -> bool {
        self.governor.is_none() && self.meter.is_none() && self.pending.is_empty() && !self.kept.is_wanted()
    }

    /// Takes an item in; what may be handed out now, if anything.
    pub fn item(&mut self, py: Python<'_>, item: Py<PyAny>) -> PyResult<Option<Py<PyAny>>> {
        if let Some(meter) = &mut self.meter {
            meter.item(py, &item)?;
        }
        let Some(governor) = &self.governor else {
            self.kept.push(py, &item);
            return Ok(Some(item));
        };
        let released = governor.call_method1(py, intern!(py, "item"), (item,))?;
        if !self.heard {
            let heard = governor.bind(py).getattr_opt(intern!(py, "heard"))?;
            self.heard = heard.map_or(Ok(false), |heard| heard.is_truthy())?;
        }
        self.release(py, &released)?;
        Ok(self.next())
    }

    /// Has any content come, handed out or held back? From then on silence is a stall, not a late start.
    pub const fn heard(&self) -> bool {
        self.heard
    }

    /// The stream has ended: what was held back is released, if the answer is whole.
    pub fn end(&mut self, py: Python<'_>) -> PyResult<()> {
        let Some(governor) = &self.governor else { return Ok(()) };
        let released = governor.call_method0(py, intern!(py, "end"))?;
        self.release(py, &released)
    }

    /// The stream broke after something was handed out: what is raised in place of `error`.
    pub fn broken(&self, py: Python<'_>, error: PyErr) -> PyErr {
        let Some(governor) = &self.governor else { return error };
        let told = governor.call_method1(py, intern!(py, "broken"), (error.value(py),));
        match told {
            Ok(instead) => PyErr::from_value(instead.into_bound(py)),
            Err(broken) => {
                broken.write_unraisable(py, Some(governor.bind(py)));
                error
            }
        }
    }

    /// An item that has been released and not handed out yet.
    pub fn next(&mut self) -> Option<Py<PyAny>> {
        self.pending.pop_front()
    }

    /// All of those.
    pub fn pending<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.pending.iter().map(|item| item.bind(py)))
    }

    /// For Python's garbage collector.
    pub fn traverse<V: Visitor>(&self, visit: &V) -> Result<(), V::Stop> {
        visit.call(&self.governor)?;
        self.kept.traverse(visit)?;
        self.meter.iter().flat_map(Meter::objects).try_for_each(|object| visit.call(object))?;
        self.pending.iter().try_for_each(|item| visit.call(item))
    }

    fn release(&mut self, py: Python<'_>, items: &Py<PyAny>) -> PyResult<()> {
        for item in items.bind(py).try_iter()? {
            let item = item?.unbind();
            self.kept.push(py, &item);
            self.pending.push_back(item);
        }
        Ok(())
    }
}

impl Call {
    /// The flow of a new attempt's stream.
    pub fn flow(&self, py: Python<'_>) -> PyResult<Flow> {
        let governor = self.guard.get().wiring().governor.as_ref().filter(|_| !self.passes);
        let flow = Flow::new(py, governor, self.interrupted.as_ref())?;
        let meter = if self.passes { None } else { self.guard.get().wiring().weights.meter(py)? };
        Ok(flow.kept(self.keeps()).metered(meter))
    }

    /// An item has come and is held back: a sign of life all the same (B4).
    pub fn heard(&mut self) {
        if let Some(execution) = &mut self.execution {
            execution.progress(clock::now());
        }
    }

    /// An item is on its way to the consumer: the call is committed, and its lease renewed.
    pub fn handed(&mut self) {
        if let Some(execution) = &mut self.execution {
            moment(|at| {
                execution.commit(at);
                execution.progress(at.now);
            });
        }
    }

    /// Do the stream's further items concern nobody but the consumer?
    pub fn passes_items(&self) -> bool {
        self.scope.is_none() && self.passes_on()
    }

    /// Is all that a further item needs the scope, if there is one, and the clock, if one runs?
    pub fn passes_on(&self) -> bool {
        self.execution.as_ref().is_some_and(|execution| !execution.wants_progress())
    }

    /// The scope of the attempt under way, borrowed; null without one.
    pub fn scope_pointer(&self) -> *mut ffi::PyObject {
        self.scope.as_ref().map_or_else(std::ptr::null_mut, Py::as_ptr)
    }
}
