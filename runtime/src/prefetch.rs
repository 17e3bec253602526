//! Asking for memory before it is needed.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

/// Of a cache line on all processors that this is for.
pub(crate) const LINE: usize = 64;

/// Asks for the cache line at an address, which need not be one of anything.
#[inline(always)]
pub(crate) fn prefetch(address: usize) {
    let line = std::ptr::without_provenance(address);
    // SAFETY: a hint, which does not fault.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
}

/// The same, as the only one who has it, for a write. (On processors that do not know the instruction it is none.)
#[inline(always)]
pub(crate) fn prefetch_to_write(address: usize) {
    // SAFETY: a hint, which does not fault.
    #[cfg(not(miri))]
    unsafe {
        std::arch::asm!("prefetchw byte ptr [{}]", in(reg) address, options(nomem, nostack, preserves_flags));
    }
    #[cfg(miri)]
    let _ = address;
}
