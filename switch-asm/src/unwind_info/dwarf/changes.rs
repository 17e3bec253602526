//! A layout as changes of an unwind table, in the order of the code. The only
//! place that translates; must not know bytes.

use super::options::Options;
use super::rows::{CfaRule, Column, Rule};
use crate::unwind_info::{Epilogue, EpilogueOp, FrameLayout, Gpr, Op, Step};

/// What holds at the first instruction of an ordinary function, before any
/// change: the caller pushed the return address.
pub(super) const ENTRY_CFA: CfaRule = CfaRule::Register {
    reg: Gpr::Rsp,
    offset: WORD,
};
/// Where that address is.
pub(super) const ENTRY_RIP: Rule = Rule::At(-(WORD as i64));

const WORD: u64 = 8;

/// From an instruction on, what is different.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Cfa(CfaRule),
    Rule(Column, Rule),
    /// The register is as it was at the function's first instruction.
    Restored(Column),
    /// An epilogue begins,
    Remember,
    /// and is over: what held when it began holds again.
    Recall,
}

/// Tells `each` all changes and where they come, never backwards. Changes that
/// come at the same place happen at once; some may change nothing.
pub(super) fn changes(layout: &FrameLayout, options: Options, mut each: impl FnMut(u32, Change)) {
    prologue(layout, options, &mut each);
    if !options.epilogues {
        return;
    }
    for epilogue in layout.epilogues() {
        if epilogue.steps().is_empty() {
            continue;
        }
        each(epilogue.start(), Change::Remember);
        undo(layout, epilogue, options, &mut each);
        if epilogue.end() < layout.code_len() {
            each(epilogue.end(), Change::Recall);
        }
    }
}

fn prologue(layout: &FrameLayout, options: Options, each: &mut impl FnMut(u32, Change)) {
    let mut depth = layout.initial_depth();
    let mut cfa = from_rsp(depth);
    if depth == 0 && layout.steps().iter().all(|step| !says_return(step)) {
        // Until it is pushed, there is none.
        each(0, Change::Cfa(cfa));
        each(0, Change::Rule(Column::Rip, Rule::Undefined));
    }
    for group in layout.steps().chunk_by(|a, b| a.end == b.end) {
        let offset = group[0].end.into();
        let mut after = depth;
        for step in group {
            after += step.op.pushed();
            cfa = match step.op {
                Op::SetFrame { reg, offset } => from_frame(layout, reg, offset, after),
                _ if matches!(cfa, CfaRule::Register { reg: Gpr::Rsp, .. }) => from_rsp(after),
                _ => cfa,
            };
        }
        each(offset, Change::Cfa(cfa));
        for step in group {
            depth += step.op.pushed();
            saves(layout, step.op, depth, options, |column, rule| {
                each(offset, Change::Rule(column, rule));
            });
        }
    }
}

/// Whether the step says where the return address is, for the first instruction already.
fn says_return(step: &Step) -> bool {
    step.end == 0 && matches!(step.op, Op::PushReturn | Op::MachineFrame { .. })
}

/// What `op` puts where; RSP is `depth` below the CFA after it.
fn saves(
    layout: &FrameLayout,
    op: Op,
    depth: u64,
    options: Options,
    mut each: impl FnMut(Column, Rule),
) {
    // Depths are below 4 GiB: layouts see to that.
    let below_cfa = |bytes: u64| Rule::At(-(bytes as i64));
    let from_base = |offset: u32| Rule::At(i64::from(offset) - layout.base_depth() as i64);
    match op {
        Op::Push(reg) => each(Column::Gpr(reg), below_cfa(depth)),
        Op::PushReturn => each(Column::Rip, below_cfa(depth)),
        Op::SaveGpr { reg, offset } => each(Column::Gpr(reg), from_base(offset)),
        Op::SaveXmm { reg, offset } if options.xmm => each(Column::Xmm(reg), from_base(offset)),
        Op::MachineFrame { .. } => {
            // SS, RSP, RFLAGS, CS, RIP, from the top (Intel SDM 3A, 6.14.2).
            each(Column::Gpr(Gpr::Rsp), below_cfa(2 * WORD));
            each(Column::Rip, below_cfa(5 * WORD));
        }
        Op::Alloc(_) | Op::SetFrame { .. } | Op::LoadSp { .. } | Op::SaveXmm { .. } => {}
    }
}

const fn from_rsp(depth: u64) -> CfaRule {
    CfaRule::Register {
        reg: Gpr::Rsp,
        offset: depth,
    }
}

/// The CFA by a frame register that points `offset` above RSP, which is `depth` below the CFA.
fn from_frame(layout: &FrameLayout, reg: Gpr, offset: u16, depth: u64) -> CfaRule {
    let link = layout.steps().iter().find_map(|step| match step.op {
        Op::LoadSp { offset } => Some(offset),
        _ => None,
    });
    match link {
        Some(link) => CfaRule::Link {
            reg,
            offset: i64::from(link) - i64::from(offset),
            record: depth,
        },
        // No frame register points above the caller's frame: layouts see to that.
        None => CfaRule::Register {
            reg,
            offset: depth - u64::from(offset),
        },
    }
}

fn undo(
    layout: &FrameLayout,
    epilogue: &Epilogue,
    options: Options,
    each: &mut impl FnMut(u32, Change),
) {
    let mut depth = layout.initial_depth() + WORD * layout.pushes().count() as u64;
    for group in epilogue.steps().chunk_by(|a, b| a.end == b.end) {
        let offset = group[0].end;
        let mut released = false;
        for step in group {
            match step.op {
                EpilogueOp::Release => released = true,
                EpilogueOp::Pop(_) => (released, depth) = (true, depth - WORD),
                EpilogueOp::Reload(_) | EpilogueOp::ReloadXmm(_) => {}
            }
        }
        if released {
            each(offset, Change::Cfa(from_rsp(depth)));
        }
        for step in group {
            match step.op {
                EpilogueOp::Reload(reg) | EpilogueOp::Pop(reg) => {
                    each(offset, Change::Restored(Column::Gpr(reg)));
                }
                EpilogueOp::ReloadXmm(reg) if options.xmm => {
                    each(offset, Change::Restored(Column::Xmm(reg)));
                }
                EpilogueOp::ReloadXmm(_) | EpilogueOp::Release => {}
            }
        }
    }
}
