//! The primitives: moving control between stacks, by hand.
//!
//! This is what [`Coroutine`](crate::Coroutine) is built from, public for
//! runtimes that have their own idea of a coroutine. Everything here is unsafe
//! and there is no `Drop`: whoever calls owns the bookkeeping.
//!
//! # Life of a stack
//!
//! ```text
//!            init_stack                 switch_and_link (parent)
//!  empty ----------------> initialised ------------------------> running
//!    ^                         |                            ^       |   |
//!    |    drop_initial_obj     |            switch_and_link |       |   |
//!    |<------------------------+                   (parent) |       |   |
//!    |                                                  suspended <-+   |
//!    |                                         switch_yield (itself)    |
//!    |                                                                  |
//!    +------------------------------------------------------------------+
//!                              switch_and_reset (itself)
//! ```
//!
//! *Resume* is [`switch_and_link`]: the caller becomes the parent of the stack
//! it switches to. *Suspend* is [`switch_yield`]. The initial function never
//! returns: it ends with [`switch_and_reset`].
//!
//! # The parent link
//!
//! A word at a fixed place near the base of each stack:
//!
//! ```text
//! parent_link == stack_base - PARENT_LINK_OFFSET        for every stack (`ApartFrame::end` is the base of some)
//! ```
//!
//! While the stack runs, the link holds the parent's stack pointer, where the
//! parent's registers are saved. Every resume writes it anew, so a suspended
//! coroutine may be resumed by somebody else next time. The initial function
//! gets the address of the link as its second argument; a runtime that knows
//! the base can also compute it.
//!
//! # Unwinding
//!
//! Walks (backtraces, debuggers, profilers) continue from a coroutine into its
//! parent. A *panic* must not: the initial function and the function given to
//! [`on_stack`] catch everything, since an unwind out of an assembly block is
//! undefined behaviour.
//!
//! On nightly the feature `asm-unwind` declares that the blocks may unwind. Then
//! a panic goes from a coroutine into its parent like a walk, and
//! `switch_and_throw` starts one in a coroutine that waits.
//!
//! # Traps
//!
//! A stack that faulted (an overflow, a bad address) can be made to run a last
//! function instead of what it ran: a signal handler calls
//! [`setup_trap_trampoline`] and puts the registers that it gets into the
//! interrupted context.
//!
//! # Not switched
//!
//! The MXCSR and the x87 control word stay as they are, in both directions.
//!
//! # Example
//!
//! ```
//! use switch_asm::arch;
//! use switch_asm::stack::{DefaultStack, Stack, StackPointer};
//!
//! /// Adds one to what it is sent, once, then ends with zero.
//! unsafe extern "C-unwind" fn body(
//!     arg: arch::EncodedValue,
//!     parent_link: &mut StackPointer,
//!     step: *mut usize,
//! ) -> ! {
//!     unsafe {
//!         arch::switch_yield(arg + *step, parent_link);
//!         arch::switch_and_reset(0, parent_link)
//!     }
//! }
//!
//! let stack = DefaultStack::new(64 * 1024)?;
//! unsafe {
//!     let sp = arch::init_stack(&stack, body, 1_usize);
//!     let (answer, sp) = arch::switch_and_link(41, sp, stack.base());
//!     assert_eq!(answer, 42);
//!
//!     let suspended = sp.expect("switch_yield leaves a stack pointer");
//!     let (_, sp) = arch::switch_and_link(0, suspended, stack.base());
//!     assert_eq!(sp, None);
//! }
//! # Ok::<(), std::io::Error>(())
//! ```

cfg_if::cfg_if! {
    if #[cfg(all(target_os = "uefi", any(feature = "default-stack", feature = "unwind")))] {
        compile_error!("the features `default-stack` and `unwind` of switch-asm need Linux; turn them off");
    } else if #[cfg(all(
        target_arch = "x86_64",
        any(target_os = "linux", target_os = "uefi"),
        target_pointer_width = "64"
    ))] {
        mod x86_64;
        pub use x86_64::{
            ApartFrame, InitialFunc, PARENT_LINK_OFFSET, PARENT_STACK_OFFSET, STACK_ALIGNMENT, SavedRegs,
            StackWord, TrapFunc, TrapHandlerRegs, drop_initial_obj, init_stack, init_stack_apart,
            init_stack_unchecked, on_stack, saved_regs, setup_trap_trampoline, switch_and_link, switch_and_reset, switch_yield,
        };
        #[cfg(feature = "asm-unwind")]
        pub use x86_64::{ThrowFunc, switch_and_throw};
    } else {
        compile_error!("switch-asm runs on x86_64 Linux and UEFI only, so far");
    }
}

pub use crate::transfer::EncodedValue;
