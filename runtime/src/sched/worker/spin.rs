//! Whether a worker that has nothing to run looks a little longer before it sleeps.
//!
//! A sleep that another thread ends takes the kernel of both some microseconds. So a worker that was called soon after it slept looks for a while
//! first: for twice as long as such an end takes, because who calls may have to be woken for that itself. Whether a sleep or a look would have been better
//! is known only afterwards; in this way a wrong choice costs a small multiple of the right one (A. Karlin, K. Li, M. Manasse, S. Owicki,
//! "Empirical studies of competitive spinning for a shared-memory multiprocessor", SOSP 1991). After a look for nothing it takes
//! twice as many short sleeps to the next, so looks that never help, as where two workers share a processor, cost little.
//!
//! A look changes nothing that others see: to them the worker is awake.

use std::cell::Cell;
use std::hint::spin_loop;

use super::Worker;
use crate::sched::stats::add;
use crate::sched::ticks::ticks;

/// In ticks, what the end of a sleep takes until it has been measured, and at the most. (Measured: 2 µs where the processor is not
/// idle, 25 in a virtual machine where it is.) In models, where time stands still, a look is one look.
const WAKE_TAKES: u64 = if cfg!(sisal_loom) { 0 } else { 10_000 };
const WAKE_TAKES_MOST: u64 = 5 * WAKE_TAKES;

/// Short sleeps before the first look. In a model it is before the first sleep.
const WANTED_FIRST: u32 = if cfg!(sisal_loom) { 0 } else { 1 };

/// So many short sleeps at the most have to be seen before the next look.
const MOST_WANTED: u32 = 256;

/// Rounds between two looks at what is fresh, which is in places that others write to all the time.
const FRESH_INTERVAL: u32 = 16;

/// What a worker knows of its sleeps.
pub(super) struct Spin {
    /// Short sleeps to be seen before the next look.
    wanted: Cell<u32>,
    /// The same after the next look for nothing.
    then_wanted: Cell<u32>,
    slept_at: Cell<u64>,
    /// From the call that ends a sleep until the worker runs, on average.
    wake_takes: Cell<u64>,
}

impl Spin {
    pub(super) fn new() -> Spin {
        Spin {
            wanted: Cell::new(WANTED_FIRST),
            then_wanted: Cell::new(1),
            slept_at: Cell::new(0),
            wake_takes: Cell::new(WAKE_TAKES),
        }
    }

    /// How long a look is, at the most.
    fn worth(&self) -> u64 {
        2 * self.wake_takes.get()
    }

    /// A sleep begins.
    pub(super) fn slept(&self, now: u64) {
        self.slept_at.set(now);
    }

    /// Another thread ended it, at that time.
    pub(super) fn was_woken(&self, at: u64, now: u64) {
        // Clocks of two processors: "before" may be a little after.
        let took = now.saturating_sub(at).min(WAKE_TAKES_MOST);
        self.wake_takes.set((3 * self.wake_takes.get() + took) / 4);
        if at.saturating_sub(self.slept_at.get()) < self.worth() {
            self.wanted.set(self.wanted.get().saturating_sub(1));
        }
    }

    fn found(&self) {
        self.then_wanted.set((self.then_wanted.get() / 2).max(1));
    }

    fn found_nothing(&self) {
        let wanted = self.then_wanted.get();
        self.wanted.set(wanted);
        self.then_wanted.set((2 * wanted).min(MOST_WANTED));
    }
}

/// What a look came to.
pub(super) enum Look {
    /// There is something.
    Found,
    /// The turn is old: tokio's tasks, timers and I/O come before a look.
    Later,
    /// It is time to sleep.
    Nothing,
}

impl Worker {
    /// Nothing to run, in a turn that began at `turn_begun`: looks for a while, if that may pay.
    #[inline]
    pub(super) fn spin(&self, turn_begun: u64) -> Look {
        match self.spin.wanted.get() {
            0 => self.look_longer(turn_begun),
            _ => Look::Nothing,
        }
    }

    #[cold]
    fn look_longer(&self, turn_begun: u64) -> Look {
        let (shared, stats) = (&self.shared, &self.remote().stats);
        let (begun, worth) = (ticks(), self.spin.worth());
        if begun.wrapping_sub(turn_begun) > worth {
            return Look::Later;
        }
        if self.searching.get() && !self.may_start() {
            // Pushers would rely on this worker meanwhile.
            self.stop_searching();
        }
        add(&stats.spins, 1);
        let is_alone = self.queues.is_alone();
        let has_fresh = || match is_alone {
            true => !shared.injector.is_empty(),
            false => self.searching.get() && shared.has_fresh(),
        };
        for round in 0_u32.. {
            if !self.remote().inbox.is_empty() || (round % FRESH_INTERVAL == 0 && has_fresh()) {
                self.spin.found();
                return Look::Found;
            }
            if ticks().wrapping_sub(begun) >= worth || shared.shutdown.is_closed() {
                break;
            }
            spin_loop();
        }
        add(&stats.vain_spins, 1);
        self.spin.found_nothing();
        Look::Nothing
    }
}

#[cfg(all(test, not(sisal_loom)))]
mod tests {
    use super::{MOST_WANTED, Spin, WAKE_TAKES, WAKE_TAKES_MOST};

    /// A sleep of so many ticks, the end of which takes as long as is expected.
    fn sleep(spin: &Spin, ticks: u64) {
        spin.slept(1_000);
        let at = 1_000 + ticks;
        spin.was_woken(at, at + spin.wake_takes.get());
    }

    /// Short sleeps until it looks longer.
    fn short_sleeps(spin: &Spin) -> u32 {
        let mut sleeps = 0;
        while spin.wanted.get() > 0 {
            sleep(spin, spin.worth() - 1);
            sleeps += 1;
        }
        sleeps
    }

    #[test]
    fn only_a_short_sleep_leads_to_a_look() {
        let spin = Spin::new();
        sleep(&spin, spin.worth());
        assert_eq!(spin.wanted.get(), 1);
        assert_eq!(short_sleeps(&spin), 1);
        // And looks that find something go on.
        spin.found();
        assert_eq!(spin.wanted.get(), 0);
    }

    #[test]
    fn after_each_look_for_nothing_it_takes_twice_as_many() {
        let spin = Spin::new();
        let mut all = short_sleeps(&spin);
        for looks in 0..20 {
            spin.found_nothing();
            let wanted = short_sleeps(&spin);
            assert_eq!(wanted, (1 << looks).min(MOST_WANTED));
            all += wanted;
        }
        assert_eq!(all, 1 + 255 + 12 * MOST_WANTED);
        // One that pays takes half of that back, down to one.
        spin.found();
        spin.found_nothing();
        assert_eq!(short_sleeps(&spin), MOST_WANTED / 2);
        (0..20).for_each(|_| spin.found());
        spin.found_nothing();
        assert_eq!(short_sleeps(&spin), 1);
    }

    #[test]
    fn a_look_is_as_long_as_two_ends_of_a_sleep_within_limits() {
        let spin = Spin::new();
        assert_eq!(spin.worth(), 2 * WAKE_TAKES);
        for (takes, most) in [(500, 1_010), (u64::MAX / 2, 2 * WAKE_TAKES_MOST)] {
            for _ in 0..50 {
                spin.slept(0);
                spin.was_woken(0, takes);
            }
            assert!(
                (most - 10..=most).contains(&spin.worth()),
                "{}",
                spin.worth()
            );
        }
        // The caller's clock is a little ahead.
        spin.slept(100);
        spin.was_woken(90, 80);
        assert!(spin.worth() < 2 * WAKE_TAKES_MOST);
    }
}
