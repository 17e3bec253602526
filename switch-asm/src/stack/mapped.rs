//! One stack, one mapping. Must not know what runs on it.

use std::io;

use super::grid::{Grid, Verdict};
use super::guard::Guards;
use super::mapping::{Mapping, PAGE_SIZE, high_water, too_much, whole_pages};
use super::registry;
use super::valgrind::ValgrindStackRegistration;
use super::{MIN_STACK_SIZE, Stack, StackPointer};

/// A stack with a mapping of its own and a guard page at its low end.
///
/// Memory is committed as it is touched. Creating and dropping one costs a few
/// system calls; for many stacks see [`Slab`](super::Slab).
///
/// ```
/// use switch_asm::stack::{DefaultStack, Stack};
///
/// let stack = DefaultStack::new(100_000)?;
/// assert!(stack.base().get() - stack.limit().get() >= 100_000);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct DefaultStack {
    // Few words: a coroutine moves with its stack. Dropped in this order:
    // Valgrind does not know memory that is gone.
    _valgrind: ValgrindStackRegistration,
    mapping: Mapping,
}

impl DefaultStack {
    /// What [`DefaultStack::default`] allows for: 1 MiB.
    const DEFAULT_SIZE: usize = 1024 * 1024;

    /// Creates a stack with at least `size` usable bytes: rounded up to whole
    /// pages, and to [`MIN_STACK_SIZE`]. The guard page comes on top.
    ///
    /// # Errors
    ///
    /// If `size` exceeds the address space (`InvalidInput`), or if the kernel
    /// refuses to map the memory or to guard it.
    pub fn new(size: usize) -> io::Result<DefaultStack> {
        DefaultStack::with_guards(size, Guards::new())
    }

    fn with_guards(size: usize, guards: Guards) -> io::Result<DefaultStack> {
        let usable = whole_pages(size.max(MIN_STACK_SIZE))?;
        let len = usable
            .checked_add(PAGE_SIZE)
            .ok_or_else(|| too_much("size"))?;
        // Owned from here on: a guard that fails gives the memory back.
        let mapping = Mapping::new(len)?;
        // SAFETY: the first page of a mapping that nobody uses yet.
        unsafe { guards.install(mapping.start().get(), PAGE_SIZE)? };
        let stack = DefaultStack {
            _valgrind: ValgrindStackRegistration::of_range(
                mapping.start().get() + PAGE_SIZE,
                usable,
            ),
            mapping,
        };
        registry::insert(&stack.grid());
        Ok(stack)
    }

    /// The grid with this stack alone.
    fn grid(&self) -> Grid {
        Grid {
            start: self.mapping.start().get(),
            stack_size: self.mapping.end().get() - self.mapping.start().get() - PAGE_SIZE,
            guard_size: PAGE_SIZE,
            count: 1,
        }
    }

    /// What `address` is, as seen from this stack. Fit for a signal handler.
    ///
    /// ```
    /// use switch_asm::stack::{DefaultStack, Stack, Verdict};
    ///
    /// let stack = DefaultStack::new(100_000)?;
    /// let Verdict::Guard(whose) = stack.locate(stack.limit().get()) else {
    ///     panic!("the guard is at the limit")
    /// };
    /// assert_eq!(whose.base, stack.base());
    /// assert_eq!(stack.locate(whose.limit.get() + whose.guard_size), Verdict::Inside(whose));
    /// assert_eq!(stack.locate(0), Verdict::Foreign);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn locate(&self, address: usize) -> Verdict {
        self.grid().locate(address)
    }

    /// How many bytes below the base were ever touched, in whole pages.
    ///
    /// Memory that was swapped out does not count.
    ///
    /// # Errors
    ///
    /// If the kernel cannot tell.
    pub fn high_water(&self) -> io::Result<usize> {
        high_water(
            self.mapping.start().get() + PAGE_SIZE,
            self.mapping.end().get(),
        )
    }
}

impl Default for DefaultStack {
    /// A stack of 1 MiB.
    ///
    /// # Panics
    ///
    /// If [`DefaultStack::new`] fails.
    fn default() -> DefaultStack {
        match DefaultStack::new(DefaultStack::DEFAULT_SIZE) {
            Ok(stack) => stack,
            Err(error) => {
                panic!("no default stack: {error}; `DefaultStack::new` reports this as an error")
            }
        }
    }
}

// SAFETY: the mapping stays in place as long as the value lives; its lowest page
// is the guard, the rest is at least MIN_STACK_SIZE and used by nobody else.
unsafe impl Stack for DefaultStack {
    #[inline]
    fn base(&self) -> StackPointer {
        self.mapping.end()
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        self.mapping.start()
    }
}

impl Drop for DefaultStack {
    fn drop(&mut self) {
        // First: nobody finds memory that is gone.
        registry::remove(&self.grid());
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn usable(size: usize) -> usize {
        let stack = DefaultStack::new(size).expect("a stack");
        stack.base().get() - stack.limit().get() - PAGE_SIZE
    }

    #[test]
    fn sizes_are_rounded_up() {
        assert_eq!(usable(0), MIN_STACK_SIZE);
        assert_eq!(usable(MIN_STACK_SIZE + 1), 2 * PAGE_SIZE);
        assert_eq!(
            usable(DefaultStack::DEFAULT_SIZE),
            DefaultStack::DEFAULT_SIZE
        );
    }

    #[test]
    fn sizes_without_sense_are_errors() {
        for size in [
            usize::MAX,
            usize::MAX - PAGE_SIZE,
            usize::MAX - 2 * PAGE_SIZE,
        ] {
            let error = DefaultStack::new(size).expect_err("no room for the guard");
            let expected = [io::ErrorKind::InvalidInput, io::ErrorKind::OutOfMemory];
            assert!(expected.contains(&error.kind()), "{error}");
        }
    }

    #[test]
    fn a_failure_half_way_gives_the_memory_back() {
        // More than the address space, if each attempt kept what it mapped.
        const EACH: usize = 1 << 40;
        const ATTEMPTS: usize = (1 << 47) / EACH + 1;
        drop(Mapping::new(EACH).expect("address space for one"));
        for _ in 0..ATTEMPTS {
            let error = DefaultStack::with_guards(EACH, Guards::refused()).expect_err("no guard");
            assert!(error.to_string().starts_with("cannot guard"), "{error}");
        }
    }
}
