//! A worker's own stacks.

use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use switch_asm::stack::SlabStack;

use super::hot::Hot;
use super::source::{StackSource, Step};
use super::usage::{self, Usage};

/// Stacks of the default size that a worker keeps for itself.
const HOT: usize = 256;
/// So many of them are taken from the slabs at once, if so many came back: they are behind a lock.
const BATCH: usize = 16;
/// The same for each other size, and for how many sizes.
const HOT_OTHER: usize = 32;
const OTHERS: usize = 8;

/// A worker looks at its stacks when those that were used since the last look may hold so many bytes. So
/// one that sleeps after every few fibers, and uses the same few stacks, does not look.
const LOOK_AT: usize = 8 << 20;

/// One stack in so many that do not fit into the caches is looked at.
const PROBE: usize = 64;

/// What a step may cost, in units of about half a microsecond: see [`Allowance`].
const STEP: u32 = 256;

pub(crate) struct StackPool {
    source: Arc<StackSource>,
    hot: Hot,
    others: Vec<Hot>,
    /// The stack of another size than the default whose fiber is in its first run.
    lent: Option<SlabStack>,
    usage: Usage,
    /// Stacks of this worker's given to slabs since those were tidy.
    returned: usize,
    /// Some of them since the slabs were last looked at.
    news: bool,
    /// Some of them were deep.
    deep: bool,
    /// A look at the caches is under way.
    examining: bool,
    allowance: Allowance,
}

impl StackPool {
    pub(crate) fn new(source: Arc<StackSource>) -> StackPool {
        StackPool {
            hot: Hot::new(source.default_size, HOT),
            others: Vec::new(),
            lent: None,
            usage: Usage::new(Arc::clone(&source.places)),
            source,
            returned: 0,
            news: false,
            deep: false,
            examining: false,
            allowance: Allowance::new(),
        }
    }

    /// A stack of `size` bytes, as `check_size` rounds them, or of the runtime's default size, for the first run of a
    /// fiber that was spawned at `place`. Most fibers end in that, so the stack stays in here, and nothing is moved. After
    /// the run it is [given back](Self::returned) or [kept](Self::kept), before anything else is done with the pool.
    ///
    /// # Errors
    /// There is no room for another stack; the error names the limit.
    #[inline]
    pub(crate) fn lend(
        &mut self,
        size: Option<usize>,
        place: &'static Location<'static>,
    ) -> io::Result<&SlabStack> {
        let begins = self.usage.begins(place);
        let stack = match size {
            None => {
                if self.hot.is_empty() {
                    self.hot
                        .fill(|more| self.source.take_some(BATCH - 1, more))?;
                }
                self.hot.lend()
            }
            Some(size) => {
                let stack = self.take_sized(size)?;
                self.lent.insert(stack)
            }
        };
        if begins {
            usage::prepare(stack);
        }
        Ok(stack)
    }

    /// The fiber has ended, and its frames are gone (S4).
    #[inline]
    pub(crate) fn returned(&mut self, size: Option<usize>, place: &'static Location<'static>) {
        match size {
            None => self.usage.ended(place, self.hot.lend()),
            Some(_) => {
                let stack = self.kept(size);
                self.put(size, place, stack);
            }
        }
    }

    /// The fiber has not ended: the stack is its own from here on.
    #[inline]
    pub(crate) fn kept(&mut self, size: Option<usize>) -> SlabStack {
        let stack = match size {
            None => self.hot.pop_and_fetch(),
            Some(_) => self.lent.take(),
        };
        stack.expect("it was lent")
    }

    /// Takes back a stack whose frames are gone (S4), from a fiber that kept it.
    #[inline]
    pub(crate) fn put(
        &mut self,
        size: Option<usize>,
        place: &'static Location<'static>,
        mut stack: SlabStack,
    ) {
        self.usage.ended(place, &mut stack);
        let hot = match size {
            None => Some(&mut self.hot),
            Some(size) => self.cache(size),
        };
        match hot {
            Some(hot) if !hot.is_full() => hot.push(stack),
            _ => self.put_surplus(stack),
        }
    }

    #[inline(never)]
    fn take_sized(&mut self, size: usize) -> io::Result<SlabStack> {
        match self.cache(size).and_then(Hot::pop) {
            Some(stack) => Ok(stack),
            None => self.source.take(size),
        }
    }

    /// The cache for a size. `None`: it has none.
    #[inline(never)]
    fn cache(&mut self, size: usize) -> Option<&mut Hot> {
        if size == self.source.default_size {
            return Some(&mut self.hot);
        }
        match self.others.iter().position(|hot| hot.size == size) {
            Some(at) => Some(&mut self.others[at]),
            None if self.others.len() < OTHERS => {
                self.others.push(Hot::new(size, HOT_OTHER));
                self.others.last_mut()
            }
            None => None,
        }
    }

    #[inline(never)]
    fn put_surplus(&mut self, stack: SlabStack) {
        self.returned += 1;
        self.news = true;
        if self.returned.is_multiple_of(PROBE) {
            // SAFETY: its frames are gone (S4).
            self.deep |= unsafe { stack.trim(super::hot::KEEP) }.is_ok_and(|pages| pages > 0);
        }
    }

    /// Whether there may be memory to give back: then [`tidy`](Self::tidy).
    #[inline]
    pub(crate) fn is_untidy(&self) -> bool {
        self.returned > 0 || self.examining || self.unexamined_bytes() >= LOOK_AT
    }

    fn unexamined_bytes(&self) -> usize {
        let caches = std::iter::once(&self.hot).chain(&self.others);
        caches.map(Hot::unexamined_bytes).sum()
    }

    /// Takes one step of giving memory back; for a worker that has nothing to run. Of a bounded length:
    /// a fraction of a millisecond, as a rule.
    #[cold]
    pub(crate) fn tidy(&mut self) -> Step {
        self.examining |= self.unexamined_bytes() >= LOOK_AT;
        if self.examining {
            self.examining = self.examine();
            if self.examining {
                return Step::Worked;
            }
        }
        match self.returned {
            0 => Step::Done,
            _ => self.tidy_slabs(),
        }
    }

    /// The same beside work, for a worker that is never without: what nobody needed for a while goes back all the same.
    /// (After deep fibers, whose stacks are not kept for the next, it waits until there is nothing to run.)
    #[cold]
    pub(crate) fn tidy_beside_work(&mut self) -> Step {
        self.tidy_slabs()
    }

    /// Whether that may do something, if the last step said [later](Step::Later) or not. (The clock is asked after a burst only.)
    #[inline]
    pub(crate) fn is_due(&self, later: Option<Instant>) -> bool {
        self.returned > 0 && !self.deep && later.is_none_or(|at| Instant::now() >= at)
    }

    fn tidy_slabs(&mut self) -> Step {
        self.news = false;
        // If another worker is at it: at the next sleep again, if there is something left by then.
        let Some(step) = self.source.tidy(self.deep) else {
            return Step::Done;
        };
        match step {
            Step::Worked => {
                // Stacks of this worker's caches may be all that keeps a slab from being idle. The
                // next ones come from the oldest slabs.
                self.hot.flush();
                self.others.iter_mut().for_each(Hot::flush);
            }
            Step::Later(_) => {}
            Step::Done => {
                self.returned = 0;
                self.deep = false;
            }
        }
        step
    }

    /// Whether there is more to look at, and leave to.
    fn examine(&mut self) -> bool {
        let mut left = self.allowance.now().min(STEP);
        for hot in std::iter::once(&mut self.hot).chain(&mut self.others) {
            let done = hot.examine(left);
            self.allowance.spend(done.cost);
            // What is in here was trimmed. But stacks that had no room in here are of the same burst.
            self.deep |= done.deep && self.news;
            left = left.saturating_sub(done.cost);
            if left == 0 {
                return self.allowance.left > 0;
            }
        }
        false
    }
}

/// How much a worker may spend on looking at its caches: a fiftieth of its time, what that makes the fibers
/// fault in again included. A unit is about half a microsecond.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    /// Enough for one look at a full cache of deep stacks.
    const MOST: u32 = 65_536;
    const UNIT: Duration = Duration::from_micros(25);

    fn new() -> Allowance {
        Allowance {
            left: Allowance::MOST,
            since: Instant::now(),
        }
    }

    fn now(&mut self) -> u32 {
        let gone = self.since.elapsed();
        let units = gone.as_micros() / Allowance::UNIT.as_micros();
        if units > 0 {
            self.since += gone;
            let units = units.min(u128::from(Allowance::MOST)) as u32;
            self.left = (self.left + units).min(Allowance::MOST);
        }
        self.left
    }

    fn spend(&mut self, cost: u32) {
        self.left = self.left.saturating_sub(cost);
    }
}
