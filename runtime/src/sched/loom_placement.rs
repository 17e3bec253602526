//! Models of workers that hold back from fresh fibers. Protocol: README.md of this folder, "Placement".
//!
//! Left out: what `loom_worker.rs` leaves out, and time: a timer comes when it is most awkward, or never.

use std::sync::{Arc, Mutex};

use super::Worker;
use super::loom_worker::{TheRest, hog, hogs, start, start_made, start_timeless};
use crate::loom_support::{explore_within, fiber, runtime};
use crate::shim::Ordering;

/// More than its share, whatever the other one has.
const MUCH: u64 = 100;

fn has_much(worker: &Worker) {
    worker.remote().bound.store(MUCH, Ordering::Relaxed);
    worker.remote().load.store(MUCH, Ordering::Relaxed);
}

/// The worker that should start a fresh fiber is held by another one; who holds back watches, and takes it.
#[test]
fn loom_placement_holder_helps_a_held_worker() {
    explore_within(2, 200, || {
        let (shared, mut deques) = runtime(2);
        let hogs = hogs();
        let (first, first_handle) = hog(&shared, &hogs);
        let (second, second_handle) = hog(&shared, &hogs);
        let helper = start_made(&shared, 1, deques.pop().unwrap(), has_much, |_| ());
        let both = Mutex::new(Some((first, second)));
        let owner = start_made(
            &shared,
            0,
            deques.pop().unwrap(),
            |_| (),
            move |worker| {
                if let Some((first, second)) = both.lock().unwrap().take() {
                    worker.shared.spawn_on(worker, first);
                    worker.shared.spawn_on(worker, second);
                }
            },
        );
        helper.join().unwrap();
        owner.join().unwrap();
        assert!(first_handle.is_done() && second_handle.is_done());
        assert_eq!(shared.live(), 0);
    });
}

/// A worker holds back from what is in its own deque. The one that should start it sleeps, or is about to, and
/// is woken: without a timer.
#[test]
fn loom_placement_holder_wakes_who_should_start_it() {
    explore_within(2, 200, || {
        let (shared, mut deques) = runtime(2);
        let other = start(&shared, 1, deques.pop().unwrap());
        let (own, handle) = fiber(shared.clone(), {
            let shared = Arc::clone(&shared);
            move || {
                drop(TheRest);
                shared.close();
            }
        });
        let left = Mutex::new(Some(own));
        let holder = start_timeless(&shared, 0, deques.pop().unwrap(), move |worker| {
            if let Some(fiber) = left.lock().unwrap().take() {
                has_much(worker);
                super::super::shared::bump(&worker.remote().count.spawned);
                worker.push_fresh(fiber);
            }
        });
        other.join().unwrap();
        holder.join().unwrap();
        assert!(handle.is_done());
        assert_eq!(shared.live(), 0);
    });
}
