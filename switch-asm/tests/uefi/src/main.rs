//! switch-asm in a UEFI program: the operations, and walks of the stack.
//!
//! Files: `machine` is what is outside (output, exit, panics); `image` finds the
//! program's own unwind data; `walk` is a small virtual unwinder over it;
//! `operations` and `walks` are the tests.
//!
//! The program prints a line per test and then leaves QEMU with the status that
//! `.ci/uefi.sh` expects. It needs nothing from the firmware.

#![no_std]
#![no_main]

mod image;
mod machine;
mod operations;
mod walk;
mod walks;

use core::ffi::c_void;

use machine::{Outcome, exit, print};

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    (
        "create, resume, suspend, return",
        operations::resume_and_suspend,
    ),
    ("large values cross by address", operations::large_values),
    ("callee-saved registers are kept", operations::registers),
    ("force_reset, then the stack again", operations::force_reset),
    ("a closure that never ran is dropped", operations::never_ran),
    ("on_stack", operations::on_another_stack),
    ("on_parent_stack", operations::on_parent_stack),
    ("nested coroutines", operations::nested),
    ("the table of functions has them all", walks::table),
    (
        "a walk from a coroutine names its parents",
        walks::from_a_coroutine,
    ),
    (
        "a walk after a second resume finds the new parent",
        walks::from_another_parent,
    ),
    (
        "a walk from on_stack names the caller",
        walks::from_on_stack,
    ),
    ("a walk from nested coroutines", walks::from_nested),
    ("a walk from a trap", walks::from_a_trap),
    (
        "registers come back as the parent left them",
        walks::registers,
    ),
];

#[unsafe(no_mangle)]
extern "efiapi" fn efi_main(_image: *mut c_void, _system: *const c_void) -> usize {
    for (name, test) in TESTS {
        print(format_args!("test {name} ... "));
        test();
        print(format_args!("ok\n"));
    }
    print(format_args!("{} tests passed\n", TESTS.len()));
    exit(Outcome::Passed)
}
