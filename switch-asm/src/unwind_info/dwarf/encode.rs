//! Call frame instructions as bytes: DWARF 5, sections 6.4.2, 7.6 and 7.24.
//! Must not know what a prologue is.

use alloc::vec::Vec;

use super::changes::{Change, ENTRY_CFA};
use super::rows::{CfaRule, Column, Rule};

/// What offsets from the CFA are multiples of, downwards: the CIE says it.
pub(super) const DATA_ALIGN: i64 = -8;

/// The two bits above an operand.
const ADVANCE_LOC: u8 = 0x40;
const OFFSET: u8 = 0x80;
const RESTORE: u8 = 0xc0;

const ADVANCE_LOC1: u8 = 0x02;
const ADVANCE_LOC2: u8 = 0x03;
const ADVANCE_LOC4: u8 = 0x04;
const UNDEFINED: u8 = 0x07;
const REMEMBER_STATE: u8 = 0x0a;
const RESTORE_STATE: u8 = 0x0b;
pub(super) const DEF_CFA: u8 = 0x0c;
const DEF_CFA_REGISTER: u8 = 0x0d;
const DEF_CFA_OFFSET: u8 = 0x0e;
const DEF_CFA_EXPRESSION: u8 = 0x0f;
const OFFSET_EXTENDED_SF: u8 = 0x11;

const OP_BREG0: u8 = 0x70;
const OP_DEREF: u8 = 0x06;
const OP_PLUS_UCONST: u8 = 0x23;

/// The instructions of one function, written as its changes come.
#[derive(Debug)]
pub(super) struct Program<'a> {
    bytes: &'a mut Vec<u8>,
    offset: u32,
    cfa: CfaRule,
    remembered: CfaRule,
}

impl<'a> Program<'a> {
    /// Writes behind what is in `bytes`.
    pub(super) fn new(bytes: &'a mut Vec<u8>) -> Program<'a> {
        Program {
            bytes,
            offset: 0,
            cfa: ENTRY_CFA,
            remembered: ENTRY_CFA,
        }
    }

    /// Writes one change, unless it changes nothing.
    pub(super) fn write(&mut self, offset: u32, change: Change) {
        if matches!(change, Change::Cfa(cfa) if cfa == self.cfa) {
            return;
        }
        self.advance(offset);
        match change {
            Change::Cfa(cfa) => self.def_cfa(cfa),
            Change::Rule(column, rule) => write_rule(self.bytes, column, rule),
            Change::Restored(column) => self.bytes.push(RESTORE | short(column)),
            Change::Remember => {
                self.bytes.push(REMEMBER_STATE);
                self.remembered = self.cfa;
            }
            Change::Recall => {
                self.bytes.push(RESTORE_STATE);
                self.cfa = self.remembered;
            }
        }
    }

    fn advance(&mut self, offset: u32) {
        let by = offset - self.offset;
        self.offset = offset;
        match by {
            0 => {}
            1..=0x3f => self.bytes.push(ADVANCE_LOC | by as u8),
            0x40..=0xff => self.bytes.extend([ADVANCE_LOC1, by as u8]),
            0x100..=0xffff => {
                self.bytes.push(ADVANCE_LOC2);
                self.bytes.extend((by as u16).to_le_bytes());
            }
            _ => {
                self.bytes.push(ADVANCE_LOC4);
                self.bytes.extend(by.to_le_bytes());
            }
        }
    }

    /// The shortest way from one CFA rule to another.
    fn def_cfa(&mut self, cfa: CfaRule) {
        match (self.cfa, cfa) {
            (CfaRule::Register { reg: before, .. }, CfaRule::Register { reg, offset })
                if reg == before =>
            {
                self.bytes.push(DEF_CFA_OFFSET);
                uleb(self.bytes, offset);
            }
            (CfaRule::Register { offset: before, .. }, CfaRule::Register { reg, offset })
                if offset == before =>
            {
                self.bytes.push(DEF_CFA_REGISTER);
                uleb(self.bytes, reg.dwarf().into());
            }
            (_, CfaRule::Register { reg, offset }) => {
                self.bytes.push(DEF_CFA);
                uleb(self.bytes, reg.dwarf().into());
                uleb(self.bytes, offset);
            }
            (
                _,
                CfaRule::Link {
                    reg,
                    offset,
                    record,
                },
            ) => {
                // Registers have numbers below 16. gdb wants their value so, not as a location.
                let mut expression = Vec::from([OP_BREG0 + reg.dwarf() as u8]);
                sleb(&mut expression, offset);
                expression.extend([OP_DEREF, OP_PLUS_UCONST]);
                uleb(&mut expression, record);
                self.bytes.push(DEF_CFA_EXPRESSION);
                uleb(self.bytes, expression.len() as u64);
                self.bytes.append(&mut expression);
            }
        }
        self.cfa = cfa;
    }
}

/// The instruction that says where a register is.
pub(super) fn write_rule(bytes: &mut Vec<u8>, column: Column, rule: Rule) {
    match rule {
        // All offsets are multiples of eight: so is every depth, and layouts check what is added.
        Rule::At(offset) if offset <= 0 => {
            bytes.push(OFFSET | short(column));
            uleb(bytes, (offset / DATA_ALIGN) as u64);
        }
        Rule::At(offset) => {
            bytes.push(OFFSET_EXTENDED_SF);
            uleb(bytes, column.dwarf().into());
            sleb(bytes, offset / DATA_ALIGN);
        }
        Rule::Undefined => {
            bytes.push(UNDEFINED);
            uleb(bytes, column.dwarf().into());
        }
    }
}

/// A register within an instruction's byte: they are all below 64.
const fn short(column: Column) -> u8 {
    column.dwarf() as u8
}

/// Unsigned LEB128: DWARF 5, section 7.6.
pub(super) fn uleb(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Signed LEB128.
pub(super) fn sleb(bytes: &mut Vec<u8>, mut value: i64) {
    // Until what is left is the sign of the last seven bits.
    while !(-0x40..0x40).contains(&value) {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8 & 0x7f);
}
