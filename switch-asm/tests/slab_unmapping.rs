//! A slab is unmapped with its last handle. Alone in its file: another test could
//! map something in the same place at once.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use switch_asm::stack::{Slab, Stack};

const PAGE: usize = 4096;

/// Whether the kernel knows of memory at `address`.
fn is_mapped(address: usize) -> bool {
    let mut resident = 0_u8;
    let page = std::ptr::without_provenance_mut(address & !(PAGE - 1));
    // SAFETY: only asks about one page.
    unsafe { libc::mincore(page, PAGE, &raw mut resident) == 0 }
}

#[test]
fn the_last_handle_unmaps_it() {
    let slab = Slab::new(16 * 1024, PAGE, 2).expect("a slab");
    let stack = slab.take().expect("a guard").expect("a free stack");
    let address = stack.base().get() - 512;
    drop(slab);
    assert!(is_mapped(address));
    drop(stack);
    assert!(!is_mapped(address));
}
