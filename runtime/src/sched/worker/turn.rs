//! A worker's turn: one poll of the root future.
//!
//! It goes in stretches of fibers that are bound here. What need not be looked at before each of them is looked at between two stretches.

use std::task::Waker;
use std::time::Instant;

use super::Worker;
use super::spin::Look;
use crate::driver::Turn;
use crate::fiber::FiberPtr;
use crate::sched::placement::LEAST_BAR;
use crate::sched::queues::{FAIRNESS_INTERVAL, Pick};
use crate::sched::stats::add;
use crate::sched::ticks::ticks;
use crate::shim::Ordering;

/// So many times a turn that is shorter than `Config::least_turn` goes on.
const MOST_INTERVALS: u32 = 15;

/// How far a turn has come.
struct Way {
    /// What is left of the stretch.
    left: u32,
    stretch: u32,
    /// When the stretch began.
    interval_left: u32,
    intervals: u32,
    switches: u64,
    begun: u64,
}

impl Way {
    /// The stretch ends here. How many fibers it had.
    fn end_stretch(&mut self) -> u32 {
        let run = self.stretch - self.left;
        (self.stretch, self.left) = (0, 0);
        self.interval_left -= run;
        self.switches += u64::from(run);
        run
    }

    fn has_run(&self) -> bool {
        self.switches > 0 || self.stretch > self.left
    }
}

/// How a turn goes on.
enum Next {
    Run(Pick),
    /// There may be something now.
    Look,
    End(Turn),
}

impl Worker {
    /// Fibers until there are none, or tokio has to have a look.
    pub(super) fn turn(&self, reactor: &Waker) -> Turn {
        self.in_turn.set(true);
        self.turn_asked.set(false);
        self.bar.set(LEAST_BAR);
        self.wake_up(reactor);
        let stats = &self.remote().stats;
        add(&stats.turns, 1);
        let timers = &self.context.timers;
        if !timers.is_empty() {
            timers.fire(|fiber| {
                if !self.wake(fiber, 0) {
                    // SAFETY: those that a timer calls for are live.
                    unsafe { fiber.wake(0) };
                }
            });
        }
        let turn = self.run_fibers();
        self.in_turn.set(false);
        let mut ready = 0;
        let turn = match turn {
            Turn::Sleep => self.next_alarm().map_or(turn, Turn::SleepUntil),
            Turn::SleepUntil(end) => {
                Turn::SleepUntil(self.next_alarm().map_or(end, |next| end.min(next)))
            }
            Turn::Again => {
                self.tidy_beside_work();
                ready = self.queues.ready_len();
                turn
            }
            Turn::Exit => turn,
        };
        stats.ready.store(ready, Ordering::Relaxed);
        if !self.queues.is_alone() {
            self.publish_load(self.remote().bound.load(Ordering::Relaxed));
        }
        turn
    }

    /// When a sleep is to end. (Only fibers, in turns, begin to sleep: what is the next now stays the next.)
    #[inline]
    fn next_alarm(&self) -> Option<Instant> {
        let timer = self.context.timers.next();
        match self.tidy_at.get() {
            None => timer,
            Some(tidy) => Some(timer.map_or(tidy, |timer| timer.min(tidy))),
        }
    }

    fn run_fibers(&self) -> Turn {
        let config = &self.shared.config;
        let mut way = Way {
            left: 0,
            stretch: 0,
            interval_left: config.event_interval,
            intervals: 0,
            switches: 0,
            begun: ticks(),
        };
        // Most turns are short: what a look would say is known. But others rely on a searcher until it has told them that it has found
        // something, which the first pick of a stretch does not.
        if !self.searching.get() && !self.shared.shutdown.is_closed() {
            self.begin_stretch(&mut way);
        }
        let turn = loop {
            let bound = match way.left {
                0 => None,
                _ => self.queues.pick_bound(),
            };
            let fiber = match bound {
                Some(fiber) => fiber,
                None => match self.next(&mut way) {
                    Next::Run(Pick::Started(fiber)) => fiber,
                    Next::Run(Pick::Fresh(fiber)) => {
                        way.left -= 1;
                        if self.run_fresh(fiber) {
                            continue;
                        }
                        break Turn::Again;
                    }
                    Next::Look => continue,
                    Next::End(turn) => break turn,
                },
            };
            way.left -= 1;
            if !self.run(fiber) {
                break Turn::Again;
            }
        };
        self.park_lingering();
        self.end_stretch(&mut way);
        add(&self.remote().stats.switches, way.switches);
        turn
    }

    /// None begins if the next pick is for fairness.
    #[inline]
    fn begin_stretch(&self, way: &mut Way) {
        way.stretch = way.interval_left.min(self.fair_in.get());
        way.left = way.stretch;
    }

    #[inline]
    fn end_stretch(&self, way: &mut Way) {
        let run = way.end_stretch();
        self.fair_in.set(self.fair_in.get() - run);
    }

    /// The stretch is over, or nothing that is bound here comes first.
    #[inline(always)] // the only call
    fn next(&self, way: &mut Way) -> Next {
        let mut first = None;
        // What is fresh does not run in a runtime that closes.
        if way.left == 0 || self.shared.shutdown.is_closed() != self.draining.get() {
            if let Some(turn) = self.look(way) {
                return Next::End(turn);
            }
            if self.fair_in.get() == 0 {
                // Fair to who was called by another thread while it lingers.
                self.park_lingering();
                first = self.pick_for_fairness().map(Pick::Fresh);
            }
            self.begin_stretch(way);
            first = first.or_else(|| self.queues.pick_bound().map(Pick::Started));
        }
        let pick = first
            .or_else(|| self.find())
            .or_else(|| self.pick_lingering());
        if let Some(pick) = pick {
            if let Pick::Fresh(_) = pick {
                self.tell_fresh();
            }
            if self.searching.get() {
                self.stop_searching();
            }
            return Next::Run(pick);
        }
        if self.tidy() {
            return Next::End(Turn::Again);
        }
        if self.spin.may_pay() {
            match self.look_longer(way.begun, way.has_run()) {
                Look::Found => {
                    self.end_stretch(way);
                    return Next::Look;
                }
                Look::Later => return Next::End(Turn::Again),
                Look::Nothing => {}
            }
        }
        if let Some(sleep) = self.fall_asleep() {
            return Next::End(sleep);
        }
        // Perhaps there is only the shutdown to look at.
        self.end_stretch(way);
        Next::Look
    }

    /// Between two stretches: whether this turn ends.
    #[inline(never)]
    fn look(&self, way: &mut Way) -> Option<Turn> {
        self.end_stretch(way);
        let config = &self.shared.config;
        if way.interval_left == 0 {
            // Whatever the clock says, an event does not wait for ever.
            let short = way.intervals < MOST_INTERVALS && config.least_turn > 0;
            if !short || ticks().wrapping_sub(way.begun) >= config.least_turn {
                // tokio looks at timers and I/O.
                return Some(Turn::Again);
            }
            way.intervals += 1;
            way.interval_left = config.event_interval;
        }
        (self.shared.shutdown.is_closed() && self.drain()).then_some(Turn::Exit)
    }

    #[cold]
    fn pick_for_fairness(&self) -> Option<FiberPtr> {
        let may_start = || self.may_start() || self.is_impatient();
        let (fiber, again) =
            (self.queues).pick_for_fairness(&self.shared, self.remote(), may_start);
        // This pick included.
        self.fair_in.set(if again { 1 } else { FAIRNESS_INTERVAL });
        fiber
    }
}
