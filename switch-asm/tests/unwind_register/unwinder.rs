//! The stack as the system's unwinder sees it, and a caller whose registers are known.

use std::arch::naked_asm;
use std::ffi::{c_int, c_void};

/// What is in a register of [`keeper`] while it calls, by DWARF's numbers.
pub(crate) const KEPT: [(c_int, usize); 6] = [
    (3, 0x1111),
    (6, 0x2222),
    (12, 0x3333),
    (13, 0x4444),
    (14, 0x5555),
    (15, 0x6666),
];

/// Calls `f(callback, arg)`, as System V has it, with [`KEPT`] in its registers.
///
/// # Safety
/// `f` takes these.
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64-unwind" fn keeper(f: *const (), callback: usize, arg: usize) {
    naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "push rbx",
        ".cfi_def_cfa_offset 24",
        ".cfi_offset rbx, -24",
        "push r12",
        ".cfi_def_cfa_offset 32",
        ".cfi_offset r12, -32",
        "push r13",
        ".cfi_def_cfa_offset 40",
        ".cfi_offset r13, -40",
        "push r14",
        ".cfi_def_cfa_offset 48",
        ".cfi_offset r14, -48",
        "push r15",
        ".cfi_def_cfa_offset 56",
        ".cfi_offset r15, -56",
        // The home area of a Windows function, and eight bytes that align the stack.
        "sub rsp, 40",
        ".cfi_def_cfa_offset 96",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rcx, rdi",
        // `rdx` has the argument already.
        "mov rbx, 0x1111",
        "mov rbp, 0x2222",
        "mov r12, 0x3333",
        "mov r13, 0x4444",
        "mov r14, 0x5555",
        "mov r15, 0x6666",
        "call rax",
        "nop",
        "add rsp, 40",
        ".cfi_def_cfa_offset 56",
        "pop r15",
        ".cfi_def_cfa_offset 48",
        "pop r14",
        ".cfi_def_cfa_offset 40",
        "pop r13",
        ".cfi_def_cfa_offset 32",
        "pop r12",
        ".cfi_def_cfa_offset 24",
        "pop rbx",
        ".cfi_def_cfa_offset 16",
        "pop rbp",
        ".cfi_def_cfa_offset 8",
        "ret",
        ".cfi_endproc",
    )
}

/// A frame as a walk sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) ip: usize,
    /// Where its function begins; 0 if that is not known.
    pub(crate) function: usize,
    /// What is in the registers of [`KEPT`].
    pub(crate) registers: [usize; KEPT.len()],
}

/// `struct _Unwind_Context`
#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

type Note = extern "C" fn(*mut Context, *mut c_void) -> c_int;

unsafe extern "C" {
    fn _Unwind_Backtrace(note: Note, data: *mut c_void) -> c_int;
    fn _Unwind_GetIP(context: *mut Context) -> usize;
    fn _Unwind_GetGR(context: *mut Context, register: c_int) -> usize;
    fn _Unwind_GetRegionStart(context: *mut Context) -> usize;
}

/// All frames, from the one that calls this.
#[inline(never)]
pub(crate) fn walk() -> Vec<Frame> {
    extern "C" fn note(context: *mut Context, frames: *mut c_void) -> c_int {
        // SAFETY: what `_Unwind_Backtrace` gives, and what it was given.
        unsafe {
            let frame = Frame {
                ip: _Unwind_GetIP(context),
                function: _Unwind_GetRegionStart(context),
                registers: KEPT.map(|(register, _)| _Unwind_GetGR(context, register)),
            };
            (*frames.cast::<Vec<Frame>>()).push(frame);
        }
        0
    }
    let mut frames = Vec::new();
    // SAFETY: `note` takes that.
    unsafe { _Unwind_Backtrace(note, (&raw mut frames).cast()) };
    frames
}
