//! The core, tested from outside.

mod layering;
mod life_of_a_heartbeat;
mod turn;
