//! What a function does to registers and memory, step by step: forwards, while walks go backwards.

use std::cell::Cell;
use std::collections::HashMap;

use switch_asm::unwind_info::winx64::{Context, Memory};
use switch_asm::unwind_info::{EpilogueOp, Gpr, Op};

use crate::frames::{Frame, Moment, Random};

/// Words that were written. What was not cannot be read.
#[derive(Default)]
pub(crate) struct Words {
    pub(crate) words: HashMap<u64, u64>,
    pub(crate) reads: Cell<usize>,
}

impl Memory for Words {
    fn read_u64(&self, address: u64) -> Option<u64> {
        self.reads.set(self.reads.get() + 1);
        self.words.get(&address).copied()
    }
}

pub(crate) struct Machine {
    pub(crate) context: Context,
    pub(crate) stack: Words,
    base: u64,
}

impl Machine {
    /// At a function's first instruction, with registers that differ in every bit that matters, and its return address.
    pub(crate) fn entered(random: &mut Random) -> Machine {
        let mut context = Context::default();
        context.gprs.fill_with(|| random.next());
        let wide =
            |random: &mut Random| u128::from(random.next()) << 64 | u128::from(random.next());
        context.xmms.fill_with(|| wide(random));
        *context.gpr_mut(Gpr::Rsp) = 0x7fff_0000_0008 + 16 * u64::from(random.below(1000));
        let mut stack = Words::default();
        stack.words.insert(context.rsp(), random.next());
        Machine {
            base: context.rsp(),
            context,
            stack,
        }
    }

    /// What the caller sees after the return.
    pub(crate) fn caller(&self) -> Context {
        let mut caller = self.context;
        caller.rip = self.stack.words[&self.context.rsp()];
        *caller.gpr_mut(Gpr::Rsp) += 8;
        caller
    }

    fn save(&mut self, reg: Gpr, address: u64, garbage: u64) {
        self.stack.words.insert(address, self.context.gpr(reg));
        *self.context.gpr_mut(reg) = garbage;
    }

    /// Does a step of the prologue, and uses the register that it saved for something else.
    fn step(&mut self, op: Op, has_frame: bool, random: &mut Random) {
        let garbage = random.next();
        let rsp = self.context.rsp();
        match op {
            Op::Push(reg) => {
                *self.context.gpr_mut(Gpr::Rsp) -= 8;
                self.save(reg, rsp - 8, garbage);
            }
            Op::Alloc(size) => *self.context.gpr_mut(Gpr::Rsp) -= u64::from(size),
            Op::SetFrame { reg, offset } => {
                self.base = rsp;
                *self.context.gpr_mut(reg) = rsp + u64::from(offset);
            }
            Op::SaveGpr { reg, offset } => {
                let base = if has_frame { self.base } else { rsp };
                self.save(reg, base + u64::from(offset), garbage);
            }
            Op::SaveXmm { reg, offset } => {
                let base = if has_frame { self.base } else { rsp };
                let address = base + u64::from(offset);
                let value = &mut self.context.xmms[usize::from(reg.number())];
                self.stack.words.insert(address, *value as u64);
                self.stack.words.insert(address + 8, (*value >> 64) as u64);
                *value = u128::from(garbage);
            }
            _ => unreachable!("no called function has that"),
        }
    }

    /// A machine that was entered, at some moment of a function.
    pub(crate) fn at(mut self, frame: &Frame, moment: Moment, random: &mut Random) -> Machine {
        let before = self.context;
        let steps = frame.layout.steps();
        let done = match moment {
            Moment::Prologue(done) => done,
            Moment::Body | Moment::Epilogue(_) => steps.len(),
        };
        let has_frame = frame.layout.frame_register().is_some();
        for step in &steps[..done] {
            self.step(step.op, has_frame, random);
        }
        let in_body = !matches!(moment, Moment::Prologue(_));
        if in_body && frame.dynamic {
            *self.context.gpr_mut(Gpr::Rsp) -= 16 * u64::from(random.below(50));
        }
        if let Moment::Epilogue(done) = moment {
            for step in steps {
                match step.op {
                    Op::SaveGpr { reg, .. } => *self.context.gpr_mut(reg) = before.gpr(reg),
                    Op::SaveXmm { reg, .. } => {
                        self.context.xmms[usize::from(reg.number())] = before.xmm(reg);
                    }
                    _ => {}
                }
            }
            let pushed = |op: &&EpilogueOp| matches!(op, EpilogueOp::Pop(_));
            let pushes = frame.undo.iter().filter(pushed).count() as u64;
            for &op in &frame.undo[..done] {
                let rsp = self.context.rsp();
                match op {
                    EpilogueOp::Pop(reg) => {
                        *self.context.gpr_mut(reg) = before.gpr(reg);
                        *self.context.gpr_mut(Gpr::Rsp) = rsp + 8;
                    }
                    _ => *self.context.gpr_mut(Gpr::Rsp) = before.rsp() - 8 * pushes,
                }
            }
        }
        self
    }
}
