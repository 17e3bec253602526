//! Stacks of every size, from as many slabs as it takes. Must not know what runs
//! on them.
//!
//! *Classes.* Sizes are rounded up, so that stacks of similar sizes share slabs:
//! to whole pages, and to an eighth of the next power of two. What that adds is
//! address space, which costs nothing until it is touched.
//!
//! *Growth.* Each further slab of a class has twice as many stacks as the one
//! before, up to `LARGEST`. The oldest slab with a free stack is taken from
//! first, so that the newer ones, which are larger, drain and can be released.
//! (About the oldest: where there are many slabs, the search begins at the oldest
//! every 64th time and goes on from where it ended otherwise.)

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use super::mapping::{too_much, whole_pages};
use super::slab::Which;
use super::{Slab, SlabStack};

/// Stacks in the first slab of a class.
const FIRST: usize = 64;
/// Stacks in the largest slab. A slab is released as a whole: one stack in use
/// holds the page tables of all, and one `munmap` has to end soon.
const LARGEST: usize = 2048;

/// So few slabs are searched from the oldest on each time.
const FEW: usize = 8;
/// Else each of so many searches begins at the oldest.
const SEARCHES: usize = 64;

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
    /// By stack size.
    classes: Mutex<BTreeMap<usize, Class>>,
    /// Stacks that were given out without memory.
    cold: AtomicUsize,
}

#[derive(Debug, Default)]
struct Class {
    /// Oldest first.
    slabs: Vec<Slab>,
    /// Where the last search ended.
    at: usize,
    searches: usize,
}

impl Class {
    /// The slabs in the order to search them.
    fn search(&mut self) -> impl Iterator<Item = (usize, &Slab)> {
        self.searches = self.searches.wrapping_add(1);
        if self.slabs.len() <= FEW || self.searches.is_multiple_of(SEARCHES) {
            self.at = 0;
        }
        let (before, after) = self.slabs.split_at(self.at.min(self.slabs.len()));
        let at = before.len();
        let after = after
            .iter()
            .enumerate()
            .map(move |(n, slab)| (at + n, slab));
        after.chain(before.iter().enumerate())
    }
}

impl Slabs {
    /// No slab yet. Each stack will have a guard of `guard_size` bytes, rounded
    /// up to whole pages.
    pub fn new(guard_size: usize) -> Slabs {
        Slabs {
            shared: Arc::new(Shared {
                guard_size: guard_size.max(1),
                classes: Mutex::new(BTreeMap::new()),
                cold: AtomicUsize::new(0),
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
        self.take_and(stack_size, |_| 0)
    }

    /// [`take`](Slabs::take), and puts into `more` up to `most` others of that size which came back and are in the same slab: many for
    /// little more than the price of one.
    ///
    /// ```
    /// use switch_asm::stack::Slabs;
    ///
    /// let slabs = Slabs::new(4096);
    /// drop([(); 20].map(|()| slabs.take(16 * 1024)));
    /// let mut more = Vec::new();
    /// let stack = slabs.take_some(16 * 1024, 7, &mut more)?;
    /// assert_eq!((more.len(), slabs.taken()), (7, 8));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`take`](Slabs::take).
    pub fn take_some(
        &self,
        stack_size: usize,
        most: usize,
        more: &mut Vec<SlabStack>,
    ) -> io::Result<SlabStack> {
        self.take_and(stack_size, |slab| slab.take_returned(most, more))
    }

    /// Takes a stack, and has `also` take more from the same slab; `also` says how many of those are without memory.
    fn take_and(
        &self,
        stack_size: usize,
        also: impl FnOnce(&Slab) -> usize,
    ) -> io::Result<SlabStack> {
        let size = Slabs::size_class(stack_size)?;
        let mut classes = self.shared.classes();
        let class = classes.entry(size).or_default();
        let (mut found, mut failure) = (None, None);
        for (at, slab) in class.search() {
            if slab.taken() == slab.capacity() {
                continue;
            }
            match slab.take_any() {
                Ok(Some(stack)) => {
                    found = Some((at, stack));
                    break;
                }
                Ok(None) => {}
                // Another one may have a stack whose guard is in place.
                Err(error) => failure = Some(error),
            }
        }
        if let Some((at, (stack, cold))) = found {
            class.at = at;
            let cold = usize::from(cold) + also(&class.slabs[at]);
            if cold > 0 {
                self.shared.cold.fetch_add(cold, Ordering::Relaxed);
            }
            return Ok(stack);
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let mut count = class
            .slabs
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
        let (stack, _) = slab.take_any()?.expect("a new slab has its stacks");
        class.at = class.slabs.len();
        class.slabs.push(slab);
        self.shared.cold.fetch_add(1, Ordering::Relaxed);
        Ok(stack)
    }

    /// Takes one step towards holding no more than about `keep` stacks that are
    /// nobody's and hold memory. Returns whether it did something: call it
    /// again, until it does not.
    ///
    /// A step unmaps one idle slab, or gives back the memory of `limit` stacks.
    /// So it takes less than a millisecond, as a rule. If the stacks are `deep`,
    /// each may hold much memory: then an idle slab is emptied by steps before it
    /// is unmapped.
    pub fn tidy(&self, keep: usize, limit: usize, deep: bool) -> bool {
        self.give_back(Which::All, keep, limit, deep)
    }

    /// From here on it is seen which stacks are needed: for [`tidy_unneeded`](Slabs::tidy_unneeded).
    pub fn watch(&self) {
        let classes = self.shared.classes();
        let slabs = classes.values().flat_map(|class| &class.slabs);
        slabs.for_each(Slab::watch);
    }

    /// [`tidy`](Slabs::tidy), of what was nobody's all the time since the last [`watch`](Slabs::watch): no more than `keep` of those
    /// will hold memory. So what comes in bursts more often than that keeps its stacks.
    ///
    /// ```
    /// use switch_asm::stack::Slabs;
    ///
    /// let slabs = Slabs::new(4096);
    /// slabs.watch();
    /// drop(slabs.take(16 * 1024)?);
    /// assert!(!slabs.tidy_unneeded(0, 100), "it was needed");
    /// slabs.watch();
    /// assert!(slabs.tidy_unneeded(0, 100));
    /// assert_eq!(slabs.slab_count(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tidy_unneeded(&self, keep: usize, limit: usize) -> bool {
        self.give_back(Which::Unneeded, keep, limit, false)
    }

    /// Whether [`tidy`](Slabs::tidy) would do something.
    pub fn is_untidy(&self, keep: usize) -> bool {
        let classes = self.shared.classes();
        let (spare, holding) = spare(&classes, Which::All);
        let mut slabs = classes.values().flat_map(|class| &class.slabs);
        holding > keep || spare > keep && slabs.any(|slab| can_go(slab, Which::All, spare, keep))
    }

    fn give_back(&self, which: Which, keep: usize, limit: usize, deep: bool) -> bool {
        let mut classes = self.shared.classes();
        let (spare, holding) = spare(&classes, which);
        if spare <= keep {
            return false;
        }
        for class in classes.values_mut() {
            // The newest first: the oldest are taken from.
            let mut slabs = class.slabs.iter();
            let idle = slabs.rposition(|slab| can_go(slab, which, spare, keep));
            if let Some(idle) = idle {
                if deep && class.slabs[idle].spare(which).1 > limit {
                    let slab = class.slabs[idle].clone();
                    drop(classes);
                    slab.clean(which, limit);
                    return true;
                }
                let slab = class.slabs.remove(idle);
                classes.retain(|_, class| !class.slabs.is_empty());
                // Unmapped without the lock.
                drop(classes);
                drop(slab);
                return true;
            }
        }
        let surplus = holding.saturating_sub(keep);
        let slabs: Vec<Slab> = classes
            .values()
            .flat_map(|class| class.slabs.iter().rev().cloned())
            .collect();
        drop(classes);
        let mut left = surplus.min(limit);
        for slab in &slabs {
            left -= slab.clean(which, left);
            if left == 0 {
                break;
            }
        }
        left < surplus.min(limit)
    }

    /// How many stacks were given out, since the beginning, that held no memory:
    /// never used, or tidied away.
    pub fn cold_takes(&self) -> usize {
        self.shared.cold.load(Ordering::Relaxed)
    }

    /// Unmaps the slabs that nobody has a stack of. Returns how many.
    pub fn release_idle(&self) -> usize {
        let mut idle = Vec::new();
        let mut classes = self.shared.classes();
        for class in classes.values_mut() {
            // Nobody can take from them meanwhile.
            idle.extend(class.slabs.extract_if(.., |slab| slab.is_idle()));
        }
        classes.retain(|_, class| !class.slabs.is_empty());
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
        let slabs: Vec<Slab> = {
            let classes = self.shared.classes();
            classes
                .values()
                .flat_map(|class| &class.slabs)
                .cloned()
                .collect()
        };
        slabs.iter().map(|slab| slab.trim(keep)).sum()
    }

    /// How many slabs there are.
    pub fn slab_count(&self) -> usize {
        let classes = self.shared.classes();
        classes.values().map(|class| class.slabs.len()).sum()
    }

    /// How many stacks are taken.
    pub fn taken(&self) -> usize {
        let classes = self.shared.classes();
        let slabs = classes.values().flat_map(|class| &class.slabs);
        slabs.map(Slab::taken).sum()
    }
}

/// How many stacks are spare, and how many of them hold memory.
fn spare(classes: &BTreeMap<usize, Class>, which: Which) -> (usize, usize) {
    let slabs = classes.values().flat_map(|class| &class.slabs);
    let add = |sum: (usize, usize), (spare, holding)| (sum.0 + spare, sum.1 + holding);
    slabs.map(|slab| slab.spare(which)).fold((0, 0), add)
}

/// Whether a slab may be unmapped so that `keep` of all that are `spare` stay. Nobody can take from it while the classes
/// are locked. (But stacks come back: it may have more than all had just now.)
fn can_go(slab: &Slab, which: Which, spare: usize, keep: usize) -> bool {
    let (own, _) = slab.spare(which);
    spare.saturating_sub(own) >= keep && slab.is_spare(which)
}

impl Shared {
    fn classes(&self) -> MutexGuard<'_, BTreeMap<usize, Class>> {
        // Nothing under the lock panics half-way.
        self.classes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
