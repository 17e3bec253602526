//! `timeout`: deadlines for whatever waits.

mod common;

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{Count, Defer, Gate, panic_text, runtime, settle, text, until, watchdog};
use sisal::fiber::{park, park_timeout, scope, sleep, spawn, yield_now};
use sisal::net::{TcpListener, TcpStream};
use sisal::time::Elapsed;
use sisal::{block_on, timeout, unblock};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(3);

/// Whatever the code waits for, it unwinds, and the fiber goes on behind the `timeout`.
#[test]
fn any_wait_is_cut_short() {
    let _watchdog = watchdog(120);
    let waits: &[(&str, fn())] = &[
        ("park", || park()),
        ("park_timeout", || park_timeout(LONG)),
        ("sleep", || sleep(LONG)),
        ("yield_now", || {
            loop {
                yield_now()
            }
        }),
        ("block_on", || block_on(std::future::pending())),
        ("nested block_on", || {
            block_on(async { block_on(std::future::pending::<()>()) })
        }),
        ("a tokio timer", || block_on(tokio::time::sleep(LONG))),
        ("a tokio semaphore", || {
            let semaphore = tokio::sync::Semaphore::new(0);
            drop(block_on(semaphore.acquire()));
        }),
        ("join", || {
            let child = spawn(|| sleep(LONG));
            let fiber = child.fiber().clone();
            let _ends = Defer(|| fiber.unpark());
            drop(child.join());
        }),
        ("await of a handle", || drop(block_on(spawn(park)))),
        ("scope", || scope(|s| drop(s.spawn(|| sleep(LONG))))),
        ("scope, in its closure", || {
            scope(|s| {
                s.spawn(|| sleep(LONG));
                park();
            })
        }),
        ("scope of scopes", || {
            scope(|s| {
                s.spawn(|| scope(|s| drop(s.spawn(|| sleep(LONG)))));
            })
        }),
        ("run", || sisal::Handle::current().run(park)),
        ("unblock, and the next", || {
            unblock(|| ());
            park();
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
    ];
    for workers in [1, 2] {
        for duration in [Duration::ZERO, SHORT] {
            for &(name, wait) in waits {
                runtime(workers).run(|| {
                    let drops = Count::new();
                    let before = Instant::now();
                    let ended = timeout(duration, || {
                        let _held = drops.on_drop();
                        wait();
                    });
                    let what = format!("{name}, {workers} workers, {duration:?}");
                    assert!(ended.is_err(), "{what}");
                    assert!(before.elapsed() >= duration, "{what}: early");
                    assert_eq!(drops.get(), 1, "{what}");
                    // Nothing is left of it.
                    sleep(Duration::from_millis(1));
                    yield_now();
                    scope(|s| s.spawn(yield_now).join().unwrap());
                });
            }
        }
    }
}

/// What `f` returns is the result, however late; what did not have to wait is not interrupted.
#[test]
fn no_result_is_lost() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        assert_eq!(timeout(LONG, || 1), Ok(1));
        assert_eq!(timeout(Duration::ZERO, || 2), Ok(2));
        assert_eq!(timeout(LONG, || block_on(async { 3 })), Ok(3));
        let late = timeout(SHORT, || {
            let begun = Instant::now();
            while begun.elapsed() < 2 * SHORT {}
            4
        });
        assert_eq!(late, Ok(4));
        // The deadline passes in the outer's wait for a thread, which cannot be cut short.
        let late = timeout(SHORT, || unblock(|| 5));
        assert_eq!(late, Ok(5));
        let passed = timeout(SHORT, || unblock(|| thread::sleep(2 * SHORT)));
        assert_eq!(passed, Ok(()));
        // All of that is over: nothing of it cuts short what comes after.
        yield_now();
        assert_eq!(timeout(LONG, || sleep(SHORT)), Ok(()));
    });
}

/// Two that nest: which of them ends.
#[test]
fn they_nest() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        // The inner passes first.
        let both = timeout(LONG, || (timeout(SHORT, park).is_err(), 1));
        assert_eq!(both, Ok((true, 1)));
        // And the outer goes on, and ends by itself.
        let both = timeout(4 * SHORT, || {
            assert!(timeout(SHORT, park).is_err());
            park();
        });
        assert!(both.is_err());
        // The outer passes first: the inner's call does not return.
        let returned = Count::new();
        let both = timeout(SHORT, || {
            let inner = timeout(LONG, park);
            returned.add();
            inner
        });
        assert!(both.is_err());
        assert_eq!(returned.get(), 0);
        // Both at once: the outer wins.
        let both = timeout(Duration::ZERO, || {
            let inner = timeout(Duration::ZERO, park);
            returned.add();
            inner
        });
        assert!(both.is_err());
        // Both have passed when somebody looks.
        let both = timeout(SHORT, || {
            let inner = timeout(Duration::from_millis(1), || {
                let begun = Instant::now();
                while begun.elapsed() < 2 * SHORT {}
                park();
            });
            returned.add();
            inner
        });
        assert!(both.is_err());
        assert_eq!(returned.get(), 0);
        // The inner returns a value, then the outer ends at its next wait.
        let both: Result<(), Elapsed> = timeout(Duration::ZERO, || {
            assert_eq!(timeout(Duration::ZERO, || 7), Ok(7));
            returned.add();
            park();
        });
        assert!(both.is_err());
        assert_eq!(returned.get(), 1);
        // Deep.
        fn deep(levels: u32) -> Result<(), Elapsed> {
            match levels {
                0 => {
                    park();
                    Ok(())
                }
                n if n == 5 => timeout(SHORT, || deep(n - 1)).and_then(|inner| inner),
                n => timeout(LONG, || deep(n - 1)).and_then(|inner| inner),
            }
        }
        assert!(deep(10).is_err());
    });
}

/// Code that catches the unwind meets it again, until the `timeout` has ended; then never more.
#[test]
fn swallowed_it_is_met_again() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let caught = Count::new();
        let ended = timeout(SHORT, || {
            for _ in 0..5 {
                let _ = catch_unwind(park).unwrap_err();
                caught.add();
            }
            "returned"
        });
        assert_eq!(ended, Ok("returned"), "a result is not lost");
        assert_eq!(caught.get(), 5);
        let ended = timeout(SHORT, || {
            let _ = catch_unwind(park).unwrap_err();
            park();
        });
        assert!(ended.is_err());
        assert_eq!(timeout(LONG, yield_now), Ok(()));
    });
}

/// A payload that was kept and is raised again later is not taken for another `timeout`'s.
#[test]
fn a_kept_payload_fits_no_other() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        fn kept(duration: Duration, again: Option<Box<dyn std::any::Any + Send>>) -> Kept {
            let mut payload = None;
            let ended = timeout(duration, || match again {
                Some(again) => resume_unwind(again),
                None => payload = catch_unwind(park).err(),
            });
            (ended, payload)
        }
        type Kept = (Result<(), Elapsed>, Option<Box<dyn std::any::Any + Send>>);
        // The same function, so the same place on the stack.
        let (ended, payload) = kept(SHORT, None);
        assert_eq!(ended, Ok(()));
        let again = catch_unwind(AssertUnwindSafe(|| kept(LONG, payload).0));
        assert!(
            again.is_err(),
            "it is a payload like any other to a `timeout` that is not over"
        );
    });
}

/// Panics go through, and nothing is left behind.
#[test]
fn panics_go_through() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let caught = catch_unwind(|| timeout(LONG, || resume_unwind(Box::new("mine"))));
        let caught: Box<dyn std::any::Any + Send> = match caught {
            Ok(Ok(())) | Ok(Err(_)) => panic!("it panicked"),
            Err(payload) => payload,
        };
        assert_eq!(text(&*caught), "mine");
        // Also one that passes a `timeout` which is over.
        let caught =
            catch_unwind(|| timeout(Duration::ZERO, || -> () { resume_unwind(Box::new("mine")) }));
        assert_eq!(text(&*caught.unwrap_err()), "mine");
        yield_now();
        assert_eq!(timeout(LONG, yield_now), Ok(()));
    });
}

/// In a destructor it works as anywhere, also in one that an unwind has called.
#[test]
fn in_a_destructor() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for unwinds in [false, true] {
            let inner = Arc::new(std::sync::Mutex::new(Vec::new()));
            let waits = Defer({
                let inner = Arc::clone(&inner);
                move || {
                    let say =
                        |ended: bool| inner.lock().unwrap_or_else(|p| p.into_inner()).push(ended);
                    say(timeout(SHORT, park).is_err());
                    // In a destructor in an unwind in a destructor in an unwind.
                    let nested = catch_unwind(AssertUnwindSafe(|| {
                        let _waits = Defer(|| say(timeout(SHORT, || sleep(LONG)).is_err()));
                        resume_unwind(Box::new("nested"));
                    }));
                    assert_eq!(text(&*nested.unwrap_err()), "nested");
                    say(timeout(SHORT, || scope(|s| drop(s.spawn(park)))).is_err());
                    // The outer one cannot unwind the inner's destructor: it comes after that.
                    let outer = timeout(Duration::ZERO, || {
                        let nested = catch_unwind(AssertUnwindSafe(|| {
                            let _waits = Defer(|| sleep(SHORT));
                            resume_unwind(Box::new("nested"));
                        }));
                        assert_eq!(text(&*nested.unwrap_err()), "nested");
                        yield_now();
                    });
                    say(outer.is_err());
                }
            });
            let caught = catch_unwind(AssertUnwindSafe(move || {
                let _waits = waits;
                if unwinds {
                    resume_unwind(Box::new("panic"));
                }
            }));
            assert_eq!(caught.is_err(), unwinds);
            let inner = inner.lock().unwrap_or_else(|p| p.into_inner()).clone();
            assert_eq!(inner, [true; 4], "unwinds: {unwinds}");
            assert_eq!(timeout(LONG, yield_now), Ok(()));
        }
        // The destructor belongs to what is unwound by an outer one; that one goes on.
        let waited = Count::new();
        let ended = timeout(SHORT, || {
            let _waits = Defer(|| {
                sleep(SHORT);
                yield_now();
                waited.add();
            });
            park();
        });
        assert!(ended.is_err());
        assert_eq!(waited.get(), 1);
    });
}

/// The unwind of a cancel goes through a `timeout`, whether that is over or not.
#[test]
fn a_cancel_goes_further() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for duration in [Duration::ZERO, SHORT, LONG] {
            let (returned, begun) = (Count::new(), Count::new());
            let child = spawn({
                let (returned, begun) = (returned.clone(), begun.clone());
                move || {
                    begun.add();
                    // Not a wait that anything ends before the cancel is there.
                    sisal::fiber::shield(|| until(|| begun.get() == 2));
                    let _ = timeout(duration, park);
                    returned.add();
                }
            });
            until(|| begun.get() == 1);
            child.cancel();
            begun.add();
            assert!(child.join().unwrap_err().is_cancelled(), "{duration:?}");
            assert_eq!(returned.get(), 0, "{duration:?}");
        }
    });
}

/// Others of the same worker, with deadlines of their own, are not disturbed.
#[test]
fn others_go_on() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let (slow, fast) = (Count::new(), Count::new());
            let gates: Vec<_> = (0..10).map(|_| Gate::new()).collect();
            let others: Vec<_> = gates
                .iter()
                .cloned()
                .enumerate()
                .map(|(n, gate)| {
                    let (slow, fast) = (slow.clone(), fast.clone());
                    spawn(move || match n % 2 {
                        0 => {
                            assert_eq!(timeout(LONG, || block_on(gate)), Ok(()));
                            slow.add();
                        }
                        _ => {
                            assert!(timeout(SHORT, || block_on(gate)).is_err());
                            fast.add();
                        }
                    })
                })
                .collect();
            until(|| fast.get() == 5);
            assert_eq!(slow.get(), 0);
            gates.iter().for_each(Gate::open);
            for other in others {
                other.join().unwrap();
            }
            assert_eq!(slow.get(), 5);
        });
    }
}

/// Where it cannot work it says so.
#[test]
fn off_a_fiber() {
    let _watchdog = watchdog(60);
    let called = AtomicBool::new(false);
    let said = panic_text(|| timeout(LONG, || called.store(true, Ordering::SeqCst)));
    assert!(
        said.contains("plain thread") && said.contains("sisal::run"),
        "{said}"
    );
    let runtime = runtime(1);
    let said = runtime
        .run(|| block_on(tokio::spawn(async { panic_text(|| timeout(LONG, || ())) })).unwrap());
    assert!(said.contains("tokio::time::timeout"), "{said}");
    assert!(!called.load(Ordering::SeqCst));
}

#[test]
fn the_error() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let error: Elapsed = timeout(Duration::ZERO, park).unwrap_err();
        let copy = error;
        assert_eq!(copy, error);
        assert_eq!(error.to_string(), "the deadline has passed");
        fn is_error<E: std::error::Error + Send + Sync + Clone + 'static>(_: E) {}
        is_error(error);
    });
}

/// A fiber that never parks, only yields, is told too: its worker looks at timers in between.
#[test]
fn a_busy_fiber_is_told() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (told, tell) = mpsc::channel();
        let ended = timeout(SHORT, || {
            loop {
                told.send(()).unwrap();
                yield_now();
            }
        });
        let ended: Result<(), Elapsed> = ended;
        assert!(ended.is_err());
        assert!(tell.try_iter().count() > 0);
        settle();
    });
}

/// Many at once, racing their deadlines: each gives one of the two, and no destructor is missed.
#[test]
fn many_race_their_deadlines() {
    let _watchdog = watchdog(120);
    for workers in [1, 2] {
        let tally = common::Tally::new();
        let (ok, over) = (Count::new(), Count::new());
        runtime(workers).run(|| {
            let all: Vec<_> = (0..400_u64)
                .map(|n| {
                    let (tally, ok, over) = (tally.clone(), ok.clone(), over.clone());
                    spawn(move || {
                        let outer = timeout(Duration::from_millis(n % 5), || {
                            let _held = tally.make();
                            let _ = timeout(Duration::from_millis(n % 3), || {
                                let _held = tally.make();
                                sleep(Duration::from_millis(n % 7));
                            });
                            sleep(Duration::from_millis(n % 2));
                        });
                        match outer {
                            Ok(()) => ok.add(),
                            Err(_) => over.add(),
                        }
                    })
                })
                .collect();
            for one in all {
                one.join().unwrap();
            }
        });
        assert_eq!(ok.get() + over.get(), 400);
        tally.check(400..=800, "all");
    }
}
