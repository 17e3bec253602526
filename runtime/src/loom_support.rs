//! What the loom models share: running one, a place to sleep, a fiber without a stack.
//!
//! The models stand beside the code that they check, in files called `loom_*.rs`. They are built under
//! `--cfg sisal_loom` only; `.ci/loom.sh` runs them.

use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::task::Wake;

use crate::fiber::{FiberId, FiberPtr, FiberRef, Schedule, Seed};

/// Switches away from a thread that is able to go on, per execution. Two are enough for every race of
/// two steps; the third is for the races between those. `LOOM_MAX_PREEMPTIONS` sets another number.
const PREEMPTIONS: usize = 3;

/// Runs `model` in every order of its threads' steps. Fails if there were fewer than `least`
/// executions: then the model does not explore what it says.
#[track_caller]
pub(crate) fn explore(least: u64, model: impl Fn() + Send + Sync + 'static) {
    explore_within(PREEMPTIONS, least, model);
}

/// [`explore`] for a model that is too large for the usual number of preemptions.
#[track_caller]
pub(crate) fn explore_within(
    preemptions: usize,
    least: u64,
    model: impl Fn() + Send + Sync + 'static,
) {
    let executions = Arc::new(Mutex::new(0));
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

/// Where a worker sleeps, and the waker of that: the stand-in for a reactor. (Not loom's `park`: a
/// thread that blocks on a lock there loses its token, and one that is unparked there gets the lock.)
pub(crate) struct Bell {
    rung: loom::sync::Mutex<bool>,
    ring: loom::sync::Condvar,
}

impl Bell {
    pub(crate) fn new() -> Arc<Bell> {
        Arc::new(Bell {
            rung: loom::sync::Mutex::new(false),
            ring: loom::sync::Condvar::new(),
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
    scheduler: Arc<dyn Schedule>,
    closure: impl FnOnce() -> T + Send + 'static,
) -> (FiberPtr, FiberRef) {
    let seed = Seed {
        id: FiberId::next(),
        spawned_at: Location::caller(),
        scheduler,
        hooked: false,
        extra: None,
    };
    // SAFETY: nothing is borrowed, and both types are Send.
    unsafe { FiberRef::make(seed, || no_panic(closure)) }
}
