//! The core, tested from outside.

mod layering;
