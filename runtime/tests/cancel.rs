//! `JoinHandle::cancel`: where it meets a fiber, what that leaves behind, and from where it may be called.

mod common;

use std::future::Future;
use std::io::Read;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use common::{Count, Defer, ErrorEvents, Gate, Tally, runtime, settle, until, watchdog};
use sisal::fiber::{
    self, JoinHandle, park, park_timeout, scope, shield, sleep, sleep_until, spawn, yield_now,
};
use sisal::net::{TcpListener, TcpStream};
use sisal::{block_on, unblock};

const LONG: Duration = Duration::from_secs(3600);

/// Where the cancel meets the fiber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Fresh,
    Parked,
    /// It yields without end.
    Yielding,
    /// It holds its worker, and waits when it sees that the cancel was asked for.
    Running,
    Done,
}

/// What its body does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Obeys,
    /// A panic of a destructor during the unwind would abort; one before it is a panic as any.
    PanicsFirst,
    /// Catches the unwind and returns.
    Swallows,
}

/// All of them, joined and detached: every value is dropped once, and the result is what it should be.
#[test]
fn whatever_the_fiber_is_doing() {
    let _watchdog = watchdog(120);
    for workers in [1, 2] {
        for when in [
            When::Fresh,
            When::Parked,
            When::Yielding,
            When::Running,
            When::Done,
        ] {
            for body in [Body::Obeys, Body::PanicsFirst, Body::Swallows] {
                for joined in [true, false] {
                    one(workers, when, body, joined);
                }
            }
        }
    }
}

fn one(workers: usize, when: When, body: Body, joined: bool) {
    let what = format!("{workers} workers, {when:?}, {body:?}, joined: {joined}");
    let runtime = runtime(workers);
    let (tally, begun, after) = (Tally::new(), Count::new(), Count::new());
    let asked = Arc::new(AtomicBool::new(false));
    let held = tally.make();
    let result = tally.make();
    let run = {
        let (tally, begun, after, asked) =
            (tally.clone(), begun.clone(), after.clone(), asked.clone());
        move || {
            let _held = held;
            let _inner = tally.make();
            let waits = || {
                begun.add();
                match when {
                    When::Fresh => unreachable!("it never runs"),
                    When::Parked => park(),
                    When::Yielding => loop {
                        yield_now();
                    },
                    When::Running => {
                        while !asked.load(Ordering::SeqCst) {
                            std::hint::spin_loop();
                        }
                        park();
                    }
                    When::Done => {}
                }
                after.add();
            };
            match body {
                Body::Obeys => waits(),
                Body::PanicsFirst => {
                    // Counted as an unwind that is on its way: the wait in there is not cut short.
                    let _waits = Defer(yield_now);
                    waits();
                    std::panic::resume_unwind(Box::new("first"));
                }
                Body::Swallows => {
                    let caught = catch_unwind(std::panic::AssertUnwindSafe(waits));
                    assert_eq!(caught.is_err(), when != When::Done);
                }
            }
            result
        }
    };
    // A fresh one stays so while its spawner holds the only worker; with two, the other is held.
    let child: JoinHandle<common::OnDrop> = if when == When::Fresh {
        let hold = Arc::new(AtomicBool::new(true));
        let holders: Vec<_> = (0..workers)
            .map(|_| {
                let (hold, begun) = (hold.clone(), begun.clone());
                runtime.spawn(move || {
                    begun.add();
                    while hold.load(Ordering::SeqCst) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        until(|| begun.get() == workers);
        let child = runtime.spawn(run);
        child.cancel();
        hold.store(false, Ordering::SeqCst);
        for holder in holders {
            holder.join().unwrap();
        }
        child
    } else {
        let child = runtime.spawn(run);
        until(|| begun.get() == 1);
        if when == When::Done {
            until(|| child.is_finished());
        }
        child.cancel();
        asked.store(true, Ordering::SeqCst);
        child
    };
    if joined {
        let result = child.join().map(drop);
        match (when, body) {
            (When::Done, Body::PanicsFirst) => assert!(result.unwrap_err().is_panic(), "{what}"),
            (When::Done, _) => assert!(result.is_ok(), "{what}"),
            (When::Fresh, _) | (_, Body::Obeys | Body::PanicsFirst) => {
                assert!(result.unwrap_err().is_cancelled(), "{what}");
            }
            (_, Body::Swallows) => assert!(result.is_ok(), "{what}"),
        }
    } else {
        drop(child);
    }
    drop(runtime);
    assert_eq!(after.get(), usize::from(when == When::Done), "{what}");
    tally.check(2..=3, &what);
}

/// Every call that waits is a suspension point.
#[test]
fn every_wait_is_cut_short() {
    let _watchdog = watchdog(120);
    let waits: &[(&str, fn())] = &[
        ("park", || park()),
        ("park_timeout", || park_timeout(LONG)),
        ("sleep", || sleep(LONG)),
        ("sleep_until", || {
            sleep_until(std::time::Instant::now() + LONG)
        }),
        ("yield_now", || {
            loop {
                yield_now()
            }
        }),
        ("block_on", || block_on(std::future::pending())),
        ("nested block_on", || {
            block_on(async { block_on(std::future::pending::<()>()) })
        }),
        ("block_on of tokio's", || block_on(tokio::time::sleep(LONG))),
        ("join", || drop(spawn(park).join())),
        ("join of what has ended", || {
            loop {
                let child = spawn(|| ());
                until(|| child.is_finished());
                child.join().unwrap();
            }
        }),
        ("await of a handle", || drop(block_on(spawn(park)))),
        ("scope", || scope(|s| drop(s.spawn(park)))),
        ("run", || sisal::Handle::current().run(park)),
        ("unblock, then another", || {
            loop {
                unblock(|| ());
                yield_now();
            }
        }),
        ("accept", || {
            drop(TcpListener::bind("127.0.0.1:0").unwrap().accept())
        }),
        ("read", || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let _far = listener.accept().unwrap();
            let _ = near.read(&mut [0]);
        }),
        ("a loop that never has to wait", || {
            let gate = Gate::new();
            gate.open();
            loop {
                block_on(gate.clone());
            }
        }),
    ];
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for &(name, wait) in waits {
            let (begun, drops, after) = (Count::new(), Count::new(), Count::new());
            let child = runtime.spawn({
                let (begun, held, after) = (begun.clone(), drops.on_drop(), after.clone());
                move || {
                    let _held = held;
                    begun.add();
                    wait();
                    after.add();
                }
            });
            until(|| begun.get() == 1);
            runtime.run(settle);
            child.cancel();
            let ended = child.join();
            assert!(ended.unwrap_err().is_cancelled(), "{name}");
            assert_eq!((drops.get(), after.get()), (1, 0), "{name}");
        }
    }
}

/// From a thread, another fiber, an async task, the fiber itself, and its own child.
#[test]
fn from_anywhere() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        for by in [
            "a thread",
            "a fiber",
            "an async task",
            "itself",
            "its child",
            "a waker",
        ] {
            let runtime = runtime(workers);
            let handle = Arc::new(Mutex::new(None::<JoinHandle<()>>));
            let begun = Count::new();
            let (told, tell) = mpsc::channel();
            let child = runtime.spawn({
                let (handle, begun) = (Arc::clone(&handle), begun.clone());
                move || {
                    until(|| handle.lock().unwrap().is_some());
                    let cancel = {
                        let handle = Arc::clone(&handle);
                        move || handle.lock().unwrap().as_ref().unwrap().cancel()
                    };
                    let _says = Defer(|| told.send(()).unwrap());
                    begun.add();
                    match by {
                        "itself" => cancel(),
                        "its child" => drop(spawn(cancel)),
                        "an async task" => drop(tokio::spawn(async move { cancel() })),
                        "a waker" => {
                            // Called by the reactor, on the worker's own stack.
                            drop(tokio::spawn(async move {
                                tokio::time::sleep(Duration::from_millis(1)).await;
                                cancel();
                            }));
                        }
                        "a fiber" => drop(spawn(move || {
                            yield_now();
                            cancel();
                        })),
                        _ => {}
                    }
                    park();
                    unreachable!("cancelled");
                }
            });
            *handle.lock().unwrap() = Some(child);
            until(|| begun.get() == 1);
            if by == "a thread" {
                let handle = Arc::clone(&handle);
                thread::spawn(move || handle.lock().unwrap().as_ref().unwrap().cancel())
                    .join()
                    .unwrap();
            }
            tell.recv().unwrap();
            let child = handle.lock().unwrap().take().unwrap();
            assert!(child.join().unwrap_err().is_cancelled(), "{by}");
        }
    }
}

/// Inside the `poll` of a `block_on`: the unwind goes through it, and the future is dropped.
#[test]
fn in_a_poll() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (polls, drops) = (Count::new(), Count::new());
        let child = spawn({
            let (polls, held) = (polls.clone(), drops.on_drop());
            move || {
                block_on(std::future::poll_fn(move |_| {
                    let _held = &held;
                    polls.add();
                    park();
                    std::task::Poll::Ready(())
                }));
            }
        });
        until(|| polls.get() == 1);
        child.cancel();
        assert!(child.join().unwrap_err().is_cancelled());
        assert_eq!((polls.get(), drops.get()), (1, 1));
    });
}

/// Code that catches the unwind meets it again at each wait.
#[test]
fn it_is_met_again() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let begun = Count::new();
        let child = spawn({
            let begun = begun.clone();
            move || {
                begun.add();
                let waits: [fn(); 6] = [
                    || park(),
                    || sleep(LONG),
                    || yield_now(),
                    || block_on(std::future::pending()),
                    || drop(spawn(|| ()).join()),
                    || scope(|_| ()),
                ];
                waits.map(|wait| catch_unwind(wait).is_err())
            }
        });
        until(|| begun.get() == 1);
        child.cancel();
        assert_eq!(child.join().unwrap(), [true; 6]);
    });
}

/// Nobody is told of a fiber that was cancelled and detached: somebody wanted that.
#[test]
fn a_detached_one_is_no_error() {
    let _watchdog = watchdog(60);
    let events = ErrorEvents::new();
    tracing::subscriber::with_default(events.clone(), || {
        runtime(1).run(|| {
            let drops = Count::new();
            let held = drops.on_drop();
            let child = spawn(move || {
                let _held = held;
                park();
            });
            settle();
            child.cancel();
            drop(child);
            until(|| drops.get() == 1);
        });
    });
    assert_eq!(events.texts(), [""; 0]);
}

/// The park token and the notified bit of a `block_on` survive a cancel that is held off.
#[test]
fn held_off_it_disturbs_no_wait() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let child = spawn({
            let (gate, order) = (gate.clone(), Arc::clone(&order));
            move || {
                shield(|| {
                    let say = |what| order.lock().unwrap().push(what);
                    park();
                    say("parked");
                    block_on(gate);
                    say("polled");
                });
            }
        });
        settle();
        child.cancel();
        settle();
        assert_eq!(*order.lock().unwrap(), [""; 0]);
        child.fiber().unpark();
        gate.wait_polls(1);
        assert_eq!(*order.lock().unwrap(), ["parked"]);
        settle();
        child.cancel();
        settle();
        assert_eq!(gate.polls(), 1, "a cancel is no wake of the future's");
        gate.open();
        assert_eq!(
            child.join().ok(),
            Some(()),
            "it has no wait after the shield"
        );
        assert_eq!(*order.lock().unwrap(), ["parked", "polled"]);
    });
}

/// A fiber that joins itself: an error that says so, by `join` and by awaiting the handle.
#[test]
fn joining_itself_is_an_error() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for awaits in [false, true] {
            let handle = Arc::new(Mutex::new(None::<JoinHandle<()>>));
            let (told, tell) = mpsc::channel();
            let child = spawn({
                let handle = Arc::clone(&handle);
                move || {
                    until(|| handle.lock().unwrap().is_some());
                    let own = handle.lock().unwrap().take().unwrap();
                    let error = match awaits {
                        true => block_on(own),
                        false => own.join(),
                    };
                    // The handle is gone, and the fiber goes on.
                    yield_now();
                    told.send(error.unwrap_err()).unwrap();
                }
            });
            let id = child.fiber().id();
            *handle.lock().unwrap() = Some(child);
            let error = loop {
                match tell.try_recv() {
                    Ok(error) => break error,
                    Err(_) => yield_now(),
                }
            };
            let text = error.to_string();
            assert!(text.contains("cannot join itself"), "{text}");
            assert!(
                text.contains(&format!("{id:?}")) || text.contains("fiber"),
                "{text}"
            );
            assert!(!error.is_panic() && !error.is_cancelled());
        }
    });
}

/// A handle that was polled and dropped leaves no waker behind.
#[test]
fn a_dropped_handle_keeps_no_waker() {
    struct Counts(#[allow(dead_code, reason = "dropped")] common::OnDrop);
    impl std::task::Wake for Counts {
        fn wake(self: Arc<Self>) {
            panic!("nobody waits");
        }
    }
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let drops = Count::new();
        let waker = std::task::Waker::from(Arc::new(Counts(drops.on_drop())));
        let mut child = spawn(park);
        let fiber = child.fiber().clone();
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(std::pin::Pin::new(&mut child).poll(&mut cx).is_pending());
        drop(waker);
        assert_eq!(drops.get(), 0, "the handle has a clone");
        drop(child);
        assert_eq!(drops.get(), 1, "and it goes with it");
        fiber.unpark();
    });
}

/// Cancels race with everything: each fiber ends once, each value is dropped once.
#[test]
fn cancels_race_with_ends_and_wakes() {
    let _watchdog = watchdog(120);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let tally = Tally::new();
        for round in 0..300 {
            let held = tally.make();
            let child = runtime.spawn(move || {
                let _held = held;
                for _ in 0..round % 7 {
                    yield_now();
                }
                if round % 3 == 0 {
                    park_timeout(Duration::from_millis(1));
                }
                fiber::current().id()
            });
            let unparks = child.fiber().clone();
            let other = (round % 2 == 0).then(|| thread::spawn(move || unparks.unpark()));
            for _ in 0..round % 11 {
                std::hint::spin_loop();
            }
            child.cancel();
            let id = child.fiber().id();
            match child.join() {
                Ok(own) => assert_eq!(own, id),
                Err(error) => assert!(error.is_cancelled(), "{error}"),
            }
            if let Some(other) = other {
                other.join().unwrap();
            }
        }
        drop(runtime);
        tally.check(300..=300, "all");
    }
}
