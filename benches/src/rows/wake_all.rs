//! Many fibers wait, and all are woken: from the first wake until the last of them has run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::work::{BOOST_FIBER, GO, Scale, Side, Work, no_threads, timed};
use crate::faces::{Fibers, Tasks};

pub(super) const ROWS: &[Work] = &[Work {
    name: "wake all of 10,000",
    group: "wake all",
    size: 10_000,
    quick: 1_000,
    operation: "a fiber",
    operations: |fibers| fibers,
    note: Some(
        "one is woken after the other; tokio's tasks wait for a Notify, smol's for a Semaphore, Go's and boost.fiber's at a channel with room for one",
    ),
    sides: no_threads!(fibers, tasks),
    foreign: &[GO, BOOST_FIBER],
    ..Work::BASE
}];

fn fibers<F: Fibers>(scale: Scale) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |times| {
        F::run(&runtime, move || {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                let waiting = Arc::new(Crowd::new(scale.size, F::current()));
                let awake = Arc::new(Crowd::new(scale.size, F::current()));
                let spawn = |_| {
                    let (waiting, awake) = (Arc::clone(&waiting), Arc::clone(&awake));
                    F::spawn(move || {
                        waiting.come::<F>();
                        F::park();
                        awake.come::<F>();
                        1
                    })
                };
                let handles: Vec<_> = (0..scale.size).map(spawn).collect();
                waiting.wait::<F>();
                assert_eq!(awake.here(), 0, "one did not wait");
                let start = Instant::now();
                for handle in &handles {
                    F::unpark(&F::fiber(handle));
                }
                awake.wait::<F>();
                took += start.elapsed();
                let all: u64 = handles.into_iter().map(F::join).sum();
                assert_eq!(all, scale.size, "one did not wake");
            }
            took
        })
    })
}

fn tasks<T: Tasks>(scale: Scale) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |times| {
        T::run(&runtime, async move {
            let mut took = Duration::ZERO;
            for _ in 0..times {
                let waiting = Arc::new(Crowd::new(scale.size, T::notify()));
                let awake = Arc::new(Crowd::new(scale.size, T::notify()));
                let (mut notifies, mut handles) = (Vec::new(), Vec::new());
                for _ in 0..scale.size {
                    let notify = Arc::new(T::notify());
                    notifies.push(Arc::clone(&notify));
                    let (waiting, awake) = (Arc::clone(&waiting), Arc::clone(&awake));
                    handles.push(T::spawn(async move {
                        waiting.come_async::<T>();
                        T::notified(&notify).await;
                        awake.come_async::<T>();
                        1
                    }));
                }
                waiting.wait_async::<T>().await;
                assert_eq!(awake.here(), 0, "one did not wait");
                let start = Instant::now();
                for notify in &notifies {
                    T::notify_one(notify);
                }
                awake.wait_async::<T>().await;
                took += start.elapsed();
                let mut all = 0;
                for handle in handles {
                    all += T::join(handle).await;
                }
                assert_eq!(all, scale.size, "one did not wake");
            }
            took
        })
    })
}
