//! `sisal::sync::RwLock`: readers together, writers alone, neither starved; cancellation and timeouts in its waits.

mod common;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{Count, Gate, LONG, runtime, settle, watchdog};
use sisal::fiber::{JoinHandle, scope, spawn, yield_now};
use sisal::sync::{Arc, RwLock, RwLockWriteGuard, TryLockError};
use sisal::{block_on, timeout};

/// A fiber of this worker that reads until `gate` opens.
fn reads(lock: &Arc<RwLock<String>>, gate: &Gate) -> JoinHandle<String> {
    let (lock, gate) = (Arc::clone(lock), gate.clone());
    spawn(move || {
        let guard = lock.read().unwrap();
        block_on(gate);
        guard.clone()
    })
}

fn writes(lock: &Arc<RwLock<String>>, text: &'static str) -> JoinHandle<()> {
    let lock = Arc::clone(lock);
    spawn(move || {
        let mut guard = lock.write().unwrap();
        yield_now();
        guard.push_str(text);
    })
}

/// Each of so many parties writes and reads; nobody sees a half-written pair.
#[test]
fn fibers_and_threads_and_tasks() {
    let _watchdog = watchdog(60);
    let lock = Arc::new(RwLock::new((0_u32, 0_u32)));
    let party = |turn: fn()| {
        for n in 0..100 {
            if n % 4 == 0 {
                let mut guard = lock.write().unwrap();
                guard.0 += 1;
                turn();
                guard.1 += 1;
            } else {
                let guard = lock.read().unwrap();
                let seen = *guard;
                turn();
                assert_eq!((seen.0, seen), (seen.1, *guard));
            }
        }
    };
    let runtime = runtime(2);
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| party(thread::yield_now));
        }
        s.spawn(|| {
            runtime.run(|| {
                scope(|s| {
                    for _ in 0..6 {
                        s.spawn(|| party(yield_now));
                    }
                    let lock = Arc::clone(&lock);
                    let task = tokio::spawn(async move {
                        for _ in 0..25 {
                            let mut guard = lock.write_async().await.unwrap();
                            guard.0 += 1;
                            tokio::task::yield_now().await;
                            guard.1 += 1;
                            drop(guard);
                            let guard = lock.read_async().await.unwrap();
                            assert_eq!(guard.0, guard.1);
                        }
                    });
                    block_on(task).unwrap();
                });
            });
        });
    });
    assert_eq!(*lock.read().unwrap(), (250, 250));
}

/// Readers that come while a writer waits go behind it, all at once; then the next writer.
#[test]
fn in_order_and_readers_together() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let lock = Arc::new(RwLock::new(String::new()));
        let gates = [(); 4].map(|()| Gate::new());
        let first = reads(&lock, &gates[0]);
        gates[0].wait_polls(1);
        let writer = writes(&lock, "a");
        settle();
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        let behind = [1, 2].map(|n| reads(&lock, &gates[n]));
        settle();
        let last = writes(&lock, "b");
        settle();
        let very_last = reads(&lock, &gates[3]);
        settle();
        assert_eq!(gates.each_ref().map(Gate::polls), [1, 0, 0, 0]);
        gates[0].open();
        assert_eq!(first.join().unwrap(), "");
        writer.join().unwrap();
        // Both read at once.
        gates[1].wait_polls(1);
        gates[2].wait_polls(1);
        settle();
        assert!(!last.is_finished() && gates[3].polls() == 0);
        gates[1].open();
        settle();
        assert!(!last.is_finished());
        gates[2].open();
        assert_eq!(behind.map(|fiber| fiber.join().unwrap()), ["a", "a"]);
        last.join().unwrap();
        gates[3].open();
        assert_eq!(very_last.join().unwrap(), "ab");
    });
}

/// Readers that never leave the lock free among them do not keep a writer out.
#[test]
fn a_writer_is_not_starved() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let lock = RwLock::new(false);
        let reads = Count::new();
        runtime(workers).run(|| {
            scope(|s| {
                for _ in 0..10 {
                    s.spawn(|| {
                        loop {
                            let guard = lock.read().unwrap();
                            yield_now();
                            reads.add();
                            if *guard {
                                return;
                            }
                        }
                    });
                }
                common::until(|| reads.get() > 20);
                *lock.write().unwrap() = true;
            });
        });
        println!("{} reads", reads.get());
    }
}

/// More readers than are called at once.
#[test]
fn a_hundred_readers_go_on_together() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let lock = Arc::new(RwLock::new(String::from("x")));
        let (gate, begun) = (Gate::new(), Count::new());
        let writer = lock.write().unwrap();
        let readers: Vec<_> = (0..100)
            .map(|_| {
                let (lock, gate, begun) = (Arc::clone(&lock), gate.clone(), begun.clone());
                spawn(move || {
                    begun.add();
                    let guard = lock.read().unwrap();
                    assert_eq!(*guard, "x");
                    begun.add();
                    common::until(|| begun.get() == 200);
                    drop(gate);
                })
            })
            .collect();
        common::until(|| begun.get() == 100);
        drop(writer);
        for reader in readers {
            reader.join().unwrap();
        }
        assert!(lock.try_write().is_ok());
    });
}

/// A writer that is cancelled lets the readers behind it join those who read.
#[test]
fn cancelled_in_its_wait() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let lock = Arc::new(RwLock::new(String::new()));
        let gates = [(); 2].map(|()| Gate::new());
        let first = reads(&lock, &gates[0]);
        gates[0].wait_polls(1);
        let writer = writes(&lock, "a");
        settle();
        let second = reads(&lock, &gates[1]);
        settle();
        assert_eq!(gates[1].polls(), 0);
        writer.cancel();
        assert!(writer.join().unwrap_err().is_cancelled());
        gates[1].wait_polls(1);
        for gate in &gates {
            gate.open();
        }
        assert_eq!(first.join().unwrap() + &second.join().unwrap(), "");

        // One that was handed the lock, and is cancelled before it runs: the next has it.
        let guard = lock.write().unwrap();
        let writers = ["b", "c"].map(|text| {
            let fiber = writes(&lock, text);
            settle();
            fiber
        });
        drop(guard);
        writers[0].cancel();
        let [first, second] = writers.map(|fiber| fiber.join());
        assert!(first.unwrap_err().is_cancelled());
        second.unwrap();
        assert_eq!(*lock.read().unwrap(), "c", "and not poisoned");
    });
}

#[test]
fn timed_out_in_its_wait() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let lock = RwLock::new(0);
        let short = Duration::from_millis(3);
        let reader = lock.read().unwrap();
        assert!(timeout(short, || drop(lock.write())).is_err());
        assert!(timeout(short, || drop(lock.read())).is_ok());
        drop(reader);
        let writer = lock.write().unwrap();
        assert!(timeout(short, || drop(lock.read())).is_err());
        assert!(timeout(short, || drop(lock.write())).is_err());
        drop(writer);
        assert_eq!(timeout(LONG, || *lock.write().unwrap()), Ok(0));
    });
}

#[test]
fn a_dropped_twin_hands_on() {
    let _watchdog = watchdog(60);
    let lock = RwLock::new(());
    let mut cx = Context::from_waker(Waker::noop());
    let reader = lock.read().unwrap();
    let mut writer = Box::pin(lock.write_async());
    assert!(writer.as_mut().poll(&mut cx).is_pending());
    let mut behind = pin!(lock.read_async());
    assert!(behind.as_mut().poll(&mut cx).is_pending());
    drop(writer);
    assert!(matches!(behind.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    let mut writer = Box::pin(lock.write_async());
    assert!(writer.as_mut().poll(&mut cx).is_pending());
    drop(reader); // hands it over
    assert!(lock.try_read().is_err());
    drop(writer);
    assert!(lock.try_write().is_ok());
}

/// From writing to reading: readers that wait come in, the writer among them does not.
#[test]
fn downgrade() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let lock = Arc::new(RwLock::new(String::new()));
        let gate = Gate::new();
        let mut writer = lock.write().unwrap();
        let reader = reads(&lock, &gate);
        settle();
        let other = writes(&lock, "b");
        settle();
        writer.push('a');
        let downgraded = RwLockWriteGuard::downgrade(writer);
        gate.wait_polls(1);
        settle();
        assert!(!other.is_finished());
        gate.open();
        assert_eq!(reader.join().unwrap(), "a");
        settle();
        assert!(!other.is_finished());
        assert_eq!(*downgraded, "a");
        drop(downgraded);
        other.join().unwrap();
        assert_eq!(*lock.read().unwrap(), "ab");
    });
}

#[test]
fn as_stds() {
    static STATIC: RwLock<u32> = RwLock::new(1);
    *STATIC.write().unwrap() += 1;
    assert_eq!(*STATIC.read().unwrap() + *STATIC.try_read().unwrap(), 4);

    let mut lock = RwLock::from(vec![1]);
    let std = std::sync::RwLock::from(vec![1]);
    assert_eq!(format!("{lock:?}"), format!("{std:?}"));
    {
        let (_ours, _stds) = (lock.write().unwrap(), std.write().unwrap());
        assert_eq!(format!("{lock:?}"), format!("{std:?}"));
        assert!(matches!(lock.try_read(), Err(TryLockError::WouldBlock)));
        assert!(matches!(lock.try_write(), Err(TryLockError::WouldBlock)));
    }
    assert_eq!(
        format!("{:?} {:?}", lock.read(), lock.read()),
        "Ok([1]) Ok([1])"
    );
    assert!(lock.try_write().is_ok());
    lock.get_mut().unwrap().push(2);
    assert_eq!(lock.into_inner().unwrap(), [1, 2]);
    assert_eq!(*RwLock::<u32>::default().read().unwrap(), 0);
    assert_eq!(RwLock::new("text").read().unwrap().to_string(), "text");

    let unsized_: &RwLock<[u32]> = &RwLock::new([1, 2, 3]);
    unsized_.write().unwrap()[0] = 7;
    assert_eq!(*unsized_.read().unwrap(), [7, 2, 3]);
    assert!(size_of::<RwLock<()>>() <= 40);
}
