//! Stacks: the trait, one mapping per stack, many stacks per mapping.
//! Must not know what runs on them.

use core::num::NonZeroUsize;

pub use crate::arch::STACK_ALIGNMENT;

#[cfg(feature = "default-stack")]
mod guard;
#[cfg(feature = "default-stack")]
mod mapped;
#[cfg(feature = "default-stack")]
mod mapping;
#[cfg(feature = "default-stack")]
mod slab;

#[cfg(feature = "default-stack")]
pub use mapped::DefaultStack;
#[cfg(feature = "default-stack")]
pub use slab::{Slab, SlabStack};

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
