//! Random frames, made by hand: what the module's own prologues never do.

use switch_asm::unwind_info::{Abi, FrameLayout, Gpr, LayoutBuilder, LayoutError, Op, Xmm};

use crate::asm::Asm;
use crate::body::{self, Body};
use crate::ending;
use crate::rng::Rng;
use crate::subject::{Entry, Subject};

/// Where a register is: bytes from the frame base.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Slot {
    Gpr(Gpr, u32),
    Xmm(u8, u32),
}

/// A frame in the making.
pub(crate) struct Making {
    pub(crate) abi: Abi,
    pub(crate) entry: Entry,
    pub(crate) asm: Asm,
    pub(crate) steps: Vec<(u32, Op)>,
    /// RSP's distance from the canonical frame address.
    pub(crate) depth: u32,
    pub(crate) pushes: Vec<Gpr>,
    pub(crate) allocated: u32,
    pub(crate) frame: Option<(Gpr, u16)>,
    /// Depth of the frame base.
    pub(crate) base: u32,
    /// Right above the frame base: bytes in which nothing is yet.
    pub(crate) room: u32,
    pub(crate) slots: Vec<Slot>,
    /// Saved in the caller's area before anything else, and not told yet.
    early: Vec<Gpr>,
    /// RSP moves in the body.
    pub(crate) moves: bool,
}

impl Making {
    pub(crate) fn new(rng: &mut Rng) -> Making {
        let entry = match rng.below(12) {
            0 => Entry::Interrupt {
                error_code: rng.once_in(2),
            },
            _ => Entry::Call,
        };
        Making::entered_by(entry, rng)
    }

    pub(crate) fn entered_by(entry: Entry, rng: &mut Rng) -> Making {
        let mut making = Making {
            abi: rng.pick(&[Abi::SysV, Abi::Win64]),
            entry,
            asm: Asm { code: Vec::new() },
            steps: Vec::new(),
            depth: 8,
            pushes: Vec::new(),
            allocated: 0,
            frame: None,
            base: 0,
            room: 0,
            slots: Vec::new(),
            early: Vec::new(),
            moves: false,
        };
        if let Entry::Interrupt { error_code } = entry {
            making.did(Op::MachineFrame { error_code });
            making.depth = 40 + 8 * u32::from(error_code);
        }
        making
    }

    fn did(&mut self, op: Op) {
        self.steps.push((self.asm.end(), op));
    }

    fn maybe_nop(&mut self, rng: &mut Rng) {
        if rng.once_in(8) {
            self.asm.nop(rng);
        }
    }

    /// The whole prologue.
    pub(crate) fn prologue(&mut self, rng: &mut Rng) {
        if rng.once_in(8) {
            self.asm.bytes(&[0xf3, 0x0f, 0x1e, 0xfa]);
        }
        let mut saved = self.candidates(rng);
        let frame = self.pick_frame(rng, &mut saved);
        if self.entry == Entry::Call && rng.once_in(4) {
            self.save_early(rng, &mut saved, frame);
        }
        let pushed = rng.below(saved.len() as u32 + 1) as usize;
        let (pushed, stored) = saved.split_at(pushed);
        let mut pushed = pushed.to_vec();
        if let Some(reg) = frame
            && self.abi.keeps(reg)
        {
            // What the caller had in the frame register can only be pushed.
            pushed.retain(|&other| other != reg);
            pushed.insert(rng.below(pushed.len() as u32 + 1) as usize, reg);
        }
        for reg in pushed {
            self.asm.push(rng, reg);
            self.pushes.push(reg);
            self.depth += 8;
            self.did(Op::Push(reg));
            self.maybe_nop(rng);
        }
        self.upper(rng);
        if let Some(reg) = frame {
            self.set_frame(rng, reg);
        }
        self.base = self.depth;
        self.room = self.allocated;
        for (index, reg) in std::mem::take(&mut self.early).into_iter().enumerate() {
            let offset = self.base + 8 * index as u32;
            self.did(Op::SaveGpr { reg, offset });
            self.slots.push(Slot::Gpr(reg, offset));
        }
        let mut stored: Vec<Gpr> = stored.to_vec();
        stored.retain(|&reg| Some(reg) != frame);
        let below = self.save_all(rng, &stored);
        if below == 0 && frame.is_some() && rng.once_in(3) {
            self.alloc(rng);
        }
        self.maybe_nop(rng);
        self.moves = frame.is_some() && rng.once_in(2);
    }

    fn candidates(&self, rng: &mut Rng) -> Vec<Gpr> {
        let all = Gpr::ALL.into_iter().filter(|&reg| reg != Gpr::Rsp);
        let (kept, others): (Vec<Gpr>, Vec<Gpr>) = all.partition(|&reg| self.abi.keeps(reg));
        let mut saved = rng.some(&kept, 2);
        saved.extend(rng.some(&others, 16));
        rng.shuffle(&mut saved);
        saved
    }

    fn pick_frame(&self, rng: &mut Rng, saved: &mut Vec<Gpr>) -> Option<Gpr> {
        if rng.once_in(2) {
            return None;
        }
        let reg = rng.pick(&Gpr::ALL);
        if !Abi::Win64.keeps(reg) || matches!(reg, Gpr::Rsp | Gpr::R12) {
            return None;
        }
        saved.retain(|&other| other != reg);
        Some(reg)
    }

    /// Into the bytes above the return address, which on Windows belong to the callee.
    fn save_early(&mut self, rng: &mut Rng, saved: &mut Vec<Gpr>, frame: Option<Gpr>) {
        while self.early.len() < 4 && rng.once_in(2) {
            let Some(reg) = saved.pop().filter(|&reg| Some(reg) != frame) else {
                return;
            };
            let disp = 8 * (1 + self.early.len() as i64);
            self.asm.memory(rng, 0x89, reg, Gpr::Rsp, disp);
            self.early.push(reg);
        }
    }

    /// What is allocated before the frame register is set, or at all.
    fn upper(&mut self, rng: &mut Rng) {
        if rng.once_in(6) {
            // A push that nobody wants back.
            match rng.below(2) {
                0 => self.asm.bytes(&[0x50]),
                _ => self.asm.bytes(&[0x6a, 0x11]),
            }
            self.allocates(8);
        }
        for _ in 0..rng.below(3) {
            self.alloc(rng);
        }
    }

    fn alloc(&mut self, rng: &mut Rng) {
        let size = match rng.below(64) {
            // The longest forms of everything.
            0 => (1 << 20) + 8 * rng.below(0x2000),
            1..8 => 8 * rng.below(4000),
            _ => 8 * rng.below(40),
        };
        let fits = self.depth + size < 3 << 20;
        if size > 0 && fits {
            self.asm.down(rng, size);
            self.allocates(size);
            self.maybe_nop(rng);
        }
    }

    fn allocates(&mut self, size: u32) {
        self.depth += size;
        self.allocated += size;
        self.did(Op::Alloc(size));
    }

    fn set_frame(&mut self, rng: &mut Rng, reg: Gpr) {
        let most = self.depth.min(240) / 16;
        let offset = match rng.below(3) {
            0 => 0,
            1 => most * 16,
            _ => 16 * rng.below(most + 1),
        } as u16;
        if offset == 0 && rng.once_in(2) {
            self.asm.copy(rng, reg, Gpr::Rsp);
        } else {
            self.asm.memory(rng, 0x8d, reg, Gpr::Rsp, offset.into());
        }
        self.frame = Some((reg, offset));
        self.did(Op::SetFrame { reg, offset });
    }

    /// Saves registers in the room there is. With a frame register RSP may go
    /// down meanwhile: by how much is what comes back.
    fn save_all(&mut self, rng: &mut Rng, gprs: &[Gpr]) -> u32 {
        let mut what: Vec<Slot> = gprs.iter().map(|&reg| Slot::Gpr(reg, 0)).collect();
        let first = if self.abi == Abi::Win64 { 6 } else { 14 };
        let xmms: Vec<u8> = (first..16).collect();
        what.extend(rng.some(&xmms, 2).into_iter().map(|xmm| Slot::Xmm(xmm, 0)));
        rng.shuffle(&mut what);
        let size = |slot: &Slot| match slot {
            Slot::Gpr(..) => 8,
            Slot::Xmm(..) => 32,
        };
        let needed: u32 = what.iter().map(size).sum();
        let mut free = match self.room.checked_sub(needed) {
            Some(spare) => match rng.below(3) {
                0 => 0,
                1 => spare / 8 * 8,
                _ => 8 * rng.below(spare / 8 + 1),
            },
            None => 0,
        };
        let mut below = 0;
        for slot in what {
            let align = if let Slot::Gpr(..) = slot { 8 } else { 16 };
            let at = free.next_multiple_of(align);
            if at + align > self.room {
                continue;
            }
            free = at + align;
            self.save(rng, slot, at, below);
            if self.frame.is_some() && rng.once_in(10) {
                let before = self.depth;
                self.alloc(rng);
                below += self.depth - before;
            }
            if rng.once_in(10)
                && let Slot::Gpr(reg, _) = slot
            {
                body::spoil(&mut self.asm.code, rng, reg);
            }
        }
        below
    }

    /// RSP is `below` the frame base.
    fn save(&mut self, rng: &mut Rng, slot: Slot, at: u32, below: u32) {
        let (base, disp) = self.address(rng, at, Some(below));
        match slot {
            Slot::Gpr(reg, _) => {
                self.asm.memory(rng, 0x89, reg, base, disp);
                self.did(Op::SaveGpr { reg, offset: at });
                self.slots.push(Slot::Gpr(reg, at));
            }
            Slot::Xmm(xmm, _) => {
                let opcode = self.sse_opcode(rng, 1);
                self.asm.sse(rng, opcode, xmm, base, disp);
                let reg = Xmm::new(xmm).expect("below 16");
                self.did(Op::SaveXmm { reg, offset: at });
                self.slots.push(Slot::Xmm(xmm, at));
            }
        }
    }

    /// The frame base plus `at`, from a register. RSP is so far below the base, if that is known.
    pub(crate) fn address(&self, rng: &mut Rng, at: u32, below: Option<u32>) -> (Gpr, i64) {
        match (self.frame, below) {
            (Some((reg, offset)), below) if below.is_none() || rng.once_in(2) => {
                (reg, i64::from(at) - i64::from(offset))
            }
            (_, below) => (
                Gpr::Rsp,
                i64::from(at + below.expect("known without a frame")),
            ),
        }
    }

    /// Loads are 0, stores 1. Where the frame base is no multiple of 16, neither is any slot.
    pub(crate) fn sse_opcode(&self, rng: &mut Rng, store: u8) -> (u8, u8) {
        let aligned = [
            (0, 0x28 + store),
            (0x66, 0x28 + store),
            (0x66, 0x6f + 16 * store),
        ];
        let any = [
            (0, 0x10 + store),
            (0x66, 0x10 + store),
            (0xf3, 0x6f + 16 * store),
        ];
        // The canonical frame address is one; that of an interrupt's frame is here, too.
        if self.base.is_multiple_of(16) && rng.once_in(2) {
            rng.pick(&aligned)
        } else {
            rng.pick(&any)
        }
    }

    pub(crate) fn body(&mut self, rng: &mut Rng) {
        let ops = self.steps.iter().map(|&(_, op)| op);
        let mut body = Body::spoils(ops, self.frame.map(|(reg, _)| reg));
        body.moves = self.moves;
        // A callee keeps no frame register that is none of those.
        body.calls = self.frame.is_none_or(|(reg, _)| self.abi.keeps(reg));
        body.write(&mut self.asm.code, rng);
    }

    pub(crate) fn saves(&self, reg: Gpr) -> bool {
        let mut steps = self.steps.iter();
        steps.any(|&(_, op)| match op {
            Op::Push(saved) | Op::SaveGpr { reg: saved, .. } => saved == reg,
            _ => false,
        })
    }

    pub(crate) fn layout(&self, prologue_len: u32) -> LayoutBuilder {
        let mut layout = FrameLayout::builder().prologue_len(prologue_len);
        for &(end, op) in &self.steps {
            layout = layout.op(end, op);
        }
        layout
    }
}

/// A function, or why it is none: its prologue may come out too long.
pub(crate) fn subject(rng: &mut Rng) -> Result<Subject, LayoutError> {
    let mut making = Making::new(rng);
    making.prologue(rng);
    let prologue_len = making.asm.end();
    let mut layout = making.layout(prologue_len);
    let mut ends = 1;
    if making.entry == Entry::Call {
        ends += rng.below(3) as usize;
        for _ in 1..ends {
            making.body(rng);
            let mut code = std::mem::take(&mut making.asm.code);
            let mut epilogue = None;
            body::skip(&mut code, rng, |code, rng| {
                std::mem::swap(code, &mut making.asm.code);
                epilogue = Some(ending::epilogue(&mut making, rng));
                std::mem::swap(code, &mut making.asm.code);
            });
            making.asm.code = code;
            layout = layout.epilogue(epilogue.expect("was written"));
        }
    }
    making.body(rng);
    match making.entry {
        Entry::Call => layout = layout.epilogue(ending::epilogue(&mut making, rng)),
        // iretq: the frame goes before that in real ones.
        Entry::Interrupt { .. } => making.asm.bytes(&[0x48, 0xcf]),
    }
    if rng.once_in(4) {
        making.asm.bytes(&[0xcc, 0x90]);
    }
    let layout = layout.code_len(making.asm.end()).finish()?;
    Ok(Subject {
        abi: making.abi,
        entry: making.entry,
        code: making.asm.code,
        layout,
        ends,
    })
}
