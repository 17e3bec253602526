//! How a function ends, step by step.
//!
//! Windows' walkers read that off the instructions; DWARF has to be told. Must
//! not know what the prologue did: that is compared in `validate`.

use alloc::vec::Vec;

use super::reg::{Gpr, Xmm};

/// What an instruction of an epilogue undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EpilogueOp {
    /// `mov reg, [frame base + offset]`: the register is its caller's again. An epilogue reloads all registers that
    /// are saved and kept by an ABI, or none: then the body has done it, see [`Hazard::NotReloaded`](super::Hazard::NotReloaded).
    Reload(Gpr),
    /// `movaps reg, [frame base + offset]`.
    ReloadXmm(Xmm),
    /// RSP goes up to what was pushed: `add rsp, n`, `lea rsp, [reg + n]`, `mov rsp, rbp`. Needed if the
    /// prologue allocated anything.
    Release,
    /// `pop reg`, in the opposite order of the pushes. `leave` is a [`Release`](Self::Release) and a `Pop` that end at the same place.
    Pop(Gpr),
}

/// An [`EpilogueOp`] and the instruction that does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EpilogueStep {
    /// The end of the instruction: bytes from the start of the function.
    pub end: u32,
    /// What it does.
    pub op: EpilogueOp,
}

/// One of the ends of a function: from its first instruction that undoes
/// something to its `ret` or jump.
///
/// ```
/// use switch_asm::unwind_info::{Epilogue, EpilogueOp, Gpr};
///
/// // 20: add rsp, 32; 24: pop rbx; 25: ret
/// let epilogue = Epilogue::new(20, 26).step(24, EpilogueOp::Release).step(25, EpilogueOp::Pop(Gpr::Rbx));
/// assert_eq!(epilogue.steps().len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epilogue {
    start: u32,
    end: u32,
    steps: Vec<EpilogueStep>,
}

impl Epilogue {
    /// One that begins at `start` and whose `ret` or jump ends at `end`, both in bytes from the start of the
    /// function. It undoes nothing yet.
    pub const fn new(start: u32, end: u32) -> Epilogue {
        Epilogue {
            start,
            end,
            steps: Vec::new(),
        }
    }

    /// Adds what the instruction that ends at `end` undoes. They come in the order of execution,
    /// and each has an end of its own but a `leave`'s two.
    #[must_use]
    pub fn step(mut self, end: u32, op: EpilogueOp) -> Epilogue {
        self.steps.push(EpilogueStep { end, op });
        self
    }

    /// Where its first instruction begins.
    pub const fn start(&self) -> u32 {
        self.start
    }

    /// Where its last instruction, the `ret` or the jump, ends.
    pub const fn end(&self) -> u32 {
        self.end
    }

    /// What it undoes, in the order of execution.
    pub fn steps(&self) -> &[EpilogueStep] {
        &self.steps
    }
}
