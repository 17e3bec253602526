//! `fiber_local!`: one value per fiber, made late, destroyed on the fiber's own stack before a join sees
//! its end; and what initialisers and destructors may do meanwhile.

mod common;

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use common::{Count, Gate, OnDrop, in_child, one_on_each_worker, panic_text, role, runtime, until};
use common::{said, watchdog};
use sisal::fiber::{self, LocalKey, park, spawn, yield_now};
use sisal::{block_on, fiber_local};

/// What was destroyed, in order, and where.
type Log = Arc<Mutex<Vec<(&'static str, ThreadId, fiber::FiberId)>>>;

/// Writes itself down when it is dropped. Not `Send`.
struct Noted(&'static str, Log, PhantomData<Rc<()>>);

impl Noted {
    fn new(name: &'static str, log: &Log) -> Noted {
        Noted(name, Arc::clone(log), PhantomData)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let entry = (self.0, thread::current().id(), fiber::current().id());
        self.1.lock().unwrap().push(entry);
    }
}

fn names(log: &Log) -> Vec<&'static str> {
    log.lock().unwrap().iter().map(|entry| entry.0).collect()
}

/// A slot for anything that is dropped at the end.
type Slot<T> = LocalKey<RefCell<Option<T>>>;

fn put<T>(key: &'static Slot<T>, value: T) {
    key.with(|slot| *slot.borrow_mut() = Some(value));
}

#[test]
fn each_fiber_has_its_own_across_every_wait() {
    fiber_local!(static N: Cell<usize> = const { Cell::new(usize::MAX) });
    let _watchdog = watchdog(60);
    N.set(1_000_000);
    runtime(2).run(|| {
        fiber::scope(|s| {
            for n in 0..200 {
                s.spawn(move || {
                    assert_eq!(N.replace(n), usize::MAX);
                    for _ in 0..10 {
                        yield_now();
                        assert_eq!(N.get(), n);
                    }
                    block_on(tokio::time::sleep(Duration::from_millis(1)));
                    assert_eq!(N.get(), n);
                });
            }
        });
        assert_eq!(N.get(), usize::MAX);
    });
    assert_eq!(N.get(), 1_000_000);
}

/// An initialiser runs at the first use, once for each fiber that uses the key, and on no other.
#[test]
fn initialisers_run_late_and_once() {
    static RUNS: Mutex<Vec<fiber::FiberId>> = Mutex::new(Vec::new());
    fiber_local!(static KEY: u8 = {
        RUNS.lock().unwrap().push(fiber::current().id());
        7
    });
    runtime(1).run(|| {
        let user = spawn(|| {
            yield_now();
            assert_eq!((KEY.with(|x| *x), KEY.with(|x| *x)), (7, 7));
        });
        let id = user.fiber().id();
        spawn(|| ()).join().unwrap();
        assert!(RUNS.lock().unwrap().is_empty());
        user.join().unwrap();
        assert_eq!(*RUNS.lock().unwrap(), [id]);
    });
}

/// On a worker's own stack and on the pool's threads a key is the thread's.
#[test]
fn off_a_fiber_a_key_is_the_threads() {
    fiber_local!(static KEY: Cell<u8> = const { Cell::new(0) });
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        KEY.set(1);
        let task = || async {
            let before = KEY.get();
            KEY.set(before + 10);
            before
        };
        // Two async tasks on one worker: they share the worker's thread's value.
        assert_eq!(block_on(tokio::spawn(task())).unwrap(), 0);
        assert_eq!(block_on(tokio::spawn(task())).unwrap(), 10);
        assert_eq!(sisal::unblock(|| KEY.get()), 0);
        // Polled by the fiber itself.
        assert_eq!(block_on(task()), 1);
        assert_eq!(KEY.get(), 11);
    });
    assert_eq!(KEY.get(), 0);
}

#[test]
fn values_go_newest_first_on_their_fiber_before_the_join_sees_the_end() {
    fiber_local! {
        static A: RefCell<Option<Noted>> = const { RefCell::new(None) };
        static B: RefCell<Option<Noted>> = const { RefCell::new(None) };
        static C: RefCell<Option<Noted>> = const { RefCell::new(None) };
    }
    let _watchdog = watchdog(60);
    for workers in [1, 2] {
        let log = Log::default();
        let theirs = Arc::clone(&log);
        let runtime = runtime(workers);
        let fiber = runtime.spawn(move || {
            let _of_the_closure = Noted::new("closure", &theirs);
            put(&B, Noted::new("B", &theirs));
            put(&A, Noted::new("A", &theirs));
            put(&C, Noted::new("C", &theirs));
            // Used again: the order is that of the first uses.
            B.with(|_| ());
            thread::current().id()
        });
        let id = fiber.fiber().id();
        let thread = fiber.join().unwrap();
        // Everything is there, and stands: no more comes.
        let all = std::mem::take(&mut *log.lock().unwrap());
        let names: Vec<_> = all.iter().map(|entry| entry.0).collect();
        assert_eq!(names, ["closure", "C", "A", "B"]);
        assert!(all.iter().all(|entry| (entry.1, entry.2) == (thread, id)));
        drop(runtime);
        assert!(log.lock().unwrap().is_empty());
    }
}

/// A join that waits while destructors wait: the result comes after the last of them.
#[test]
fn a_destructor_may_park_spawn_and_use_other_keys() {
    struct Busy(Gate, Log);
    impl Drop for Busy {
        fn drop(&mut self) {
            block_on(self.0.clone());
            yield_now();
            let log = Arc::clone(&self.1);
            let child = spawn(move || {
                put(&OTHER, Noted::new("child's", &log));
                fiber::current().id()
            });
            assert_ne!(child.join().unwrap(), fiber::current().id());
            self.1
                .lock()
                .unwrap()
                .push(("busy", thread::current().id(), fiber::current().id()));
            // Older, so not destroyed yet; and one that is made only now, and destroyed next.
            OLDER.with(|older| assert!(older.borrow().is_some()));
            put(&OTHER, Noted::new("made late", &self.1));
        }
    }
    fiber_local! {
        static OLDER: RefCell<Option<Noted>> = const { RefCell::new(None) };
        static BUSY: RefCell<Option<Busy>> = const { RefCell::new(None) };
        static OTHER: RefCell<Option<Noted>> = const { RefCell::new(None) };
    }
    let _watchdog = watchdog(60);
    let (log, gate) = (Log::default(), Gate::new());
    let (theirs, shut) = (Arc::clone(&log), gate.clone());
    runtime(1).run(|| {
        let fiber = spawn(move || {
            put(&OLDER, Noted::new("older", &theirs));
            put(&BUSY, Busy(shut, Arc::clone(&theirs)));
        });
        gate.wait_polls(1);
        common::settle();
        assert!(!fiber.is_finished() && names(&log).is_empty());
        gate.open();
        fiber.join().unwrap();
    });
    assert_eq!(names(&log), ["child's", "busy", "made late", "older"]);
}

/// Two initialisers of one fiber that wait inside each other, and others of the same key meanwhile.
#[test]
fn an_initialiser_may_park_spawn_and_use_other_keys() {
    fiber_local! {
        static OUTER: (u32, u32) = {
            yield_now();
            let child = spawn(|| INNER.with(|n| *n));
            let inner = INNER.with(|n| *n);
            (inner, child.join().unwrap())
        };
        static INNER: u32 = {
            block_on(tokio::time::sleep(Duration::from_millis(1)));
            MADE.with(|made| made.set(made.get() + 1));
            3
        };
        static MADE: Cell<u32> = const { Cell::new(0) };
    }
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        fiber::scope(|s| {
            for _ in 0..20 {
                s.spawn(|| {
                    assert_eq!(OUTER.with(|pair| *pair), (3, 3));
                    assert_eq!(MADE.get(), 1);
                });
            }
        });
    });
}

#[test]
fn a_panic_in_an_initialiser_leaves_the_value_uninitialised() {
    fiber_local! {
        static TRIES: Cell<u32> = const { Cell::new(0) };
        static KEY: OnDrop = {
            TRIES.set(TRIES.get() + 1);
            assert!(TRIES.get() > 2, "not yet");
            DROPS.lock().unwrap().as_ref().unwrap().on_drop()
        };
    }
    static DROPS: Mutex<Option<Count>> = Mutex::new(None);
    let drops = Count::new();
    *DROPS.lock().unwrap() = Some(drops.clone());
    sisal::run(|| {
        let use_it = || KEY.with(|_| ());
        assert_eq!(panic_text(use_it), "not yet");
        assert_eq!(panic_text(use_it), "not yet");
        use_it();
        use_it();
        assert_eq!(TRIES.get(), 3);
    });
    assert_eq!(drops.get(), 1);
}

/// std's thread aborts there; a fiber's other values go on to be destroyed, and its result is there.
#[test]
fn a_panic_in_a_destructor_goes_no_further() {
    struct Panics(#[expect(dead_code, reason = "it counts its drop")] OnDrop);
    impl Drop for Panics {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("spilt"));
        }
    }
    fiber_local! {
        static FIRST: RefCell<Option<OnDrop>> = const { RefCell::new(None) };
        static BAD: RefCell<Option<Panics>> = const { RefCell::new(None) };
        static LAST: RefCell<Option<OnDrop>> = const { RefCell::new(None) };
    }
    let drops = Count::new();
    let runtime = runtime(1);
    for round in 1..=2 {
        let theirs = drops.clone();
        let fiber = runtime.spawn(move || {
            put(&FIRST, theirs.on_drop());
            put(&BAD, Panics(theirs.on_drop()));
            put(&LAST, theirs.on_drop());
            round
        });
        assert_eq!(fiber.join().unwrap(), round);
        assert_eq!(drops.get(), 3 * round);
    }
}

/// Once its destructor has begun a value is gone; `with` panics, `try_with` says so, and no setter makes a
/// new one. One without a destructor is there to the last.
#[test]
fn what_is_destroyed_stays_so() {
    struct Late(Arc<Mutex<Vec<String>>>);
    impl Drop for Late {
        fn drop(&mut self) {
            let mut said = self.0.lock().unwrap();
            said.push(format!("{:?}", GONE.try_with(|_| ())));
            said.push(panic_text(|| GONE.with(|_| ())));
            said.push(panic_text(|| CELL.set(None)));
            said.push(panic_text(|| CELL.replace(None)));
            said.push(panic_text(|| REF_CELL.set(vec![])));
            said.push(format!("{:?}", PLAIN.get()));
        }
    }
    fiber_local! {
        static PLAIN: Cell<u8> = const { Cell::new(0) };
        static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
        static GONE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        static CELL: Cell<Option<Box<u8>>> = const { Cell::new(None) };
        static REF_CELL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let said = Arc::default();
    let theirs = Arc::clone(&said);
    let fiber = spawn(move || {
        put(&LATE, Late(theirs));
        GONE.with(|_| ());
        CELL.set(None);
        REF_CELL.set(vec![1]);
        PLAIN.set(9);
    });
    fiber.join().unwrap();
    const PANIC: &str = "cannot access a fiber-local value during or after its destruction";
    let expected = ["Err(AccessError)", PANIC, PANIC, PANIC, PANIC, "9"];
    assert_eq!(*said.lock().unwrap(), expected);
}

/// As a detached thread's, a result that nobody asks for is dropped while the values are there; if the
/// handle goes later, the result does after them.
#[test]
fn a_result_that_nobody_asks_for_still_finds_the_values() {
    struct Asks(Log);
    impl Drop for Asks {
        fn drop(&mut self) {
            let name = match VALUE.try_with(|_| ()) {
                Ok(()) => "result, with the value",
                Err(_) => "result, without",
            };
            drop(Noted::new(name, &self.0));
        }
    }
    fiber_local!(static VALUE: RefCell<Option<Noted>> = const { RefCell::new(None) });
    let _watchdog = watchdog(60);
    let log = Log::default();
    runtime(1).run(|| {
        let make = || {
            let log = Arc::clone(&log);
            spawn(move || {
                put(&VALUE, Noted::new("value", &log));
                Asks(log)
            })
        };
        drop(make());
        until(|| names(&log).len() == 2);
        assert_eq!(names(&log), ["result, with the value", "value"]);
        log.lock().unwrap().clear();
        let handle = make();
        until(|| handle.is_finished());
        assert_eq!(names(&log), ["value"]);
        drop(handle);
        // In the main fiber, which has a value of its own.
        assert_eq!(names(&log), ["value", "result, with the value"]);
    });
}

/// S11: cancelled, refused before it starts, panicking, or never joined: values go once, on their thread.
#[test]
fn values_go_once_however_the_fiber_ends() {
    fiber_local!(static VALUE: RefCell<Option<Noted>> = const { RefCell::new(None) });
    let _watchdog = watchdog(60);
    let log = Log::default();
    let runtime = runtime(2);
    let fibers: Vec<_> = runtime.run(|| {
        one_on_each_worker(2, |_| {
            let start = |end: fn()| {
                let (log, (tell, told)) = (Arc::clone(&log), std::sync::mpsc::channel());
                let fiber = spawn(move || {
                    put(&VALUE, Noted::new("value", &log));
                    tell.send((thread::current().id(), fiber::current().id()))
                        .unwrap();
                    drop(tell);
                    end();
                });
                (fiber, told)
            };
            [
                start(|| ()),
                start(|| std::panic::resume_unwind(Box::new(1))),
                start(park),
                start(|| fiber::sleep(Duration::from_secs(3600))),
            ]
        })
    });
    let mut expected: Vec<_> = fibers
        .iter()
        .flatten()
        .map(|(_, told)| {
            let (thread, id) = told.recv().unwrap();
            ("value", thread, id)
        })
        .collect();
    drop(runtime);
    let mut found = std::mem::take(&mut *log.lock().unwrap());
    found.sort_by_key(|entry| format!("{:?}", entry.2));
    expected.sort_by_key(|entry| format!("{:?}", entry.2));
    assert_eq!(found, expected);
    drop(fibers);
    assert!(log.lock().unwrap().is_empty());
}

/// Cancellation is held off in a destructor: it waits as it likes.
#[test]
fn a_destructor_is_shielded() {
    struct Waits(Count, Gate);
    impl Drop for Waits {
        fn drop(&mut self) {
            block_on(self.1.clone());
            yield_now();
            self.0.add();
        }
    }
    fiber_local!(static WAITS: RefCell<Option<Waits>> = const { RefCell::new(None) });
    let _watchdog = watchdog(60);
    let (ends, gate) = (Count::new(), Gate::new());
    let runtime = runtime(1);
    let (theirs, shut) = (ends.clone(), gate.clone());
    let fiber = runtime.spawn(move || {
        put(&WAITS, Waits(theirs, shut));
        fiber::current().id()
    });
    gate.wait_polls(1);
    let handle = runtime.handle().clone();
    let shutting = thread::spawn(move || drop(runtime));
    // Closed: what is spawned now ends at once.
    until(|| handle.spawn(|| ()).join().is_err());
    assert!(!fiber.is_finished() && ends.get() == 0);
    gate.open();
    shutting.join().unwrap();
    assert_eq!(ends.get(), 1);
    // It had returned before it was cancelled.
    assert!(fiber.join().is_ok());
}

#[test]
fn many_keys_and_many_fibers() {
    macro_rules! many {
        ($($key:ident)*) => {{
            fiber_local!($(static $key: RefCell<Option<OnDrop>> = const { RefCell::new(None) });*);
            [$(&$key as &'static Slot<OnDrop>),*]
        }};
    }
    let keys =
        many!(K00 K01 K02 K03 K04 K05 K06 K07 K08 K09 K10 K11 K12 K13 K14 K15 K16 K17 K18 K19);
    let drops = Count::new();
    runtime(2).run(|| {
        fiber::scope(|s| {
            for n in 0..100 {
                let drops = &drops;
                s.spawn(move || {
                    for at in 0..keys.len() {
                        // Another order in each fiber.
                        put(keys[(at * 7 + n) % keys.len()], drops.on_drop());
                        yield_now();
                    }
                    assert!(
                        keys.iter()
                            .all(|key| key.with(|slot| slot.borrow().is_some()))
                    );
                });
            }
        });
    });
    assert_eq!(drops.get(), 100 * keys.len());
}

/// A key's uses nest, and a use inside the initialiser of the same key is std's: the outer value stays.
#[test]
fn an_initialiser_that_uses_its_own_key() {
    fn once_more() -> u32 {
        thread_local!(static FIRST: Cell<bool> = const { Cell::new(true) });
        match FIRST.replace(false) {
            true => 10 + KEY.with(|inner| *inner),
            false => 1,
        }
    }
    fiber_local!(static KEY: u32 = once_more());
    let all = || (KEY.with(|x| *x), KEY.with(|x| KEY.with(|y| x + y)));
    assert_eq!(all(), (11, 22)); // the thread's
    assert_eq!(runtime(1).run(all), (11, 22));
}

/// A coroutine of another crate that is suspended inside `with` keeps the value that it looks at, even if
/// it goes on in another fiber when the value's own is gone.
#[test]
fn a_value_in_use_by_a_suspended_coroutine_outlives_its_fiber() {
    use switch_asm::{Coroutine, CoroutineResult};

    fiber_local!(static KEY: RefCell<Option<Noted>> = const { RefCell::new(None) });
    let _watchdog = watchdog(60);
    let log = Log::default();
    runtime(1).run(|| {
        let theirs = Arc::clone(&log);
        let first = fiber::spawn_local(move || {
            put(&KEY, Noted::new("value", &theirs));
            let mut coroutine = Coroutine::<(), (), &'static str>::new(|yielder, ()| {
                KEY.with(|slot| {
                    yielder.suspend(());
                    slot.borrow().as_ref().unwrap().0
                })
            });
            assert!(matches!(coroutine.resume(()), CoroutineResult::Yield(())));
            coroutine
        });
        let mut coroutine = first.join().unwrap();
        assert!(names(&log).is_empty());
        match coroutine.resume(()) {
            CoroutineResult::Return(name) => assert_eq!(name, "value"),
            CoroutineResult::Yield(()) => panic!("it suspends once"),
        }
        assert_eq!(names(&log), ["value"]);
    });
}

/// One suspended in an initialiser and resumed by another fiber would give its value to the wrong one.
#[test]
fn an_initialiser_resumed_by_another_fiber_aborts_with_a_message() {
    use switch_asm::Coroutine;

    const TEST: &str = "an_initialiser_resumed_by_another_fiber_aborts_with_a_message";
    thread_local!(static WAITING: Cell<bool> = const { Cell::new(false) });
    fiber_local!(static KEY: u8 = {
        WAITING.set(true);
        SUSPEND.with_borrow(|suspend| suspend.as_ref().unwrap()());
        1
    });
    thread_local!(static SUSPEND: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) });
    if role().is_none() {
        let child = in_child(TEST, "child", &[]);
        let said = said(&child);
        assert!(!child.status.success(), "{said}");
        assert!(said.contains("resumed by another"), "{said}");
        return;
    }
    runtime(1).run(|| {
        let first = fiber::spawn_local(|| {
            let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
                // SAFETY: called below this frame only, where the yielder is.
                let yielder: &'static switch_asm::Yielder<(), ()> =
                    unsafe { std::mem::transmute(yielder) };
                SUSPEND.set(Some(Rc::new(|| yielder.suspend(()))));
                KEY.with(|_| ());
            });
            coroutine.resume(());
            coroutine
        });
        let mut coroutine = first.join().unwrap();
        assert!(WAITING.get());
        let _ = catch_unwind(AssertUnwindSafe(|| coroutine.resume(())));
    });
}
