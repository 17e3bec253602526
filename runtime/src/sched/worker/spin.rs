//! Whether a worker that has nothing to run looks a little longer before it sleeps.
//!
//! A sleep that another thread ends takes the kernel of both some microseconds. So a worker that was called soon after it slept looks for a while
//! first: for twice as long as such an end takes, because who calls may have to be woken for that itself. Which of the two would have been better is known
//! only afterwards; in the manner of A. Karlin, K. Li, M. Manasse, S. Owicki, "Empirical studies of competitive spinning for a
//! shared-memory multiprocessor", SOSP 1991, the time spent is held against what it saves:
//!
//! - After a look for nothing it takes twice as many short sleeps to the next, so looks that never help, as where two workers share a processor, cost little.
//! - What looks find saves a sleep each. If they have taken much longer than those sleeps would have, they stop, as after a look for nothing; and while
//!   all of them, those for nothing too, have taken longer, no look that finds something makes the next one come sooner.
//!
//! A worker that looks sets no flag: to others it is awake, and if it searches they rely on it as on any searcher.

use std::cell::Cell;
use std::hint::spin_loop;

use super::Worker;
use crate::sched::stats::add;
use crate::sched::ticks::ticks;

/// In ticks, what the end of a sleep takes until it has been measured, and at the most. (Measured: 2 µs where the processor is not
/// idle, 25 in a virtual machine where it is.) In models, where time stands still, a look is one look.
const WAKE_TAKES: u64 = if cfg!(sisal_loom) { 0 } else { 10_000 };
const WAKE_TAKES_MOST: u64 = 5 * WAKE_TAKES;

/// What a sleep and its end take of processor time, about: some 4 µs.
const SLEEP_COSTS: i64 = 10_000;
/// So much more than the sleeps that they saved may looks have taken, and so much less is remembered: some 100 µs.
const LEEWAY: i64 = 25 * SLEEP_COSTS;

/// Short sleeps before the first look. In a model it is before the first sleep.
const WANTED_FIRST: u32 = if cfg!(sisal_loom) { 0 } else { 1 };

/// So many short sleeps at the most have to be seen before the next look.
const MOST_WANTED: u32 = 256;

/// Rounds between two looks at what is fresh, which is in places that others write to all the time.
const FRESH_INTERVAL: u32 = 16;

/// Rounds until it searches, if not too many others do: pushers rely on it from then on and wake nobody.
const SEARCHES_AFTER: u32 = 4 * FRESH_INTERVAL;

/// What a worker knows of its sleeps.
pub(super) struct Spin {
    /// Short sleeps to be seen before the next look.
    wanted: Cell<u32>,
    /// The same after the next look for nothing.
    then_wanted: Cell<u32>,
    /// What looks have saved, less what they have taken.
    saved: Cell<i64>,
    slept_at: Cell<u64>,
    /// From the call that ends a sleep until the worker runs, on average.
    wake_takes: Cell<u64>,
}

impl Spin {
    pub(super) fn new() -> Spin {
        Spin {
            wanted: Cell::new(WANTED_FIRST),
            then_wanted: Cell::new(1),
            saved: Cell::new(0),
            slept_at: Cell::new(0),
            wake_takes: Cell::new(WAKE_TAKES),
        }
    }

    #[inline]
    pub(super) fn may_pay(&self) -> bool {
        self.wanted.get() == 0
    }

    /// How long a look is, at the most.
    fn worth(&self) -> u64 {
        2 * self.wake_takes.get()
    }

    /// A sleep begins.
    pub(super) fn slept(&self, now: u64) {
        self.slept_at.set(now);
    }

    /// It was not ended by its time or an event, but by somebody who had work, at that time.
    #[cold]
    pub(super) fn was_woken(&self, at: u64, now: u64) {
        // Clocks of two processors: "before" may be a little after.
        let took = now.saturating_sub(at).min(WAKE_TAKES_MOST);
        self.wake_takes.set((3 * self.wake_takes.get() + took) / 4);
        if at.saturating_sub(self.slept_at.get()) < self.worth() {
            self.wanted.set(self.wanted.get().saturating_sub(1));
        }
    }

    /// A look of so many ticks was as good as a sleep. (Of several that saw the same fresh fiber one has it; each counts it.)
    fn found(&self, took: u64) {
        let gain = SLEEP_COSTS.saturating_sub_unsigned(took);
        let saved = self.saved.get().saturating_add(gain).min(LEEWAY);
        self.saved.set(saved);
        if gain > 0 && saved >= 0 {
            self.then_wanted.set((self.then_wanted.get() / 2).max(1));
        } else if saved < -LEEWAY {
            self.saved.set(0);
            self.seldomer();
        }
    }

    /// All of it was for nothing.
    fn found_nothing(&self) {
        let saved = (self.saved.get()).saturating_sub_unsigned(self.worth());
        self.saved.set(saved.max(-LEEWAY));
        self.seldomer();
    }

    fn seldomer(&self) {
        let wanted = self.then_wanted.get();
        self.wanted.set(wanted);
        self.then_wanted.set((2 * wanted).min(MOST_WANTED));
    }
}

/// What a look came to.
pub(super) enum Look {
    /// There is something.
    Found,
    /// Timers and I/O come first: the turn is old.
    Later,
    /// It is time to sleep.
    Nothing,
}

impl Worker {
    /// Nothing to run: looks for a while. `has_run` something in the turn that began at `turn_begun`.
    #[cold]
    pub(super) fn look_longer(&self, turn_begun: u64, has_run: bool) -> Look {
        let (begun, worth) = (ticks(), self.spin.worth());
        // A task that is ready, or will be, would wait for the end of each look; nobody tells whether one is.
        if self.context.reactor.has_tasks() {
            return Look::Nothing;
        }
        // Not two turns in a row, whatever an empty one takes.
        if has_run && begun.wrapping_sub(turn_begun) > worth {
            if self.searching.get() {
                // Pushers would rely on this worker while it is elsewhere.
                self.stop_searching();
            }
            return Look::Later;
        }
        let may_start = self.may_start();
        if self.searching.get() && !may_start {
            // Pushers would rely on this worker meanwhile.
            self.stop_searching();
        }
        let (shared, stats) = (&self.shared, &self.remote().stats);
        add(&stats.spins, 1);
        let is_alone = self.queues.is_alone();
        let has_fresh = |round: u32| match is_alone {
            true => !shared.injector.is_empty(),
            // Only whom pushers rely on writes to the line that all of them write to: not in a short look.
            false if round < SEARCHES_AFTER => may_start && self.may_search() && shared.has_fresh(),
            false => may_start && self.begins_to_search() && shared.has_fresh(),
        };
        for round in 0_u32.. {
            if !self.remote().inbox.is_empty() || (round % FRESH_INTERVAL == 0 && has_fresh(round))
            {
                self.spin.found(ticks().wrapping_sub(begun));
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
    use super::{LEEWAY, MOST_WANTED, SLEEP_COSTS, Spin, WAKE_TAKES, WAKE_TAKES_MOST};

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
        spin.found(0);
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
        // Those that pay first pay for what these took.
        (0..LEEWAY / SLEEP_COSTS - 1).for_each(|_| spin.found(0));
        assert_eq!(spin.then_wanted.get(), MOST_WANTED);
        // From then on each takes half of that back, down to one.
        spin.found(0);
        spin.found_nothing();
        assert_eq!(short_sleeps(&spin), MOST_WANTED / 2);
        (0..20).for_each(|_| spin.found(100));
        spin.found_nothing();
        assert_eq!(short_sleeps(&spin), 1);
    }

    /// Each finds something, but takes three times as long as the sleep that it saves.
    #[test]
    fn looks_that_cost_more_than_they_save_stop() {
        let spin = Spin::new();
        let took = 3 * SLEEP_COSTS as u64;
        let most = (LEEWAY / (2 * SLEEP_COSTS)) as usize + 1;
        for times in 0..10 {
            short_sleeps(&spin);
            let looks = (0..).take_while(|_| {
                spin.found(took);
                spin.wanted.get() == 0
            });
            assert_eq!(looks.count() + 1, most);
            assert_eq!(spin.wanted.get(), (1 << times).min(MOST_WANTED));
        }
        // Good ones pay for some that are not.
        short_sleeps(&spin);
        (0..1_000).for_each(|_| spin.found(0));
        assert_eq!(spin.then_wanted.get(), 1);
        let looks = (0..).take_while(|_| {
            spin.found(took);
            spin.wanted.get() == 0
        });
        assert!((most..=2 * most).contains(&(looks.count() + 1)));
        // However long one was.
        spin.found(u64::MAX);
        assert!(spin.wanted.get() > 0);
    }

    /// Good ones that come by turns with ones for nothing, which take twice as long as a sleep.
    #[test]
    fn looks_that_pay_half_of_the_time_become_few() {
        let spin = Spin::new();
        let mut sleeps = 0;
        for _ in 0..1_000 {
            sleeps += short_sleeps(&spin);
            spin.found(100);
            spin.found_nothing();
        }
        assert!(sleeps > 900 * MOST_WANTED, "{sleeps}");
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
