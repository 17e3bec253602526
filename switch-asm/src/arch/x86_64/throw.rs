//! Starting an unwind in a stack that waits. Nightly only: the assembly blocks
//! must be allowed to unwind. Must not know what is thrown.

use core::arch::asm;
use core::mem::offset_of;

use super::layout::{PARENT_LINK_OFFSET, StackWord, SuspendedFrame};
use crate::sanitizer;
use crate::stack::StackPointer;
use crate::transfer::EncodedValue;

/// What [`switch_and_throw`] calls. It ends by unwinding, or not at all.
pub type ThrowFunc = unsafe extern "C-unwind" fn(arg: EncodedValue) -> !;

/// Calls `throw(arg)` on the stack at `sp`, as if the
/// [`switch_yield`](super::switch_yield) that it waits in had called it. The
/// caller becomes its parent.
///
/// The unwind runs the destructors on that stack. If nothing catches it, it
/// leaves the initial function and this function too, and the stack is done. If
/// something does, the stack goes on and this function returns when it switches
/// back, like [`switch_and_link`](super::switch_and_link).
///
/// # Safety
///
/// As for [`switch_and_link`](super::switch_and_link), and:
///
/// - the stack is suspended in `switch_yield`: one that never ran has nothing to
///   unwind;
/// - `throw` accepts `arg` and does not return;
/// - all frames on the stack may be unwound.
#[inline(never)]
pub unsafe fn switch_and_throw(
    throw: ThrowFunc,
    arg: EncodedValue,
    sp: StackPointer,
    stack_base: StackPointer,
) -> (EncodedValue, Option<StackPointer>) {
    let value: EncodedValue;
    let child_sp: usize;
    let mut resume = sanitizer::Resume::new(stack_base);
    // SAFETY: by the contract RDX points to a `SuspendedFrame` of `switch_yield`.
    // Its RBX, RBP and RIP with an RSP above the frame are the state that the
    // unwind rows of that place expect. Control comes back to label 2 as in
    // `switch_and_link`, or as an unwind that the trampoline's rows describe.
    unsafe {
        resume.start();
        asm!(
            // A ParentFrame, and the link to it.
            "push rbx",
            "lea rax, [rip + 2f]",
            "push rax",
            "push rbp",
            "mov [rsi - {parent_link}], rsp",
            // The registers of the stack, and RIP as a return address right
            // below what it had in use, over the saved RBP.
            "mov rax, [rdx + {saved_rip}]",
            "mov rbx, [rdx + {saved_rbx}]",
            "mov rbp, [rdx + {saved_rbp}]",
            "lea rsp, [rdx + {frame} - {word}]",
            "mov [rsp], rax",
            // The argument is in RDI.
            "jmp rcx",
            "2:",
            "pop rbx",
            parent_link = const PARENT_LINK_OFFSET,
            saved_rip = const offset_of!(SuspendedFrame, rip),
            saved_rbx = const offset_of!(SuspendedFrame, rbx),
            saved_rbp = const offset_of!(SuspendedFrame, rbp),
            frame = const size_of::<SuspendedFrame>(),
            word = const size_of::<StackWord>(),
            inlateout("rdi") arg => value,
            inlateout("rsi") stack_base.get() => child_sp,
            in("rdx") sp.get(),
            in("rcx") throw,
            lateout("r12") _, lateout("r13") _, lateout("r14") _, lateout("r15") _,
            clobber_abi("sysv64"),
            options(may_unwind),
        );
    }
    (value, StackPointer::new(child_sp))
}
