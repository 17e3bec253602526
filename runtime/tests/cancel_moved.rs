//! `timeout` and `shield` on the stack of a coroutine: their end finds the fiber that they began on, or aborts.

mod common;

use common::{in_child, role, runtime, said, watchdog};
use sisal::fiber::{self, scope, shield, spawn, yield_now};
use sisal::timeout;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use switch_asm::{Coroutine, CoroutineResult};

const LONG: Duration = Duration::from_secs(3600);

/// A coroutine is not `Send`. Here it stays on its worker, which is what counts for it.
struct Here(Coroutine<(), (), ()>);
// SAFETY: the runtimes of these tests have one worker.
unsafe impl Send for Here {}

/// Suspends inside of what `role` says.
fn coroutine(role: &str) -> Coroutine<(), (), ()> {
    let role = role.to_owned();
    Coroutine::new(move |yielder, ()| match role.as_str() {
        "timeout" => timeout(LONG, || yielder.suspend(())).unwrap(),
        "shield" => shield(|| yielder.suspend(())),
        _ => scope(|_| yielder.suspend(())),
    })
}

/// Suspended by one fiber and resumed by another: a message, and the end of the process.
#[test]
fn resumed_by_another_fiber_it_aborts() {
    const NAME: &str = "resumed_by_another_fiber_it_aborts";
    if let Some(role) = role() {
        runtime(1).run(|| {
            let mut here = Here(coroutine(role.trim_start_matches("same ")));
            assert!(matches!(here.0.resume(()), CoroutineResult::Yield(())));
            if role.starts_with("same ") {
                assert!(matches!(here.0.resume(()), CoroutineResult::Return(())));
                return;
            }
            let other = spawn(move || {
                let mut here = here;
                here.0.resume(());
            });
            let _ = other.join();
        });
        return;
    }
    let _watchdog = watchdog(120);
    for role in ["timeout", "shield", "scope"] {
        // It would pass if it stayed where it is.
        let same = in_child(NAME, &format!("same {role}"), &[]);
        assert!(same.status.success(), "{}", said(&same));
        let moved = in_child(NAME, role, &[]);
        let said = said(&moved);
        assert!(!moved.status.success(), "{said}");
        assert!(said.contains("resumed by another"), "{said}");
    }
}

/// Two coroutines of one fiber whose `timeout`s end in the order in which they began, not in the reverse.
#[test]
fn two_of_one_fiber_cross() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (mut a, mut b) = (coroutine("timeout"), coroutine("timeout"));
        for _ in 0..2 {
            a.resume(());
            yield_now();
            b.resume(());
            yield_now();
        }
        assert!(a.done() && b.done());
        assert_eq!(timeout(LONG, yield_now), Ok(()));
        assert!(timeout(Duration::ZERO, yield_now).is_err());
    });
}

/// A coroutine that is dropped inside of its `timeout` unwinds through it.
#[test]
fn a_dropped_one_is_unwound() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for role in ["timeout", "shield", "scope"] {
            let mut dropped = coroutine(role);
            dropped.resume(());
            drop(dropped);
            assert!(
                timeout(Duration::ZERO, yield_now).is_err(),
                "{role}: nothing is shielded"
            );
            assert_eq!(timeout(LONG, yield_now), Ok(()));
        }
    });
}

/// One that outlives its fiber, suspended in a `timeout` and a `shield`: dropped by another, it aborts and touches
/// nothing of the fiber that is gone.
#[test]
fn one_that_outlives_its_fiber() {
    const NAME: &str = "one_that_outlives_its_fiber";
    if let Some(role) = role() {
        runtime(1).run(|| {
            let kept = Arc::new(Mutex::new(None));
            spawn({
                let kept = Arc::clone(&kept);
                move || {
                    let mut here = Here(coroutine(&role));
                    here.0.resume(());
                    *kept.lock().unwrap() = Some(here);
                }
            })
            .join()
            .unwrap();
            // Its record is not used again: whoever comes next is another fiber.
            for _ in 0..100 {
                spawn(|| fiber::current().id()).join().unwrap();
            }
            println!("the fiber has ended");
            let here = kept.lock().unwrap().take();
            spawn(move || drop(here)).join().unwrap();
        });
        return;
    }
    let _watchdog = watchdog(120);
    for role in ["timeout", "shield"] {
        let child = in_child(NAME, role, &[]);
        let said = said(&child);
        assert!(!child.status.success(), "{said}");
        assert!(said.contains("the fiber has ended"), "{said}");
        assert!(said.contains("resumed by another"), "{said}");
    }
}

/// A cancel and a deadline that come while a fiber waits inside a coroutine unwind through it.
#[test]
fn an_unwind_goes_through_a_coroutine() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let drops = Rc::new(RefCell::new(0));
        let ended = timeout(Duration::from_millis(3), || {
            let drops = Rc::clone(&drops);
            let mut waits = Coroutine::<(), (), ()>::new(move |_, ()| {
                let _held = common::Defer(|| *drops.borrow_mut() += 1);
                fiber::park();
            });
            waits.resume(());
        });
        assert!(ended.is_err());
        assert_eq!(*drops.borrow(), 1);
    });
}

/// A coroutine that is suspended in mid-unwind leaves its thread panicking, and no frame tells whose unwind that is. The
/// deadlines of whoever resumed it come; a cancel may be held off until that unwind is over, and is not forgotten.
#[test]
fn beside_a_coroutine_in_mid_unwind() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let kept = Arc::new(Mutex::new(None));
    let waits = runtime.spawn({
        let kept = Arc::clone(&kept);
        move || {
            let mut unwinds = Here(Coroutine::new(|yielder, ()| {
                let _suspends = common::Defer(|| yielder.suspend(()));
                resume_unwind(Box::new("first"));
            }));
            assert!(matches!(unwinds.0.resume(()), CoroutineResult::Yield(())));
            assert!(thread::panicking());
            assert!(timeout(Duration::from_millis(3), fiber::park).is_err());
            *kept.lock().unwrap() = Some(unwinds);
            fiber::park();
        }
    });
    common::until(|| kept.lock().unwrap().is_some());
    waits.cancel();
    let ended = runtime.spawn(move || {
        let mut unwinds = kept.lock().unwrap().take().unwrap();
        let first = catch_unwind(AssertUnwindSafe(|| unwinds.0.resume(())));
        assert_eq!(common::text(&*first.unwrap_err()), "first");
        assert!(!thread::panicking());
    });
    ended.join().unwrap();
    assert!(waits.join().unwrap_err().is_cancelled());
}
