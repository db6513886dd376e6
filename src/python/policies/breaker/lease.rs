//! How long a probe may be silent, once the clocks of the pipeline around it are known.
//!
//! A lease is there to outlive every probe that may still answer, and no more. So with
//! `probe_lease=None` it follows the clocks of the first pipeline that the breaker is put into. After that
//! it stands: calls under way hold it.

use std::time::Duration;

use crate::base::ConfigError;
use crate::policy::breaker::BreakerConfig;
use crate::policy::timeout::TimeoutConfig;

/// A tenth more than the longest call: the lease must not run out while its call is just being cut off.
const MARGIN: f64 = 1.1;

/// The lease that `clocks` ask for: 1.1 × the total; without one, the default, or 1.1 × the longest
/// silence that the other clocks allow, if that is more.
pub fn fitting(clocks: &TimeoutConfig) -> Duration {
    let default = BreakerConfig::default().probe_lease;
    match (clocks.total, longest_silence(clocks)) {
        (Some(total), _) => with_margin(total),
        (None, Some((_, silence))) => default.max(with_margin(silence)),
        (None, None) => default,
    }
}

/// Is `lease` long enough for these clocks? A shorter one would call a probe lost that may still answer.
/// A lease that nobody chose must outlast whole calls, too.
pub fn check(lease: Duration, chosen: bool, clocks: &TimeoutConfig) -> Result<(), ConfigError> {
    let silence = longest_silence(clocks).or(clocks.total.filter(|_| !chosen).map(|total| ("total", total)));
    let Some((which, limit)) = silence.filter(|(_, limit)| lease < *limit) else { return Ok(()) };
    let limit = limit.as_secs_f64();
    let rule = if chosen {
        format!("be at least the pipeline's {which} timeout of {limit} seconds")
    } else {
        format!(
            "be given, and be at least {limit} seconds, this pipeline's {which} timeout: the breaker is in use \
             already, with the lease it has"
        )
    };
    Err(ConfigError::new("probe_lease", rule, lease.as_secs_f64()))
}

/// The longest that a probe may give no sign of life and not be cut off, without the total.
fn longest_silence(clocks: &TimeoutConfig) -> Option<(&'static str, Duration)> {
    let limits = [("attempt", clocks.attempt), ("first_item", clocks.first_item), ("idle", clocks.idle)];
    let limits = limits.into_iter().filter_map(|(which, limit)| Some((which, limit?)));
    let (which, longest) = limits.max_by_key(|(_, limit)| *limit)?;
    Some((which, clocks.total.map_or(longest, |total| longest.min(total))))
}

fn with_margin(span: Duration) -> Duration {
    const LEAST: Duration = Duration::from_millis(1);
    Duration::try_from_secs_f64(span.as_secs_f64() * MARGIN).unwrap_or(Duration::MAX).max(LEAST)
}
