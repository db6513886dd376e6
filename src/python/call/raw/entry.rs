//! From C into Rust.
//!
//! What Python calls directly runs without PyO3's own trampoline. That is what makes it quick, and it has
//! two consequences to take care of. A panic must not reach C (R8). And PyO3 does not know that this thread
//! is attached, so that it would put off the end of every reference dropped here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyResult, Python, ffi};

/// Runs `act` with PyO3 knowing that this thread is attached. Where it cannot be told any more, because the
/// interpreter is on its way out, references that end here end with the process.
///
/// # Safety
///
/// This thread is attached to the interpreter.
#[expect(unsafe_code, reason = "the caller knows what PyO3 does not")]
pub unsafe fn attached<R>(act: impl FnOnce(Python<'_>) -> R) -> R {
    let mut act = Some(act);
    let done = Python::try_attach(|py| act.take().map(|act| act(py))).flatten();
    match (done, act) {
        (Some(done), _) => done,
        // SAFETY: by the function's own contract.
        (None, Some(act)) => act(unsafe { Python::assume_attached() }),
        (None, None) => unreachable!("what has run has a result"),
    }
}

/// Runs `act` for Python: its result, or null with an exception set. A panic becomes an exception too.
///
/// # Safety
///
/// This thread is attached to the interpreter.
#[expect(unsafe_code, reason = "the caller knows what PyO3 does not")]
#[cold]
pub unsafe fn enter(act: impl FnOnce(Python<'_>) -> PyResult<Py<PyAny>>) -> *mut ffi::PyObject {
    let guarded = |py: Python<'_>| {
        // Whatever a panic leaves behind is either Python's, and whole, or was owned by what panicked.
        let done = catch_unwind(AssertUnwindSafe(|| act(py)));
        match done.unwrap_or_else(|panic| Err(told(panic.as_ref()))) {
            Ok(value) => value.into_ptr(),
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        }
    };
    // SAFETY: by the function's own contract.
    unsafe { attached(guarded) }
}

/// Runs `act` where it may panic, without telling PyO3 that this thread is attached: `act` drops no reference
/// of PyO3's unbound kind. After a panic its exception is set, and there is no result.
///
/// # Safety
///
/// This thread is attached to the interpreter.
#[inline]
#[expect(unsafe_code, reason = "the caller knows what PyO3 does not")]
pub unsafe fn shield<R>(act: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    // SAFETY: by the function's own contract.
    let py = unsafe { Python::assume_attached() };
    // As in `enter`.
    match catch_unwind(AssertUnwindSafe(|| act(py))) {
        Ok(result) => Some(result),
        Err(panic) => {
            told(panic.as_ref()).restore(py);
            None
        }
    }
}

/// A panic as PyO3 shows them.
#[cold]
fn told(panic: &(dyn std::any::Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    PanicException::new_err((text.unwrap_or("panic from Rust code").to_owned(),))
}

/// Calls `callable` with the arguments of a vectorcall. A function written in Python is called without the ceremony of
/// `PyObject_Vectorcall`: that finds out how such a function is called, and checks that a result and an exception
/// exclude each other, which the interpreter's own loop sees to.
///
/// # Safety
///
/// This thread is attached, `callable` is alive, and these are the last three arguments of a vectorcall.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it is one call, in the place of another")]
#[expect(unsafe_code, reason = "a function is called by its pointer")]
pub unsafe fn pass_on(
    callable: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    // SAFETY: an object of exactly the type of functions is laid out as a `PyFunctionObject`; what lies in its
    // `vectorcall` is how Python itself would call it. The rest is by the function's own contract.
    unsafe {
        if ffi::PyFunction_Check(callable) != 0
            && let Some(function) = (*callable.cast::<ffi::PyFunctionObject>()).vectorcall
        {
            return function(callable, args, nargsf, names);
        }
        ffi::PyObject_Vectorcall(callable, args, nargsf, names)
    }
}

/// The arguments of a vectorcall as a tuple and a dict.
///
/// # Safety
///
/// These are the last three arguments of a vectorcall.
#[expect(unsafe_code, reason = "vectorcall hands over an array")]
pub unsafe fn arguments(
    py: Python<'_>,
    args: *const *mut ffi::PyObject,
    nargsf: usize,
    names: *mut ffi::PyObject,
) -> PyResult<(Bound<'_, PyTuple>, Option<Bound<'_, PyDict>>)> {
    // SAFETY: of these arguments there are `nargs` by place, and after them one for each of the names, a
    // tuple of strings or null; all are borrowed from a caller who keeps them alive.
    unsafe {
        let places = ffi::PyVectorcall_NARGS(nargsf).unsigned_abs();
        let argument = |place: usize| Bound::from_borrowed_ptr(py, *args.add(place));
        let by_place = PyTuple::new(py, (0..places).map(argument))?;
        if names.is_null() {
            return Ok((by_place, None));
        }
        let by_name = PyDict::new(py);
        let names = Borrowed::from_ptr(py, names).cast_unchecked::<PyTuple>();
        for (place, name) in names.iter_borrowed().enumerate() {
            by_name.set_item(name, argument(places + place))?;
        }
        Ok((by_place, Some(by_name)))
    }
}
