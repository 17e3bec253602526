//! A worker that others call soon after it slept looks a little longer the next time. Counted by `Runtime::metrics`.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use common::{Count, one_on_each_worker, runtime, until, watchdog};
use sisal::fiber::{Fiber, current, park, sleep, spawn};
use sisal::{Handle, WorkerMetrics};

/// Fibers on a worker each, that hand over to the next in turn until the first says that it is enough.
struct Ring {
    fibers: Vec<OnceLock<Fiber>>,
    turn: AtomicU64,
    enough: AtomicBool,
}

impl Ring {
    fn of(fibers: usize) -> Arc<Ring> {
        Arc::new(Ring {
            fibers: (0..fibers).map(|_| OnceLock::new()).collect(),
            turn: AtomicU64::new(0),
            enough: AtomicBool::new(false),
        })
    }

    /// `enough` is asked by the first of them, every hundred trips. The trips that there were.
    fn hand_over(&self, me: usize, enough: impl Fn() -> bool) -> u64 {
        self.fibers[me].set(current()).expect("set once");
        until(|| self.fibers.iter().all(|fiber| fiber.get().is_some()));
        let all = self.fibers.len();
        let next = self.fibers[(me + 1) % all].get().expect("just seen");
        let mut trips = 0;
        loop {
            while self.turn.load(Ordering::Acquire) % all as u64 != me as u64 {
                park();
            }
            if me == 0 && trips % 100 == 0 && enough() {
                self.enough.store(true, Ordering::Relaxed);
            }
            let over = self.enough.load(Ordering::Relaxed);
            // Pairs with the Acquire above: `enough` too.
            self.turn.fetch_add(1, Ordering::Release);
            next.unpark();
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
        if worker.spins > 0 {
            println!(
                "{} sleeps, {} of them ended by others; {} looks, {} of them vain",
                worker.sleeps, worker.woken, worker.spins, worker.vain_spins
            );
        }
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
    let pair = Ring::of(2);
    let trips = runtime.run(move || {
        let handle = Handle::current();
        let trips = Arc::new(AtomicU64::new(0));
        one_on_each_worker(2, {
            let trips = Arc::clone(&trips);
            move |me| {
                // However busy the machine is: now and then both have a processor.
                let spared = || {
                    let total = handle.metrics().total();
                    total.spins - total.vain_spins > 100
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

/// They would wait for the end of each look.
#[test]
fn a_worker_with_async_tasks_does_not_look() {
    let _watchdog = watchdog(120);
    let runtime = runtime(2);
    let (pair, together) = (Ring::of(2), Barrier::new(2));
    let (over, polls) = (Arc::new(AtomicBool::new(false)), Arc::default());
    runtime.run(move || {
        let handle = Handle::current();
        one_on_each_worker(2, move |me| {
            let (ends, counts) = (Arc::clone(&over), Arc::<AtomicU64>::clone(&polls));
            let task = tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    counts.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
            together.wait();
            let before = handle.metrics().total();
            let trips = AtomicU64::new(0);
            pair.hand_over(me, || {
                trips.fetch_add(100, Ordering::Relaxed) > 2_000
                    && polls.load(Ordering::Relaxed) > 1_000
            });
            let after = handle.metrics().total();
            assert!(after.woken > before.woken);
            assert_eq!(after.spins, before.spins);
            together.wait();
            over.store(true, Ordering::Relaxed);
            sisal::block_on(task).unwrap();
        });
    });
    check(&runtime.metrics().workers);
}

/// A worker that has looked goes on to an async task that holds it. Nobody relies on its search any more: what is fresh runs elsewhere.
#[test]
fn a_task_takes_no_search_along() {
    let _watchdog = watchdog(120);
    const ROUNDS: usize = 20;
    let runtime = runtime(2);
    let (begun, ran) = (Count::new(), Count::new());
    let handled = Count::new();
    let holds = Arc::new(AtomicBool::new(false));
    let called = runtime.spawn({
        let (begun, ran, handled) = (begun.clone(), ran.clone(), handled.clone());
        let holds = Arc::clone(&holds);
        move || {
            while begun.get() < ROUNDS {
                park();
                if holds.swap(false, Ordering::Relaxed) {
                    let (begun, ran) = (begun.clone(), ran.clone());
                    drop(tokio::spawn(async move {
                        begun.add();
                        while ran.get() < begun.get() {
                            thread::yield_now();
                        }
                    }));
                    // The turn is an old one when it comes to look.
                    let since = Instant::now();
                    while since.elapsed() < Duration::from_micros(200) {}
                }
                handled.add();
            }
        }
    });
    for round in 0..ROUNDS {
        let call = || {
            let before = handled.get();
            called.fiber().unpark();
            until(|| handled.get() > before);
        };
        // After short sleeps it looks.
        (0..6).for_each(|_| call());
        holds.store(true, Ordering::Relaxed);
        called.fiber().unpark();
        until(|| begun.get() > round);
        until(|| runtime.metrics().workers.iter().any(|worker| worker.asleep));
        let ran = ran.clone();
        runtime.spawn(move || ran.add()).join().unwrap();
    }
    called.fiber().unpark();
    called.join().unwrap();
    check(&runtime.metrics().workers);
}

/// To look through very many workers takes longer than a look at the inbox should: they sleep all the same.
#[test]
fn many_workers_sleep_after_looks() {
    let _watchdog = watchdog(120);
    const WORKERS: usize = 128;
    let runtime = runtime(WORKERS);
    for _ in 0..8 {
        let ring = Ring::of(4);
        runtime.run(move || {
            one_on_each_worker(4, move |me| {
                let trips = AtomicU64::new(0);
                ring.hand_over(me, || trips.fetch_add(100, Ordering::Relaxed) > 1_000)
            });
        });
        until(|| runtime.metrics().total().asleep);
    }
    check(&runtime.metrics().workers);
}
