//! Silence against the node's own rhythm: the φ accrual detector.
//!
//! Hayashibara, Défago, Yared, Katayama, "The φ accrual failure detector" (2004): from the gaps between
//! beats one learns how long a gap usually is, and φ says how unlikely it is that a beat is still to come:
//! φ = −log₁₀ P(gap > silence), so φ = 1 is wrong once in ten times, φ = 8 once in a hundred million.
//!
//! The gaps are taken as normally distributed, and the normal tail by its logistic approximation
//! P = e/(1+e), e = exp(−y(1.5976 + 0.070566 y²)) with y in σ (Page 1977; the error is below 0.0002). φ is
//! computed as a softplus, which neither underflows nor loses digits however long the silence.
//!
//! Three things that the paper leaves open and practice punishes (P7): the first gap after an outage is the
//! outage and not the rhythm, so it is not learned; a rhythm as regular as a clock has σ → 0, so σ has a
//! floor; and a rhythm of two or three gaps is no rhythm yet, so σ is then at least a quarter of the mean.

use std::collections::VecDeque;
use std::f64::consts::LN_10;
use std::time::Duration;

use super::Opinion;
use super::silence::Silence;
use crate::base::{ConfigError, Time};

/// Gaps before which σ is at least a quarter of the mean.
const FEW: usize = 3;
const SIGMA_OF_FEW: f64 = 0.25;
/// Suspicion is raised at this share of the threshold: for 8, where one in ten thousand beats is as late.
const SUSPECT_SHARE: f64 = 0.5;

/// The numbers of a [`Phi`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PhiConfig {
    /// The φ that convicts: finite, above 0. Default 8: wrong once in 10⁸ gaps, if the gaps are as assumed.
    pub threshold: f64,
    /// The floor on σ: above 0. Default 0.1 s, the hiccups of a network and of a scheduler.
    pub min_std: Duration,
    /// Added to the usual gap. None: in a heartbeat, as many intervals as may be missed without conviction;
    /// otherwise nothing.
    pub acceptable_pause: Option<Duration>,
    /// The gap that is expected before one is known: above 0. None: the heartbeat's interval; without one,
    /// nothing is suspected before the second beat.
    pub first_interval: Option<Duration>,
    /// How many gaps are remembered: at least 1. Default 200.
    pub max_samples: u32,
}

impl Default for PhiConfig {
    fn default() -> Self {
        Self {
            threshold: 8.0,
            min_std: Duration::from_millis(100),
            acceptable_pause: None,
            first_interval: None,
            max_samples: 200,
        }
    }
}

impl PhiConfig {
    /// Checks every rule above.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !(self.threshold.is_finite() && self.threshold > 0.0) {
            let rule = "be a finite number greater than 0";
            return Err(ConfigError::new("threshold", rule, self.threshold));
        }
        if self.min_std.is_zero() {
            return Err(ConfigError::new("min_std", "be greater than 0 seconds", 0.0));
        }
        if self.first_interval.is_some_and(|gap| gap.is_zero()) {
            return Err(ConfigError::new("first_interval", "be greater than 0 seconds", 0.0));
        }
        if self.max_samples == 0 {
            return Err(ConfigError::new("max_samples", "be at least 1", 0));
        }
        Ok(())
    }
}

/// Convicts a node whose silence has become too unlikely.
#[derive(Clone, Debug)]
pub struct Phi {
    config: PhiConfig,
    pause: f64,
    /// Seconds; the newest last.
    gaps: VecDeque<f64>,
    /// Mean and σ of the gaps, in seconds; none while nothing is known of them.
    rhythm: Option<(f64, f64)>,
    silence: Silence,
    /// The present silence begins with a beat, and none of it was ours: its length says something of the
    /// rhythm.
    telling: bool,
}

impl Phi {
    /// A detector by `config`. After being given up a node needs `to_acquit` beats in a row, at least 1.
    #[must_use]
    pub fn new(config: &PhiConfig, to_acquit: u32) -> Self {
        let mut new = Self {
            config: *config,
            pause: config.acceptable_pause.unwrap_or_default().as_secs_f64(),
            gaps: VecDeque::new(),
            rhythm: None,
            silence: Silence::new(to_acquit),
            telling: false,
        };
        new.rhythm = new.learned();
        new
    }

    /// φ at `now`; 0 while nothing is known: unknown is not bad.
    #[must_use]
    pub fn phi(&self, now: Time) -> f64 {
        match (self.silence.length(now), self.rhythm) {
            (Some(length), Some((mean, sigma))) => {
                suspicion((length.as_secs_f64() - mean - self.pause) / sigma)
            }
            _ => 0.0,
        }
    }

    pub(super) fn beat(&mut self, now: Time) -> Opinion {
        let too_long = self.phi(now) >= self.config.threshold;
        let outage = too_long || self.silence.is_dead();
        if let Some(gap) = self.silence.length(now).filter(|_| self.telling && !outage) {
            if self.gaps.len() >= self.config.max_samples as usize {
                self.gaps.pop_front();
            }
            self.gaps.push_back(gap.as_secs_f64());
            self.rhythm = self.learned();
        }
        self.telling = true;
        self.silence.beat(now, too_long)
    }

    pub(super) fn miss(&mut self, now: Time) -> Opinion {
        self.silence.miss();
        self.look(now)
    }

    pub(super) fn look(&mut self, now: Time) -> Opinion {
        let phi = self.phi(now);
        let limit = self.config.threshold;
        self.silence.look(now, phi >= limit, phi >= limit * SUSPECT_SHARE)
    }

    pub(super) fn next_change(&self, now: Time) -> Option<Time> {
        let since = self.silence.since().filter(|_| !self.silence.is_dead())?;
        let (mean, sigma) = self.rhythm?;
        let limit = self.config.threshold;
        let reaches = |phi| {
            let seconds = deviation(phi).mul_add(sigma, mean + self.pause).max(0.0);
            // Rounded up: at that moment φ is reached, not about to be.
            let span = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
            since.after(span.saturating_add(Duration::from_micros(1)))
        };
        [limit * SUSPECT_SHARE, limit].into_iter().map(reaches).find(|&then| then > now)
    }

    pub(super) const fn listen_anew(&mut self) {
        self.silence.listen_anew();
        self.telling = false;
    }

    pub(super) fn excuse(&mut self, span: Duration) {
        self.silence.excuse(span);
        self.telling = false;
    }

    pub(super) const fn misses(&self) -> u32 {
        self.silence.misses()
    }

    pub(super) const fn beats_to_acquit(&self) -> u32 {
        self.silence.beats_to_acquit()
    }

    /// Mean and σ of what is remembered.
    fn learned(&self) -> Option<(f64, f64)> {
        let n = self.gaps.len();
        let first = self.config.first_interval.map(|gap| gap.as_secs_f64());
        let mean = if n == 0 { first? } else { self.gaps.iter().sum::<f64>() / n as f64 };
        let square = |gap: &f64| (gap - mean) * (gap - mean);
        let spread = (self.gaps.iter().map(square).sum::<f64>() / n.max(1) as f64).sqrt();
        let few = if n < FEW { mean * SIGMA_OF_FEW } else { 0.0 };
        Some((mean, spread.max(self.config.min_std.as_secs_f64()).max(few)))
    }
}

/// φ of a silence that is `y` σ longer than the usual gap.
fn suspicion(y: f64) -> f64 {
    let z = exponent(y);
    // ln(1 + e^z), whichever way it does not overflow.
    let softplus = if z > 0.0 { z + (-z).exp().ln_1p() } else { z.exp().ln_1p() };
    softplus / LN_10
}

/// How many σ longer than usual a silence is at which φ is reached: the inverse of [`suspicion`].
fn deviation(phi: f64) -> f64 {
    let z = (phi * LN_10).exp_m1().ln();
    let z = if z.is_finite() { z } else { phi * LN_10 };
    // Newton on a strictly growing cubic; it is steep enough everywhere to be there in a few steps.
    let step = |y: f64| y - (exponent(y) - z) / (3.0 * 0.070_566 * y).mul_add(y, 1.5976);
    (0..40).fold(z.cbrt(), |y, _| step(y))
}

fn exponent(y: f64) -> f64 {
    y * (0.070_566 * y).mul_add(y, 1.5976)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    /// A node that has beaten every 1000 ms, the last time at the time given back: N(1000 ms, 100 ms).
    fn steady(to_acquit: u32) -> (Phi, u64) {
        let mut d = Phi::new(&PhiConfig::default(), to_acquit);
        for beat in 0..=10 {
            d.beat(ms(beat * 1000));
        }
        (d, 10_000)
    }

    #[test]
    fn p7_phi_of_a_normal_rhythm() {
        let (d, last) = steady(1);
        let vectors = [(1000, 0.30), (1200, 1.64), (1400, 4.74), (1600, 10.78), (1700, 15.37)];
        for (silence, expected) in vectors {
            let phi = d.phi(ms(last + silence));
            assert!((phi - expected).abs() <= 0.1, "φ({silence}) = {phi}, not {expected}");
        }
        assert!(d.phi(ms(last + 500)) < 0.1);
    }

    #[test]
    fn p7_phi_grows_with_the_silence_and_stays_finite() {
        let (d, last) = steady(1);
        let mut before = -1.0;
        for silence in (0..100_000).step_by(50) {
            let phi = d.phi(ms(last + silence));
            assert!(phi.is_finite() && phi > before, "φ({silence}) = {phi} after {before}");
            before = phi;
        }
        assert!(d.phi(Time::NEVER).is_finite());
    }

    #[test]
    fn p7_the_first_gap_after_an_outage_is_not_history() {
        let (mut d, last) = steady(2);
        let before = d.rhythm;
        assert_eq!(d.look(ms(last + 60_000)), Opinion::Lost);
        assert_eq!(d.beat(ms(last + 60_000)), Opinion::Reviving);
        assert_eq!(d.rhythm, before, "an outage of a minute says nothing of the rhythm");
        assert_eq!(d.beat(ms(last + 61_000)), Opinion::Well);
        assert!(d.phi(ms(last + 62_700)) > 8.0, "and the next silence is judged as the first was");
    }

    #[test]
    fn p7_a_rhythm_as_regular_as_a_clock_has_a_floor_under_its_spread() {
        let (d, _) = steady(1);
        assert_eq!(d.rhythm, Some((1.0, 0.1)));
    }

    #[test]
    fn p14_nothing_is_suspected_before_anything_is_known() {
        let mut d = Phi::new(&PhiConfig::default(), 1);
        assert_eq!((d.look(ms(0)), d.phi(ms(60_000)), d.next_change(ms(0))), (Opinion::Well, 0.0, None));
        d.beat(ms(1000));
        assert_eq!(d.look(ms(90_000)), Opinion::Well);
        let expected = PhiConfig { first_interval: Some(Duration::from_secs(1)), ..PhiConfig::default() };
        let mut d = Phi::new(&expected, 1);
        assert_eq!((d.look(ms(0)), d.look(ms(5000))), (Opinion::Well, Opinion::Lost));
    }

    #[test]
    fn p7_it_learns_the_rhythm_of_the_last_gaps_only() {
        let config = PhiConfig { max_samples: 4, ..PhiConfig::default() };
        let mut d = Phi::new(&config, 1);
        let mut now = 0;
        for gap in [100, 100, 100, 120, 140, 160, 180, 200] {
            d.beat(ms(now));
            now += gap;
        }
        assert_eq!(d.gaps, [0.12, 0.14, 0.16, 0.18]);
    }

    #[test]
    fn p6_an_excused_pause_is_neither_silence_nor_rhythm() {
        let (mut d, last) = steady(1);
        d.excuse(Duration::from_mins(1));
        assert_eq!(d.look(ms(last + 61_000)), Opinion::Well);
        d.beat(ms(last + 61_000));
        assert_eq!(d.gaps.len(), 10);
        assert_eq!(d.look(ms(last + 63_000)), Opinion::Lost);
    }

    /// Looking when told is soon enough and not too soon, for every threshold.
    #[test]
    fn the_next_change_is_when_the_opinion_changes() {
        for tenths in 1..2000 {
            let threshold = f64::from(tenths) / 10.0;
            let mut d = Phi::new(&PhiConfig { threshold, ..PhiConfig::default() }, 1);
            for beat in 0..5 {
                d.beat(ms(beat * 1000));
            }
            for expected in [Opinion::Suspect, Opinion::Lost] {
                let before = d.look(ms(4000));
                let Some(then) = d.next_change(ms(4000)) else { continue };
                if before == Opinion::Well {
                    let early = then.before(Duration::from_micros(100));
                    assert_eq!(d.clone().look(early), before, "threshold {threshold}");
                }
                let later = d.next_change(then).unwrap_or(then);
                let looked =
                    if expected == Opinion::Lost { d.clone().look(later) } else { d.clone().look(then) };
                assert_eq!(looked, expected, "threshold {threshold}");
            }
        }
    }

    #[test]
    fn each_rule_names_its_field() {
        let broken = |field, change: fn(&mut PhiConfig)| {
            let mut config = PhiConfig::default();
            config.validate().unwrap();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().field, field);
        };
        broken("threshold", |c| c.threshold = 0.0);
        broken("threshold", |c| c.threshold = f64::NAN);
        broken("min_std", |c| c.min_std = Duration::ZERO);
        broken("first_interval", |c| c.first_interval = Some(Duration::ZERO));
        broken("max_samples", |c| c.max_samples = 0);
    }
}
