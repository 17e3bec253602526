//! Functions in several places: further regions save more registers in the frame
//! that the first one has made. Windows only.

use switch_asm::unwind_info::winx64::{Options, Table, TableBuilder};
use switch_asm::unwind_info::{Epilogue, FrameLayout, Gpr, Op, Xmm};

use crate::assembled::{Making, Slot};
use crate::body::Body;
use crate::ending;
use crate::faults::{Fault, Faults};
use crate::machine::{CODE, Machine};
use crate::rng::Rng;
use crate::subject::{Entry, Kept, enter, run_code};
use crate::tally::{Answer, Tally};
use crate::walkers::{self, BASE};

const XDATA: u64 = BASE + 0x80_0000;

struct Region {
    begin: u32,
    layout: FrameLayout,
}

struct Function {
    making: Making,
    regions: Vec<Region>,
    epilogues: Vec<Epilogue>,
    /// Jumps from region to region.
    jumps: Vec<u32>,
}

/// A region that saves what nobody has saved yet, in room that is free.
fn saves(making: &mut Making, rng: &mut Rng) -> Vec<(u32, Op)> {
    let mut steps = Vec::new();
    let begin = making.asm.end();
    let frame = making.frame.map(|(reg, _)| reg);
    let below = (!making.moves).then_some(making.depth - making.base);
    let mut free: Vec<u32> = (0..making.room / 8).map(|n| 8 * n).collect();
    free.retain(|&at| {
        making.slots.iter().all(|&slot| {
            let (other, size) = match slot {
                Slot::Gpr(_, other) => (other, 8),
                Slot::Xmm(_, other) => (other, 16),
            };
            at + 8 <= other || other + size <= at
        })
    });
    let kept = Gpr::ALL.into_iter().filter(|&reg| making.abi.keeps(reg));
    let unsaved = kept.filter(|&reg| reg != Gpr::Rsp && Some(reg) != frame && !making.saves(reg));
    let mut unsaved: Vec<Gpr> = unsaved.collect();
    rng.shuffle(&mut unsaved);
    while let (Some(at), Some(reg)) = (free.pop(), unsaved.pop()) {
        let (base, disp) = making.address(rng, at, below);
        let op = if rng.once_in(3) && at.is_multiple_of(16) && !has_xmm15(making) {
            let opcode = making.sse_opcode(rng, 1);
            if !free_above(making, at) {
                continue;
            }
            making.asm.sse(rng, opcode, 15, base, disp);
            making.slots.push(Slot::Xmm(15, at));
            let reg = Xmm::new(15).expect("below 16");
            Op::SaveXmm { reg, offset: at }
        } else {
            making.asm.memory(rng, 0x89, reg, base, disp);
            making.slots.push(Slot::Gpr(reg, at));
            Op::SaveGpr { reg, offset: at }
        };
        steps.push((making.asm.end() - begin, op));
        making.steps.push((making.asm.end(), op));
        if rng.once_in(3) {
            break;
        }
    }
    steps
}

/// Whether the eight bytes above `at` are in the room and nobody's.
fn free_above(making: &Making, at: u32) -> bool {
    at + 16 <= making.room
        && making.slots.iter().all(|&slot| match slot {
            Slot::Gpr(_, other) => other != at + 8,
            Slot::Xmm(_, other) => other + 16 <= at || at + 16 <= other,
        })
}

fn has_xmm15(making: &Making) -> bool {
    let mut slots = making.slots.iter();
    slots.any(|slot| matches!(slot, Slot::Xmm(15, _)))
}

fn function(rng: &mut Rng) -> Option<Function> {
    let mut making = Making::entered_by(Entry::Call, rng);
    making.prologue(rng);
    let prologue_len = making.asm.end();
    let parent_layout = making.layout(prologue_len);
    let parent_slots = making.slots.clone();
    making.body(rng);
    let mut function = Function {
        making,
        regions: Vec::new(),
        epilogues: Vec::new(),
        jumps: Vec::new(),
    };
    let mut hole = function.jump();
    // Where the last region may come back to.
    let back = rng.once_in(2).then(|| function.making.asm.end());
    let mut layout = parent_layout;
    if back.is_some() {
        let epilogue = function.end(rng);
        layout = layout.epilogue(epilogue);
    }
    let end = function.making.asm.end();
    function.regions.push(Region {
        begin: 0,
        layout: layout.code_len(end).finish().ok()?,
    });
    for _ in 0..=rng.below(2) {
        function.pad(rng);
        let begin = function.making.asm.end();
        function.fill(hole, begin);
        let steps = saves(&mut function.making, rng);
        let prologue_len = function.making.asm.end() - begin;
        let mut body = Body::spoils(
            function.making.steps.iter().map(|&(_, op)| op),
            function.making.frame.map(|(reg, _)| reg),
        );
        body.moves = function.making.moves;
        body.calls = false;
        body.write(&mut function.making.asm.code, rng);
        hole = function.jump();
        let end = function.making.asm.end();
        let mut layout = FrameLayout::builder().prologue_len(prologue_len);
        for (end, op) in steps {
            layout = layout.op(end, op);
        }
        function.regions.push(Region {
            begin,
            layout: layout.code_len(end - begin).finish().ok()?,
        });
    }
    // The last region, with the end of all.
    function.pad(rng);
    let begin = function.making.asm.end();
    function.fill(hole, begin);
    if let Some(back) = back {
        let mut own = function.making.slots.split_off(parent_slots.len());
        std::mem::swap(&mut own, &mut function.making.slots);
        ending::reload(&mut function.making, rng, &mut Vec::new());
        let hole = function.jump();
        function.fill(hole, back);
    } else {
        function.end(rng);
    }
    let end = function.making.asm.end();
    function.regions.push(Region {
        begin,
        layout: FrameLayout::builder().code_len(end - begin).finish().ok()?,
    });
    Some(function)
}

impl Function {
    /// `jmp` to what is not known yet: where its displacement lies.
    fn jump(&mut self) -> u32 {
        self.jumps.push(self.making.asm.end());
        self.making.asm.bytes(&[0xe9, 0, 0, 0, 0]);
        self.making.asm.end() - 4
    }

    fn fill(&mut self, hole: u32, target: u32) {
        let displacement = target.wrapping_sub(hole + 4).to_le_bytes();
        self.making.asm.code[hole as usize..][..4].copy_from_slice(&displacement);
    }

    fn pad(&mut self, rng: &mut Rng) {
        let len = rng.below(20) as usize;
        self.making.asm.bytes(&vec![0xcc; len]);
    }

    fn end(&mut self, rng: &mut Rng) -> Epilogue {
        let epilogue = ending::epilogue(&mut self.making, rng);
        self.epilogues.push(epilogue.clone());
        epilogue
    }

    /// Each region is chained to the one before it.
    fn table(&self) -> Table {
        let mut builder = TableBuilder::new(BASE);
        let first = &self.regions[0];
        let mut before = builder
            .add(CODE, &first.layout, &Options::new())
            .expect("can be encoded");
        for region in &self.regions[1..] {
            let address = CODE + u64::from(region.begin);
            let added = builder.add_chained(address, &region.layout, before);
            before = added.expect("can be chained");
        }
        builder.finish(XDATA).expect("is in reach")
    }
}

pub(crate) fn random(seed: u64, points: u64) -> Tally {
    let mut machine = Machine::new();
    let mut tally = Tally::default();
    let mut seeds = Rng::new(seed);
    while tally.points < points {
        let seed = seeds.word();
        match function(&mut Rng::new(seed)) {
            Some(function) => {
                tally.assembled += 1;
                check(seed, &function, &mut machine, &mut tally);
            }
            None => tally.impossible += 1,
        }
    }
    tally
}

fn check(seed: u64, function: &Function, machine: &mut Machine, tally: &mut Tally) {
    let rng = &mut Rng::new(!seed);
    let code = &function.making.asm.code;
    let table = function.table();
    let pdata: Vec<u8> = table
        .pdata
        .iter()
        .flat_map(|entry| entry.to_bytes())
        .collect();
    let mut faults = Faults::new(code, &function.epilogues);
    // Whatever it finds there, it did not look at where the jump goes.
    for &at in &function.jumps {
        faults.all(at as usize..at as usize + 1, Fault::JumpWithin);
    }
    // Wherever one of those is on the way.
    if function.regions[1..]
        .iter()
        .any(|region| odd(&region.layout))
    {
        let from = function.regions[1].begin as usize;
        faults.all(from..code.len(), Fault::OddChain);
    }
    let kept = Kept::by(
        function.making.abi,
        function.making.steps.iter().map(|&(_, op)| op),
    );
    let truth = enter(machine, rng, Entry::Call);
    let what = || format!("function {seed:#x} {code:02x?} {table:?}");
    run_code(code, 0, machine, rng, &truth, &mut |point| {
        tally.point(point);
        let rva = (CODE - BASE) as u32 + point.pc;
        let bytes_at = |rva: u32| match u64::from(rva) + BASE {
            at @ XDATA.. => table.xdata.get((at - XDATA) as usize..),
            at => code.get(at.checked_sub(CODE)? as usize..),
        };
        let all = [
            (
                "ours",
                walkers::walk_in(&table, code, rva, point.machine),
                None,
            ),
            (
                "peer",
                walkers::peer(&pdata, bytes_at, rva, point.machine),
                faults.at(point.pc),
            ),
        ];
        for (walker, found, fault) in all {
            let answer = Answer {
                walker,
                found,
                fault,
                what: &what,
            };
            tally.answer(point, kept, answer);
        }
    });
}

/// Slots of saves only: each has two, or three where it is far.
fn odd(layout: &FrameLayout) -> bool {
    let far = layout.steps().iter().filter(|step| match step.op {
        Op::SaveGpr { offset, .. } => offset / 8 > 0xffff,
        Op::SaveXmm { offset, .. } => offset / 16 > 0xffff,
        _ => false,
    });
    !far.count().is_multiple_of(2)
}
