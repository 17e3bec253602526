//! What one instruction of a prologue does to the frame. Must not know in what
//! order that is allowed.

use super::reg::{Gpr, Xmm};

/// What an instruction of a prologue does, as far as an unwinder has to know.
///
/// *Offsets of saves* count upwards from the *frame base*. In a layout without
/// [`SetFrame`](Op::SetFrame) that is where RSP is after the whole prologue,
/// and RSP stays there in the body. With it, it is where RSP was at that
/// instruction, and RSP may go further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `push reg`, of a register that the epilogue pops.
    Push(Gpr),
    /// RSP goes down by so many bytes. The push of a register that nobody wants
    /// back is an `Alloc(8)`.
    Alloc(u32),
    /// `lea reg, [rsp + offset]` or, with 0, `mov reg, rsp`: from here on `reg`
    /// leads to the frame wherever RSP goes.
    SetFrame {
        /// The frame register.
        reg: Gpr,
        /// Where it points, from RSP: a multiple of 16, 240 at most.
        offset: u16,
    },
    /// `mov [frame base + offset], reg`.
    SaveGpr {
        /// Which is saved.
        reg: Gpr,
        /// Where, from the frame base: a multiple of 8.
        offset: u32,
    },
    /// `movaps [frame base + offset], reg`. Where that instruction is used the
    /// frame base must be a multiple of 16 too; unwinders do not mind.
    SaveXmm {
        /// Which is saved.
        reg: Xmm,
        /// Where, from the frame base: a multiple of 16.
        offset: u32,
    },
    /// The word at `offset` from the frame base is the address of another stack's record, and
    /// what was pushed before lies there, not here: the base of a fiber, whose caller is
    /// on another stack. Comes after what it is about and right before [`SetFrame`](Op::SetFrame),
    /// with the same end.
    LoadSp {
        /// Where, from the frame base: a multiple of 8.
        offset: u32,
    },
    /// The return address was pushed here, not before everything else: in records of
    /// fibers on Linux, where `call` comes after a push. Windows has nothing like it.
    PushReturn,
    /// The processor pushed the frame of an interrupt, with or without an error code. Comes first, ends at 0, and is the
    /// end of the walk through this function: what it returns to is in that frame.
    MachineFrame {
        /// Whether an error code lies below the frame.
        error_code: bool,
    },
}

/// An [`Op`] and the instruction that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// The end of the instruction: bytes from the start of the function.
    pub end: u8,
    /// What it does.
    pub op: Op,
}

impl Op {
    /// How far it moves RSP down.
    pub(crate) const fn pushed(self) -> u64 {
        match self {
            Op::Push(_) | Op::PushReturn => 8,
            Op::Alloc(size) => size as u64,
            Op::MachineFrame { error_code } => 40 + 8 * error_code as u64,
            Op::SetFrame { .. } | Op::SaveGpr { .. } | Op::SaveXmm { .. } | Op::LoadSp { .. } => 0,
        }
    }
}
