//! An overflow meets a guard. Each case runs in a child process, which first
//! shows that the byte next to the guard is fine, then dies.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use switch_asm::Coroutine;
use switch_asm::stack::{DefaultStack, Slab, Stack};

const CASE: &str = "GUARD_CASE";
const ALIVE: &str = "the neighbour is writable";

/// Runs `case` in a child, and there alone, and expects SIGSEGV after the child
/// said that it is [`ALIVE`].
fn dies(test: &str, case: impl FnOnce()) {
    if std::env::var_os(CASE).is_some() {
        case();
        return;
    }
    let child = Command::new(std::env::current_exe().expect("our own path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CASE, test)
        .output()
        .expect("a child");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(output.contains(ALIVE), "died too early: {output}");
    assert_eq!(
        child.status.signal(),
        Some(libc::SIGSEGV),
        "{}: {output}",
        child.status
    );
}

/// Writes to the lowest usable byte, says so, then writes to `below`, which must
/// be fatal.
fn write_around(lowest: usize, below: usize) {
    let write = |address: usize| {
        // SAFETY: the lowest byte of an unused stack, or the guard below, where
        // the process is meant to end.
        unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(1) }
    };
    write(lowest);
    println!("{ALIVE}");
    write(below);
    println!("survived");
}

const PAGE: usize = 4096;

#[test]
fn next_to_a_default_stack() {
    dies("next_to_a_default_stack", || {
        let stack = DefaultStack::new(64 * 1024).expect("a stack");
        let lowest = stack.base().get() - 64 * 1024;
        assert_eq!(lowest - PAGE, stack.limit().get());
        write_around(lowest, lowest - 1);
    });
}

#[test]
fn the_far_end_of_a_default_stack() {
    dies("the_far_end_of_a_default_stack", || {
        let stack = DefaultStack::new(64 * 1024).expect("a stack");
        write_around(stack.base().get() - 64 * 1024, stack.limit().get());
    });
}

#[test]
fn next_to_a_stack_of_a_slab() {
    dies("next_to_a_stack_of_a_slab", || {
        let slab = Slab::new(64 * 1024, 2 * PAGE, 4).expect("a slab");
        let _below = slab.take().expect("a stack");
        let stack = slab.take().expect("a stack").expect("four of them");
        let lowest = stack.limit().get() + 2 * PAGE;
        write_around(lowest, lowest - 1);
    });
}

#[test]
fn a_guard_survives_discarding_and_reuse() {
    dies("a_guard_survives_discarding_and_reuse", || {
        let slab = Slab::new(64 * 1024, PAGE, 4).expect("a slab");
        let stack = slab.take().expect("a stack").expect("four of them");
        // SAFETY: nothing is on the stack.
        unsafe { stack.discard_below(0) }.expect("unlocked memory");
        drop(stack);
        let stack = slab.take().expect("a stack").expect("four of them");
        let lowest = stack.limit().get() + PAGE;
        write_around(lowest, lowest - 1);
    });
}

#[test]
fn endless_recursion() {
    #[inline(never)]
    fn down(n: u64) -> u64 {
        if std::hint::black_box(n) == u64::MAX {
            0
        } else {
            down(n + 1) + std::hint::black_box(n)
        }
    }
    dies("endless_recursion", || {
        let slab = Slab::new(64 * 1024, PAGE, 4).expect("a slab");
        let stack = slab.take().expect("a stack").expect("four of them");
        let mut coroutine = Coroutine::<(), u8, u64, _>::with_stack(stack, |yielder, ()| {
            yielder.suspend(1);
            down(0)
        });
        coroutine.resume(()).as_yield().expect("it yields");
        println!("{ALIVE}");
        coroutine.resume(());
    });
}
