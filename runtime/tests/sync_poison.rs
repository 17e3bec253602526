//! Poisoning: by panics and by cancellation, of the fiber that has the guard and not of its neighbours.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use common::{Count, Defer, Gate, runtime, settle, until, watchdog};
use sisal::fiber::{self, JoinHandle, park, spawn, yield_now};
use sisal::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, RwLockWriteGuard, TryLockError};
use sisal::{block_on, timeout};

/// Spawns a fiber that waits for `gate` in a destructor while a panic unwinds it, and returns when it does.
fn in_mid_unwind(gate: &Gate) -> JoinHandle<()> {
    let begun = Count::new();
    let child = spawn({
        let (gate, begun) = (gate.clone(), begun.clone());
        move || {
            let _waits = Defer(|| {
                begun.add();
                block_on(gate.clone());
            });
            resume_unwind(Box::new("first"));
        }
    });
    until(|| begun.get() == 1);
    gate.wait_polls(1);
    child
}

fn panics(f: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
}

#[test]
fn a_panic_poisons_a_mutex() {
    let _watchdog = watchdog(60);
    let check = || {
        let mut mutex = Mutex::new(1);
        panics(|| {
            let mut guard = mutex.lock().unwrap();
            *guard = 2;
            resume_unwind(Box::new(()));
        });
        assert!(mutex.is_poisoned());
        assert_eq!(**mutex.lock().unwrap_err().get_ref(), 2);
        assert!(matches!(mutex.try_lock(), Err(TryLockError::Poisoned(_))));
        assert_eq!(*mutex.get_mut().unwrap_err().into_inner(), 2);
        assert!(format!("{mutex:?}").contains("poisoned: true"));
        mutex.clear_poison();
        assert_eq!(*mutex.lock().unwrap(), 2);
        panics(|| {
            let _guard = mutex.lock().unwrap();
            resume_unwind(Box::new(()));
        });
        assert_eq!(mutex.into_inner().unwrap_err().into_inner(), 2);
    };
    check();
    runtime(1).run(check);
}

#[test]
fn only_writers_poison_an_rwlock() {
    let _watchdog = watchdog(60);
    let check = || {
        let mut lock = RwLock::new(1);
        panics(|| {
            let _guard = lock.read().unwrap();
            resume_unwind(Box::new(()));
        });
        assert!(!lock.is_poisoned());
        panics(|| {
            let writer = lock.write().unwrap();
            let _reader = RwLockWriteGuard::downgrade(writer);
            resume_unwind(Box::new(()));
        });
        assert!(!lock.is_poisoned(), "it was a reader then");
        panics(|| {
            *lock.write().unwrap() = 2;
            let _guard = lock.write().unwrap();
            resume_unwind(Box::new(()));
        });
        assert!(lock.is_poisoned());
        assert_eq!(**lock.read().unwrap_err().get_ref(), 2);
        assert_eq!(**lock.write().unwrap_err().get_ref(), 2);
        assert!(matches!(lock.try_read(), Err(TryLockError::Poisoned(_))));
        assert!(matches!(lock.try_write(), Err(TryLockError::Poisoned(_))));
        assert_eq!(*lock.get_mut().unwrap_err().into_inner(), 2);
        lock.clear_poison();
        assert_eq!(*lock.read().unwrap(), 2);
        assert_eq!(lock.into_inner().unwrap(), 2);
    };
    check();
    runtime(1).run(check);
}

/// A guard that is locked and dropped inside a destructor of an unwind began in it and poisons nothing.
#[test]
fn a_lock_in_a_destructor_of_an_unwind() {
    let _watchdog = watchdog(60);
    let check = || {
        let (inside, around) = (Mutex::new(0), Mutex::new(0));
        let lock = RwLock::new(0);
        panics(|| {
            let _around = around.lock().unwrap();
            let _locks = Defer(|| {
                *inside.lock().unwrap() += 1;
                *lock.write().unwrap() += 1;
            });
            resume_unwind(Box::new(()));
        });
        assert_eq!((*inside.lock().unwrap(), *lock.read().unwrap()), (1, 1));
        assert!(around.is_poisoned());
    };
    check();
    runtime(1).run(check);
}

/// std's thread "panics" for all of its fibers while one waits in mid-unwind. Ours tell them apart: what others
/// lock meanwhile is not poisoned, and is if they panic themselves.
#[test]
fn beside_a_fiber_in_mid_unwind() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let (quiet, before, loud) = (Mutex::new(0), Mutex::new(0), Arc::new(Mutex::new(0)));
        let lock = RwLock::new(0);
        let std = std::sync::Mutex::new(0);
        let held = before.lock().unwrap();
        let std_held = std.lock().unwrap();
        let unwinds = in_mid_unwind(&gate);
        assert!(thread::panicking() && !fiber::panicking());
        *quiet.lock().unwrap() += 1;
        *lock.write().unwrap() += 1;
        drop(held);
        drop(std_held);
        assert!(std.is_poisoned(), "known: std's cannot tell");
        assert!(!quiet.is_poisoned() && !before.is_poisoned() && !lock.is_poisoned());
        let panics = spawn({
            let loud = Arc::clone(&loud);
            move || {
                let _guard = loud.lock().unwrap();
                resume_unwind(Box::new(()));
            }
        });
        assert!(panics.join().is_err());
        assert!(loud.is_poisoned());
        gate.open();
        assert!(unwinds.join().is_err());
        assert!(!thread::panicking());
    });
}

/// The fiber waits for a lock in a destructor of its unwind, gets it when another panics with it, and both are as they
/// should be.
#[test]
fn waiting_in_mid_unwind() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock().unwrap();
        let unwinds = spawn({
            let mutex = Arc::clone(&mutex);
            move || {
                let _waits = Defer(|| *mutex.lock().unwrap() += 1);
                resume_unwind(Box::new("first"));
            }
        });
        settle();
        assert!(!unwinds.is_finished());
        drop(guard);
        assert!(unwinds.join().unwrap_err().is_panic());
        assert_eq!(*mutex.lock().unwrap(), 1, "and not poisoned");
    });
}

#[test]
fn cancellation_poisons_what_is_held() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mutex = Arc::new(Mutex::new(0));
        let lock = Arc::new(RwLock::new(0));
        let holds = spawn({
            let (mutex, lock) = (Arc::clone(&mutex), Arc::clone(&lock));
            move || {
                let _guard = mutex.lock().unwrap();
                let _writer = lock.write().unwrap();
                park();
            }
        });
        settle();
        holds.cancel();
        assert!(holds.join().unwrap_err().is_cancelled());
        assert!(mutex.is_poisoned() && lock.is_poisoned());

        let mutex = Mutex::new(0);
        let shielded = timeout(std::time::Duration::ZERO, || {
            fiber::shield(|| {
                let _guard = mutex.lock().unwrap();
                yield_now();
            });
            yield_now();
        });
        assert!(shielded.is_err());
        assert!(!mutex.is_poisoned());
    });
}

/// The error of a wait has the guard in it; a waiter that is cancelled has none, and poisons nothing.
#[test]
fn a_condvars_mutex() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let waits = |cut: bool| {
            let pair = Arc::clone(&pair);
            let fiber = spawn(move || {
                let guard = pair.0.lock().unwrap_or_else(PoisonError::into_inner);
                match pair.1.wait(guard) {
                    Ok(_) => unreachable!("it is poisoned"),
                    Err(error) => *error.into_inner() += 1,
                }
            });
            settle();
            if cut {
                fiber.cancel();
            }
            fiber
        };
        assert!(waits(true).join().unwrap_err().is_cancelled());
        assert!(!pair.0.is_poisoned());
        let waits = waits(false);
        panics(|| {
            let _guard = pair.0.lock().unwrap();
            resume_unwind(Box::new(()));
        });
        pair.1.notify_all();
        waits.join().unwrap();
        assert_eq!(*pair.0.lock().unwrap_err().into_inner(), 1);
    });
}

/// An async task on the worker's own stack, while a fiber of that worker is in mid-unwind: its panic poisons too.
#[test]
fn a_task_beside_an_unwind() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let unwinds = in_mid_unwind(&gate);
        let mutex = Arc::new(Mutex::new(()));
        let theirs = Arc::clone(&mutex);
        let task: tokio::task::JoinHandle<()> = tokio::spawn(async move {
            let _guard = theirs.lock_async().await.unwrap();
            resume_unwind(Box::new("second"));
        });
        assert!(block_on(task).unwrap_err().is_panic());
        assert!(mutex.is_poisoned());
        gate.open();
        assert!(unwinds.join().unwrap_err().is_panic());
    });
}
