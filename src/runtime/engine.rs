//! Tokio, for what happens in the background: started at the first need, never at import.
//!
//! One worker thread is enough: heartbeats and probes wait for the network and compute next to nothing.
//! A runtime inherited through a fork has no threads left; it is leaked, and the child starts its own.

use std::future::Future;
use std::io;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::process::PerProcess;

/// Tokio resolves host names on threads of their own; a few are enough for probes.
const MOST_BLOCKING_THREADS: usize = 4;

static ENGINE: PerProcess<Mutex<Option<Runtime>>> = PerProcess::new(|| Mutex::new(None));

/// Runs `future` in the background. Errors if the system gives us no thread.
pub fn spawn<F>(future: F) -> io::Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut engine = ENGINE.get().lock();
    let runtime = match &mut *engine {
        Some(runtime) => runtime,
        none => none.insert(build()?),
    };
    Ok(runtime.spawn(future))
}

/// Is it running in this process?
#[must_use]
pub fn is_running() -> bool {
    ENGINE.get().lock().is_some()
}

/// Ends everything in the background; waits for it at most `timeout`. The next [`spawn`] starts anew.
pub fn shutdown(timeout: Duration) {
    // Outside the lock: what is dropped there may want to spawn.
    let runtime = ENGINE.get().lock().take();
    if let Some(runtime) = runtime {
        runtime.shutdown_timeout(timeout);
    }
}

/// A fork must not catch it half-made.
pub(super) fn prepare_fork() {
    ENGINE.get();
}

fn build() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(MOST_BLOCKING_THREADS)
        .thread_name("holdfast")
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::tests::alone;

    #[test]
    fn starts_when_needed_and_again_after_a_shutdown() {
        let _turn = alone();
        for _ in 0..2 {
            let (tell, told) = std::sync::mpsc::channel();
            spawn(async move { tell.send(7).unwrap() }).unwrap();
            assert_eq!(told.recv().unwrap(), 7);
            assert!(is_running());
            shutdown(Duration::from_secs(1));
            assert!(!is_running());
        }
    }
}
