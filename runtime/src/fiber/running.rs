//! The proof that code runs on a fiber's stack, and what only such code may do.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use switch_asm::arch;

use super::after_switch::AfterSwitch;
use super::record::{FiberPtr, FiberRef, Header};
use super::schedule::SwitchHooks;
use super::state::HOOKED;
use super::unwind::Resumed;
use crate::current;
use crate::keep::stays;

/// The running fiber, held by code on its stack. Made by [`current`] only; it does not
/// leave the frame that asked for it, so the fiber lives as long as it does.
///
/// One thing can come between: the frame may be on the stack of a coroutine, which user's code
/// called from that frame suspends, and which another fiber resumes. So whoever calls user's code
/// asks [`still`](Self::still) after it.
#[derive(Clone, Copy)]
pub(crate) struct Running {
    fiber: FiberPtr,
    not_send: PhantomData<*mut ()>,
}

impl Running {
    /// # Safety
    /// `fiber` is the fiber whose stack the caller is on.
    pub(crate) unsafe fn new(fiber: FiberPtr) -> Running {
        let not_send = PhantomData;
        Running { fiber, not_send }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: a running fiber is live.
        unsafe { self.fiber.header() }
    }

    pub(crate) fn ptr(self) -> FiberPtr {
        self.fiber
    }

    pub(crate) fn count(self) -> FiberRef {
        // SAFETY: a running fiber is live.
        unsafe { FiberRef::count(self.fiber) }
    }

    /// Before each operation that may be ready at once: yields now and then, so that timers, I/O and
    /// the other fibers of this worker go on beside a fiber whose operations are always ready.
    #[inline]
    pub(crate) fn pace(self) {
        /// As many as tokio's budget, which these operations do not spend.
        const READY_OPS: u32 = 128;
        let ready_ops = &self.header().ready_ops;
        if ready_ops.get() >= READY_OPS {
            self.yield_now();
        }
        ready_ops.set(ready_ops.get() + 1);
    }

    /// Goes on only if the caller is on the same fiber's stack as when it asked for this.
    #[inline]
    pub(crate) fn still(self) -> Running {
        match current::running() {
            Some(now) if now.fiber == self.fiber => self,
            _ => moved(),
        }
    }

    /// Leaves the stack until somebody calls for the fiber. May return without a call: the
    /// caller looks at its own condition and comes back.
    ///
    /// A fiber that was asked to unwinds here, before it leaves or after (S6).
    #[inline(always)]
    pub(crate) fn park(self) {
        self.header().ready_ops.set(0);
        self.suspend(AfterSwitch::PARK);
    }

    /// [`park`](Self::park) until something else that runs has ended: a child, a closure of the pool.
    /// That one is somebody's load meanwhile, and this fiber is none.
    #[inline(always)]
    pub(crate) fn park_for_end(self) {
        struct Counted;
        impl Drop for Counted {
            fn drop(&mut self) {
                current::awaits_end(-1);
            }
        }
        current::awaits_end(1);
        let _counted = Counted;
        self.park();
    }

    /// Lets the others run. A fiber that was asked to unwinds here.
    #[inline(always)]
    pub(crate) fn yield_now(self) {
        self.header().ready_ops.set(0);
        self.suspend(AfterSwitch::REQUEUE);
    }

    // Inlined into the function that waits: a `ret` between the switch and that function would not
    // be the one that the CPU's return predictor expects, nor would the next (13 ns each here).
    #[inline(always)]
    fn suspend(self, after: AfterSwitch) {
        // One look at the word for all. Without hooks this is not written: in memory, and not a value, so
        // that it takes no register either.
        let mut kept = MaybeUninit::uninit();
        if self.header().state.needs_more_than_a_switch() {
            self.before_switch(&mut kept);
        }
        // SAFETY: the caller is on the fiber's stack, whose parent link this is, and
        // its worker is linked there, waiting in `body::resume`.
        unsafe { arch::switch_yield(after.encode(), self.header().link.parent_link()) };
        if self.header().state.needs_more_than_a_switch() {
            // SAFETY: the fiber was hooked before the switch if it is now: that bit is for life.
            unsafe { self.after_switch(&kept) };
        }
    }

    /// What few switches do first: unwind if asked to, and call the user's `save`, whose word is written
    /// to `kept`.
    ///
    /// Not to be left, nor `after_switch`: the fiber's place may be in a list that does not count it (`waker::settle`).
    #[cold]
    #[inline(never)]
    #[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
    fn before_switch(self, kept: &mut MaybeUninit<*mut ()>) {
        self.unwind_if_asked(Resumed::Before);
        if let Some(hooks) = self.hooks() {
            let bomb = AbortOnUnwind;
            // SAFETY: `Builder::on_switch` promises it: on the fiber's stack, before it leaves.
            kept.write(unsafe { (hooks.save)() });
            std::mem::forget(bomb);
        }
        stays();
    }

    /// What few switches do last: call the user's `restore`, and unwind if asked to.
    ///
    /// # Safety
    /// `kept` was given to `before_switch` before this switch.
    #[cold]
    #[inline(never)]
    #[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
    unsafe fn after_switch(self, kept: &MaybeUninit<*mut ()>) {
        if let Some(hooks) = self.hooks() {
            let bomb = AbortOnUnwind;
            // SAFETY: hooked, so written; `Builder::on_switch` promises the rest: on the same
            // fiber's stack, with what its `save` gave.
            unsafe { (hooks.restore)(kept.assume_init()) };
            std::mem::forget(bomb);
        }
        self.unwind_if_asked(Resumed::JustNow);
        stays();
    }

    fn hooks(&self) -> Option<&SwitchHooks> {
        match self.header().state.has(HOOKED) {
            true => self.header().scheduler.on_switch(),
            false => None,
        }
    }

    /// A suspension point of a call that may not have to wait: a fiber that was asked to unwind
    /// does so here.
    #[inline(always)]
    pub(crate) fn unwind_if_cancelled(self) {
        self.unwind_if_asked(Resumed::Before);
    }

    #[inline(always)]
    fn unwind_if_asked(self, resumed: Resumed) {
        if self.header().state.is_cut_short() {
            self.unwind_unless_held_off(resumed);
        }
    }

    /// Runs `f` with everything held off that would unwind the fiber further than out of `f`.
    pub(crate) fn shielded<R>(self, f: impl FnOnce() -> R) -> R {
        struct Unshield(Running);
        impl Drop for Unshield {
            fn drop(&mut self) {
                // `f` may be user's code.
                let running = self.0.still();
                let shield = &running.header().shield;
                shield.set(shield.get() - 1);
            }
        }
        let shield = &self.header().shield;
        shield.set(shield.get() + 1);
        let _unshield = Unshield(self);
        f()
    }
}

/// A hook that panics would leave slots behind that nobody knows the state of.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        eprintln!("sisal: a hook of `Builder::on_switch` panicked");
        std::process::abort();
    }
}

/// Not a panic: an unwind would run the frames of a wait whose fiber is elsewhere or gone.
#[cold]
fn moved() -> ! {
    eprintln!("sisal: a coroutine suspended inside a wait of one fiber was resumed by another");
    std::process::abort()
}
