//! Model of a searcher that has something of its own to run. Protocol: README.md of this folder, "Sleep and wake".
//!
//! Left out: what `loom_worker.rs` leaves out.

use std::sync::{Arc, Mutex};

use loom::sync::{Condvar, Mutex as Lock};

use super::Worker;
use super::loom_worker::{TheRest, start_made, start_stirred};
use crate::fiber::{Running, TOKEN};
use crate::loom_support::{explore_within, fiber, runtime};
use crate::shim::Ordering;

/// A push from outside sends a worker to search that at the same time is called for its own fiber, which then holds it: whoever relied on its
/// search is served by another worker.
#[test]
fn loom_search_with_something_of_its_own() {
    explore_within(2, 500, || {
        let (shared, mut deques) = runtime(2);
        // Whether the fresh one has run, and where the other one holds its worker until then.
        let ran = Arc::new((Lock::new(false), Condvar::new()));
        let me = Arc::new(Mutex::new(None));
        let (waiter, handle) = fiber(shared.clone(), {
            let (shared, ran, me) = (Arc::clone(&shared), Arc::clone(&ran), Arc::clone(&me));
            move || {
                let me = me.lock().unwrap().unwrap();
                // SAFETY: on the fiber's own stack.
                let running = unsafe { Running::new(me) };
                while !running.header().take(TOKEN) {
                    running.park();
                }
                let mut has_run = ran.0.lock().unwrap();
                while !*has_run {
                    has_run = ran.1.wait(has_run).unwrap();
                }
                drop(has_run);
                drop(TheRest);
                shared.close();
            }
        });
        *me.lock().unwrap() = Some(waiter);
        // Its load is larger: it is not the one that is woken to search, if both rest.
        let has_more = |worker: &Worker| {
            worker.remote().bound.store(3, Ordering::Relaxed);
            worker.remote().load.store(3, Ordering::Relaxed);
        };
        let helper = start_made(&shared, 1, deques.pop().unwrap(), has_more, |_| ());
        // SeqCst as in `spawn_outside`.
        shared.outside.spawned.fetch_add(1, Ordering::SeqCst);
        let called = Mutex::new(false);
        let searcher = start_stirred(
            &shared,
            0,
            deques.pop().unwrap(),
            move |worker| worker.queues.push_local(waiter),
            move |worker| {
                if !std::mem::replace(&mut *called.lock().unwrap(), true) {
                    assert!(worker.wake(waiter, TOKEN));
                }
            },
        );
        let (fresh, fresh_handle) = fiber(shared.clone(), move || {
            *ran.0.lock().unwrap() = true;
            ran.1.notify_one();
        });
        shared.spawn(shared.here(), fresh);
        // If nobody ended that worker's sleep.
        handle.wake(TOKEN);
        helper.join().unwrap();
        searcher.join().unwrap();
        assert!(handle.is_done() && fresh_handle.is_done());
        assert_eq!(shared.live(), 0);
    });
}
