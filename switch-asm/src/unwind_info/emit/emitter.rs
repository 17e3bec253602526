//! Writes a function's prologue and epilogues and notes what they do.

use alloc::vec::Vec;
use core::mem;

use super::super::epilogue::{Epilogue, EpilogueOp};
use super::super::layout::{FrameLayout, LayoutBuilder};
use super::super::op::Op;
use super::super::reg::{Abi, Gpr};
use super::assembler as asm;
use super::error::EmitError;
use super::plan::{PAGE, Plan};
use super::spec::{Probe, PrologueSpec};

/// Pages that are touched one by one; more take a loop.
const FEW: u32 = 3;

/// Something in the frame: `[reg + offset]`, all through the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// `rsp`, or the frame register where RSP moves.
    pub reg: Gpr,
    /// Bytes from there.
    pub offset: i32,
}

/// A function that is being written, behind its prologue.
///
/// The code vector may hold other functions before this one. Until
/// [`finish`](Self::finish) bytes are added at its end only, by the caller (the body) and by this. A function
/// may have several epilogues, and code behind the last.
#[derive(Clone, Debug)]
#[must_use = "the layout comes from `finish`"]
pub struct Emitter {
    abi: Abi,
    plan: Plan,
    /// Where the function begins in the code vector.
    start: usize,
    /// What was said of it so far, epilogues last.
    layout: LayoutBuilder,
    /// Whether RSP moves in the body.
    dynamic: bool,
    /// The displacement of the call that touches pages.
    probe_call: Option<usize>,
    /// The last return address that was noted.
    return_address: Option<usize>,
}

impl Emitter {
    /// Writes the prologue.
    ///
    /// # Errors
    /// Says why there is no such function; `code` is as it was then.
    pub fn begin(spec: &PrologueSpec, code: &mut Vec<u8>) -> Result<Emitter, EmitError> {
        let mut emitter = Emitter {
            abi: spec.abi,
            plan: Plan::new(spec)?,
            start: code.len(),
            layout: FrameLayout::builder(),
            dynamic: spec.dynamic,
            probe_call: None,
            return_address: None,
        };
        if spec.landing_pad {
            asm::endbr64(code);
        }
        emitter.prologue(code);
        let len = (code.len() - emitter.start) as u32;
        emitter.say(|layout| layout.prologue_len(len));
        // Finds a prologue that is too long before the body is written.
        if let Err(error) = emitter.layout.clone().code_len(len.max(1)).finish() {
            code.truncate(emitter.start);
            return Err(error.into());
        }
        Ok(emitter)
    }

    fn prologue(&mut self, code: &mut Vec<u8>) {
        let plan = self.plan.clone();
        for (index, &reg) in plan.pushes.iter().enumerate() {
            asm::push(code, reg);
            self.did(code, Op::Push(reg));
            if plan.silent_chain && index == 0 {
                asm::mov(code, Gpr::Rbp, Gpr::Rsp);
            }
        }
        self.touch_pages(code);
        let size_in_rax = matches!(plan.probe, Probe::Call | Probe::CallAt(_)) && plan.lower == 0;
        if size_in_rax {
            asm::sub_rsp_rax(code);
            self.did(code, Op::Alloc(plan.upper));
        } else if plan.upper > 0 {
            asm::sub_rsp(code, plan.upper);
            self.did(code, Op::Alloc(plan.upper));
        }
        if let Some((reg, offset)) = plan.frame {
            match offset {
                0 => asm::mov(code, reg, Gpr::Rsp),
                _ => asm::lea(code, reg, Gpr::Rsp, offset.into()),
            }
            self.did(code, Op::SetFrame { reg, offset });
        }
        for &(reg, offset) in &plan.stores {
            asm::store(code, reg, Gpr::Rsp, offset as i32);
            self.did(code, Op::SaveGpr { reg, offset });
        }
        for &(reg, offset) in &plan.xmms {
            asm::store_xmm(code, reg, Gpr::Rsp, offset as i32);
            self.did(code, Op::SaveXmm { reg, offset });
        }
        if plan.lower > 0 {
            asm::sub_rsp(code, plan.lower);
            self.did(code, Op::Alloc(plan.lower));
        }
    }

    /// The instruction that was written last does `op`.
    fn did(&mut self, code: &[u8], op: Op) {
        let end = (code.len() - self.start) as u32;
        self.say(|layout| layout.op(end, op));
    }

    fn say(&mut self, what: impl FnOnce(LayoutBuilder) -> LayoutBuilder) {
        self.layout = what(mem::replace(&mut self.layout, FrameLayout::builder()));
    }

    fn touch_pages(&mut self, code: &mut Vec<u8>) {
        let size = self.plan.size();
        match self.plan.probe {
            Probe::None => {}
            Probe::Inline if size / PAGE <= FEW => {
                (1..=size / PAGE).for_each(|page| asm::touch(code, page * PAGE));
            }
            Probe::Inline => asm::touch_loop(code, size, PAGE),
            Probe::Call => {
                asm::mov_eax(code, size);
                self.probe_call = Some(asm::call(code));
            }
            Probe::CallAt(address) => {
                asm::mov_eax(code, size);
                asm::mov_r11(code, address);
                asm::call_r11(code);
            }
        }
    }

    /// With [`Probe::Call`] and a frame of a page or more: where in the code vector the 32-bit displacement
    /// of the call lies. It counts from its own end.
    pub const fn probe_call(&self) -> Option<usize> {
        self.probe_call
    }

    /// The lowest byte of the locals.
    pub fn locals(&self) -> Place {
        self.place(self.plan.locals.into())
    }

    /// The first argument that the caller passed on the stack. On Windows the 32 bytes that this function may use
    /// lie right below it.
    pub fn arguments(&self) -> Place {
        let home = match self.abi {
            Abi::SysV => 0,
            Abi::Win64 => 32,
        };
        let pushed = 8 * self.plan.pushes.len() as i64;
        self.place(i64::from(self.plan.size()) + pushed + 8 + home)
    }

    /// What is so far above RSP after the prologue.
    fn place(&self, above: i64) -> Place {
        match self.plan.frame {
            Some((reg, offset)) if self.dynamic => Place {
                reg,
                offset: (above - i64::from(self.plan.lower) - i64::from(offset)) as i32,
            },
            _ => Place {
                reg: Gpr::Rsp,
                offset: above as i32,
            },
        }
    }

    /// Says that what was written last is a `call`. If an epilogue or the end of the function follows, there
    /// will be an instruction between: a return address that lies in an epilogue makes
    /// Windows skip the function's handler, and one behind the function belongs to the next.
    pub fn called(&mut self, code: &[u8]) {
        self.return_address = Some(code.len());
    }

    /// Writes an epilogue that returns.
    pub fn epilogue(&mut self, code: &mut Vec<u8>) {
        let epilogue = self.undo(code);
        asm::ret(code);
        self.ended(code, epilogue);
    }

    /// Writes an epilogue that jumps to another function, a tail call. The
    /// result is where in the code vector the jump's 32-bit displacement lies,
    /// which counts from its own end: it must lead out of this function, or to its start.
    #[must_use = "the displacement has to be filled in"]
    pub fn tail_jump(&mut self, code: &mut Vec<u8>) -> usize {
        let epilogue = self.undo(code);
        let displacement = asm::jmp(code);
        self.ended(code, epilogue);
        displacement
    }

    /// Writes an epilogue that jumps to the function whose address `reg` holds.
    ///
    /// # Errors
    /// [`EmitError::BadTailRegister`] if the ABI keeps `reg` or the prologue saved it.
    pub fn tail_jump_to(&mut self, code: &mut Vec<u8>, reg: Gpr) -> Result<(), EmitError> {
        let saved = self.plan.pushes.contains(&reg)
            || self.plan.stores.iter().any(|&(saved, _)| saved == reg);
        if saved || self.abi.keeps(reg) {
            return Err(EmitError::BadTailRegister { reg });
        }
        let epilogue = self.undo(code);
        asm::jmp_reg(code, reg);
        self.ended(code, epilogue);
        Ok(())
    }

    /// All of an epilogue but its last instruction.
    fn undo(&mut self, code: &mut Vec<u8>) -> Undone {
        if self.return_address == Some(code.len()) {
            asm::nop(code);
        }
        let plan = &self.plan;
        let mut undone = Undone {
            function: self.start,
            start: code.len(),
            steps: Vec::new(),
        };
        // From the frame base, which RSP has left if it moves.
        let (base, below) = match plan.frame {
            Some((reg, offset)) => (reg, i32::from(offset)),
            None => (Gpr::Rsp, 0),
        };
        for &(reg, offset) in &plan.xmms {
            asm::load_xmm(code, reg, base, offset as i32 - below);
            undone.step(code, EpilogueOp::ReloadXmm(reg));
        }
        for &(reg, offset) in &plan.stores {
            asm::load(code, reg, base, offset as i32 - below);
            undone.step(code, EpilogueOp::Reload(reg));
        }
        if plan.frame.is_some() {
            asm::lea_rsp(code, base, plan.upper as i32 - below);
            undone.step(code, EpilogueOp::Release);
        } else if plan.upper > 0 {
            asm::add_rsp(code, plan.upper);
            undone.step(code, EpilogueOp::Release);
        }
        for &reg in plan.pushes.iter().rev() {
            asm::pop(code, reg);
            undone.step(code, EpilogueOp::Pop(reg));
        }
        undone
    }

    fn ended(&mut self, code: &[u8], undone: Undone) {
        let mut epilogue = Epilogue::new(undone.offset(undone.start), undone.offset(code.len()));
        for (end, op) in undone.steps {
            epilogue = epilogue.step(end, op);
        }
        self.say(|layout| layout.epilogue(epilogue));
    }

    /// The function ends here.
    ///
    /// # Errors
    /// [`EmitError::BadLength`], or [`EmitError::Layout`] for a function
    /// without any code.
    pub fn finish(self, code: &mut Vec<u8>) -> Result<FrameLayout, EmitError> {
        if self.return_address == Some(code.len()) {
            asm::int3(code);
        }
        let len = code.len().checked_sub(self.start);
        let len = len.and_then(|len| u32::try_from(len).ok());
        let len = len.ok_or(EmitError::BadLength)?;
        Ok(self.layout.code_len(len).finish()?)
    }
}

/// What an epilogue did so far.
struct Undone {
    function: usize,
    start: usize,
    steps: Vec<(u32, EpilogueOp)>,
}

impl Undone {
    fn step(&mut self, code: &[u8], op: EpilogueOp) {
        self.steps.push((self.offset(code.len()), op));
    }

    /// Where in the function. Nonsense if the vector became shorter, which `finish` finds.
    fn offset(&self, at: usize) -> u32 {
        at.wrapping_sub(self.function) as u32
    }
}
