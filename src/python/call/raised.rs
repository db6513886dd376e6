//! The exception that the user's code has raised, taken from the interpreter and given back as it was.
//!
//! PyO3's `PyErr` would do, and costs more than all else on the way of a failing call: it is boxed, and to
//! drop it PyO3 must know that this thread is attached.

use pyo3::ffi;
use pyo3::prelude::*;

/// An exception on its way to the caller, held up. It must be put back: nothing else lets go of it.
#[derive(Debug)]
#[must_use = "an exception is held up until it is put back"]
pub struct Raised {
    exception: *mut ffi::PyObject,
    #[cfg(not(Py_3_12))]
    class: *mut ffi::PyObject,
    #[cfg(not(Py_3_12))]
    traceback: *mut ffi::PyObject,
}

impl Raised {
    /// Takes the exception that is set, an instance; none is set afterwards.
    ///
    /// # Safety
    ///
    /// This thread is attached, and an exception is set.
    #[inline]
    #[expect(unsafe_code, reason = "an exception changes hands")]
    pub unsafe fn take() -> Self {
        #[cfg(Py_3_12)]
        // SAFETY: attached; what is set becomes ours.
        unsafe {
            Self { exception: ffi::PyErr_GetRaisedException() }
        }
        #[cfg(not(Py_3_12))]
        // SAFETY: attached; the three become ours. An exception that C code has set as a class and a text
        // becomes an instance, as it would for an `except`.
        unsafe {
            let none = std::ptr::null_mut();
            let mut raised = Self { exception: none, class: none, traceback: none };
            let Self { exception, class, traceback } = &mut raised;
            ffi::PyErr_Fetch(class, exception, traceback);
            if exception.is_null() || ffi::PyExceptionInstance_Check(*exception) == 0 {
                ffi::PyErr_NormalizeException(class, exception, traceback);
            }
            raised
        }
    }

    /// The exception.
    #[inline]
    #[expect(unsafe_code, reason = "a pointer becomes a reference")]
    pub fn get<'py>(&self, py: Python<'py>) -> Borrowed<'_, 'py, PyAny> {
        // SAFETY: it was set, so that there is one, and it is ours until it is put back.
        unsafe { Borrowed::from_ptr(py, self.exception) }
    }

    /// Sets it again, as it was.
    #[inline]
    #[expect(unsafe_code, reason = "an exception changes hands")]
    pub fn put_back(self, _py: Python<'_>) {
        #[cfg(Py_3_12)]
        // SAFETY: attached; it was ours and becomes the interpreter's.
        unsafe {
            ffi::PyErr_SetRaisedException(self.exception);
        }
        #[cfg(not(Py_3_12))]
        // SAFETY: attached; the three were ours and become the interpreter's.
        unsafe {
            ffi::PyErr_Restore(self.class, self.exception, self.traceback);
        }
    }
}
