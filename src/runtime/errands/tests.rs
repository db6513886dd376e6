use std::sync::mpsc;

use super::*;
use crate::runtime::clock::tests::alone;
use crate::runtime::engine;

const PATIENCE: Duration = Duration::from_secs(1);

fn order() -> mpsc::Receiver<Outcome> {
    let (tell, told) = mpsc::channel();
    engine::spawn(async move {
        let (outcome, _busy) = run(Arc::new(()), PATIENCE).await;
        drop(tell.send(outcome));
    })
    .unwrap();
    told
}

fn next(what: What) -> Errand {
    let errand = loop {
        if let Some(errand) = take(Duration::from_secs(5)).unwrap().pop() {
            break errand;
        }
    };
    assert_eq!(errand.what, what);
    errand
}

fn advance(millis: u64) {
    clock::advance(Duration::from_millis(millis), &mut std::thread::yield_now).unwrap();
}

/// Under the manual clock, with nothing left over in the queue.
fn manual(act: impl FnOnce()) {
    let _turn = alone();
    clock::install_manual().unwrap();
    drop(take(Duration::ZERO));
    act();
    clock::remove_manual().unwrap();
    engine::shutdown(Duration::from_secs(1));
    drop(take(Duration::ZERO));
}

#[test]
fn what_was_done_is_told() {
    manual(|| {
        let told = order();
        let errand = next(What::Do);
        errand.begun();
        errand.done(Err("ValueError".into()));
        assert_eq!(told.recv().unwrap(), Outcome::Done(Err("ValueError".into())));
    });
}

#[test]
fn p6_a_job_that_was_never_begun_tells_nothing() {
    manual(|| {
        let told = order();
        next(What::Do);
        advance(1001);
        assert_eq!(told.recv().unwrap(), Outcome::Unheard);
        next(What::Stop);
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "somebody answers while this thread moves the clock")]
fn the_patience_counts_from_the_beginning_of_the_job() {
    manual(|| {
        let told = order();
        let errand = next(What::Do);
        advance(900);
        errand.begun();
        // The note must have been read before time goes on.
        std::thread::yield_now();
        wait_for_timers();
        advance(900);
        assert!(told.try_recv().is_err(), "it has 100 ms left");
        let looked = std::thread::spawn(|| next(What::Look).awake());
        advance(200);
        looked.join().unwrap();
        assert_eq!(told.recv().unwrap(), Outcome::TimedOut);
    });
}

#[test]
fn p6_whoever_was_held_up_convicts_nobody_and_a_late_result_counts() {
    manual(|| {
        for late_result in [false, true] {
            let told = order();
            let errand = next(What::Do);
            errand.begun();
            wait_for_timers();
            advance(1000);
            let look = next(What::Look);
            // Held up for longer than a thread that is awake ever is.
            advance(600);
            if late_result {
                errand.done(Ok(()));
                assert_eq!(told.recv().unwrap(), Outcome::Done(Ok(())));
            } else {
                look.awake();
                assert_eq!(told.recv().unwrap(), Outcome::Unheard);
                next(What::Stop);
            }
        }
    });
}

/// Gives the engine's thread the time to read a note, which no clock shows.
#[expect(clippy::disallowed_methods, reason = "a note of another thread has no clock to wait for")]
fn wait_for_timers() {
    std::thread::sleep(Duration::from_millis(30));
}
