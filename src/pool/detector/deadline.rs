//! Silence against a fixed limit: the detector of a time stamp.

use std::time::Duration;

use super::Opinion;
use super::silence::Silence;
use crate::base::{ConfigError, Time};

/// The numbers of a [`Deadline`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadlineConfig {
    /// Silence that convicts: above 0. None: the heartbeat's interval times its failure threshold.
    pub timeout: Option<Duration>,
    /// Silence that raises suspicion: above 0, below the timeout. None: half the timeout.
    pub suspect_after: Option<Duration>,
}

impl DeadlineConfig {
    /// Checks every rule above.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.timeout.is_some_and(|limit| limit.is_zero()) {
            return Err(ConfigError::new("timeout", "be greater than 0 seconds", 0.0));
        }
        let Some(suspect) = self.suspect_after else { return Ok(()) };
        if suspect.is_zero() || self.timeout.is_some_and(|limit| suspect >= limit) {
            let rule = "be greater than 0 seconds and less than timeout";
            return Err(ConfigError::new("suspect_after", rule, suspect.as_secs_f64()));
        }
        Ok(())
    }
}

/// Convicts a node that has been silent for a fixed time. The limit itself is too long.
#[derive(Clone, Debug)]
pub struct Deadline {
    limit: Duration,
    suspect: Duration,
    silence: Silence,
}

impl Deadline {
    /// A detector by `config`, where `usual` stands for a timeout that it leaves open. After being given up
    /// a node needs `to_acquit` beats in a row, at least 1.
    #[must_use]
    pub fn new(config: &DeadlineConfig, usual: Duration, to_acquit: u32) -> Self {
        let limit = config.timeout.unwrap_or(usual);
        let suspect = config.suspect_after.unwrap_or(limit / 2).min(limit);
        Self { limit, suspect, silence: Silence::new(to_acquit) }
    }

    pub(super) fn beat(&mut self, now: Time) -> Opinion {
        let too_long = self.is_over(self.limit, now);
        self.silence.beat(now, too_long)
    }

    pub(super) fn miss(&mut self, now: Time) -> Opinion {
        self.silence.miss();
        self.look(now)
    }

    pub(super) fn look(&mut self, now: Time) -> Opinion {
        let (too_long, suspect) = (self.is_over(self.limit, now), self.is_over(self.suspect, now));
        self.silence.look(now, too_long, suspect)
    }

    pub(super) fn next_change(&self, now: Time) -> Option<Time> {
        let since = self.silence.since().filter(|_| !self.silence.is_dead())?;
        [self.suspect, self.limit].into_iter().map(|span| since.after(span)).find(|&then| then > now)
    }

    pub(super) const fn listen_anew(&mut self) {
        self.silence.listen_anew();
    }

    pub(super) fn excuse(&mut self, span: Duration) {
        self.silence.excuse(span);
    }

    pub(super) const fn misses(&self) -> u32 {
        self.silence.misses()
    }

    pub(super) const fn beats_to_acquit(&self) -> u32 {
        self.silence.beats_to_acquit()
    }

    fn is_over(&self, limit: Duration, now: Time) -> bool {
        self.silence.length(now).is_some_and(|length| length >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn ten_seconds(to_acquit: u32) -> Deadline {
        let config = DeadlineConfig { timeout: Some(Duration::from_secs(10)), suspect_after: None };
        Deadline::new(&config, Duration::ZERO, to_acquit)
    }

    #[test]
    fn exactly_the_limit_is_too_long() {
        let mut d = ten_seconds(1);
        assert_eq!((d.beat(at(100)), d.next_change(at(100))), (Opinion::Well, Some(at(105))));
        assert_eq!(d.look(Time::from_millis(104_999)), Opinion::Well);
        assert_eq!((d.look(at(105)), d.next_change(at(105))), (Opinion::Suspect, Some(at(110))));
        assert_eq!(d.look(Time::from_millis(109_999)), Opinion::Suspect);
        assert_eq!((d.look(at(110)), d.next_change(at(110))), (Opinion::Lost, None));
        assert_eq!(d.beat(at(111)), Opinion::Well);
    }

    #[test]
    fn silence_counts_from_the_first_look() {
        let mut d = ten_seconds(1);
        assert_eq!(d.next_change(at(0)), None, "nobody listens yet");
        assert_eq!((d.look(at(500)), d.look(at(509)), d.look(at(510))), {
            (Opinion::Well, Opinion::Suspect, Opinion::Lost)
        });
    }

    #[test]
    fn a_long_silence_convicts_even_if_nobody_looked() {
        let mut d = ten_seconds(2);
        d.beat(at(0));
        assert_eq!([d.beat(at(30)), d.beat(at(31))], [Opinion::Reviving, Opinion::Well]);
        assert_eq!([d.beat(at(60)), d.look(at(70))], [Opinion::Reviving, Opinion::Lost]);
        assert_eq!(d.beats_to_acquit(), 2, "the beats must come in a row");
    }

    #[test]
    fn a_miss_is_suspicious_and_only_silence_convicts() {
        let mut d = ten_seconds(1);
        d.beat(at(0));
        for second in 1..10 {
            assert_eq!((d.miss(at(second)), d.misses()), (Opinion::Suspect, u32::try_from(second).unwrap()));
        }
        assert_eq!(d.miss(at(10)), Opinion::Lost);
    }

    #[test]
    fn p6_what_is_excused_is_no_silence() {
        let mut d = ten_seconds(1);
        d.beat(at(0));
        d.excuse(Duration::from_mins(1));
        assert_eq!([d.look(at(64)), d.look(at(69)), d.look(at(70))], {
            [Opinion::Well, Opinion::Suspect, Opinion::Lost]
        });
    }

    #[test]
    fn each_rule_names_its_field() {
        let config = |timeout, suspect_after| DeadlineConfig { timeout, suspect_after };
        let (zero, one, two) = (Duration::ZERO, Duration::from_secs(1), Duration::from_secs(2));
        assert!(config(Some(two), Some(one)).validate().is_ok());
        assert_eq!(config(Some(zero), None).validate().unwrap_err().field, "timeout");
        assert_eq!(config(Some(one), Some(one)).validate().unwrap_err().field, "suspect_after");
        assert_eq!(config(None, Some(zero)).validate().unwrap_err().field, "suspect_after");
    }
}
