//! Without the feature `unwind` frames are never abandoned: the process aborts.
#![cfg(all(feature = "default-stack", not(feature = "unwind")))]

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use switch_asm::{Coroutine, CoroutineResult};

const CASE: &str = "ABORT_CASE";

/// Runs `case` in a child, and there alone, and expects SIGABRT and this text.
fn aborts(test: &str, text: &str, case: impl FnOnce()) {
    if std::env::var_os(CASE).is_some() {
        // Nothing can catch it.
        let _ = catch_unwind(AssertUnwindSafe(case));
        return;
    }
    let child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CASE, test)
        .output()
        .expect("a child");
    let output = String::from_utf8_lossy(&child.stderr);
    assert!(output.contains(text), "{output}");
    assert_eq!(
        child.status.signal(),
        Some(libc::SIGABRT),
        "{}: {output}",
        child.status
    );
}

fn suspended() -> Coroutine<(), (), ()> {
    let mut coroutine = Coroutine::new(|yielder, ()| yielder.suspend(()));
    assert_eq!(coroutine.resume(()), CoroutineResult::Yield(()));
    coroutine
}

#[test]
fn a_coroutine_runs_to_its_end() {
    let mut coroutine = suspended();
    assert_eq!(coroutine.resume(()), CoroutineResult::Return(()));
    let never_ran = String::from("closure");
    drop(Coroutine::<(), (), String>::new(move |_, ()| never_ran));
}

#[test]
fn unwinding_a_suspended_one_panics() {
    let mut coroutine = suspended();
    catch_unwind(AssertUnwindSafe(|| coroutine.force_unwind())).expect_err("it cannot");
    assert_eq!(coroutine.resume(()), CoroutineResult::Return(()));
}

#[test]
fn dropping_a_suspended_one() {
    let text = "a suspended coroutine was dropped";
    aborts("dropping_a_suspended_one", text, || drop(suspended()));
}

#[test]
fn a_panic_at_the_root() {
    aborts("a_panic_at_the_root", "a panic reached the root", || {
        Coroutine::<(), (), ()>::new(|_, ()| panic!("within")).resume(());
    });
}
