//! Executes functions, one instruction at a time, as iced-x86 decodes them.
//! Must not know any layout.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use crate::memory::Stacks;

/// Where functions lie.
pub(crate) const CODE: u64 = 0x1_4000_1000;

pub(crate) struct Machine {
    pub(crate) gprs: [u64; 16],
    pub(crate) xmms: [u128; 16],
    pub(crate) rip: u64,
    pub(crate) stacks: Stacks,
    /// How many of the next `jne` jump.
    pub(crate) skips: usize,
    compared: (i64, i64),
}

/// What an instruction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    /// Went to another instruction of the code.
    Step,
    /// Called something outside, which has not run yet.
    Call,
    /// Left the code.
    Leave,
}

const RSP: usize = 4;
const RBP: usize = 5;

impl Machine {
    pub(crate) fn new() -> Machine {
        Machine {
            gprs: [0; 16],
            xmms: [0; 16],
            rip: 0,
            stacks: Stacks::new(),
            skips: 0,
            compared: (0, 0),
        }
    }

    pub(crate) fn rsp(&self) -> u64 {
        self.gprs[RSP]
    }

    /// Executes the next instruction of `code`, which lies at `CODE`.
    pub(crate) fn step(&mut self, code: &[u8]) -> Did {
        let at = (self.rip - CODE) as usize;
        let mut decoder = Decoder::with_ip(64, &code[at..], self.rip, DecoderOptions::NONE);
        let one = decoder.decode();
        assert!(!one.is_invalid(), "no instruction at {at}: {code:02x?}");
        self.rip = one.next_ip();
        use Mnemonic as M;
        match one.mnemonic() {
            M::Nop | M::Endbr64 | M::Test => {}
            M::Push => {
                let value = self.read(&one, 0);
                self.push(value);
            }
            M::Pop => {
                let value = self.pop();
                self.write(&one, 0, value);
            }
            M::Sub => self.binary(&one, u64::wrapping_sub),
            M::Add => self.binary(&one, u64::wrapping_add),
            M::Or => self.binary(&one, |a, b| a | b),
            M::Xor => self.binary(&one, |a, b| a ^ b),
            M::Cmp => self.compared = (self.read(&one, 0) as i64, self.read(&one, 1) as i64),
            M::Lea => {
                let address = self.address(&one);
                self.write(&one, 0, address);
            }
            M::Mov => {
                let value = self.read(&one, 1);
                self.write(&one, 0, value);
            }
            M::Movaps | M::Movapd | M::Movups | M::Movupd | M::Movdqa | M::Movdqu => {
                self.move_xmm(&one)
            }
            M::Movq => {
                let value = self.read(&one, 1);
                self.xmms[one.op0_register().number()] = value.into();
            }
            M::Xorps => {
                let other = self.xmms[one.op1_register().number()];
                self.xmms[one.op0_register().number()] ^= other;
            }
            M::Leave => {
                self.gprs[RSP] = self.gprs[RBP];
                self.gprs[RBP] = self.pop();
            }
            M::Jge if self.compared.0 >= self.compared.1 => self.rip = one.near_branch64(),
            M::Jge => {}
            M::Jne if self.skips > 0 => {
                self.skips -= 1;
                self.rip = one.near_branch64();
            }
            M::Jne => {}
            M::Call => return Did::Call,
            M::Jmp => {
                self.rip = match one.op0_kind() {
                    OpKind::NearBranch64 => one.near_branch64(),
                    _ => u64::MAX,
                };
                let inside = (CODE + 1..CODE + code.len() as u64).contains(&self.rip);
                return if inside { Did::Step } else { Did::Leave };
            }
            M::Ret => {
                self.rip = self.pop();
                if one.op0_kind() == OpKind::Immediate16 {
                    self.gprs[RSP] += u64::from(one.immediate16());
                }
                return Did::Leave;
            }
            M::Iretq | M::Ud2 => return Did::Leave,
            other => panic!("{other:?} at {at}: {code:02x?}"),
        }
        Did::Step
    }

    fn push(&mut self, value: u64) {
        self.gprs[RSP] -= 8;
        let rsp = self.rsp();
        self.stacks.write(rsp, &value.to_le_bytes());
    }

    fn pop(&mut self) -> u64 {
        let value = self.stacks.read(self.rsp()).map(u64::from_le_bytes);
        self.gprs[RSP] += 8;
        value.expect("a pop from outside the stacks")
    }

    fn binary(&mut self, one: &Instruction, operation: impl Fn(u64, u64) -> u64) {
        let value = operation(self.read(one, 0), self.read(one, 1));
        self.write(one, 0, value);
    }

    fn register(&self, register: Register) -> u64 {
        let value = self.gprs[register.number()];
        match register.size() {
            8 => value,
            4 => value & 0xffff_ffff,
            size => panic!("{size} bytes of {register:?}"),
        }
    }

    fn address(&self, one: &Instruction) -> u64 {
        if one.is_ip_rel_memory_operand() {
            return one.ip_rel_memory_address();
        }
        let mut address = one.memory_displacement64();
        if one.memory_base() != Register::None {
            address = address.wrapping_add(self.register(one.memory_base()));
        }
        if one.memory_index() != Register::None {
            let index = self.register(one.memory_index());
            address = address.wrapping_add(index.wrapping_mul(one.memory_index_scale().into()));
        }
        address
    }

    fn read(&self, one: &Instruction, operand: u32) -> u64 {
        match one.op_kind(operand) {
            OpKind::Register => self.register(one.op_register(operand)),
            OpKind::Memory => {
                let address = self.address(one);
                let read = match one.memory_size().size() {
                    8 => self.stacks.read(address).map(u64::from_le_bytes),
                    4 => self
                        .stacks
                        .read(address)
                        .map(|b| u32::from_le_bytes(b).into()),
                    size => panic!("{size} bytes of memory"),
                };
                read.unwrap_or_else(|| panic!("a read of {address:#x}"))
            }
            _ => one.immediate(operand),
        }
    }

    fn write(&mut self, one: &Instruction, operand: u32, value: u64) {
        match one.op_kind(operand) {
            OpKind::Register => {
                let register = one.op_register(operand);
                self.gprs[register.number()] = match register.size() {
                    8 => value,
                    4 => value & 0xffff_ffff,
                    size => panic!("{size} bytes of {register:?}"),
                };
            }
            OpKind::Memory => {
                let bytes = value.to_le_bytes();
                self.stacks
                    .write(self.address(one), &bytes[..one.memory_size().size()]);
            }
            kind => panic!("a write to {kind:?}"),
        }
    }

    fn move_xmm(&mut self, one: &Instruction) {
        let memory = self.address(one);
        let aligned = matches!(
            one.mnemonic(),
            Mnemonic::Movaps | Mnemonic::Movapd | Mnemonic::Movdqa
        );
        assert!(
            !aligned || memory.is_multiple_of(16),
            "unaligned: {memory:#x}"
        );
        if one.op0_kind() == OpKind::Memory {
            let value = self.xmms[one.op1_register().number()];
            self.stacks.write(memory, &value.to_le_bytes());
        } else {
            let value = self.stacks.read(memory).map(u128::from_le_bytes);
            self.xmms[one.op0_register().number()] = value.expect("a read outside the stacks");
        }
    }
}
