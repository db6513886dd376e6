//! `StopIteration` with a value, as cheap as it can be.
//!
//! From CPython 3.12 on `await` asks a foreign awaitable by `tp_iternext`, whose only way to return a value is to
//! raise a `StopIteration` around it, and making one costs more than everything else here. So an exception
//! that nobody has kept is used again: whoever raised it holds a reference of its own, and takes it back when
//! no other is left.

use std::ptr;

use pyo3::Python;
use pyo3::ffi;

#[cfg(Py_3_12)]
use super::kept::Kept;

#[cfg(Py_3_12)]
static SPARE: Kept = Kept::new(7);

/// Raises `StopIteration(value)`; what is given back is to be handed to [`take_back`], or is null.
///
/// # Safety
///
/// This thread is attached, no exception is set, and the caller gives its reference to `value` away.
#[cfg(Py_3_12)]
#[inline]
#[expect(unsafe_code, reason = "it writes into an exception")]
pub unsafe fn raise_stop(py: Python<'_>, value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: a spare one is a `StopIteration` that nobody else has, and a new one likewise, so that its value
    // may be put in place. One reference goes to the interpreter, the other to the caller.
    unsafe {
        let stop = match SPARE.take(py) {
            Some(spare) => spare.as_ptr(),
            None => ffi::PyObject_CallNoArgs(ffi::PyExc_StopIteration),
        };
        if stop.is_null() {
            ffi::Py_DECREF(value);
            return stop;
        }
        let old = ptr::replace(&raw mut (*stop.cast::<ffi::PyStopIterationObject>()).value, value);
        ffi::Py_XDECREF(old);
        ffi::Py_INCREF(stop);
        ffi::PyErr_SetRaisedException(stop);
        stop
    }
}

/// Keeps the exception for the next one, if nobody else has it and it has gone through no handler.
///
/// # Safety
///
/// This thread is attached, and `stop` is what [`raise_stop`] gave, given back once.
#[cfg(Py_3_12)]
#[inline]
#[expect(unsafe_code, reason = "it looks into an exception")]
pub unsafe fn take_back(py: Python<'_>, stop: *mut ffi::PyObject) {
    // SAFETY: the caller owns this reference to a live `StopIteration`; the only one, if the count is one, so
    // that nobody else reads or writes what is looked at and emptied here.
    unsafe {
        if ffi::Py_REFCNT(stop) == 1 {
            let inside = stop.cast::<ffi::PyStopIterationObject>();
            let value = ptr::replace(&raw mut (*inside).value, ptr::null_mut());
            ffi::Py_XDECREF(value);
            let untouched =
                [(*inside).dict, (*inside).notes, (*inside).traceback, (*inside).context, (*inside).cause]
                    .iter()
                    .all(|part| part.is_null());
            if untouched && ptr::NonNull::new(stop).is_some_and(|spare| SPARE.keep(py, spare)) {
                return;
            }
        }
        ffi::Py_DECREF(stop);
    }
}

/// Raises `StopIteration(value)`. Before 3.12 `await` does not come this way, so an ordinary one will do.
///
/// # Safety
///
/// This thread is attached, no exception is set, and the caller gives its reference to `value` away.
#[cfg(not(Py_3_12))]
#[expect(unsafe_code, reason = "it calls into C")]
pub unsafe fn raise_stop(_py: Python<'_>, value: *mut ffi::PyObject) -> *mut ffi::PyObject {
    // SAFETY: by the function's own contract. An instance, because `PyErr_SetObject` would take a tuple apart.
    unsafe {
        let stop = ffi::PyObject_CallOneArg(ffi::PyExc_StopIteration, value);
        ffi::Py_DECREF(value);
        if !stop.is_null() {
            ffi::PyErr_SetObject(ffi::PyExc_StopIteration, stop);
            ffi::Py_DECREF(stop);
        }
        ptr::null_mut()
    }
}

/// There is nothing to take back.
///
/// # Safety
///
/// None.
#[cfg(not(Py_3_12))]
#[expect(unsafe_code, reason = "the same signature as on newer interpreters")]
pub const unsafe fn take_back(_py: Python<'_>, _stop: *mut ffi::PyObject) {}
