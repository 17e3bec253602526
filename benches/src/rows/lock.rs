//! A mutex: that nobody else wants, on a plain thread and in a fiber; that others want; that is held across a wait.

use std::future;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use super::work::{BOOST_FIBER, GO, Scale, Side, Work, everybody, several_workers, timed};
use crate::faces::{Current, Fibers, May, Multi, Sisal, Smol, Tasks, Threads};

pub(super) const ROWS: &[Work] = &[
    Work {
        name: "Mutex lock+unlock",
        least_units: 50_000,
        short: true,
        note: Some("uncontended, on a plain thread; poisoning is looked after on all sides"),
        sides: &[
            ("sisal", on_a_thread::<Sisal>),
            ("std", on_a_thread::<Threads>),
            ("may", on_a_thread::<May>),
        ],
        ..BASE
    },
    Work {
        name: "Mutex lock+unlock, in a fiber",
        least_units: 50_000,
        note: Some("uncontended; the mutexes of tokio, smol, Go and boost.fiber know no poisoning"),
        sides: &[
            ("sisal", in_a_fiber::<Sisal>),
            ("std threads", in_a_fiber::<Threads>),
            ("tokio current_thread", in_a_task::<Current>),
            ("tokio multi_thread", in_a_task::<Multi>),
            ("smol", in_a_task::<Smol>),
            ("may", in_a_fiber::<May>),
        ],
        foreign: &[GO, BOOST_FIBER],
        ..BASE
    },
    Work {
        name: "Mutex, 10 fibers on 2 workers",
        size: 10,
        quick: 10,
        operations: |fibers| fibers,
        least_units: 1_000,
        cpus: 2,
        workers: 2,
        sides: several_workers!(contended_fibers, contended_tasks),
        foreign: &[GO, BOOST_FIBER],
        ..BASE
    },
    Work {
        name: "Mutex held across a yield, 100 fibers",
        size: 100,
        quick: 20,
        operations: |fibers| fibers,
        least_units: 50,
        sides: everybody!(held_fibers, held_tasks),
        foreign: &[GO, BOOST_FIBER],
        ..BASE
    },
];

const BASE: Work = Work {
    group: "mutex",
    operation: "lock+unlock",
    ..Work::BASE
};

fn on_a_thread<F: Fibers>(_: Scale) -> Side {
    let mutex = F::mutex();
    let mut before = 0;
    timed(move |locks| {
        let start = Instant::now();
        for _ in 0..locks {
            F::add(black_box(&mutex), || {});
        }
        let took = start.elapsed();
        before += locks + 1;
        assert_eq!(F::add(&mutex, || {}), before, "a lock was skipped");
        took
    })
}

fn in_a_fiber<F: Fibers>(scale: Scale) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |locks| {
        F::run(&runtime, move || {
            let mutex = F::mutex();
            let start = Instant::now();
            for _ in 0..locks {
                F::add(black_box(&mutex), || {});
            }
            let took = start.elapsed();
            assert_eq!(F::add(&mutex, || {}), locks + 1, "a lock was skipped");
            took
        })
    })
}

fn in_a_task<T: Tasks>(scale: Scale) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |locks| {
        T::run(&runtime, async move {
            let mutex = T::mutex();
            let start = Instant::now();
            for _ in 0..locks {
                T::add(black_box(&mutex), future::ready(())).await;
            }
            let took = start.elapsed();
            let count = T::add(&mutex, future::ready(())).await;
            assert_eq!(count, locks + 1, "a lock was skipped");
            took
        })
    })
}

fn contended_fibers<F: Fibers>(scale: Scale) -> Side {
    fibers::<F>(scale, || {})
}

fn held_fibers<F: Fibers>(scale: Scale) -> Side {
    fibers::<F>(scale, F::yield_now)
}

fn fibers<F: Fibers>(scale: Scale, then: impl Fn() + Copy + Send + 'static) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |locks| {
        F::run(&runtime, move || {
            let mutex = Arc::new(F::mutex());
            let start = Instant::now();
            let spawn = |_| {
                let mutex = Arc::clone(&mutex);
                F::spawn(move || {
                    for _ in 0..locks {
                        F::add(&mutex, then);
                    }
                    locks
                })
            };
            let handles: Vec<_> = (0..scale.size).map(spawn).collect();
            let all: u64 = handles.into_iter().map(F::join).sum();
            let took = start.elapsed();
            assert_eq!(all, locks * scale.size, "a fiber stopped early");
            assert_eq!(F::add(&mutex, || {}), all + 1, "two held the lock at once");
            took
        })
    })
}

fn contended_tasks<T: Tasks>(scale: Scale) -> Side {
    tasks::<T>(scale, false)
}

fn held_tasks<T: Tasks>(scale: Scale) -> Side {
    tasks::<T>(scale, true)
}

fn tasks<T: Tasks>(scale: Scale, yields: bool) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |locks| {
        T::run(&runtime, async move {
            let mutex = Arc::new(T::mutex());
            let start = Instant::now();
            let mut handles = Vec::with_capacity(scale.size as usize);
            for _ in 0..scale.size {
                let mutex = Arc::clone(&mutex);
                handles.push(T::spawn(async move {
                    for _ in 0..locks {
                        if yields {
                            T::add(&mutex, T::yield_now()).await;
                        } else {
                            T::add(&mutex, future::ready(())).await;
                        }
                    }
                    locks
                }));
            }
            let mut all = 0;
            for handle in handles {
                all += T::join(handle).await;
            }
            let took = start.elapsed();
            assert_eq!(all, locks * scale.size, "a task stopped early");
            let count = T::add(&mutex, future::ready(())).await;
            assert_eq!(count, all + 1, "two held the lock at once");
            took
        })
    })
}
