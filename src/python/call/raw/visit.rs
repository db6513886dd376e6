//! What Python's garbage collector is shown.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::num::NonZero;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::{Py, ffi};

/// Whoever wants to see the references an object holds: PyO3's visitor, or that of a raw object.
pub trait Visitor {
    /// Why it stopped.
    type Stop;

    /// Shows it a reference, if there is one.
    fn call<'a, T, U: 'a>(&self, object: T) -> Result<(), Self::Stop>
    where
        T: Into<Option<&'a Py<U>>>;
}

impl Visitor for PyVisit<'_> {
    type Stop = PyTraverseError;

    fn call<'a, T, U: 'a>(&self, object: T) -> Result<(), PyTraverseError>
    where
        T: Into<Option<&'a Py<U>>>,
    {
        PyVisit::call(self, object)
    }
}

/// The visitor of a raw object, for the time of one `tp_traverse`.
#[derive(Debug)]
pub struct Visit<'a> {
    show: ffi::visitproc,
    arg: *mut c_void,
    within: PhantomData<&'a ()>,
}

/// The collector wants to see no more: its answer.
#[derive(Debug)]
pub struct Stop(pub(super) NonZero<c_int>);

impl Visit<'_> {
    #[expect(unsafe_code, reason = "the collector's own pair of pointers")]
    /// # Safety
    ///
    /// The pair is what `tp_traverse` was given, and this lives no longer than that call.
    pub(super) const unsafe fn new(visit: ffi::visitproc, arg: *mut c_void) -> Self {
        Self { show: visit, arg, within: PhantomData }
    }

    /// Shows it an object by its pointer; null is passed over.
    ///
    /// # Safety
    ///
    /// The pointer is null, or that of a live object.
    #[expect(unsafe_code, reason = "it calls back into C")]
    pub unsafe fn pointer(&self, object: *mut ffi::PyObject) -> Result<(), Stop> {
        if object.is_null() {
            return Ok(());
        }
        // SAFETY: the pair belongs together and is valid now (see `new`); the object is alive.
        let answer = unsafe { (self.show)(object, self.arg) };
        NonZero::new(answer).map_or(Ok(()), |answer| Err(Stop(answer)))
    }
}

impl Visitor for Visit<'_> {
    type Stop = Stop;

    fn call<'a, T, U: 'a>(&self, object: T) -> Result<(), Stop>
    where
        T: Into<Option<&'a Py<U>>>,
    {
        let pointer = object.into().map_or_else(std::ptr::null_mut, Py::as_ptr);
        #[expect(unsafe_code, reason = "a pointer taken from a reference")]
        // SAFETY: a `Py` keeps its object alive.
        unsafe {
            self.pointer(pointer)
        }
    }
}
