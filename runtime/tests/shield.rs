//! `fiber::shield` and `fiber::panicking`.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use common::{Count, Defer, panic_text, runtime, settle, text, until, watchdog};
use sisal::fiber::{panicking, park, scope, shield, sleep, spawn, yield_now};
use sisal::{block_on, timeout};

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(3);

/// A cancel is held off inside, and met at the first suspension after.
#[test]
fn a_cancel_is_held_off() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let steps = Count::new();
        let child = spawn({
            let steps = steps.clone();
            move || {
                let value = shield(|| {
                    steps.add();
                    park();
                    for _ in 0..10 {
                        yield_now();
                    }
                    sleep(Duration::from_millis(1));
                    shield(yield_now);
                    yield_now();
                    steps.add()
                });
                assert_eq!(value, 2);
                steps.add();
                yield_now();
                steps.add();
            }
        });
        until(|| steps.get() == 1);
        child.cancel();
        settle();
        assert_eq!(steps.get(), 1);
        child.fiber().unpark();
        assert!(child.join().unwrap_err().is_cancelled());
        assert_eq!(steps.get(), 3);
    });
}

/// A `timeout` from outside is held off, one inside works.
#[test]
fn a_timeout_from_outside_is_held_off() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let inside = Count::new();
        let ended = timeout(SHORT, || {
            shield(|| {
                sleep(3 * SHORT);
                yield_now();
                inside.add();
                // Of its own: this one is not held off.
                assert!(timeout(SHORT, park).is_err());
                assert!(timeout(Duration::ZERO, || shield(yield_now)).is_ok());
                inside.add();
            });
            inside.add();
            yield_now();
            inside.add();
        });
        assert!(ended.is_err());
        assert_eq!(inside.get(), 3);
        // And a result that comes out of a shield is not lost.
        let ended = timeout(SHORT, || shield(|| sleep(2 * SHORT)));
        assert_eq!(ended, Ok(()));
        assert_eq!(timeout(LONG, yield_now), Ok(()));
    });
}

/// A shield, a `timeout` in it, and a `timeout` around it, with scopes: what goes to the children.
#[test]
fn children_are_shielded_with_their_owner() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        runtime(workers).run(|| {
            let ended = timeout(SHORT, || {
                let value = shield(|| {
                    scope(|s| {
                        s.spawn(|| {
                            sleep(3 * SHORT);
                            "not cut short"
                        })
                        .join()
                        .unwrap()
                    })
                });
                assert_eq!(value, "not cut short");
                let inner = shield(|| timeout(SHORT, || scope(|s| drop(s.spawn(|| sleep(LONG))))));
                assert!(inner.is_err());
                yield_now();
                unreachable!("the outer deadline has passed");
            });
            assert!(ended.is_err());
        });
    }
}

/// Panics are not held off; a shield that one goes through is over.
#[test]
fn panics_go_through() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let child = spawn(|| {
            let caught = catch_unwind(|| shield(|| -> () { resume_unwind(Box::new("mine")) }));
            assert_eq!(text(&*caught.unwrap_err()), "mine");
            park();
        });
        settle();
        child.cancel();
        assert!(child.join().unwrap_err().is_cancelled());
    });
}

/// The shutdown of the runtime waits for what is shielded, children included.
#[test]
fn a_shutdown_waits() {
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let runtime = runtime(workers);
        let (begun, inside) = (Count::new(), Count::new());
        let child = runtime.spawn({
            let (begun, inside) = (begun.clone(), inside.clone());
            move || {
                shield(|| {
                    begun.add();
                    until(|| inside.get() == 1);
                    sleep(SHORT);
                    scope(|s| {
                        s.spawn(|| {
                            yield_now();
                            // What such a child runs in turn belongs to it too.
                            let value = sisal::Handle::current().run(|| {
                                sleep(Duration::from_millis(1));
                                3
                            });
                            assert_eq!(value, 3);
                            inside.add();
                        });
                    });
                    // A fiber of its own is refused: nobody waits for it.
                    assert!(spawn(|| ()).join().unwrap_err().is_cancelled());
                    inside.add();
                });
                park();
            }
        });
        until(|| begun.get() == 1);
        let handle = runtime.handle().clone();
        let drops = std::thread::spawn(move || drop(runtime));
        until(|| handle.spawn(|| ()).join().is_err());
        inside.add();
        drops.join().unwrap();
        assert!(child.join().unwrap_err().is_cancelled());
        assert_eq!(inside.get(), 3);
    }
}

/// Where nothing is cancelled, it calls.
#[test]
fn off_a_fiber() {
    let _watchdog = watchdog(60);
    assert_eq!(shield(|| 1), 1);
    assert_eq!(panic_text(|| shield(|| panic!("mine"))), "mine");
    runtime(1).run(|| {
        assert_eq!(block_on(tokio::spawn(async { shield(|| 2) })).unwrap(), 2);
    });
    assert!(!panicking());
}

#[test]
fn whether_a_fiber_panics() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let seen = Count::new();
        for how in ["returns", "panics", "is cancelled", "is over"] {
            let child = spawn({
                let seen = seen.clone();
                move || {
                    let _asks = Defer(|| {
                        if panicking() {
                            seen.add();
                        }
                    });
                    assert!(!panicking());
                    match how {
                        "panics" => resume_unwind(Box::new(())),
                        "is cancelled" => park(),
                        "is over" => {
                            let _asks = Defer(|| assert!(!panicking()));
                            let _ = timeout(Duration::ZERO, || {
                                let _asks = Defer(|| {
                                    assert!(panicking());
                                    seen.add();
                                });
                                park();
                            });
                            assert!(!panicking());
                        }
                        _ => {}
                    }
                }
            });
            settle();
            child.cancel();
            let before = seen.get();
            let _ = catch_unwind(AssertUnwindSafe(|| child.join()));
            assert!(seen.get() >= before);
        }
        assert_eq!(seen.get(), 3);
        assert!(!panicking());
    });
}
