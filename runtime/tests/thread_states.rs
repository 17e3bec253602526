//! The three states of a thread (S10). In a fiber a wait parks the fiber, on a plain thread it blocks
//! the thread; on a worker's own stack every call that would wait panics at once and names what to
//! do instead.

mod common;

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::pin::pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::{Count, Gate, in_child, panic_text, role, runtime, said, until, watchdog};
use sisal::fiber::{
    JoinHandle, current, park, park_timeout, scope, sleep, sleep_until, spawn, yield_now,
};
use sisal::net::{TcpListener, TcpStream};
use sisal::{Handle, Runtime, block_on, unblock};

/// What the calls below wait for: nothing of it ever comes.
struct Props {
    listener: TcpListener,
    stream: TcpStream,
    far: Mutex<TcpStream>,
    fiber: Mutex<Option<JoinHandle<()>>>,
    other: Mutex<Option<Runtime>>,
    handle: Handle,
    children: Count,
}

impl Props {
    /// Made on a plain thread.
    fn new(runtime: &Runtime) -> Props {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        Props {
            listener,
            stream,
            far: Mutex::new(far),
            fiber: Mutex::new(Some(runtime.spawn(park))),
            other: Mutex::new(Some(common::runtime(1))),
            handle: runtime.handle().clone(),
            children: Count::new(),
        }
    }
}

type Call = fn(&Props);

/// Every call that waits, what it is called in the panic, and what the panic says to do.
const CALLS: &[(&str, &str, &str, Call)] = &[
    ("block_on", "`block_on`", "`.await` the future", |_| {
        block_on(std::future::pending())
    }),
    (
        "block_on of what is ready",
        "`block_on`",
        "`.await` the future",
        |_| block_on(async {}),
    ),
    (
        "join",
        "`JoinHandle::join`",
        "`.await` the handle",
        |props| {
            let handle = props.fiber.lock().unwrap().take().unwrap();
            let _ = handle.join();
        },
    ),
    ("park", "`park`", "await a `tokio::sync::Notify`", |_| {
        park()
    }),
    (
        "park_timeout",
        "`park_timeout`",
        "await a `tokio::sync::Notify`",
        |_| park_timeout(Duration::from_secs(1)),
    ),
    ("sleep", "`sleep`", "await `tokio::time::sleep`", |_| {
        sleep(Duration::from_secs(1))
    }),
    (
        "sleep_until",
        "`sleep`",
        "await `tokio::time::sleep`",
        |_| sleep_until(Instant::now()),
    ),
    (
        "yield_now",
        "`yield_now`",
        "await `tokio::task::yield_now`",
        |_| yield_now(),
    ),
    (
        "scope",
        "`scope`",
        "`spawn` the work and `.await`",
        |props| {
            scope(|s| {
                props.children.add();
                s.spawn(|| ());
            })
        },
    ),
    (
        "sisal::run",
        "`run`",
        "`spawn` the work and `.await`",
        |props| {
            sisal::run(|| {
                props.children.add();
            })
        },
    ),
    (
        "Handle::run",
        "`run`",
        "`spawn` the work and `.await`",
        |props| {
            props.handle.run(|| {
                props.children.add();
            })
        },
    ),
    (
        "unblock",
        "`unblock`",
        "`tokio::task::spawn_blocking`",
        |props| {
            unblock(|| {
                props.children.add();
            })
        },
    ),
    (
        "drop of a Runtime",
        "`Runtime::drop`",
        "`tokio::task::spawn_blocking`",
        |props| {
            drop(props.other.lock().unwrap().take().unwrap());
        },
    ),
    (
        "shutdown_timeout",
        "`Runtime::drop`",
        "`tokio::task::spawn_blocking`",
        |props| {
            let other = props.other.lock().unwrap().take().unwrap();
            let _ = other.shutdown_timeout(Duration::from_secs(1));
        },
    ),
    ("accept", "`sisal::net`", "tokio's sockets", |props| {
        let _ = props.listener.accept();
    }),
    ("connect", "`sisal::net`", "tokio's sockets", |props| {
        let _ = TcpStream::connect(props.listener.local_addr().unwrap());
    }),
    ("read", "`sisal::net`", "tokio's sockets", |props| {
        let _ = (&props.stream).read(&mut [0]);
    }),
    (
        "read with a timeout",
        "`sisal::net`",
        "tokio's sockets",
        |props| {
            let timeout = Some(Duration::from_secs(1));
            props.stream.set_read_timeout(timeout).unwrap();
            let _ = (&props.stream).read(&mut [0]);
        },
    ),
    ("peek", "`sisal::net`", "tokio's sockets", |props| {
        let _ = props.stream.peek(&mut [0]);
    }),
    ("write", "`sisal::net`", "tokio's sockets", |props| {
        let _ = (&props.stream).write(&[0]);
    }),
];

/// `place` makes a runtime, gets `call` called on the own stack of one of its workers, and returns when
/// that is over.
fn refused(place: impl Fn(Runtime, Box<dyn FnOnce() + Send>)) {
    let _watchdog = watchdog(120);
    for &(name, called, instead, call) in CALLS {
        let runtime = runtime(1);
        let props = Arc::new(Props::new(&runtime));
        let (told, tell) = mpsc::channel();
        let calling = Arc::clone(&props);
        place(
            runtime,
            Box::new(move || {
                told.send(panic_text(|| call(&calling))).unwrap();
            }),
        );
        let text = match tell.recv() {
            Ok(text) => text,
            Err(_) => panic!("{name} was never called"),
        };
        let start = format!("{called} would block a worker's own stack");
        assert!(text.starts_with(&start), "{name}: {text}");
        assert!(text.contains(instead), "{name}: {text}");
        assert_eq!(props.children.get(), 0, "{name} had begun when it panicked");
        // The socket and the handle's fiber are as they were.
        let mut far = props.far.lock().unwrap();
        far.write_all(b"x").unwrap();
    }
}

#[test]
fn an_async_task_on_a_worker_may_not_wait() {
    refused(|runtime, call| {
        runtime.run(|| block_on(tokio::spawn(async { call() })).unwrap());
        // The worker serves on.
        assert_eq!(runtime.run(|| spawn(|| 1).join().unwrap()), 1);
    });
}

#[test]
fn an_async_local_task_on_a_worker_may_not_wait() {
    refused(|runtime, call| {
        runtime.run(|| block_on(tokio::task::spawn_local(async { call() })).unwrap());
    });
}

/// Calls a closure when it is woken.
struct OnWake(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for OnWake {
    fn wake(self: Arc<Self>) {
        if let Some(call) = self.0.lock().unwrap().take() {
            call();
        }
    }
}

#[test]
fn a_waker_called_by_the_reactor_may_not_wait() {
    refused(|runtime, call| {
        runtime.run(|| {
            let called = Count::new();
            let over = called.clone();
            let waker = Waker::from(Arc::new(OnWake(Mutex::new(Some(Box::new(move || {
                call();
                over.add();
            }))))));
            let mut timer = pin!(tokio::time::sleep(Duration::from_millis(1)));
            let poll = timer.as_mut().poll(&mut Context::from_waker(&waker));
            assert_eq!(poll, Poll::Pending);
            until(|| called.get() == 1);
        });
        assert_eq!(runtime.run(|| spawn(|| 1).join().unwrap()), 1);
    });
}

/// The destructor of an async task that is left when its worker ends.
#[test]
fn a_destructor_at_shutdown_may_not_wait() {
    struct OnDrop(Cell<Option<Box<dyn FnOnce() + Send>>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            if let Some(call) = self.0.take() {
                call();
            }
        }
    }
    refused(|runtime, call| {
        let polled = Count::new();
        let begun = polled.clone();
        let left = OnDrop(Cell::new(Some(call)));
        runtime.run(|| {
            drop(tokio::spawn(async move {
                let _left = left;
                begun.add();
                std::future::pending::<()>().await;
            }));
            until(|| polled.get() == 1);
        });
        drop(runtime);
    });
}

/// A destructor of a fiber's contents is in state fiber, at shutdown too: it may do all of it.
#[test]
fn a_destructor_of_a_fiber_may_wait_at_shutdown() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (waits, begun) = (Count::new(), Count::new());
    let fiber = runtime.spawn({
        let (waits, begun) = (waits.clone(), begun.clone());
        move || {
            let _waits = common::Defer(|| {
                sleep(Duration::from_millis(1));
                yield_now();
                park_timeout(Duration::from_millis(1));
                block_on(tokio::task::yield_now());
                assert_eq!(unblock(|| 1), 1);
                scope(|_| ());
                waits.add();
            });
            begun.add();
            park();
        }
    });
    until(|| begun.get() == 1);
    drop(runtime);
    assert!(fiber.join().unwrap_err().is_cancelled());
    assert_eq!(waits.get(), 1);
}

/// A panic that a task on a worker does not catch is the task's, as in tokio; the worker goes on.
#[test]
fn a_refused_call_ends_its_task_only() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let error = block_on(tokio::spawn(async { park() })).unwrap_err();
        let payload = error.into_panic();
        assert!(common::text(&*payload).starts_with("`park` would block"));
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    });
}

/// What a task on a worker may do: all that does not wait.
#[test]
fn an_async_task_on_a_worker_may_spawn_wake_and_await() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let parked = spawn(park);
            let fiber = parked.fiber().clone();
            let task = tokio::spawn(async move {
                fiber.unpark();
                let handle = Handle::current();
                let sum = spawn(|| 1).await.unwrap() + handle.spawn(|| 2).await.unwrap();
                // The fiber that it spawned may wait for async tasks again.
                let deep = spawn(|| block_on(tokio::spawn(async { 3 })).unwrap());
                let stand_in = current();
                assert_eq!(stand_in.name(), thread::current().name());
                let on_pool = tokio::task::spawn_blocking(|| sisal::run(|| 4));
                sum + deep.await.unwrap() + on_pool.await.unwrap()
            });
            assert_eq!(block_on(task).unwrap(), 10);
            parked.join().unwrap();
        });
    }
}

#[test]
fn a_plain_thread_may_do_all_of_it() {
    let _watchdog = watchdog(60);
    assert!(Handle::try_current().is_none());
    assert!(panic_text(Handle::current).contains("off a runtime"));
    let runtime = runtime(1);

    // Futures, handles.
    let gate = Gate::new();
    let fiber = runtime.spawn({
        let gate = gate.clone();
        move || {
            gate.wait_polls(1);
            gate.open();
            5
        }
    });
    block_on(gate.clone());
    assert_eq!(gate.polls(), 2);
    assert_eq!(fiber.join().unwrap(), 5);

    // park, in both directions.
    let me = current();
    let fiber = runtime.spawn(move || {
        me.unpark();
        park();
    });
    park();
    fiber.fiber().unpark();
    fiber.join().unwrap();

    // Time.
    let step = Duration::from_millis(2);
    let before = Instant::now();
    sleep(step);
    sleep_until(before + 2 * step);
    assert!(before.elapsed() >= 2 * step);
    let before = Instant::now();
    park_timeout(step); // may return early, as std's
    sleep_until(before + step);
    assert!(before.elapsed() >= step);
    yield_now();

    // Borrowing.
    let words = ["one", "two"];
    let lengths = scope(|s| {
        let fibers = words.each_ref().map(|word| s.spawn(|| word.len()));
        fibers.map(|fiber| fiber.join().unwrap())
    });
    assert_eq!(lengths, [3, 3]);
    assert_eq!(runtime.run(|| words.len()), 2);
    assert_eq!(sisal::run(|| words.concat()), "onetwo");
    let here = thread::current().id();
    assert_eq!(unblock(|| thread::current().id()), here);

    // Sockets.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let echo = thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut byte = [0];
        peer.read_exact(&mut byte).unwrap();
        peer.write_all(&byte).unwrap();
    });
    let mut stream = TcpStream::connect(addr).unwrap();
    assert_eq!(stream.peer_addr().unwrap(), addr);
    stream.write_all(b"e").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"e");
    assert_eq!(stream.read(&mut byte).unwrap(), 0);
    echo.join().unwrap();
}

/// A thread of a blocking pool is a plain one: `unblock`'s and tokio's.
#[test]
fn a_thread_of_a_blocking_pool_may_wait() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    runtime.run(|| {
        let waits = || {
            assert!(Handle::try_current().is_none());
            sleep(Duration::from_millis(1));
            let gate = Gate::new();
            let opened = gate.clone();
            let fiber = runtime.spawn(move || {
                opened.wait_polls(1);
                opened.open();
            });
            block_on(gate);
            fiber.join().unwrap();
            runtime.run(|| 6)
        };
        assert_eq!(unblock(waits), 6);
    });
    runtime.run(|| {
        let pool = tokio::task::spawn_blocking(|| sisal::run(|| 7));
        assert_eq!(block_on(pool).unwrap(), 7);
    });
}

/// A thread of a foreign tokio runtime is a plain one too: a wait there blocks it.
#[test]
fn a_thread_of_a_foreign_runtime_may_wait() {
    let _watchdog = watchdog(60);
    let foreign = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let runtime = runtime(1);
    let handle = runtime.handle().clone();
    let task = foreign.spawn(async move {
        let n = handle.spawn(|| 1).join().unwrap() + block_on(async { 2 });
        n + scope(|s| s.spawn(|| 3).join().unwrap()) + handle.run(|| 4)
    });
    assert_eq!(block_on(task).unwrap(), 10);
}

/// A waker of the user's that panics on a worker's own stack. Not promised to be survived, but to be
/// told; the child first shows that it runs so far.
#[test]
fn a_waker_that_panics_in_the_reactor_is_told() {
    struct Bad;
    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            println!("woken");
            panic!("a bad waker");
        }
    }
    if role().is_some() {
        let _watchdog = watchdog(20);
        let runtime = runtime(1);
        runtime.run(|| {
            let mut timer = pin!(tokio::time::sleep(Duration::from_millis(1)));
            let waker = Waker::from(Arc::new(Bad));
            let poll = timer.as_mut().poll(&mut Context::from_waker(&waker));
            assert_eq!(poll, Poll::Pending);
            println!("alive");
            sleep(Duration::from_millis(20));
            println!("survived");
        });
        return;
    }
    let child = in_child("a_waker_that_panics_in_the_reactor_is_told", "crash", &[]);
    let said = said(&child);
    assert!(said.contains("alive") && said.contains("woken"), "{said}");
    assert!(said.contains("a bad waker"), "{said}");
    assert!(
        said.contains("survived") || said.contains("a panic on a worker's own stack"),
        "{said}"
    );
}
