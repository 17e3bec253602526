//! Ending a coroutine that is suspended: unwinding it, on request or on drop.
//! Must not know how an unwind is started.

#[cfg(feature = "asm-unwind")]
use core::mem::ManuallyDrop;

use super::Coroutine;
#[cfg(all(feature = "unwind", not(feature = "asm-unwind")))]
use super::CoroutineResult;
use crate::arch;
#[cfg(feature = "asm-unwind")]
use crate::arch::EncodedValue;
use crate::stack::{Stack, StackPointer};
#[cfg(feature = "asm-unwind")]
use crate::transfer::{decode, encode};
use crate::unwind;

impl<Input, Yield, Return, S: Stack> Coroutine<Input, Yield, Return, S> {
    /// Unwinds the coroutine, so that all destructors on its stack run, and
    /// leaves it done. Dropping it does the same.
    ///
    /// The unwind starts where it is suspended, and no panic hook runs. If the
    /// coroutine catches it and suspends again, it starts anew there: a
    /// coroutine that does so for ever is waited for for ever. A value that it
    /// yields or returns meanwhile is dropped.
    ///
    /// A coroutine that never ran just drops its closure, one that is done does
    /// nothing.
    ///
    /// # Panics
    ///
    /// With any other panic that leaves the coroutine meanwhile; it is done all
    /// the same. Without the feature `unwind`, always if the coroutine is
    /// suspended after its start. With `panic = "abort"` the process aborts.
    pub fn force_unwind(&mut self) {
        if let Some(sp) = self.stack_ptr {
            self.force_unwind_at(sp);
        }
    }

    #[cold]
    fn force_unwind_at(&mut self, sp: StackPointer) {
        if self.started() {
            return self.unwind_frames(sp);
        }
        // Done before the closure's destructors run: they may panic.
        self.stack_ptr = None;
        // SAFETY: it never ran, and never will.
        unsafe { arch::drop_initial_obj(self.stack.base(), sp, self.drop_fn) };
    }

    #[cfg(feature = "unwind")]
    fn unwind_frames(&mut self, mut sp: StackPointer) {
        let request = unwind::ForcedUnwind(self.initial_stack_ptr);
        loop {
            match self.unwind_once(sp, request) {
                Ok(Some(suspended)) => sp = suspended,
                Ok(None) => return,
                Err(payload) => return unwind::finish(request, payload),
            }
        }
    }

    /// Unwinds from the suspension at `sp` to where the coroutine catches that
    /// and suspends, or to its end.
    #[cfg(all(feature = "unwind", not(feature = "asm-unwind")))]
    fn unwind_once(
        &mut self,
        sp: StackPointer,
        request: unwind::ForcedUnwind,
    ) -> Result<Option<StackPointer>, unwind::Payload> {
        // SAFETY: it has started and is suspended at `sp`.
        match unsafe { self.switch(sp, Err(request)) } {
            CoroutineResult::Yield(_) => Ok(self.stack_ptr),
            CoroutineResult::Return(result) => result.map(|_| None),
        }
    }

    #[cfg(feature = "asm-unwind")]
    fn unwind_once(
        &mut self,
        sp: StackPointer,
        request: unwind::ForcedUnwind,
    ) -> Result<Option<StackPointer>, unwind::Payload> {
        /// # Safety
        ///
        /// `request` encodes a `ForcedUnwind`.
        unsafe extern "C-unwind" fn throw(request: EncodedValue) -> ! {
            // SAFETY: this function's contract.
            unwind::start(unsafe { decode(request) })
        }

        self.stack_ptr = None;
        let base = self.stack.base();
        let back = unwind::catch_at_parent(|| {
            let mut request = ManuallyDrop::new(request);
            // SAFETY: it has started and is suspended at `sp`, which belongs to
            // the base; `throw` decodes the request at once.
            unsafe { arch::switch_and_throw(throw, encode(&mut request), sp, base) }
        })?;
        // SAFETY: this is what the switch returned.
        drop(unsafe { self.switched_back(back) });
        Ok(self.stack_ptr)
    }

    #[cfg(not(feature = "unwind"))]
    fn unwind_frames(&mut self, _: StackPointer) {
        panic!(
            "a suspended coroutine cannot be unwound: the feature `unwind` of switch-asm is off"
        );
    }
}

impl<Input, Yield, Return, S: Stack> Drop for Coroutine<Input, Yield, Return, S> {
    fn drop(&mut self) {
        // With `unwind`, a panic that gets out of here left nothing on the stack.
        // Without, the frames are still there and must not lose their memory.
        #[cfg(not(feature = "unwind"))]
        let guard = unwind::NoUnwind("a suspended coroutine was dropped");
        self.force_unwind();
        #[cfg(not(feature = "unwind"))]
        core::mem::forget(guard);
    }
}
