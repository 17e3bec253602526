//! What the loom models share: running one, a place to sleep, a fiber without a stack.
//!
//! The models stand beside the code that they check, in files called `loom_*.rs`. Under `--cfg sisal_loom` they
//! are explored (`.ci/loom.sh`). Without it the same models run some times over on std's threads and atomics: in
//! `cargo test` on what the CPU does, under Miri (`.ci/miri.sh`) for what loom cannot see: pointers,
//! references and memory that is freed. (Those that switch stacks are loom's alone.)

#[cfg(not(sisal_loom))]
#[path = "loom_std.rs"]
mod on_threads;

#[cfg(sisal_loom)]
pub(crate) use loom::{cell, sync, thread};
#[cfg(not(sisal_loom))]
pub(crate) use on_threads::{cell, sync, thread};

use std::panic::Location;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::driver::BlockingPool;
use crate::fiber::{FiberId, FiberPtr, FiberRef, Lent, Schedule, Seed};
use crate::sched::{Config, Shared};
use crate::shim::deque::Worker as Deque;

/// Switches away from a thread that is able to go on, per execution. Two are enough for every race of
/// two steps; the third is for the races between those. `LOOM_MAX_PREEMPTIONS` sets another number.
#[cfg(sisal_loom)]
const PREEMPTIONS: usize = 3;

/// Runs `model` in every order of its threads' steps. Fails if there were fewer than `least`
/// executions: then the model does not explore what it says.
#[cfg(sisal_loom)]
#[track_caller]
pub(crate) fn explore(least: u64, model: impl Fn() + Send + Sync + 'static) {
    explore_within(PREEMPTIONS, least, model);
}

/// Runs `model` some times over.
#[cfg(not(sisal_loom))]
pub(crate) fn explore(_: u64, model: impl Fn() + Send + Sync + 'static) {
    let runs = if cfg!(miri) { 8 } else { 300 };
    (0..runs).for_each(|_| model());
}

/// [`explore`] for a model that is too large for the usual number of preemptions.
#[cfg(sisal_loom)]
#[track_caller]
pub(crate) fn explore_within(
    preemptions: usize,
    least: u64,
    model: impl Fn() + Send + Sync + 'static,
) {
    let executions = Arc::new(std::sync::Mutex::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(move || {
        *counted.lock().unwrap() += 1;
        model();
    });
    let executions = *executions.lock().unwrap();
    println!("{executions} executions");
    assert!(
        executions >= least,
        "only {executions} executions, at least {least} expected"
    );
}

/// As above.
#[cfg(not(sisal_loom))]
pub(crate) fn explore_within(_: usize, least: u64, model: impl Fn() + Send + Sync + 'static) {
    explore(least, model);
}

/// Where a worker sleeps, and the waker of that: the stand-in for a reactor. (Not loom's `park`: a
/// thread that blocks on a lock there loses its token, and one that is unparked there gets the lock.)
pub(crate) struct Bell {
    rung: sync::Mutex<bool>,
    ring: sync::Condvar,
}

impl Bell {
    pub(crate) fn new() -> Arc<Bell> {
        Arc::new(Bell {
            rung: sync::Mutex::new(false),
            ring: sync::Condvar::new(),
        })
    }

    /// Sleeps until it was rung since the last sleep.
    pub(crate) fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.ring.wait(rung).unwrap();
        }
        *rung = false;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.rung.lock().unwrap() = true;
        self.ring.notify_one();
    }
}

/// Polls `future` to its end, asleep in between.
pub(crate) fn wait_for<F: Future>(future: F) -> F::Output {
    let bell = Bell::new();
    let waker = Waker::from(bell.clone());
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        bell.wait();
    }
}

/// What the workers of a runtime share, and their deques. Nobody works yet.
pub(crate) fn runtime(workers: usize) -> (Arc<Shared>, Vec<Deque<FiberPtr>>) {
    let config = Config {
        workers,
        stack_size: 64 * 1024,
        guard_size: 4096,
        thread_name: String::new(),
        tokio: None,
        event_interval: 61,
        least_turn: 0,
        max_blocking_threads: 1,
        on_switch: None,
        kill_on_overflow: None,
        stall_warning: None,
    };
    Shared::new(config, BlockingPool::new(1).unwrap()).unwrap()
}

/// Calls `f`, which the code under test calls where panics are contained: here one ends the test.
pub(crate) fn no_panic<R>(f: impl FnOnce() -> R) -> R {
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            if std::thread::panicking() {
                std::process::abort();
            }
        }
    }
    let _abort = Abort;
    f()
}

/// A fiber, as spawning makes it: the queues' pointer and a counted reference.
#[track_caller]
pub(crate) fn fiber<T: Send + 'static>(
    scheduler: Arc<impl Schedule + 'static>,
    closure: impl FnOnce() -> T + Send + 'static,
) -> (FiberPtr, FiberRef) {
    let seed = Seed {
        id: FiberId::next(),
        spawned_at: Location::caller(),
        scheduler: Lent::new(&scheduler),
        hooked: false,
        extra: None,
    };
    // SAFETY: nothing is borrowed, and both types are Send.
    unsafe { FiberRef::make(seed, || no_panic(closure)) }
}
