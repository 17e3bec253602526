//! Which layouts can exist: the rules that both formats need, and those of
//! Windows, which cost DWARF little (pushes behind the frame register).
//!
//! Microsoft's "x64 exception handling" and "x64 prolog and epilog" have the rules. Must not know how a
//! layout is encoded.

use alloc::vec::Vec;

use super::epilogue::{Epilogue, EpilogueOp, EpilogueStep};
use super::error::LayoutError;
use super::layout::{FrameLayout, depth};
use super::op::{Op, Step};
use super::reg::{Abi, Gpr, Xmm};

/// The largest frame register offset: fifteen units of sixteen bytes.
const MAX_FRAME_OFFSET: u16 = 240;

pub(super) fn validate(layout: &FrameLayout) -> Result<(), LayoutError> {
    let prologue_len = layout.prologue_len();
    let code_len = layout.code_len();
    if code_len == 0 {
        return Err(LayoutError::Empty);
    }
    if u32::from(prologue_len) > code_len {
        return Err(LayoutError::PrologueBeyondCode {
            prologue_len,
            code_len,
        });
    }
    offsets(layout.steps(), prologue_len)?;
    let mut so_far = SoFar::default();
    for (index, step) in layout.steps().iter().enumerate() {
        so_far.step(layout, index, *step)?;
    }
    let depth = depth(layout.steps()) + layout.initial_depth();
    if depth > u64::from(u32::MAX) {
        return Err(LayoutError::FrameTooLarge { depth });
    }
    overlaps(layout)?;
    let mut free_from = u32::from(prologue_len);
    for epilogue in layout.epilogues() {
        check_epilogue(layout, epilogue, free_from).map_err(|why| LayoutError::BadEpilogue {
            start: epilogue.start(),
            why,
        })?;
        free_from = epilogue.end();
    }
    Ok(())
}

fn offsets(steps: &[Step], prologue_len: u8) -> Result<(), LayoutError> {
    let mut before = 0;
    for &Step { end, .. } in steps {
        if end < before {
            return Err(LayoutError::OffsetOrder { end, before });
        }
        if end > prologue_len {
            return Err(LayoutError::OffsetBeyondPrologue {
                end: end.into(),
                prologue_len,
            });
        }
        before = end;
    }
    Ok(())
}

/// A save may lie in what the prologue allocated or above the frame, but not on a return address, on what was
/// pushed, or on another save.
fn overlaps(layout: &FrameLayout) -> Result<(), LayoutError> {
    // Of each place, how deep its two ends are below the canonical frame address.
    let mut taken = Vec::new();
    let mut depth = layout.initial_depth() as i64;
    if !layout.may_be_region() {
        taken.push((0, depth));
    }
    for Step { op, .. } in layout.steps() {
        let below = depth + op.pushed() as i64;
        if depth < below && !matches!(op, Op::Alloc(_)) {
            taken.push((depth, below));
        }
        depth = below;
    }
    let base = layout.base_depth() as i64;
    for Step { op, .. } in layout.steps() {
        let (offset, size) = match *op {
            Op::SaveGpr { offset, .. } => (offset, 8),
            Op::SaveXmm { offset, .. } => (offset, 16),
            _ => continue,
        };
        let below = base - i64::from(offset);
        let above = below - size;
        if taken.iter().any(|&(from, to)| above < to && from < below) {
            return Err(LayoutError::SaveOverlaps { offset });
        }
        taken.push((above, below));
    }
    Ok(())
}

/// What the steps before did.
#[derive(Default)]
struct SoFar {
    depth: u64,
    /// Something other than a push: pushes are over.
    pushes_over: bool,
    frame: Option<Gpr>,
    saved_any: bool,
    return_known: bool,
    gprs: u16,
    xmms: u16,
}

impl SoFar {
    fn step(&mut self, layout: &FrameLayout, index: usize, step: Step) -> Result<(), LayoutError> {
        let Step { end, op } = step;
        match op {
            Op::Push(reg) => self.push(layout, reg)?,
            Op::PushReturn => self.push_return(layout)?,
            Op::Alloc(size) => self.alloc(layout, end, size)?,
            Op::SetFrame { reg, offset } => self.set_frame(layout, reg, offset)?,
            Op::SaveGpr { reg, offset } => {
                self.save(layout, offset, 8)?;
                self.saved_gpr(reg)?;
            }
            Op::SaveXmm { reg, offset } => {
                self.save(layout, offset, 16)?;
                self.saved_xmm(reg)?;
            }
            Op::LoadSp { offset } => self.load_sp(layout, index, offset)?,
            Op::MachineFrame { .. } if index != 0 || end != 0 => {
                return Err(LayoutError::BadMachineFrame);
            }
            Op::MachineFrame { .. } => self.return_known = true,
        }
        self.depth += op.pushed();
        Ok(())
    }

    fn push(&mut self, layout: &FrameLayout, reg: Gpr) -> Result<(), LayoutError> {
        // What a fiber's record holds was not pushed by this function.
        if self.pushes_over && !layout.is_fiber_base() {
            return Err(LayoutError::PushAfterOther { reg });
        }
        self.saved_gpr(reg)
    }

    fn push_return(&mut self, layout: &FrameLayout) -> Result<(), LayoutError> {
        if self.return_known || self.pushes_over && !layout.is_fiber_base() {
            return Err(LayoutError::BadPushReturn);
        }
        self.return_known = true;
        Ok(())
    }

    fn alloc(&mut self, layout: &FrameLayout, end: u8, size: u32) -> Result<(), LayoutError> {
        if size == 0 || !size.is_multiple_of(8) {
            return Err(LayoutError::BadAlloc { size });
        }
        // Without a frame register that moves the base of saves that were counted from it.
        if self.saved_any && layout.frame_register().is_none() {
            return Err(LayoutError::SaveBeforeBase);
        }
        // What was there before the first instruction, no epilogue of this function undoes.
        self.pushes_over |= end > 0;
        Ok(())
    }

    fn set_frame(
        &mut self,
        layout: &FrameLayout,
        reg: Gpr,
        offset: u16,
    ) -> Result<(), LayoutError> {
        if self.frame.is_some() {
            return Err(LayoutError::SecondFrame);
        }
        // What no ABI keeps, a callee may have changed by the time that it is walked. `lea rsp, [r12 + n]` has
        // one byte more than the others, which Windows' walker does not know: it takes n for an instruction.
        if !Abi::Win64.keeps(reg) || matches!(reg, Gpr::Rsp | Gpr::R12) {
            return Err(LayoutError::BadFrameRegister { reg });
        }
        let too_high =
            !layout.is_fiber_base() && u64::from(offset) > self.depth + layout.initial_depth();
        if !offset.is_multiple_of(16) || offset > MAX_FRAME_OFFSET || too_high {
            return Err(LayoutError::BadFrameOffset { offset });
        }
        if self.saved_any {
            return Err(LayoutError::SaveBeforeBase);
        }
        self.frame = Some(reg);
        self.pushes_over = true;
        Ok(())
    }

    fn save(
        &mut self,
        layout: &FrameLayout,
        offset: u32,
        multiple_of: u32,
    ) -> Result<(), LayoutError> {
        if !offset.is_multiple_of(multiple_of) {
            return Err(LayoutError::BadSaveOffset {
                offset,
                multiple_of,
            });
        }
        if layout.frame_register().is_some() && self.frame.is_none() {
            return Err(LayoutError::SaveBeforeBase);
        }
        if layout.is_fiber_base() {
            return Err(LayoutError::BadFiberBase);
        }
        self.saved_any = true;
        self.pushes_over = true;
        Ok(())
    }

    fn load_sp(
        &mut self,
        layout: &FrameLayout,
        index: usize,
        offset: u32,
    ) -> Result<(), LayoutError> {
        if !offset.is_multiple_of(8) {
            return Err(LayoutError::BadSaveOffset {
                offset,
                multiple_of: 8,
            });
        }
        // Between the two one format would know what the other does not.
        let end = layout.steps()[index].end;
        let is_frame = |next: &Step| matches!(next.op, Op::SetFrame { .. }) && next.end == end;
        let sets_frame = layout.steps().get(index + 1).is_some_and(is_frame);
        let is_last_but_one = layout.steps().len() == index + 2;
        if self.frame.is_some() || !is_last_but_one || !sets_frame {
            return Err(LayoutError::BadFiberBase);
        }
        Ok(())
    }

    fn saved_gpr(&mut self, reg: Gpr) -> Result<(), LayoutError> {
        if reg == Gpr::Rsp || self.frame == Some(reg) {
            return Err(LayoutError::BadRegister { reg });
        }
        let bit = 1 << reg.number();
        if self.gprs & bit != 0 {
            return Err(LayoutError::SavedTwice { reg });
        }
        self.gprs |= bit;
        Ok(())
    }

    fn saved_xmm(&mut self, reg: Xmm) -> Result<(), LayoutError> {
        let bit = 1 << reg.number();
        if self.xmms & bit != 0 {
            return Err(LayoutError::XmmSavedTwice { reg });
        }
        self.xmms |= bit;
        Ok(())
    }
}

/// An epilogue must lie behind the prologue and the one before, and undo what the prologue did.
fn check_epilogue(
    layout: &FrameLayout,
    epilogue: &Epilogue,
    free_from: u32,
) -> Result<(), &'static str> {
    let (start, end) = (epilogue.start(), epilogue.end());
    if start < free_from {
        return Err("it begins before the prologue or the epilogue before it has ended");
    }
    if end <= start || end > layout.code_len() {
        return Err("its end lies before its start or behind the function");
    }
    let steps = layout.steps();
    let has = |wanted: fn(&Op) -> bool| steps.iter().any(|step| wanted(&step.op));
    if has(|op| {
        matches!(
            op,
            Op::LoadSp { .. } | Op::PushReturn | Op::MachineFrame { .. }
        )
    }) {
        return Err("a frame that was not made by a call has none");
    }
    let (mut before, mut last) = (start, None);
    let mut allocated = has(|op| matches!(op, Op::Alloc(_)));
    let mut released = false;
    let mut pushes = layout.pushes().rev();
    for step in epilogue.steps() {
        let leave = last == Some(EpilogueOp::Release) && step.op == EpilogueOp::Pop(Gpr::Rbp);
        if step.end < before || step.end == before && !leave {
            return Err("its steps are not in the order of their addresses");
        }
        if step.end >= end {
            return Err("nothing is left behind its last step that leaves the function");
        }
        (before, last) = (step.end, Some(step.op));
        match step.op {
            EpilogueOp::Reload(_) | EpilogueOp::ReloadXmm(_) if released => {
                return Err("a register is reloaded after its frame was released");
            }
            EpilogueOp::Reload(reg) => {
                let saved =
                    |step: &Step| matches!(step.op, Op::SaveGpr { reg: saved, .. } if saved == reg);
                if !steps.iter().any(saved) {
                    return Err("a register is reloaded that was not saved");
                }
            }
            EpilogueOp::ReloadXmm(reg) => {
                let saved =
                    |step: &Step| matches!(step.op, Op::SaveXmm { reg: saved, .. } if saved == reg);
                if !steps.iter().any(saved) {
                    return Err("a register is reloaded that was not saved");
                }
            }
            EpilogueOp::Release if released => return Err("the frame is released twice"),
            EpilogueOp::Release => (released, allocated) = (true, false),
            EpilogueOp::Pop(reg) => {
                if allocated {
                    return Err("a register is popped before the frame is released");
                }
                released = true;
                if pushes.next() != Some(reg) {
                    return Err("it does not pop what was pushed, in the opposite order");
                }
            }
        }
    }
    if allocated || pushes.next().is_some() {
        return Err("it does not release the frame and pop all that was pushed");
    }
    let reloads =
        |step: &EpilogueStep| matches!(step.op, EpilogueOp::Reload(_) | EpilogueOp::ReloadXmm(_));
    let reloaded = |op: EpilogueOp| epilogue.steps().iter().any(|step| step.op == op);
    if epilogue.steps().iter().any(reloads) && !layout.reloads().all(reloaded) {
        return Err("it reloads some of the saved registers and not all");
    }
    Ok(())
}
