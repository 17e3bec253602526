//! How deep the fibers of each spawn place go.
//!
//! *Method.* A few fibers of each place are measured: the first `ALWAYS` of each worker, then one in `ONE_IN`.
//! Such a fiber gets a stack of which all but the top page was given back to the kernel; when it has ended the
//! kernel is asked for the lowest page in memory. So the figure is exact up to a page, and nothing of former
//! users is in it. It misses what was swapped out meanwhile, and deep runs among the fibers that were not
//! measured: the maximum is a lower bound. Two system calls for a measured fiber; a look-up and two stores for
//! every fiber.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::Location;
use std::sync::Arc;

use parking_lot::Mutex;
use switch_asm::stack::{SlabStack, Stack};

use crate::metrics::StackUsage;
use crate::shim::{Figure, Ordering};

/// Fibers of a place that a worker measures, at first and later.
const ALWAYS: u64 = 4;
const ONE_IN: u64 = 2048;

/// Stacks larger than this are not measured: the kernel is asked for 128 pages at a time.
const MEASURABLE: usize = 64 << 20;

/// Keeps the top page of a stack, whatever its cache colour.
const TOP_PAGE: usize = 4096 - 512;

const PAGE: usize = 4096;

/// The note on a stack whose fiber is measured.
const MEASURED: u32 = 1;

/// Depths of 1 page, 2, up to 4, up to 8 and so on.
const BUCKETS: usize = 16;

/// All that the workers of a runtime know of places.
#[derive(Default)]
pub(crate) struct Places(Mutex<Vec<Arc<Place>>>);

/// What one worker knows of one place. Written by it alone.
struct Place {
    location: &'static Location<'static>,
    begun: Figure,
    ended: Figure,
    deepest: Figure,
    depths: [Figure; BUCKETS],
}

/// A worker's places.
pub(super) struct Usage {
    all: Arc<Places>,
    own: Vec<Arc<Place>>,
    /// Index into `own`, by the address of the location.
    by_address: HashMap<usize, usize, BuildHasherDefault<AddressHasher>>,
    /// The place that was asked for last.
    last: Option<Arc<Place>>,
}

/// Adds to a figure that only the caller's thread writes. Returns what it was.
#[inline]
fn bump(figure: &Figure) -> u64 {
    let before = figure.load(Ordering::Relaxed);
    figure.store(before + 1, Ordering::Relaxed);
    before
}

impl Usage {
    pub(super) fn new(all: Arc<Places>) -> Usage {
        Usage {
            all,
            own: Vec::new(),
            by_address: HashMap::default(),
            last: None,
        }
    }

    /// A fiber of that place begins. Whether it is to be measured: its stack is then [prepared](prepare).
    #[inline]
    pub(super) fn begins(&mut self, location: &'static Location<'static>) -> bool {
        let before = bump(&self.place(location).begun);
        before < ALWAYS || before.is_multiple_of(ONE_IN)
    }

    /// A fiber of that place has ended.
    #[inline]
    pub(super) fn ended(&mut self, location: &'static Location<'static>, stack: &mut SlabStack) {
        let place = self.place(location);
        bump(&place.ended);
        if stack.note() == MEASURED {
            stack.set_note(0);
            place.measure(stack);
        }
    }

    #[inline]
    fn place(&mut self, location: &'static Location<'static>) -> &Place {
        let is_last = |last: &Arc<Place>| std::ptr::eq(last.location, location);
        if !self.last.as_ref().is_some_and(is_last) {
            let found = self.find(location);
            self.last = Some(Arc::clone(&self.own[found]));
        }
        match &self.last {
            Some(last) => last,
            None => unreachable!("it was put there just now"),
        }
    }

    #[inline(never)]
    fn find(&mut self, location: &'static Location<'static>) -> usize {
        let address = std::ptr::from_ref(location).addr();
        if let Some(&index) = self.by_address.get(&address) {
            return index;
        }
        let place = Arc::new(Place {
            location,
            begun: Figure::new(0),
            ended: Figure::new(0),
            deepest: Figure::new(0),
            depths: std::array::from_fn(|_| Figure::new(0)),
        });
        self.all.0.lock().push(Arc::clone(&place));
        self.own.push(place);
        self.by_address.insert(address, self.own.len() - 1);
        self.own.len() - 1
    }
}

/// Makes the depth of a stack's next user measurable.
#[cold]
pub(super) fn prepare(stack: &mut SlabStack) {
    if stack.base().get() - stack.limit().get() > MEASURABLE {
        return;
    }
    // SAFETY: nothing is on a stack that is about to be given out (S4).
    if unsafe { stack.discard_below(TOP_PAGE) }.is_ok() {
        stack.set_note(MEASURED);
    }
}

impl Place {
    #[cold]
    fn measure(&self, stack: &SlabStack) {
        // Without an answer there is one sample less.
        if let Ok(depth) = stack.high_water() {
            bump(&self.depths[bucket(depth)]);
            let deepest = self.deepest.load(Ordering::Relaxed).max(depth as u64);
            self.deepest.store(deepest, Ordering::Relaxed);
        }
    }
}

/// The first bucket whose [`bound`] is not below `depth`.
fn bucket(depth: usize) -> usize {
    let pages = depth.div_ceil(PAGE).max(1);
    let bits = pages.next_power_of_two().trailing_zeros();
    (bits as usize).min(BUCKETS - 1)
}

fn bound(bucket: usize) -> usize {
    PAGE << bucket
}

impl Places {
    /// What the workers found out, each place once.
    pub(super) fn snapshot(&self) -> Vec<StackUsage> {
        // A place has an address for each crate or generic function that it is in.
        let mut merged: HashMap<&Location<'_>, (StackUsage, [u64; BUCKETS])> = HashMap::new();
        for place in self.0.lock().iter() {
            let get = |figure: &Figure| figure.load(Ordering::Relaxed);
            let (usage, depths) = merged
                .entry(place.location)
                .or_insert_with(|| (StackUsage::new(place.location), [0; BUCKETS]));
            usage.ended += get(&place.ended);
            usage.deepest = usage.deepest.max(get(&place.deepest) as usize);
            for (sum, figure) in depths.iter_mut().zip(&place.depths) {
                *sum += get(figure);
            }
        }
        let mut usages: Vec<StackUsage> = merged
            .into_values()
            .map(|(mut usage, depths)| {
                usage.samples = depths.iter().sum();
                let deepest = usage.deepest;
                // A depth that so many in a hundred samples did not exceed.
                let share = |percent| {
                    let mut sum = 0;
                    let reached = depths.iter().position(|samples| {
                        sum += samples;
                        sum * 100 >= usage.samples * percent
                    });
                    reached.map_or(0, |bucket| bound(bucket).min(deepest))
                };
                (usage.typical, usage.most) = (share(50), share(95));
                usage
            })
            .collect();
        usages.sort_by_key(|usage| {
            let at = usage.location;
            (at.file(), at.line(), at.column())
        });
        usages
    }
}

/// For keys that are addresses.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("an address is hashed as one number");
    }

    fn write_usize(&mut self, address: usize) {
        // Fibonacci hashing (D. E. Knuth, "The Art of Computer Programming" 3, section 6.4), with the
        // good high bits brought down to where the table looks.
        let product = (address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = product ^ (product >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets() {
        for (depth, expected) in [
            (0, 0),
            (1, 0),
            (PAGE, 0),
            (PAGE + 1, 1),
            (2 * PAGE + 1, 2),
            (4 * PAGE, 2),
            (5 * PAGE, 3),
            (64 << 20, 14),
            (1 << 40, BUCKETS - 1),
        ] {
            assert_eq!(bucket(depth), expected, "{depth}");
            assert!(bound(bucket(depth)) >= depth || bucket(depth) == BUCKETS - 1);
        }
    }
}
