//! The chain of frame records, followed by hand as a profiler does.

use std::arch::asm;
use std::hint::black_box;

use switch_asm::Coroutine;

use crate::symbols::Symbols;
use crate::tests::{built_with_frame_pointers, in_order};

/// The return addresses of all records from here, up to a null frame pointer.
#[inline(never)]
fn return_addresses() -> Vec<usize> {
    let mut record: *const [usize; 2];
    // SAFETY: only reads a register.
    unsafe { asm!("mov {}, rbp", out(reg) record, options(nomem, nostack)) };
    let mut found = Vec::new();
    // The outermost function of a process starts with RBP 0; glibc before 2.35
    // and others leave any number there, which no record is at.
    while !record.is_null() && record.is_aligned() && record.addr() > 0x1_0000 && found.len() < 200
    {
        // SAFETY: a frame record, if all functions keep them: the test says so
        // in its own name, and ends at `main`, which is inside of them all.
        let [next, address] = unsafe { record.read() };
        found.push(address);
        if Symbols::load().name(address) == "main" {
            break;
        }
        record = std::ptr::with_exposed_provenance(next);
    }
    found
}

#[inline(never)]
fn the_innermost() -> Vec<usize> {
    black_box(return_addresses())
}

#[inline(never)]
fn the_resumer(coroutine: &mut Coroutine<(), Vec<usize>, Vec<usize>>) -> Vec<usize> {
    match black_box(coroutine.resume(())) {
        switch_asm::CoroutineResult::Yield(addresses)
        | switch_asm::CoroutineResult::Return(addresses) => addresses,
    }
}

#[inline(never)]
fn the_other_resumer(coroutine: &mut Coroutine<(), Vec<usize>, Vec<usize>>) -> Vec<usize> {
    black_box(
        black_box(coroutine)
            .resume(())
            .as_return()
            .expect("it returns"),
    )
}

pub(crate) fn the_chain_reaches_main() {
    if !built_with_frame_pointers() {
        return println!(
            "skipped: built without frame pointers; .ci/unwind.sh has a build with them"
        );
    }
    let symbols = Symbols::load();
    let mut coroutine = Coroutine::<(), Vec<usize>, Vec<usize>>::new(|yielder, ()| {
        yielder.suspend(the_innermost());
        the_innermost()
    });
    for resumer in [the_resumer, the_other_resumer] {
        let addresses = resumer(&mut coroutine);
        let names: Vec<_> = addresses
            .iter()
            .map(|&address| symbols.name(address))
            .collect();
        let name = match resumer as *const () == the_resumer as *const () {
            true => "the_resumer",
            false => "the_other_resumer",
        };
        in_order(
            &names.join("\n"),
            &["the_innermost", name, "the_chain_reaches_main", "main"],
        );
        assert_eq!(names.last(), Some(&"main"), "{names:#?}");
    }
}
