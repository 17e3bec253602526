//! The frame of one function. Must not know how anybody writes it down.

use alloc::vec::Vec;

use super::epilogue::{Epilogue, EpilogueOp};
use super::error::LayoutError;
use super::op::{Op, Step};
use super::reg::{Abi, Gpr};
use super::validate::validate;

/// What a function's prologue and epilogues do to its frame, instruction by
/// instruction.
///
/// A layout that exists is a valid one: no encoder has to cut anything off.
///
/// ```
/// use switch_asm::unwind_info::{Epilogue, EpilogueOp, FrameLayout, Gpr, Op};
///
/// // 0: push rbx; 1: sub rsp, 32; 5: <body>; 20: add rsp, 32; 24: pop rbx; 25: ret
/// let layout = FrameLayout::builder()
///     .op(1, Op::Push(Gpr::Rbx))
///     .op(5, Op::Alloc(32))
///     .prologue_len(5)
///     .code_len(26)
///     .epilogue(Epilogue::new(20, 26).step(24, EpilogueOp::Release).step(25, EpilogueOp::Pop(Gpr::Rbx)))
///     .finish()?;
/// assert_eq!(layout.frame_size(), 40);
/// # Ok::<(), switch_asm::unwind_info::LayoutError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FrameLayout {
    steps: Vec<Step>,
    prologue_len: u8,
    code_len: u32,
    epilogues: Vec<Epilogue>,
}

impl FrameLayout {
    /// A layout, to be said step by step.
    pub const fn builder() -> LayoutBuilder {
        LayoutBuilder {
            steps: Vec::new(),
            prologue_len: None,
            code_len: 0,
            epilogues: Vec::new(),
        }
    }

    /// A function of so many bytes that moves no stack pointer, calls nothing and
    /// changes no register that it has to keep.
    ///
    /// # Errors
    /// [`LayoutError::Empty`] for a function without code.
    pub fn leaf(code_len: u32) -> Result<FrameLayout, LayoutError> {
        FrameLayout::builder().code_len(code_len).finish()
    }

    /// What the prologue does, in the order of execution.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Length of the prologue in bytes.
    pub const fn prologue_len(&self) -> u8 {
        self.prologue_len
    }

    /// Length of the whole function in bytes.
    pub const fn code_len(&self) -> u32 {
        self.code_len
    }

    /// How the function ends, from the first to the last. May be empty though
    /// it does: then no walk from within an epilogue is exact where DWARF is used.
    pub fn epilogues(&self) -> &[Epilogue] {
        &self.epilogues
    }

    /// Whether nothing has to be undone.
    pub fn is_leaf(&self) -> bool {
        self.steps.is_empty()
    }

    /// Bytes by which the prologue moves RSP down, the return address not counted.
    pub fn frame_size(&self) -> u64 {
        let moves = self.steps.iter().map(|step| step.op);
        moves
            .filter(|op| matches!(op, Op::Push(_) | Op::Alloc(_)))
            .map(Op::pushed)
            .sum()
    }

    /// The frame register and its distance from the frame base.
    pub fn frame_register(&self) -> Option<(Gpr, u16)> {
        self.steps.iter().find_map(|step| match step.op {
            Op::SetFrame { reg, offset } => Some((reg, offset)),
            _ => None,
        })
    }

    /// What is saved although `abi` does not ask for it. Harmless, and often a
    /// mistake: the push of such a register is better described as [`Op::Alloc`] of 8.
    pub fn saved_in_vain(&self, abi: Abi) -> impl Iterator<Item = Op> + '_ {
        self.steps
            .iter()
            .map(|step| step.op)
            .filter(move |&op| match op {
                Op::Push(reg) | Op::SaveGpr { reg, .. } => !abi.keeps(reg),
                Op::SaveXmm { reg, .. } => !abi.keeps_xmm(reg),
                _ => false,
            })
    }

    /// Bytes from the canonical frame address (the caller's RSP after the return) down to the frame base.
    pub(crate) fn base_depth(&self) -> u64 {
        let before_frame = self
            .steps
            .iter()
            .position(|step| matches!(step.op, Op::SetFrame { .. }))
            .unwrap_or(self.steps.len());
        depth(&self.steps[..before_frame]) + self.initial_depth()
    }

    /// Bytes that the caller has pushed at the first instruction: the return
    /// address, unless a step says where it is.
    pub(crate) fn initial_depth(&self) -> u64 {
        let elsewhere = self
            .steps
            .iter()
            .any(|step| matches!(step.op, Op::PushReturn | Op::MachineFrame { .. }));
        if elsewhere { 0 } else { 8 }
    }

    /// The registers that the prologue pushes, in the order of execution.
    pub(crate) fn pushes(&self) -> impl DoubleEndedIterator<Item = Gpr> + '_ {
        self.steps.iter().filter_map(|step| match step.op {
            Op::Push(reg) => Some(reg),
            _ => None,
        })
    }

    /// The loads that give back what is saved without a push and kept by some ABI.
    pub(crate) fn reloads(&self) -> impl Iterator<Item = EpilogueOp> + '_ {
        let abi = Abi::Win64;
        self.steps.iter().filter_map(move |step| match step.op {
            Op::SaveGpr { reg, .. } if abi.keeps(reg) => Some(EpilogueOp::Reload(reg)),
            Op::SaveXmm { reg, .. } if abi.keeps_xmm(reg) => Some(EpilogueOp::ReloadXmm(reg)),
            _ => None,
        })
    }

    /// Whether it may be a further region of a function: there are saves alone, from that one's frame base.
    pub(crate) fn may_be_region(&self) -> bool {
        let is_save = |step: &Step| matches!(step.op, Op::SaveGpr { .. } | Op::SaveXmm { .. });
        !self.is_leaf() && self.steps.iter().all(is_save)
    }

    /// Whether its caller is on another stack.
    pub(crate) fn is_fiber_base(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.op, Op::LoadSp { .. }))
    }
}

/// How far the steps move RSP down.
pub(crate) fn depth(steps: &[Step]) -> u64 {
    steps.iter().map(|step| step.op.pushed()).sum()
}

/// Collects what [`FrameLayout`] is made of; [`finish`](Self::finish) looks
/// whether it can be.
#[derive(Clone, Debug)]
#[must_use = "nothing is checked before `finish`"]
pub struct LayoutBuilder {
    steps: Vec<(u32, Op)>,
    prologue_len: Option<u32>,
    code_len: u32,
    epilogues: Vec<Epilogue>,
}

impl LayoutBuilder {
    /// The instruction that ends at `end`, in bytes from the start of the
    /// function, does `op`. They come in the order of execution; several may have the same end.
    pub fn op(mut self, end: u32, op: Op) -> LayoutBuilder {
        self.steps.push((end, op));
        self
    }

    /// Length of the prologue in bytes, 255 at most. What is not said is the end of the last step.
    pub fn prologue_len(mut self, len: u32) -> LayoutBuilder {
        self.prologue_len = Some(len);
        self
    }

    /// Length of the whole function in bytes. Has to be said.
    pub fn code_len(mut self, len: u32) -> LayoutBuilder {
        self.code_len = len;
        self
    }

    /// One of the function's ends. They come in the order of their addresses.
    pub fn epilogue(mut self, epilogue: Epilogue) -> LayoutBuilder {
        self.epilogues.push(epilogue);
        self
    }

    /// The layout.
    ///
    /// # Errors
    /// Names the first thing that is wrong: see [`LayoutError`].
    pub fn finish(self) -> Result<FrameLayout, LayoutError> {
        let last = self.steps.last().map_or(0, |&(end, _)| end);
        let prologue_len = self.prologue_len.unwrap_or(last);
        let prologue_len = u8::try_from(prologue_len)
            .map_err(|_| LayoutError::PrologueTooLong { len: prologue_len })?;
        let mut steps = Vec::with_capacity(self.steps.len());
        for (end, op) in self.steps {
            let Ok(end) = u8::try_from(end) else {
                return Err(LayoutError::OffsetBeyondPrologue { end, prologue_len });
            };
            steps.push(Step { end, op });
        }
        let layout = FrameLayout {
            steps,
            prologue_len,
            code_len: self.code_len,
            epilogues: self.epilogues,
        };
        validate(&layout)?;
        Ok(layout)
    }
}
