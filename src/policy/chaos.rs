//! Chaos: faults on purpose, at the innermost place, so that every policy around them is exercised.
//!
//! What happens to a call is rolled from dice of its own: with a seed the same faults come in the same order.
//! It injects nothing itself; the driver's side carries out what is rolled.

use std::time::Duration;

use parking_lot::Mutex;

use crate::base::{ConfigError, Dice, SplitMix};

/// What may happen to a call; each share is 0 to 1, and faults exclude each other in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChaosConfig {
    /// Fails at once.
    pub error: f64,
    /// Never answers.
    pub hang: f64,
    /// A stream breaks after some items.
    pub cut_stream: f64,
    /// Answers something that is not true.
    pub bad_answer: f64,
    /// The shortest and the longest time that is added before the call.
    pub latency: (Duration, Duration),
    /// The share of calls it is added to.
    pub latency_share: f64,
}

/// The fault of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None.
    Nothing,
    /// It fails at once.
    Error,
    /// It never answers.
    Hang,
    /// Its stream breaks after that many items.
    Cut(u32),
    /// Its answer is not true.
    Bad,
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mischief {
    /// How much later it begins.
    pub latency: Duration,
    /// What goes wrong then.
    pub fault: Fault,
}

/// A source of faults; the instance is the state of its dice.
#[derive(Debug)]
pub struct Chaos {
    config: ChaosConfig,
    dice: Mutex<SplitMix>,
}

/// A stream is cut after one item to this many.
const LONGEST_CUT: usize = 5;

impl ChaosConfig {
    /// Checks the numbers.
    pub fn validate(self) -> Result<Self, ConfigError> {
        let shares = [
            ("error_rate", self.error),
            ("hang", self.hang),
            ("cut_stream", self.cut_stream),
            ("bad_answer", self.bad_answer),
            ("latency_rate", self.latency_share),
        ];
        for (field, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return Err(ConfigError::new(field, "be a share from 0 to 1", share));
            }
        }
        let sum = self.error + self.hang + self.cut_stream + self.bad_answer;
        if sum > 1.0 + 1e-9 {
            return Err(ConfigError::new("error_rate", "add up to at most 1 with the other faults", sum));
        }
        if self.latency.1 < self.latency.0 {
            return Err(ConfigError::new("latency", "be (least, most)", format!("{:?}", self.latency)));
        }
        Ok(self)
    }
}

impl Chaos {
    /// Faults rolled from `seed`.
    #[must_use]
    pub const fn new(config: ChaosConfig, seed: u64) -> Self {
        Self { config, dice: Mutex::new(SplitMix::new(seed)) }
    }

    /// What happens to the call that begins now. Each call takes the same number of rolls, so that one share
    /// changed leaves the rest of the run as it was.
    #[must_use]
    pub fn roll(&self, stream: bool) -> Mischief {
        let mut dice = self.dice.lock();
        let (which, whether, how_long, how_far) =
            (dice.unit(), dice.unit(), dice.unit(), dice.below(LONGEST_CUT));
        drop(dice);
        let (least, most) = self.config.latency;
        let late = whether < self.config.latency_share;
        let latency =
            if late { least + most.saturating_sub(least).mul_f64(how_long) } else { Duration::ZERO };
        Mischief { latency, fault: self.fault(which, how_far, stream) }
    }

    fn fault(&self, which: f64, how_far: usize, stream: bool) -> Fault {
        let cut = Fault::Cut(1 + u32::try_from(how_far).unwrap_or(0));
        let faults = [
            (self.config.error, Fault::Error),
            (self.config.hang, Fault::Hang),
            (self.config.cut_stream, if stream { cut } else { Fault::Nothing }),
            (self.config.bad_answer, Fault::Bad),
        ];
        let mut below = 0.0;
        for (share, fault) in faults {
            below += share;
            if which < below {
                return fault;
            }
        }
        Fault::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything_and_shares_are_kept() {
        let config = ChaosConfig {
            error: 0.2,
            hang: 0.1,
            cut_stream: 0.1,
            bad_answer: 0.1,
            latency: (Duration::from_millis(10), Duration::from_millis(20)),
            latency_share: 0.5,
        };
        let run = |seed| {
            let chaos = Chaos::new(config.validate().unwrap(), seed);
            (0..10_000).map(|_| chaos.roll(true)).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        let rolled = run(7);
        let share = |is: &dyn Fn(&Mischief) -> bool| rolled.iter().filter(|m| is(m)).count();
        assert!((1800..2200).contains(&share(&|m| m.fault == Fault::Error)));
        assert!((800..1200).contains(&share(&|m| m.fault == Fault::Hang)));
        assert!((800..1200).contains(&share(&|m| matches!(m.fault, Fault::Cut(1..=5)))));
        assert!((4700..5300).contains(&share(&|m| m.latency >= Duration::from_millis(10))));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let field = |config: ChaosConfig| config.validate().unwrap_err().field;
        assert_eq!(field(ChaosConfig { hang: 1.5, ..ChaosConfig::default() }), "hang");
        assert_eq!(field(ChaosConfig { error: 0.6, hang: 0.6, ..ChaosConfig::default() }), "error_rate");
        assert_eq!(field(ChaosConfig { error: f64::NAN, ..ChaosConfig::default() }), "error_rate");
    }
}
