//! Random functions: any valid layout, as far as chance gets.

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use switch_asm::unwind_info::{
    Abi, Epilogue, EpilogueOp, FrameLayout, Gpr, LayoutBuilder, Op, Xmm,
};

/// Whether it is a fiber's base; whether it was interrupted.
pub(crate) fn kind(layout: &FrameLayout) -> (bool, bool) {
    let has = |wanted: fn(&Op) -> bool| layout.steps().iter().any(|step| wanted(&step.op));
    (
        has(|op| matches!(op, Op::LoadSp { .. })),
        has(|op| matches!(op, Op::MachineFrame { .. })),
    )
}

pub(crate) fn without_epilogues(layout: &FrameLayout) -> FrameLayout {
    let builder = FrameLayout::builder()
        .prologue_len(layout.prologue_len().into())
        .code_len(layout.code_len());
    let steps = layout.steps().iter();
    steps
        .fold(builder, |builder, step| {
            builder.op(step.end.into(), step.op)
        })
        .finish()
        .expect("a valid layout")
}

/// What a function is made of, before its offsets are known.
#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    pushes: Vec<Gpr>,
    allocs: Vec<u32>,
    frame: Option<(Index, u32)>,
    /// Registers, and how far above the caller's frame they are saved, if they are.
    saves: Vec<(Gpr, Option<u32>)>,
    xmms: Vec<(Xmm, Option<u32>)>,
    epilogues: usize,
    /// With an error code, with a return address elsewhere, without code behind the last epilogue.
    special: bool,
    place: Index,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    FiberBase,
    Interrupt,
    Called,
}

pub(crate) fn layouts() -> impl Strategy<Value = FrameLayout> {
    let kind = prop_oneof![
        1 => Just(Kind::FiberBase),
        1 => Just(Kind::Interrupt),
        6 => Just(Kind::Called)
    ];
    let saveable: Vec<Gpr> = Gpr::ALL.into_iter().filter(|&r| r != Gpr::Rsp).collect();
    let registers = subsequence(saveable, 0..=12).prop_shuffle();
    let xmms = (0..16).map(|n| Xmm::new(n).expect("there is one"));
    let xmms = subsequence(xmms.collect::<Vec<_>>(), 0..=4).prop_shuffle();
    let places = proptest::collection::vec(proptest::option::weighted(0.3, 0..50_u32), 16);
    let parts = (
        (kind, registers, 0..=8_usize),
        proptest::collection::vec((1..600_u32).prop_map(|words| words * 8), 0..=2),
        proptest::option::weighted(0.6, (any::<Index>(), 0..=15_u32)),
        (xmms, places),
        (0..=3_usize, any::<bool>(), any::<Index>()),
    );
    let parts = parts.prop_map(|(registers, allocs, frame, (xmms, places), rest)| {
        let (kind, mut pushes, pushed) = registers;
        let saves = pushes.split_off(pushed.min(pushes.len()));
        Parts {
            kind,
            pushes,
            allocs,
            frame,
            xmms: xmms.into_iter().zip(places[12..].iter().copied()).collect(),
            saves: saves.into_iter().zip(places).collect(),
            epilogues: rest.0,
            special: rest.1,
            place: rest.2,
        }
    });
    // Instructions have different lengths; some functions are long.
    let lengths = prop_oneof![9 => 0..=8_u32, 1 => 60..=66_u32];
    let lengths = proptest::collection::vec(lengths, 64);
    let body = prop_oneof![4 => 1..40_u32, 1 => 40..600_u32];
    (parts, lengths, body).prop_filter_map("too long", |(parts, lengths, body)| {
        let maker = Maker {
            builder: FrameLayout::builder(),
            at: 0,
            depth: 0,
            lengths,
            body,
        };
        match parts.kind {
            Kind::FiberBase => maker.fiber_base(&parts),
            Kind::Interrupt | Kind::Called => maker.called(&parts),
        }
    })
}

struct Maker {
    builder: LayoutBuilder,
    /// How long the code is.
    at: u32,
    /// How far RSP is from the top.
    depth: u32,
    /// Of the instructions, from the last to the first.
    lengths: Vec<u32>,
    body: u32,
}

impl Maker {
    fn advance(&mut self) -> u32 {
        self.at += self.lengths.pop().unwrap_or(1);
        self.at
    }

    fn advance_some(&mut self) -> u32 {
        let before = self.at;
        self.at = self.advance().max(before + 1);
        self.at
    }

    fn op(&mut self, op: Op) {
        let end = self.advance();
        self.depth += match op {
            Op::Push(_) => 8,
            Op::Alloc(size) => size,
            _ => 0,
        };
        self.builder = self.builder.clone().op(end, op);
    }

    /// Pushes and allocations, the return address among them or not; then the link.
    fn fiber_base(mut self, parts: &Parts) -> Option<FrameLayout> {
        let mut ops: Vec<Op> = parts.pushes.iter().map(|&reg| Op::Push(reg)).collect();
        for &size in &parts.allocs {
            ops.insert(parts.place.index(ops.len() + 1), Op::Alloc(size));
        }
        if parts.special {
            ops.insert(parts.place.index(ops.len() + 1), Op::PushReturn);
        }
        let (which, offset) = parts.frame?;
        ops.push(Op::LoadSp {
            offset: 8 * parts.link(),
        });
        ops.into_iter().for_each(|op| self.op(op));
        let base = Op::SetFrame {
            reg: [Gpr::Rbx, Gpr::Rbp, Gpr::R15][which.index(3)],
            offset: offset as u16 * 16,
        };
        self.builder = self.builder.op(self.at, base);
        self.finish(parts)
    }

    fn called(mut self, parts: &Parts) -> Option<FrameLayout> {
        self.depth = 8;
        if let Kind::Interrupt = parts.kind {
            let error_code = parts.special;
            self.builder = self.builder.op(0, Op::MachineFrame { error_code });
            self.depth = 40 + 8 * u32::from(error_code);
        }
        parts.pushes.iter().for_each(|&reg| self.op(Op::Push(reg)));
        parts
            .allocs
            .iter()
            .for_each(|&size| self.op(Op::Alloc(size)));
        if let Some((which, offset)) = parts.frame {
            let saved = |reg: &Gpr| parts.saves.iter().any(|save| save.0 == *reg);
            let leads = |&reg: &Gpr| Abi::Win64.keeps(reg) && !matches!(reg, Gpr::Rsp | Gpr::R12);
            let free = Gpr::ALL.into_iter().filter(|reg| leads(reg) && !saved(reg));
            let free: Vec<Gpr> = free.collect();
            if free.is_empty() {
                return None;
            }
            self.op(Op::SetFrame {
                reg: free[which.index(free.len())],
                offset: (offset * 16).min(self.depth / 16 * 16) as u16,
            });
        }
        // Each has a slot of sixteen bytes, in the frame or above it.
        let local: u32 = parts.allocs.iter().sum();
        let above = self.depth.next_multiple_of(16);
        let slot = |index: usize, place: Option<u32>| {
            let index = index as u32;
            match place {
                None if 16 * index + 16 <= local => 16 * index,
                place => above + 16 * (index + 16 * place.unwrap_or(0)),
            }
        };
        for (index, &(reg, place)) in parts.saves.iter().enumerate() {
            // A slot has two words.
            let offset = slot(index, place) + 8 * (place.unwrap_or(0) % 2);
            self.op(Op::SaveGpr { reg, offset });
        }
        for (index, &(reg, place)) in parts.xmms.iter().enumerate() {
            let offset = slot(12 + index, place);
            self.op(Op::SaveXmm { reg, offset });
        }
        self.finish(parts)
    }

    /// Too long a prologue is none; anything else that is wrong is a mistake in here.
    fn finish(mut self, parts: &Parts) -> Option<FrameLayout> {
        let prologue = self.at;
        self.builder = self.builder.prologue_len(prologue);
        if let Kind::Called = parts.kind {
            (0..parts.epilogues).for_each(|_| self.epilogue(parts));
        }
        if parts.epilogues == 0 || !parts.special || self.at == prologue {
            self.at += self.body;
        }
        let builder = self.builder.code_len(self.at);
        (prologue <= 255).then(|| builder.finish().expect("a valid layout"))
    }

    fn epilogue(&mut self, parts: &Parts) {
        let reloads = parts.saves.iter().map(|save| EpilogueOp::Reload(save.0));
        let xmms = parts.xmms.iter().map(|save| EpilogueOp::ReloadXmm(save.0));
        let release = !parts.allocs.is_empty() || parts.frame.is_some() && parts.special;
        let release = release.then_some(EpilogueOp::Release);
        let pops = parts.pushes.iter().rev().map(|&reg| EpilogueOp::Pop(reg));
        let steps: Vec<EpilogueOp> = reloads.chain(xmms).chain(release).chain(pops).collect();
        self.at += self.body;
        let start = self.at;
        let ends: Vec<u32> = steps.iter().map(|_| self.advance_some()).collect();
        self.at += 1;
        let epilogue = Epilogue::new(start, self.at);
        let epilogue = ends
            .into_iter()
            .zip(steps)
            .fold(epilogue, |epilogue, (end, step)| epilogue.step(end, step));
        self.builder = self.builder.clone().epilogue(epilogue);
    }
}

impl Parts {
    /// Where a fiber's link is, in words.
    fn link(&self) -> u32 {
        self.saves.first().and_then(|save| save.1).unwrap_or(0)
    }
}
