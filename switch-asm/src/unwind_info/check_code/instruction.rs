//! A decoder of the instructions that may stand in prologues and epilogues, and
//! of no others. Must not know what they are compared with.
//!
//! Intel's manual, volume 2, has the encodings.

use super::super::reg::Gpr;

/// `[base + disp]`, or memory that no register tracked here leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) base: Option<Gpr>,
    pub(super) disp: i64,
    rip: bool,
    /// Whether there is a displacement, be it 0.
    pub(super) has_disp: bool,
}

/// What an instruction does, as far as that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Push(Gpr),
    Pop(Gpr),
    /// `push value`
    PushConstant,
    /// `leave`
    Leave,
    /// RSP goes up by so much.
    AddRsp(i64),
    /// `sub rsp, rax`
    SubRspRax,
    /// `lea to, [memory]`
    Lea {
        to: Gpr,
        memory: Memory,
    },
    /// `mov to, from`
    Mov {
        to: Gpr,
        from: Gpr,
    },
    /// `mov to, value`
    Constant {
        to: Gpr,
        value: u64,
    },
    /// `mov [memory], reg`, all 64 bits.
    Store {
        memory: Memory,
        reg: Gpr,
    },
    /// A smaller store.
    StorePart {
        memory: Memory,
        size: i64,
    },
    /// Faults, if `aligned`, where the memory is no multiple of 16.
    StoreXmm {
        memory: Memory,
        number: u8,
        aligned: bool,
    },
    Load {
        reg: Gpr,
        memory: Memory,
    },
    LoadXmm {
        number: u8,
        memory: Memory,
        aligned: bool,
    },
    /// The register holds something else afterwards.
    Changes(Gpr),
    /// Changes registers that no function keeps.
    Call,
    /// A conditional jump, to so far from its end.
    Branch(i64),
    /// `jmp` to so far from its end.
    Jump(i64),
    /// Another way to leave a function that Windows knows.
    Leaves,
    /// One that it does not know.
    LeavesUnseen,
    /// Nothing but flags and the touch of a page.
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    pub(super) len: u32,
    pub(super) effect: Effect,
}

/// The instruction at the start of `code`, if it is one of those.
pub(super) fn decode(code: &[u8]) -> Option<Instruction> {
    let mut bytes = Bytes { code, at: 0 };
    let effect = Decoder::new(&mut bytes)?.effect()?;
    Some(Instruction {
        len: bytes.at as u32,
        effect,
    })
}

struct Bytes<'a> {
    code: &'a [u8],
    at: usize,
}

impl Bytes<'_> {
    fn peek(&self) -> Option<u8> {
        self.code.get(self.at).copied()
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.code.get(self.at..self.at + N)?.try_into().ok()?;
        self.at += N;
        Some(bytes)
    }

    fn i8(&mut self) -> Option<i64> {
        self.byte().map(|byte| (byte as i8).into())
    }

    fn i32(&mut self) -> Option<i64> {
        self.array().map(|bytes| i32::from_le_bytes(bytes).into())
    }
}

struct Decoder<'a, 'b> {
    bytes: &'a mut Bytes<'b>,
    /// 66, F2 or F3, one of them.
    prefix: u8,
    rex: u8,
}

/// ModRM's operands.
enum Rm {
    Reg(Gpr),
    Memory(Memory),
}

impl<'a, 'b> Decoder<'a, 'b> {
    fn new(bytes: &'a mut Bytes<'b>) -> Option<Self> {
        let mut prefix = 0;
        while let Some(byte @ (0x66 | 0xf2 | 0xf3)) = bytes.peek() {
            // Long nops repeat 66; nothing else has two of them.
            if prefix != 0 && (prefix, byte) != (0x66, 0x66) {
                return None;
            }
            prefix = byte;
            bytes.at += 1;
        }
        let mut rex = 0;
        if let Some(byte @ 0x40..=0x4f) = bytes.peek() {
            rex = byte;
            bytes.at += 1;
        }
        Some(Decoder { bytes, prefix, rex })
    }

    fn wide(&self) -> bool {
        self.rex & 8 != 0
    }

    fn effect(mut self) -> Option<Effect> {
        let opcode = self.bytes.byte()?;
        if opcode == 0x0f {
            return self.two_bytes();
        }
        // A prefix means something with `ret`, direct jumps (F2, F3) and `nop` (66) only.
        match (self.prefix, opcode) {
            (0, _) | (0x66, 0x90) | (0xf2, 0xc2 | 0xc3 | 0xe9 | 0xeb | 0xff) | (0xf3, 0xc3) => {}
            _ => return None,
        }
        Some(match opcode {
            0x50..=0x57 => Effect::Push(self.opcode_reg(opcode)),
            0x58..=0x5f => Effect::Pop(self.opcode_reg(opcode)),
            0x68 => self.bytes.i32().map(|_| Effect::PushConstant)?,
            0x6a => self.bytes.i8().map(|_| Effect::PushConstant)?,
            0x70..=0x7f => Effect::Branch(self.bytes.i8()?),
            0x81 | 0x83 => self.arithmetic(opcode)?,
            0x29 | 0x2b => self.subtract(opcode)?,
            0x31 | 0x33 => match self.modrm()? {
                (reg, Rm::Reg(rm)) => match opcode {
                    0x31 => changes(rm)?,
                    _ => changes(reg)?,
                },
                _ => return None,
            },
            0x39 | 0x3b | 0x85 => self.modrm().map(|_| Effect::Nothing)?,
            0x89 => match self.modrm()? {
                (reg, Rm::Reg(rm)) => self.mov(rm, reg)?,
                (reg, Rm::Memory(memory)) if self.wide() => Effect::Store { memory, reg },
                (_, Rm::Memory(memory)) => Effect::StorePart { memory, size: 4 },
            },
            0x8b => match self.modrm()? {
                (reg, Rm::Reg(rm)) => self.mov(reg, rm)?,
                (reg, Rm::Memory(memory)) if self.wide() && reg != Gpr::Rsp => {
                    Effect::Load { reg, memory }
                }
                (reg, Rm::Memory(_)) => changes(reg)?,
            },
            0x8d => match self.modrm()? {
                (to, Rm::Memory(memory)) if self.wide() => Effect::Lea { to, memory },
                (to, Rm::Memory(_)) => changes(to)?,
                (_, Rm::Reg(_)) => return None,
            },
            0x90 => match self.rex & 1 {
                0 => Effect::Nothing,
                // `xchg r8, rax`
                _ => return None,
            },
            0xb8..=0xbf => self.constant(opcode)?,
            0xc2 => self.bytes.array::<2>().map(|_| Effect::Leaves)?,
            0xc3 => Effect::Leaves,
            0xc7 => match self.modrm()? {
                // ModRM's other field must be 0.
                (Gpr::Rax | Gpr::R8, Rm::Reg(to)) if self.wide() && to != Gpr::Rsp => {
                    let value = self.bytes.i32()? as u64;
                    Effect::Constant { to, value }
                }
                _ => return None,
            },
            0xc9 => Effect::Leave,
            0xe8 => self.bytes.i32().map(|_| Effect::Call)?,
            0xe9 => Effect::Jump(self.bytes.i32()?),
            0xeb => Effect::Jump(self.bytes.i8()?),
            0xff => self.indirect()?,
            _ => return None,
        })
    }

    fn two_bytes(&mut self) -> Option<Effect> {
        let opcode = self.bytes.byte()?;
        Some(match (self.prefix, opcode) {
            // movups, movaps, movupd, movapd, movdqa, movdqu
            (0 | 0x66, 0x10 | 0x28) | (0x66 | 0xf3, 0x6f) => {
                let (number, memory) = self.sse()?;
                Effect::LoadXmm {
                    number,
                    memory,
                    aligned: opcode == 0x28 || self.prefix == 0x66 && opcode == 0x6f,
                }
            }
            (0 | 0x66, 0x11 | 0x29) | (0x66 | 0xf3, 0x7f) => {
                let (number, memory) = self.sse()?;
                Effect::StoreXmm {
                    memory,
                    number,
                    aligned: opcode == 0x29 || self.prefix == 0x66 && opcode == 0x7f,
                }
            }
            // nop
            (0 | 0x66, 0x1f) => self.modrm().map(|_| Effect::Nothing)?,
            (0xf3, 0x1e) if self.bytes.byte()? == 0xfa => Effect::Nothing,
            (0, 0x80..=0x8f) => Effect::Branch(self.bytes.i32()?),
            _ => return None,
        })
    }

    /// With an immediate: `add`, `or`, `sub`, `cmp`.
    fn arithmetic(&mut self, opcode: u8) -> Option<Effect> {
        let operation = self.bytes.peek()? >> 3 & 7;
        let (_, rm) = self.modrm()?;
        let value = match opcode {
            0x83 => self.bytes.i8()?,
            _ => self.bytes.i32()?,
        };
        match (operation, rm) {
            (7, _) => Some(Effect::Nothing),
            // `or [memory], 0` touches a page.
            (1, Rm::Memory(_)) if value == 0 => Some(Effect::Nothing),
            (0, Rm::Reg(Gpr::Rsp)) if self.wide() => Some(Effect::AddRsp(value)),
            (5, Rm::Reg(Gpr::Rsp)) if self.wide() => Some(Effect::AddRsp(-value)),
            (0 | 5, Rm::Reg(rm)) => changes(rm),
            _ => None,
        }
    }

    fn subtract(&mut self, opcode: u8) -> Option<Effect> {
        let (reg, rm) = self.modrm()?;
        let Rm::Reg(rm) = rm else { return None };
        let (to, what) = match opcode {
            0x29 => (rm, reg),
            _ => (reg, rm),
        };
        match (to, what) {
            (Gpr::Rsp, Gpr::Rax) if self.wide() => Some(Effect::SubRspRax),
            _ => changes(to),
        }
    }

    fn mov(&self, to: Gpr, from: Gpr) -> Option<Effect> {
        if self.wide() {
            Some(Effect::Mov { to, from })
        } else {
            changes(to)
        }
    }

    fn constant(&mut self, opcode: u8) -> Option<Effect> {
        let to = self.opcode_reg(opcode);
        let value = if self.wide() {
            u64::from_le_bytes(self.bytes.array()?)
        } else {
            u32::from_le_bytes(self.bytes.array()?).into()
        };
        (to != Gpr::Rsp).then_some(Effect::Constant { to, value })
    }

    fn indirect(&mut self) -> Option<Effect> {
        let operation = self.bytes.peek()? >> 3 & 7;
        let (_, rm) = self.modrm()?;
        match (operation, rm) {
            (2, _) => Some(Effect::Call),
            (4, _) if self.wide() => Some(Effect::Leaves),
            (4, Rm::Memory(Memory { rip: true, .. })) => Some(Effect::Leaves),
            (4, _) => Some(Effect::LeavesUnseen),
            _ => None,
        }
    }

    fn sse(&mut self) -> Option<(u8, Memory)> {
        match self.modrm()? {
            (reg, Rm::Memory(memory)) => Some((reg.number(), memory)),
            _ => None,
        }
    }

    fn opcode_reg(&self, opcode: u8) -> Gpr {
        gpr(opcode & 7, self.rex & 1)
    }

    /// The register in `reg`, and what `rm` names.
    fn modrm(&mut self) -> Option<(Gpr, Rm)> {
        let modrm = self.bytes.byte()?;
        let reg = gpr(modrm >> 3 & 7, self.rex >> 2 & 1);
        let (mode, rm) = (modrm >> 6, modrm & 7);
        if mode == 3 {
            return Some((reg, Rm::Reg(gpr(rm, self.rex & 1))));
        }
        let mut base = Some(gpr(rm, self.rex & 1));
        let mut rip = false;
        let mut disp_32 = mode == 2;
        if rm == 4 {
            let sib = self.bytes.byte()?;
            let index = gpr(sib >> 3 & 7, self.rex >> 1 & 1);
            base = Some(gpr(sib & 7, self.rex & 1));
            if sib & 7 == 5 && mode == 0 {
                disp_32 = true;
                base = None;
            }
            if index != Gpr::Rsp {
                base = None;
            }
        } else if rm == 5 && mode == 0 {
            (base, rip, disp_32) = (None, true, true);
        }
        let disp = match mode {
            _ if disp_32 => self.bytes.i32()?,
            1 => self.bytes.i8()?,
            _ => 0,
        };
        Some((
            reg,
            Rm::Memory(Memory {
                base,
                disp,
                rip,
                has_disp: disp_32 || mode == 1,
            }),
        ))
    }
}

fn gpr(low: u8, high: u8) -> Gpr {
    Gpr::ALL[usize::from(low | high << 3)]
}

/// RSP must not change in a way that is not told.
fn changes(reg: Gpr) -> Option<Effect> {
    (reg != Gpr::Rsp).then_some(Effect::Changes(reg))
}
