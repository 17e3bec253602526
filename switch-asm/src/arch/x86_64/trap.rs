//! Making a stack that faulted run something else. Must not know about signals.
//!
//! A handler cannot call into the stack that it interrupted. It can change the
//! registers that the stack will go on with: from the base of the stack, in a
//! trampoline that calls one last function. What the stack ran before is never
//! gone back to.

use core::arch::naked_asm;
use core::mem::offset_of;
use core::ptr;

use super::flavour::{cfi, seh};
use super::layout::{
    BaseFrame, HOME_AREA, PARENT_FRAME_SIZE, PARENT_RBP_FROM_CFA, PARENT_RBX_FROM_CFA,
    PARENT_RIP_FROM_CFA, STACK_ALIGNMENT, StackWord,
};
use super::trampoline::{
    CFA_EXPRESSION_LEN, DW_CFA_DEF_CFA_EXPRESSION, DW_OP_BREG6_RBP, DW_OP_DEREF, DW_OP_PLUS_UCONST,
};
use crate::sanitizer;
use crate::stack::StackPointer;

/// The last function on a stack that faulted.
///
/// It gets the address of its value, which it owns, and that of the parent
/// link. It ends with [`switch_and_reset`](super::switch_and_reset). It must not
/// unwind, unless the feature `asm-unwind` is on.
pub type TrapFunc<T> =
    unsafe extern "C-unwind" fn(val: *mut T, parent_link: &mut StackPointer) -> !;

/// The registers that a trap handler must change in the context that it
/// interrupted: all of them, and no others.
///
/// Take it apart by name, so that a register more is a compile error:
///
/// ```
/// # use switch_asm::trap::TrapHandlerRegs;
/// # let regs = TrapHandlerRegs { rip: 0, rsp: 0, rbp: 0, rdi: 0, rsi: 0 };
/// let TrapHandlerRegs { rip, rsp, rbp, rdi, rsi } = regs;
/// ```
#[allow(missing_docs, reason = "each field is the register of its name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrapHandlerRegs {
    pub rip: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
}

/// Prepares a stack that faulted to run `func(val, parent link)`, from its base.
///
/// Returns the registers with which it must go on. Until it does, nothing runs
/// on it. May be called in a signal handler, on another stack.
///
/// # Safety
///
/// - `stack_base` is the base of a stack that was entered by
///   [`switch_and_link`](super::switch_and_link) and has not switched back. It
///   is interrupted, and the interrupted stack pointer is on it.
/// - It goes on with exactly these registers, or never.
/// - Nobody uses what is on the stack again: its destructors do not run, and
///   its frames are overwritten at once.
/// - What the interrupted code left half done (locks, an allocation, counters of
///   the thread) is not relied on.
/// - `val` fits on the stack, together with what `func` needs.
pub unsafe fn setup_trap_trampoline<T>(
    stack_base: StackPointer,
    val: T,
    func: TrapFunc<T>,
) -> TrapHandlerRegs {
    let parent_link = stack_base.get() - size_of::<BaseFrame>();
    let align = align_of::<T>().max(STACK_ALIGNMENT);
    let object = (parent_link - sanitizer::RECORD_SIZE - size_of::<T>()) & !(align - 1);
    let base_frame = ptr::with_exposed_provenance_mut::<BaseFrame>(parent_link);
    // SAFETY: memory of a stack whose content nobody needs, apart from the
    // parent link, which stays (this function's contract).
    unsafe {
        sanitizer::abandon_frames(stack_base);
        (&raw mut (*base_frame).initial_func).write(func as usize as StackWord);
        ptr::with_exposed_provenance_mut::<T>(object).write(val);
    }
    TrapHandlerRegs {
        rip: stack_trap_trampoline as *const () as usize as u64,
        rsp: object as u64,
        rbp: parent_link as u64,
        rdi: object as u64,
        rsi: parent_link as u64,
    }
}

/// See `trampoline::in_eh_frame`: another file, another object file.
fn in_eh_frame() {}

/// Where a stack that faulted goes on.
///
/// Its unwind row is the same at every instruction, and the same as at the end
/// of `stack_init_trampoline`: the link in RBP leads to the parent.
///
/// # Safety
///
/// Not a Rust function. Only a context with [`TrapHandlerRegs`] gets here.
#[unsafe(naked)]
unsafe extern "C" fn stack_trap_trampoline() {
    naked_asm!(
        // On entry:
        //   RSP  the value, aligned; free below
        //   RDI  the value
        //   RSI  the address of the parent link
        //   RBP  the same: a frame record, as under any initial function
        "/* {in_eh_frame} */",
        cfi!(".cfi_startproc"),
        cfi!(".cfi_signal_frame"),
        cfi!(".cfi_escape {def_cfa_expression}, {expression_len}, {breg6}, 0, {deref}, {plus_uconst}, {parent_frame}"),
        cfi!(".cfi_offset rbx, {rbx_from_cfa}"),
        cfi!(".cfi_offset rip, {rip_from_cfa}"),
        cfi!(".cfi_offset rbp, {rbp_from_cfa}"),
        seh!(".seh_proc {this}"),
        seh!(".seh_pushreg rbx"),
        seh!(".seh_stackalloc {word}"),
        seh!(".seh_pushreg rbp"),
        seh!(".seh_savereg rsp, 0"),
        seh!(".seh_setframe rbp, 0"),
        seh!(".seh_endprologue"),
        // The fault may have come in the middle of a backward copy.
        "cld",
        seh!("mov rcx, rdi"),
        seh!("mov rdx, rsi"),
        seh!("sub rsp, {home_area}"),
        "call [rbp + {initial_func}]",
        // Never executed: the function does not return.
        "int3",
        cfi!(".cfi_endproc"),
        seh!(".seh_endproc"),
        this = sym stack_trap_trampoline,
        in_eh_frame = sym in_eh_frame,
        word = const size_of::<StackWord>(),
        home_area = const HOME_AREA,
        parent_frame = const PARENT_FRAME_SIZE,
        rbx_from_cfa = const PARENT_RBX_FROM_CFA,
        rip_from_cfa = const PARENT_RIP_FROM_CFA,
        rbp_from_cfa = const PARENT_RBP_FROM_CFA,
        initial_func = const offset_of!(BaseFrame, initial_func) - offset_of!(BaseFrame, parent_link),
        def_cfa_expression = const DW_CFA_DEF_CFA_EXPRESSION,
        expression_len = const CFA_EXPRESSION_LEN,
        breg6 = const DW_OP_BREG6_RBP,
        deref = const DW_OP_DEREF,
        plus_uconst = const DW_OP_PLUS_UCONST,
    )
}
