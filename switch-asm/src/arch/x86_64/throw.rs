//! Starting an unwind in a stack that waits. Nightly only: the assembly blocks
//! must be allowed to unwind. Must not know what is thrown.

use core::arch::{asm, naked_asm};
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
#[inline]
pub unsafe fn switch_and_throw(
    throw: ThrowFunc,
    arg: EncodedValue,
    sp: StackPointer,
    stack_base: StackPointer,
) -> (EncodedValue, Option<StackPointer>) {
    let value: EncodedValue;
    let child_sp: usize;
    let mut resume = sanitizer::Resume::new(stack_base);
    // SAFETY: by the contract RDX points to a `SuspendedFrame` of `switch_yield`,
    // as the trampoline wants it, which comes back like a function, or as an
    // unwind that its rows describe.
    unsafe {
        resume.start();
        asm!(
            "call {trampoline}",
            // The return address above must not be the end of this block.
            "nop",
            trampoline = sym stack_throw_trampoline,
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

/// See `trampoline::in_eh_frame`: another file, another object file.
fn in_eh_frame() {}

/// Calls a function on a suspended stack, as if what is suspended there called
/// it. Comes back as a resume does.
///
/// The first half runs in the parent's frame, then one instruction belongs to
/// the frame of the suspended stack, and the second half is the parent's again.
/// The rows say so.
///
/// # Safety
///
/// Only [`switch_and_throw`] calls this: `rdi` is the argument, `rsi` the base of
/// the suspended stack, `rdx` its stack pointer, `rcx` the function.
#[unsafe(naked)]
unsafe extern "C" fn stack_throw_trampoline() {
    naked_asm!(
        "/* {in_eh_frame} */",
        ".cfi_startproc",
        ".cfi_signal_frame",
        // A plain frame, which keeps RBX.
        "push rbp",
        ".cfi_def_cfa_offset 2 * {word}",
        ".cfi_offset rbp, -2 * {word}",
        "mov rbp, rsp",
        "push rbx",
        ".cfi_def_cfa_offset 3 * {word}",
        ".cfi_offset rbx, -3 * {word}",
        // A ParentFrame that goes on at label 2, and the link to it.
        "push rbx",
        ".cfi_def_cfa_offset 4 * {word}",
        "lea rax, [rip + 2f]",
        "push rax",
        ".cfi_def_cfa_offset 5 * {word}",
        "push rbp",
        ".cfi_def_cfa_offset 6 * {word}",
        "mov [rsi - {parent_link}], rsp",
        // The registers of the suspended stack; and its RIP as a return address
        // right below what it had in use, over its saved RBP.
        "mov rax, [rdx + {saved_rip}]",
        "mov rbx, [rdx + {saved_rbx}]",
        "mov rbp, [rdx + {saved_rbp}]",
        "mov [rdx + {frame} - {word}], rax",
        "lea rsp, [rdx + {frame} - {word}]",
        // As on entry to a function that it called.
        ".cfi_def_cfa rsp, {word}",
        ".cfi_same_value rbx",
        ".cfi_same_value rbp",
        // The argument is in RDI.
        "jmp rcx",
        // Back from switch_yield or switch_and_reset, which popped RBP:
        //   RSP  at RBX of our ParentFrame
        //   RDI  the value
        //   RSI  where the stack is suspended, or 0
        // A walk that comes from that stack finds RSP above RBX, one that starts
        // here below: so the rows count from RBP.
        "2:",
        ".cfi_def_cfa rbp, 2 * {word}",
        ".cfi_offset rbp, -2 * {word}",
        ".cfi_offset rbx, -3 * {word}",
        "add rsp, {word}",
        "pop rbx",
        ".cfi_restore rbx",
        "pop rbp",
        ".cfi_def_cfa rsp, {word}",
        ".cfi_restore rbp",
        "ret",
        ".cfi_endproc",
        in_eh_frame = sym in_eh_frame,
        parent_link = const PARENT_LINK_OFFSET,
        saved_rip = const offset_of!(SuspendedFrame, rip),
        saved_rbx = const offset_of!(SuspendedFrame, rbx),
        saved_rbp = const offset_of!(SuspendedFrame, rbp),
        frame = const size_of::<SuspendedFrame>(),
        word = const size_of::<StackWord>(),
    )
}
