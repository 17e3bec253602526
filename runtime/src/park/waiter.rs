//! A wait of ours with a condition of its own: the caller, fiber or thread, until it holds.
//!
//! A wake only makes the caller look again, so a wake meant for another wait of the same fiber is
//! neither eaten nor mistaken.

use crossbeam_utils::sync::{Parker, Unparker};

use crate::current::{self, ThreadState};
use crate::fiber::{FiberRef, Resumed, Running};

/// Who waits, for whoever ends the wait.
pub(crate) enum Waiter {
    Fiber(FiberRef),
    /// A parker of our own: the thread's std token is its user's.
    Thread(Unparker),
}

/// Who waits, in its own frame.
pub(crate) enum Waiting {
    Fiber(Running),
    Thread(Parker),
}

/// The caller as both. `call` and `instead` are for the panic on a worker's own stack (S10).
#[track_caller]
pub(crate) fn caller(call: &str, instead: &str) -> (Waiting, Waiter) {
    match current::state() {
        ThreadState::Fiber(running) => (Waiting::Fiber(running), Waiter::Fiber(running.count())),
        ThreadState::Worker => current::refuse_worker(call, instead),
        ThreadState::Plain => {
            let parker = Parker::new();
            let unparker = parker.unparker().clone();
            (Waiting::Thread(parker), Waiter::Thread(unparker))
        }
    }
}

impl Waiter {
    /// Makes the waiting side look at its condition.
    pub(crate) fn wake(&self) {
        match self {
            Waiter::Fiber(fiber) => fiber.wake(0),
            Waiter::Thread(unparker) => unparker.unpark(),
        }
    }
}

impl Waiting {
    /// Waits until `condition` holds, which is never cut short (S5): cancellation is held off.
    pub(crate) fn until(&self, condition: impl FnMut() -> bool) {
        self.until_or(condition, || {});
    }

    /// The same. If the caller is asked to unwind further than out of this wait, `pass_on` is called,
    /// once, as soon as that unwind could begin.
    pub(crate) fn until_or(&self, mut condition: impl FnMut() -> bool, pass_on: impl FnOnce()) {
        match self {
            Waiting::Fiber(running) => {
                // The caller may have called user's code since it asked.
                let running = running.still();
                let depth = running.header().shield.get();
                let (mut pass_on, mut resumed) = (Some(pass_on), Resumed::Before);
                running.shielded(|| {
                    while !condition() {
                        if pass_on.is_some()
                            && running.header().is_cut_short()
                            && running.target(depth, resumed).is_some()
                            && let Some(pass_on) = pass_on.take()
                        {
                            pass_on();
                            continue;
                        }
                        running.park_for_end();
                        resumed = Resumed::JustNow;
                    }
                });
            }
            Waiting::Thread(parker) => {
                while !condition() {
                    parker.park();
                }
            }
        }
    }
}
