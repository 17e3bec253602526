//! Two fibers wake each other in turn: the wake and the wait, with nothing carried across.
//!
//! Tasks have no park; theirs is whatever of their own keeps one permit, as a park token does.

use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::work::{BOOST_FIBER, GO, Scale, Side, Work, everybody, timed};
use crate::faces::{Fibers, Multi, Sisal, Smol, Tasks, Threads};

pub(super) const ROWS: &[Work] = &[
    Work {
        name: "park+unpark hand-off",
        least_units: 500,
        short: true,
        note: Some(PERMITS),
        sides: everybody!(fibers, tasks),
        foreign: &[GO, BOOST_FIBER],
        ..BASE
    },
    Work {
        name: "park+unpark hand-off, across 2 workers",
        least_units: 100,
        cpus: 2,
        workers: 2,
        note: Some(
            "both start at the same time on a worker each; tokio, smol and Go may bring a woken one to the waker's worker. may is not here: its two sometimes wait in one worker's queue",
        ),
        sides: &[
            ("sisal", fibers::<Sisal>),
            ("tokio multi_thread", tasks::<Multi>),
            ("smol", tasks::<Smol>),
            ("std threads", fibers::<Threads>),
        ],
        foreign: &[GO],
        ..BASE
    },
];

const PERMITS: &str = "tokio's tasks wait for a Notify, smol's for a Semaphore, Go's and boost.fiber's at a channel with room for one";

const BASE: Work = Work {
    group: "hand-off",
    operation: "a round trip",
    ..Work::BASE
};

fn fibers<F: Fibers>(scale: Scale) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |trips| {
        let pair = Arc::new(Pair::<F::Fiber>::new(scale.workers));
        let body = {
            let pair = Arc::clone(&pair);
            move || {
                if pair.apart {
                    pair.pong.set(F::current()).ok().expect("set once");
                }
                pair.meet();
                let ping = pair.ping.get().expect("they met");
                for trip in 0..trips {
                    while !pair.is_pongs(trip) {
                        F::park();
                    }
                    pair.pass();
                    F::unpark(ping);
                }
                trips
            }
        };
        // Spawned from outside, it can start at the same time.
        let (outside, body) = match pair.apart {
            true => (Some(F::spawn_outside(&runtime, body)), None),
            false => (None, Some(body)),
        };
        let ping = {
            let pair = Arc::clone(&pair);
            move || {
                pair.ping.set(F::current()).ok().expect("set once");
                let inside = body.map(F::spawn);
                if let Some(pong) = &inside {
                    pair.pong.set(F::fiber(pong)).ok().expect("set once");
                }
                pair.meet();
                let pong = pair.pong.get().expect("they met");
                let start = Instant::now();
                for trip in 0..trips {
                    pair.pass();
                    F::unpark(pong);
                    while !pair.is_pings(trip + 1) {
                        F::park();
                    }
                }
                (start.elapsed(), inside)
            }
        };
        let (took, inside) = F::run(&runtime, ping);
        let pong = inside.or(outside).expect("one of them is it");
        assert_eq!(F::join(pong), trips);
        pair.check(trips);
        took
    })
}

fn tasks<T: Tasks>(scale: Scale) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |trips| {
        let pair = Arc::new(Pair::<T::Notify>::new(scale.workers));
        pair.ping.set(T::notify()).ok().expect("set once");
        pair.pong.set(T::notify()).ok().expect("set once");
        let pong = T::spawn_outside(&runtime, {
            let pair = Arc::clone(&pair);
            async move {
                pair.meet();
                let (here, there) = (pair.pong.get().expect("set"), pair.ping.get().expect("set"));
                for trip in 0..trips {
                    while !pair.is_pongs(trip) {
                        T::notified(here).await;
                    }
                    pair.pass();
                    T::notify_one(there);
                }
                trips
            }
        });
        let ping = {
            let pair = Arc::clone(&pair);
            async move {
                pair.meet();
                let (here, there) = (pair.ping.get().expect("set"), pair.pong.get().expect("set"));
                let start = Instant::now();
                for trip in 0..trips {
                    pair.pass();
                    T::notify_one(there);
                    while !pair.is_pings(trip + 1) {
                        T::notified(here).await;
                    }
                }
                let took = start.elapsed();
                assert_eq!(T::join(pong).await, trips);
                took
            }
        };
        let took = T::run(&runtime, ping);
        pair.check(trips);
        took
    })
}

/// The two, and whose turn it is: even is ping's. Both wakes may come early, so both sides wait until it is theirs.
struct Pair<W> {
    ping: OnceLock<W>,
    pong: OnceLock<W>,
    turn: AtomicU64,
    met: AtomicUsize,
    apart: bool,
}

impl<W> Pair<W> {
    fn new(workers: usize) -> Self {
        Self {
            ping: OnceLock::new(),
            pong: OnceLock::new(),
            turn: AtomicU64::new(0),
            met: AtomicUsize::new(0),
            apart: workers > 1,
        }
    }

    /// Where they are to start apart: holds its worker until the other one has one too.
    fn meet(&self) {
        if !self.apart {
            return;
        }
        // Its partners are the loads below: what was set before is seen by who has met.
        self.met.fetch_add(1, AcqRel);
        let since = Instant::now();
        while self.met.load(Acquire) < 2 {
            let waited = since.elapsed();
            assert!(
                waited < Duration::from_secs(20),
                "they never ran at the same time"
            );
            std::hint::spin_loop();
        }
    }

    fn is_pings(&self, trip: u64) -> bool {
        self.turn.load(Relaxed) == 2 * trip
    }

    fn is_pongs(&self, trip: u64) -> bool {
        self.turn.load(Relaxed) == 2 * trip + 1
    }

    /// Only whose turn it is passes it on, so a load and a store do.
    fn pass(&self) {
        self.turn.store(self.turn.load(Relaxed) + 1, Relaxed);
    }

    fn check(&self, trips: u64) {
        let turn = self.turn.load(Relaxed);
        assert_eq!(turn, 2 * trips, "a turn was skipped");
    }
}
