//! The codes of an `UNWIND_INFO`, as steps. Must not know what they undo.

use super::decode::DecodeError;
use super::format;
use crate::unwind_info::{Gpr, Op, Step, Xmm};

/// The codes of an [`UnwindInfo`](super::UnwindInfo), in their order there: the prologue's last step first.
/// Saves of `rsp` are [`Op::LoadSp`].
#[derive(Clone, Debug)]
pub struct Codes<'a> {
    /// Whole codes, as [`Codes::check`] has seen.
    slots: &'a [u8],
    frame: Option<(Gpr, u16)>,
}

impl<'a> Codes<'a> {
    /// Looks at every code, so that iterating cannot meet one that is wrong.
    pub(super) fn check(
        slots: &'a [u8],
        frame: Option<(Gpr, u16)>,
    ) -> Result<Codes<'a>, DecodeError> {
        let mut rest = slots;
        while !rest.is_empty() {
            (_, rest) = next(rest, frame)?;
        }
        Ok(Codes { slots, frame })
    }
}

impl Iterator for Codes<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.slots.is_empty() {
            return None;
        }
        let (step, rest) = next(self.slots, self.frame).ok()?;
        self.slots = rest;
        Some(step)
    }
}

/// The first code of `slots`, and what is behind it.
fn next(slots: &[u8], frame: Option<(Gpr, u16)>) -> Result<(Step, &[u8]), DecodeError> {
    let (&[end, byte], rest) = slots.split_first_chunk().ok_or(DecodeError::CutOff)?;
    let (number, info) = (byte & 15, byte >> 4);
    let reg = Gpr::ALL[usize::from(info)];
    // Four bits: there is no other.
    let xmm = Xmm::new(info).map_err(|_| DecodeError::CutOff)?;
    let none = |op| Ok((op, rest));
    let unknown = DecodeError::UnknownCode { code: byte };
    let (op, rest) = match (number, info) {
        (format::PUSH_NONVOL, _) => none(Op::Push(reg)),
        (format::ALLOC_SMALL, _) => none(Op::Alloc(u32::from(info) * 8 + 8)),
        (format::ALLOC_LARGE, 0) => near(rest, 8, Op::Alloc),
        (format::ALLOC_LARGE, 1) => far(rest, Op::Alloc),
        (format::SET_FPREG, _) => {
            let (reg, offset) = frame.ok_or(DecodeError::NoFrameRegister)?;
            none(Op::SetFrame { reg, offset })
        }
        (format::SAVE_NONVOL, _) => near(rest, 8, |offset| saved(reg, offset)),
        (format::SAVE_NONVOL_FAR, _) => far(rest, |offset| saved(reg, offset)),
        (format::SAVE_XMM128, _) => near(rest, 16, |offset| Op::SaveXmm { reg: xmm, offset }),
        (format::SAVE_XMM128_FAR, _) => far(rest, |offset| Op::SaveXmm { reg: xmm, offset }),
        (format::PUSH_MACHFRAME, 0 | 1) => none(Op::MachineFrame {
            error_code: info == 1,
        }),
        _ => Err(unknown),
    }?;
    Ok((Step { end, op }, rest))
}

const fn saved(reg: Gpr, offset: u32) -> Op {
    match reg {
        Gpr::Rsp => Op::LoadSp { offset },
        _ => Op::SaveGpr { reg, offset },
    }
}

fn near(rest: &[u8], scale: u32, op: impl Fn(u32) -> Op) -> Result<(Op, &[u8]), DecodeError> {
    let (&operand, rest) = rest.split_first_chunk().ok_or(DecodeError::CutOff)?;
    Ok((op(u32::from(u16::from_le_bytes(operand)) * scale), rest))
}

fn far(rest: &[u8], op: impl Fn(u32) -> Op) -> Result<(Op, &[u8]), DecodeError> {
    let (&operand, rest) = rest.split_first_chunk().ok_or(DecodeError::CutOff)?;
    Ok((op(u32::from_le_bytes(operand)), rest))
}
