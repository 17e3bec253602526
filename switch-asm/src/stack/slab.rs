//! Many guarded stacks in one mapping. Must not know what runs on them, nor
//! when it is worth it to give memory back.
//!
//! *Lazy.* A guard costs a system call of about a microsecond and a page table,
//! so each is put in when its stack is taken for the first time. A slab that
//! is used little costs little.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::grid::{Grid, Verdict};
use super::guard::Guards;
use super::mapping::{
    Mapping, PAGE_SIZE, high_water, invalid, resident_below, too_much, whole_pages,
};
use super::valgrind::ValgrindStackRegistration;
use super::{MIN_STACK_SIZE, Stack, StackPointer, registry, sys};

/// Many stacks of one size in one mapping, each with its guard.
///
/// A slab is a handle: clones are the same slab, and each taken stack holds
/// one. The memory is unmapped when the last of them is gone.
///
/// Where the kernel knows `MADV_GUARD_INSTALL` (Linux 6.13), guards do not split
/// the mapping and the number of stacks is limited by address space alone.
/// Before that, `vm.max_map_count` is the limit: 32,753 stacks by default.
///
/// ```
/// use switch_asm::stack::Slab;
/// use switch_asm::{Coroutine, CoroutineResult};
///
/// let slab = Slab::new(256 * 1024, 4096, 1000)?;
/// let stack = slab.take()?.expect("nothing else uses the slab");
/// let mut shout = Coroutine::<_, (), _, _>::with_stack(stack, |_, word: &str| word.to_uppercase());
/// assert_eq!(shout.resume("hey"), CoroutineResult::Return("HEY".into()));
///
/// drop(shout);
/// assert!(slab.is_idle());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Slab {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    grid: Grid,
    free: Mutex<Free>,
    guards: Guards,
    /// `Free::taken`, to be read without the lock. Written under it.
    taken: AtomicUsize,
    // Dropped last: nobody finds or knows memory that is gone.
    _mapping: Mapping,
}

/// Which stacks nobody has.
///
/// 1. A stack is in `returned`, or its index is `untouched` or above, or exactly
///    one [`SlabStack`] has it.
/// 2. Every stack below `untouched` has its guard.
/// 3. `returned` has room for all stacks, so giving one back cannot fail.
/// 4. The first `clean` of `returned` hold no memory.
/// 5. The first `unneeded` of `returned` were there all the time since [`Slab::watch`].
#[derive(Debug)]
struct Free {
    returned: Vec<u32>,
    clean: usize,
    unneeded: usize,
    untouched: usize,
    /// Of the stacks below `untouched`. Empty where there is no Valgrind.
    valgrind: Vec<ValgrindStackRegistration>,
}

impl Free {
    fn taken(&self) -> usize {
        self.untouched - self.returned.len()
    }

    /// How many of `returned`, from its cold end, are spare.
    fn spare(&self, which: Which) -> usize {
        match which {
            Which::All => self.returned.len(),
            Which::Unneeded => self.unneeded,
        }
    }
}

/// Which of the stacks that were used before and are nobody's now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those that were nobody's all the time since [`Slab::watch`]. The last to come back is the first to be taken, so the
    /// others of a slab were enough. (The "low-water mark" of S. Ghemawat and P. Menage, "TCMalloc", 2005.)
    Unneeded,
}

impl Slab {
    /// Maps room for `count` stacks of `stack_size` usable bytes each, with
    /// `guard_size` bytes below each that fault. Both are rounded up to whole
    /// pages. Stacks of more than one page give up to 448 bytes of their size
    /// for cache colouring.
    ///
    /// No guard is put in and no memory is committed yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `stack_size` is below [`MIN_STACK_SIZE`], if
    /// `guard_size` or `count` is zero, or if all of it exceeds the address
    /// space; else what the kernel says when it refuses to map that much.
    pub fn new(stack_size: usize, guard_size: usize, count: usize) -> io::Result<Slab> {
        Slab::with_guards(stack_size, guard_size, count, Guards::new())
    }

    fn with_guards(
        stack_size: usize,
        guard_size: usize,
        count: usize,
        guards: Guards,
    ) -> io::Result<Slab> {
        if stack_size < MIN_STACK_SIZE {
            return Err(invalid(std::format!(
                "a stack needs at least {MIN_STACK_SIZE} bytes, not {stack_size}"
            )));
        }
        if guard_size == 0 {
            return Err(invalid("a stack needs a guard; its size cannot be zero"));
        }
        if count == 0 {
            return Err(invalid("a slab of zero stacks"));
        }
        if u32::try_from(count).is_err() {
            return Err(too_much("number"));
        }
        let stack_size = whole_pages(stack_size)?;
        let guard_size = whole_pages(guard_size)?;
        let len = stack_size
            .checked_add(guard_size)
            .and_then(|stride| stride.checked_mul(count))
            .filter(|&len| len <= isize::MAX as usize)
            .ok_or_else(|| too_much("size or number"))?;
        let mapping = Mapping::new(len)?;
        mapping.no_huge_pages();
        let mut returned = Vec::new();
        returned.try_reserve_exact(count)?;
        let grid = Grid {
            start: mapping.start().get(),
            stack_size,
            guard_size,
            count,
        };
        let shared = Shared {
            grid,
            free: Mutex::new(Free {
                returned,
                clean: 0,
                unneeded: 0,
                untouched: 0,
                valgrind: Vec::new(),
            }),
            guards,
            taken: AtomicUsize::new(0),
            _mapping: mapping,
        };
        registry::insert(&shared.grid);
        Ok(Slab {
            shared: Arc::new(shared),
        })
    }

    /// Takes a stack: the one given back last, whose memory is warmest, or one
    /// that was never used. `None` if all are taken.
    ///
    /// # Errors
    ///
    /// A stack that was never used gets its guard now; if that fails, so does
    /// this, and the stack stays in the slab. The text names the limit that was
    /// met.
    pub fn take(&self) -> io::Result<Option<SlabStack>> {
        Ok(self.take_any()?.map(|(stack, _)| stack))
    }

    /// [`take`](Slab::take), and whether the stack holds no memory yet.
    pub(super) fn take_any(&self) -> io::Result<Option<(SlabStack, bool)>> {
        let shared = &self.shared;
        let grid = &shared.grid;
        let mut free = shared.free();
        let mut cold = false;
        let index = if let Some(index) = free.returned.pop() {
            free.unneeded = free.unneeded.min(free.returned.len());
            if free.clean > free.returned.len() {
                free.clean = free.returned.len();
                cold = true;
            }
            index as usize
        } else if free.untouched < grid.count {
            let index = free.untouched;
            // SAFETY: nobody ever had this stack (rule 1).
            unsafe {
                shared
                    .guards
                    .install(grid.limit(index).get(), grid.guard_size)?
            };
            let valgrind = ValgrindStackRegistration::of_range(grid.lowest(index), grid.stack_size);
            if valgrind.is_known() {
                free.valgrind.push(valgrind);
            }
            free.untouched += 1;
            cold = true;
            index
        } else {
            return Ok(None);
        };
        shared.taken.store(free.taken(), Ordering::Relaxed);
        drop(free);
        Ok(Some((Shared::stack(shared, index as u32), cold)))
    }

    /// Takes those of the stacks that came back last, up to `most`; the last one comes last. How many of them hold no memory.
    pub(super) fn take_returned(&self, most: usize, into: &mut Vec<SlabStack>) -> usize {
        let shared = &self.shared;
        let mut free = shared.free();
        let left = free.returned.len().saturating_sub(most);
        let cold = free.clean.saturating_sub(left);
        free.clean -= cold;
        free.unneeded = free.unneeded.min(left);
        let taken = free.returned.drain(left..);
        into.extend(taken.map(|index| Shared::stack(shared, index)));
        shared.taken.store(free.taken(), Ordering::Relaxed);
        cold
    }

    /// Gives back all memory of stacks that are spare and hold some: of
    /// `most` at the most, the coldest first. Returns how many.
    ///
    /// Memory that the kernel does not take back (it is locked) counts as given
    /// back: it would not take it the next time either.
    pub(super) fn clean(&self, which: Which, most: usize) -> usize {
        for done in 0..most {
            // As in `trim`: locked for one stack at a time.
            let mut free = self.shared.free();
            let spare = free.spare(which);
            let Some(&index) = free.returned[..spare].get(free.clean) else {
                return done;
            };
            // SAFETY: nothing is on a stack that nobody has.
            let _locked = unsafe { self.shared.discard_below(index as usize, 0) };
            free.clean += 1;
        }
        most
    }

    /// How many stacks are spare, and how many of them hold memory.
    pub(super) fn spare(&self, which: Which) -> (usize, usize) {
        let free = self.shared.free();
        let spare = free.spare(which);
        (spare, spare.saturating_sub(free.clean))
    }

    /// From here on it is seen which stacks are needed.
    pub(super) fn watch(&self) {
        let mut free = self.shared.free();
        free.unneeded = free.returned.len();
    }

    /// Whether nobody has a stack, nor had one meanwhile if only those are asked for that were unneeded.
    pub(super) fn is_spare(&self, which: Which) -> bool {
        let free = self.shared.free();
        free.taken() == 0 && free.spare(which) == free.returned.len()
    }

    /// Gives memory of the stacks that nobody has back to the kernel: all of it
    /// but `keep` bytes below each base, in whole pages. Guards and page tables
    /// stay. Returns how many stacks it went over.
    ///
    /// Others may take and give back stacks meanwhile.
    ///
    /// # Errors
    ///
    /// What `madvise` says: locked memory is not given back.
    pub fn trim(&self, keep: usize) -> io::Result<usize> {
        let mut trimmed = 0;
        loop {
            // Locked for one stack at a time: it is nobody's as long as it is in
            // the list. The front of the list is the cold end.
            let free = self.shared.free();
            let Some(&index) = free.returned.get(trimmed) else {
                return Ok(trimmed);
            };
            // SAFETY: nothing is on a stack that nobody has.
            unsafe { self.shared.discard_below(index as usize, keep)? };
            trimmed += 1;
        }
    }

    /// What `address` is, as seen from this slab, in constant time. Fit for a
    /// signal handler.
    ///
    /// Stacks that were never taken have no guard yet, but their place is told
    /// all the same.
    pub fn locate(&self, address: usize) -> Verdict {
        self.shared.grid.locate(address)
    }

    /// How many stacks are taken.
    ///
    /// Another thread may take one, or give one back, right after.
    pub fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// Whether no stack is taken, so that dropping the slab would unmap it.
    ///
    /// Another thread may take one right after.
    pub fn is_idle(&self) -> bool {
        self.is_spare(Which::All)
    }

    /// How many stacks it has, taken or not.
    pub fn capacity(&self) -> usize {
        self.shared.grid.count
    }

    /// Usable bytes of each stack, cache colour included.
    pub fn stack_size(&self) -> usize {
        self.shared.grid.stack_size
    }

    /// Bytes at the low end of each stack, from its
    /// [`limit`](Stack::limit), that fault.
    pub fn guard_size(&self) -> usize {
        self.shared.grid.guard_size
    }
}

impl Shared {
    /// The whole pages of a stack deeper than `keep` bytes; none if the end is
    /// not above the start.
    fn below(&self, index: usize, keep: usize) -> Range<usize> {
        let (lowest, base) = (self.grid.lowest(index), self.grid.base(index).get());
        // Nothing is above the base but its cache colour.
        let top = if keep == 0 {
            lowest + self.grid.stack_size
        } else {
            base
        };
        lowest..top.saturating_sub(keep) & !(PAGE_SIZE - 1)
    }

    /// One that was taken just now.
    fn stack(this: &Arc<Shared>, index: u32) -> SlabStack {
        SlabStack {
            shared: Arc::clone(this),
            base: this.grid.base(index as usize),
            index,
            note: 0,
        }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        // Nothing under the lock panics half-way.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Safety
    ///
    /// Nothing on the stack deeper than `keep` bytes is in use.
    unsafe fn discard_below(&self, index: usize, keep: usize) -> io::Result<()> {
        let Range { start, end } = self.below(index, keep);
        if end <= start {
            return Ok(());
        }
        // SAFETY: pages of this stack that hold nothing in use (this function's
        // contract) and are no guard.
        unsafe { sys::advise(start, end - start, libc::MADV_DONTNEED) }.map_err(|error| {
            let text = std::format!(
                "cannot give memory of a stack back: {error} (locked memory stays: `ulimit -l`)"
            );
            io::Error::new(error.kind(), text)
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // First: nobody finds memory that is gone.
        registry::remove(&self.grid);
    }
}

/// A stack of a [`Slab`]. Dropping it gives it back.
///
/// What ran on it must have returned or unwound before that, as with any
/// [`Stack`]: the next taker gets the same memory.
#[derive(Debug)]
pub struct SlabStack {
    shared: Arc<Shared>,
    base: StackPointer,
    index: u32,
    note: u32,
}

impl SlabStack {
    /// A number for whoever has the stack: what [`set_note`](SlabStack::set_note)
    /// said, zero at first. It fills a gap, so it makes the value no larger.
    #[inline]
    pub fn note(&self) -> u32 {
        self.note
    }

    /// See [`note`](SlabStack::note).
    #[inline]
    pub fn set_note(&mut self, note: u32) {
        self.note = note;
    }

    /// [`discard_below`](SlabStack::discard_below), if there is something to give
    /// back: how many pages, of the 128 that come first below `keep` bytes. One
    /// system call if that is none.
    ///
    /// # Errors
    ///
    /// If the kernel cannot tell; and as there.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn trim(&self, keep: usize) -> io::Result<usize> {
        let range = self.shared.below(self.index as usize, keep);
        let pages = resident_below(range.start, range.end)?;
        if pages > 0 {
            // SAFETY: this function's contract.
            unsafe { self.discard_below(keep)? };
        }
        Ok(pages)
    }

    /// Gives the memory deeper than `keep` bytes below the base back to the
    /// kernel, in whole pages. The stack keeps its address range and its guard;
    /// the memory reads as zero and is committed again when it is touched.
    ///
    /// Page tables stay. Only unmapping the slab gives those back.
    ///
    /// # Errors
    ///
    /// What `madvise` says: locked memory is not given back.
    ///
    /// # Safety
    ///
    /// Nothing on the stack deeper than `keep` bytes is in use: it is empty, or
    /// suspended with its stack pointer higher than that.
    pub unsafe fn discard_below(&self, keep: usize) -> io::Result<()> {
        // SAFETY: this function's contract.
        unsafe { self.shared.discard_below(self.index as usize, keep) }
    }

    /// How many bytes below the base were touched since the memory was last
    /// given back, in whole pages. By this stack's former users too.
    ///
    /// Memory that was swapped out does not count.
    ///
    /// # Errors
    ///
    /// If the kernel cannot tell.
    pub fn high_water(&self) -> io::Result<usize> {
        let lowest = self.shared.grid.lowest(self.index as usize);
        high_water(lowest, self.base.get())
    }
}

impl Drop for SlabStack {
    fn drop(&mut self) {
        let mut free = self.shared.free();
        // Has room, so this neither allocates nor fails (rule 3).
        free.returned.push(self.index);
        self.shared.taken.store(free.taken(), Ordering::Relaxed);
    }
}

// SAFETY: the slab is mapped as long as the handle in here lives, and no other
// `SlabStack` has this index (rule 1). The range starts with the guard, which is
// in place (rule 2), and at least MIN_STACK_SIZE is left after colouring.
unsafe impl Stack for SlabStack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.base
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.shared.grid.limit(self.index as usize)
    }
}

#[cfg(test)]
mod tests;
