//! `yield_now`: many fibers on one worker take turns.
//!
//! Few fibers show what the scheduler costs, many show what the caches say to that many stacks.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Barrier;

use super::{Side, Sides, Work, one_thread};

pub(super) const HUNDRED: Work = Work {
    name: "yield_now, 100 fibers",
    peer: one_thread::TOKIO,
    operations_per_unit: 100,
    least_units: 1_000,
    note: None,
    sides: || sides(100),
};

pub(super) const TEN_THOUSAND: Work = Work {
    name: "yield_now, 10,000 fibers",
    peer: one_thread::TOKIO,
    operations_per_unit: 10_000,
    least_units: 20,
    note: None,
    sides: || sides(10_000),
};

fn sides(fibers: usize) -> Sides {
    Sides {
        ours: ours(fibers),
        peer: tokio(fibers),
    }
}

fn ours(fibers: usize) -> Side {
    fn body(turns: &Turns, yields: u64) {
        sisal::block_on(turns.gate.wait());
        sisal::fiber::yield_now();
        turns.enter();
        for turn in 0..yields / 4 {
            black_box(turn);
            sisal::fiber::yield_now();
        }
        turns.reach_quarter();
        for turn in yields / 4..yields {
            black_box(turn);
            sisal::fiber::yield_now();
        }
        turns.leave();
    }

    let runtime = one_thread::sisal();
    Box::new(move |yields| {
        runtime.run(|| {
            let turns = Arc::new(Turns::new(fibers));
            let spawn = |_| {
                let turns = Arc::clone(&turns);
                sisal::fiber::spawn(move || body(&turns, yields))
            };
            let handles: Vec<_> = (0..fibers).map(spawn).collect();
            for handle in handles {
                handle.join().expect("a fiber of the bench ends");
            }
            turns.took()
        })
    })
}

fn tokio(tasks: usize) -> Side {
    async fn body(turns: &Turns, yields: u64) {
        turns.gate.wait().await;
        tokio::task::yield_now().await;
        turns.enter();
        for turn in 0..yields / 4 {
            black_box(turn);
            tokio::task::yield_now().await;
        }
        turns.reach_quarter();
        for turn in yields / 4..yields {
            black_box(turn);
            tokio::task::yield_now().await;
        }
        turns.leave();
    }

    let runtime = one_thread::tokio();
    Box::new(move |yields| {
        runtime.block_on(async {
            let turns = Arc::new(Turns::new(tasks));
            let spawn = |_| {
                let turns = Arc::clone(&turns);
                tokio::spawn(async move { body(&turns, yields).await })
            };
            let handles: Vec<_> = (0..tasks).map(spawn).collect();
            for handle in handles {
                handle.await.expect("a task of the bench ends");
            }
            turns.took()
        })
    })
}

/// Starts the clock when all take turns, stops it when all are through, and sees to it that they did take turns: fibers
/// that ran one after the other would never leave the cache.
struct Turns {
    /// Nobody takes a turn before everybody has been started.
    gate: Barrier,
    fibers: usize,
    entered: AtomicUsize,
    quarter_way: AtomicUsize,
    left: AtomicUsize,
    start: OnceLock<Instant>,
    took: OnceLock<Duration>,
}

impl Turns {
    fn new(fibers: usize) -> Self {
        Self {
            gate: Barrier::new(fibers),
            fibers,
            entered: AtomicUsize::new(0),
            quarter_way: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            start: OnceLock::new(),
            took: OnceLock::new(),
        }
    }

    /// The last one in starts the clock. The others are suspended in their first turn by then.
    fn enter(&self) {
        if self.entered.fetch_add(1, Relaxed) + 1 == self.fibers {
            self.start.set(Instant::now()).expect("one is the last");
        }
    }

    /// A quarter and not all but one, because turns need not be equal: tokio's `current_thread` scheduler takes up to 61
    /// tasks between two looks at its drivers, and of 100 yielding tasks some get two turns for one of the others.
    fn reach_quarter(&self) {
        self.quarter_way.fetch_add(1, Relaxed);
    }

    /// The last one out stops the clock.
    fn leave(&self) {
        let before = self.left.fetch_add(1, Relaxed);
        if before == 0 {
            let quarter_way = self.quarter_way.load(Relaxed);
            assert_eq!(
                quarter_way, self.fibers,
                "one is through and others are not a quarter of the way: no turns were taken"
            );
        }
        if before + 1 == self.fibers {
            let start = self.start.get().expect("all entered before the last left");
            self.took.set(start.elapsed()).expect("one is the last");
        }
    }

    fn took(&self) -> Duration {
        *self.took.get().expect("all were joined, so all left")
    }
}
