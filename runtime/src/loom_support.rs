//! What the loom models share: running one, a place to sleep, a fiber without a stack.
//!
//! The models stand beside the code that they check, in files called `loom_*.rs`. They are built under
//! `--cfg sisal_loom` only; `.ci/loom.sh` runs them.

use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};

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

/// Wakes the loom thread that made it: the stand-in for a reactor's waker.
pub(crate) struct Bell(loom::thread::Thread);

impl Bell {
    /// For the calling thread. It sleeps in `loom::thread::park`, and waits in no other way.
    pub(crate) fn new() -> Waker {
        Waker::from(Arc::new(Bell(loom::thread::current())))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
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
        extra: None,
    };
    // SAFETY: nothing is borrowed, and both types are Send.
    unsafe { FiberRef::make(seed, closure) }
}
