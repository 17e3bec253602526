//! Where code and layout differ.

use core::fmt;

use super::super::epilogue::EpilogueOp;
use super::super::layout::FrameLayout;
use super::super::op::Op;
use super::super::reg::Gpr;
use super::{epilogue, prologue};

/// Where code and its layout differ. Offsets count from the start of the
/// function; those of instructions are where they begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeMismatch {
    /// There is more or less code than the layout says.
    Length {
        /// Bytes of code.
        code: usize,
        /// Bytes that the layout speaks of.
        layout: u32,
    },
    /// An instruction that nobody expects in a prologue or an epilogue. Nothing behind it was looked at.
    Unknown {
        /// Of the instruction.
        offset: u32,
    },
    /// A step, the prologue or an epilogue ends within an instruction.
    Split {
        /// Of the instruction.
        offset: u32,
    },
    /// The prologue has not done by the end of this instruction what the layout says.
    Step {
        /// Of the instruction.
        offset: u32,
        /// What the layout says.
        op: Op,
    },
    /// An instruction of an epilogue does something else than the layout says.
    EpilogueStep {
        /// Of the instruction.
        offset: u32,
        /// What the layout says.
        op: EpilogueOp,
    },
    /// RSP moves, or a register is saved or reloaded, and the layout does not say it.
    Undescribed {
        /// Of the instruction.
        offset: u32,
    },
    /// A register is changed in the prologue that must be saved before, or the frame register after it was set.
    Clobbers {
        /// Of the instruction.
        offset: u32,
        /// The register.
        reg: Gpr,
    },
    /// A saved register or the return address is overwritten in memory.
    Overwrites {
        /// Of the instruction.
        offset: u32,
    },
    /// A `movaps` or its like, which faults there: its memory in the frame is no multiple of 16.
    Misaligned {
        /// Of the instruction.
        offset: u32,
    },
    /// An epilogue that Windows does not recognise: after RSP went up there may be pops only and then `ret`, a
    /// direct jump out of the function or to its start, `jmp [rip + n]`, or an indirect jump with REX.W. And a `lea`
    /// into RSP has a displacement, be it 0.
    NotRecognised {
        /// Of the instruction.
        offset: u32,
    },
    /// An epilogue does not end with the instruction that leaves the function, or that comes before its end,
    /// or before RSP is at the return address.
    Ending {
        /// Of the instruction.
        offset: u32,
    },
}

impl FrameLayout {
    /// Decodes the prologue and the epilogues in `code` and compares them with the
    /// layout. `code` is the whole function, with all displacements filled in.
    ///
    /// Nothing is said of the body. A layout knows no ABI: what System V keeps must be saved before it changes; `rsi`, `rdi` and
    /// SSE registers are looked at if the layout saves them. Of a layout of saves alone, which may be a further region of
    /// a function, neither the return address nor what is aligned is known.
    ///
    /// # Errors
    /// The first difference.
    ///
    /// ```
    /// use switch_asm::unwind_info::{CodeMismatch, FrameLayout, Gpr, Op};
    ///
    /// // push rbx; sub rsp, 32; and a body that does not return
    /// let code = [0x53, 0x48, 0x83, 0xec, 0x20, 0x0f, 0x0b];
    /// let layout = |size| FrameLayout::builder().op(1, Op::Push(Gpr::Rbx)).op(5, Op::Alloc(size)).code_len(7).finish();
    /// assert_eq!(layout(32)?.check_code(&code), Ok(()));
    /// assert_eq!(layout(40)?.check_code(&code), Err(CodeMismatch::Step { offset: 1, op: Op::Alloc(40) }));
    /// # Ok::<(), switch_asm::unwind_info::LayoutError>(())
    /// ```
    pub fn check_code(&self, code: &[u8]) -> Result<(), CodeMismatch> {
        let layout = self.code_len();
        if u32::try_from(code.len()) != Ok(layout) {
            return Err(CodeMismatch::Length {
                code: code.len(),
                layout,
            });
        }
        let machine = prologue::check(self, code)?;
        for one in self.epilogues() {
            epilogue::check(self, one, code, machine.clone())?;
        }
        Ok(())
    }
}

impl fmt::Display for CodeMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CodeMismatch as M;
        match *self {
            M::Length { code, layout } => {
                write!(f, "{code} bytes of code; the layout says {layout}")
            }
            M::Unknown { offset } => {
                write!(f, "at {offset}: an instruction that is not known here")
            }
            M::Split { offset } => write!(
                f,
                "at {offset}: something of the layout ends within the instruction"
            ),
            M::Step { offset, op } => {
                write!(f, "at {offset}: the layout says {op:?}, and that is not so")
            }
            M::EpilogueStep { offset, op } => {
                write!(f, "at {offset}: the layout says {op:?}, and that is not so")
            }
            M::Undescribed { offset } => write!(
                f,
                "at {offset}: RSP moves, or a register is saved or reloaded, and the layout does not say it"
            ),
            M::Clobbers { offset, reg } => {
                write!(f, "at {offset}: {reg:?} changes and is not saved")
            }
            M::Overwrites { offset } => write!(
                f,
                "at {offset}: a saved register or the return address is overwritten"
            ),
            M::Misaligned { offset } => {
                write!(
                    f,
                    "at {offset}: an aligned move to or from what is no multiple of 16"
                )
            }
            M::NotRecognised { offset } => {
                write!(f, "at {offset}: Windows does not take this for an epilogue")
            }
            M::Ending { offset } => write!(
                f,
                "at {offset}: the epilogue does not end where the function is left"
            ),
        }
    }
}

impl core::error::Error for CodeMismatch {}
