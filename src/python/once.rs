//! Things made once, without a lock that a fork could catch.
//!
//! PyO3's own `PyOnceLock`, and with it `pyo3::intern!`, takes a lock and then waits for the interpreter to make
//! the value. A thread that forks meanwhile leaves its child a lock that nobody holds and nobody gives back:
//! the child then waits for ever (R2). Here everybody who finds nothing makes the value and offers it; the
//! first one stands, and the others throw their copy away. The lock inside is held only by a thread that is
//! attached and does not let go of the interpreter meanwhile, so that nobody can fork in between.

use std::sync::OnceLock;

use pyo3::PyTypeCheck;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// A value made at first use.
#[derive(Debug)]
pub struct Once<T>(OnceLock<T>);

impl<T> Once<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The value, if there is one.
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// The value; `make` may run more than once, and then one of what it made stands.
    ///
    /// # Errors
    /// What `make` raised. The next one who asks tries again.
    #[inline]
    pub fn get_or_try(&self, make: impl FnOnce() -> PyResult<T>) -> PyResult<&T> {
        if let Some(value) = self.0.get() {
            return Ok(value);
        }
        self.offer(make)
    }

    #[cold]
    fn offer(&self, make: impl FnOnce() -> PyResult<T>) -> PyResult<&T> {
        let value = make()?;
        Ok(self.0.get_or_init(|| value))
    }
}

impl<T: PyTypeCheck> Once<Py<T>> {
    /// The attribute `name` of `module`, imported at first use.
    ///
    /// # Errors
    /// What the import raised, or that it is not of this type.
    #[inline]
    pub fn import<'a, 'py>(
        &'a self,
        py: Python<'py>,
        module: &str,
        name: &str,
    ) -> PyResult<&'a Bound<'py, T>> {
        let make = || Ok(py.import(module)?.getattr(name)?.cast_into::<T>()?.unbind());
        Ok(self.get_or_try(make)?.bind(py))
    }
}

impl Once<Py<PyString>> {
    /// `text` as an interned string.
    pub fn interned<'a, 'py>(&'a self, py: Python<'py>, text: &str) -> &'a Bound<'py, PyString> {
        if let Some(interned) = self.0.get() {
            return interned.bind(py);
        }
        let interned = PyString::intern(py, text).unbind();
        self.0.get_or_init(|| interned).bind(py)
    }
}

/// An interned string, made at first use: `pyo3::intern!` that a fork cannot catch half-way.
macro_rules! intern {
    ($py:expr, $text:literal) => {{
        static INTERNED: $crate::python::once::Once<::pyo3::Py<::pyo3::types::PyString>> =
            $crate::python::once::Once::new();
        INTERNED.interned($py, $text)
    }};
}
pub(crate) use intern;
