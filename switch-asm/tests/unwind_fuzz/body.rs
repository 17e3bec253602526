//! Bodies of functions: all that was saved is spoilt, RSP moves where it may.

use switch_asm::unwind_info::{Gpr, Op};

use crate::rng::Rng;

/// What a body may do.
pub(crate) struct Body {
    pub(crate) gprs: Vec<Gpr>,
    pub(crate) xmms: Vec<u8>,
    /// RSP may go down.
    pub(crate) moves: bool,
    pub(crate) calls: bool,
}

impl Body {
    /// Spoils what the steps save, and a few registers that nobody keeps.
    pub(crate) fn spoils(steps: impl Iterator<Item = Op>, frame: Option<Gpr>) -> Body {
        let mut body = Body {
            gprs: [Gpr::Rax, Gpr::Rdx].into(),
            xmms: vec![0],
            moves: false,
            calls: true,
        };
        for op in steps {
            match op {
                Op::Push(reg) | Op::SaveGpr { reg, .. } => body.gprs.push(reg),
                Op::SaveXmm { reg, .. } => body.xmms.push(reg.number()),
                _ => {}
            }
        }
        body.gprs.retain(|&reg| Some(reg) != frame);
        body
    }

    pub(crate) fn write(mut self, code: &mut Vec<u8>, rng: &mut Rng) {
        rng.shuffle(&mut self.gprs);
        for reg in self.gprs {
            spoil(code, rng, reg);
            if rng.once_in(8) {
                other(code, rng, self.moves, self.calls);
            }
        }
        rng.shuffle(&mut self.xmms);
        for xmm in self.xmms {
            spoil_xmm(code, rng, xmm);
        }
        for _ in 0..rng.below(3) {
            other(code, rng, self.moves, self.calls);
        }
    }
}

pub(crate) fn spoil(code: &mut Vec<u8>, rng: &mut Rng, reg: Gpr) {
    let (low, high) = (reg.number() & 7, reg.number() >> 3);
    match rng.below(3) {
        // mov reg, imm64
        0 => {
            code.extend([0x48 | high, 0xb8 | low]);
            code.extend(rng.word().to_le_bytes());
        }
        // xor r32, r32
        1 => {
            if high != 0 {
                code.push(0x45);
            }
            code.extend([0x31, 0xc0 | low << 3 | low]);
        }
        // mov reg, imm32
        _ => {
            code.extend([0x48 | high, 0xc7, 0xc0 | low]);
            code.extend((rng.word() as u32).to_le_bytes());
        }
    }
}

fn spoil_xmm(code: &mut Vec<u8>, rng: &mut Rng, xmm: u8) {
    let (low, high) = (xmm & 7, xmm >> 3);
    if rng.once_in(2) {
        // movq xmm, rdx
        code.extend([0x66, 0x48 | high << 2, 0x0f, 0x6e, 0xc2 | low << 3]);
    } else {
        // xorps xmm, xmm
        if high != 0 {
            code.push(0x45);
        }
        code.extend([0x0f, 0x57, 0xc0 | low << 3 | low]);
    }
}

fn other(code: &mut Vec<u8>, rng: &mut Rng, moves: bool, calls: bool) {
    match rng.below(4) {
        0 if moves => {
            // sub rsp, 16 n
            let size = 16 * (1 + rng.below(64));
            code.extend([0x48, 0x81, 0xec]);
            code.extend(size.to_le_bytes());
        }
        1 if moves => code.extend([0x50, 0x52]),
        2 if calls => call(code, rng),
        _ => code.push(0x90),
    }
}

pub(crate) fn call(code: &mut Vec<u8>, rng: &mut Rng) {
    if rng.once_in(2) {
        code.extend([0xe8, 0, 0, 0x40, 0]);
    } else {
        // call rax
        code.extend([0xff, 0xd0]);
    }
}

/// `cmp eax, n; jne` over what `skipped` writes.
pub(crate) fn skip(
    code: &mut Vec<u8>,
    rng: &mut Rng,
    skipped: impl FnOnce(&mut Vec<u8>, &mut Rng),
) {
    code.extend([0x83, 0xf8, rng.below(128) as u8]);
    code.extend([0x0f, 0x85, 0, 0, 0, 0]);
    let from = code.len();
    skipped(code, rng);
    let distance = (code.len() - from) as u32;
    code[from - 4..from].copy_from_slice(&distance.to_le_bytes());
}
