//! Models of `Shared::live`: counters that are read one after the other while fibers spawn each other.
//!
//! Protocol: README.md of this folder, "Shutdown and termination detection".

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicI32;

use crate::loom_support::sync::atomic::AtomicU32;
use crate::loom_support::thread;

use super::shared::Shared;
use crate::loom_support::{explore, runtime};
use crate::shim::{AtomicU64, Ordering};

/// Fibers without a body: a party counts each when it spawns and when it ends, as `Worker` does. How many
/// there are in truth is in a number that loom does not see, so that it orders nothing.
struct Party {
    shared: Arc<Shared>,
    truth: Arc<AtomicI32>,
    worker: usize,
    spawned: Cell<u64>,
    ended: Cell<u64>,
}

impl Party {
    fn spawn(&self) {
        self.truth.fetch_add(1, Ordering::Relaxed);
        bump(
            &self.shared.workers[self.worker].count.spawned,
            &self.spawned,
        );
    }

    fn end(&self) {
        self.truth.fetch_sub(1, Ordering::Relaxed);
        bump(&self.shared.workers[self.worker].count.ended, &self.ended);
    }
}

/// `shared::bump` without the load of the caller's own counter. (Of the accesses to a thing loom knows the
/// last one only: behind that load it would not see that the store races `live`, and explore next to nothing.)
fn bump(counter: &AtomicU64, own: &Cell<u64>) {
    own.set(own.get() + 1);
    // Release pairs with the Acquire of `Shared::live`.
    counter.store(own.get(), Ordering::Release);
}

/// A worker's part of a chain of fibers: those it takes spawn the next for the other worker, and end. A
/// look that finds none gives up: the rest is ended by the model.
fn run(party: &Party, chain: &AtomicU32, looks: &[u32], length: u32) {
    for &own in looks {
        // Acquire pairs with the Release of the other's push.
        if chain.load(Ordering::Acquire) != own {
            return;
        }
        if own < length {
            party.spawn();
            // Release pairs with the Acquire of the other's look.
            chain.store(own + 1, Ordering::Release);
        }
        party.end();
    }
}

/// `live` against a chain of so many fibers.
fn model(least: u64, length: u32, from_outside: bool) {
    explore(least, move || {
        let (shared, _) = runtime(2);
        let truth = Arc::new(AtomicI32::new(1));
        // The first fiber, which worker 0 has.
        if from_outside {
            shared.outside.spawned.fetch_add(1, Ordering::SeqCst);
        } else {
            shared.workers[0].count.spawned.store(1, Ordering::Relaxed);
        }
        // The queue that the fibers go through: the number of the newest.
        let chain = Arc::new(AtomicU32::new(1));
        let start = |worker, looks: &'static [u32]| {
            let party = Party {
                shared: Arc::clone(&shared),
                truth: Arc::clone(&truth),
                worker,
                spawned: Cell::new(u64::from(worker == 0 && !from_outside)),
                ended: Cell::new(0),
            };
            let chain = Arc::clone(&chain);
            thread::spawn(move || run(&party, &chain, looks, length))
        };
        let workers = [start(0, &[1, 3]), start(1, &[2])];
        if shared.live() == 0 {
            assert_eq!(truth.load(Ordering::Relaxed), 0, "a live fiber was missed");
        }
        for worker in workers {
            worker.join().unwrap();
        }
        let left = u64::try_from(truth.load(Ordering::Relaxed)).unwrap();
        assert_eq!(shared.live(), left);
        shared.abandon();
    });
}

/// Each fiber is spawned by the one before, on the other worker.
#[test]
#[cfg_attr(miri, ignore = "it maps stacks")]
fn loom_live_chain() {
    model(100, 3, false);
}

/// The first comes from outside, and is counted there.
#[test]
#[cfg_attr(miri, ignore = "it maps stacks")]
fn loom_live_chain_from_outside() {
    model(100, 2, true);
}
