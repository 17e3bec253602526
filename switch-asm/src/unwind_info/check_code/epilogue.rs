//! An epilogue's instructions against its steps, and against what Windows takes
//! for an epilogue.

use super::super::epilogue::{Epilogue, EpilogueOp};
use super::super::layout::FrameLayout;
use super::super::op::Op;
use super::super::reg::{Abi, Gpr};
use super::instruction::{Effect, decode};
use super::machine::{Machine, Register};
use super::mismatch::CodeMismatch;

/// `machine` is as the prologue left it.
pub(super) fn check(
    layout: &FrameLayout,
    epilogue: &Epilogue,
    code: &[u8],
    mut machine: Machine,
) -> Result<(), CodeMismatch> {
    machine.forget(layout.frame_register().map(|(reg, _)| reg));
    let mut check = Check {
        layout,
        epilogue,
        machine,
        moved: false,
    };
    let mut at = epilogue.start();
    loop {
        let decoded = decode(&code[at as usize..]).ok_or(CodeMismatch::Unknown { offset: at })?;
        let next = at + decoded.len;
        let splits = |end: u32| at < end && end < next;
        if splits(epilogue.end()) || epilogue.steps().iter().any(|step| splits(step.end)) {
            return Err(CodeMismatch::Split { offset: at });
        }
        let leaves = check.leaves(at, next, decoded.effect)?;
        let returns = check.machine.rsp == layout.initial_depth() as i64;
        if leaves != (next == epilogue.end()) || leaves && !returns {
            return Err(CodeMismatch::Ending { offset: at });
        }
        if leaves {
            return Ok(());
        }
        check.instruction(at, next, decoded.effect)?;
        at = next;
    }
}

struct Check<'a> {
    layout: &'a FrameLayout,
    epilogue: &'a Epilogue,
    machine: Machine,
    /// Whether RSP has gone up.
    moved: bool,
}

impl Check<'_> {
    /// Whether the instruction leaves the function, in a way that Windows knows.
    fn leaves(&self, offset: u32, next: u32, effect: Effect) -> Result<bool, CodeMismatch> {
        match effect {
            Effect::Leaves => Ok(true),
            Effect::Jump(distance) => {
                let target = i64::from(next) + distance;
                let inside = 0 < target && target < i64::from(self.layout.code_len());
                if inside {
                    return Err(CodeMismatch::NotRecognised { offset });
                }
                Ok(true)
            }
            Effect::LeavesUnseen => Err(CodeMismatch::NotRecognised { offset }),
            _ => Ok(false),
        }
    }

    fn instruction(&mut self, at: u32, next: u32, effect: Effect) -> Result<(), CodeMismatch> {
        if self.moved && !matches!(effect, Effect::Pop(_)) {
            return Err(CodeMismatch::NotRecognised { offset: at });
        }
        if matches!(effect, Effect::Branch(_) | Effect::Call) {
            return Err(CodeMismatch::Unknown { offset: at });
        }
        if let Effect::Lea {
            to: Gpr::Rsp,
            memory,
        } = effect
            && !memory.has_disp
        {
            return Err(CodeMismatch::NotRecognised { offset: at });
        }
        let before = self.machine.clone();
        self.machine.run(at, effect)?;
        // Where RSP moves in the body it was further down than is known here.
        let moved = sets_rsp(effect) || self.machine.rsp != before.rsp;
        self.moved |= moved;
        let mut told = false;
        let steps = self.epilogue.steps().iter();
        for step in steps.filter(|step| step.end == next) {
            told = true;
            if !self.done(step.op, effect, &before) {
                return Err(CodeMismatch::EpilogueStep {
                    offset: at,
                    op: step.op,
                });
            }
        }
        let reloads = match effect {
            Effect::Load { reg, .. } | Effect::Pop(reg) => {
                Abi::SysV.keeps(reg) || self.saves(Register::Gpr(reg))
            }
            Effect::LoadXmm { number, .. } => self.saves(Register::Xmm(number)),
            _ => Machine::changed(effect)
                .is_some_and(|reg| Abi::SysV.keeps(reg) || self.saves(Register::Gpr(reg))),
        };
        if !told && (moved || reloads) {
            return Err(CodeMismatch::Undescribed { offset: at });
        }
        Ok(())
    }

    fn done(&self, op: EpilogueOp, effect: Effect, before: &Machine) -> bool {
        match op {
            EpilogueOp::Reload(reg) => match effect {
                Effect::Load {
                    reg: loaded,
                    memory,
                } if loaded == reg => before.depth(memory) == self.slot(Register::Gpr(reg)),
                _ => false,
            },
            EpilogueOp::ReloadXmm(reg) => match effect {
                Effect::LoadXmm { number, memory, .. } if number == reg.number() => {
                    before.depth(memory) == self.slot(Register::Xmm(number))
                }
                _ => false,
            },
            EpilogueOp::Release => {
                let pushed =
                    self.layout.initial_depth() as i64 + 8 * self.layout.pushes().count() as i64;
                let popped = match effect {
                    Effect::Leave => 8,
                    // Into a register that nobody wants back.
                    Effect::Pop(reg) if self.saves(Register::Gpr(reg)) || Abi::SysV.keeps(reg) => {
                        return false;
                    }
                    _ => 0,
                };
                (sets_rsp(effect) || self.machine.rsp != before.rsp)
                    && self.machine.rsp == pushed - popped
            }
            // Whether RSP is at what was pushed is seen at the end; their order is the layout's.
            EpilogueOp::Pop(reg) => match effect {
                Effect::Pop(popped) => popped == reg,
                Effect::Leave => reg == Gpr::Rbp,
                _ => false,
            },
        }
    }

    fn saves(&self, register: Register) -> bool {
        self.layout.steps().iter().any(|step| match step.op {
            Op::Push(reg) | Op::SaveGpr { reg, .. } => register == Register::Gpr(reg),
            Op::SaveXmm { reg, .. } => register == Register::Xmm(reg.number()),
            _ => false,
        })
    }

    /// The depth at which the layout has the register.
    fn slot(&self, register: Register) -> Option<i64> {
        let base = self.layout.base_depth() as i64;
        self.layout.steps().iter().find_map(|step| match step.op {
            Op::SaveGpr { reg, offset } if register == Register::Gpr(reg) => {
                Some(base - i64::from(offset))
            }
            Op::SaveXmm { reg, offset } if register == Register::Xmm(reg.number()) => {
                Some(base - i64::from(offset))
            }
            _ => None,
        })
    }
}

fn sets_rsp(effect: Effect) -> bool {
    let to = match effect {
        Effect::Lea { to, .. } | Effect::Mov { to, .. } => to,
        _ => return false,
    };
    to == Gpr::Rsp
}
