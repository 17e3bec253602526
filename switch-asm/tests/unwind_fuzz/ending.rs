//! Epilogues of frames that were made by hand.

use switch_asm::unwind_info::{Epilogue, EpilogueOp, Gpr, Xmm};

use crate::assembled::{Making, Slot};
use crate::rng::Rng;

/// Displacement of jumps to other functions.
const ELSEWHERE: [u8; 4] = [0, 0, 0x40, 0];

pub(crate) fn epilogue(making: &mut Making, rng: &mut Rng) -> Epilogue {
    let start = making.asm.end();
    let mut steps = Vec::new();
    reload(making, rng, &mut steps);
    let mut pushes = making.pushes.clone();
    release(making, rng, &mut pushes, &mut steps);
    while let Some(reg) = pushes.pop() {
        making.asm.pop(rng, reg);
        steps.push((making.asm.end(), EpilogueOp::Pop(reg)));
    }
    leave(making, rng);
    let mut epilogue = Epilogue::new(start, making.asm.end());
    for (end, op) in steps {
        epilogue = epilogue.step(end, op);
    }
    epilogue
}

pub(crate) fn reload(making: &mut Making, rng: &mut Rng, steps: &mut Vec<(u32, EpilogueOp)>) {
    let mut slots = making.slots.clone();
    rng.shuffle(&mut slots);
    // RSP's distance from the frame base, unless the body has moved it.
    let below = (!making.moves).then_some(making.depth - making.base);
    for slot in slots {
        match slot {
            Slot::Gpr(reg, at) => {
                let (base, disp) = making.address(rng, at, below);
                making.asm.memory(rng, 0x8b, reg, base, disp);
                steps.push((making.asm.end(), EpilogueOp::Reload(reg)));
            }
            Slot::Xmm(xmm, at) => {
                let (base, disp) = making.address(rng, at, below);
                let opcode = making.sse_opcode(rng, 0);
                making.asm.sse(rng, opcode, xmm, base, disp);
                let xmm = Xmm::new(xmm).expect("below 16");
                steps.push((making.asm.end(), EpilogueOp::ReloadXmm(xmm)));
            }
        }
    }
}

/// RSP goes up to what was pushed.
pub(crate) fn release(
    making: &mut Making,
    rng: &mut Rng,
    pushes: &mut Vec<Gpr>,
    steps: &mut Vec<(u32, EpilogueOp)>,
) {
    if making.allocated == 0 && !making.moves {
        return;
    }
    let saves_r11 = making.saves(Gpr::R11);
    let asm = &mut making.asm;
    match making.frame {
        Some((reg, offset)) if making.moves || rng.once_in(2) => {
            // The frame register is so far below the canonical frame address, and RSP will be.
            let from = making.base - u32::from(offset);
            let to = making.depth - making.allocated;
            if from == to && pushes.last() == Some(&Gpr::Rbp) && reg == Gpr::Rbp && rng.once_in(2) {
                asm.bytes(&[0xc9]);
                pushes.pop();
                steps.push((asm.end(), EpilogueOp::Release));
                steps.push((asm.end(), EpilogueOp::Pop(Gpr::Rbp)));
                return;
            }
            if from == to {
                asm.copy(rng, Gpr::Rsp, reg);
            } else {
                let disp = i64::from(from) - i64::from(to);
                asm.memory(rng, 0x8d, Gpr::Rsp, reg, disp);
            }
        }
        None if making.allocated == 8 && !saves_r11 && rng.once_in(2) => asm.pop(rng, Gpr::R11),
        None if rng.once_in(10) => {
            let disp = making.allocated.into();
            asm.memory(rng, 0x8d, Gpr::Rsp, Gpr::Rsp, disp);
        }
        _ => asm.up(rng, making.allocated),
    }
    steps.push((asm.end(), EpilogueOp::Release));
}

/// Leaves the function, in a way that Windows knows.
pub(crate) fn leave(making: &mut Making, rng: &mut Rng) {
    let asm = &mut making.asm;
    match rng.below(16) {
        0 => asm.bytes(&[0xf3, 0xc3]),
        1 => asm.bytes(&[0xc2, 8 * rng.below(4) as u8, 0]),
        2 => asm.bytes(&[0xf2, 0xc3]),
        3 => {
            asm.bytes(&[0xe9]);
            asm.bytes(&ELSEWHERE);
        }
        // Once more from the start.
        4 => {
            let distance = -(asm.end() as i32 + 5);
            asm.bytes(&[0xe9]);
            asm.bytes(&distance.to_le_bytes());
        }
        5 if asm.end() < 100 => {
            let distance = -(asm.end() as i8 + 2);
            asm.bytes(&[0xeb, distance as u8]);
        }
        // jmp [rip + n]
        6 => {
            asm.bytes(&[0xff, 0x25]);
            asm.bytes(&ELSEWHERE);
        }
        // jmp rax, jmp r10, jmp [rax]; with REX.W
        7 => asm.bytes(&[0x48, 0xff, 0xe0]),
        8 => asm.bytes(&[0x49, 0xff, 0xe2]),
        9 => asm.bytes(&[0x48, 0xff, 0x20]),
        _ => asm.bytes(&[0xc3]),
    }
}
