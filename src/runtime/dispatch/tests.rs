//! Delivery. The queue is the process', so these run one at a time.

use std::thread;

use super::*;
use crate::base::Source;
use crate::runtime::clock::tests::alone;

const SOON: Duration = Duration::from_secs(5);

fn closed(source: &Source) -> Event {
    Event::CircuitClosed { source: source.clone(), reason: "reset" }
}

fn emit(source: &Source) {
    let mut out = outbox();
    out.emit(EventKind::CircuitClosed, || closed(source));
    post(&mut out);
}

/// An empty queue, and listeners for everything, for one test.
fn listening() -> impl Drop {
    struct Listening(
        #[expect(dead_code, reason = "held until dropped")] parking_lot::MutexGuard<'static, ()>,
    );
    impl Drop for Listening {
        fn drop(&mut self) {
            set_interest(0);
            let _ = take(Duration::ZERO);
        }
    }
    let turn = alone();
    set_interest(Outbox::EVERYTHING);
    wake();
    let _ = take(Duration::ZERO);
    Listening(turn)
}

#[test]
fn events_arrive_stamped_and_in_order() {
    let _listening = listening();
    let source = Source::new("b");
    let mut plain = Outbox::new(Outbox::EVERYTHING);
    plain.emit(EventKind::CircuitClosed, || closed(&source));
    post(&mut plain);
    emit(&source);
    let batch = take(SOON);
    assert_eq!((batch.events.len(), batch.dropped), (2, 0));
    assert!(batch.events[0].seq + 1 == batch.events[1].seq && batch.events[0].at <= batch.events[1].at);
}

#[test]
fn what_nobody_wants_is_not_queued() {
    let _listening = listening();
    set_interest(bit(EventKind::NodeAdded));
    emit(&Source::new("b"));
    assert!(take(Duration::ZERO).events.is_empty());
}

/// R1: nobody takes anything; posting goes on, the newest are kept, and the rest is counted.
#[test]
fn r1_a_listener_that_blocks_costs_events_and_nothing_else() {
    let _listening = listening();
    let (source, before) = (Source::new("b"), dropped());
    for _ in 0..CAPACITY + 10 {
        emit(&source);
    }
    let batch = take(SOON);
    assert_eq!((batch.events.len(), batch.dropped, dropped() - before), (CAPACITY, 10, 10));
    let (first, last) = (&batch.events[0], &batch.events[CAPACITY - 1]);
    assert_eq!(last.seq - first.seq, CAPACITY as u64 - 1);
    emit(&source);
    assert_eq!(take(SOON).dropped, 0, "each drop is told once");
}

/// Two threads change one source under its lock and post whenever they come to it.
#[test]
fn the_events_of_one_source_keep_their_order_across_threads() {
    let _listening = listening();
    let (source, count) = (Source::new("b"), Mutex::new(0u32));
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for _ in 0..1000 {
                    let mut out = outbox();
                    {
                        let mut count = count.lock();
                        *count += 1;
                        out.emit(EventKind::AttemptsExhausted, || Event::AttemptsExhausted {
                            source: source.clone(),
                            attempts: *count,
                            error: "unknown",
                        });
                    }
                    thread::yield_now();
                    post(&mut out);
                }
            });
        }
    });
    let events = take(SOON).events;
    let order = events.iter().map(|stamped| match stamped.event {
        Event::AttemptsExhausted { attempts, .. } => attempts,
        _ => 0,
    });
    assert!(order.eq(1..=2000));
}

#[test]
fn a_waiting_thread_is_woken_by_an_event_and_by_a_wake() {
    let _listening = listening();
    thread::scope(|s| {
        let taker = s.spawn(|| [take(SOON).events.len(), take(SOON).events.len()]);
        emit(&Source::new("b"));
        assert!(flush(SOON), "the taker came back for more");
        wake();
        assert_eq!(taker.join().unwrap(), [1, 0]);
    });
}

#[test]
fn flush_waits_until_the_taken_is_handled() {
    let _listening = listening();
    assert!(flush(SOON), "nothing to do");
    emit(&Source::new("b"));
    assert!(!flush(Duration::from_millis(1)), "nobody takes it");
    assert_eq!(take(SOON).events.len(), 1);
    assert!(!flush(Duration::from_millis(1)), "taken, not handled");
    assert!(take(Duration::ZERO).events.is_empty());
    assert!(flush(Duration::ZERO));
}

#[test]
fn a_line_reads_like_one() {
    let source = Source::new("pool");
    let (node, downtime) = ("a".into(), Duration::from_millis(2500));
    let event = Event::RecoveryCompleted { source: source.clone(), node, downtime };
    assert_eq!(Line(&event).to_string(), "pool: recovery_completed node=a downtime=2.500s");
    assert_eq!(Sentence(&event).to_string(), "pool: recovery completed (node a, downtime 2.5)");
    let bare = Event::CircuitHalfOpened { source };
    assert_eq!(Sentence(&bare).to_string(), "pool: circuit half opened");
}

#[test]
fn remarks_are_handed_out_with_the_events() {
    let _listening = listening();
    let line = Remark { level: tracing::Level::INFO, target: "holdfast", text: "well".into(), kind: None };
    remark(line.clone());
    assert!(!flush(Duration::from_millis(1)), "nobody took it");
    assert_eq!(take(SOON).remarks, [line]);
}
