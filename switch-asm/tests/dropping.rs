//! Dropping a coroutine, at any point of its life, runs every destructor once.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::rc::Rc;

use switch_asm::{Coroutine, CoroutineResult};

/// Adds its name to a list when dropped.
struct Named(Rc<RefCell<Vec<&'static str>>>, &'static str);

impl Drop for Named {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

type Log = Rc<RefCell<Vec<&'static str>>>;

fn two_locals(log: &Log) -> Coroutine<(), (), ()> {
    let (captured, log) = (Named(log.clone(), "captured"), log.clone());
    Coroutine::new(move |yielder, ()| {
        let _captured = captured;
        let _first = Named(log.clone(), "first");
        yielder.suspend(());
        let _second = Named(log.clone(), "second");
        yielder.suspend(());
    })
}

#[test]
fn before_its_start_it_drops_the_closure() {
    let log = Log::default();
    drop(two_locals(&log));
    assert_eq!(*log.borrow(), ["captured"]);
}

#[test]
fn suspended_it_unwinds_in_order() {
    let log = Log::default();
    let mut coroutine = two_locals(&log);
    coroutine.resume(());
    coroutine.resume(());
    drop(coroutine);
    assert_eq!(*log.borrow(), ["second", "first", "captured"]);
    assert_eq!(Rc::strong_count(&log), 1);
}

#[test]
fn only_what_is_alive_is_dropped() {
    let log = Log::default();
    let mut coroutine = two_locals(&log);
    coroutine.resume(());
    drop(coroutine);
    assert_eq!(*log.borrow(), ["first", "captured"]);
}

#[test]
fn force_unwind_leaves_it_done() {
    let log = Log::default();
    let mut coroutine = two_locals(&log);
    coroutine.resume(());
    coroutine.force_unwind();
    assert!(coroutine.done());
    assert_eq!(*log.borrow(), ["first", "captured"]);
    coroutine.force_unwind();
    drop(coroutine.into_stack());
    assert_eq!(log.borrow().len(), 2);
}

#[test]
fn force_reset_runs_nothing() {
    let log = Log::default();
    let mut coroutine = two_locals(&log);
    coroutine.resume(());
    // SAFETY: nothing relies on these destructors.
    unsafe { coroutine.force_reset() };
    assert!(coroutine.done());
    drop(coroutine);
    assert!(log.borrow().is_empty());
}

#[test]
#[should_panic(expected = "the stack of a coroutine that is not done is in use")]
fn into_stack_waits_for_the_end() {
    drop(two_locals(&Log::default()).into_stack());
}

#[test]
fn no_panic_hook_runs() {
    thread_local!(static HOOKS: Cell<u32> = const { Cell::new(0) });
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        HOOKS.set(HOOKS.get() + 1);
        previous(info);
    }));
    let log = Log::default();
    let mut coroutine = two_locals(&log);
    coroutine.resume(());
    drop(coroutine);
    assert_eq!(log.borrow().len(), 2);
    assert_eq!(HOOKS.get(), 0);
    // The hook is the one that counts.
    catch_unwind(|| panic!("counted")).expect_err("it panics");
    assert_eq!(HOOKS.get(), 1);
}

#[test]
fn one_that_catches_meets_it_again() {
    let caught = Rc::new(Cell::new(0));
    let count = caught.clone();
    let mut stubborn = Coroutine::<(), u32, u32>::new(move |yielder, ()| {
        while catch_unwind(AssertUnwindSafe(|| yielder.suspend(1))).is_err() {
            count.set(count.get() + 1);
            if count.get() == 3 {
                break;
            }
        }
        count.get()
    });
    assert_eq!(stubborn.resume(()), CoroutineResult::Yield(1));
    stubborn.force_unwind();
    assert!(stubborn.done());
    assert_eq!(caught.get(), 3);
}

#[test]
fn another_panic_meanwhile_comes_out() {
    let mut coroutine = Coroutine::<(), (), ()>::new(|yielder, ()| {
        catch_unwind(AssertUnwindSafe(|| yielder.suspend(()))).expect_err("it is unwound");
        panic_any(17_u8);
    });
    coroutine.resume(());
    let payload = catch_unwind(AssertUnwindSafe(|| coroutine.force_unwind()));
    assert_eq!(payload.expect_err("it panics").downcast_ref(), Some(&17_u8));
    assert!(coroutine.done());
}

#[test]
fn while_the_parent_is_unwinding() {
    let log = Log::default();
    let mut coroutine = two_locals(&log);
    coroutine.resume(());
    catch_unwind(AssertUnwindSafe(move || {
        let _coroutine = coroutine;
        panic!("around it");
    }))
    .expect_err("it panics");
    assert_eq!(*log.borrow(), ["first", "captured"]);
    assert!(!std::thread::panicking());
}

#[test]
fn a_panic_in_the_closures_destructor_comes_out_once() {
    struct Bomb(Rc<Cell<u32>>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            panic_any("bomb");
        }
    }
    let drops = Rc::new(Cell::new(0));
    let bomb = Bomb(drops.clone());
    let coroutine = Coroutine::<(), (), ()>::new(move |_, ()| drop(bomb));
    let payload = catch_unwind(AssertUnwindSafe(|| drop(coroutine)));
    assert_eq!(
        payload.expect_err("it panics").downcast_ref(),
        Some(&"bomb")
    );
    assert_eq!(drops.get(), 1);
}
