//! What an awaitable holds.

use std::ptr;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::base::{Time, Verdict};
use crate::pipeline::{Execution, Plan, Taken, Target};
use crate::policy::breaker::{Breaker, Permit};
use crate::python::call::coroutine::State;
use crate::python::call::guard::Guard;
use crate::python::call::raw::{Raw, arguments, body};
use crate::python::call::scope::Scope;
use crate::python::call::under_way::{Call, moment};
use crate::python::once::intern;

/// What an awaitable holds: plain pointers, owned, null for nothing. PyO3 need not know that they end.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) guard: *mut ffi::PyObject,
    /// The user's coroutine, until it is over or the machine has it.
    pub(super) inner: *mut ffi::PyObject,
    /// The arguments, those by name after those by place, where there may be another attempt.
    pub(super) args: *mut ffi::PyObject,
    /// The names of the last of them.
    pub(super) names: *mut ffi::PyObject,
    pub(super) scope: *mut ffi::PyObject,
    /// The exception that carried the value out.
    pub(super) stop: *mut ffi::PyObject,
    /// A boxed [`State`].
    pub(super) machine: *mut State,
    pub(super) permit: Option<Permit>,
    pub(super) began: Time,
    pub(super) mark: u64,
}

impl Inside {
    pub(super) const EMPTY: Self = Self {
        guard: ptr::null_mut(),
        inner: ptr::null_mut(),
        args: ptr::null_mut(),
        names: ptr::null_mut(),
        scope: ptr::null_mut(),
        stop: ptr::null_mut(),
        machine: ptr::null_mut(),
        permit: None,
        began: Time::ZERO,
        mark: 0,
    };

    /// The guard.
    #[inline]
    #[expect(unsafe_code, reason = "a pointer becomes a reference")]
    pub(super) fn guard(&self) -> &Guard {
        // SAFETY: `guard` is an owned reference to a guard, and never changes.
        unsafe { body(self.guard) }
    }

    /// The breaker, where there is one.
    #[inline]
    pub(super) fn breaker(plan: &Plan) -> Option<&Arc<Breaker>> {
        match &plan.target {
            Target::Breaker(breaker) => Some(breaker),
            _ => None,
        }
    }

    /// Takes an owned reference out.
    #[expect(unsafe_code, reason = "a pointer becomes a reference")]
    pub(super) fn take(py: Python<'_>, place: &mut *mut ffi::PyObject) -> Option<Py<PyAny>> {
        let taken = std::mem::replace(place, ptr::null_mut());
        // SAFETY: what lies in a place is an owned reference or null, and it has just been taken out of it.
        unsafe { Bound::from_owned_ptr_or_opt(py, taken) }.map(Bound::unbind)
    }

    /// The call as the machine knows it, not begun.
    #[expect(unsafe_code, reason = "pointers become references")]
    pub(super) fn call(&self, py: Python<'_>) -> PyResult<Call> {
        // SAFETY: `guard` is a guard. `args` holds the arguments that `keep` put there, the last of them named by
        // `names`, and stays alive meanwhile.
        unsafe {
            let guard = Raw::from_borrowed(py, self.guard);
            if self.args.is_null() {
                return Ok(Call::new(guard, PyTuple::empty(py).unbind(), None));
            }
            let named = if self.names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(self.names) };
            let places = ffi::PyTuple_GET_SIZE(self.args) - named;
            let items = (&raw const (*self.args.cast::<ffi::PyTupleObject>()).ob_item).cast();
            let (args, kwargs) = arguments(py, items, places.unsigned_abs(), self.names)?;
            Ok(Call::new(guard, args.unbind(), kwargs.map(Bound::unbind)))
        }
    }

    /// The machine takes over in the midst of the first attempt: the call, and the user's coroutine.
    pub(super) fn convert(&mut self, py: Python<'_>) -> PyResult<(Call, Py<PyAny>)> {
        let plan = &self.guard().wiring().plan;
        let breaker = Self::breaker(plan).cloned();
        let plan = Arc::clone(plan);
        let call = self.call(py);
        let permit = breaker.zip(self.permit.take());
        let execution = Execution::under_way(plan, Taken::default(), permit, self.began);
        let scope = Self::take(py, &mut self.scope);
        let scope = scope.and_then(|scope| scope.into_bound(py).cast_into::<Scope>().ok()).map(Bound::unbind);
        let inner = Self::take(py, &mut self.inner).unwrap_or_else(|| py.None());
        Ok((call?.going_on(execution, scope, self.mark), inner))
    }
}

/// The arguments of a vectorcall as one tuple; null with an exception set.
///
/// # Safety
///
/// These are arguments of a vectorcall.
#[expect(unsafe_code, reason = "vectorcall hands over an array")]
pub(super) unsafe fn keep(
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: there are as many arguments as the counts say, all alive; each place of the new tuple, which
    // nobody else knows, is given one reference.
    unsafe {
        let by_name = if names.is_null() { 0 } else { ffi::PyTuple_GET_SIZE(names) };
        let length = ffi::PyVectorcall_NARGS(nargsf) + by_name;
        let kept = ffi::PyTuple_New(length);
        if !kept.is_null() {
            for place in 0..length {
                let argument = *args.offset(place);
                ffi::Py_INCREF(argument);
                ffi::PyTuple_SET_ITEM(kept, place, argument);
            }
        }
        kept
    }
}

/// Closes the user's coroutine, and gives back what the call holds.
pub(super) fn closed(py: Python<'_>, inside: &mut Inside) -> PyResult<()> {
    let inner = Inside::take(py, &mut inside.inner);
    let closed = inner.map_or(Ok(()), |inner| inner.call_method0(py, intern!(py, "close")).map(drop));
    abandon(inside);
    closed
}

/// The permit goes back, and nobody is blamed.
pub(super) fn abandon(inside: &mut Inside) {
    let permit = inside.permit.take();
    if let Some((breaker, permit)) = Inside::breaker(&inside.guard().wiring().plan).zip(permit) {
        settle(breaker, permit, &Verdict::Ignore);
    }
}

/// The long way back through the second door.
#[cold]
pub(super) fn settle(breaker: &Breaker, permit: Permit, verdict: &Verdict) {
    moment(|at| breaker.settle(permit, verdict, at.now, at.dice, at.out));
}
