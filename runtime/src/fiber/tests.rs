//! What a record does with its contents and its memory, without a switch: so that Miri can run it.

use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Wake, Waker};

use super::body::refuse_fresh;
use super::record::{Extra, FiberPtr, FiberRef, Seed};
use super::schedule::{Lent, OnEnd, Schedule};
use super::state::{CANCEL, TOKEN, WOKEN};
use super::{FiberId, IdSupply};
use crate::error::JoinError;
use crate::join::RawJoin;
use crate::loom_support::fiber;

/// A scheduler that says which fibers it was given.
struct Queue(mpsc::Sender<FiberId>);

impl Schedule for Queue {
    fn schedule(&self, fiber: FiberPtr) {
        // SAFETY: a fiber that is to be queued is live.
        self.0.send(unsafe { fiber.header() }.id).unwrap();
    }
}

fn queue() -> (Arc<Queue>, mpsc::Receiver<FiberId>) {
    let (given, taken) = mpsc::channel();
    (Arc::new(Queue(given)), taken)
}

/// Ends it without a run; its own reference is given up.
fn end(own: FiberPtr) {
    // SAFETY: the tests hold the only right to start it, and use it once.
    unsafe { refuse_fresh(own, JoinError::cancelled) };
}

/// Ends it, and gives the result's handle up, as who joins does: a record does not drop a result that is left (rule 4).
fn end_both(own: FiberPtr, handle: FiberRef) {
    end(own);
    // SAFETY: the only handle; the result type is `()`.
    unsafe { handle.drop_handle::<()>() };
}

#[test]
fn contents_are_dropped_once_whoever_goes_last() {
    for last in 0..3 {
        let held = Arc::new(());
        let (scheduler, _) = queue();
        let in_closure = Arc::clone(&held);
        let (own, handle) = fiber(scheduler.clone(), move || drop(in_closure));
        let clone = handle.clone();
        assert_eq!(Arc::strong_count(&held), 2);
        let parts: [Box<dyn FnOnce() + Send>; 3] = [
            Box::new(move || end(own)),
            Box::new(move || {
                // SAFETY: the only handle; the result type is `()`.
                unsafe { handle.drop_handle::<()>() };
            }),
            Box::new(move || drop(clone)),
        ];
        let mut parts = Vec::from(parts);
        let last = parts.remove(last);
        for part in parts {
            std::thread::spawn(part).join().unwrap();
        }
        // The record keeps its scheduler.
        assert_eq!(Arc::strong_count(&scheduler), 2);
        last();
        assert_eq!(Arc::strong_count(&scheduler), 1);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

#[test]
fn closures_of_all_sizes_and_alignments() {
    #[repr(align(256))]
    struct Aligned {
        _bytes: [u8; 256],
    }
    fn check<T: Send + 'static>(value: T) {
        let (scheduler, _) = queue();
        let (own, handle) = fiber(scheduler, move || value);
        end(own);
        // SAFETY: the only handle, made with this result type.
        let raw = unsafe { RawJoin::<T>::new(handle) };
        assert!(raw.join().err().unwrap().is_cancelled());
    }
    check(());
    check([7_u64; 4]);
    check([7_u8; 4096]);
    check(Aligned { _bytes: [1; 256] });
    check(Box::new(String::from("held")));
}

#[test]
fn a_result_is_taken_or_dropped() {
    let (scheduler, _) = queue();
    for take in [true, false] {
        let payload = Arc::new(());
        let thrown = Arc::clone(&payload);
        let (own, handle) = fiber(scheduler.clone(), || ());
        // SAFETY: the only handle, made with this result type.
        let raw = unsafe { RawJoin::<()>::new(handle) };
        assert!(!raw.is_finished());
        // SAFETY: the only right to start it, used once.
        unsafe { refuse_fresh(own, |id| JoinError::panic(id, Box::new(thrown))) };
        assert!(raw.is_finished());
        if take {
            let error = raw.join().unwrap_err();
            assert_eq!(Arc::strong_count(&payload), 2);
            assert!(error.into_panic().is::<Arc<()>>());
        } else {
            drop(raw);
        }
        assert_eq!(Arc::strong_count(&payload), 1);
    }
}

/// The real `join` of a plain thread against the end on another one.
#[test]
fn a_thread_joins() {
    for _ in 0..if cfg!(miri) { 5 } else { 200 } {
        let (scheduler, _) = queue();
        let (own, handle) = fiber(scheduler, || 7);
        // SAFETY: the only handle, made with this result type.
        let raw = unsafe { RawJoin::<i32>::new(handle) };
        let ending = std::thread::spawn(move || end(own));
        assert!(raw.join().unwrap_err().is_cancelled());
        ending.join().unwrap();
    }
}

struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn wakers_in_the_slot_are_given_back() {
    let arcs = [Arc::new(Counted), Arc::new(Counted)];
    let counts = || arcs.each_ref().map(Arc::strong_count);
    let wakers = arcs.each_ref().map(|arc| Waker::from(Arc::clone(arc)));
    let (scheduler, _) = queue();
    let (own, handle) = fiber(scheduler, || ());
    for (watching, expected) in [(0, [3, 2]), (0, [3, 2]), (1, [2, 3])] {
        // SAFETY: the only handle, and one call at a time.
        assert!(unsafe { handle.watch(&wakers[watching]) });
        assert_eq!(counts(), expected);
    }
    end(own);
    assert_eq!(counts(), [2, 2], "woken and gone");
    // SAFETY: as above.
    assert!(!unsafe { handle.watch(&wakers[0]) });
    assert_eq!(counts(), [2, 2]);
    // SAFETY: the only handle; the result type is `()`.
    unsafe { handle.drop_handle::<()>() };
}

/// A fiber as its worker leaves it: parked.
fn parked() -> (FiberPtr, FiberRef, mpsc::Receiver<FiberId>) {
    let (scheduler, taken) = queue();
    let (own, handle) = fiber(scheduler, || ());
    assert!(!handle.park());
    (own, handle, taken)
}

#[test]
fn calls_queue_a_parked_fiber_once() {
    let (own, handle, taken) = parked();
    for reason in [TOKEN, WOKEN, 0, CANCEL, TOKEN] {
        handle.wake(reason);
    }
    assert_eq!(taken.try_iter().collect::<Vec<_>>(), [handle.id]);
    assert_eq!(
        format!("{:?}", handle.state),
        "PARKED|NOTIFIED|TOKEN|WOKEN|CANCEL|HANDLE"
    );
    handle.begin();
    assert!(handle.take(TOKEN) && !handle.take(TOKEN));
    assert!(handle.take(WOKEN) && !handle.has(WOKEN));
    assert!(handle.state.is_cancelled(), "a cancel stays");
    // Running: a call leaves its bit, and the park finds it.
    handle.wake(0);
    assert!(handle.park());
    assert!(taken.try_recv().is_err());
    end_both(own, handle);
}

#[test]
fn a_scan_holds_and_lets_go() {
    let (own, handle, taken) = parked();
    let seen = handle.scan(|_| {
        handle.wake(TOKEN);
        handle.wake(0);
        assert!(taken.try_recv().is_err(), "held");
        assert!(handle.scan(|_| ()).is_none());
        7
    });
    assert_eq!(seen, Some(7));
    assert_eq!(taken.try_iter().count(), 1);
    assert!(handle.scan(|_| ()).is_none(), "it is about to run");
    handle.begin();
    assert!(handle.scan(|_| ()).is_none(), "it runs");
    assert!(handle.take(TOKEN));
    assert!(!handle.park());
    assert_eq!(handle.scan(|_| ()), Some(()));
    assert!(taken.try_recv().is_err(), "nobody called");
    end_both(own, handle);
}

/// A dump that panics does not keep the fiber.
#[test]
fn a_scan_that_panics_lets_go() {
    let (own, handle, taken) = parked();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        handle.scan(|_| {
            handle.wake(0);
            std::panic::resume_unwind(Box::new("in the walk"));
        })
    }));
    assert!(unwound.is_err());
    assert_eq!(taken.try_iter().count(), 1);
    end_both(own, handle);
}

/// Counts calls, and knows when they came.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<&'static str>>);

impl OnEnd for Told {
    fn unseen(&self, _: &JoinError) {
        self.0.lock().unwrap().push("unseen");
    }

    fn ended(&self) {
        self.0.lock().unwrap().push("ended");
    }
}

#[test]
fn the_end_is_told_once_and_last() {
    for seen in [true, false] {
        let told = Arc::new(Told::default());
        let (scheduler, _) = queue();
        let seed = Seed {
            id: FiberId::next(),
            spawned_at: std::panic::Location::caller(),
            scheduler: Lent::new(&scheduler),
            hooked: false,
            extra: Some(Box::new(Extra {
                name: Some("named".into()),
                on_end: Some(told.clone()),
                ..Extra::default()
            })),
        };
        // SAFETY: nothing is borrowed, and both types are Send.
        let (own, handle) = unsafe { FiberRef::make(seed, || ()) };
        assert_eq!(handle.name(), Some("named"));
        assert!(
            handle
                .identity()
                .to_string()
                .starts_with("fiber 'named' (FiberId(")
        );
        if !seen {
            // SAFETY: the only handle; the result type is `()`.
            unsafe { handle.drop_handle::<()>() };
        }
        end(own);
        let expected: &[_] = if seen {
            &["ended"]
        } else {
            &["unseen", "ended"]
        };
        assert_eq!(*told.0.lock().unwrap(), expected);
        if seen {
            // SAFETY: done, the only handle, the result type is `()`.
            assert!(unsafe { handle.take_result::<()>() }.is_some());
        }
    }
}

#[test]
fn ids_are_not_given_twice() {
    let all: Vec<FiberId> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..3)
            .map(|_| {
                s.spawn(|| {
                    let supply = IdSupply::default();
                    let ids = |n| match n % 3 {
                        0 => FiberId::next(),
                        _ => supply.next(),
                    };
                    (0..300).map(ids).collect::<Vec<_>>()
                })
            })
            .collect();
        let joined = threads.into_iter().map(|t| t.join().unwrap());
        joined.flatten().collect()
    });
    let different: std::collections::HashSet<_> = all.iter().collect();
    assert_eq!(different.len(), 900);
}
