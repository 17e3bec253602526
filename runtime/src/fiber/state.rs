//! The state word of a fiber: where it is in its life, and who has called for it.
//!
//! Knows bits and orderings; must not know records, queues or workers.
//!
//! | bit | set by | cleared by | means |
//! |---|---|---|---|
//! | `PARKED` | its worker, once off its stack; of the one that parked last, later | its worker, when it runs it | not running |
//! | `DONE` | its own body, last | nobody | result stored |
//! | `NOTIFIED` | any thread | its worker, when it runs it | with `PARKED`: it is in a queue |
//! | `TOKEN` | `unpark` | `park` | the user's park token |
//! | `WOKEN` | a waker of its outermost `block_on` | that `block_on` | poll again |
//! | `CANCEL` | a handle, an owner, shutdown; any thread | nobody | unwind at the next suspension |
//! | `ASKED` | a handle, with `CANCEL` | nobody | whoever waits for it wanted no result |
//! | `EXPIRED` | a timer of one of its `timeout`s, or itself | itself | look at their deadlines at the next suspension |
//! | `HANDLE` | creation | the join handle's drop | somebody may ask for the result |
//! | `JOIN_WAKER` | the join handle | the join handle, or never again after `DONE` | the waker slot is readable |
//! | `SCAN` | a dump, if there is `PARKED` without `NOTIFIED` | the dump | its stack is being read: calls only leave their bits |
//! | `HOOKED` | creation | nobody | a switch calls the runtime's `SwitchHooks` |
//!
//! `RUNNING` is the word without `PARKED` and `DONE`. A fiber that yielded stays `RUNNING` while it waits in its
//! worker's own queue, and one that has not run yet is `RUNNING` from its creation: it is in a queue, nobody else
//! needs to know more, and neither a yield nor a first run costs an atomic operation.
//!
//! The one race that matters is a wake against a park. Both sides use a read-modify-write on
//! this word, so one of them comes second and sees the other's bit:
//! the waker second sees `PARKED` and queues the fiber; the worker second sees `NOTIFIED`
//! and queues it itself. `PARKED | NOTIFIED` therefore always means "queued exactly once", unless
//! `SCAN` is set too: then it is the dump that queues the fiber, when it lets go of it.

use std::fmt;

use crate::shim::{AtomicU32, Ordering};

pub(crate) const PARKED: u32 = 1 << 1;
pub(crate) const DONE: u32 = 1 << 2;
pub(crate) const NOTIFIED: u32 = 1 << 3;
pub(crate) const TOKEN: u32 = 1 << 4;
pub(crate) const WOKEN: u32 = 1 << 5;
pub(crate) const CANCEL: u32 = 1 << 6;
pub(crate) const HANDLE: u32 = 1 << 7;
pub(crate) const JOIN_WAKER: u32 = 1 << 8;
pub(crate) const SCAN: u32 = 1 << 9;
pub(crate) const EXPIRED: u32 = 1 << 10;
pub(crate) const ASKED: u32 = 1 << 11;
pub(crate) const HOOKED: u32 = 1 << 12;

const NAMES: [(u32, &str); 12] = [
    (PARKED, "PARKED"),
    (DONE, "DONE"),
    (NOTIFIED, "NOTIFIED"),
    (TOKEN, "TOKEN"),
    (WOKEN, "WOKEN"),
    (CANCEL, "CANCEL"),
    (HANDLE, "HANDLE"),
    (JOIN_WAKER, "JOIN_WAKER"),
    (SCAN, "SCAN"),
    (EXPIRED, "EXPIRED"),
    (ASKED, "ASKED"),
    (HOOKED, "HOOKED"),
];

/// See the table above; the word itself is private and its transitions are verbs.
pub(crate) struct State(AtomicU32);

impl State {
    pub(crate) fn new() -> State {
        State(AtomicU32::new(HANDLE))
    }

    /// Of a fiber whose switches call hooks.
    pub(crate) fn hooked() -> State {
        State(AtomicU32::new(HANDLE | HOOKED))
    }

    /// Calls for the fiber, leaving `reason` (`TOKEN`, `WOKEN`, `CANCEL`, `EXPIRED` or 0) behind.
    /// True: the caller must put the fiber into a queue, and nobody else will.
    #[inline]
    #[must_use]
    pub(crate) fn notify(&self, reason: u32) -> bool {
        // Release publishes what the caller did before the wake; it pairs with the Acquire of
        // `begin`, `take` and `park`. Acquire pairs with the Release of `park`: whoever queues
        // the fiber reads what its worker wrote while it ran (its home).
        let before = self.0.fetch_or(NOTIFIED | reason, Ordering::AcqRel);
        before & (PARKED | NOTIFIED | SCAN) == PARKED
    }

    /// [`notify`](Self::notify) by the fiber's own worker, which queues it in its own queues: with the [`begin`](Self::begin) that
    /// would follow. `Some`: the caller must queue it, with `TOKEN` and `WOKEN` as they were, now cleared, for the fiber's own use.
    #[inline]
    #[must_use]
    pub(crate) fn notify_here(&self, reason: u32) -> Option<u32> {
        let word = self.0.load(Ordering::Relaxed);
        if word & (PARKED | NOTIFIED | SCAN) == PARKED {
            let called = word | reason;
            let now = called & !(PARKED | TOKEN | WOKEN);
            // Acquire pairs with the Release of `scan_end`: the dump's reads come before the run. (What was called for was acquired
            // by whoever cleared NOTIFIED: this thread.)
            let taken = (self.0).compare_exchange(word, now, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                return Some(called & (TOKEN | WOKEN));
            }
            // Somebody else called at the same time.
        }
        self.notify(reason).then_some(0)
    }

    /// Worker: a started fiber is about to run. If it was parked: `TOKEN` and `WOKEN` as they were, now
    /// cleared, for the fiber's own use.
    #[inline]
    pub(crate) fn begin(&self) -> Option<u32> {
        // Relaxed: only this worker sets or clears that bit.
        if self.0.load(Ordering::Relaxed) & PARKED == 0 {
            return None; // it yielded, or its worker woke it; calls since then stay in the word
        }
        // Acquire pairs with `notify`. A read-modify-write, not a store, so that a call that
        // comes at the same time is either seen here or lands on a RUNNING word.
        let before = (self.0).fetch_and(!(PARKED | NOTIFIED | TOKEN | WOKEN), Ordering::AcqRel);
        Some(before & (TOKEN | WOKEN))
    }

    /// Worker: the fiber is off its stack and wants to wait. True: it was called meanwhile
    /// and the worker must queue it.
    #[inline]
    #[must_use]
    pub(crate) fn park(&self) -> bool {
        // Release pairs with the Acquire of `notify`, Acquire with its Release.
        self.0.fetch_or(PARKED, Ordering::AcqRel) & NOTIFIED != 0
    }

    /// The running fiber: whether `reason` is set. Clears it, and the call that came with it.
    #[inline]
    pub(crate) fn take(&self, reason: u32) -> bool {
        if self.0.load(Ordering::Relaxed) & reason == 0 {
            return false;
        }
        // Acquire pairs with `notify`. Dropping NOTIFIED is right: every wait looks at its own
        // condition once more before it parks, and sees what any earlier caller published.
        self.0.fetch_and(!(reason | NOTIFIED), Ordering::AcqRel) & reason != 0
    }

    /// The running fiber: whether `reason` is set. It stays, so nothing is acquired here.
    #[inline]
    pub(crate) fn has(&self, reason: u32) -> bool {
        self.0.load(Ordering::Relaxed) & reason != 0
    }

    /// The running fiber: whether somebody asked it to unwind. The bit carries no data.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.has(CANCEL)
    }

    /// The running fiber: whether leaving its stack, or coming back, is not all that there is to a switch.
    #[inline]
    pub(crate) fn needs_more_than_a_switch(&self) -> bool {
        self.has(CANCEL | EXPIRED | HOOKED)
    }

    /// The running fiber, at a suspension: whether it may have to unwind. One look for all reasons.
    #[inline]
    pub(crate) fn is_cut_short(&self) -> bool {
        self.has(CANCEL | EXPIRED)
    }

    /// The running fiber: clears `EXPIRED`, before it looks at its deadlines. Not `NOTIFIED`: the
    /// wait that it is in has looked at its condition already.
    pub(crate) fn clear_expired(&self) {
        // Acquire pairs with the Release of `notify`: a timer that set the bit has elapsed.
        self.0.fetch_and(!EXPIRED, Ordering::Acquire);
    }

    /// The running fiber: one of its deadlines has passed.
    pub(crate) fn set_expired(&self) {
        self.0.fetch_or(EXPIRED, Ordering::Relaxed);
    }

    /// A dump, from any thread: holds a parked fiber still. False: it is not parked, or called, or
    /// another dump has it. (A fiber that yielded is not parked either: only its worker can read it.)
    ///
    /// For the time being the models are its only user.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn scan_begin(&self) -> bool {
        let mut word = self.0.load(Ordering::Relaxed);
        while word & (PARKED | NOTIFIED | SCAN) == PARKED {
            // Acquire pairs with the Release of `park`: where the fiber left its stack, and what is
            // on it, may be read.
            match self.0.compare_exchange_weak(
                word,
                word | SCAN,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// The dump lets go of the fiber. True: it was called meanwhile, and the dump must queue it.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn scan_end(&self) -> bool {
        // Release pairs with the Acquire of `begin`: the dump's reads come before the fiber runs.
        self.0.fetch_and(!SCAN, Ordering::Release) & NOTIFIED != 0
    }

    /// The body, when the result is stored. Returns the word as it was: `HANDLE` absent means
    /// that the body drops the result, `JOIN_WAKER` that it wakes and drops the waker.
    #[inline]
    #[must_use]
    pub(crate) fn finish(&self) -> u32 {
        // Release pairs with the Acquire of `is_done`, `drop_handle` and the join transitions;
        // Acquire pairs with the Release of `publish_waker`. The bit is set once, so this is an `or`, but one instruction
        // that gives the word: an `or` that does is a loop.
        self.0.fetch_add(DONE, Ordering::AcqRel)
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        // Acquire pairs with `finish`: the result may be read.
        self.0.load(Ordering::Acquire) & DONE != 0
    }

    /// The join handle goes away. True: the fiber is done and the handle drops the result.
    #[inline]
    #[must_use]
    pub(crate) fn drop_handle(&self) -> bool {
        // AcqRel pairs with `finish`, in whichever order the two come.
        self.0.fetch_and(!HANDLE, Ordering::AcqRel) & DONE != 0
    }

    /// The join handle wants to write its waker. False: the fiber is done, keep away.
    #[inline]
    #[must_use]
    pub(crate) fn claim_waker(&self) -> bool {
        // Acquire pairs with `finish`. After it the body cannot see JOIN_WAKER, so the slot is ours.
        self.0.fetch_and(!JOIN_WAKER, Ordering::AcqRel) & DONE == 0
    }

    /// The join handle has written its waker. False: the fiber is done and will not read it.
    #[inline]
    #[must_use]
    pub(crate) fn publish_waker(&self) -> bool {
        // Release pairs with `finish`: the waker is there when the bit is.
        self.0.fetch_or(JOIN_WAKER, Ordering::AcqRel) & DONE == 0
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0.load(Ordering::Relaxed);
        let mut first = true;
        for (bit, name) in NAMES {
            if word & bit != 0 {
                if !first {
                    f.write_str("|")?;
                }
                first = false;
                f.write_str(name)?;
            }
        }
        if word & (PARKED | DONE) == 0 {
            f.write_str(if first { "RUNNING" } else { "|RUNNING" })?;
        }
        Ok(())
    }
}
