//! What happened, in the past tense: the core returns events and never calls anybody with them.

use std::sync::Arc;
use std::time::Duration;

use super::id::Source;
use super::verdict::kinds;

mod outbox;

pub use outbox::{Outbox, bit, mask};

/// One value of an event's named fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// Not known.
    None,
    /// A short text of ours: never a prompt, an argument, a header or a credential.
    Text(Arc<str>),
    /// A whole number.
    Count(u64),
    /// A ratio or another real number.
    Number(f64),
    /// A length of time; Python reads it as seconds.
    Span(Duration),
    /// Yes or no.
    Flag(bool),
}

impl From<&'static str> for Field {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}
impl From<Arc<str>> for Field {
    fn from(text: Arc<str>) -> Self {
        Self::Text(text)
    }
}
impl From<u32> for Field {
    fn from(n: u32) -> Self {
        Self::Count(n.into())
    }
}
impl From<u64> for Field {
    fn from(n: u64) -> Self {
        Self::Count(n)
    }
}
impl From<f64> for Field {
    fn from(x: f64) -> Self {
        Self::Number(x)
    }
}
impl From<bool> for Field {
    fn from(yes: bool) -> Self {
        Self::Flag(yes)
    }
}
impl From<Duration> for Field {
    fn from(span: Duration) -> Self {
        Self::Span(span)
    }
}
impl<T: Into<Self>> From<Option<T>> for Field {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

macro_rules! events {
    ($($(#[$meta:meta])* $variant:ident = $text:literal { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })+) => {
        kinds! {
            /// The kinds of event, in the words Python users subscribe with.
            EventKind { $($(#[$meta])* $variant = $text,)+ }
        }

        /// Something that happened.
        #[derive(Clone, Debug)]
        pub enum Event {
            $($(#[$meta])* $variant {
                /// Who says so.
                source: Source,
                $($(#[$fmeta])* $field: $ty,)*
            },)+
        }

        impl Event {
            /// Which kind it is.
            #[must_use]
            pub const fn kind(&self) -> EventKind {
                match self { $(Self::$variant { .. } => EventKind::$variant,)+ }
            }

            /// Who says so.
            #[must_use]
            pub const fn source(&self) -> &Source {
                match self { $(Self::$variant { source, .. } => source,)+ }
            }

            /// Its named fields, in the order they are declared.
            #[must_use]
            pub fn fields(&self) -> Vec<(&'static str, Field)> {
                match self {
                    $(Self::$variant { source: _, $($field,)* } =>
                        vec![$((stringify!($field), Field::from($field.clone())),)*],)+
                }
            }
        }
    };
}

events! {
    /// A breaker tripped.
    CircuitOpened = "circuit_opened" {
        /// The rule that tripped it: "consecutive_failures", "failure_rate", "slow_call_rate", "probe_failed", "retry_after", "forced".
        reason: &'static str,
        /// How long it stays open; none when it was forced open, which only an operator ends.
        open_for: Option<Duration>,
        /// Failures in a row, when it tripped.
        failures: u32,
    }
    /// An open breaker admitted its first probe.
    CircuitHalfOpened = "circuit_half_opened" {}
    /// A breaker closed again, or an operator made it admit every call.
    CircuitClosed = "circuit_closed" {
        /// "recovered", or by hand: "reset", "forced", "disabled", "shadow".
        reason: &'static str,
    }
    /// A breaker in shadow mode would have tripped here (B21).
    WouldOpen = "would_open" {
        /// The rule that would have tripped it.
        reason: &'static str,
    }
    /// A call was refused before it was tried.
    CallRejected = "call_rejected" {
        /// Why.
        reason: &'static str,
        /// After how long it is worth asking again.
        retry_after: Option<Duration>,
    }
    /// A further attempt is due after a wait.
    RetryScheduled = "retry_scheduled" {
        /// The attempt that will be made next, counted from 1.
        attempt: u32,
        /// The wait before it.
        delay: Duration,
        /// The failure that asks for it.
        error: &'static str,
        /// The node that failed, in a pool.
        node: Option<Arc<str>>,
    }
    /// A call has failed for good.
    AttemptsExhausted = "attempts_exhausted" {
        /// How many attempts were made.
        attempts: u32,
        /// The last failure.
        error: &'static str,
    }
    /// A retry was not made because the shared budget is empty.
    BudgetExhausted = "budget_exhausted" {
        /// How many attempts had been made.
        attempts: u32,
    }
    /// One more attempt was made beside one that is slow.
    HedgeStarted = "hedge_started" {
        /// The attempt, counted from 1.
        attempt: u32,
        /// The node it was made at.
        node: Option<Arc<str>>,
        /// How long the slow one had taken by then.
        after: Duration,
    }
    /// A call that failed was given another answer.
    FallbackUsed = "fallback_used" {
        /// Which: "value", "call" or "last_good".
        how: &'static str,
        /// The last failure; "rejected" if nobody was asked.
        error: &'static str,
    }
    /// A call outlived one of its clocks.
    CallTimedOut = "call_timed_out" {
        /// Which clock: "total", "attempt", "first_item", "idle".
        which: &'static str,
        /// Its limit.
        limit: Duration,
    }
    /// A call moved from a node that failed it to another.
    CallFailedOver = "call_failed_over" {
        /// The node that failed.
        from_node: Arc<str>,
        /// The node asked next.
        to_node: Arc<str>,
        /// The attempt made there, counted from 1.
        attempt: u32,
        /// The failure.
        error: &'static str,
    }
    /// A heartbeat did not come.
    HeartbeatMissed = "heartbeat_missed" {
        /// The node.
        node: Arc<str>,
        /// Misses in a row, this one included.
        misses: u32,
        /// Why it counts as missed: "timeout", "connect", "status 503", …
        reason: Arc<str>,
    }
    /// A node missed a heartbeat but is not given up yet.
    NodeSuspected = "node_suspected" {
        /// The node.
        node: Arc<str>,
        /// Why.
        reason: Arc<str>,
    }
    /// A node is given up: no call goes there until it recovers.
    NodeMarkedFailed = "node_marked_failed" {
        /// The node.
        node: Arc<str>,
        /// Who found out: "heartbeat", "breaker" or "report: …".
        reason: Arc<str>,
    }
    /// Traffic is being moved away from a failed node.
    FailoverStarted = "failover_started" {
        /// The failed node.
        node: Arc<str>,
    }
    /// Traffic has a new home (none when the failed node was the only one).
    FailoverCompleted = "failover_completed" {
        /// The failed node.
        node: Arc<str>,
        /// A node that is ready in its place.
        to_node: Option<Arc<str>>,
    }
    /// A failed node gave its first sign of life, or is being restarted.
    RecoveryStarted = "recovery_started" {
        /// The node.
        node: Arc<str>,
    }
    /// A failed node is up again.
    RecoveryCompleted = "recovery_completed" {
        /// The node.
        node: Arc<str>,
        /// How long it was down.
        downtime: Duration,
    }
    /// A node that is out is being restarted.
    RestartAttempted = "restart_attempted" {
        /// The node.
        node: Arc<str>,
        /// The attempt in this outage, counted from 1.
        attempt: u32,
    }
    /// A step of a restart has failed; the next attempt comes after a back-off.
    RestartFailed = "restart_failed" {
        /// The node.
        node: Arc<str>,
        /// The attempt in this outage.
        attempt: u32,
        /// Which step: "restart", "sync_state" or "probe".
        step: &'static str,
        /// The type of its exception, "timeout", or why the probe had no answer.
        error: Arc<str>,
    }
    /// A restart has done its work; whether the node lives is for probes to say.
    RestartCompleted = "restart_completed" {
        /// The node.
        node: Arc<str>,
        /// The attempt in this outage.
        attempt: u32,
    }
    /// A restarted node's state is up to date.
    StateSynced = "state_synced" {
        /// The node.
        node: Arc<str>,
    }
    /// A node is not restarted any more for the time being.
    RestartsExhausted = "restarts_exhausted" {
        /// The node.
        node: Arc<str>,
        /// How many restarts there were,
        restarts: u32,
        /// in this window.
        within: Duration,
        /// When it has another try.
        retry_after: Duration,
    }
    /// A node joined the pool.
    NodeAdded = "node_added" {
        /// The node.
        node: Arc<str>,
    }
    /// A node left the pool.
    NodeRemoved = "node_removed" {
        /// The node.
        node: Arc<str>,
    }
    /// A draining node has no call left.
    NodeDrained = "node_drained" {
        /// The node.
        node: Arc<str>,
    }
    /// A node fails much more often than the others, and gets no call for a while.
    NodeEjected = "node_ejected" {
        /// The node.
        node: Arc<str>,
        /// The share of its calls that failed, 0 to 1.
        failure_rate: f64,
        /// How long it is put out.
        ejected_for: Duration,
    }
    /// So few nodes are healthy that all are used.
    PanicEntered = "panic_entered" {
        /// Healthy nodes.
        healthy: u32,
        /// Nodes that are neither disabled nor draining.
        nodes: u32,
    }
    /// Enough nodes are healthy again.
    PanicLeft = "panic_left" {
        /// Healthy nodes.
        healthy: u32,
        /// Nodes that are neither disabled nor draining.
        nodes: u32,
    }
    /// The nodes' shares were computed anew.
    Rebalanced = "rebalanced" {
        /// Has any of them changed?
        changed: bool,
        /// Each node's share of its tier, such as "a=0.600 b=0.400".
        shares: Arc<str>,
    }
    /// The user's own balancer raised or answered no candidate; the node was picked in turn.
    BalancerFailed = "balancer_failed" {
        /// What went wrong: the type of its error, or "no candidate".
        error: Arc<str>,
    }
}
