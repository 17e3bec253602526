//! Two fibers wake each other in turn: the wake and the wait, with nothing carried across.
//!
//! `tokio::sync::Notify` is the peer because it keeps one permit, as a park token does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::sync::Notify;

use super::{Side, Sides, Work, one_thread};

pub(super) const WORK: Work = Work {
    name: "park+unpark hand-off",
    peer: one_thread::TOKIO,
    operations_per_unit: 1,
    least_units: 1_000,
    note: Some("tokio's side waits for a Notify; a round trip"),
    sides: || Sides {
        ours: ours(),
        peer: tokio(),
    },
};

fn ours() -> Side {
    let runtime = one_thread::sisal();
    Box::new(move |trips| {
        runtime.run(|| {
            let turn = Arc::new(Turn::default());
            let ping = sisal::fiber::spawn(move || {
                let here = sisal::fiber::current();
                let pong = sisal::fiber::spawn({
                    let turn = Arc::clone(&turn);
                    move || {
                        for trip in 0..trips {
                            while !turn.is_pongs(trip) {
                                sisal::fiber::park();
                            }
                            turn.pass();
                            here.unpark();
                        }
                    }
                });
                let there = pong.fiber().clone();
                let start = Instant::now();
                for trip in 0..trips {
                    turn.pass();
                    there.unpark();
                    while !turn.is_pings(trip + 1) {
                        sisal::fiber::park();
                    }
                }
                let took = start.elapsed();
                pong.join().expect("pong ends");
                turn.check(trips);
                took
            });
            ping.join().expect("ping ends")
        })
    })
}

fn tokio() -> Side {
    let runtime = one_thread::tokio();
    Box::new(move |trips| {
        runtime.block_on(async {
            let turn = Arc::new(Turn::default());
            let here = Arc::new(Notify::new());
            let there = Arc::new(Notify::new());
            let ping = tokio::spawn(async move {
                let pong = tokio::spawn({
                    let (turn, here, there) = (turn.clone(), here.clone(), there.clone());
                    async move {
                        for trip in 0..trips {
                            while !turn.is_pongs(trip) {
                                there.notified().await;
                            }
                            turn.pass();
                            here.notify_one();
                        }
                    }
                });
                let start = Instant::now();
                for trip in 0..trips {
                    turn.pass();
                    there.notify_one();
                    while !turn.is_pings(trip + 1) {
                        here.notified().await;
                    }
                }
                let took = start.elapsed();
                pong.await.expect("pong ends");
                turn.check(trips);
                took
            });
            ping.await.expect("ping ends")
        })
    })
}

/// Whose turn it is: even is ping's. Both wakes may come early, so both sides wait until it is theirs.
#[derive(Default)]
struct Turn(AtomicU64);

impl Turn {
    fn is_pings(&self, trip: u64) -> bool {
        self.0.load(Relaxed) == 2 * trip
    }

    fn is_pongs(&self, trip: u64) -> bool {
        self.0.load(Relaxed) == 2 * trip + 1
    }

    /// Only whose turn it is passes it on, so a load and a store do.
    fn pass(&self) {
        self.0.store(self.0.load(Relaxed) + 1, Relaxed);
    }

    fn check(&self, trips: u64) {
        assert_eq!(self.0.load(Relaxed), 2 * trips, "a turn was skipped");
    }
}
