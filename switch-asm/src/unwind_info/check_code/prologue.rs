//! A prologue's instructions against the steps of its layout.

use alloc::vec::Vec;

use super::super::layout::FrameLayout;
use super::super::op::Op;
use super::super::reg::{Abi, Gpr};
use super::instruction::{Effect, decode};
use super::machine::{Machine, Register, Value};
use super::mismatch::CodeMismatch;

/// What the prologue leaves behind.
pub(super) fn check(layout: &FrameLayout, code: &[u8]) -> Result<Machine, CodeMismatch> {
    let mut check = Check::new(layout);
    let end = u32::from(layout.prologue_len());
    let mut at = 0;
    while at < end {
        // Of the whole function: what is cut by the prologue's end is a `Split`, not something unknown.
        let decoded = decode(&code[at as usize..]).ok_or(CodeMismatch::Unknown { offset: at })?;
        let next = at + decoded.len;
        let splits = layout.steps().iter().any(|step| {
            let end = u32::from(step.end);
            at < end && end < next
        });
        if next > end || splits {
            return Err(CodeMismatch::Split { offset: at });
        }
        check.instruction(at, next, decoded.effect)?;
        at = next;
    }
    check.all_described()?;
    Ok(check.machine)
}

struct Check<'a> {
    layout: &'a FrameLayout,
    base: i64,
    machine: Machine,
    /// Registers whose saves the layout has told so far, by number.
    told: [bool; 16],
    frame_set: Option<Gpr>,
    /// Where instructions begin since something was last done to the frame: a loop may lead there.
    calm: Vec<u32>,
}

impl<'a> Check<'a> {
    fn new(layout: &'a FrameLayout) -> Self {
        // Depths are below 4 GiB, see `validate`.
        let mut depth = layout.initial_depth() as i64;
        let mut told = [false; 16];
        let mut frame_set = None;
        let mut given = Vec::new();
        if !layout.may_be_region() {
            given.push((0, depth));
        }
        // What was there before the first instruction was done by others.
        for step in layout.steps().iter().take_while(|step| step.end == 0) {
            let above = depth;
            depth += step.op.pushed() as i64;
            if !matches!(step.op, Op::Alloc(_)) {
                given.push((above, depth));
            }
            match step.op {
                Op::Push(reg) | Op::SaveGpr { reg, .. } => told[usize::from(reg.number())] = true,
                Op::SetFrame { reg, .. } => frame_set = Some(reg),
                _ => {}
            }
        }
        let mut machine = Machine::new(depth, !layout.may_be_region());
        // What a fiber's record holds is on another stack.
        let here = |&(above, below): &(i64, i64)| above < below && !layout.is_fiber_base();
        for (above, below) in given.into_iter().filter(here) {
            machine.give(above, below);
        }
        Check {
            layout,
            base: layout.base_depth() as i64,
            machine,
            told,
            frame_set,
            calm: Vec::new(),
        }
    }

    fn instruction(&mut self, at: u32, next: u32, effect: Effect) -> Result<(), CodeMismatch> {
        self.may_change(at, effect)?;
        self.calm.push(at);
        match effect {
            Effect::Branch(distance) => {
                let target = i64::from(next) + distance;
                if !self.calm.iter().any(|&calm| i64::from(calm) == target) {
                    return Err(CodeMismatch::Unknown { offset: at });
                }
            }
            Effect::Jump(_) | Effect::Leaves | Effect::LeavesUnseen => {
                return Err(CodeMismatch::Unknown { offset: at });
            }
            _ => {}
        }
        let before = self.machine.rsp;
        self.machine.run(at, effect)?;
        self.steps(at, next, effect, self.machine.rsp - before)
    }

    /// Whether the layout lets the instruction change a register.
    fn may_change(&self, offset: u32, effect: Effect) -> Result<(), CodeMismatch> {
        let Some(reg) = Machine::changed(effect) else {
            return Ok(());
        };
        let saved = self.layout.steps().iter().any(|step| match step.op {
            Op::Push(saved) | Op::SaveGpr { reg: saved, .. } => saved == reg,
            _ => false,
        });
        let must_be_told = saved || Abi::SysV.keeps(reg);
        if self.frame_set == Some(reg) || must_be_told && !self.told[usize::from(reg.number())] {
            return Err(CodeMismatch::Clobbers { offset, reg });
        }
        Ok(())
    }

    /// All that the layout says to be done at the end of this instruction, which moved RSP down by `moved`.
    fn steps(
        &mut self,
        at: u32,
        next: u32,
        effect: Effect,
        moved: i64,
    ) -> Result<(), CodeMismatch> {
        let mut expected = 0;
        let mut mover = None;
        let steps = self.layout.steps().iter();
        for step in steps.filter(|step| u32::from(step.end) == next) {
            let op = step.op;
            if op.pushed() > 0 {
                expected += op.pushed() as i64;
                mover = Some(op);
            }
            if !self.done(op, effect) {
                return Err(CodeMismatch::Step { offset: at, op });
            }
            self.calm.clear();
        }
        match mover {
            Some(op) if expected != moved => Err(CodeMismatch::Step { offset: at, op }),
            None if moved != 0 => Err(CodeMismatch::Undescribed { offset: at }),
            _ => Ok(()),
        }
    }

    fn done(&mut self, op: Op, effect: Effect) -> bool {
        match op {
            Op::Push(reg) => {
                let pushed = self.machine.tell(Register::Gpr(reg), self.machine.rsp);
                self.told[usize::from(reg.number())] = true;
                pushed && effect == Effect::Push(reg)
            }
            // By how much is seen when all steps are added.
            Op::Alloc(_) => true,
            Op::SetFrame { reg, offset } => {
                self.frame_set = Some(reg);
                self.machine.value(reg) == Value::Address(self.machine.rsp - i64::from(offset))
            }
            Op::SaveGpr { reg, offset } => {
                self.told[usize::from(reg.number())] = true;
                let depth = self.base - i64::from(offset);
                self.machine.tell(Register::Gpr(reg), depth)
            }
            Op::SaveXmm { reg, offset } => {
                let depth = self.base - i64::from(offset);
                self.machine.tell(Register::Xmm(reg.number()), depth)
            }
            // No instruction does these.
            Op::LoadSp { .. } | Op::PushReturn | Op::MachineFrame { .. } => false,
        }
    }

    /// Whoever puts a register that has to be kept into the frame means to change it.
    fn all_described(&self) -> Result<(), CodeMismatch> {
        for slot in &self.machine.slots {
            if let Register::Gpr(reg) = slot.register
                && Abi::SysV.keeps(reg)
                && !self.told[usize::from(reg.number())]
            {
                return Err(CodeMismatch::Undescribed {
                    offset: slot.offset,
                });
            }
        }
        Ok(())
    }
}
