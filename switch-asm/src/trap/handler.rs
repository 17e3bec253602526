//! Making a coroutine that faulted end. Must not know about signals.

use core::fmt;
use core::marker::PhantomData;

use crate::arch::{self, TrapHandlerRegs};
use crate::coroutine::finish;
use crate::stack::{Stack, StackPointer};
use crate::unwind;

/// The way out of a coroutine that faulted, for a signal handler.
///
/// It borrows nothing, so that it can lie in a thread-local or a static. It is
/// of use as long as its coroutine lives.
pub struct CoroutineTrapHandler<Return> {
    base: StackPointer,
    limit: StackPointer,
    // It makes a `Return`, on the stack of the coroutine.
    marker: PhantomData<fn() -> Return>,
}

impl<Return> CoroutineTrapHandler<Return> {
    /// # Safety
    ///
    /// Whatever runs on `stack` is entered by `Coroutine::resume` of a coroutine
    /// that returns `Return`.
    pub(crate) unsafe fn of_stack(stack: &impl Stack) -> Self {
        CoroutineTrapHandler {
            base: stack.base(),
            limit: stack.limit(),
            marker: PhantomData,
        }
    }

    /// Whether the stack pointer of a fault is on the stack of this coroutine,
    /// its guard included: an overflow is on it.
    ///
    /// Means something as long as the coroutine lives.
    pub fn stack_ptr_in_bounds(&self, stack_ptr: usize) -> bool {
        (self.limit.get()..=self.base.get()).contains(&stack_ptr)
    }

    /// Makes the interrupted coroutine run `f`, and end with what it returns:
    /// [`resume`](crate::Coroutine::resume) returns that. If `f` panics, the
    /// panic continues in the parent as any panic of the coroutine does.
    ///
    /// `f` has the whole stack for itself: what was on it is overwritten, and no
    /// destructor there runs. Returns the registers that the signal handler puts
    /// into the interrupted context before it returns.
    ///
    /// # Safety
    ///
    /// - The coroutine lives and runs, and was interrupted while its stack
    ///   pointer was on its stack: see
    ///   [`stack_ptr_in_bounds`](Self::stack_ptr_in_bounds).
    /// - The interrupted context is given all of these registers, and goes on.
    /// - Nothing relies on what the coroutine left behind: destructors, borrows
    ///   of what was on its stack, locks, memory that it was changing, state of
    ///   the thread that it was in the middle of updating. Code that may fault
    ///   touches nothing outside of its stack, except by volatile access or
    ///   assembly.
    /// - `f` does not fault again, and fits on the stack.
    pub unsafe fn setup_trap_handler<F>(&self, f: F) -> TrapHandlerRegs
    where
        F: FnOnce() -> Return + 'static,
    {
        /// # Safety
        ///
        /// A `TrapFunc` on the stack of a coroutine that returns `Return`.
        unsafe extern "C-unwind" fn leave<F: FnOnce() -> Return, Return>(
            f: *mut F,
            parent_link: &mut StackPointer,
        ) -> ! {
            let parent_link = &raw mut *parent_link;
            // SAFETY: `setup_trap_trampoline` put it there for us to take.
            let result = unwind::catch_at_root(unsafe { f.read() });
            // SAFETY: the parent waits for the end of this coroutine; what was
            // on the stack is given up, and `f` is gone.
            unsafe { finish(result, parent_link) }
        }
        // SAFETY: this function's contract.
        unsafe { arch::setup_trap_trampoline(self.base, f, leave::<F, Return>) }
    }
}

impl<Return> Clone for CoroutineTrapHandler<Return> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Return> Copy for CoroutineTrapHandler<Return> {}

impl<Return> fmt::Debug for CoroutineTrapHandler<Return> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoroutineTrapHandler")
            .field("base", &format_args!("{:#x}", self.base))
            .field("limit", &format_args!("{:#x}", self.limit))
            .finish_non_exhaustive()
    }
}
