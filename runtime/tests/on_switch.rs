//! `Builder::on_switch`: slots of a thread that somebody saves, sets and restores in stack order are a
//! fiber's own with the hooks, and everybody's without.

mod common;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Count, Gate, in_child, role, said, until, watchdog};
use sisal::fiber::{self, park, spawn, spawn_local, yield_now};
use sisal::{Runtime, block_on};

thread_local! {
    /// The slot of a small `scoped_tls`: what the innermost `with_value` set. (A number where that crate
    /// has a pointer, so that a wrong one is seen and not followed.)
    static SLOT: Cell<usize> = const { Cell::new(0) };
    static CALLS: RefCell<Vec<(&'static str, usize)>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with `value` in the slot, and then puts back what was there.
fn with_value<R>(value: usize, f: impl FnOnce() -> R) -> R {
    struct Restore(usize);
    impl Drop for Restore {
        fn drop(&mut self) {
            SLOT.set(self.0);
        }
    }
    let _restore = Restore(SLOT.replace(value));
    f()
}

fn save() -> *mut () {
    let value = SLOT.replace(0);
    CALLS.with_borrow_mut(|calls| calls.push(("save", value)));
    std::ptr::without_provenance_mut(value)
}

fn restore(word: *mut ()) {
    CALLS.with_borrow_mut(|calls| calls.push(("restore", word.addr())));
    SLOT.set(word.addr());
}

fn calls() -> Vec<(&'static str, usize)> {
    CALLS.take()
}

fn hooked(workers: usize) -> Runtime {
    let builder = Runtime::builder().workers(workers);
    // SAFETY: the hooks swap one number, which nobody refers into.
    let builder = unsafe { builder.on_switch(save, restore) };
    builder.build().unwrap()
}

/// Two fibers inside `with_value` take turns. Says what each saw in the slot after each turn of the other.
fn interleave(runtime: &Runtime) -> (Vec<usize>, Vec<usize>) {
    runtime.run(|| {
        let inside = Count::new();
        let child = |value| {
            let inside = inside.clone();
            spawn(move || {
                let mut seen = Vec::new();
                with_value(value, || {
                    // From here on they take turns: nobody else is ready.
                    inside.add();
                    until(|| inside.get() == 2);
                    for n in 0..3 {
                        yield_now();
                        seen.push(SLOT.get());
                        with_value(value + 10 + n, || {
                            yield_now();
                            seen.push(SLOT.get());
                        });
                    }
                });
                seen
            })
        };
        let (a, b) = (child(100), child(200));
        (a.join().unwrap(), b.join().unwrap())
    })
}

/// Two fibers inside `with_value`: the first in is the first out. What they leave in the slot.
fn overlap(runtime: &Runtime) -> usize {
    runtime.run(|| {
        let stage = Count::new();
        let child = |value: usize| {
            let stage = stage.clone();
            move || {
                until(|| stage.get() + 1 == value);
                with_value(value, || {
                    stage.add();
                    until(|| stage.get() > value);
                });
                stage.add();
            }
        };
        let (first, second) = (spawn(child(1)), spawn(child(2)));
        first.join().unwrap();
        second.join().unwrap();
        SLOT.get()
    })
}

const RIGHT: fn(usize) -> Vec<usize> =
    |value| vec![value, value + 10, value, value + 11, value, value + 12];

#[test]
fn without_the_hooks_each_sees_and_leaves_what_the_other_set() {
    let _watchdog = watchdog(60);
    let (a, b) = interleave(&common::runtime(1));
    assert_ne!(a, RIGHT(100));
    assert_ne!(b, RIGHT(200));
    // Both closures are over, and the first one's value is still there: a dangling pointer.
    assert_eq!(overlap(&common::runtime(1)), 1);
}

#[test]
fn with_the_hooks_each_has_its_own() {
    let _watchdog = watchdog(60);
    let runtime = hooked(1);
    let (a, b) = interleave(&runtime);
    assert_eq!((a, b), (RIGHT(100), RIGHT(200)));
    assert_eq!(overlap(&runtime), 0);
}

/// One `save` before each switch and one `restore` after it, in turns, with the same word; none for a first
/// run, an end, or a wait that is over at once.
#[test]
fn the_hooks_are_called_once_for_each_switch() {
    let _watchdog = watchdog(60);
    hooked(1).run(|| {
        calls();
        with_value(1, || {
            assert_eq!(calls(), []);
            yield_now();
            assert_eq!(calls(), [("save", 1), ("restore", 1)]);
            // Not parked at all.
            fiber::current().unpark();
            park();
            block_on(std::future::ready(()));
            assert_eq!(calls(), []);
        });
        let me = fiber::current();
        let child = spawn(move || me.unpark());
        park();
        assert_eq!(calls(), [("save", 0), ("restore", 0)]);
        child.join().unwrap();
        assert_eq!(calls(), []);
        let child = spawn_local(|| with_value(2, yield_now));
        with_value(3, || child.join().unwrap());
        assert_eq!(
            calls(),
            [("save", 3), ("save", 2), ("restore", 2), ("restore", 3)]
        );
    });
}

/// A wait of each kind, with others running on the same worker meanwhile.
#[test]
fn every_wait_keeps_the_slot() {
    let _watchdog = watchdog(60);
    hooked(2).run(|| {
        fiber::scope(|s| {
            for n in 1..=100 {
                s.spawn(move || {
                    with_value(n, || {
                        let check = |what: &str| assert_eq!(SLOT.get(), n, "{what}");
                        yield_now();
                        check("yield_now");
                        fiber::sleep(Duration::from_millis(1));
                        check("sleep");
                        let me = fiber::current();
                        spawn(move || me.unpark());
                        park();
                        check("park");
                        spawn(yield_now).join().unwrap();
                        check("join");
                        fiber::scope(|s| {
                            s.spawn(yield_now);
                        });
                        check("scope");
                        sisal::unblock(thread::yield_now);
                        check("unblock");
                        block_on(tokio::task::yield_now());
                        check("block_on");
                        block_on(async {
                            // A wait inside a poll.
                            with_value(n + 1000, yield_now);
                            check("nested");
                        });
                    });
                    assert_eq!(SLOT.get(), 0);
                });
            }
        });
    });
}

/// Cancelled in a wait: the fiber unwinds with its own word back in the slot, so the guards of its frames
/// restore what they should.
#[test]
fn a_cancelled_fiber_unwinds_with_its_own_word() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    struct Looks;
    impl Drop for Looks {
        fn drop(&mut self) {
            SEEN.fetch_add(SLOT.get(), Ordering::Relaxed);
        }
    }
    let _watchdog = watchdog(60);
    let runtime = hooked(1);
    let gate = Gate::new();
    for value in [1, 20] {
        let gate = gate.clone();
        runtime.spawn(move || {
            with_value(value, || {
                let _looks = Looks;
                block_on(gate);
            });
        });
    }
    gate.wait_polls(2);
    drop(runtime);
    assert_eq!(SEEN.load(Ordering::Relaxed), 21);
}

/// Two runtimes, one hooked; a fiber's runtime decides.
#[test]
fn fibers_of_other_runtimes_call_no_hook() {
    let _watchdog = watchdog(60);
    let (hooked, plain) = (hooked(1), common::runtime(1));
    hooked.run(|| {
        calls();
        let waits = Count::new();
        let theirs = waits.clone();
        // Runs when this fiber has parked.
        spawn(move || theirs.add());
        plain.run(|| {
            until(|| waits.get() == 1);
            spawn(yield_now).join().unwrap();
            assert_eq!(calls(), []);
        });
        // The wait for the other runtime's fiber, one switch or more.
        let calls = calls();
        let pairs = calls
            .chunks(2)
            .all(|two| two == [("save", 0), ("restore", 0)]);
        assert!(pairs && !calls.is_empty(), "{calls:?}");
    });
}

/// Closures that capture nothing will do, and the last call counts.
#[test]
fn a_second_call_replaces_the_first() {
    static SECOND: AtomicUsize = AtomicUsize::new(0);
    let builder = Runtime::builder().workers(1);
    // SAFETY: they swap nothing.
    let builder = unsafe {
        builder.on_switch(save, restore).on_switch(
            || {
                SECOND.fetch_add(1, Ordering::Relaxed);
                std::ptr::null_mut()
            },
            |word| {
                assert!(word.is_null());
                SECOND.fetch_add(10, Ordering::Relaxed);
            },
        )
    };
    assert!(format!("{builder:?}").contains("SwitchHooks"));
    builder.build().unwrap().run(|| {
        calls();
        yield_now();
        assert_eq!(SECOND.swap(0, Ordering::Relaxed), 11);
        assert_eq!(calls(), []);
    });
}

#[test]
fn a_hook_that_panics_aborts_with_a_message() {
    const TEST: &str = "a_hook_that_panics_aborts_with_a_message";
    let Some(role) = role() else {
        for role in ["save", "restore", "none"] {
            let child = in_child(TEST, role, &[]);
            let said = said(&child);
            assert_eq!(child.status.success(), role == "none", "{said}");
            let message = said.contains("a hook of `Builder::on_switch` panicked");
            assert_eq!(message, role != "none", "{said}");
        }
        return;
    };
    let _watchdog = watchdog(60);
    let builder = Runtime::builder().workers(1);
    // SAFETY: that they must not panic is what is tested; a process of its own aborts.
    let builder = unsafe {
        match &*role {
            "save" => builder.on_switch(|| panic!("no"), |_| ()),
            "restore" => builder.on_switch(std::ptr::null_mut, |_| panic!("no")),
            _ => builder.on_switch(std::ptr::null_mut, |_| ()),
        }
    };
    builder.build().unwrap().run(yield_now);
}

/// The hooks run on the fiber's stack, where `fiber::current` and thread-locals are the fiber's.
#[test]
fn the_hooks_run_in_the_fiber() {
    thread_local!(static WHO: RefCell<Vec<fiber::FiberId>> = const { RefCell::new(Vec::new()) });
    let builder = Runtime::builder().workers(1);
    // SAFETY: they swap nothing.
    let builder = unsafe {
        builder.on_switch(
            || {
                WHO.with_borrow_mut(|who| who.push(fiber::current().id()));
                std::ptr::null_mut()
            },
            |_| WHO.with_borrow_mut(|who| who.push(fiber::current().id())),
        )
    };
    builder.build().unwrap().run(|| {
        WHO.take();
        let done = Count::new();
        let other = {
            let done = done.clone();
            spawn(move || {
                yield_now();
                done.add();
            })
        };
        until(|| done.get() == 1);
        let (me, it) = (fiber::current().id(), other.fiber().id());
        let who = WHO.take();
        assert!(who.iter().all(|id| *id == me || *id == it), "{who:?}");
        assert_eq!(who.iter().filter(|id| **id == it).count(), 2);
    });
}
