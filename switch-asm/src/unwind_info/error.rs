//! What can be wrong with a layout. Encoders, decoders and walkers have their
//! own errors beside them.

use core::fmt;

use super::reg::{Gpr, Xmm};

/// Why there is no such [`FrameLayout`](super::FrameLayout).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// The prologue has more than 255 bytes.
    PrologueTooLong {
        /// Its length.
        len: u32,
    },
    /// A step ends before the one before it.
    OffsetOrder {
        /// Where it ends.
        end: u8,
        /// Where the one before ends.
        before: u8,
    },
    /// A step ends behind the prologue.
    OffsetBeyondPrologue {
        /// Where it ends.
        end: u32,
        /// Length of the prologue.
        prologue_len: u8,
    },
    /// The prologue is longer than the function.
    PrologueBeyondCode {
        /// Length of the prologue.
        prologue_len: u8,
        /// Length of the function.
        code_len: u32,
    },
    /// The function has no code.
    Empty,
    /// An allocation of nothing, or of something else than words.
    BadAlloc {
        /// Its size.
        size: u32,
    },
    /// The frame does not fit in 4 GiB.
    FrameTooLarge {
        /// Its size, return address included.
        depth: u64,
    },
    /// A push after something else: no epilogue that Windows knows can undo that.
    PushAfterOther {
        /// What is pushed.
        reg: Gpr,
    },
    /// A register cannot be saved: `rsp`, or the frame register after it became that.
    BadRegister {
        /// Which.
        reg: Gpr,
    },
    /// There is no such SSE register.
    BadXmm {
        /// Its number.
        number: u8,
    },
    /// A register is saved twice.
    SavedTwice {
        /// Which.
        reg: Gpr,
    },
    /// An SSE register is saved twice.
    XmmSavedTwice {
        /// Which.
        reg: Xmm,
    },
    /// A frame register must be one that some ABI keeps, or a callee may change it; and neither `rsp`, which moves,
    /// nor `r12`: Windows does not know an epilogue that uses it.
    BadFrameRegister {
        /// Which.
        reg: Gpr,
    },
    /// A frame register's offset is no multiple of 16, more than 240, or leads out of the frame.
    BadFrameOffset {
        /// The offset.
        offset: u16,
    },
    /// A second frame register.
    SecondFrame,
    /// A register is saved before there is what its place is counted from: the frame register, or
    /// without one the last move of RSP.
    SaveBeforeBase,
    /// A register's place is not aligned.
    BadSaveOffset {
        /// Its offset from the frame base.
        offset: u32,
        /// Of what it must be a multiple.
        multiple_of: u32,
    },
    /// A register's place is that of a return address, of something pushed, or of another register. A layout of saves alone
    /// may be a further region of a function, whose return address is elsewhere.
    SaveOverlaps {
        /// Its offset from the frame base.
        offset: u32,
    },
    /// [`Op::LoadSp`](super::Op::LoadSp) does not stand right before the frame register, the last step, or does not end where
    /// that does.
    BadFiberBase,
    /// [`Op::PushReturn`](super::Op::PushReturn) after something else than pushes, or a second return address.
    BadPushReturn,
    /// [`Op::MachineFrame`](super::Op::MachineFrame) does not come first, or ends behind 0: the processor pushed it before the
    /// first instruction.
    BadMachineFrame,
    /// An epilogue does not undo the prologue, or is not where it can be.
    BadEpilogue {
        /// Where it begins.
        start: u32,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use LayoutError as E;
        match *self {
            E::PrologueTooLong { len } => write!(f, "a prologue of {len} bytes; 255 is the most"),
            E::OffsetOrder { end, before } => write!(
                f,
                "a step that ends at {end} comes after one that ends at {before}"
            ),
            E::OffsetBeyondPrologue { end, prologue_len } => write!(
                f,
                "a step ends at {end}, behind the prologue of {prologue_len} bytes"
            ),
            E::PrologueBeyondCode {
                prologue_len,
                code_len,
            } => write!(
                f,
                "a prologue of {prologue_len} bytes in a function of {code_len}"
            ),
            E::Empty => f.write_str("a function without code; say its length with `code_len`"),
            E::BadAlloc { size } => write!(
                f,
                "an allocation of {size} bytes; it must be a multiple of 8 and more than 0"
            ),
            E::FrameTooLarge { depth } => {
                write!(f, "a frame of {depth} bytes; it must be less than 4 GiB")
            }
            E::PushAfterOther { reg } => write!(
                f,
                "{reg:?} is pushed after something else; pushes come first, or save it with `SaveGpr`"
            ),
            E::BadRegister { reg } => write!(
                f,
                "{reg:?} cannot be saved there: it does not hold the caller's value any more"
            ),
            E::BadXmm { number } => write!(f, "xmm{number}; unwind information knows xmm0 to xmm15"),
            E::SavedTwice { reg } => write!(f, "{reg:?} is saved twice"),
            E::XmmSavedTwice { reg } => write!(f, "{reg:?} is saved twice"),
            E::BadFrameRegister { reg } => write!(
                f,
                "{reg:?} cannot be the frame register: an ABI must keep it, and it must not be rsp or r12"
            ),
            E::BadFrameOffset { offset } => write!(
                f,
                "a frame register {offset} bytes above RSP; it must be a multiple of 16, 240 at most, and within the frame"
            ),
            E::SecondFrame => f.write_str("a second frame register"),
            E::SaveBeforeBase => f.write_str(
                "a register is saved before its place is known: save after the frame register is set, \
                 or without one after the last push and allocation",
            ),
            E::BadSaveOffset {
                offset,
                multiple_of,
            } => write!(
                f,
                "a register is saved at {offset}, which is no multiple of {multiple_of}"
            ),
            E::SaveOverlaps { offset } => write!(
                f,
                "a register is saved at {offset}, on a return address, a push or another register"
            ),
            E::BadFiberBase => f.write_str(
                "`LoadSp` must be the last step but one, before `SetFrame` and with the same end, in a frame that saves nothing else",
            ),
            E::BadPushReturn => f.write_str(
                "`PushReturn` must come once, among the pushes, in a frame without `MachineFrame`",
            ),
            E::BadMachineFrame => f.write_str("`MachineFrame` must come first and end at 0"),
            E::BadEpilogue { start, why } => write!(f, "the epilogue at {start}: {why}"),
        }
    }
}

impl core::error::Error for LayoutError {}
