//! A million guarded stacks in one process, at the default limits. Alone in its
//! file: other tests would map memory meanwhile.
//!
//! Takes seconds in release: `.ci/million-stacks.sh` runs it.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::arch::naked_asm;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use switch_asm::stack::{DefaultStack, SlabStack, Slabs, Stack, Verdict};
use switch_asm::trap::{self, Fault, Outcome};

const STACKS: usize = 1_000_000;
const PAGE: usize = 4096;

/// The limit and the base of the stack whose guard the last write hit.
static LIMIT: AtomicUsize = AtomicUsize::new(0);
static BASE: AtomicUsize = AtomicUsize::new(0);

/// Writes a byte. Returns whether that faulted.
///
/// # Safety
///
/// The hook below is installed. Nothing needs what is at the address.
#[unsafe(naked)]
unsafe extern "C" fn faults(address: usize) -> bool {
    naked_asm!("mov byte ptr [rdi], 1", "xor eax, eax", "ret")
}

/// Where `faults` goes on if it does.
///
/// # Safety
///
/// Not a function: the end of one.
#[unsafe(naked)]
unsafe extern "C" fn it_faulted() {
    naked_asm!("mov eax, 1", "ret")
}

fn note(fault: &mut Fault<'_>) -> Outcome {
    if fault.instruction_pointer() != faults as *const () as usize {
        return Outcome::Pass;
    }
    let Verdict::Guard(whose) = fault.verdict() else {
        return Outcome::Pass;
    };
    LIMIT.store(whose.limit.get(), Ordering::Relaxed);
    BASE.store(whose.base.get(), Ordering::Relaxed);
    let rip = libc::REG_RIP as usize;
    fault.context().uc_mcontext.gregs[rip] = it_faulted as *const () as i64;
    Outcome::Resume
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .expect("procfs")
        .lines()
        .count()
}

/// Writes to this byte of the guard, and expects to hear whose it is.
fn write_to_guard_of(stack: &SlabStack, offset: usize) {
    let limit = stack.limit().get();
    // SAFETY: the guard of a stack that nothing runs on.
    let faulted = unsafe { faults(limit + offset) };
    assert!(faulted, "no guard at {:#x}", limit + offset);
    assert_eq!(
        (LIMIT.load(Ordering::Relaxed), BASE.load(Ordering::Relaxed)),
        (limit, stack.base().get())
    );
}

/// Whether `madvise` knows MADV_GUARD_INSTALL: asked directly.
fn guards_are_cheap() -> bool {
    let probe = DefaultStack::new(64 * 1024).expect("a stack");
    let page = std::ptr::with_exposed_provenance_mut(probe.base().get() - PAGE);
    // SAFETY: the highest page of a stack that nothing runs on.
    unsafe { libc::madvise(page, PAGE, 102) == 0 }
}

#[test]
#[ignore = "takes seconds and hundreds of megabytes of page tables"]
fn a_million_guarded_stacks() {
    if !guards_are_cheap() {
        println!("skipped: this kernel has no MADV_GUARD_INSTALL");
        return;
    }
    // SAFETY: the hook stores two numbers and changes RIP.
    unsafe { trap::install(note) }.expect("nobody else does");
    let slabs = Slabs::new(PAGE);
    let stacks: Vec<_> = (0..STACKS)
        .map(|_| slabs.take(64 * 1024).expect("a stack"))
        .collect();
    let count = mappings();
    println!(
        "{STACKS} stacks in {} slabs: {count} mappings",
        slabs.slab_count()
    );
    assert!(count < 100, "{count} mappings");
    assert_eq!(slabs.taken(), STACKS);
    let limits: HashSet<_> = stacks.iter().map(SlabStack::limit).collect();
    assert_eq!(limits.len(), STACKS);

    // Every guard, at some byte; and every byte of some guard.
    for (n, stack) in stacks.iter().enumerate() {
        write_to_guard_of(stack, n * 7919 % PAGE);
    }
    for offset in 0..PAGE {
        write_to_guard_of(&stacks[STACKS / 3], offset);
    }
    println!("{} writes to guards reported", STACKS + PAGE);
    assert!(mappings() < 100);

    // The byte next to a guard is the stack's.
    for stack in stacks.iter().step_by(10_007) {
        // SAFETY: memory of a stack that nothing runs on.
        let faulted = unsafe { faults(stack.limit().get() + PAGE) };
        assert!(!faulted);
    }
    drop(stacks);
    let released = slabs.slab_count();
    assert_eq!(slabs.release_idle(), released);
    assert!(mappings() < 100);
}
