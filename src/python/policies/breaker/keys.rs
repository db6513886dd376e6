//! One breaker per key, seen as a whole.

use std::time::Duration;

use crate::base::Time;
use crate::policy::breaker::{Breaker, Keyed, Metrics, State};

/// How grave a state is, for the summary of many.
const fn gravity(state: State) -> u8 {
    match state {
        State::Closed => 0,
        State::ForcedClosed => 1,
        State::Disabled => 2,
        State::Shadow => 3,
        State::HalfOpen => 4,
        State::Open => 5,
        State::ForcedOpen => 6,
    }
}

/// The gravest state of all keys; closed if there is none.
pub fn state(keyed: &Keyed) -> State {
    keyed.all().iter().map(|one| one.state()).max_by_key(|state| gravity(*state)).unwrap_or(State::Closed)
}

/// The shortest wait of the keys that refuse; none if none does.
pub fn retry_after(keyed: &Keyed, now: Time) -> Option<Duration> {
    keyed.all().iter().filter_map(|one| one.retry_after(now)).min()
}

/// The sum of the whole's counts and of those of every key it remembers. The rates are of these sums; the
/// mean recovery time weighs each key's own by how often it opened.
pub fn metrics(whole: &Breaker, keyed: &Keyed, now: Time) -> Metrics {
    let parts: Vec<Metrics> =
        keyed.all().iter().map(|one| one.metrics(now)).chain([whole.metrics(now)]).collect();
    let mut sum = Metrics::default();
    for part in &parts {
        add(&mut sum, part);
    }
    let judged = sum.successes + sum.failures;
    sum.failure_rate = share(sum.failures, judged);
    sum.slow_call_rate = share(sum.slow, judged);
    sum.mean_recovery_time = mean_recovery(&parts);
    sum
}

fn add(sum: &mut Metrics, part: &Metrics) {
    sum.calls += part.calls;
    sum.successes += part.successes;
    sum.failures += part.failures;
    sum.throttled += part.throttled;
    sum.ignored += part.ignored;
    sum.late += part.late;
    sum.lost += part.lost;
    sum.rejected += part.rejected;
    sum.in_flight += part.in_flight;
    sum.slow += part.slow;
    sum.opened += part.opened;
    sum.state_since = sum.state_since.max(part.state_since);
}

fn mean_recovery(parts: &[Metrics]) -> Option<Duration> {
    let recovered = || parts.iter().filter_map(|part| Some((part.mean_recovery_time?, part.opened)));
    let times: u64 = recovered().map(|(_, times)| times).sum();
    let seconds: f64 = recovered().map(|(mean, times)| mean.as_secs_f64() * times as f64).sum();
    (times > 0).then(|| Duration::try_from_secs_f64(seconds / times as f64).unwrap_or_default())
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
