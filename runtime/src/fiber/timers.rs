//! Fibers of a worker that wait until a time, or no longer than that, by their times.
//!
//! Its worker's thread only (rule 2 of `record.rs`), so nothing here is shared or locked. What sleeps until the same
//! tick is in one list: thousands that wake at a time are met in a row, not one by one on as many pages, as they are
//! if each timer is a node on its fiber's stack. With 100,000 sleepers that was most of the time.
//!
//! *Lazily.* Most timeouts never come: a server sets one for each read, and each read ends before. So a wait that is over leaves its fiber in the
//! list, and one that ends later than that list changes a number in the record. A list that is due puts those that have more time
//! into another one (the idea: G. Varghese, T. Lauck, "Hashed and hierarchical timing wheels", SOSP 1987, of entries that migrate).

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
const SPARE_ROOM: usize = 256;

/// In a header: it is in no list.
const NOWHERE: u32 = u32::MAX;

/// 1. A fiber is in at most one list, once. Then its header's `timer_at` is its index there, and `TimerTimes::listed` the list's tick; else
///    `timer_at` is `NOWHERE`.
/// 2. No list in `due` is empty.
/// 3. A fiber in a list has not ended: its end takes it out (`forget`), whatever its waits have left behind.
/// 4. `first` is the first key of `due`.
/// 5. The list of a fiber that waits for a time is of that tick, or of one before.
pub(crate) struct Timers {
    origin: Instant,
    due: RefCell<BTreeMap<u64, Vec<FiberPtr>>>,
    first: Cell<Option<u64>>,
    spare: RefCell<Vec<Vec<FiberPtr>>>,
}

/// Where a fiber with a timer is in its header: nowhere, or a place in a list.
pub(crate) struct TimerPlace(Cell<u32>);

impl TimerPlace {
    pub(super) fn new() -> TimerPlace {
        TimerPlace(Cell::new(NOWHERE))
    }
}

/// The ticks of a fiber's timer.
pub(crate) struct TimerTimes {
    /// Of the list that it is in.
    listed: Cell<u64>,
    /// When it is to be called for; `NEVER` if it waits for no time.
    until: Cell<u64>,
}

const NEVER: u64 = 0;

impl TimerTimes {
    pub(super) fn new() -> TimerTimes {
        TimerTimes {
            listed: Cell::new(NEVER),
            until: Cell::new(NEVER),
        }
    }
}

impl Header {
    /// It is in a list of its worker's timers. If it waits for a time, that has not come.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.timer_at.0.get() != NOWHERE
    }

    /// The running fiber's wait is over. It stays in its list, which costs nothing until that is due: the next wait will probably end later.
    #[inline]
    pub(crate) fn waits_for_no_time(&self) {
        self.timer.until.set(NEVER);
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

    /// Has the running fiber called for when `deadline` has passed, and takes it out of its list then.
    #[inline]
    pub(crate) fn call_at(&self, running: Running, deadline: Instant) {
        let header = running.header();
        // Up: never too early.
        let tick = nanos(deadline.saturating_duration_since(self.origin)).div_ceil(TICK);
        let tick = tick.max(NEVER + 1);
        header.timer.until.set(tick);
        if header.is_timed() {
            if header.timer.listed.get() <= tick {
                // When that list is due it comes into the right one.
                return;
            }
            self.take_out(header);
        }
        self.put(running.ptr(), header, tick);
    }

    fn put(&self, fiber: FiberPtr, header: &Header, tick: u64) {
        let mut due = self.due.borrow_mut();
        let list = due.entry(tick).or_insert_with(|| {
            let spare = self.spare.borrow_mut().pop();
            spare.unwrap_or_default()
        });
        let at = u32::try_from(list.len()).expect("a worker has fewer fibers");
        assert!(at != NOWHERE, "a worker has fewer fibers");
        // Not counted (rule 3): a read-modify-write would wait until the cold stack's first stores are through.
        list.push(fiber);
        header.timer_at.0.set(at);
        header.timer.listed.set(tick);
        if self.first.get().is_none_or(|first| tick < first) {
            self.first.set(Some(tick));
        }
    }

    /// Takes a fiber of this worker out, if it is in.
    #[inline]
    pub(crate) fn forget(&self, fiber: &Header) {
        if fiber.is_timed() {
            self.take_out(fiber);
        }
    }

    #[inline(never)]
    fn take_out(&self, header: &Header) {
        let at = header.timer_at.0.replace(NOWHERE) as usize;
        let tick = header.timer.listed.get();
        let mut due = self.due.borrow_mut();
        let list = due.get_mut(&tick).expect("rule 1");
        list.swap_remove(at);
        if let Some(moved) = list.get(at) {
            // SAFETY: live (rule 3).
            unsafe { moved.header() }.timer_at.0.set(at as u32);
        }
        if list.is_empty() {
            let empty = due.remove(&tick);
            self.keep(empty.unwrap_or_default());
            self.first.set(due.keys().next().copied());
        }
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

    /// The worker, on its own stack: has those called for whose time has come.
    pub(crate) fn fire(&self, call: impl Fn(FiberPtr)) {
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
            let mut called = 0;
            for at in 0..list.len() {
                if let Some(later) = list.get(at + AHEAD) {
                    later.prefetch_timer();
                }
                let fiber = list[at];
                // SAFETY: live (rule 3).
                let header = unsafe { fiber.header() };
                header.timer_at.0.set(NOWHERE);
                let until = header.timer.until.get();
                if until > now {
                    self.put(fiber, header, until);
                } else if until != NEVER {
                    list[called] = fiber;
                    called += 1;
                }
            }
            list.truncate(called);
            // Live: each leaves its frame, and ends, when it runs next, which is on this thread and after this.
            list.drain(..).for_each(&call);
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
