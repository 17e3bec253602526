//! Guards of a slab do not cost a mapping each, where the kernel allows it.
//! Alone in its file: other tests would map memory meanwhile.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use switch_asm::stack::{DefaultStack, Slab, Stack};

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps")
        .expect("procfs")
        .lines()
        .count()
}

/// Whether `madvise` knows MADV_GUARD_INSTALL: asked directly.
fn guards_are_cheap() -> bool {
    let probe = DefaultStack::new(64 * 1024).expect("a stack");
    let page = std::ptr::with_exposed_provenance_mut(probe.base().get() - 4096);
    // SAFETY: the highest page of a stack that nothing runs on.
    unsafe { libc::madvise(page, 4096, 102) == 0 }
}

#[test]
fn ten_thousand_stacks_in_a_few_mappings() {
    if !guards_are_cheap() {
        eprintln!("skipped: this kernel has no MADV_GUARD_INSTALL");
        return;
    }
    let before = mappings();
    let slab = Slab::new(64 * 1024, 4096, 10_000).expect("a slab");
    let mut stacks = Vec::new();
    while let Some(stack) = slab.take().expect("a guard") {
        let top = std::ptr::with_exposed_provenance_mut::<u64>(stack.base().get() - 8);
        // SAFETY: the highest word of a stack that nothing runs on.
        unsafe { top.write(1) };
        stacks.push(stack);
    }
    assert_eq!(stacks.len(), 10_000);
    let after = mappings();
    assert!(
        after < before + 20,
        "{before} mappings before, {after} after"
    );
}
