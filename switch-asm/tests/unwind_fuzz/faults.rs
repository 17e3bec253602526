//! Where pe-unwind-info 0.6.1 is known to be wrong.
//!
//! Its faults are excluded by the instruction that brings them out, and counted. That they still are faults is
//! looked at too: a point that it got right all the same is not counted.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};

use switch_asm::unwind_info::Epilogue;

use crate::machine::CODE;

/// Why it is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// It does not know the instruction that leaves: `rep ret`, `ret n`, a prefix F2, an indirect jump
    /// through a register.
    Terminator,
    /// It takes the displacement of `lea rsp, [reg - n]` for a large positive one.
    NegativeRelease,
    /// It reads what an odd number of codes is chained to two bytes too early.
    OddChain,
    /// It takes every direct jump for the end of the function.
    JumpWithin,
}

/// The fault that each offset of a function brings out.
pub(crate) struct Faults(Vec<Option<Fault>>);

impl Faults {
    /// In a function with these epilogues.
    pub(crate) fn new(code: &[u8], epilogues: &[Epilogue]) -> Faults {
        let mut faults = vec![None; code.len()];
        for epilogue in epilogues {
            let bytes = &code[epilogue.start() as usize..epilogue.end() as usize];
            let rip = CODE + u64::from(epilogue.start());
            let decoder = Decoder::with_ip(64, bytes, rip, DecoderOptions::NONE);
            let all: Vec<Instruction> = decoder.into_iter().collect();
            let unknown = all.last().is_some_and(|last| !knows(last, bytes));
            let mut moved = false;
            for one in &all {
                let at = (one.ip() - CODE) as usize;
                if unknown && moved {
                    faults[at] = Some(Fault::Terminator);
                }
                if one.mnemonic() == Mnemonic::Lea && (one.memory_displacement64() as i64) < 0 {
                    faults[at] = Some(Fault::NegativeRelease);
                }
                moved |= moves_rsp(one);
            }
        }
        Faults(faults)
    }

    /// All of a part of the code brings it out.
    pub(crate) fn all(&mut self, part: Range<usize>, fault: Fault) {
        self.0[part].fill(Some(fault));
    }

    pub(crate) fn at(&self, pc: u32) -> Option<Fault> {
        self.0[pc as usize]
    }
}

fn moves_rsp(one: &Instruction) -> bool {
    matches!(one.mnemonic(), Mnemonic::Pop | Mnemonic::Leave)
        || one.op0_kind() == OpKind::Register && one.op0_register() == iced_x86::Register::RSP
}

/// Whether the peer knows the way out.
fn knows(last: &Instruction, bytes: &[u8]) -> bool {
    let bytes = &bytes[bytes.len() - last.len()..];
    match bytes[0] {
        0xc3 | 0xeb | 0xe9 | 0xff => true,
        // Memory without displacement, behind a prefix.
        0x48 | 0x49 => bytes[2] & 0xf8 == 0x20,
        _ => false,
    }
}
