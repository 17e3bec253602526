//! What instructions leave in RSP, in registers and in the frame. Must not know
//! the layout.
//!
//! Places are depths: bytes from the canonical frame address, which is the caller's RSP after
//! the return, downwards.

use alloc::vec::Vec;

use super::super::reg::{Abi, Gpr};
use super::instruction::{Effect, Memory};
use super::mismatch::CodeMismatch;

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The address at this depth.
    Address(i64),
    Constant(u64),
    /// Whatever; at first, what the caller had in it.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Gpr(Gpr),
    Xmm(u8),
}

impl Register {
    fn size(self) -> i64 {
        match self {
            Register::Gpr(_) => 8,
            Register::Xmm(_) => 16,
        }
    }
}

/// A register in memory: the caller's, if nothing has changed it before, which is for `prologue` to see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) register: Register,
    pub(super) depth: i64,
    /// The instruction that put it there.
    pub(super) offset: u32,
    /// Whether the layout speaks of it.
    pub(super) told: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Machine {
    pub(super) rsp: i64,
    /// Whether depth 0 is the canonical frame address: not in a further region, which counts from another's base.
    top_known: bool,
    values: [Value; 16],
    /// Bit per SSE register: changed.
    xmms_changed: u16,
    pub(super) slots: Vec<Slot>,
    /// What others put into the frame before the first instruction, the return address among it: the two depths between which it is.
    given: Vec<(i64, i64)>,
}

impl Machine {
    pub(super) fn new(depth: i64, top_known: bool) -> Machine {
        Machine {
            rsp: depth,
            top_known,
            values: [Value::Other; 16],
            xmms_changed: 0,
            slots: Vec::new(),
            given: Vec::new(),
        }
    }

    pub(super) fn value(&self, reg: Gpr) -> Value {
        match reg {
            Gpr::Rsp => Value::Address(self.rsp),
            _ => self.values[usize::from(reg.number())],
        }
    }

    fn set(&mut self, reg: Gpr, value: Value) {
        self.values[usize::from(reg.number())] = value;
    }

    /// The depth of the memory, if it is in the frame.
    pub(super) fn depth(&self, memory: Memory) -> Option<i64> {
        match self.value(memory.base?) {
            Value::Address(depth) => Some(depth - memory.disp),
            _ => None,
        }
    }

    /// Whether the caller's register is there. From now on nothing may overwrite it.
    pub(super) fn tell(&mut self, register: Register, depth: i64) -> bool {
        let mut slots = self.slots.iter_mut();
        let slot = slots.find(|slot| slot.register == register && slot.depth == depth);
        slot.map(|slot| slot.told = true).is_some()
    }

    /// What lies between the two depths nothing may overwrite.
    pub(super) fn give(&mut self, above: i64, below: i64) {
        self.given.push((above, below));
    }

    /// The body has run: no register is as it was but those that lead to the frame.
    pub(super) fn forget(&mut self, frame: Option<Gpr>) {
        for reg in Gpr::ALL {
            let leads = matches!(self.value(reg), Value::Address(_));
            if !(leads && (Abi::SysV.keeps(reg) || frame == Some(reg))) {
                self.set(reg, Value::Other);
            }
        }
    }

    /// The register that the instruction changes, RSP aside.
    pub(super) fn changed(effect: Effect) -> Option<Gpr> {
        let reg = match effect {
            Effect::Pop(reg) | Effect::Load { reg, .. } | Effect::Changes(reg) => reg,
            Effect::Lea { to, .. } | Effect::Mov { to, .. } | Effect::Constant { to, .. } => to,
            Effect::Leave => Gpr::Rbp,
            _ => return None,
        };
        (reg != Gpr::Rsp).then_some(reg)
    }

    /// Does what the instruction at `offset` does.
    pub(super) fn run(&mut self, offset: u32, effect: Effect) -> Result<(), CodeMismatch> {
        match effect {
            Effect::Push(reg) => {
                self.rsp += 8;
                self.write(offset, Some(self.rsp), 8, Some(Register::Gpr(reg)))?;
            }
            Effect::PushConstant => {
                self.rsp += 8;
                self.write(offset, Some(self.rsp), 8, None)?;
            }
            Effect::Pop(reg) => {
                self.set(reg, Value::Other);
                self.rsp -= 8;
            }
            Effect::Leave => {
                let Value::Address(depth) = self.value(Gpr::Rbp) else {
                    return Err(CodeMismatch::Undescribed { offset });
                };
                self.rsp = depth - 8;
                self.set(Gpr::Rbp, Value::Other);
            }
            Effect::AddRsp(size) => self.rsp -= size,
            Effect::SubRspRax => match self.value(Gpr::Rax) {
                Value::Constant(size) => self.rsp = self.rsp.saturating_add_unsigned(size),
                _ => return Err(CodeMismatch::Undescribed { offset }),
            },
            Effect::Lea { to, memory } => {
                let value = self.depth(memory).map_or(Value::Other, Value::Address);
                self.assign(offset, to, value)?;
            }
            Effect::Mov { to, from } => self.assign(offset, to, self.value(from))?,
            Effect::Constant { to, value } => self.set(to, Value::Constant(value)),
            Effect::Store { memory, reg } => {
                self.write(offset, self.depth(memory), 8, Some(Register::Gpr(reg)))?;
            }
            Effect::StorePart { memory, size } => {
                self.write(offset, self.depth(memory), size, None)?;
            }
            Effect::StoreXmm {
                memory,
                number,
                aligned,
            } => {
                self.aligned(offset, memory, aligned)?;
                let saves = self.xmms_changed & 1 << number == 0;
                let register = saves.then_some(Register::Xmm(number));
                self.write(offset, self.depth(memory), 16, register)?;
            }
            Effect::Load { reg, .. } | Effect::Changes(reg) => self.set(reg, Value::Other),
            Effect::LoadXmm {
                number,
                memory,
                aligned,
            } => {
                self.aligned(offset, memory, aligned)?;
                self.xmms_changed |= 1 << number;
            }
            // What touches pages keeps even those, `rax` among them.
            Effect::Call => {
                // Its return address.
                self.write(offset, Some(self.rsp + 8), 8, None)?;
                self.set(Gpr::R10, Value::Other);
                self.set(Gpr::R11, Value::Other);
            }
            Effect::Branch(_)
            | Effect::Jump(_)
            | Effect::Leaves
            | Effect::LeavesUnseen
            | Effect::Nothing => {}
        }
        Ok(())
    }

    fn assign(&mut self, offset: u32, to: Gpr, value: Value) -> Result<(), CodeMismatch> {
        match (to, value) {
            (Gpr::Rsp, Value::Address(depth)) => self.rsp = depth,
            (Gpr::Rsp, _) => return Err(CodeMismatch::Undescribed { offset }),
            _ => self.set(to, value),
        }
        Ok(())
    }

    /// The canonical frame address is a multiple of 16, as both ABIs want it.
    fn aligned(&self, offset: u32, memory: Memory, must_be: bool) -> Result<(), CodeMismatch> {
        match self.depth(memory) {
            Some(depth) if must_be && self.top_known && depth % 16 != 0 => {
                Err(CodeMismatch::Misaligned { offset })
            }
            _ => Ok(()),
        }
    }

    fn write(
        &mut self,
        offset: u32,
        depth: Option<i64>,
        size: i64,
        register: Option<Register>,
    ) -> Result<(), CodeMismatch> {
        let Some(depth) = depth else { return Ok(()) };
        let overlaps = |slot: &Slot| {
            // Addresses grow as depths shrink.
            depth > slot.depth - slot.register.size() && slot.depth > depth - size
        };
        let given = |&(above, below): &(i64, i64)| depth > above && below > depth - size;
        let told = |slot: &Slot| slot.told && overlaps(slot);
        if self.given.iter().any(given) || self.slots.iter().any(told) {
            return Err(CodeMismatch::Overwrites { offset });
        }
        self.slots.retain(|slot| !overlaps(slot));
        if let Some(register) = register {
            self.slots.push(Slot {
                register,
                depth,
                offset,
                told: false,
            });
        }
        Ok(())
    }
}
