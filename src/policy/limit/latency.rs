//! Does the callee queue? What the times to the first token say about it.
//!
//! One round trip is judged at a time: as many first tokens as there are slots. Their mean is compared with the
//! *base*, what it takes when nobody queues; that is the minimum of such means, as in TCP Vegas (L. Brakmo,
//! L. Peterson: "TCP Vegas: End to End Congestion Avoidance on a Global Internet", 1995), and not an average of the
//! recent past: with hundreds of calls a second our own growing queue would soon be the average.
//!
//! A minimum must be able to rise again. It does so in two ways:
//!
//! - **A probe**, as in BBR (N. Cardwell et al.: "BBR: Congestion-Based Congestion Control", 2016): every ten seconds
//!   a quarter of the limit must do for one round trip, so that the queue drains, if there is one; then the limit is what it was.
//! - **Cuts in vain.** A queue of ours gets shorter when we ask for less. If three cuts in a row do not make first
//!   tokens come sooner, the callee has become slower, and that is the new base.
//!
//! Means are of logarithms: times to first token differ by factors, and one that is a hundred times late is one that
//! is late. The base takes in the upper end of a mean's uncertainty (two standard errors), or the luckiest of a
//! thousand rounds would make all the others look crowded.

use super::adaptive::Epoch;
use crate::base::Time;
use std::time::Duration;

/// A round has at least so many first tokens; of fewer the mean says little.
const FEW: u32 = 10;
/// From so many times the base on it is crowded: a queue as long as the work before the first token. Prompts differ
/// by less on the mean, and a shorter queue keeps the callee busy.
const CROWDED: f64 = 2.0;
/// And a queue of less than 10 ms is none: that late an event loop or a busy machine of our own may be.
const NOTICEABLE: f64 = 0.01;
/// From so many times what is crowded on it is far too much, and the cut is deep.
const FAR: f64 = 1.4;
/// Cuts in a row after which it is asked whether they were of use. One or two may fall into the very moment in
/// which the callee slows down.
const PATIENCE: u32 = 3;
/// Of the share by which the limit was cut the first tokens must have come sooner by this part at least. A queue
/// gives at least half.
const USEFUL: f64 = 1.0 / 3.0;
/// A probe at most every ten seconds, as in BBR,
const BETWEEN: Duration = Duration::from_secs(10);
/// and every fifty rounds: it costs about one of them.
const ROUNDS: u32 = 50;

/// What is to be done with the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advice {
    /// A little less.
    Cut,
    /// Much less.
    CutDeep,
    /// A quarter of it, to see what it takes without a queue.
    Probe,
    /// Back to so many: the probe is over.
    Back(u32),
}

/// What is known. Levels are natural logarithms of seconds.
#[derive(Debug, Default)]
pub(super) struct Latency {
    epoch: Epoch,
    round: Round,
    base: Option<f64>,
    crowd: Option<Crowd>,
    probe: Option<Probe>,
    probed: Time,
    rounds: u32,
}

/// The first tokens of one round trip.
#[derive(Debug, Default)]
struct Round {
    began: Time,
    count: u32,
    sum: f64,
    squares: f64,
}

/// Crowded rounds in a row.
#[derive(Debug)]
struct Crowd {
    cuts: u32,
    /// The limit before the first cut.
    limit: u32,
    /// The worst of them.
    peak: f64,
}

#[derive(Debug)]
struct Probe {
    epoch: Epoch,
    back: u32,
    /// If not even a round has come by then nobody uses the limit.
    until: Time,
}

impl Latency {
    /// Takes in that a call of `of`, the present epoch, waited so long, at `limit`; is anything to be done? Is the
    /// limit `used`, that is, are all slots taken?
    pub(super) fn takes(
        &mut self,
        of: Epoch,
        limit: u32,
        wait: Duration,
        now: Time,
        used: bool,
    ) -> Option<Advice> {
        if self.epoch != of {
            self.epoch = of;
            self.round = Round { began: now, ..Round::default() };
            self.probe = self.probe.take().filter(|probe| probe.epoch == of);
        }
        self.round.add(wait);
        if self.round.count < limit.max(FEW) {
            return self.idle_probe(now);
        }
        let round = std::mem::replace(&mut self.round, Round { began: now, ..Round::default() });
        let level = round.mean();
        let surely = level + 2.0 * round.error();
        self.rounds = self.rounds.saturating_add(1);
        let Some(base) = self.base else {
            (self.base, self.probed) = (Some(surely), now);
            return None;
        };
        if let Some(probe) = self.probe.take() {
            self.base = Some(if surely < base { surely } else { base.midpoint(surely) });
            self.rounds = 0;
            return Some(Advice::Back(probe.back));
        }
        let base = base.min(surely);
        self.base = Some(base);
        let bound = (base.exp() * CROWDED).max(base.exp() + NOTICEABLE);
        if level.exp() > bound {
            return self.crowded(level, surely, limit, level.exp() > bound * FAR);
        }
        self.crowd = None;
        let due = used && self.rounds >= ROUNDS && now.since(self.probed) >= BETWEEN;
        due.then(|| self.begin_probe(limit, now, now.since(round.began)))
    }

    /// What was advised could not be done: somebody else has changed the limit.
    pub(super) fn too_late(&mut self) {
        self.probe = None;
    }

    fn crowded(&mut self, level: f64, surely: f64, limit: u32, far: bool) -> Option<Advice> {
        let crowd = self.crowd.get_or_insert(Crowd { cuts: 0, limit, peak: level });
        crowd.peak = crowd.peak.max(level);
        let cut = 1.0 - f64::from(limit) / f64::from(crowd.limit.max(limit));
        let sooner = 1.0 - (level - crowd.peak).exp();
        if crowd.cuts >= PATIENCE && sooner <= cut * USEFUL {
            self.base = Some(surely);
            self.crowd = None;
            return None;
        }
        crowd.cuts += 1;
        Some(if far { Advice::CutDeep } else { Advice::Cut })
    }

    fn begin_probe(&mut self, limit: u32, now: Time, round: Duration) -> Advice {
        let until = now.after(BETWEEN.max(round.saturating_mul(4)));
        self.probe = Some(Probe { epoch: self.epoch.next(), back: limit, until });
        (self.probed, self.rounds) = (now, 0);
        Advice::Probe
    }

    fn idle_probe(&mut self, now: Time) -> Option<Advice> {
        self.probe.take_if(|probe| now >= probe.until).map(|probe| Advice::Back(probe.back))
    }
}

impl Round {
    /// No network is faster; it keeps the logarithm finite.
    const SHORTEST: f64 = 1e-6;

    fn add(&mut self, wait: Duration) {
        let level = wait.as_secs_f64().max(Self::SHORTEST).ln();
        self.count = self.count.saturating_add(1);
        self.sum += level;
        self.squares += level * level;
    }

    fn mean(&self) -> f64 {
        self.sum / f64::from(self.count.max(1))
    }

    /// The standard error of the mean.
    fn error(&self) -> f64 {
        let count = f64::from(self.count.max(1));
        let variance = (self.squares / count - self.mean().powi(2)).max(0.0);
        (variance / count).sqrt()
    }
}
