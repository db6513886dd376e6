//! The steps themselves: through the lane, where nothing of ours looks at the item, or by the machine.

use std::ptr;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::machine;
use super::state::{StepState, Turn};
use super::step::{BUSY, FRESH, Given, Kind, PASSING, SPENT, StreamStep, executing, taken};
use crate::python::call::coroutine::awaited;
use crate::python::call::raw::enter;
use crate::python::call::resume::Input;
use crate::python::call::scope;
use crate::runtime::clock;

/// One step, by whichever way. `NEXT`: whoever asks would be content with a `StopIteration`.
///
/// # Safety
///
/// This thread is attached; the step and `arg` are alive, and `result` is where the answer is wanted.
#[inline]
#[expect(unsafe_code, reason = "raw pointers")]
pub(super) unsafe fn advance<const NEXT: bool>(
    step: &StreamStep,
    arg: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> Given {
    // SAFETY: by the function's own contract. The inside is looked at before and after the user's code runs, not
    // meanwhile; it belongs to this step, and so nobody gives up what it holds.
    unsafe {
        let inside = step.inside.get();
        let phase = step.claim();
        let lane = match phase {
            FRESH if arg == ffi::Py_None() => step.stream().enter_lane(),
            PASSING => Some(step.stream().lane()),
            _ => None,
        };
        let Some(lane) = lane else { return by_machine(step, phase, arg, result) };
        if phase == FRESH && lane.clocked {
            (*inside).since = clock::now();
        }
        let given = if lane.scope.is_null() {
            resume::<NEXT>(&raw mut (*inside).inner, lane.source, arg, result)
        } else {
            let inner = &raw mut (*inside).inner;
            let act = || resume::<false>(inner, lane.source, arg, result);
            scope::scoped(Python::assume_attached(), lane.scope, act).unwrap_or(Given::Raised)
        };
        match given {
            Given::Returned | Given::Stopped => {
                ffi::Py_DECREF(ptr::replace(&raw mut (*inside).inner, ptr::null_mut()));
                step.stream().leave_lane();
                step.leave(SPENT);
                given
            }
            Given::Waits if lane.clocked => armed(step, result),
            Given::Waits => {
                step.leave(PASSING);
                given
            }
            Given::Raised => ended(step, result),
        }
    }
}

/// Resumes the user's awaitable, which is made first where there is none.
///
/// # Safety
///
/// As for [`advance`]; `source` is a live async iterator, and `inner` belongs to the caller.
#[inline]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn resume<const NEXT: bool>(
    inner: *mut *mut ffi::PyObject,
    source: *mut ffi::PyObject,
    arg: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> Given {
    // SAFETY: by the function's own contract. What the user's awaitable gives is a new reference, or null; null
    // without an exception is how iterators end without a value.
    unsafe {
        if (*inner).is_null() {
            *inner = ask(source);
            if (*inner).is_null() {
                return Given::Raised;
            }
        }
        if !NEXT {
            return match ffi::PyIter_Send(*inner, arg, result) {
                ffi::PySendResult::PYGEN_NEXT => Given::Waits,
                ffi::PySendResult::PYGEN_RETURN => Given::Returned,
                ffi::PySendResult::PYGEN_ERROR => Given::Raised,
            };
        }
        let Some(next) = (*ffi::Py_TYPE(*inner)).tp_iternext else {
            return resume::<false>(inner, source, arg, result);
        };
        *result = next(*inner);
        if !(*result).is_null() {
            return Given::Waits;
        }
        let raised = ffi::PyErr_Occurred();
        if raised.is_null() {
            ffi::Py_INCREF(ffi::Py_None());
            *result = ffi::Py_None();
            return Given::Returned;
        }
        if raised == ffi::PyExc_StopIteration { Given::Stopped } else { Given::Raised }
    }
}

/// Asks the user's iterator for its next item: the iterator behind the awaitable that it gives, or null with an
/// exception set.
///
/// # Safety
///
/// This thread is attached, and `source` is alive.
#[inline]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn ask(source: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: by the function's own contract; a type's slots are what they say, and give new references.
    unsafe {
        let slots = (*ffi::Py_TYPE(source)).tp_as_async;
        let Some(anext) = slots.as_ref().and_then(|slots| slots.am_anext) else {
            return enter(|py| Err(PyTypeError::new_err(no_iterator(py, source))));
        };
        let made = anext(source);
        // What an async generator gives is an iterator already.
        if made.is_null() || ffi::PyAsyncGen_CheckExact(source) != 0 {
            return made;
        }
        enter(|py| awaited(&Bound::from_owned_ptr(py, made)).map(Bound::unbind))
    }
}

/// The source has lost its `__anext__` since it gave the first item.
#[cold]
#[expect(unsafe_code, reason = "a pointer becomes a reference")]
unsafe fn no_iterator(py: Python<'_>, source: *mut ffi::PyObject) -> String {
    // SAFETY: the caller's source is alive.
    let source = unsafe { Bound::from_borrowed_ptr(py, source) };
    let name = source.get_type().name().map_or_else(|_| "object".into(), |name| name.to_string());
    format!("'{name}' is not an async iterator")
}

/// What is not for the lane.
///
/// # Safety
///
/// As for [`advance`]; the step is busy.
#[cold]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn by_machine(
    step: &StreamStep,
    phase: u8,
    arg: *mut ffi::PyObject,
    result: *mut *mut ffi::PyObject,
) -> Given {
    // SAFETY: by the function's own contract.
    unsafe { into_machine(step, phase, result, |py| Input::Send(Bound::from_borrowed_ptr(py, arg))) }
}

/// A step by the machine, from whatever phase.
///
/// # Safety
///
/// This thread is attached and has made the step busy, which was in `phase`.
#[expect(unsafe_code, reason = "raw pointers")]
pub(super) unsafe fn into_machine<'py>(
    step: &StreamStep,
    phase: u8,
    result: *mut *mut ffi::PyObject,
    input: impl FnOnce(Python<'py>) -> Input<'py>,
) -> Given {
    // SAFETY: by the function's own contract.
    unsafe {
        if phase == BUSY {
            executing().restore(Python::assume_attached());
            return Given::Raised;
        }
        let input = input(Python::assume_attached());
        step.turn(result, |py, stream, inside| match StreamStep::state(py, phase, stream, inside) {
            Some(state) => machine::step(py, stream, state, input, step.kind),
            None => Turn::Refused(PyRuntimeError::new_err(step.kind.spent())),
        })
    }
}

/// It waits for the first time, and from now on our clock runs.
///
/// # Safety
///
/// As for [`advance`]; `result` holds a new reference, which is taken.
#[cold]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn armed(step: &StreamStep, result: *mut *mut ffi::PyObject) -> Given {
    // SAFETY: by the function's own contract.
    unsafe {
        let on = *result;
        step.turn(result, |py, stream, inside| {
            let on = Bound::from_owned_ptr(py, on).unbind();
            let since = inside.since;
            match StreamStep::state(py, PASSING, stream, inside) {
                Some(StepState::Waiting { mut run, inner, .. }) => {
                    run.since = since;
                    machine::wait(py, run, inner, on)
                }
                _ => Turn::Refused(PyRuntimeError::new_err(Kind::Next.spent())),
            }
        })
    }
}

/// The user's iterator has ended in the lane, well or not.
///
/// # Safety
///
/// As for [`advance`]; an exception is set.
#[cold]
#[expect(unsafe_code, reason = "raw pointers")]
unsafe fn ended(step: &StreamStep, result: *mut *mut ffi::PyObject) -> Given {
    // SAFETY: by the function's own contract.
    unsafe {
        step.turn(result, |py, stream, inside| {
            let error = PyErr::fetch(py);
            drop(taken(py, &mut inside.inner));
            match stream.take_passing() {
                Some(run) => machine::end(py, run, error),
                None => Turn::Refused(error),
            }
        })
    }
}
