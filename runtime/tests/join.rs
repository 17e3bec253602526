//! Joining: who waits, how it is told, and what becomes of a fiber's contents.

mod common;

use std::panic::resume_unwind;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use common::{
    Count, ErrorEvents, Gate, OnDrop, in_child, one_on_each_worker, panic_text, role, runtime,
    said, settle, text, until, watchdog,
};
use sisal::fiber::{Builder, JoinError, JoinHandle, current, park, scope, spawn, yield_now};
use sisal::{Runtime, block_on};

/// `JoinHandle::join` itself, which is not the future: fiber and thread, before and after the end.
#[test]
fn join_waits_and_takes_the_result() {
    let _watchdog = watchdog(60);
    let drops = Count::new();
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for after in [false, true] {
            let make = |gate: &Gate| {
                let (gate, output) = (gate.clone(), drops.on_drop());
                runtime.spawn(move || {
                    block_on(gate);
                    output
                })
            };
            let join = |gate: Gate, handle: JoinHandle<OnDrop>| {
                if after {
                    gate.open();
                    until(|| handle.is_finished());
                } else {
                    assert!(!handle.is_finished());
                    let opened = gate.clone();
                    drop(spawn(move || opened.open()));
                }
                handle.join().unwrap()
            };
            for on_fiber in [false, true] {
                let gate = Gate::new();
                let (handle, before) = (make(&gate), drops.get());
                gate.wait_polls(1);
                let output = match on_fiber {
                    true => runtime.run(|| join(gate, handle)),
                    false => join(gate, handle),
                };
                assert_eq!(drops.get(), before);
                drop(output);
                assert_eq!(drops.get(), before + 1);
            }
        }
    }
}

#[test]
fn a_result_that_nobody_takes_is_dropped_on_the_fiber_or_by_the_handle() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    /// Says where it was dropped.
    struct Where(mpsc::Sender<thread::ThreadId>);
    impl Drop for Where {
        fn drop(&mut self) {
            self.0.send(thread::current().id()).unwrap();
        }
    }
    let worker = runtime.run(|| thread::current().id());
    let (tx, rx) = mpsc::channel();
    let gate = Gate::new();
    let early = runtime.spawn({
        let (tx, gate) = (tx.clone(), gate.clone());
        move || {
            block_on(gate);
            Where(tx)
        }
    });
    drop(early);
    gate.wait_polls(1);
    gate.open();
    assert_eq!(rx.recv().unwrap(), worker);
    let late = runtime.spawn(move || Where(tx));
    until(|| late.is_finished());
    drop(late);
    assert_eq!(rx.recv().unwrap(), thread::current().id());
    assert!(rx.recv().is_err(), "dropped twice");
}

/// Shows what a program would: name, number, place and reason.
#[test]
fn the_errors_text_names_the_fiber_and_the_place() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let line = line!() + 2;
    let named = Builder::new().name("nils".into());
    let handle = runtime.run(|| named.spawn(|| panic!("no {}", "milk")).unwrap());
    let id = format!("{:?}", handle.fiber().id());
    assert!(id.starts_with("FiberId("), "{id}");
    let error = handle.join().unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        for part in [
            "fiber 'nils'",
            &id,
            &format!("join.rs:{line}:"),
            "panicked: no milk",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
    assert!(std::error::Error::source(&error).is_none());

    let line = line!() + 1;
    let handle = runtime.spawn(|| park());
    let id = format!("{:?}", handle.fiber().id());
    drop(runtime);
    let text = handle.join().unwrap_err().to_string();
    for part in ["fiber (", &id, &format!("join.rs:{line}:"), "was cancelled"] {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

/// The line that the error says its fiber was spawned at; it is in this file.
fn line_of<T>(ended: Result<T, JoinError>) -> u32 {
    let error = ended.map(drop).unwrap_err().to_string();
    match error.split("join.rs:").nth(1) {
        Some(at) => at.split(':').next().unwrap().parse().unwrap(),
        None => panic!("not this file's: {error}"),
    }
}

fn fail() {
    resume_unwind(Box::new(0))
}

#[test]
fn handles_builders_and_scopes_tell_their_callers_place() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    runtime.run(|| {
        let handle = sisal::Handle::current();
        assert_eq!(line_of(handle.spawn(fail).join()), line!());
        assert_eq!(line_of(Builder::new().spawn(fail).unwrap().join()), line!());
        scope(|s| {
            assert_eq!(line_of(s.spawn(fail).join()), line!());
            let spawned = (Builder::new().spawn_scoped(s, fail), line!());
            assert_eq!(line_of(spawned.0.unwrap().join()), spawned.1);
        });
    });
    assert_eq!(line_of(runtime.spawn(fail).join()), line!());
}

#[test]
fn spawn_tells_its_callers_place() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        assert_eq!(line_of(sisal::fiber::spawn(fail).join()), line!());
        assert_eq!(line_of(sisal::spawn(fail).join()), line!());
    });
    assert_eq!(line_of(sisal::spawn(fail).join()), line!());
}

#[test]
fn the_payload_of_a_panic_comes_through() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let error = runtime.spawn(|| panic!("a str")).join().unwrap_err();
    assert_eq!(error.into_panic().downcast_ref(), Some(&"a str"));

    let two = 2;
    let error = runtime.spawn(move || panic!("{two}")).join().unwrap_err();
    let payload = error.try_into_panic().unwrap();
    assert_eq!(payload.downcast_ref(), Some(&String::from("2")));

    let thrown = || std::panic::panic_any(vec![1_u8, 2]);
    let error = runtime.spawn(thrown).join().unwrap_err();
    assert!(error.to_string().contains("a value that is no string"));
    assert_eq!(*error.into_panic().downcast::<Vec<u8>>().unwrap(), [1, 2]);

    // Joined, thrown on, joined again: it is the same.
    let twice = runtime.spawn(|| match spawn(|| panic!("on and on")).join() {
        Err(error) => resume_unwind(error.into_panic()),
        Ok(()) => unreachable!(),
    });
    let payload = twice.join().unwrap_err().into_panic();
    assert_eq!(text(&*payload), "on and on");
}

/// As std's error, which is the payload itself.
#[test]
fn the_payload_of_a_panic_is_told_by_its_type() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    // It need not be `Sync` to be taken.
    let thrown = || std::panic::panic_any(std::cell::Cell::new(7));
    let error = runtime.spawn(thrown).join().unwrap_err();
    assert!(error.is::<std::cell::Cell<i32>>() && !error.is::<i32>());
    assert_eq!(error.downcast_ref::<i32>(), None);
    let error = error.downcast::<i32>().unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("a value that is no string"));
    let value = error.downcast::<std::cell::Cell<i32>>().unwrap();
    assert_eq!(value.get(), 7);

    let error = runtime.spawn(|| panic!("a str")).join().unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&"a str"));

    let handle = runtime.spawn(park);
    drop(runtime);
    let error = handle.join().unwrap_err();
    assert!(!error.is::<&str>() && error.downcast_ref::<&str>().is_none());
    assert!(error.downcast::<&str>().unwrap_err().is_cancelled());
}

#[test]
fn an_error_that_is_no_panic_gives_no_payload() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let handle = runtime.spawn(park);
    drop(runtime);
    let error = handle.join().unwrap_err();
    let error = error.try_into_panic().unwrap_err();
    assert!(error.is_cancelled());
    let text = panic_text(|| error.into_panic());
    assert!(
        text.contains("did not panic") && text.contains("cancelled"),
        "{text}"
    );
}

#[test]
fn a_fiber_cannot_join_itself() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let handle = Arc::new(Mutex::new(None::<JoinHandle<()>>));
        let (told, tell) = mpsc::channel();
        let fiber = spawn({
            let handle = Arc::clone(&handle);
            move || {
                until(|| handle.lock().unwrap().is_some());
                let own = handle.lock().unwrap().take().unwrap();
                told.send(own.join().unwrap_err().to_string()).unwrap();
                // The handle is gone, and the fiber goes on.
                yield_now();
                told.send("on".into()).unwrap();
            }
        });
        *handle.lock().unwrap() = Some(fiber);
        let all: Vec<String> = loop {
            settle();
            match tell.try_iter().collect() {
                all if Vec::is_empty(&all) => {}
                all => break all,
            }
        };
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all[0].contains("cannot join itself"), "{all:?}");
    });
}

/// Two fibers that join each other would wait for ever; the runtime's end ends that too.
#[test]
fn fibers_that_join_each_other_end_with_their_runtime() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let handle = Arc::new(Mutex::new(None::<JoinHandle<()>>));
    let a = runtime.spawn({
        let handle = Arc::clone(&handle);
        move || {
            until(|| handle.lock().unwrap().is_some());
            let b = handle.lock().unwrap().take().unwrap();
            let _ = b.join();
        }
    });
    let fiber = a.fiber().clone();
    let (out, ended) = mpsc::channel();
    *handle.lock().unwrap() = Some(runtime.spawn(move || {
        out.send(a.join().is_ok()).unwrap();
    }));
    until(|| handle.lock().unwrap().is_none());
    runtime.run(settle);
    drop(runtime);
    assert!(
        ended.recv().is_err(),
        "the join of a cancelled fiber returned"
    );
    assert!(fiber.name().is_none());
}

#[test]
fn a_panicking_fiber_does_not_kill_its_worker() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let worker = runtime.run(|| thread::current().id());
    for n in 0..200 {
        let fiber = runtime.spawn(move || {
            let _in_frame = Box::new(n);
            yield_now();
            resume_unwind(Box::new(n))
        });
        let error: JoinError = fiber.join().map(|(): ()| ()).unwrap_err();
        assert_eq!(error.into_panic().downcast_ref(), Some(&n));
    }
    assert_eq!(runtime.run(|| thread::current().id()), worker);
    assert!(
        !runtime.run(thread::panicking),
        "a count of panics was left behind"
    );
}

/// Panics of fibers that take turns in mid-unwind stay apart (S9).
#[test]
fn fibers_may_wait_while_they_unwind() {
    struct WaitsInDrop(Count);
    impl Drop for WaitsInDrop {
        fn drop(&mut self) {
            for _ in 0..10 {
                yield_now();
            }
            self.0.add();
        }
    }
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let (runtime, drops) = (runtime(workers), Count::new());
        let fibers: Vec<_> = (0..50)
            .map(|n| {
                let drops = drops.clone();
                runtime.spawn(move || {
                    let _first = WaitsInDrop(drops.clone());
                    let _second = WaitsInDrop(drops);
                    yield_now();
                    if n % 2 == 0 {
                        resume_unwind(Box::new(n))
                    }
                    n
                })
            })
            .collect();
        for (n, fiber) in fibers.into_iter().enumerate() {
            match fiber.join() {
                Ok(m) => assert!(m == n && n % 2 == 1),
                Err(error) => assert_eq!(error.into_panic().downcast_ref(), Some(&n)),
            }
        }
        assert_eq!(drops.get(), 100);
        assert!(!runtime.run(thread::panicking));
    }
}

#[test]
fn is_finished_is_true_from_the_end_on() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let gate = Gate::new();
        let fiber = spawn({
            let gate = gate.clone();
            move || block_on(gate)
        });
        assert!(!fiber.is_finished());
        gate.wait_polls(1);
        assert!(!fiber.is_finished());
        gate.open();
        until(|| fiber.is_finished());
        assert!(fiber.is_finished());
        fiber.join().unwrap();
    });
}

#[test]
fn one_fiber_may_join_many_and_many_may_be_joined_in_any_order() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let mut fibers: Vec<_> = (0..1000)
            .map(|n| {
                spawn(move || {
                    for _ in 0..n % 7 {
                        yield_now();
                    }
                    n
                })
            })
            .collect();
        let mut sum = 0;
        while !fibers.is_empty() {
            let at = (fibers.len() * 7) % 13 % fibers.len();
            sum += fibers.swap_remove(at).join().unwrap();
        }
        assert_eq!(sum, 499_500);
    });
}

#[test]
fn handles_may_be_joined_across_workers_and_runtimes() {
    let _watchdog = watchdog(60);
    let (a, b) = (runtime(2), runtime(2));
    a.run(|| {
        one_on_each_worker(2, |n| {
            let here = spawn(move || n);
            let home = a.handle().clone();
            let there = b.spawn(move || {
                let back = home.spawn(move || n);
                back.join().unwrap() + 10
            });
            assert_eq!((here.join().unwrap(), there.join().unwrap()), (n, n + 10));
        });
    });
}

#[test]
fn a_panic_that_nobody_joins_is_an_error_event() {
    let _watchdog = watchdog(60);
    let errors = ErrorEvents::new();
    // Workers are to see it, so it is the process's.
    tracing::subscriber::set_global_default(errors.clone()).unwrap();
    let runtime = runtime(1);
    let named = |name: &str| Builder::new().name(name.to_owned());
    let events = |name: &str| -> Vec<String> {
        let mut texts = errors.texts();
        texts.retain(|text| text.contains(name));
        texts
    };
    runtime.run(|| {
        // Dropped before the end, dropped after it, joined, and gone without a panic.
        let early = named("unseen early").spawn(|| panic!("spilt")).unwrap();
        drop(early);
        let late = named("unseen late").spawn(|| panic!("spilt")).unwrap();
        until(|| late.is_finished());
        drop(late);
        let seen = named("seen").spawn(|| panic!("spilt")).unwrap();
        seen.join().unwrap_err();
        let fine = named("fine").spawn(|| ()).unwrap();
        drop(fine);
        until(|| !events("unseen early").is_empty());
    });
    for name in ["unseen early", "unseen late"] {
        let events = events(name);
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(events[0].contains("spilt") && events[0].contains("join.rs"));
    }
    assert!(events("'seen'").is_empty() && events("'fine'").is_empty());
    // Nobody joins a cancelled fiber either, and nobody need know.
    let cancelled = runtime.run(|| named("cancelled").spawn(park).unwrap());
    drop(cancelled);
    drop(runtime);
    assert!(events("cancelled").is_empty());
}

/// A destructor that panics: of a result that nobody takes, of a payload, of what a closure holds.
#[test]
fn destructors_that_panic_end_with_their_fiber() {
    struct Bomb(Count);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.add();
            if !thread::panicking() {
                panic!("a bomb");
            }
        }
    }
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let bombs = Count::new();
    let bomb = || Bomb(bombs.clone());
    // What the fiber returns, unseen.
    let made = bomb();
    runtime.run(|| {
        // It has not run yet: the only worker is here.
        drop(spawn(move || made));
        settle();
    });
    assert_eq!(bombs.get(), 1);
    // What it throws, unseen.
    let thrown = bomb();
    runtime.run(|| {
        drop(spawn(move || resume_unwind(Box::new(thrown))));
        settle();
    });
    assert_eq!(bombs.get(), 2);
    // What its closure holds: an ordinary panic of the fiber.
    let held = bomb();
    let fiber = runtime.spawn(move || drop(held));
    let error = fiber.join().unwrap_err();
    assert!(error.to_string().contains("a bomb"), "{error}");
    // What is returned belongs to who drops the handle, and so does the panic.
    let made = bomb();
    let late = runtime.spawn(move || made);
    until(|| late.is_finished());
    assert_eq!(panic_text(|| drop(late)), "a bomb");
    assert_eq!(bombs.get(), 4);
    assert_eq!(runtime.run(|| 1), 1);
    // A closure that never runs.
    let handle = runtime.handle().clone();
    drop(runtime);
    let held = bomb();
    let never = handle.spawn(move || drop(held));
    assert!(never.join().unwrap_err().is_cancelled());
    assert_eq!(bombs.get(), 5);
}

#[test]
fn a_fiber_knows_itself_by_the_handle() {
    let _watchdog = watchdog(60);
    let handle = runtime(1).run(|| {
        let handle = spawn(|| current().id());
        let id = handle.fiber().id();
        assert_eq!(handle.join().unwrap(), id);
        let handle = spawn(|| ());
        let text = format!("{handle:?}");
        assert!(
            text.contains("JoinHandle") && text.contains("FiberId"),
            "{text}"
        );
        handle
    });
    // Its runtime has ended, in which it may have run or not.
    let _ = handle.join();
}

/// `extern "C"` frames abort an unwind; a panic through one ends the process and says so. The child
/// first shows that it runs so far.
#[test]
fn an_unwind_through_a_c_frame_aborts() {
    extern "C" fn c_frame() {
        panic!("through C");
    }
    if role().is_some() {
        let runtime = runtime(1);
        runtime.run(|| println!("alive"));
        let _ = runtime.spawn(|| c_frame()).join();
        println!("survived");
        return;
    }
    let child = in_child("an_unwind_through_a_c_frame_aborts", "crash", &[]);
    let said = said(&child);
    assert!(
        said.contains("alive") && !said.contains("survived"),
        "{said}"
    );
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{said}");
}

/// A runtime that is dropped while a thread joins: the thread gets its answer.
#[test]
fn a_join_under_way_ends_with_the_runtime() {
    let _watchdog = watchdog(60);
    for _ in 0..50 {
        let runtime: Runtime = runtime(2);
        let handle = runtime.spawn(park);
        let joining = thread::spawn(|| handle.join());
        drop(runtime);
        assert!(joining.join().unwrap().unwrap_err().is_cancelled());
    }
}
