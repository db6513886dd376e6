//! How long a breaker stays open: growing, falling back, spread (B14).
//!
//! The **level** says how many steps of growth are in force. An opening at level n lasts
//! `open_timeout × factor^n`, cut off at `open_timeout_max`, and leaves level n + 1 behind. Health pays it
//! back in kind: each stretch of being closed as long as the last open time takes one step off, judged
//! when it opens again. With factor 1 there is nothing to grow and the level stays 0.

use std::time::Duration;

use super::config::BreakerConfig;
use crate::base::Dice;

/// Beyond this the open time is longer than any process lives, even with factor 2.
const MAX_LEVEL: u32 = 48;
/// A hundred years, in seconds: what "no limit" means.
const FOREVER: f64 = 3_153_600_000.0;

/// The open time at `level`, before it is spread.
#[must_use]
pub fn open_time(config: &BreakerConfig, level: u32) -> Duration {
    let max = config.open_timeout_max.map_or(FOREVER, |max| max.as_secs_f64());
    if level == 0 {
        return config.open_timeout;
    }
    let grown = config.open_timeout.as_secs_f64() * config.open_timeout_factor.powf(f64::from(level));
    Duration::from_secs_f64(grown.min(max))
}

/// The open time at `level` as one breaker of many is to serve it: anywhere within ± the jitter, but
/// never above the maximum. The part above the maximum is left out of the draw, not moved onto it, so
/// that breakers at the cap are spread as well.
#[must_use]
pub fn spread(config: &BreakerConfig, level: u32, dice: &mut dyn Dice) -> Duration {
    let time = open_time(config, level);
    let jitter = config.open_timeout_jitter;
    if jitter <= 0.0 {
        return time;
    }
    let low = time.mul_f64(1.0 - jitter);
    let high = time.mul_f64(1.0 + jitter);
    let high = config.open_timeout_max.map_or(high, |max| high.min(max)).max(low);
    low + high.saturating_sub(low).mul_f64(dice.unit())
}

/// The level after an opening at `level`.
#[must_use]
pub fn raise(config: &BreakerConfig, level: u32) -> u32 {
    if config.open_timeout_factor > 1.0 { (level + 1).min(MAX_LEVEL) } else { 0 }
}

/// The level that is left after having been closed for `healthy`.
#[must_use]
pub fn decay(config: &BreakerConfig, mut level: u32, mut healthy: Duration) -> u32 {
    while level > 0 {
        let price = open_time(config, level - 1);
        if healthy < price {
            break;
        }
        healthy -= price;
        level -= 1;
    }
    level
}
