//! Every side effect: time, dice, background tasks, probes over the network, and delivery of events.
//!
//! Why it exists: the layers below decide and never act. What they decide by (the moment, the dice, the
//! outcome of a probe) comes from here, and what they tell (events) leaves through here.
//!
//! ```text
//!   clock     the one door for time: the system's, or one that a test moves by hand
//!   dice      random words, different in every thread and every forked child
//!   engine    tokio, started at the first need, never at import
//!   background one task for something that lives: look, begin, wait
//!   ticker    the heartbeat of one pool:  clock ─▶ pool.due ─▶ probe ─▶ pool.beat | pool.miss ─▶ dispatch
//!   medic     restarts of nodes that are out:  pool.recovery ─▶ restart ─▶ sync ─▶ probes ─▶ pool.acquit
//!   probe     HTTP and TCP questions to a node
//!   errands   work that Python does for our tasks
//!   dispatch  events on their way to listeners: ordered, bounded, outside every lock of the core
//!   process   what a fork does to all of the above (R2)
//! ```
//!
//! What it deliberately does not do: it decides nothing about a call or a node, and it never touches
//! Python. Calls do not pass through here either: one hop into tokio and back costs more than a call.

mod background;
pub mod clock;
pub mod dice;
pub mod dispatch;
pub mod engine;
pub mod errands;
pub mod medic;
pub mod probe;
pub mod process;
pub mod ticker;

pub use medic::Medic;
pub use probe::Probe;
pub use process::{after_fork_in_child, after_fork_in_parent, before_fork};
pub use ticker::Ticker;
