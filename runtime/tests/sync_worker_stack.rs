//! On a worker's own stack (S10) the locks take what is free, and refuse to wait: they name what to await instead.

mod common;

use std::sync::Mutex as StdMutex;
use std::time::Duration;

use common::{panic_text, runtime, settle, watchdog};
use sisal::block_on;
use sisal::fiber::{park, spawn};
use sisal::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};

/// Calls `f` in an async task on the worker.
fn on_the_worker<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    block_on(tokio::spawn(async { f() })).unwrap()
}

/// Each kind, held by a fiber that waits with it.
struct Held {
    mutex: Mutex<u32>,
    read: RwLock<u32>,
    written: RwLock<u32>,
    once: Once,
    cell: OnceLock<()>,
    lazy: LazyLock<()>,
    barrier: Barrier,
    condvar: Condvar,
    free: Mutex<u32>,
}

type Call = fn(&Held);

/// The call, and what its panic names.
const REFUSED: &[(&str, &str, Call)] = &[
    ("`Mutex::lock`", "`Mutex::lock_async`", |held| {
        drop(held.mutex.lock());
    }),
    ("`RwLock::read`", "`RwLock::read_async`", |held| {
        drop(held.written.read());
    }),
    ("`RwLock::write`", "`RwLock::write_async`", |held| {
        drop(held.written.write());
    }),
    ("`RwLock::write`", "`RwLock::write_async`", |held| {
        drop(held.read.write());
    }),
    ("`Condvar::wait`", "`Condvar::wait_async`", |held| {
        drop(held.condvar.wait(held.free.lock().unwrap()));
    }),
    ("`Condvar::wait`", "`Condvar::wait_async`", |held| {
        let free = held.free.lock().unwrap_or_else(|error| error.into_inner());
        drop(held.condvar.wait_while(free, |_| true));
    }),
    ("`Condvar::wait_timeout`", "`Condvar::wait_async`", |held| {
        let free = held.free.lock().unwrap_or_else(|error| error.into_inner());
        drop(held.condvar.wait_timeout(free, Duration::ZERO));
    }),
    ("`Condvar::wait_timeout`", "`Condvar::wait_async`", |held| {
        let free = held.free.lock().unwrap_or_else(|error| error.into_inner());
        let dur = Duration::from_secs(1);
        drop(held.condvar.wait_timeout_while(free, dur, |_| true));
    }),
    ("`Barrier::wait`", "`Barrier::wait_async`", |held| {
        held.barrier.wait();
    }),
    ("`Once::call_once`", "`Once::wait_async`", |held| {
        held.once.call_once(|| ());
    }),
    ("`Once::call_once_force`", "`Once::wait_async`", |held| {
        held.once.call_once_force(|_| ());
    }),
    ("`Once::wait`", "`Once::wait_async`", |held| {
        held.once.wait()
    }),
    ("`Once::wait_force`", "`Once::wait_force_async`", |held| {
        held.once.wait_force();
    }),
    (
        "`OnceLock::get_or_init`",
        "`OnceLock::wait_async`",
        |held| {
            held.cell.get_or_init(|| ());
        },
    ),
    ("`OnceLock::set`", "`OnceLock::wait_async`", |held| {
        let _ = held.cell.set(());
    }),
    ("`OnceLock::wait`", "`OnceLock::wait_async`", |held| {
        held.cell.wait();
    }),
    ("`LazyLock::force`", "`spawn` a fiber", |held| {
        LazyLock::force(&held.lazy);
    }),
];

#[test]
fn what_would_wait_is_refused() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let held = Arc::new(Held {
            mutex: Mutex::new(0),
            read: RwLock::new(0),
            written: RwLock::new(0),
            once: Once::new(),
            cell: OnceLock::new(),
            lazy: LazyLock::new(park),
            barrier: Barrier::new(2),
            condvar: Condvar::new(),
            free: Mutex::new(0),
        });
        let holders: [Call; 4] = [
            |held| {
                let _mutex = held.mutex.lock().unwrap();
                let _reader = held.read.read().unwrap();
                let _writer = held.written.write().unwrap();
                park();
            },
            |held| held.once.call_once(park),
            |held| held.cell.get_or_init(park).to_owned(),
            |held| *held.lazy,
        ];
        let holders = holders.map(|hold| {
            let held = Arc::clone(&held);
            let fiber = spawn(move || hold(&held));
            settle();
            fiber
        });
        let texts = Arc::new(StdMutex::new(Vec::new()));
        on_the_worker({
            let (held, texts) = (Arc::clone(&held), Arc::clone(&texts));
            move || {
                for (.., call) in REFUSED {
                    texts.lock().unwrap().push(panic_text(|| call(&held)));
                }
            }
        });
        for ((call, instead, _), text) in REFUSED.iter().zip(&*texts.lock().unwrap()) {
            assert!(text.starts_with(call), "{call}: {text}");
            assert!(text.contains("worker's own stack"), "{call}: {text}");
            assert!(text.contains(instead), "{call}: {text}");
        }
        // The panics were no waits: nobody is left in a queue, and the guard of the condvar's was let go.
        assert!(held.free.is_poisoned(), "its guard was in the panics' way");
        for fiber in holders {
            fiber.fiber().unpark();
            fiber.join().unwrap();
        }
        drop(held.mutex.lock().unwrap());
        assert!(held.read.try_write().is_ok() && held.written.try_write().is_ok());
        assert!(held.once.is_completed() && held.cell.get().is_some());
    });
}

#[test]
fn what_is_free_is_taken() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        on_the_worker(|| {
            assert_eq!(*Mutex::new(1).lock().unwrap(), 1);
            let lock = RwLock::new(1);
            *lock.write().unwrap() += 1;
            assert_eq!(*lock.read().unwrap() + *lock.read().unwrap(), 4);
            let once = Once::new();
            once.call_once(|| ());
            once.wait();
            let cell = OnceLock::new();
            assert_eq!(*cell.get_or_init(|| 5) + *cell.wait(), 10);
            assert_eq!(*LazyLock::<u32>::new(|| 3), 3);
            let condvar = Condvar::new();
            condvar.notify_one();
            condvar.notify_all();
        });
    });
}

/// The twins, in tasks on the worker, beside fibers of it.
#[test]
fn the_twins_wait() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (mutex, barrier) = (Arc::new(Mutex::new(0)), Arc::new(Barrier::new(2)));
        let guard = mutex.lock().unwrap();
        let task = tokio::spawn({
            let (mutex, barrier) = (Arc::clone(&mutex), Arc::clone(&barrier));
            async move {
                *mutex.lock_async().await.unwrap() += 1;
                barrier.wait_async().await.is_leader()
            }
        });
        settle();
        drop(guard);
        let leads = barrier.wait().is_leader();
        assert!(leads != block_on(task).unwrap());
        assert_eq!(*mutex.lock().unwrap(), 1);
    });
}
