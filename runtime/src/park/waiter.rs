//! A wait of ours with a condition of its own: the caller, fiber or thread, until it holds.
//!
//! A wake only makes the caller look again, so a wake meant for another wait of the same fiber is
//! neither eaten nor mistaken.

use crossbeam_utils::sync::{Parker, Unparker};

use crate::current::{self, ThreadState};
use crate::fiber::{FiberRef, Resumed, Running, unwind_to};

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
        self.until_or(&mut Calm(false), condition, || {});
    }

    /// The same. If the caller is asked to unwind further than out of this wait, `pass_on` is called,
    /// once, as soon as that unwind could begin.
    pub(crate) fn until_or(
        &self,
        calm: &mut Calm,
        mut condition: impl FnMut() -> bool,
        pass_on: impl FnOnce(),
    ) {
        match self {
            Waiting::Fiber(running) => {
                // The caller may have called user's code since it asked.
                let running = running.still();
                let depth = running.header().shield.get();
                let (mut pass_on, mut resumed) = (Some(pass_on), Resumed::Before);
                running.shielded(|| {
                    while !condition() {
                        if pass_on.is_some() && running.header().is_cut_short() {
                            calm.0 |= running.is_calm(resumed);
                            match running.target(depth) {
                                Some(_) if calm.0 => {
                                    if let Some(pass_on) = pass_on.take() {
                                        pass_on();
                                    }
                                    continue;
                                }
                                Some(_) => current::defer_cancel(running),
                                None => {}
                            }
                        }
                        running.park();
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

/// Unwinds the caller, if it is a fiber that was asked to.
pub(crate) fn unwind_if_asked(calm: &Calm) {
    if let ThreadState::Fiber(running) = current::state()
        && running.header().is_cut_short()
        && (calm.0 || running.is_calm(Resumed::Before))
        && let Some(target) = running.target(running.header().shield.get())
        && cfg!(panic = "unwind")
    {
        unwind_to(target);
    }
}

/// Whether the caller is surely not being unwound by code outside of the frame that asks (S9). That does
/// not change while the frame lives, so once known it stays known.
pub(crate) struct Calm(bool);

impl Calm {
    pub(crate) fn now() -> Calm {
        Calm(!std::thread::panicking())
    }

    /// For a caller that knows it.
    pub(crate) fn sure() -> Calm {
        Calm(true)
    }
}
