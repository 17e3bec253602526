//! Fibers of a worker that sleep, by the time at which they go on.
//!
//! Its worker's thread only (rule 2 of `record.rs`), so nothing here is shared or locked. What sleeps until the same
//! tick is in one list: thousands that wake at a time are met in a row, not one by one on as many pages, as they are
//! if each timer is a node on its fiber's stack. With 100,000 sleepers that was most of the time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::record::{FiberPtr, Header};
use super::running::Running;

/// Nanoseconds between two ticks. (The reactor's own ticks, by which a sleeping worker wakes, have a millisecond.)
const TICK: u64 = 250_000;

/// So far ahead a record is fetched.
const AHEAD: usize = 8;

/// Empty lists kept for the next ticks.
const SPARE: usize = 64;
/// Of no more room than this, in fibers.
const SPARE_ROOM: usize = 4096;

/// In a header: it is in no list.
const NOWHERE: u32 = u32::MAX;

/// 1. A fiber is in at most one list, once, and then its header's `timer_at` is its index there; else that is `NOWHERE`.
/// 2. No list in `due` is empty.
/// 3. A fiber in a list has not ended: who inserts it removes it before its frame is gone, and of a retired fiber `forget` does.
/// 4. `first` is the first key of `due`.
pub(crate) struct Timers {
    origin: Instant,
    due: RefCell<BTreeMap<u64, Vec<FiberPtr>>>,
    first: Cell<Option<u64>>,
    spare: RefCell<Vec<Vec<FiberPtr>>>,
}

/// Where a sleeping fiber is in its header: nowhere, or a place in a list.
pub(crate) struct TimerPlace(Cell<u32>);

impl TimerPlace {
    pub(super) fn new() -> TimerPlace {
        TimerPlace(Cell::new(NOWHERE))
    }
}

impl Header {
    /// The running fiber: it is in a list of its worker's timers, so its time has not come.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.timer_at.0.get() != NOWHERE
    }
}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers {
            origin: Instant::now(),
            due: RefCell::default(),
            first: Cell::new(None),
            spare: RefCell::default(),
        }
    }

    /// Has the running fiber, which is in no list, called for when `deadline` has passed. What is returned takes it out before that.
    pub(crate) fn insert(&self, running: Running, deadline: Instant) -> u64 {
        let header = running.header();
        assert!(!header.is_timed(), "a fiber sleeps once at a time");
        // Up: never too early.
        let tick = nanos(deadline.saturating_duration_since(self.origin)).div_ceil(TICK);
        let mut due = self.due.borrow_mut();
        let list = due.entry(tick).or_insert_with(|| {
            let spare = self.spare.borrow_mut().pop();
            spare.unwrap_or_default()
        });
        let at = u32::try_from(list.len()).expect("a worker has fewer fibers");
        assert!(at != NOWHERE, "a worker has fewer fibers");
        // Not counted (rule 3): a read-modify-write would wait until the cold stack's first stores are through.
        list.push(running.ptr());
        header.timer_at.0.set(at);
        if self.first.get().is_none_or(|first| tick < first) {
            self.first.set(Some(tick));
        }
        tick
    }

    /// Takes the running fiber out, if it is still in. `tick` is what `insert` returned.
    pub(crate) fn remove(&self, running: Running, tick: u64) {
        let at = running.header().timer_at.0.replace(NOWHERE);
        if at == NOWHERE {
            return;
        }
        let mut due = self.due.borrow_mut();
        let list = due.get_mut(&tick).expect("rule 1");
        list.swap_remove(at as usize);
        if let Some(moved) = list.get(at as usize) {
            // SAFETY: live (rule 3).
            unsafe { moved.header() }.timer_at.0.set(at);
        }
        if list.is_empty() {
            let empty = due.remove(&tick);
            self.keep(empty.unwrap_or_default());
            self.first.set(due.keys().next().copied());
        }
    }

    /// A fiber of this worker is retired: what would take it out never runs.
    #[cold]
    pub(crate) fn forget(&self, retired: &Header) {
        if !retired.is_timed() {
            return;
        }
        let at = retired.timer_at.0.replace(NOWHERE) as usize;
        let mut due = self.due.borrow_mut();
        let is_here = |list: &Vec<FiberPtr>| list.get(at).is_some_and(|fiber| fiber.is(retired));
        let tick = due
            .iter()
            .find_map(|(tick, list)| is_here(list).then_some(*tick));
        let list = tick.and_then(|tick| due.get_mut(&tick)).expect("rule 1");
        list.swap_remove(at);
        if let Some(moved) = list.get(at) {
            // SAFETY: live (rule 3).
            unsafe { moved.header() }.timer_at.0.set(at as u32);
        }
        due.retain(|_, list| !list.is_empty());
        self.first.set(due.keys().next().copied());
    }

    fn keep(&self, empty: Vec<FiberPtr>) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE && empty.capacity() <= SPARE_ROOM {
            spare.push(empty);
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    /// The worker, on its own stack: calls for those whose time has come.
    pub(crate) fn fire(&self) {
        let now = nanos(self.origin.elapsed()) / TICK;
        while let Some(first) = self.first.get()
            && first <= now
        {
            let mut list = {
                let mut due = self.due.borrow_mut();
                let list = due.remove(&first);
                self.first.set(due.keys().next().copied());
                list.unwrap_or_default()
            };
            // First all of them: whoever is told of a wake may be anybody's code.
            for (at, fiber) in list.iter().enumerate() {
                if let Some(later) = list.get(at + AHEAD) {
                    later.prefetch_timer();
                }
                // SAFETY: live (rule 3).
                unsafe { fiber.header() }.timer_at.0.set(NOWHERE);
            }
            for fiber in list.drain(..) {
                // SAFETY: live: it leaves its frame, and ends, when it runs next, which is on this thread and after this.
                unsafe { fiber.wake(0) };
            }
            self.keep(list);
        }
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        let first = self.first.get()?;
        Some(self.origin + Duration::from_nanos(first.saturating_mul(TICK)))
    }
}

/// Five hundred years fit; what is longer is that.
#[inline]
fn nanos(time: Duration) -> u64 {
    let whole = time.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(time.subsec_nanos()))
}
