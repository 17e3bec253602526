//! Runs what a layout says that a function does, and checks rows against what was in
//! the registers at its start. Knows no unwind information.

use std::collections::HashMap;

use switch_asm::unwind_info::dwarf::{CfaRule, Column, Row, Rule};
use switch_asm::unwind_info::{EpilogueOp, FrameLayout, Gpr, Op};

const TOP: u64 = 0x7000_0000;
const OTHER_STACK: u64 = 0x9000_0000;
const INTERRUPTED_STACK: u64 = 0x6000_0000;
const RIP: u64 = 0x3000;
const GARBAGE: u64 = 0xdead;
const RSP: Column = Column::Gpr(Gpr::Rsp);

#[derive(Clone)]
struct State {
    registers: HashMap<Column, u64>,
    memory: HashMap<u64, u64>,
}

pub(crate) struct Machine<'a> {
    layout: &'a FrameLayout,
    entry: HashMap<Column, u64>,
    now: State,
    /// Where the registers were saved that the function saves without a push.
    base: u64,
    steps_done: usize,
    in_body: bool,
    /// The current epilogue, its steps that are done, and what its end goes back to.
    epilogue: usize,
    undone: usize,
    before: Option<State>,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(layout: &'a FrameLayout) -> Machine<'a> {
        let mut entry: HashMap<Column, u64> = crate::columns()
            .map(|column| (column, 0x1000 + u64::from(column.dwarf())))
            .collect();
        entry.insert(Column::Rip, RIP);
        let mut registers = entry.clone();
        registers.remove(&Column::Rip);
        let mut memory = HashMap::new();
        let has = |wanted: fn(&Op) -> bool| layout.steps().iter().any(|step| wanted(&step.op));
        if has(|op| matches!(op, Op::MachineFrame { .. })) {
            entry.insert(RSP, INTERRUPTED_STACK);
            registers.insert(RSP, TOP);
        } else if has(|op| matches!(op, Op::PushReturn)) {
            entry.insert(RSP, TOP);
            registers.insert(RSP, TOP);
        } else {
            entry.insert(RSP, TOP);
            registers.insert(RSP, TOP - 8);
            memory.insert(TOP - 8, RIP);
        }
        Machine {
            layout,
            entry,
            now: State { registers, memory },
            base: 0,
            steps_done: 0,
            in_body: false,
            epilogue: 0,
            undone: 0,
            before: None,
        }
    }

    /// Runs all instructions that end at `offset` or before.
    pub(crate) fn arrive(&mut self, offset: u32) {
        let steps = self.layout.steps();
        while let Some(step) = steps.get(self.steps_done)
            && u32::from(step.end) <= offset
        {
            self.prologue(step.op);
            self.steps_done += 1;
        }
        if offset >= self.layout.prologue_len().into() && !self.in_body {
            self.in_body = true;
            self.body();
        }
        while let Some(epilogue) = self.layout.epilogues().get(self.epilogue)
            && epilogue.start() <= offset
        {
            if self.before.is_none() {
                self.before = Some(self.now.clone());
            }
            while let Some(step) = epilogue.steps().get(self.undone)
                && step.end <= offset
            {
                self.undo(step.op);
                self.undone += 1;
            }
            if offset < epilogue.end() {
                return;
            }
            self.now = self.before.take().expect("it was kept");
            (self.epilogue, self.undone) = (self.epilogue + 1, 0);
        }
    }

    /// Steps that nothing has run.
    pub(crate) fn left(&self) -> usize {
        let epilogues = &self.layout.epilogues()[self.epilogue..];
        let all: usize = epilogues
            .iter()
            .map(|epilogue| epilogue.steps().len())
            .sum();
        self.layout.steps().len() - self.steps_done + all - self.undone
    }

    fn rsp(&self) -> u64 {
        self.now.registers[&RSP]
    }

    fn set_rsp(&mut self, rsp: u64) {
        self.now.registers.insert(RSP, rsp);
    }

    fn push(&mut self, value: u64) {
        let rsp = self.rsp() - 8;
        self.set_rsp(rsp);
        self.now.memory.insert(rsp, value);
    }

    fn save(&mut self, column: Column, offset: u32) {
        let framed = self.layout.frame_register().is_some();
        let base = if framed { self.base } else { self.rsp() };
        let value = self.now.registers[&column];
        self.now.memory.insert(base + u64::from(offset), value);
    }

    fn prologue(&mut self, op: Op) {
        match op {
            Op::Push(reg) => self.push(self.now.registers[&Column::Gpr(reg)]),
            Op::PushReturn => self.push(RIP),
            Op::Alloc(size) => self.set_rsp(self.rsp() - u64::from(size)),
            Op::SaveGpr { reg, offset } => self.save(Column::Gpr(reg), offset),
            Op::SaveXmm { reg, offset } => self.save(Column::Xmm(reg), offset),
            Op::SetFrame { reg, offset } => {
                self.base = self.rsp();
                if let Some(link) = self.link() {
                    // The record is what RSP points at; the function's own stack is another.
                    self.base = OTHER_STACK;
                    let at = OTHER_STACK + u64::from(link);
                    self.now.memory.insert(at, self.rsp());
                    self.set_rsp(OTHER_STACK - 64);
                }
                let value = self.base + u64::from(offset);
                self.now.registers.insert(Column::Gpr(reg), value);
            }
            Op::LoadSp { .. } => {}
            Op::MachineFrame { error_code } => {
                // SS, RSP, RFLAGS, CS, RIP.
                self.push(GARBAGE);
                self.push(INTERRUPTED_STACK);
                self.push(GARBAGE);
                self.push(GARBAGE);
                self.push(RIP);
                if error_code {
                    self.push(GARBAGE);
                }
            }
        }
    }

    fn link(&self) -> Option<u32> {
        self.layout.steps().iter().find_map(|step| match step.op {
            Op::LoadSp { offset } => Some(offset),
            _ => None,
        })
    }

    /// Uses all that was saved, and as much stack as it may.
    fn body(&mut self) {
        let frame = self.layout.frame_register().map(|(reg, _)| reg);
        for step in self.layout.steps() {
            let column = match step.op {
                Op::Push(reg) | Op::SaveGpr { reg, .. } if Some(reg) != frame => Column::Gpr(reg),
                Op::SaveXmm { reg, .. } => Column::Xmm(reg),
                _ => continue,
            };
            self.now.registers.insert(column, GARBAGE);
        }
        let released = |steps: &[_]| steps.iter().any(|op| matches!(op, EpilogueOp::Release));
        let epilogues = self.layout.epilogues().iter();
        let all_release = epilogues
            .map(|epilogue| {
                epilogue
                    .steps()
                    .iter()
                    .map(|step| step.op)
                    .collect::<Vec<_>>()
            })
            .all(|steps| released(&steps));
        if frame.is_some() && all_release {
            self.set_rsp(self.rsp() - 4096);
        }
    }

    fn undo(&mut self, op: EpilogueOp) {
        let framed = self.layout.frame_register().is_some();
        let base = if framed { self.base } else { self.rsp() };
        match op {
            EpilogueOp::Reload(_) | EpilogueOp::ReloadXmm(_) => {
                let (column, offset) = self.saved(op);
                let value = self.now.memory[&(base + u64::from(offset))];
                self.now.registers.insert(column, value);
            }
            EpilogueOp::Release => {
                let steps = self.layout.steps().iter();
                let pushes = steps.filter(|step| matches!(step.op, Op::Push(_))).count();
                self.set_rsp(TOP - 8 - 8 * pushes as u64);
            }
            EpilogueOp::Pop(reg) => {
                let rsp = self.rsp();
                let value = self.now.memory[&rsp];
                self.now.registers.insert(Column::Gpr(reg), value);
                self.set_rsp(rsp + 8);
            }
        }
        // A signal handler may run at any time.
        let rsp = self.rsp();
        self.now.memory.retain(|&at, _| at >= rsp);
    }

    fn saved(&self, op: EpilogueOp) -> (Column, u32) {
        let mut steps = self.layout.steps().iter();
        let found = steps.find_map(|step| match (step.op, op) {
            (Op::SaveGpr { reg, offset }, EpilogueOp::Reload(asked)) if reg == asked => {
                Some((Column::Gpr(reg), offset))
            }
            (Op::SaveXmm { reg, offset }, EpilogueOp::ReloadXmm(asked)) if reg == asked => {
                Some((Column::Xmm(reg), offset))
            }
            _ => None,
        });
        found.expect("it was saved")
    }

    fn saves(&self, wanted: Gpr) -> bool {
        let mut steps = self.layout.steps().iter();
        steps
            .any(|step| matches!(step.op, Op::Push(reg) | Op::SaveGpr { reg, .. } if reg == wanted))
    }

    /// That `row` finds what was in the registers.
    pub(crate) fn check(&self, row: &Row) -> Result<(), String> {
        let read = |at: u64| self.now.memory.get(&at).copied();
        let register = |reg: Gpr| self.now.registers[&Column::Gpr(reg)];
        let cfa = match row.cfa {
            CfaRule::Register { reg, offset } => register(reg) + offset,
            CfaRule::Link {
                reg,
                offset,
                record,
            } => {
                let at = register(reg).wrapping_add_signed(offset);
                read(at).ok_or("no link")? + record
            }
        };
        let pushed = self.now.memory.values().any(|&value| value == RIP);
        // A frame register that is not saved is one that the caller does not want back.
        let lost = self.layout.frame_register().map(|(reg, _)| reg);
        let lost = lost.filter(|&reg| !self.saves(reg));
        for column in crate::columns().filter(|&column| Some(column) != lost.map(Column::Gpr)) {
            let found = match row.rule(column) {
                Some(Rule::At(offset)) => read(cfa.wrapping_add_signed(offset)),
                Some(Rule::Undefined) if column == Column::Rip && !pushed => continue,
                Some(Rule::Undefined) => None,
                None if column == RSP => Some(cfa),
                None => self.now.registers.get(&column).copied(),
            };
            if found != Some(self.entry[&column]) {
                let wanted = self.entry[&column];
                return Err(format!("{column}: {found:x?}, not {wanted:x}, by {row}"));
            }
        }
        Ok(())
    }
}
