//! The core, tested from outside.

mod breaker_model;
mod layering;
mod life_of_a_call;
mod life_of_a_heartbeat;
mod life_of_a_restart;
mod limits;
mod metastable;
mod queueing;
mod race;
mod turn;
