//! The words on a stack, by name. Must not contain instructions.
//!
//! The pictures are in the parent module.

use core::mem::offset_of;

use crate::stack::StackPointer;
use crate::transfer::EncodedValue;

/// Every stack base, and every stack pointer at a call, is a multiple of this.
pub const STACK_ALIGNMENT: usize = 16;

/// Distance from the stack base down to the parent link.
pub const PARENT_LINK_OFFSET: usize = 16;

/// Distance from the parent link's value down to the first free byte of the
/// parent's stack. Zero here: the link points at the lowest word in use.
pub const PARENT_STACK_OFFSET: usize = 0;

/// One slot of a stack.
pub type StackWord = u64;

/// The first function on a stack, called by the first resume.
///
/// It gets the value of that resume, the address of the parent link, and the
/// address of the object that [`init_stack`](super::init_stack) placed on the
/// stack, which it owns. It ends with
/// [`switch_and_reset`](super::switch_and_reset). It must not unwind, unless the
/// feature `asm-unwind` is on: then the unwind goes on in the parent.
pub type InitialFunc<T> = unsafe extern "C-unwind" fn(
    arg: EncodedValue,
    parent_link: &mut StackPointer,
    obj: *mut T,
) -> !;

/// The two words at the base of every stack.
#[repr(C)]
#[derive(Debug)]
pub(super) struct BaseFrame {
    /// The parent's stack pointer: a `*const ParentFrame`.
    pub(super) parent_link: StackWord,
    /// Address of the initial function.
    pub(super) initial_func: StackWord,
}

/// The word that waits on top of an initialised stack.
#[repr(C)]
#[derive(Debug)]
pub(super) struct InitialFrame {
    /// Address of `stack_init_trampoline`.
    pub(super) rip: StackWord,
}

/// The registers on top of a suspended stack.
#[repr(C)]
#[derive(Debug)]
pub(super) struct SuspendedFrame {
    pub(super) rip: StackWord,
    pub(super) rbx: StackWord,
    pub(super) rbp: StackWord,
}

/// The registers on top of the parent's stack while its child runs.
#[repr(C)]
#[derive(Debug)]
pub(super) struct ParentFrame {
    pub(super) rbp: StackWord,
    pub(super) rip: StackWord,
    pub(super) rbx: StackWord,
    /// The same address as `rip`, where a SEH walker pops it.
    #[cfg(target_os = "uefi")]
    pub(super) second_rip: StackWord,
}

/// Bytes above its return address that a function may use as it likes: none in
/// the System V convention, and four words, the *home area* of its four register
/// arguments, in Microsoft's.
pub(super) const HOME_AREA: usize = if cfg!(target_os = "uefi") {
    4 * size_of::<StackWord>()
} else {
    0
};

// DWARF counts from the CFA, the end of the parent's frame, downwards.
pub(super) const PARENT_FRAME_SIZE: usize = size_of::<ParentFrame>();
pub(super) const PARENT_RBP_FROM_CFA: isize = from_cfa(offset_of!(ParentFrame, rbp));
pub(super) const PARENT_RIP_FROM_CFA: isize = from_cfa(offset_of!(ParentFrame, rip));
pub(super) const PARENT_RBX_FROM_CFA: isize = from_cfa(offset_of!(ParentFrame, rbx));

const fn from_cfa(offset: usize) -> isize {
    offset as isize - PARENT_FRAME_SIZE as isize
}

// What instructions imply and structs must therefore say.
const _: () = {
    let word = size_of::<StackWord>();
    assert!(word == size_of::<StackPointer>());
    // The base frame fills the space above the link and keeps the alignment.
    assert!(size_of::<BaseFrame>() == PARENT_LINK_OFFSET);
    assert!(offset_of!(BaseFrame, parent_link) == 0);
    assert!(PARENT_LINK_OFFSET.is_multiple_of(STACK_ALIGNMENT));
    // `call [rdx]` reads its target at the stack pointer of either kind of stack.
    assert!(offset_of!(InitialFrame, rip) == 0);
    assert!(offset_of!(SuspendedFrame, rip) == 0);
    // `switch_yield` pushes RBP, RBX, RIP, and pops RBX, RBP.
    assert!(offset_of!(SuspendedFrame, rbx) == word);
    assert!(offset_of!(SuspendedFrame, rbp) == 2 * word);
    assert!(size_of::<SuspendedFrame>() == 3 * word);
    // A resume pushes RBX, then `call` pushes RIP, then the child pushes RBP.
    // RBP directly below RIP is what makes it a frame record.
    assert!(offset_of!(ParentFrame, rbx) == 2 * word);
    assert!(offset_of!(ParentFrame, rip) == word);
    assert!(offset_of!(ParentFrame, rbp) == PARENT_STACK_OFFSET);
    // On UEFI it pushes the second RIP first.
    #[cfg(target_os = "uefi")]
    assert!(offset_of!(ParentFrame, second_rip) == 3 * word);
    assert!(HOME_AREA.is_multiple_of(STACK_ALIGNMENT));
    // The uleb128 operand of DW_OP_plus_uconst is a single byte below this.
    assert!(PARENT_FRAME_SIZE < 0x80);
};
