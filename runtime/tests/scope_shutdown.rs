//! A runtime ends under a `scope`: the owner waits for its children, whose borrows stay good.

mod common;

use std::panic::catch_unwind;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use common::{Count, Defer, runtime, until, watchdog};
use sisal::fiber::{park, scope, sleep, yield_now};

/// Closes the runtime under a scope. `log` says in which order things ended.
fn shut_down_under(
    workers: usize,
    body: impl FnOnce(&Mutex<Vec<&'static str>>, &Count) + Send + 'static,
) -> (Result<(), sisal::fiber::JoinError>, Vec<&'static str>) {
    let runtime = runtime(workers);
    let log = std::sync::Arc::new(Mutex::new(Vec::new()));
    let ready = Count::new();
    let owner = runtime.spawn({
        let (log, ready) = (std::sync::Arc::clone(&log), ready.clone());
        move || body(&log, &ready)
    });
    until(|| ready.get() == 1);
    drop(runtime);
    let log = log.lock().unwrap().clone();
    (owner.join(), log)
}

#[test]
fn at_shutdown_the_owner_waits_for_its_children() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let (ended, log) = shut_down_under(workers, |log, ready| {
            let say = |what| log.lock().unwrap().push(what);
            let lent = Defer(|| say("owner's frame"));
            scope(|s| {
                s.spawn(|| {
                    let _lent = &lent;
                    let _in_child = Defer(|| {
                        // It still may wait, and has what it borrowed.
                        sleep(Duration::from_millis(2));
                        yield_now();
                        say("child");
                    });
                    ready.add();
                    park();
                });
                // Unwinds from here, then waits in `scope`.
                park();
            });
            say("after");
        });
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(log, ["child", "owner's frame"], "{workers} workers");
    }
}

#[test]
fn at_shutdown_a_scope_that_waits_already_waits_on() {
    let _watchdog = watchdog(60);
    for (workers, child_returns) in [(1, false), (1, true), (2, false), (2, true)] {
        let (ended, log) = shut_down_under(workers, move |log, ready| {
            let say = |what| log.lock().unwrap().push(what);
            let lent = Defer(|| say("owner's frame"));
            scope(|s| {
                s.spawn(|| {
                    let _lent = &lent;
                    let _in_child = Defer(|| {
                        if thread::panicking() {
                            sleep(Duration::from_millis(2));
                        }
                        say("child");
                    });
                    // On one worker its owner has gone to wait in `scope`: else it would not run.
                    ready.add();
                    if child_returns {
                        catch_unwind(park).unwrap_err();
                    } else {
                        park();
                    }
                });
            });
            // The wait was not cut short; the next one is.
            say("returned");
            park();
            say("after");
        });
        assert!(ended.unwrap_err().is_cancelled());
        // A scope that returns says that its children did.
        let expected: &[_] = match child_returns {
            true => &["child", "returned", "owner's frame"],
            false => &["child", "owner's frame"],
        };
        assert_eq!(log, expected, "{workers} workers");
    }
}

#[test]
fn at_shutdown_a_scopes_children_that_are_queued_are_dropped_and_waited_for() {
    let _watchdog = watchdog(60);
    let (dropped, ran) = (Count::new(), Count::new());
    let (ended, log) = shut_down_under(1, {
        let (dropped, ran) = (dropped.clone(), ran.clone());
        move |log, ready| {
            let lent = Defer(|| log.lock().unwrap().push("owner's frame"));
            scope(|s| {
                for _ in 0..10 {
                    let (held, ran, lent) = (dropped.on_drop(), &ran, &lent);
                    s.spawn(move || {
                        let _held = (held, lent);
                        ran.add();
                    });
                }
                closed_under(ready);
            });
        }
    });
    assert!(ended.unwrap_err().is_cancelled());
    assert_eq!((dropped.get(), ran.get()), (10, 0));
    assert_eq!(log, ["owner's frame"]);
}

/// Holds the worker until the runtime is closed.
fn closed_under(ready: &Count) {
    let handle = sisal::Handle::current();
    ready.add();
    let probe = || until(|| handle.spawn(|| ()).is_finished());
    thread::scope(|s| s.spawn(probe).join().unwrap());
}

/// A fiber that runs on while its runtime closes finds its spawns refused before it is cancelled
/// itself. That is the shutdown, not a mistake of its own.
#[test]
fn at_shutdown_a_scope_whose_children_are_refused_is_cancelled() {
    let _watchdog = watchdog(60);
    let bodies: [fn(); 2] = [
        || {
            scope(|s| {
                s.spawn(|| ());
            });
        },
        || sisal::Handle::current().run(|| ()),
    ];
    for body in bodies {
        let (ended, log) = shut_down_under(1, move |log, ready| {
            closed_under(ready);
            body();
            log.lock().unwrap().push("returned");
        });
        let error = ended.unwrap_err();
        assert!(error.is_cancelled(), "{error}");
        assert!(log.is_empty());
    }
}

/// The owner runs on its worker while the shutdown ends its child on another: it is cancelled too, and
/// does not panic because of the child.
#[test]
fn at_shutdown_a_scope_whose_child_has_ended_elsewhere_is_cancelled() {
    let _watchdog = watchdog(60);
    let (ended, log) = shut_down_under(2, |log, ready| {
        scope(|s| {
            s.spawn(|| {
                ready.add();
                park();
            });
            // It holds its worker, so the child is the other's.
            while !format!("{s:?}").contains("live: 0") {
                thread::yield_now();
            }
        });
        log.lock().unwrap().push("returned");
    });
    let error = ended.unwrap_err();
    assert!(error.is_cancelled(), "{error}");
    assert!(log.is_empty());
}
