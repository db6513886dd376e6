//! The values that events carry.

use std::sync::Arc;
use std::time::Duration;

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
