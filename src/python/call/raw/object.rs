//! The layout of our own objects, and a reference that knows what it refers to.
//!
//! ```text
//!   reference count · type │ vectorcall │ dict │ weak references │ the body, a Rust value
//! ```

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use pyo3::prelude::*;
use pyo3::{PyResult, Python, ffi};

use super::class::{Class, Slot};
use super::entry::attached;
use super::visit::{Stop, Visit};

/// What a kind of raw object is made of.
pub trait Body: Sized + Send + 'static {
    /// Its name, with the module.
    const NAME: &'static CStr;
    /// Its docstring.
    const DOC: &'static CStr;
    /// Is it called, and bound as a method where it stands in a class? Then it has a `__dict__` as well, as
    /// functions have.
    const CALLABLE: bool = false;
    /// Is the memory of dead ones kept for new ones?
    const KEPT: bool = false;

    /// Where its type is found.
    fn class() -> &'static Class;

    /// The type's slots, beside those that every raw object has.
    fn slots() -> Vec<Slot>;

    /// Shows the collector what it holds.
    fn traverse(&self, visit: &Visit<'_>) -> Result<(), Stop>;

    /// Gives up what it holds, before its memory is: for bodies that hold plain pointers and so have nothing to
    /// drop. The interpreter is attached, though PyO3 does not know.
    fn release(&mut self, _py: Python<'_>) {}

    /// The collector has found it in a circle of rubbish: gives up what may close such a circle. A body that
    /// never changes leaves that to the others in the circle, one of which has changed, or there were none.
    fn clear(&self, _py: Python<'_>) {}
}

/// An object as it lies in memory.
#[repr(C)]
#[derive(Debug)]
pub struct Object<B> {
    pub(super) base: ffi::PyObject,
    pub(super) vectorcall: Option<ffi::vectorcallfunc>,
    pub(super) dict: *mut ffi::PyObject,
    pub(super) weak: *mut ffi::PyObject,
    pub(super) body: B,
}

/// An owned reference to a raw object of this kind.
#[derive(Debug)]
#[repr(transparent)]
pub struct Raw<B: Body>(Py<PyAny>, PhantomData<B>);

impl<B: Body> Raw<B> {
    /// Makes an object; `vectorcall` is how it is called, if it is.
    #[inline]
    #[expect(unsafe_code, reason = "an object is made out of memory")]
    pub fn new(py: Python<'_>, body: B, vectorcall: Option<ffi::vectorcallfunc>) -> PyResult<Self> {
        const { assert!(align_of::<Object<B>>() <= align_of::<*const ()>()) };
        let class = B::class().pointer();
        // SAFETY: the type is ready and describes `Object<B>`. Memory that was kept has had such an object in
        // it and is as good as new after `PyObject_Init`. What is written is memory that nobody else knows
        // yet; `body` moves in, and is whole before the collector may look at it.
        unsafe {
            let object = match B::class().kept.take(py) {
                Some(block) if B::KEPT => ffi::PyObject_Init(block.as_ptr(), class),
                _ => ffi::PyObject_GC_New::<ffi::PyObject>(class),
            };
            let Some(this) = NonNull::new(object.cast::<Object<B>>()) else {
                return Err(PyErr::fetch(py));
            };
            let this = this.as_ptr();
            (&raw mut (*this).vectorcall).write(vectorcall);
            (&raw mut (*this).dict).write(ptr::null_mut());
            (&raw mut (*this).weak).write(ptr::null_mut());
            (&raw mut (*this).body).write(body);
            ffi::PyObject_GC_Track(object.cast());
            if B::CALLABLE {
                share(object);
            }
            Ok(Self(Bound::from_owned_ptr(py, object).unbind(), PhantomData))
        }
    }

    /// A new reference to an object of this kind.
    ///
    /// # Safety
    ///
    /// The pointer is that of a live object whose type is `B`'s.
    #[inline]
    #[expect(unsafe_code, reason = "a pointer becomes a reference")]
    pub unsafe fn from_borrowed(py: Python<'_>, object: *mut ffi::PyObject) -> Self {
        // SAFETY: by the function's own contract.
        Self(unsafe { Bound::from_borrowed_ptr(py, object) }.unbind(), PhantomData)
    }

    /// Is this an object of this kind?
    pub fn is(object: &Bound<'_, PyAny>) -> bool {
        object.get_type_ptr() == B::class().pointer()
    }

    /// The body.
    #[inline]
    #[expect(unsafe_code, reason = "a pointer becomes a reference")]
    pub fn get(&self) -> &B {
        // SAFETY: by construction this is an object of `B`'s type, alive as long as this reference. A body is
        // only ever borrowed shared.
        unsafe { body(self.0.as_ptr()) }
    }

    /// The object as Python has it.
    #[inline]
    pub fn bind<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyAny> {
        self.0.bind(py)
    }

    /// Another reference to the same object.
    #[inline]
    pub fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py), PhantomData)
    }

    /// The object as Python has it.
    #[inline]
    pub fn into_any(self) -> Py<PyAny> {
        self.0
    }

    /// The reference inside, for the collector.
    pub const fn as_any(&self) -> &Py<PyAny> {
        &self.0
    }
}

impl<'py, B: Body> IntoPyObject<'py> for Raw<B> {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(self.into_any().into_bound(py))
    }
}

/// The body of an object.
///
/// # Safety
///
/// The pointer is that of an object of `B`'s type which outlives the answer.
#[inline]
#[expect(unsafe_code, reason = "a pointer becomes a reference")]
pub unsafe fn body<'a, B: Body>(object: *mut ffi::PyObject) -> &'a B {
    // SAFETY: by the function's own contract; the layout is the one that `Raw::new` wrote.
    unsafe { &(*object.cast::<Object<B>>()).body }
}

/// Without the GIL: what many threads call at once must not be counted by all of them in one place, nor be
/// refused the quick load of methods.
#[cfg(all(Py_3_14, Py_GIL_DISABLED, not(windows)))]
#[expect(unsafe_code, reason = "pyo3-ffi leaves this function out")]
fn share(object: *mut ffi::PyObject) {
    unsafe extern "C" {
        fn PyUnstable_Object_EnableDeferredRefcount(object: *mut ffi::PyObject) -> c_int;
    }
    // SAFETY: a live object of ours that the collector tracks, which no other thread has seen.
    unsafe {
        PyUnstable_Object_EnableDeferredRefcount(object);
    }
}

#[cfg(not(all(Py_3_14, Py_GIL_DISABLED, not(windows))))]
const fn share(_: *mut ffi::PyObject) {}

/// `tp_dealloc`.
#[expect(unsafe_code, reason = "it is called from C")]
pub(super) unsafe extern "C" fn dealloc<B: Body>(object: *mut ffi::PyObject) {
    let this = object.cast::<Object<B>>();
    // SAFETY: Python calls this once, attached, when the last reference is gone. Each part is given up before
    // the memory is: the weak references first, as long as the object is whole, then the dict and the body.
    // The type was owned by the object and is given up last.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        if !(*this).weak.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        let dict = ptr::replace(&raw mut (*this).dict, ptr::null_mut());
        ffi::Py_XDECREF(dict);
        (*this).body.release(Python::assume_attached());
        if std::mem::needs_drop::<B>() {
            let drop = || ptr::drop_in_place(&raw mut (*this).body);
            let _panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attached(|_| drop())));
        }
        let class = ffi::Py_TYPE(object);
        let kept = B::KEPT
            && NonNull::new(object)
                .is_some_and(|block| B::class().kept.keep(Python::assume_attached(), block));
        if !kept {
            ffi::PyObject_GC_Del(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

/// `tp_traverse`.
#[expect(unsafe_code, reason = "it is called from C")]
pub(super) unsafe extern "C" fn traverse<B: Body>(
    object: *mut ffi::PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector shows us a live object of our type, with the pair that `Visit` wants. An object
    // of a heap type owns its type, and shows it too.
    let seen = unsafe {
        let visit = Visit::new(visit, arg);
        visit
            .pointer(ffi::Py_TYPE(object).cast())
            .and_then(|()| visit.pointer((*object.cast::<Object<B>>()).dict))
            .and_then(|()| body::<B>(object).traverse(&visit))
    };
    seen.map_or_else(|stop| stop.0.get(), |()| 0)
}

/// `tp_clear`.
#[expect(unsafe_code, reason = "it is called from C")]
pub(super) unsafe extern "C" fn clear<B: Body>(object: *mut ffi::PyObject) -> c_int {
    let this = object.cast::<Object<B>>();
    // SAFETY: the collector shows us a live object of our type, which it keeps alive meanwhile. The dict is
    // taken out before it is given up, so that whatever that runs finds none.
    unsafe {
        let dict = ptr::replace(&raw mut (*this).dict, ptr::null_mut());
        ffi::Py_XDECREF(dict);
        let clear = || attached(|py| body::<B>(object).clear(py));
        let _panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(clear));
    }
    0
}
