//! Bound fibers that may run, in order: a ring in memory that only its worker uses.
//!
//! Why not `VecDeque` in a `RefCell`: its indices wrap by a comparison and the cell has a flag, some 35 of the 213 instructions of
//! a yield. Here a power of two wraps by a mask.

use std::cell::{Cell, UnsafeCell};
use std::mem::MaybeUninit;

use crate::fiber::FiberPtr;

/// Of fewer fibers than that what a switch touches is in the nearest caches: 4 lines of each.
const SEVERAL: usize = 128;
/// So many fibers' memory is asked for at a time: see [`Ready::fetch`].
const GROUP: usize = 4;
/// The same if there are `MANY` fibers: about as many pages as processors have translations at hand for.
const LARGE_GROUP: usize = 8;
const MANY: usize = 2048;
/// Lines of a stack that are asked for, of one that was woken and of one that just yielded; of these another one is at hand unless they are many.
const LINES_WOKEN: usize = 4;
const LINES_OF_MANY: usize = 2;
/// When there are fewer than that nothing is asked for any more.
const LEAST: usize = 3 * GROUP;
/// Pops between two looks at whether there are several.
const LOOK: usize = 32;
const _: () = assert!(SEVERAL >= LEAST && MANY >= 3 * LARGE_GROUP);

/// Of the first ring.
const CAPACITY: usize = 64;

type Slots = Box<[Cell<MaybeUninit<FiberPtr>>]>;

/// Not `Sync`, and no reference to the slots outlives a call: the ring is replaced when it is full.
pub(super) struct Ready {
    /// The first, and one past the last: they only grow, and wrap.
    first: Cell<usize>,
    end: Cell<usize>,
    /// When that is the first, a group is fetched.
    fetch_at: Cell<usize>,
    /// Those before that were in the ring when there were several.
    fetch_until: Cell<usize>,
    /// Of those before that some were woken, and did not just yield.
    woken_until: Cell<usize>,
    /// The number of slots, a power of two, less one.
    mask: Cell<usize>,
    /// Invariant R: those from `first` to `end`, by the mask, are written.
    slots: UnsafeCell<Slots>,
}

/// Of two places that the ring has or had.
#[inline(always)]
fn is_before(at: usize, other: usize) -> bool {
    (at.wrapping_sub(other) as isize) < 0
}

fn slots(capacity: usize) -> Slots {
    (0..capacity)
        .map(|_| Cell::new(MaybeUninit::uninit()))
        .collect()
}

impl Ready {
    pub(super) fn new() -> Ready {
        Ready {
            first: Cell::new(0),
            end: Cell::new(0),
            fetch_at: Cell::new(0),
            fetch_until: Cell::new(0),
            woken_until: Cell::new(0),
            mask: Cell::new(CAPACITY - 1),
            slots: UnsafeCell::new(slots(CAPACITY)),
        }
    }

    #[inline]
    fn slot(&self, at: usize) -> &Cell<MaybeUninit<FiberPtr>> {
        // SAFETY: used within the calls below, which replace no slots meanwhile; the mask keeps it within them.
        unsafe { (&*self.slots.get()).get_unchecked(at & self.mask.get()) }
    }

    /// # Safety
    /// `at` is from `first` to `end`.
    #[inline]
    unsafe fn get(&self, at: usize) -> FiberPtr {
        // SAFETY: invariant R.
        unsafe { self.slot(at).get().assume_init() }
    }

    #[inline]
    pub(super) fn push(&self, fiber: FiberPtr) {
        if self.len() > self.mask.get() {
            self.grow();
        }
        let end = self.end.get();
        self.slot(end).set(MaybeUninit::new(fiber));
        self.end.set(end.wrapping_add(1));
    }

    /// One that waited: it will return to frames further up its stack.
    #[inline]
    pub(super) fn push_woken(&self, fiber: FiberPtr) {
        self.push(fiber);
        self.woken_until.set(self.end.get());
    }

    #[inline]
    pub(super) fn pop(&self) -> Option<FiberPtr> {
        let (first, len) = (self.first.get(), self.len());
        if len == 0 {
            return None;
        }
        if len >= LEAST && !is_before(first, self.fetch_at.get()) {
            self.fetch(first, len);
        }
        self.first.set(first.wrapping_add(1));
        // SAFETY: there is one.
        Some(unsafe { self.get(first) })
    }

    /// Asks for what a switch touches of the fibers that come soon: of thousands none is in a near cache any more.
    ///
    /// A group at a time: each of those stacks is in a page that no translation is at hand for, and some processors (AMD's
    /// Zen 4, to go by samples) let an instruction that asks for such memory wait until there is one, but look for several at
    /// once.
    #[inline(never)]
    fn fetch(&self, first: usize, len: usize) {
        if len >= SEVERAL {
            self.fetch_until.set(self.end.get());
        } else if !is_before(first, self.fetch_until.get()) {
            self.fetch_at.set(first.wrapping_add(LOOK));
            return;
        }
        let group = if len >= MANY { LARGE_GROUP } else { GROUP };
        self.fetch_at.set(first.wrapping_add(group));
        let lines = if is_before(first.wrapping_add(group), self.woken_until.get()) {
            LINES_WOKEN
        } else if len >= MANY {
            LINES_OF_MANY
        } else {
            1
        };
        for at in 0..group {
            let at = first.wrapping_add(at);
            // SAFETY: there are three groups at least. Queued fibers are live, and these are bound here.
            unsafe {
                self.get(at.wrapping_add(2 * group)).prefetch_record();
                self.get(at.wrapping_add(group)).prefetch_stack(lines);
            }
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.end.get().wrapping_sub(self.first.get())
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[cold]
    fn grow(&self) {
        let (first, len) = (self.first.get(), self.len());
        let larger = slots(2 * len);
        for (at, slot) in larger.iter().take(len).enumerate() {
            slot.set(self.slot(first.wrapping_add(at)).get());
        }
        self.first.set(0);
        self.end.set(len);
        self.fetch_at.set(0);
        self.fetch_until.set(0);
        self.woken_until.set(len);
        self.mask.set(larger.len() - 1);
        // SAFETY: nobody has a reference to them (see the type), nor does their destructor call anybody.
        unsafe { *self.slots.get() = larger };
    }
}

#[cfg(all(test, not(sisal_loom)))]
mod tests {
    use super::{CAPACITY, Ready};
    use crate::fiber::FiberPtr;

    /// Of no fiber, and not followed: there are at most seven at a time where it is popped.
    fn fiber(number: usize) -> FiberPtr {
        // SAFETY: not null, and nothing is read there.
        unsafe { FiberPtr::from_raw(std::ptr::without_provenance((number + 1) * 64)) }
    }

    #[test]
    fn first_in_first_out_around_the_ring() {
        let ready = Ready::new();
        let (mut pushed, mut popped) = (0, 0);
        for round in 0..3 * CAPACITY {
            for _ in 0..=round % 7 {
                ready.push(fiber(pushed));
                pushed += 1;
            }
            while let Some(first) = ready.pop() {
                assert!(first == fiber(popped), "{popped} is the first");
                popped += 1;
            }
            assert!(ready.is_empty());
        }
        assert_eq!(popped, pushed);
    }

    #[test]
    fn it_grows_in_order() {
        for before in [0, 1, CAPACITY - 1, CAPACITY + 5] {
            let ready = Ready::new();
            for number in 0..before {
                ready.push(fiber(number));
                assert!(ready.pop() == Some(fiber(number)));
            }
            let many = 5 * CAPACITY;
            for number in 0..many {
                ready.push(fiber(number));
            }
            assert_eq!(ready.len(), many);
            for number in 0..many {
                // SAFETY: there are so many.
                let next = unsafe { ready.get(ready.first.get()) };
                assert!(next == fiber(number));
                ready.first.set(ready.first.get().wrapping_add(1));
            }
            assert!(ready.is_empty());
        }
    }
}
