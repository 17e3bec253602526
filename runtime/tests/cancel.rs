//! `JoinHandle::cancel`: where it meets a fiber, what it leaves behind, and from where it may be called.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::{Count, Defer, Gate, Tally, panic_text, runtime, settle, until, watchdog};
use sisal::fiber::{self, JoinHandle, park, sleep, spawn, yield_now};
use sisal::{block_on, unblock};

/// A parked fiber unwinds; its destructors run, once; no hook is called.
#[test]
fn a_parked_fiber_unwinds() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (begun, drops, after) = (Count::new(), Count::new(), Count::new());
        let child = runtime.spawn({
            let (begun, held, after) = (begun.clone(), drops.on_drop(), after.clone());
            move || {
                let _held = held;
                begun.add();
                park();
                after.add();
            }
        });
        until(|| begun.get() == 1);
        child.cancel();
        child.cancel();
        let error = child.join().unwrap_err();
        assert!(error.is_cancelled() && !error.is_panic(), "{error}");
        assert!(error.to_string().contains("was cancelled"), "{error}");
        assert_eq!((drops.get(), after.get()), (1, 0));
    }
}

#[test]
fn a_fresh_fiber_never_runs() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (ran, drops) = (Count::new(), Count::new());
        let child = spawn({
            let (ran, held) = (ran.clone(), drops.on_drop());
            move || {
                ran.add();
                drop(held);
            }
        });
        child.cancel();
        assert_eq!(drops.get(), 0);
        assert!(child.join().unwrap_err().is_cancelled());
        assert_eq!((ran.get(), drops.get()), (0, 1));
    });
}

#[test]
fn a_done_fiber_keeps_its_result() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let child = spawn(|| 7);
        until(|| child.is_finished());
        child.cancel();
        assert_eq!(child.join().unwrap(), 7);
    });
}
