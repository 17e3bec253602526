//! The code at the base of a stack, and its unwind information.
//!
//! The unwind rows are exact at every instruction, so that a signal handler or
//! a debugger may walk from any of them. The pictures are in the parent module.
//!
//! # Why `.cfi_signal_frame`
//!
//! gdb takes a frame whose address is not above its callee's for a corrupt
//! stack, and a coroutine's stack may lie on either side of its parent's. Only
//! signal frames may change stacks (`sigaltstack`), so these frames claim to be
//! that. The price: gdb prints `<signal handler called>` for them, and an
//! unwinder looks up the frame that they return to at *exactly* its return
//! address instead of one byte before. Hence the rule in `switch`: no assembly
//! block ends at a return address, since that address could belong to the next
//! function or landing pad.

use core::arch::naked_asm;
use core::mem::offset_of;

use super::layout::{
    BaseFrame, InitialFrame, PARENT_FRAME_SIZE, PARENT_LINK_OFFSET, PARENT_RBP_FROM_CFA,
    PARENT_RBX_FROM_CFA, PARENT_RIP_FROM_CFA, StackWord,
};

// DWARF 5 section 7.24 and 7.7.1: what the assembler has no directive for.
const DW_CFA_DEF_CFA_EXPRESSION: u8 = 0x0f;
const DW_OP_BREG6_RBP: u8 = 0x76;
const DW_OP_DEREF: u8 = 0x06;
const DW_OP_PLUS_UCONST: u8 = 0x23;
/// Length of `breg6 0, deref, plus_uconst n`: two bytes, one, and two.
const CFA_EXPRESSION_LEN: u8 = 5;

/// Size of a return address or of any pushed register.
const WORD: usize = size_of::<StackWord>();

/// Where the first `call [target]` of a resume arrives.
///
/// It links the stack to its parent, moves onto it and jumps to the initial
/// function. Its second half is never executed: it is the return address of the
/// initial function, and so the frame that every walk of this stack ends with
/// before it continues in the parent.
///
/// # Safety
///
/// Not a Rust function. Only [`switch_and_link`](super::switch_and_link) gets
/// here, through a stack made by [`init_stack`](super::init_stack).
#[unsafe(naked)]
pub(super) unsafe extern "C" fn stack_init_trampoline() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_signal_frame",
        // On entry:
        //   RSP  top of the parent's stack: RIP, and RBX above it
        //   RBP  the parent's
        //   RDI  value for the initial function
        //   RSI  base of our stack
        //   RDX  our stack pointer: an InitialFrame
        //
        // The switch pushed RBX before the call, and the parent's compiler does
        // not know. So the CFA, the parent's stack pointer as its own unwind
        // rows see it, is above RBX.
        ".cfi_def_cfa rsp, {parent_frame} - {word}",
        ".cfi_offset rbx, {rbx_from_cfa}",
        ".cfi_offset rip, {rip_from_cfa}",
        // Completes the parent's frame. RBP below RIP is a frame record.
        "push rbp",
        ".cfi_def_cfa_offset {parent_frame}",
        ".cfi_offset rbp, {rbp_from_cfa}",
        // Links us to it. The address of the link is the second argument of the
        // initial function, and our frame pointer: that chains our frames to
        // the parent's record.
        "sub rsi, {parent_link}",
        "mov [rsi], rsp",
        "mov rbp, rsi",
        // From here on RBP leads to the parent whichever stack RSP is on, until
        // the initial function ends. One row for the rest of the code:
        //
        //   DW_CFA_def_cfa_expression, its length
        //     DW_OP_breg6, 0      push RBP + 0: the address of the link
        //     DW_OP_deref         read it: the address of the ParentFrame
        //     DW_OP_plus_uconst   skip the frame: the CFA
        //
        // (breg6 rather than reg6: gdb refuses a register *location* in a CFA.)
        // The rules for RBX, RIP and RBP above count from the CFA and stay.
        ".cfi_escape {def_cfa_expression}, {expression_len}, {breg6}, 0, {deref}, {plus_uconst}, {parent_frame}",
        // Onto our stack, past the InitialFrame. There lies the object, whose
        // address is the third argument.
        "lea rsp, [rdx + {initial_frame}]",
        "mov rdx, rsp",
        // A call of the initial function, except for the processor's return
        // prediction, which must still expect the return to the parent: the
        // initial function ends with that `ret`, or suspends with it.
        "lea rax, [rip + 2f]",
        "push rax",
        "jmp [rsi + {initial_func}]",
        // The base of the stack. Never executed. A trap both in front of the
        // return address and at it: whether a walker looks up the address
        // itself or, as after a normal call, the byte before, it is in here.
        "int3",
        "2:",
        "int3",
        ".cfi_endproc",
        word = const WORD,
        parent_frame = const PARENT_FRAME_SIZE,
        rbx_from_cfa = const PARENT_RBX_FROM_CFA,
        rip_from_cfa = const PARENT_RIP_FROM_CFA,
        rbp_from_cfa = const PARENT_RBP_FROM_CFA,
        parent_link = const PARENT_LINK_OFFSET - offset_of!(BaseFrame, parent_link),
        initial_func = const offset_of!(BaseFrame, initial_func) - offset_of!(BaseFrame, parent_link),
        initial_frame = const size_of::<InitialFrame>(),
        def_cfa_expression = const DW_CFA_DEF_CFA_EXPRESSION,
        expression_len = const CFA_EXPRESSION_LEN,
        breg6 = const DW_OP_BREG6_RBP,
        deref = const DW_OP_DEREF,
        plus_uconst = const DW_OP_PLUS_UCONST,
    )
}

/// Calls a function on another stack and comes back.
///
/// # Safety
///
/// Only [`on_stack`](super::on_stack) calls this: `rdi` goes to the function as
/// its argument, `rsi` is the aligned top of free stack memory, `rdx` the
/// function.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn stack_call_trampoline() {
    naked_asm!(
        // The assembler starts with the rows of a normal call: CFA = RSP + 8.
        ".cfi_startproc",
        ".cfi_signal_frame",
        // A plain frame, on the stack that we came from.
        "push rbp",
        ".cfi_def_cfa_offset 2 * {word}",
        ".cfi_offset rbp, -2 * {word}",
        "mov rbp, rsp",
        // RBP leads back from whichever stack RSP is on.
        ".cfi_def_cfa_register rbp",
        "mov rsp, rsi",
        "call rdx",
        // Back on the first stack; the callee kept RBP.
        "mov rsp, rbp",
        ".cfi_def_cfa_register rsp",
        "pop rbp",
        ".cfi_def_cfa_offset {word}",
        ".cfi_restore rbp",
        "ret",
        ".cfi_endproc",
        word = const WORD,
    )
}
