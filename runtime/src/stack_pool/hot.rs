//! The stacks of one size that a worker keeps for itself: last in, first out, because the top page of the
//! last one used is in the cache.

use std::io;

use switch_asm::stack::{SlabStack, Stack};

use crate::prefetch::{LINE, prefetch};

/// So many stacks' memory is asked for at a time, and how much of it: see [`Hot::fetch`].
const GROUP: usize = 8;
const LINES: usize = 6;

/// What a stack keeps of its depth when it is trimmed. Stacks that did not go deeper are left alone.
pub(super) const KEEP: usize = 32 * 1024;

/// What one look at a stack costs, as against a page that it gives back: that one is likely to be faulted
/// in again.
const LOOK: u32 = 1;
const PAGE: u32 = 2;

pub(super) struct Hot {
    /// Usable bytes of each stack.
    pub(super) size: usize,
    /// How many there may be.
    room: usize,
    stacks: Vec<SlabStack>,
    /// The first so many have not been used since they were looked at.
    examined: usize,
}

/// What [`Hot::examine`] did.
pub(super) struct Examined {
    /// In the units of [`LOOK`].
    pub(super) cost: u32,
    /// A stack had been used deeper than [`KEEP`].
    pub(super) deep: bool,
}

impl Hot {
    pub(super) fn new(size: usize, room: usize) -> Hot {
        let stacks = Vec::with_capacity(room);
        Hot {
            size,
            room,
            stacks,
            examined: 0,
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<SlabStack> {
        let stack = self.stacks.pop()?;
        self.examined = self.examined.min(self.stacks.len());
        Some(stack)
    }

    /// The same, for a fiber that keeps it. Probably there are more of its kind, which need those below.
    #[inline]
    pub(super) fn pop_and_fetch(&mut self) -> Option<SlabStack> {
        let stack = self.pop();
        if self.stacks.len().is_multiple_of(GROUP) {
            self.fetch();
        }
        stack
    }

    /// Puts in what `take` takes, and the one that it returns last, for the next fiber.
    #[inline(never)]
    pub(super) fn fill(
        &mut self,
        take: impl FnOnce(&mut Vec<SlabStack>) -> io::Result<SlabStack>,
    ) -> io::Result<()> {
        let last = take(&mut self.stacks)?;
        self.stacks.push(last);
        self.fetch();
        Ok(())
    }

    /// Asks for what a fiber writes in its first run, of the stacks that are next. After a burst that is in no cache, nor is there a
    /// translation for its page at hand; several are looked for at once (see `Ready::fetch`). Where fibers end in their first run the
    /// same stack is lent again and again, and nothing is asked for.
    #[inline(never)]
    fn fetch(&self) {
        let first = self.stacks.len().saturating_sub(GROUP);
        for stack in &self.stacks[first..] {
            let base = stack.base().get();
            for line in 0..LINES {
                prefetch(base - LINE * (line + 1));
            }
        }
    }

    /// The one that was used last. It is there, and stays.
    #[inline]
    pub(super) fn lend(&mut self) -> &mut SlabStack {
        let below = self.stacks.len() - 1;
        self.examined = self.examined.min(below);
        &mut self.stacks[below]
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.stacks.is_empty()
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.stacks.len() >= self.room
    }

    /// It is not full.
    #[inline]
    pub(super) fn push(&mut self, stack: SlabStack) {
        self.stacks.push(stack);
    }

    /// Bytes that the stacks which were used since the last look may hold at the most.
    #[inline]
    pub(super) fn unexamined_bytes(&self) -> usize {
        (self.stacks.len() - self.examined) * self.size
    }

    /// Looks at stacks that were used since the last look, coldest first, and trims the deep ones. Stops
    /// when that has cost `most`.
    pub(super) fn examine(&mut self, most: u32) -> Examined {
        let mut done = Examined {
            cost: 0,
            deep: false,
        };
        while let Some(stack) = self.stacks.get(self.examined)
            && done.cost < most
        {
            // SAFETY: a stack in the cache is empty (S4): no fiber is in its first run while the worker is here.
            // Locked memory is not given back, whoever asks: nothing to be done about an error.
            let pages = unsafe { stack.trim(KEEP) }.unwrap_or(0);
            done.deep |= pages > 0;
            done.cost += LOOK + PAGE * pages as u32;
            self.examined += 1;
        }
        done
    }

    /// Gives all stacks back to their slabs.
    pub(super) fn flush(&mut self) {
        self.stacks.clear();
        self.examined = 0;
    }
}
