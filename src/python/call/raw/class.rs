//! The types of raw objects: made once, from slots.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::mem::offset_of;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyType;
use pyo3::{PyResult, Python, ffi};

use super::entry::enter;
use super::kept::Kept;
use super::object::{self, Body, Object, Raw};

/// Where a type is found once it is made. A static one for each kind of object.
#[derive(Debug)]
pub struct Class {
    made: AtomicPtr<ffi::PyTypeObject>,
    pub(super) kept: Kept,
}

/// One slot of a type.
#[derive(Debug)]
pub struct Slot(c_int, *mut c_void);

impl Class {
    /// Not made yet. The number tells the classes whose memory is kept apart.
    pub const fn new(number: usize) -> Self {
        Self { made: AtomicPtr::new(ptr::null_mut()), kept: Kept::new(number) }
    }

    /// Makes the type of `B` and puts it into `module`, where it lives for ever.
    #[expect(unsafe_code, reason = "a type is made from slots")]
    pub fn publish<B: Body>(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let mut slots: Vec<ffi::PyType_Slot> = common::<B>()
            .into_iter()
            .chain(B::slots())
            .map(|Slot(slot, pfunc)| ffi::PyType_Slot { slot, pfunc })
            .chain([ffi::PyType_Slot::default()])
            .collect();
        let callable =
            if B::CALLABLE { ffi::Py_TPFLAGS_HAVE_VECTORCALL | ffi::Py_TPFLAGS_METHOD_DESCRIPTOR } else { 0 };
        let flags = ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            // Or Python does not specialise the loads of attributes and methods.
            | ffi::Py_TPFLAGS_IMMUTABLETYPE
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION
            | callable;
        let mut spec = ffi::PyType_Spec {
            name: B::NAME.as_ptr(),
            basicsize: c_int::try_from(size_of::<Object<B>>())?,
            itemsize: 0,
            flags: c_uint::try_from(flags)?,
            slots: slots.as_mut_ptr(),
        };
        let py = module.py();
        // SAFETY: the specification is complete, ends with the empty slot, and what it points to lives for
        // ever, but for the array of slots, which is read now. The type is a new reference, or there is none
        // and an exception is set.
        let class = unsafe {
            let made = ffi::PyType_FromModuleAndSpec(module.as_ptr(), &raw mut spec, ptr::null_mut());
            Bound::from_owned_ptr_or_err(py, made)?.cast_into::<PyType>()?
        };
        module.add(class.name()?, &class)?;
        B::class().made.store(class.into_ptr().cast(), Ordering::Release);
        Ok(())
    }

    /// The type. Null before it is published, and then there are no objects of it either.
    #[inline]
    pub(super) fn pointer(&self) -> *mut ffi::PyTypeObject {
        self.made.load(Ordering::Relaxed)
    }
}

impl Slot {
    /// The slot with this number.
    ///
    /// # Safety
    ///
    /// The pointer is what such a slot holds, for ever.
    #[expect(unsafe_code, reason = "a pointer of any kind")]
    pub const unsafe fn new(slot: c_int, pointer: *mut c_void) -> Self {
        Self(slot, pointer)
    }

    /// Methods, kept for ever.
    pub fn methods<const N: usize>(methods: [ffi::PyMethodDef; N]) -> Self {
        let all: Vec<_> = methods.into_iter().chain([ffi::PyMethodDef::zeroed()]).collect();
        Self(ffi::Py_tp_methods, all.leak().as_mut_ptr().cast())
    }

    /// Attributes that are computed, kept for ever.
    pub fn getters<const N: usize>(getters: [ffi::PyGetSetDef; N]) -> Self {
        let all: Vec<_> = getters.into_iter().chain([ffi::PyGetSetDef::default()]).collect();
        Self(ffi::Py_tp_getset, all.leak().as_mut_ptr().cast())
    }
}

/// The slots that every raw object has.
fn common<B: Body>() -> Vec<Slot> {
    let mut members = vec![member(c"__weaklistoffset__", offset_of!(Object<B>, weak))];
    if B::CALLABLE {
        members.push(member(c"__vectorcalloffset__", offset_of!(Object<B>, vectorcall)));
        members.push(member(c"__dictoffset__", offset_of!(Object<B>, dict)));
    }
    members.push(ffi::PyMemberDef::default());
    let mut slots = vec![
        Slot(ffi::Py_tp_doc, B::DOC.as_ptr().cast_mut().cast()),
        Slot(ffi::Py_tp_members, members.leak().as_mut_ptr().cast()),
        Slot(ffi::Py_tp_dealloc, object::dealloc::<B> as *mut c_void),
        Slot(ffi::Py_tp_traverse, object::traverse::<B> as *mut c_void),
        Slot(ffi::Py_tp_clear, object::clear::<B> as *mut c_void),
    ];
    if B::CALLABLE {
        slots.push(Slot(ffi::Py_tp_call, ffi::PyVectorcall_Call as *mut c_void));
    }
    slots
}

fn member(name: &'static CStr, offset: usize) -> ffi::PyMemberDef {
    ffi::PyMemberDef {
        name: name.as_ptr(),
        type_code: ffi::Py_T_PYSSIZET,
        // The offset of a field: it fits.
        offset: offset.cast_signed(),
        flags: ffi::Py_READONLY,
        doc: ptr::null(),
    }
}

/// A method that is given its arguments by place. It is known by its type alone.
pub fn method<B, F>(name: &'static CStr, doc: &'static CStr, _: F) -> ffi::PyMethodDef
where
    B: Body,
    F: for<'py> Fn(&Bound<'py, PyAny>, &Raw<B>, &[Bound<'py, PyAny>]) -> PyResult<Py<PyAny>> + Copy + 'static,
{
    ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: call_method::<B, F> },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: doc.as_ptr(),
    }
}

/// An attribute that is computed. It is known by its type alone.
pub fn getter<B, F>(name: &'static CStr, doc: &'static CStr, _: F) -> ffi::PyGetSetDef
where
    B: Body,
    F: Fn(Python<'_>, &Raw<B>) -> PyResult<Py<PyAny>> + Copy + 'static,
{
    ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(call_getter::<B, F>),
        set: None,
        doc: doc.as_ptr(),
        closure: ptr::null_mut(),
    }
}

/// A function that carries no data, by its type alone: a function's name, or a closure that captures nothing.
#[expect(unsafe_code, reason = "a value without bytes")]
const fn conjured<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0) };
    // SAFETY: a value of no size has no bytes to be wrong, and one of this `Copy` type has been given to
    // `method` or `getter`, so that there may be another.
    unsafe { std::mem::zeroed() }
}

#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn call_method<B, F>(
    this: *mut ffi::PyObject,
    args: *mut *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
) -> *mut ffi::PyObject
where
    B: Body,
    F: for<'py> Fn(&Bound<'py, PyAny>, &Raw<B>, &[Bound<'py, PyAny>]) -> PyResult<Py<PyAny>> + Copy + 'static,
{
    // SAFETY: Python calls a method attached, on a live object of the type that the method was made for, with
    // as many arguments as it says, all alive.
    unsafe {
        enter(|py| {
            let given = (0..nargs.unsigned_abs()).map(|place| Bound::from_borrowed_ptr(py, *args.add(place)));
            let given: Vec<_> = given.collect();
            let raw = Raw::from_borrowed(py, this);
            conjured::<F>()(raw.bind(py), &raw, &given)
        })
    }
}

#[expect(unsafe_code, reason = "it is called from C")]
unsafe extern "C" fn call_getter<B, F>(this: *mut ffi::PyObject, _: *mut c_void) -> *mut ffi::PyObject
where
    B: Body,
    F: Fn(Python<'_>, &Raw<B>) -> PyResult<Py<PyAny>> + Copy + 'static,
{
    // SAFETY: Python reads an attribute attached, on a live object of the type that it was made for.
    unsafe { enter(|py| conjured::<F>()(py, &Raw::from_borrowed(py, this))) }
}
