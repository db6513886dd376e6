//! What to do about a call: one folder per policy, blind to each other and to the pool.
//!
//! Every policy decides and returns; none of them waits, reads a clock or calls anybody. The pipeline
//! above puts them in order, the runtime does what they say.

pub mod breaker;
pub mod chaos;
pub mod fallback;
pub mod hedge;
pub mod limit;
pub mod retry;
pub mod timeout;
