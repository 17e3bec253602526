//! What of a stack's promises can be seen to be broken.

use super::{MIN_STACK_SIZE, STACK_ALIGNMENT, Stack};

/// Panics if `stack` shows that it breaks the promises of [`Stack`]. What does
/// not show (a missing guard) is not checked.
#[inline]
#[track_caller]
pub(crate) fn check(stack: &impl Stack) {
    let (base, limit) = (stack.base().get(), stack.limit().get());
    let aligned = (base | limit).is_multiple_of(STACK_ALIGNMENT);
    if !aligned || limit > base || base - limit < MIN_STACK_SIZE {
        not_a_stack(base, limit);
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn not_a_stack(base: usize, limit: usize) -> ! {
    if limit > base {
        panic!("not a stack: its limit {limit:#x} is above its base {base:#x}");
    }
    if !(base | limit).is_multiple_of(STACK_ALIGNMENT) {
        panic!(
            "not a stack: its base {base:#x} and its limit {limit:#x} must be multiples of \
             {STACK_ALIGNMENT}"
        );
    }
    panic!(
        "not a stack: it has {} bytes, guard included, and needs {MIN_STACK_SIZE} without",
        base - limit
    );
}
