//! Stacks of every size, from as many slabs as it takes. Must not know what runs
//! on them.
//!
//! *Classes.* Sizes are rounded up, so that stacks of similar sizes share slabs:
//! to whole pages, and to an eighth of the next power of two. What that adds is
//! address space, which costs nothing until it is touched.
//!
//! *Growth.* Each further slab of a class has twice as many stacks as the one
//! before. The oldest slab with a free stack is taken from first, so that the
//! newer ones, which are larger, drain and can be released.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::mapping::{too_much, whole_pages};
use super::{Slab, SlabStack};

/// Stacks in the first slab of a class.
const FIRST: usize = 64;
/// Stacks in the largest slab. A slab is released as a whole.
const LARGEST: usize = 65_536;

/// Guarded stacks of any size, in slabs of size classes.
///
/// A handle: clones share the slabs.
///
/// ```
/// use switch_asm::Coroutine;
/// use switch_asm::stack::Slabs;
///
/// let slabs = Slabs::new(4096);
/// let mut small = Coroutine::<(), (), _, _>::with_stack(slabs.take(16 * 1024)?, |_, ()| "small");
/// let mut large = Coroutine::<(), (), _, _>::with_stack(slabs.take(1 << 20)?, |_, ()| "large");
/// assert_eq!(small.resume(()).as_return(), Some("small"));
/// assert_eq!(large.resume(()).as_return(), Some("large"));
///
/// drop((small, large));
/// assert_eq!(slabs.release_idle(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Slabs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    guard_size: usize,
    /// By stack size, oldest first.
    classes: Mutex<BTreeMap<usize, Vec<Slab>>>,
}

impl Slabs {
    /// No slab yet. Each stack will have a guard of `guard_size` bytes, rounded
    /// up to whole pages.
    pub fn new(guard_size: usize) -> Slabs {
        Slabs {
            shared: Arc::new(Shared {
                guard_size: guard_size.max(1),
                classes: Mutex::new(BTreeMap::new()),
            }),
        }
    }

    /// The stack size that [`take`](Slabs::take) rounds `stack_size` up to.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if that exceeds the address space.
    pub fn size_class(stack_size: usize) -> io::Result<usize> {
        let step = stack_size
            .checked_next_power_of_two()
            .ok_or_else(|| too_much("size"))?
            / 8;
        let rounded = stack_size.checked_next_multiple_of(step.max(1));
        whole_pages(rounded.ok_or_else(|| too_much("size"))?)
    }

    /// Takes a stack of at least `stack_size` usable bytes, from a slab that has
    /// one or from a new slab.
    ///
    /// # Errors
    ///
    /// As [`Slab::new`] and [`Slab::take`]. If there is no room for a large slab
    /// a smaller one is tried first; the error is that of a single stack.
    pub fn take(&self, stack_size: usize) -> io::Result<SlabStack> {
        let size = Slabs::size_class(stack_size)?;
        let mut classes = self.shared.classes();
        let slabs = classes.entry(size).or_default();
        let mut failure = None;
        for slab in slabs.iter().filter(|slab| slab.taken() < slab.capacity()) {
            match slab.take() {
                Ok(Some(stack)) => return Ok(stack),
                Ok(None) => {}
                // Another one may have a stack whose guard is in place.
                Err(error) => failure = Some(error),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let mut count = slabs
            .last()
            .map_or(FIRST, |slab| (slab.capacity() * 2).min(LARGEST));
        let slab = loop {
            match Slab::new(size, self.shared.guard_size, count) {
                Ok(slab) => break slab,
                Err(error) if count == 1 => return Err(error),
                Err(_) => count /= 2,
            }
        };
        // Not kept if it has no stack to give.
        let stack = slab.take()?.expect("a new slab has its stacks");
        slabs.push(slab);
        Ok(stack)
    }

    /// Unmaps the slabs that nobody has a stack of. Returns how many.
    pub fn release_idle(&self) -> usize {
        let mut idle = Vec::new();
        let mut classes = self.shared.classes();
        for slabs in classes.values_mut() {
            // Nobody can take from them meanwhile.
            idle.extend(slabs.extract_if(.., |slab| slab.is_idle()));
        }
        classes.retain(|_, slabs| !slabs.is_empty());
        // Unmapped without the lock.
        drop(classes);
        idle.len()
    }

    /// [`Slab::trim`] for all slabs.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn trim(&self, keep: usize) -> io::Result<usize> {
        let slabs: Vec<Slab> = self.shared.classes().values().flatten().cloned().collect();
        slabs.iter().map(|slab| slab.trim(keep)).sum()
    }

    /// How many slabs there are.
    pub fn slab_count(&self) -> usize {
        self.shared.classes().values().map(Vec::len).sum()
    }

    /// How many stacks are taken.
    pub fn taken(&self) -> usize {
        let classes = self.shared.classes();
        classes.values().flatten().map(Slab::taken).sum()
    }
}

impl Shared {
    fn classes(&self) -> MutexGuard<'_, BTreeMap<usize, Vec<Slab>>> {
        // Nothing under the lock panics half-way.
        self.classes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
