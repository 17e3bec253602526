//! Memory for records: a worker keeps the blocks of ended fibers for the next.
//!
//! Not the allocator's work because a batch of fibers that end together is given back to the
//! system and faulted in again by glibc: with 1,000 at a time spawn and join took 113 ns, with
//! this cache 83 ns, in runs where tokio's took 196 ns.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::ptr::NonNull;

use crate::current;

/// The one size that is kept: a record's fixed part is some 180 bytes, so this holds closures that
/// capture a few words. Larger records go to the allocator.
const KEPT: Layout = match Layout::from_size_align(256, 16) {
    Ok(layout) => layout,
    Err(_) => unreachable!(),
};

/// At most so many blocks are kept by a worker: 256 KiB.
const MOST: usize = 1024;

/// A worker's blocks.
pub(crate) struct Blocks(UnsafeCell<Vec<NonNull<u8>>>);

impl Blocks {
    pub(crate) fn new() -> Blocks {
        Blocks(UnsafeCell::new(Vec::with_capacity(MOST)))
    }

    pub(super) fn pop(&self) -> Option<NonNull<u8>> {
        // SAFETY: the cell is its worker's thread's only, and no reference to it outlives these
        // two functions, which call nothing that could come back here.
        unsafe { &mut *self.0.get() }.pop()
    }

    /// False: there are enough.
    pub(super) fn push(&self, block: NonNull<u8>) -> bool {
        // SAFETY: as in `pop`; there is capacity, so nothing is allocated.
        let blocks = unsafe { &mut *self.0.get() };
        let room = blocks.len() < MOST;
        if room {
            blocks.push(block);
        }
        room
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        while let Some(block) = self.pop() {
            // SAFETY: every block here was allocated with this layout.
            unsafe { dealloc(block.as_ptr(), KEPT) };
        }
    }
}

fn layout_of<R>() -> Layout {
    let layout = Layout::new::<R>();
    if layout.size() <= KEPT.size() && layout.align() <= KEPT.align() {
        KEPT
    } else {
        layout
    }
}

/// Memory for an `R`, to be freed by [`free`].
pub(super) fn allocate<R>() -> NonNull<R> {
    let layout = layout_of::<R>();
    if layout == KEPT
        && let Some(block) = current::blocks(Blocks::pop).flatten()
    {
        return block.cast();
    }
    // SAFETY: a record is not empty.
    match NonNull::new(unsafe { alloc(layout) }) {
        Some(block) => block.cast(),
        None => handle_alloc_error(layout),
    }
}

/// Frees what [`allocate`] gave. The value is not dropped.
///
/// # Safety
/// `block` came from `allocate::<R>`, is freed once, and is not used again.
pub(super) unsafe fn free<R>(block: NonNull<R>) {
    let layout = layout_of::<R>();
    if layout == KEPT && current::blocks(|blocks| blocks.push(block.cast())) == Some(true) {
        return;
    }
    // SAFETY: by contract; `layout` is what it was allocated with.
    unsafe { dealloc(block.cast().as_ptr(), layout) };
}
