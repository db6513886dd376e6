//! The core, tested from outside.

mod life_of_a_heartbeat;
mod turn;
