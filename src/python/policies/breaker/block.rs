//! The permit of a guarded block: taken when the block is entered, given back exactly once when it is left.
//!
//! ```text
//!   waiting ── enter: admitted ──▶ held ── exit, or dropped: settled ──▶ returned
//!      │
//!      └────── enter: refused ──▶ returned
//! ```
//!
//! `with breaker.guard()` makes an object per block, so block and permit cannot be confused; the bare form is in
//! `bare`.

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::bare::{GuardStep, Turn};
use crate::base::Verdict;
use crate::policy::breaker::{Breaker, Permit as Admission};
use crate::python::call::{admit, moment};
use crate::python::errors;
use crate::python::judge::{Judge, plain_rules};
use crate::python::switches;
use crate::runtime::clock;

/// The right to run one block; a context manager, sync and async, for one use.
#[pyclass(frozen, weakref, module = "holdfast._native")]
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    classify: Option<Py<PyAny>>,
    hold: Mutex<Hold>,
}

#[derive(Debug)]
enum Hold {
    Waiting,
    /// Being taken, renewed or given back right now.
    Busy,
    Held(Admission),
    /// Entered while guards only pass calls on: nobody was asked.
    Passing,
    Returned,
}

impl Permit {
    /// A permit to ask `breaker` for; the block's errors are judged by `classify`, or else as plain ones.
    pub const fn new(breaker: Arc<Breaker>, classify: Option<Py<PyAny>>) -> Self {
        Self { breaker, classify, hold: Mutex::new(Hold::Waiting) }
    }

    pub(super) fn is_of(&self, breaker: &Arc<Breaker>) -> bool {
        Arc::ptr_eq(&self.breaker, breaker)
    }

    /// Asks for admission. No lock is held meanwhile: posting the events may start Python's thread (R3).
    pub(super) fn take(&self, py: Python<'_>) -> PyResult<()> {
        {
            let mut hold = self.hold.lock();
            if !matches!(*hold, Hold::Waiting) {
                let why = "a permit guards one block: ask breaker.guard() for another";
                return Err(PyRuntimeError::new_err(why));
            }
            *hold = Hold::Busy;
        }
        if switches::is_inactive() {
            *self.hold.lock() = Hold::Passing;
            return Ok(());
        }
        let admitted = admit(&self.breaker);
        *self.hold.lock() = Hold::Returned;
        let admission = admitted.map_err(|rejection| errors::rejection(py, &rejection))?;
        *self.hold.lock() = Hold::Held(admission);
        Ok(())
    }

    /// Gives it back with the verdict on what the block raised, or on its success.
    pub(super) fn give_back(&self, py: Python<'_>, raised: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let held = std::mem::replace(&mut *self.hold.lock(), Hold::Returned);
        if let Hold::Passing = held {
            return Ok(());
        }
        let Hold::Held(admission) = held else {
            return Err(PyRuntimeError::new_err("this block was not entered, or was left already"));
        };
        // What interrupts the user's rules (Ctrl-C) takes the place of what they were asked about.
        let verdict = raised.map_or(Ok(Verdict::Ok), |raised| self.verdict(py, raised));
        settle(&self.breaker, admission, verdict.as_ref().unwrap_or(&Verdict::Ignore));
        verdict.map(drop)
    }

    fn verdict(&self, py: Python<'_>, raised: &Bound<'_, PyAny>) -> PyResult<Verdict> {
        let classify = match &self.classify {
            Some(classify) => classify.clone_ref(py),
            None => plain_rules(py)?.clone().unbind(),
        };
        Judge::new(py, classify, None).of_error(py, &PyErr::from_value(raised.clone()))
    }

    /// Lets the held permit see `act`; nothing happens if it is not held, or is being given back right now.
    fn show(&self, act: impl FnOnce(&Breaker, &mut Admission)) -> bool {
        let mut hold = self.hold.lock();
        if let Hold::Held(admission) = &mut *hold {
            act(&self.breaker, admission);
            return true;
        }
        false
    }
}

#[pymethods]
impl Permit {
    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().take(slf.py())?;
        Ok(slf)
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        _typ: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _tb: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        self.give_back(py, value)?;
        Ok(false)
    }

    /// Nothing is awaited; admission is asked for when this is awaited.
    fn __aenter__(slf: Bound<'_, Self>) -> GuardStep {
        GuardStep::new(Turn::Enter(slf.unbind()))
    }

    fn __aexit__(
        &self,
        py: Python<'_>,
        _typ: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        _tb: &Bound<'_, PyAny>,
    ) -> PyResult<GuardStep> {
        self.give_back(py, value)?;
        Ok(GuardStep::new(Turn::Left))
    }

    /// A sign of life from a block that takes long: a probe's lease starts anew. True while the permit is
    /// held; of a permit that is not a probe's it changes nothing.
    fn renew(&self) -> bool {
        let now = clock::now();
        self.show(|breaker, admission| breaker.renew(admission, now))
    }

    /// The first item of a stream has come: by this moment, not by its end, the block counts as slow or
    /// not. It is a sign of life as well. True while the permit is held.
    fn first_item(&self) -> bool {
        let now = clock::now();
        self.show(|breaker, admission| breaker.first_item(admission, now))
    }

    /// Is the block a half-open breaker's probe?
    #[getter]
    fn is_probe(&self) -> bool {
        matches!(&*self.hold.lock(), Hold::Held(admission) if admission.is_probe())
    }

    fn __repr__(&self) -> String {
        let state = match &*self.hold.lock() {
            Hold::Waiting => "not asked for yet",
            Hold::Busy => "being asked for",
            Hold::Held(admission) if admission.is_probe() => "held, a probe",
            Hold::Held(_) => "held",
            Hold::Passing => "passing",
            Hold::Returned => "returned",
        };
        format!("<Permit of '{}': {state}>", self.breaker.source().name())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.classify)
    }
}

impl Drop for Permit {
    /// A block that was never left (its generator was thrown away, say) blames nobody (B7, R7).
    fn drop(&mut self) {
        if let Hold::Held(admission) = std::mem::replace(self.hold.get_mut(), Hold::Returned) {
            settle(&self.breaker, admission, &Verdict::Ignore);
        }
    }
}

fn settle(breaker: &Breaker, admission: Admission, verdict: &Verdict) {
    moment(|at| breaker.settle(admission, verdict, at.now, at.dice, at.out));
}
