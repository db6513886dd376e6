//! Waiting until a moment, on a thread or in a task; both under either clock.

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::timers::{Busy, call_at};
use super::{is_manual, now};
use crate::base::Time;

/// The longest a thread waits, in real time, without looking whether it is interrupted: half of the
/// 100 ms within which Ctrl-C must end a wait (R8).
const LONGEST_SLICE: Duration = Duration::from_millis(50);
const SHORTEST_SLICE: Duration = Duration::from_millis(1);

/// How a wait on a thread ended.
#[derive(Debug)]
pub enum Waited {
    /// The moment has come. The manual clock stands still until the guard is dropped, or carried into
    /// the next wait.
    Due(Busy),
    /// `interrupted` said so.
    Interrupted,
}

/// What ends a wait on a thread before its time. As a waker it is for whoever waits in a line.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<Option<Busy>>,
    heard: Condvar,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring(Busy::begin());
    }
}

impl Bell {
    fn ring(&self, busy: Busy) {
        *self.rung.lock() = Some(busy);
        self.heard.notify_one();
    }

    fn hear(&self, patience: Duration) -> Option<Busy> {
        let mut rung = self.rung.lock();
        if rung.is_none() {
            self.heard.wait_for(&mut rung, patience);
        }
        rung.take()
    }
}

/// Waits on this thread until `due`, or until `interrupted` says true.
///
/// `interrupted` is asked on this thread with no lock held, at least every `slice` of real time (which
/// is kept between 1 and 50 ms). `carried` is the guard of an earlier wait of the same work; it is
/// dropped once this wait has taken its place, so that the manual clock does not run past it.
pub fn wait_until(
    due: Time,
    slice: Duration,
    carried: Busy,
    interrupted: &mut dyn FnMut() -> bool,
) -> Waited {
    let mut carried = carried;
    while now() < due {
        let bell = Arc::new(Bell::default());
        match wait_for(&bell, due, slice, carried, interrupted) {
            Waited::Due(busy) => carried = busy,
            Waited::Interrupted => return Waited::Interrupted,
        }
    }
    Waited::Due(carried)
}

/// The same until `due` or until `bell` is rung, whichever comes first; it may also end for no reason.
pub fn wait_for(
    bell: &Arc<Bell>,
    due: Time,
    slice: Duration,
    mut carried: Busy,
    interrupted: &mut dyn FnMut() -> bool,
) -> Waited {
    let slice = slice.clamp(SHORTEST_SLICE, LONGEST_SLICE);
    if now() < due {
        let ring = Arc::clone(bell);
        let _timer = call_at(due, Box::new(move |busy| ring.ring(busy)));
        drop(std::mem::take(&mut carried));
        loop {
            if interrupted() {
                return Waited::Interrupted;
            }
            // The manual clock rings when it is time: noticing it ourselves would be without a guard.
            let left = if is_manual() { slice } else { due.since(now()) };
            if let Some(busy) = bell.hear(left.min(slice)) {
                carried = busy;
                break;
            }
            if !is_manual() && now() >= due {
                break;
            }
        }
    }
    Waited::Due(carried)
}

/// Waits in a task of the engine until `due`. The guards are as in [`wait_until`].
#[expect(clippy::disallowed_methods, reason = "this is the one door for waiting")]
pub async fn sleep_until(due: Time, mut carried: Busy) -> Busy {
    while now() < due {
        let (ring, bell) = oneshot::channel();
        let callback = move |busy| {
            // If nobody is waiting any more the guard comes back and is dropped here.
            drop(ring.send(busy));
        };
        let _timer = call_at(due, Box::new(callback));
        drop(std::mem::take(&mut carried));
        if is_manual() {
            carried = bell.await.unwrap_or_default();
        } else {
            tokio::select! {
                biased;
                call = bell => carried = call.unwrap_or_default(),
                () = tokio::time::sleep(due.since(now())) => {}
            }
        }
    }
    carried
}
