//! The packed word that is a breaker's state: `mode:3 | era:21 | payload:40`.

use crate::base::Time;
use crate::window::Era;

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Admits and judges every call.
    Closed = 0,
    /// Held closed by an operator: admits every call, judges none.
    ForcedClosed = 1,
    /// Switched off by an operator: admits every call, judges none.
    Disabled = 2,
    /// Judges every call and says when it would have opened, but admits all (B21).
    Shadow = 3,
    /// Refuses every call until its time is over.
    Open = 4,
    /// Admits a few probes and refuses the rest.
    HalfOpen = 5,
    /// Held open by an operator.
    ForcedOpen = 6,
}

impl State {
    /// Every state there is, in the order of their bits.
    pub const ALL: [Self; 7] = [
        Self::Closed,
        Self::ForcedClosed,
        Self::Disabled,
        Self::Shadow,
        Self::Open,
        Self::HalfOpen,
        Self::ForcedOpen,
    ];

    /// Its name, as Python users read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ForcedClosed => "forced_closed",
            Self::Disabled => "disabled",
            Self::Shadow => "shadow",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
        }
    }

    /// Does it refuse calls?
    #[must_use]
    pub const fn refuses(self) -> bool {
        matches!(self, Self::Open | Self::HalfOpen | Self::ForcedOpen)
    }

    /// Has an operator put it there, so that only an operator ends it (B20)?
    #[must_use]
    pub const fn is_manual(self) -> bool {
        matches!(self, Self::ForcedClosed | Self::Disabled | Self::Shadow | Self::ForcedOpen)
    }
}

/// The state word. What the payload means depends on the mode:
///
/// | mode | payload |
/// |---|---|
/// | closed | the millisecond it closed: how long it has been healthy (B14) |
/// | open | the millisecond it ends, rounded down; the cell knows the rest |
/// | half-open | good probes of this round so far |
/// | shadow | the millisecond until which it would be open; 0: it would not |
/// | forced open, forced closed, disabled | nothing |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    const PAYLOAD_BITS: u32 = 40;
    /// The greatest payload: in milliseconds, 34 years after the origin. Later moments stop there.
    pub const PAYLOAD_MAX: u64 = (1 << Self::PAYLOAD_BITS) - 1;
    /// A new breaker: closed, in the first era, since the origin.
    pub const START: Self = Self(0);

    /// The word of these three, the payload cut off at its greatest value.
    #[must_use]
    pub const fn new(mode: State, era: Era, payload: u64) -> Self {
        let payload = if payload > Self::PAYLOAD_MAX { Self::PAYLOAD_MAX } else { payload };
        Self(
            (mode as u64) << (Self::PAYLOAD_BITS + Era::BITS)
                | (era.number() as u64) << Self::PAYLOAD_BITS
                | payload,
        )
    }

    /// The word as an atomic holds it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The word that an atomic held.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The mode.
    #[must_use]
    pub const fn mode(self) -> State {
        match self.0 >> (Self::PAYLOAD_BITS + Era::BITS) {
            0 => State::Closed,
            1 => State::ForcedClosed,
            2 => State::Disabled,
            3 => State::Shadow,
            4 => State::Open,
            5 => State::HalfOpen,
            _ => State::ForcedOpen,
        }
    }

    /// Is this its mode? Where others are of no interest, this is less than [`mode`](Word::mode).
    #[must_use]
    #[inline]
    pub const fn is(self, mode: State) -> bool {
        self.0 >> (Self::PAYLOAD_BITS + Era::BITS) == mode as u64
    }

    /// The era.
    #[must_use]
    pub const fn era(self) -> Era {
        Era::new((self.0 >> Self::PAYLOAD_BITS) as u32)
    }

    /// The payload.
    #[must_use]
    pub const fn payload(self) -> u64 {
        self.0 & Self::PAYLOAD_MAX
    }

    /// The payload as a moment.
    #[must_use]
    pub const fn moment(self) -> Time {
        Time::from_millis(self.payload())
    }

    /// Mode and era in one number: equal stamps mean that nothing has changed in between.
    #[must_use]
    pub const fn stamp(self) -> u32 {
        (self.0 >> Self::PAYLOAD_BITS) as u32
    }

    /// The era in a stamp.
    #[must_use]
    pub const fn era_of(stamp: u32) -> Era {
        Era::new(stamp)
    }

    /// The word of the next era.
    #[must_use]
    pub const fn turn(self, mode: State, payload: u64) -> Self {
        Self::new(mode, self.era().next(), payload)
    }

    /// The same word with another payload: the era goes on.
    #[must_use]
    pub const fn with_payload(self, payload: u64) -> Self {
        Self::new(self.mode(), self.era(), payload)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The three parts of the word do not touch each other, at their greatest values too.
    #[test]
    fn packs_and_unpacks() {
        for mode in State::ALL {
            for (era, payload) in [(0, 0), (u32::MAX, u64::MAX), (7, 9)] {
                let word = Word::new(mode, Era::new(era), payload);
                assert_eq!((word.mode(), word.era()), (mode, Era::new(era)));
                assert!(State::ALL.iter().all(|other| word.is(*other) == (*other == mode)));
                assert_eq!(word.payload(), payload.min(Word::PAYLOAD_MAX));
                assert_eq!(Word::era_of(word.stamp()), word.era());
            }
        }
    }
}
