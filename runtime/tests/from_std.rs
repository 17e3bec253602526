//! What `docs/from-std.md` says of calls that were made for threads, when a fiber makes them.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::{panic_text, runtime, watchdog};
use sisal::{block_on, fiber, spawn, unblock};

/// Whether another fiber of the only worker, which can run, ran while `call` did.
fn others_run_during(call: impl FnOnce() + Send) -> bool {
    runtime(1).run(|| {
        let ran = Arc::new(AtomicBool::new(false));
        let other = spawn({
            let ran = Arc::clone(&ran);
            move || ran.store(true, Ordering::Relaxed)
        });
        call();
        let ran_meanwhile = ran.load(Ordering::Relaxed);
        other.join().unwrap();
        assert!(ran.load(Ordering::Relaxed));
        ran_meanwhile
    })
}

fn after_a_moment(f: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(|| {
        thread::sleep(Duration::from_millis(5));
        f();
    })
}

#[test]
fn calls_that_block_the_thread_hold_the_worker() {
    let _watchdog = watchdog(60);
    assert!(!others_run_during(|| thread::sleep(Duration::from_millis(
        5
    ))));
    assert!(!others_run_during(|| thread::park_timeout(
        Duration::from_millis(5)
    )));
    assert!(!others_run_during(|| after_a_moment(|| ()).join().unwrap()));
    assert!(!others_run_during(|| thread::scope(|s| {
        s.spawn(|| thread::sleep(Duration::from_millis(5)));
    })));
    assert!(!others_run_during(|| {
        let (tx, rx) = mpsc::channel();
        let thread = after_a_moment(move || tx.send(()).unwrap());
        rx.recv().unwrap();
        thread.join().unwrap();
    }));
    assert!(!others_run_during(|| {
        let barrier = Arc::new(Barrier::new(2));
        let theirs = Arc::clone(&barrier);
        let thread = after_a_moment(move || {
            theirs.wait();
        });
        barrier.wait();
        thread.join().unwrap();
    }));
    assert!(!others_run_during(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = after_a_moment(move || drop(std::net::TcpStream::connect(addr).unwrap()));
        listener.accept().unwrap();
        thread.join().unwrap();
    }));
    assert!(!others_run_during(|| {
        let done = std::process::Command::new("true").status().unwrap();
        assert!(done.success());
    }));
    assert!(!others_run_during(|| {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let thread = after_a_moment(move || tx.send(()).unwrap());
        futures::executor::block_on(rx).unwrap();
        thread.join().unwrap();
    }));
    assert!(!others_run_during(|| {
        let pair = Arc::new((Mutex::new(false), std::sync::Condvar::new()));
        let theirs = Arc::clone(&pair);
        let thread = after_a_moment(move || {
            *theirs.0.lock().unwrap() = true;
            theirs.1.notify_one();
        });
        let waited = pair.1.wait_while(pair.0.lock().unwrap(), |done| !*done);
        drop(waited.unwrap());
        thread.join().unwrap();
    }));
    // Locks that a thread has, and waits of other crates.
    assert!(!others_run_during(|| {
        let (lock, held) = (Mutex::new(()), Barrier::new(2));
        thread::scope(|s| {
            s.spawn(|| {
                let _guard = lock.lock().unwrap();
                held.wait();
                thread::sleep(Duration::from_millis(5));
            });
            held.wait();
            drop(lock.lock().unwrap());
        });
    }));
    assert!(!others_run_during(|| {
        let lock = Arc::new(parking_lot::Mutex::new(()));
        let (theirs, held) = (Arc::clone(&lock), Arc::new(Barrier::new(2)));
        let there = Arc::clone(&held);
        let thread = thread::spawn(move || {
            let _guard = theirs.lock();
            there.wait();
            thread::sleep(Duration::from_millis(5));
        });
        held.wait();
        drop(lock.lock());
        thread.join().unwrap();
    }));
    assert!(!others_run_during(|| {
        let parker = crossbeam_utils::sync::Parker::new();
        let unparker = parker.unparker().clone();
        let thread = after_a_moment(move || unparker.unpark());
        parker.park();
        thread.join().unwrap();
    }));
    assert!(!others_run_during(|| {
        let once = std::sync::OnceLock::new();
        once.get_or_init(|| thread::sleep(Duration::from_millis(5)));
    }));
    // Nor does this let others of the fiber's own kind go first.
    assert!(!others_run_during(thread::yield_now));
}

#[test]
fn what_to_call_instead_lets_others_run() {
    let _watchdog = watchdog(60);
    assert!(others_run_during(|| fiber::sleep(Duration::from_millis(5))));
    assert!(others_run_during(common::settle));
    assert!(others_run_during(|| unblock(|| after_a_moment(|| ())
        .join()
        .unwrap())));
    assert!(others_run_during(|| {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let thread = after_a_moment(move || tx.send(()).unwrap());
        block_on(rx).unwrap();
        thread.join().unwrap();
    }));
}

/// More of them than `tokio_interop.rs` has.
#[test]
fn blocking_calls_of_tokio_panic() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mutex = tokio::sync::Mutex::new(());
        panic_text(|| drop(mutex.blocking_lock()));
        let lock = tokio::sync::RwLock::new(());
        panic_text(|| drop(lock.blocking_read()));
        panic_text(|| drop(lock.blocking_write()));
        let (_one, rx) = tokio::sync::oneshot::channel::<()>();
        panic_text(|| rx.blocking_recv());
        let (_broad, mut rx) = tokio::sync::broadcast::channel::<()>(1);
        panic_text(|| rx.blocking_recv());

        let build = || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .build()
                .unwrap()
        };
        let inner = build();
        panic_text(|| inner.block_on(async {}));
        // Its end waits for its threads, so that panics too; these do not.
        let text = panic_text(|| drop(build()));
        assert!(text.contains("Cannot drop a runtime"), "{text}");
        inner.shutdown_background();
        unblock(|| drop(build()));
        unblock(|| build().block_on(async {}));
    });
}

/// A lock that belongs to the *thread* lets in every fiber of the worker.
#[test]
fn a_lock_that_a_thread_may_take_twice_is_shared_by_the_fibers_of_a_worker() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mine = std::io::stdout().lock();
        let other = spawn(|| drop(std::io::stdout().lock()));
        other.join().unwrap();
        drop(mine);
    });
}

/// The holder waits on the thread that another fiber would block: only `try_lock` shows it without a deadlock.
#[test]
fn a_thread_lock_held_across_a_wait_is_met_by_other_fibers_of_the_worker() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let lock = Mutex::new(());
        let guard = lock.lock().unwrap();
        let thread = thread::current().id();
        fiber::scope(|s| {
            s.spawn(|| {
                assert_eq!(thread::current().id(), thread);
                assert!(lock.try_lock().is_err());
            });
        });
        drop(guard);
    });
}

#[test]
fn the_thread_is_the_workers() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        assert_eq!(fiber::current().name(), None);
        let named = fiber::Builder::new().name("nib".into());
        let child = named.spawn(|| {
            assert_eq!(fiber::current().name(), Some("nib"));
            (thread::current().id(), fiber::current().id())
        });
        let (their_thread, their_id) = child.unwrap().join().unwrap();
        assert_eq!(their_thread, thread::current().id());
        assert_ne!(their_id, fiber::current().id());
    });
}
