//! `Runtime::metrics`: figures that are exact where nothing else goes on.

mod common;

use common::{runtime, until, watchdog};
use sisal::fiber::{park, spawn, yield_now};
use sisal::{Handle, Runtime};

/// Waits until every worker has begun its `n`th sleep. Each goes to sleep once when it is new.
fn asleep(runtime: &Runtime, n: u64) {
    until(|| runtime.metrics().workers.iter().all(|w| w.sleeps >= n));
}

#[test]
fn a_new_runtime_has_only_gone_to_sleep() {
    let _watchdog = watchdog(60);
    let runtime = runtime(3);
    asleep(&runtime, 1);
    let metrics = runtime.metrics();
    assert_eq!(metrics.workers.len(), 3);
    for worker in &metrics.workers {
        assert_eq!((worker.turns, worker.sleeps), (1, 1), "{worker:?}");
    }
    let total = metrics.total();
    let rest = [
        total.spawned,
        total.ended,
        total.bound,
        total.ready,
        total.fresh,
        total.switches,
        total.woken,
        total.wakes,
        total.steals,
        total.stolen,
        total.injector_pops,
        total.inbox_pops,
        metrics.live(),
        metrics.injected as u64,
    ];
    assert_eq!(rest, [0; 14]);
}

/// One worker, so that nothing is left to chance: a main fiber, five children that yield once, two that
/// park and are unparked by a fiber.
#[test]
fn one_worker_counts_exactly() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    asleep(&runtime, 1);
    let inside = runtime.run(|| {
        let yielding: Vec<_> = (0..5).map(|_| spawn(yield_now)).collect();
        let before = Handle::current().metrics();
        for fiber in yielding {
            fiber.join().unwrap();
        }
        let parking: Vec<_> = (0..2).map(|_| spawn(park)).collect();
        // What is ready goes before what is fresh, up to a bound.
        let mut yields = 0;
        until(|| {
            yields += 1;
            Handle::current().metrics().workers[0].bound == 3
        });
        let parked = Handle::current().metrics();
        for fiber in parking {
            fiber.fiber().unpark();
            fiber.join().unwrap();
        }
        ([before, parked], yields - 1)
    });
    asleep(&runtime, 2);
    let (inside, yields) = inside;
    let [before, parked] = inside.map(|metrics| metrics.workers[0]);
    assert_eq!((before.spawned, before.fresh, before.bound), (5, 5, 1));
    assert_eq!((parked.spawned, parked.fresh, parked.bound), (7, 0, 3));
    assert_eq!((before.ended, parked.ended), (0, 5));
    let after = runtime.metrics();
    let worker = after.workers[0];
    assert_eq!((worker.spawned, worker.ended, worker.bound), (7, 8, 0));
    assert_eq!((after.outside.spawned, after.total().spawned), (1, 8));
    assert_eq!((after.live(), after.injected), (0, 0));
    assert_eq!((worker.injector_pops, worker.inbox_pops), (1, 0));
    assert_eq!((worker.woken, after.outside.wakes), (1, 1));
    assert_eq!((worker.ready, worker.fresh), (0, 0));
    // Eight fibers start; five yield, two are unparked; the main one yields, and waits once for each
    // child that had not ended when it was joined.
    let switches = 8 + 5 + 2 + yields;
    assert!(
        (switches..=switches + 7).contains(&worker.switches),
        "{worker:?}"
    );
}

#[test]
fn a_handle_says_the_same_also_after_the_end() {
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    let handle = runtime.handle().clone();
    runtime.run(|| spawn(|| ()).join().unwrap());
    drop(runtime);
    let metrics = handle.metrics();
    let total = metrics.total();
    assert_eq!((total.spawned, total.ended, total.bound), (2, 2, 0));
    // Refused, and counted on both sides.
    assert!(handle.spawn(|| ()).join().unwrap_err().is_cancelled());
    let metrics = handle.metrics();
    assert_eq!((metrics.outside.spawned, metrics.outside.ended), (2, 1));
    assert_eq!(metrics.live(), 0);
}
