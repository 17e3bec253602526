//! A worker that others call soon after it slept looks a little longer the next time. Counted by `Runtime::metrics`.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use common::{one_on_each_worker, runtime, until, watchdog};
use sisal::fiber::{Fiber, current, park, sleep, spawn};
use sisal::{Handle, WorkerMetrics};

/// Two fibers on a worker each, that hand over to each other until one says that it is enough.
struct Pair {
    fibers: [OnceLock<Fiber>; 2],
    turn: AtomicU64,
    enough: AtomicBool,
}

impl Pair {
    fn new() -> Arc<Pair> {
        Arc::new(Pair {
            fibers: [OnceLock::new(), OnceLock::new()],
            turn: AtomicU64::new(0),
            enough: AtomicBool::new(false),
        })
    }

    /// `enough` is asked by the first of them, every hundred trips. The trips that there were.
    fn hand_over(&self, me: usize, enough: impl Fn() -> bool) -> u64 {
        self.fibers[me].set(current()).expect("set once");
        until(|| self.fibers[1 - me].get().is_some());
        let other = self.fibers[1 - me].get().expect("just seen");
        let mut trips = 0;
        loop {
            while self.turn.load(Ordering::Acquire) % 2 != me as u64 {
                park();
            }
            if me == 0 && trips % 100 == 0 && enough() {
                self.enough.store(true, Ordering::Relaxed);
            }
            let over = self.enough.load(Ordering::Relaxed);
            // Pairs with the Acquire above: `enough` too.
            self.turn.fetch_add(1, Ordering::Release);
            other.unpark();
            if over {
                return trips;
            }
            trips += 1;
        }
    }
}

/// After a look for nothing a worker has to be called before it looks again.
fn check(workers: &[WorkerMetrics]) {
    for worker in workers {
        println!(
            "{} sleeps, {} of them ended by others; {} looks, {} of them vain",
            worker.sleeps, worker.woken, worker.spins, worker.vain_spins
        );
        assert!(worker.vain_spins <= worker.spins);
        assert!(worker.vain_spins <= worker.woken);
        assert!(worker.woken <= worker.sleeps);
    }
}

#[test]
fn hand_overs_across_workers_come_to_spare_sleeps() {
    let _watchdog = watchdog(120);
    if thread::available_parallelism().map_or(1, |n| n.get()) < 2 {
        println!("skipped: workers that look need a processor each; run it where there are two");
        return;
    }
    let runtime = runtime(2);
    let pair = Pair::new();
    let trips = runtime.run(move || {
        let handle = Handle::current();
        let trips = Arc::new(AtomicU64::new(0));
        one_on_each_worker(2, {
            let trips = Arc::clone(&trips);
            move |me| {
                // However busy the machine is: now and then both have a processor.
                let spared = || {
                    let total = handle.metrics().total();
                    total.spins - total.vain_spins > 1_000
                };
                trips.fetch_add(pair.hand_over(me, spared), Ordering::Relaxed);
            }
        });
        trips.load(Ordering::Relaxed)
    });
    println!("{trips} trips");
    check(&runtime.metrics().workers);
}

/// Timers and I/O of its own end its sleeps, and it never looks.
#[test]
fn a_worker_that_nobody_calls_does_not_look() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    runtime.run(|| {
        let before = Handle::current().metrics();
        let sleepers: Vec<_> = (0..20)
            .map(|n| spawn(move || sleep(Duration::from_millis(n))))
            .collect();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
        let after = Handle::current().metrics();
        assert!(after.total().sleeps > before.total().sleeps);
        assert_eq!(after.total().spins, before.total().spins);
    });
    check(&runtime.metrics().workers);
}

/// Async tasks and timers have their turns beside fibers that always hand over.
#[test]
fn tasks_go_on_beside_looks() {
    let _watchdog = watchdog(120);
    let runtime = runtime(2);
    let pair = Pair::new();
    let done = Arc::new(AtomicU64::new(0));
    runtime.run(move || {
        one_on_each_worker(2, move |me| {
            let (other, mine) = (Arc::clone(&done), Arc::clone(&done));
            let task = tokio::spawn(async move {
                for _ in 0..1_000 {
                    tokio::task::yield_now().await;
                }
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                mine.fetch_add(1, Ordering::Relaxed);
            });
            pair.hand_over(me, move || other.load(Ordering::Relaxed) == 2);
            sisal::block_on(task).unwrap();
        });
    });
    check(&runtime.metrics().workers);
}
