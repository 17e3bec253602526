//! Stacks: a hot cache for each worker over slabs that the runtime shares.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use switch_asm::stack::{Slab, SlabStack};

/// Stacks that a worker keeps for itself. The last one used is the next one given: its top page is
/// in the cache.
const HOT: usize = 256;

/// Stacks in the first slab of a size; each further slab has twice as many, up to `LARGEST`.
const FIRST: usize = 64;
const LARGEST: usize = 4096;

/// The runtime's stacks, by size.
pub(crate) struct StackSource {
    default_size: usize,
    guard_size: usize,
    slabs: Mutex<HashMap<usize, Vec<Slab>>>,
}

impl StackSource {
    /// # Errors
    /// The default size is not possible, or there is no room for the first slab.
    pub(crate) fn new(default_size: usize, guard_size: usize) -> io::Result<StackSource> {
        let first = Slab::new(default_size, guard_size, FIRST)?;
        Ok(StackSource {
            default_size,
            guard_size,
            slabs: Mutex::new(HashMap::from([(default_size, vec![first])])),
        })
    }

    fn take(&self, size: usize) -> io::Result<SlabStack> {
        let mut slabs = self.slabs.lock();
        let slabs = slabs.entry(size).or_default();
        // The newest is the largest and the likeliest to have room.
        for slab in slabs.iter().rev() {
            if let Some(stack) = slab.take()? {
                return Ok(stack);
            }
        }
        let count = slabs
            .last()
            .map_or(FIRST, |slab| (slab.capacity() * 2).min(LARGEST));
        let slab = Slab::new(size, self.guard_size, count)?;
        let stack = slab.take()?;
        slabs.push(slab);
        stack.ok_or_else(|| io::Error::other("a new slab has no stack"))
    }
}

/// A worker's own stacks.
pub(crate) struct StackPool {
    source: Arc<StackSource>,
    hot: Vec<SlabStack>,
}

impl StackPool {
    pub(crate) fn new(source: Arc<StackSource>) -> StackPool {
        StackPool {
            source,
            hot: Vec::with_capacity(HOT),
        }
    }

    /// A stack of `size` bytes, or of the runtime's default size.
    ///
    /// # Errors
    /// There is no room for another stack; the error names the limit.
    #[inline]
    pub(crate) fn take(&mut self, size: Option<usize>) -> io::Result<SlabStack> {
        let size = match size {
            None => match self.hot.pop() {
                Some(stack) => return Ok(stack),
                None => self.source.default_size,
            },
            Some(size) => size,
        };
        self.source.take(size)
    }

    /// Takes back a stack whose frames are gone (S4).
    #[inline]
    pub(crate) fn put(&mut self, size: Option<usize>, stack: SlabStack) {
        if size.is_none() && self.hot.len() < HOT {
            self.hot.push(stack);
        }
    }
}

/// `bytes` rounded up to pages, so that equal stacks share a size class.
///
/// # Errors
/// `InvalidInput` if no stack can have that size.
pub(crate) fn check_size(bytes: usize) -> io::Result<usize> {
    const LEAST: usize = 16 * 1024;
    const MOST: usize = 1 << 40;
    if !(LEAST..=MOST).contains(&bytes) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a stack of {bytes} bytes cannot be: give from {LEAST} to {MOST}"),
        ));
    }
    Ok(bytes.next_multiple_of(rustix::param::page_size()))
}
