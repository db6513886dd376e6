//! Tells the compiler which CPython it builds for, so that `src/python` can write `#[cfg(Py_GIL_DISABLED)]`.
//!
//! Without the feature `python` it does nothing, so that the core builds on a machine with no interpreter.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "python")]
    pyo3_build_config::use_pyo3_cfgs();
}
