//! Registers and memory, as a walk sees them.

use crate::unwind_info::{Gpr, Xmm};

/// A function's registers: on the way in where it stands, on the way out its caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The general-purpose registers, by number.
    pub gprs: [u64; 16],
    /// The address of the next instruction.
    pub rip: u64,
    /// The SSE registers, by number.
    pub xmms: [u128; 16],
}

impl Context {
    /// One register.
    pub const fn gpr(&self, reg: Gpr) -> u64 {
        self.gprs[reg.number() as usize]
    }

    /// One register, to be written.
    pub const fn gpr_mut(&mut self, reg: Gpr) -> &mut u64 {
        &mut self.gprs[reg.number() as usize]
    }

    /// One SSE register.
    pub const fn xmm(&self, reg: Xmm) -> u128 {
        self.xmms[reg.number() as usize]
    }

    /// The stack pointer.
    pub const fn rsp(&self) -> u64 {
        self.gpr(Gpr::Rsp)
    }
}

/// The memory in which a walk finds what was saved.
pub trait Memory {
    /// The word at `address`, if it can be read. Addresses may be anything: a walk
    /// follows what it is told.
    fn read_u64(&self, address: u64) -> Option<u64>;

    /// Two words, the lower one first.
    fn read_u128(&self, address: u64) -> Option<u128> {
        let low = self.read_u64(address)?;
        let high = self.read_u64(address.checked_add(8)?)?;
        Some(u128::from(high) << 64 | u128::from(low))
    }
}
