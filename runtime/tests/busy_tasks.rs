//! An async task that computes holds its worker. The others go on: also where that worker had nothing to
//! do, and so seemed to sleep.

mod common;

use common::{Count, runtime, until, until_thread, watchdog};
use sisal::fiber::spawn;

#[test]
fn a_fiber_from_outside_runs_beside_a_busy_task() {
    let _watchdog = watchdog(60);
    for workers in [2, 3].into_iter().cycle().take(50) {
        let runtime = runtime(workers);
        let (begun, done) = (Count::new(), Count::new());
        let task = {
            let (begun, done) = (begun.clone(), done.clone());
            runtime.run(|| {
                tokio::spawn(async move {
                    begun.add();
                    until_thread(|| done.get() == 1);
                })
            })
        };
        until(|| begun.get() == 1);
        let fiber = runtime.spawn(move || done.add());
        assert_eq!(fiber.join().unwrap(), 1);
        drop(task);
    }
}

/// The task was asleep itself, and what it spawns is in its own worker's queue.
#[test]
fn a_fiber_of_a_busy_task_runs_elsewhere() {
    let _watchdog = watchdog(60);
    for workers in [2, 3].into_iter().cycle().take(50) {
        let runtime = runtime(workers);
        let done = Count::new();
        let task = {
            let done = done.clone();
            runtime.run(|| {
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    let fiber = spawn({
                        let done = done.clone();
                        move || done.add()
                    });
                    until_thread(|| done.get() == 1);
                    drop(fiber);
                })
            })
        };
        until(|| done.get() == 1);
        drop(task);
    }
}

/// Every worker has a task that is always ready: none of them ever waits in its reactor.
#[test]
fn a_fiber_from_outside_runs_beside_tasks_that_are_always_ready() {
    let _watchdog = watchdog(60);
    for workers in [1, 2, 3] {
        let runtime = runtime(workers);
        let (placed, yields, done) = (Count::new(), Count::new(), Count::new());
        let tasks: Vec<_> = (0..workers)
            .map(|_| {
                let (placed, yields, done) = (placed.clone(), yields.clone(), done.clone());
                runtime.spawn(move || {
                    // One on each worker: nobody starts a second while it is held here.
                    placed.add();
                    until_thread(|| placed.get() == workers);
                    tokio::spawn(async move {
                        while done.get() == 0 {
                            yields.add();
                            tokio::task::yield_now().await;
                        }
                    });
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        // By now all have gone from their fibers to their tasks, some of them for long.
        let seen = yields.get();
        until_thread(|| yields.get() >= seen + 10_000);
        assert_eq!(runtime.spawn(move || done.add()).join().unwrap(), 1);
    }
}
