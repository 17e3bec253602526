//! A coroutine of another crate that is left suspended inside a shield or a `timeout` by a *destructor* at its fiber's
//! end, and resumed by the next fiber, whose record would lie at the same place. In children: it aborts.

mod common;

use std::cell::RefCell;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use common::{in_child, role, runtime, said, watchdog};
use sisal::fiber::{shield, sleep, spawn};
use sisal::timeout;
use switch_asm::{Coroutine, CoroutineResult, Yielder};

thread_local! {
    /// Both fibers are on one worker.
    static LEFT: RefCell<Option<Coroutine<(), (), ()>>> = const { RefCell::new(None) };
}

const SHORT: Duration = Duration::from_millis(1);

/// Its destructor leaves a coroutine suspended in there.
struct Leaves(&'static str);

impl Drop for Leaves {
    fn drop(&mut self) {
        let wait = self.0;
        let body = move |yielder: &Yielder<(), ()>, ()| match wait {
            "shield" => shield(|| yielder.suspend(())),
            _ => drop(timeout(SHORT, || yielder.suspend(()))),
        };
        let mut coroutine = Coroutine::new(body);
        assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
        LEFT.set(Some(coroutine));
    }
}

sisal::fiber_local!(static VALUE: RefCell<Option<Leaves>> = const { RefCell::new(None) });

/// A fiber that ends, and drops a `Leaves` there.
fn leave(who: &str, leaves: Leaves) {
    match who {
        "value" => spawn(|| VALUE.set(Some(leaves))).join().unwrap(),
        _ => {
            let fresh = spawn(|| drop(leaves));
            fresh.cancel();
            assert!(fresh.join().is_err());
        }
    }
}

#[test]
fn a_wait_that_a_destructor_left_aborts() {
    const TEST: &str = "a_wait_that_a_destructor_left_aborts";
    const WORDS: &str = "a coroutine suspended inside a wait of one fiber was resumed by another";
    if let Some(role) = role() {
        let _watchdog = watchdog(20);
        let (who, wait) = role.split_once(": ").unwrap();
        let wait = if wait == "shield" {
            "shield"
        } else {
            "timeout"
        };
        runtime(1).run(|| {
            leave(who, Leaves(wait));
            sleep(20 * SHORT); // the timer has fired, and has let go of the record
            println!("suspended");
            let next = spawn(|| {
                LEFT.take().unwrap().resume(());
            });
            let _ = next.join();
            println!("went on");
        });
        return;
    }
    for role in [
        "value: shield",
        "value: timeout",
        "closure: shield",
        "closure: timeout",
    ] {
        let child = in_child(TEST, role, &[]);
        let told = said(&child);
        assert!(
            told.contains("suspended") && told.contains(WORDS),
            "{role}: {told}"
        );
        assert!(!told.contains("went on"), "{role}: {told}");
        assert_eq!(child.status.signal(), Some(libc::SIGABRT), "{role}: {told}");
    }
}
