//! Stacks: the trait, one mapping per stack, many stacks per mapping.
//! Must not know what runs on them.
//!
//! | type | what |
//! |---|---|
//! | `DefaultStack` | one stack, one mapping: a few system calls each |
//! | `Slab` | many stacks of one size in one mapping |
//! | `Slabs` | stacks of any size, from as many slabs as it takes |

use core::num::NonZeroUsize;

pub use crate::arch::STACK_ALIGNMENT;

cfg_if::cfg_if! {
    if #[cfg(feature = "default-stack")] {
        #[cfg(test)]
        pub(crate) mod faults;
        mod grid;
        mod guard;
        mod mapped;
        mod mapping;
        mod registry;
        mod slab;
        mod slabs;
        mod sys;

        pub use grid::{Extent, Verdict};
        pub use mapped::DefaultStack;
        pub use slab::{Slab, SlabStack};
        pub use slabs::Slabs;

        pub(crate) use registry::locate;
    }
}
mod promises;
pub mod valgrind;

pub(crate) use promises::check;

/// An address on a stack, or just past its highest byte. Never zero.
pub type StackPointer = NonZeroUsize;

/// The least usable memory that a stack may have, in bytes.
pub const MIN_STACK_SIZE: usize = 4096;

/// Memory that a coroutine can run on.
///
/// A stack grows down, from [`base`](Stack::base) to [`limit`](Stack::limit).
///
/// # Safety
///
/// Whoever implements this promises, for as long as the value lives and
/// wherever it is moved to:
///
/// - both addresses stay the same and are aligned to [`STACK_ALIGNMENT`];
/// - all memory from `limit` to `base` belongs to this stack alone;
/// - at least [`MIN_STACK_SIZE`] bytes below `base` are readable and writable;
/// - an overflow ends in a guard that faults, at or above `limit`, before it
///   reaches memory of somebody else. A guard is at least one page.
pub unsafe trait Stack {
    /// The highest address: the first byte *past* the stack.
    fn base(&self) -> StackPointer;

    /// The lowest address, the guard included.
    fn limit(&self) -> StackPointer;
}

// SAFETY: the same memory under the same promises; the borrow keeps it in place
// and keeps others from using it.
unsafe impl<S: Stack> Stack for &mut S {
    #[inline]
    fn base(&self) -> StackPointer {
        (**self).base()
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        (**self).limit()
    }
}
