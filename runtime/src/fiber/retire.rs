//! The end of a fiber whose stack cannot be gone on with: it leaves without unwinding, and its stack is retired (S4).
//!
//! Nothing on the stack is touched: others may have pointers to pinned values in its frames, whose destructors never
//! run. So the thread does not go on at the base of the stack, where frames would be overwritten, but below the frame
//! that waits on its worker's own.

use std::arch::asm;

use switch_asm::arch;
use switch_asm::stack::StackPointer;
use switch_asm::trap::TrapHandlerRegs;

use super::after_switch::AfterSwitch;
use super::body::refuse;
use super::record::{FiberPtr, FiberRef, Header};
use super::state::HOOKED;
use crate::error::JoinError;

impl Header {
    /// The address of the word that leads from the fiber's stack to its worker's.
    pub(crate) fn link(&self) -> usize {
        self.link.parent_link().addr()
    }

    /// Whether the stack with this base is the fiber's.
    pub(crate) fn is_on(&self, base: StackPointer) -> bool {
        self.base.get() == Some(base)
    }

    /// Whether thread-locals have its content while it runs (`Builder::on_switch`).
    pub(crate) fn is_hooked(&self) -> bool {
        self.state.has(HOOKED)
    }

    /// Whether it was spawned with borrows (S5).
    pub(crate) fn is_scoped(&self) -> bool {
        self.on_end().is_some()
    }
}

/// The registers with which a thread leaves the stack of this fiber, to its worker, with
/// `AfterSwitch::RETIRE`.
///
/// # Safety
/// The thread was interrupted on that stack, on which it goes on with these registers, or never. In a signal
/// handler that runs on neither of the two stacks.
pub(crate) unsafe fn leaving(header: &Header) -> TrapHandlerRegs {
    let link = header.link.parent_link();
    // SAFETY: a stack that runs has its parent's stack pointer there.
    let parent = unsafe { link.read() }.get();
    // As if called: a return address on top of an aligned stack. It is zero, where walks end.
    let top = ((parent - arch::PARENT_STACK_OFFSET) & !(arch::STACK_ALIGNMENT - 1)) - 8;
    // SAFETY: below the parent's stack pointer nothing is in use while its child runs.
    unsafe { std::ptr::with_exposed_provenance_mut::<usize>(top).write(0) };
    TrapHandlerRegs {
        rip: leave as *const () as usize as u64,
        rsp: top as u64,
        rbp: link.addr() as u64,
        rdi: link.addr() as u64,
        rsi: 0,
    }
}

/// # Safety
/// Entered with the registers of `leaving`.
unsafe extern "C" fn leave(parent_link: *mut StackPointer) -> ! {
    // SAFETY: what was interrupted may have used the x87 registers, which a call expects to be empty.
    unsafe { asm!("emms", options(nomem, nostack, preserves_flags)) };
    // SAFETY: this is below the worker's frame that the link points to, so it stays until the switch; the frames of the
    // fiber are never used again, nor freed: whoever got us here has that from the user (`Builder::kill_on_overflow`).
    unsafe { arch::switch_and_reset(AfterSwitch::RETIRE.encode(), parent_link) }
}

/// Gives the fiber its result, and its stack up. Its own reference is still to be given up.
///
/// # Safety
/// On its worker's stack, after `AfterSwitch::RETIRE`.
pub(crate) unsafe fn retire(fiber: FiberPtr) {
    // SAFETY: the fiber's own reference keeps it live.
    let header = unsafe { fiber.header() };
    // Frames that stay may point to the record without counting it.
    // SAFETY: live, as above.
    std::mem::forget(unsafe { FiberRef::count(fiber) });
    header.locals.leak();
    let error = JoinError::overflow(header.identity());
    // SAFETY: its body never comes back, so what the body owned is ours: nothing in the record, or a closure so large that
    // the first frame did not fit the stack.
    unsafe { refuse(fiber, error) };
}
