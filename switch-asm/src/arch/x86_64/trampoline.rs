//! The code at the base of a stack, and its unwind information.
//!
//! The unwind rows are exact at every instruction, so that a signal handler or
//! a debugger may walk from any of them. The pictures are in the parent module;
//! `docs/switching.md` explains the rows byte by byte.
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
//!
//! # Why two SEH regions
//!
//! SEH has one list of unwind codes per region of code, which says what the
//! region's prologue did. The trampoline for the first resume is on the parent's
//! stack until it loads RSP, and is described relative to RSP; from there on
//! only RBP leads to the parent. That makes two regions, one behind the other.

use core::arch::naked_asm;
use core::mem::offset_of;

use super::flavour::{cfi, seh};
use super::layout::{
    BaseFrame, HOME_AREA, InitialFrame, PARENT_FRAME_SIZE, PARENT_LINK_OFFSET, PARENT_RBP_FROM_CFA,
    PARENT_RBX_FROM_CFA, PARENT_RIP_FROM_CFA, StackWord,
};

// DWARF 5 section 7.24 and 7.7.1: what the assembler has no directive for.
pub(super) const DW_CFA_DEF_CFA_EXPRESSION: u8 = 0x0f;
pub(super) const DW_OP_BREG6_RBP: u8 = 0x76;
pub(super) const DW_OP_DEREF: u8 = 0x06;
pub(super) const DW_OP_PLUS_UCONST: u8 = 0x23;
/// Length of `breg6 0, deref, plus_uconst n`: two bytes, one, and two.
pub(super) const CFA_EXPRESSION_LEN: u8 = 5;

/// Size of a return address or of any pushed register.
const WORD: usize = size_of::<StackWord>();

/// An ordinary function, for its unwind table; every file with trampolines has
/// one.
///
/// LLVM writes all unwind information of an object file to one section, that of
/// assembly included. If none of the compiled functions in it has a table, which
/// is so for those that a sanitizer adds, that section is `.debug_frame`, where
/// no unwinder looks, and walks end at the trampolines.
fn in_eh_frame() {}

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
        "/* {in_eh_frame} */",
        cfi!(".cfi_startproc"),
        cfi!(".cfi_signal_frame"),
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
        cfi!(".cfi_def_cfa rsp, {parent_frame} - {word}"),
        cfi!(".cfi_offset rbx, {rbx_from_cfa}"),
        cfi!(".cfi_offset rip, {rip_from_cfa}"),
        // The same for SEH, as pushes in the order in which they happened. What
        // a walker pops last, by itself, is the second RIP.
        seh!(".seh_proc {this}"),
        seh!(".seh_pushreg rbx"),
        seh!(".seh_stackalloc {word}"),
        // Completes the parent's frame. RBP below RIP is a frame record.
        "push rbp",
        cfi!(".cfi_def_cfa_offset {parent_frame}"),
        cfi!(".cfi_offset rbp, {rbp_from_cfa}"),
        seh!(".seh_pushreg rbp"),
        seh!(".seh_endprologue"),
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
        cfi!(".cfi_escape {def_cfa_expression}, {expression_len}, {breg6}, 0, {deref}, {plus_uconst}, {parent_frame}"),
        // For SEH a new region, without instructions in its prologue. A walker
        // undoes its codes from the last to the first:
        //   setframe rbp, 0     RSP = RBP: the address of the link
        //   savereg rsp, 0      RSP = [link]: the address of the ParentFrame
        //   pushreg rbp         RBP from it
        //   stackalloc          skip the RIP
        //   pushreg rbx         RBX from it
        //                       and pop the second RIP
        seh!(".seh_endproc"),
        seh!(".seh_proc {this}"),
        seh!(".seh_pushreg rbx"),
        seh!(".seh_stackalloc {word}"),
        seh!(".seh_pushreg rbp"),
        seh!(".seh_savereg rsp, 0"),
        seh!(".seh_setframe rbp, 0"),
        seh!(".seh_endprologue"),
        // Onto our stack, past the InitialFrame. There lies the object, whose
        // address is the third argument.
        "lea rsp, [rdx + {initial_frame}]",
        cfi!("mov rdx, rsp"),
        seh!("mov r8, rsp"),
        seh!("mov rdx, rsi"),
        seh!("mov rcx, rdi"),
        seh!("sub rsp, {home_area}"),
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
        cfi!(".cfi_endproc"),
        seh!(".seh_endproc"),
        this = sym stack_init_trampoline,
        in_eh_frame = sym in_eh_frame,
        word = const WORD,
        parent_frame = const PARENT_FRAME_SIZE,
        rbx_from_cfa = const PARENT_RBX_FROM_CFA,
        rip_from_cfa = const PARENT_RIP_FROM_CFA,
        rbp_from_cfa = const PARENT_RBP_FROM_CFA,
        parent_link = const PARENT_LINK_OFFSET - offset_of!(BaseFrame, parent_link),
        initial_func = const offset_of!(BaseFrame, initial_func) - offset_of!(BaseFrame, parent_link),
        initial_frame = const size_of::<InitialFrame>(),
        home_area = const HOME_AREA,
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
        // Both assemblers start with the rows of a normal call: the return
        // address is at RSP.
        "/* {in_eh_frame} */",
        cfi!(".cfi_startproc"),
        cfi!(".cfi_signal_frame"),
        seh!(".seh_proc {this}"),
        // A plain frame, on the stack that we came from.
        "push rbp",
        cfi!(".cfi_def_cfa_offset 2 * {word}"),
        cfi!(".cfi_offset rbp, -2 * {word}"),
        seh!(".seh_pushreg rbp"),
        "mov rbp, rsp",
        // RBP leads back from whichever stack RSP is on.
        cfi!(".cfi_def_cfa_register rbp"),
        seh!(".seh_setframe rbp, 0"),
        seh!(".seh_endprologue"),
        "mov rsp, rsi",
        seh!("mov rcx, rdi"),
        seh!("sub rsp, {home_area}"),
        "call rdx",
        // Back on the first stack; the callee kept RBP. A SEH walker knows the
        // end of a function by its instructions, from the `pop` on.
        "mov rsp, rbp",
        cfi!(".cfi_def_cfa_register rsp"),
        "pop rbp",
        cfi!(".cfi_def_cfa_offset {word}"),
        cfi!(".cfi_restore rbp"),
        "ret",
        cfi!(".cfi_endproc"),
        seh!(".seh_endproc"),
        this = sym stack_call_trampoline,
        in_eh_frame = sym in_eh_frame,
        word = const WORD,
        home_area = const HOME_AREA,
    )
}
