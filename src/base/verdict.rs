//! What came of one attempt, in the words the policies decide by.

use std::time::Duration;

/// The judgment of one attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It answered.
    Ok,
    /// It failed.
    Fail(Failure),
    /// It asked us to slow down: cools down, does not count as failing (B26).
    Throttled(Failure),
    /// Neither good nor bad: cancelled, closed early, or excluded by the user (B7, B9).
    Ignore,
}

/// A failure and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failure {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// May the same node be asked again?
    pub retry: bool,
    /// May another node be asked?
    pub fail_over: bool,
    /// Whom it counts against.
    pub blame: Blame,
    /// How long the callee asked us to wait, if it did.
    pub delay: Option<Duration>,
}

/// Whom a failure counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The endpoint: its breaker counts it.
    Endpoint,
    /// The credential or account: its nodes cool down together.
    Credential,
    /// The model at this endpoint.
    Model,
    /// A rate: a cool-down, not a failure.
    Rate,
    /// Nobody: the caller's own fault, or ours.
    Nobody,
}

macro_rules! kinds {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant,)+ }

        impl $name {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The kind's name, as Python users read it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The kind of this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use kinds;

kinds! {
    /// The kinds of failure. The table from kind to action is the classifier's (Python side).
    FailureKind {
        /// Nothing is known but that it failed.
        Unknown = "unknown",
        /// No connection was made: the work was certainly not done.
        Connect = "connect",
        /// The connection broke: the work may have been done.
        Network = "network",
        /// The TLS certificate was refused.
        Tls = "tls",
        /// It took too long.
        Timeout = "timeout",
        /// The server said it is broken (5xx).
        Server = "server",
        /// The server said it is full (503, 529).
        Overloaded = "overloaded",
        /// Too many requests for now (429).
        RateLimit = "rate_limit",
        /// Money or a hard quota has run out.
        Quota = "quota",
        /// The credential is refused (401).
        Auth = "auth",
        /// The credential may not do this (403).
        Permission = "permission",
        /// The model or endpoint is not there (404, 410).
        NotFound = "not_found",
        /// A conflict or a lock (409, 425).
        Conflict = "conflict",
        /// Our request is wrong (400, 405, 413, 415, 422, 431).
        Request = "request",
        /// The input is longer than the model's window.
        Context = "context",
        /// A content filter or a refusal.
        Policy = "policy",
        /// The answer cannot be read.
        Malformed = "malformed",
        /// The answer ended too early to be true.
        Truncated = "truncated",
        /// The answer was read but is not what was asked for.
        Output = "output",
        /// Our own machine is at fault: no file descriptors, no free connection, a closed client.
        Local = "local",
        /// A programming error.
        Bug = "bug",
        /// A guard inside refused to try: nobody failed, and another node may still answer.
        Rejected = "rejected",
    }
}

impl Failure {
    /// The failure that a plain callable's exception is: full, retryable, the endpoint's.
    #[must_use]
    pub const fn plain() -> Self {
        Self { kind: FailureKind::Unknown, retry: true, fail_over: true, blame: Blame::Endpoint, delay: None }
    }
}

impl Verdict {
    /// The failure inside, if it is one.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Fail(f) | Self::Throttled(f) => Some(f),
            Self::Ok | Self::Ignore => None,
        }
    }

    /// Did it answer?
    #[must_use]
    pub const fn is_ok(&self) -> bool {
        matches!(self, Self::Ok)
    }

    /// Does it count against the endpoint's breaker?
    #[must_use]
    pub fn counts(&self) -> bool {
        matches!(self, Self::Fail(f) if f.blame == Blame::Endpoint)
    }
}
