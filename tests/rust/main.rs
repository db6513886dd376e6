//! The core, tested from outside.
