//! The core, tested from outside.

mod breaker_model;
