//! An assembler that knows several ways to say the same. Has nothing in common
//! with the module's.

use switch_asm::unwind_info::Gpr;

use crate::rng::Rng;

pub(crate) struct Asm {
    pub(crate) code: Vec<u8>,
}

impl Asm {
    pub(crate) fn end(&self) -> u32 {
        self.code.len() as u32
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.code.extend(bytes);
    }

    pub(crate) fn nop(&mut self, rng: &mut Rng) {
        const NOPS: [&[u8]; 4] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
        ];
        self.bytes(rng.pick(&NOPS));
    }

    pub(crate) fn push(&mut self, rng: &mut Rng, reg: Gpr) {
        self.one_byte(rng, 0x50, reg);
    }

    pub(crate) fn pop(&mut self, rng: &mut Rng, reg: Gpr) {
        self.one_byte(rng, 0x58, reg);
    }

    fn one_byte(&mut self, rng: &mut Rng, opcode: u8, reg: Gpr) {
        let n = reg.number();
        if n >= 8 {
            self.bytes(&[0x41]);
        } else if rng.once_in(8) {
            // A prefix without meaning.
            self.bytes(&[0x40]);
        }
        self.bytes(&[opcode | n & 7]);
    }

    /// `sub rsp, size`
    pub(crate) fn down(&mut self, rng: &mut Rng, size: u32) {
        self.move_rsp(rng, 0xec, size);
    }

    /// `add rsp, size`
    pub(crate) fn up(&mut self, rng: &mut Rng, size: u32) {
        self.move_rsp(rng, 0xc4, size);
    }

    fn move_rsp(&mut self, rng: &mut Rng, modrm: u8, size: u32) {
        if size < 128 && !rng.once_in(4) {
            self.bytes(&[0x48, 0x83, modrm, size as u8]);
        } else {
            self.bytes(&[0x48, 0x81, modrm]);
            self.bytes(&size.to_le_bytes());
        }
    }

    /// `mov to, from`
    pub(crate) fn copy(&mut self, rng: &mut Rng, to: Gpr, from: Gpr) {
        if rng.once_in(2) {
            self.registers(0x89, from, to);
        } else {
            self.registers(0x8b, to, from);
        }
    }

    fn registers(&mut self, opcode: u8, reg: Gpr, rm: Gpr) {
        let (reg, rm) = (reg.number(), rm.number());
        let rex = 0x48 | reg >> 3 << 2 | rm >> 3;
        self.bytes(&[rex, opcode, 0xc0 | (reg & 7) << 3 | rm & 7]);
    }

    /// A 64-bit instruction with `[base + disp]`: 8b loads, 89 stores, 8d is `lea`.
    pub(crate) fn memory(&mut self, rng: &mut Rng, opcode: u8, reg: Gpr, base: Gpr, disp: i64) {
        let (reg, base) = (reg.number(), base.number());
        self.bytes(&[0x48 | reg >> 3 << 2 | base >> 3, opcode]);
        self.operand(rng, reg, base, disp);
    }

    /// The same for an SSE register: `opcodes` are a prefix or 0, and what comes after 0F.
    pub(crate) fn sse(
        &mut self,
        rng: &mut Rng,
        (prefix, opcode): (u8, u8),
        xmm: u8,
        base: Gpr,
        disp: i64,
    ) {
        let base = base.number();
        if prefix != 0 {
            self.bytes(&[prefix]);
        }
        let rex = 0x40 | xmm >> 3 << 2 | base >> 3;
        if rex != 0x40 {
            self.bytes(&[rex]);
        }
        self.bytes(&[0x0f, opcode]);
        self.operand(rng, xmm, base, disp);
    }

    fn operand(&mut self, rng: &mut Rng, reg: u8, base: u8, disp: i64) {
        let disp = i32::try_from(disp).expect("frames are small");
        let short = i8::try_from(disp).ok().filter(|_| !rng.once_in(4));
        let mode = match short {
            Some(0) if base & 7 != 5 && rng.once_in(2) => 0,
            Some(_) => 0x40,
            None => 0x80,
        };
        self.bytes(&[mode | (reg & 7) << 3 | base & 7]);
        if base & 7 == 4 {
            self.bytes(&[0x24]);
        }
        match short {
            _ if mode == 0 => {}
            Some(short) => self.bytes(&short.to_le_bytes()),
            None => self.bytes(&disp.to_le_bytes()),
        }
    }
}
