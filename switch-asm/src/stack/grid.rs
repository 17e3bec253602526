//! Where the stacks of one mapping are: arithmetic, safe to do in a signal
//! handler. Must not touch memory.
//!
//! ```text
//!  low                                                             high
//!  | guard | stack 0        | guard | stack 1        | guard | stack 2 ...
//!  |<------ stride -------->|                     ^ colour: the base of each
//!                                                   stack is a little lower
//! ```
//!
//! *Colour.* Stacks a power of two apart would put their hottest words, next to
//! the base, into the same few cache sets. So the bases cycle through
//! `COLOURS` cache lines.

use super::{MIN_STACK_SIZE, STACK_ALIGNMENT, StackPointer};

/// Size of a cache line.
const LINE: usize = 64;
/// How many different offsets the bases of neighbouring stacks have.
const COLOURS: usize = 8;
/// The largest of these offsets.
const MAX_COLOUR: usize = (COLOURS - 1) * LINE;
const _: () = assert!(MAX_COLOUR <= 512 && LINE.is_multiple_of(STACK_ALIGNMENT));

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In the guard of this stack: an overflow, if this stack was running.
    Guard(Extent),
    /// In the usable memory of this stack.
    Inside(Extent),
    /// In no stack that was looked at.
    Foreign,
}

/// The address range of a stack, which tells it from all others that live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extent {
    /// What [`Stack::limit`](super::Stack::limit) says: the lowest address, the
    /// guard included.
    pub limit: StackPointer,
    /// What [`Stack::base`](super::Stack::base) says.
    pub base: StackPointer,
    /// How many bytes from `limit` fault.
    pub guard_size: usize,
}

/// Stacks in a row, each with its guard below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) start: usize,
    pub(super) stack_size: usize,
    pub(super) guard_size: usize,
    pub(super) count: usize,
}

impl Grid {
    /// The first address past the end.
    pub(super) fn end(&self) -> usize {
        self.start + self.count * self.stride()
    }

    #[inline]
    fn stride(&self) -> usize {
        self.guard_size + self.stack_size
    }

    /// The lowest address of a stack: its guard.
    #[inline]
    pub(super) fn limit(&self, index: usize) -> StackPointer {
        debug_assert!(index < self.count);
        address(self.start + index * self.stride())
    }

    /// The lowest address of a stack that does not fault.
    pub(super) fn lowest(&self, index: usize) -> usize {
        self.limit(index).get() + self.guard_size
    }

    pub(super) fn base(&self, index: usize) -> StackPointer {
        let top = self.lowest(index) + self.stack_size;
        // A stack of one page has nothing to spare.
        let room = self.stack_size - MIN_STACK_SIZE;
        let colour = if room < MAX_COLOUR {
            0
        } else {
            index % COLOURS * LINE
        };
        address(top - colour)
    }

    pub(super) fn locate(&self, address: usize) -> Verdict {
        if !(self.start..self.end()).contains(&address) {
            return Verdict::Foreign;
        }
        let index = (address - self.start) / self.stride();
        let extent = Extent {
            limit: self.limit(index),
            base: self.base(index),
            guard_size: self.guard_size,
        };
        if address < self.lowest(index) {
            Verdict::Guard(extent)
        } else {
            Verdict::Inside(extent)
        }
    }
}

#[inline]
fn address(address: usize) -> StackPointer {
    StackPointer::new(address).expect("nothing is mapped at address zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_grid() {
        let grid = Grid {
            start: 0x10000,
            stack_size: 0x4000,
            guard_size: 0x1000,
            count: 20,
        };
        assert_eq!(grid.locate(grid.start - 1), Verdict::Foreign);
        assert_eq!(grid.locate(grid.end()), Verdict::Foreign);
        assert_eq!(grid.locate(0), Verdict::Foreign);
        assert_eq!(grid.locate(usize::MAX), Verdict::Foreign);
        for index in 0..grid.count {
            let extent = Extent {
                limit: grid.limit(index),
                base: grid.base(index),
                guard_size: 0x1000,
            };
            let limit = grid.start + index * 0x5000;
            assert_eq!(extent.limit.get(), limit);
            for address in [limit, limit + 0xfff] {
                assert_eq!(grid.locate(address), Verdict::Guard(extent));
            }
            for address in [limit + 0x1000, extent.base.get() - 1, limit + 0x4fff] {
                assert_eq!(grid.locate(address), Verdict::Inside(extent));
            }
        }
    }
}
