//! `breaker.state` without the trampoline that PyO3 puts around a getter.
//!
//! Reading the state costs three instructions, and the way to them through a PyO3 getter ten times as much:
//! an attachment is counted, a panic guarded against, the object's class looked up again. For an attribute
//! that dashboards and tests read in loops we give Python a getter of our own. It may do without all three:
//! the caller is Python, so it is attached; nothing in it can panic; and the descriptor, which Python itself
//! holds to its class, is made only for subclasses of ours.

use std::ffi::c_void;
use std::ptr;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::python::policies::CircuitBreaker;

/// Puts the quick `state` into `class`, a Python subclass of the native breaker.
#[pyfunction]
#[pyo3(signature = (class, /))]
pub fn quicken_state(class: &Bound<'_, PyType>) -> PyResult<()> {
    let py = class.py();
    if !class.is_subclass_of::<CircuitBreaker>()? {
        return Err(PyTypeError::new_err("this is not a subclass of the native CircuitBreaker"));
    }
    let described = ffi::PyGetSetDef {
        name: c"state".as_ptr(),
        get: Some(state),
        set: None,
        doc: c"Its state. Reading changes nothing.".as_ptr(),
        closure: ptr::null_mut(),
    };
    // A descriptor refers to its description for ever, and so does this process: there is one per class.
    let described = Box::leak(Box::new(described));
    #[expect(unsafe_code, reason = "PyO3 has no descriptors of one's own")]
    // SAFETY: `class` is a live type, `described` lives for ever, and we own the new reference, or there is
    // none and Python's error is set.
    let descriptor = unsafe {
        let made = ffi::PyDescr_NewGetSet(class.as_type_ptr(), described);
        Bound::from_owned_ptr_or_err(py, made)?
    };
    class.setattr("state", descriptor)
}

/// Python calls this for instances of the class that the descriptor was made for, and of its subclasses.
#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn state(breaker: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject {
    // SAFETY: whoever asks for an attribute is attached to the interpreter.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: `breaker` is a live object, borrowed from the caller; the descriptor has checked its class, and
    // `quicken_state` that this class is one of ours.
    let breaker = unsafe { Borrowed::from_ptr(py, breaker).cast_unchecked::<CircuitBreaker>() };
    match breaker.get().state_member(py) {
        Ok(member) => member.into_ptr(),
        Err(error) => {
            error.restore(py);
            ptr::null_mut()
        }
    }
}
