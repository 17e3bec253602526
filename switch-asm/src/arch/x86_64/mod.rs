//! x86_64, System V calling convention.
//!
//! Files: `layout` names the words on a stack; `trampoline` is the code at the
//! base of a stack, with its unwind information; `switch` moves control;
//! `init` makes a stack ready to run and looks into one that waits; `trap`
//! makes one that faulted run something else; `throw` makes one that waits
//! unwind.
//!
//! # Pictures
//!
//! High addresses on top. One box is one word of eight bytes. The `repr(C)`
//! structs in `layout` are these pictures; the assembly takes every offset from
//! them.
//!
//! A stack that was **initialised** and never ran:
//!
//! ```text
//! +--------------+ <- stack base
//! | initial func |    jumped to once, by the first resume
//! +--------------+
//! | parent link  |    not written yet
//! +--------------+ <- parent link address = stack base - PARENT_LINK_OFFSET
//! |              |
//! ~ initial obj  ~    size rounded up to STACK_ALIGNMENT (or to its own)
//! |              |
//! +--------------+
//! | initial RIP  |    stack_init_trampoline
//! +--------------+ <- stack pointer
//! ```
//!
//! A stack that is **suspended**:
//!
//! ```text
//! +--------------+ <- stack base
//! | initial func |
//! +--------------+
//! | parent link  |    stale: says who resumed it last
//! +--------------+
//! ~     ...      ~    the object, the return address of the initial function,
//! |              |    its frame and everything it called
//! +--------------+
//! |  saved RBP   |
//! +--------------+
//! |  saved RBX   |
//! +--------------+
//! |  saved RIP   |    inside switch_yield
//! +--------------+ <- stack pointer
//! ```
//!
//! The **parent's** stack while its child runs:
//!
//! ```text
//! ~     ...      ~
//! +--------------+ <- the parent's stack pointer, had it not switched (CFA)
//! |  saved RBX   |
//! +--------------+
//! |  saved RIP   | \  inside switch_and_link
//! +--------------+  } together one frame record: RBP below RIP
//! |  saved RBP   | /
//! +--------------+ <- the child's parent link points here
//! ```
//!
//! On UEFI there is a second copy of the RIP above the RBX. SEH has no rule for
//! "the return address is two words further down": its walker undoes what the
//! unwind codes say and then always pops a return address.
//!
//! ```text
//! ~     ...      ~
//! +--------------+ <- the parent's stack pointer, had it not switched
//! |  second RIP  |    only on UEFI, only for SEH
//! +--------------+
//! |  saved RBX   |
//! +--------------+
//! |  saved RIP   |
//! +--------------+
//! |  saved RBP   |
//! +--------------+ <- the child's parent link points here
//! ```
//!
//! A stack that is **thrown into** (`switch_and_throw`) is linked like one that is
//! resumed. The function that throws is called as if the suspended `switch_yield`
//! had called it: its return address is the saved RIP, its caller's RBP and RBX
//! are the saved ones, so the unwind goes through the frames that wait there.
//!
//! A stack may have the two words at its base [apart](init_stack_apart).
//!
//! While the child runs, the frame of its initial function links to the address
//! of the parent link, the link to the parent's record, and that to the
//! parent's own caller: one chain of frame records. The "return address" that
//! belongs to the middle link is the word above it, the initial function: a
//! walker shows that as a frame and goes on.
//!
//! # Registers at a switch
//!
//! | | parent to child | child to parent |
//! |---|---|---|
//! | RDI | the value | the value |
//! | RSI | stack base of the child | stack pointer of the child, 0 after a reset |
//! | RDX | stack pointer of the child | (parent link address, going out) |
//! | RBP, RBX | on the stack of the side that waits | likewise |
//! | R12-R15 and all the rest | clobbered: the compiler saves what is live | likewise |
//! | MXCSR, x87 control word | untouched | untouched |
//!
//! RBX and RBP are reserved by LLVM and cannot be named as clobbers; that is the
//! only reason why they are saved by hand.
//!
//! # Return prediction
//!
//! A processor predicts each `ret` from a private stack of `call`s. A resume is
//! a `call`, a suspend the `ret` that belongs to it, so a round trip leaves that
//! private stack as it was. For the same reason the trampoline *jumps* to the
//! initial function, and the two operations that return to the parent are
//! inlined into their caller: as functions, their own `ret` would be the odd one.
//! One odd `ret` costs about ten times the switch. Wrappers around them do well
//! to be inlined too; frames further up cost nothing as long as they stay.

mod flavour;
mod init;
mod layout;
mod switch;
#[cfg(feature = "asm-unwind")]
mod throw;
mod trampoline;
mod trap;

pub use init::{
    ApartFrame, SavedRegs, drop_initial_obj, init_stack, init_stack_apart, init_stack_unchecked,
    saved_regs,
};
pub use layout::{
    InitialFunc, PARENT_LINK_OFFSET, PARENT_STACK_OFFSET, STACK_ALIGNMENT, StackWord,
};
pub use switch::{on_stack, switch_and_link, switch_and_reset, switch_yield};
#[cfg(feature = "asm-unwind")]
pub use throw::{ThrowFunc, switch_and_throw};
pub use trap::{TrapFunc, TrapHandlerRegs, setup_trap_trampoline};
