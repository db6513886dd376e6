//! The verdict on a plain exception, from its class alone.
//!
//! The rules are Python's: `holdfast._classify.judge_plain`. Of most classes it says the same of every instance
//! that carries no attributes and was raised from nothing; that is asked once for each class, and remembered
//! here. A class is known by its version tag, which CPython gives it and takes away when the class or one of
//! its bases changes, and never gives to another: so a changed class is a new one, and is asked about anew.

use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pyo3::exceptions::PyException;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::base::{Failure, Verdict};
use crate::python::once::{Once, intern};

/// Classes remembered at a time. Two with the same place take turns.
const PLACES: usize = 256;

/// `version tag:32 | answer:8` for each place.
static SEEN: [AtomicU64; PLACES] = [const { AtomicU64::new(0) }; PLACES];

/// What is known of a class.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Known {
    /// Its instances must be looked at one by one.
    Look = 1,
    /// A plain failure.
    Fail = 2,
    /// Neither good nor bad, whatever an instance says.
    Ignore = 3,
}

/// What `judge_plain` would answer, where that is known without asking it.
#[inline]
pub fn at_once(exception: Borrowed<'_, '_, PyAny>) -> Option<Verdict> {
    match seen(exception)? {
        Known::Ignore => Some(Verdict::Ignore),
        Known::Fail if is_bare(exception) => Some(Verdict::Fail(Failure::plain())),
        Known::Fail | Known::Look => None,
    }
}

/// What is remembered of its class.
#[inline]
fn seen(exception: Borrowed<'_, '_, PyAny>) -> Option<Known> {
    let tag = tag(exception)?;
    let word = SEEN[place(tag)].load(Ordering::Relaxed);
    (word >> 8 == u64::from(tag)).then_some(match word & 0xff {
        2 => Known::Fail,
        3 => Known::Ignore,
        _ => Known::Look,
    })
}

/// Asks Python about the class of an exception that had to be judged the long way, and remembers the answer.
/// If that goes wrong, it is asked again next time.
///
/// # Errors
/// What interrupted it and is no `Exception`.
pub fn learn(exception: &Bound<'_, PyAny>) -> PyResult<()> {
    let harmless = |error: &PyErr| error.is_instance_of::<PyException>(exception.py());
    match look(exception) {
        Err(error) if !harmless(&error) => Err(error),
        _ => Ok(()),
    }
}

fn look(exception: &Bound<'_, PyAny>) -> PyResult<()> {
    static LEARN: Once<Py<PyAny>> = Once::new();
    let py = exception.py();
    if seen(exception.as_borrowed()).is_some() {
        return Ok(());
    }
    // To look something up gives the class a tag, if it can have one.
    exception.hasattr(intern!(py, "args"))?;
    let Some(before) = tag(exception.as_borrowed()) else { return Ok(()) };
    let answer: u8 =
        LEARN.import(py, "holdfast._classify.plain", "learn")?.call1((exception.get_type(),))?.extract()?;
    let known = match answer {
        2 => Known::Fail,
        3 => Known::Ignore,
        _ => Known::Look,
    };
    // By the tag it had before it was looked at: if it has changed meanwhile, that is nobody's any more.
    SEEN[place(before)].store(u64::from(before) << 8 | known as u64, Ordering::Relaxed);
    Ok(())
}

const fn place(tag: u32) -> usize {
    tag as usize % PLACES
}

/// The version tag of its class, if that has one at present.
#[inline]
#[expect(unsafe_code, reason = "PyO3 does not read version tags")]
fn tag(exception: Borrowed<'_, '_, PyAny>) -> Option<u32> {
    // SAFETY: a live object has a live type. The tag is read atomically, because without the GIL another
    // thread may change it meanwhile; either reading is right for one moment of this call.
    unsafe {
        let class = ffi::Py_TYPE(exception.as_ptr());
        #[cfg(not(Py_3_12))]
        if (*class).tp_flags & ffi::Py_TPFLAGS_VALID_VERSION_TAG == 0 {
            return None;
        }
        let tag = AtomicU32::from_ptr(&raw mut (*class).tp_version_tag).load(Ordering::Relaxed);
        (tag != 0).then_some(tag)
    }
}

/// Has it no attributes of its own, and was it raised from nothing?
#[inline]
#[expect(unsafe_code, reason = "PyO3 does not read the fields of an exception")]
fn is_bare(exception: Borrowed<'_, '_, PyAny>) -> bool {
    // SAFETY: what was raised is an instance of a subclass of `BaseException`, whose layout begins with that
    // of `PyBaseExceptionObject`. A dict that is not null is a live dict.
    unsafe {
        let fields = exception.as_ptr().cast::<ffi::PyBaseExceptionObject>();
        let (dict, cause) = (ptr::read(&raw const (*fields).dict), ptr::read(&raw const (*fields).cause));
        cause.is_null() && (dict.is_null() || ffi::PyDict_Size(dict) == 0)
    }
}
