//! What a fiber that waits costs in memory: resident pages and page tables of the process, over what there was before its runtime.

use std::sync::Arc;

use super::crowd::Crowd;
use super::work::{BOOST_FIBER, GO, Scale, Side, Unit, Work, no_threads};
use crate::Memory;
use crate::faces::{Current, Fibers, May, Sisal, Smol, Tasks, Threads};

pub(super) const ROWS: &[Work] = &[
    Work {
        name: "memory of 1,000 parked fibers",
        size: 1_000,
        sides: &[
            ("sisal", fibers::<Sisal>),
            ("tokio current_thread", tasks::<Current>),
            ("smol", tasks::<Smol>),
            ("may", fibers::<May>),
            ("std threads", fibers::<Threads>),
        ],
        ..BASE
    },
    Work {
        name: "memory of 10,000 parked fibers",
        size: 10_000,
        sides: no_threads!(fibers, tasks),
        ..BASE
    },
    Work {
        name: "memory of 100,000 parked fibers",
        size: 100_000,
        sides: TASKS_AND_OURS,
        ..BASE
    },
    Work {
        name: "memory of 1,000,000 parked fibers",
        size: 1_000_000,
        sides: TASKS_AND_OURS,
        // boost.fiber's would be 10 GB.
        foreign: &[GO],
        ..BASE
    },
];

/// Whose stacks are guarded one mapping each stops at half of `vm.max_map_count`.
const TASKS_AND_OURS: &[(&str, super::work::Make)] = &[
    ("sisal", fibers::<Sisal>),
    ("tokio current_thread", tasks::<Current>),
    ("smol", tasks::<Smol>),
];

const BASE: Work = Work {
    group: "memory",
    quick: 1_000,
    unit: Unit::Bytes,
    operation: "a fiber",
    operations: |fibers| fibers,
    foreign: &[GO, BOOST_FIBER],
    note: Some(
        "resident pages and page tables of a fresh process with its runtime, default stacks; a task is as large as its future, here a few words; a thread's kernel stack is not counted",
    ),
    ..Work::BASE
};

fn fibers<F: Fibers>(scale: Scale) -> Side {
    let before = Memory::now();
    let runtime = F::runtime(scale.workers);
    Box::new(move |_| {
        F::run(&runtime, move || {
            let waiting = Arc::new(Crowd::new(scale.size, F::current()));
            let mut handles = Vec::with_capacity(scale.size as usize);
            for _ in 0..scale.size {
                let waiting = Arc::clone(&waiting);
                handles.push(F::spawn(move || {
                    waiting.come::<F>();
                    F::park();
                    1
                }));
            }
            waiting.wait::<F>();
            let grown = Memory::now().total().saturating_sub(before.total());
            for handle in &handles {
                F::unpark(&F::fiber(handle));
            }
            let all: u64 = handles.into_iter().map(F::join).sum();
            assert_eq!(all, scale.size, "one did not wake");
            grown
        })
    })
}

fn tasks<T: Tasks>(scale: Scale) -> Side {
    let before = Memory::now();
    let runtime = T::runtime(scale.workers);
    Box::new(move |_| {
        T::run(&runtime, async move {
            let waiting = Arc::new(Crowd::new(scale.size, T::notify()));
            let notifies: Arc<Vec<T::Notify>> =
                Arc::new((0..scale.size).map(|_| T::notify()).collect());
            let mut handles = Vec::with_capacity(scale.size as usize);
            for n in 0..scale.size as usize {
                let (waiting, notifies) = (Arc::clone(&waiting), Arc::clone(&notifies));
                handles.push(T::spawn(async move {
                    waiting.come_async::<T>();
                    T::notified(&notifies[n]).await;
                    1
                }));
            }
            waiting.wait_async::<T>().await;
            let grown = Memory::now().total().saturating_sub(before.total());
            for notify in notifies.iter() {
                T::notify_one(notify);
            }
            let mut all = 0;
            for handle in handles {
                all += T::join(handle).await;
            }
            assert_eq!(all, scale.size, "one did not wake");
            grown
        })
    })
}
