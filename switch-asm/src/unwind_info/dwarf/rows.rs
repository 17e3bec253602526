//! The unwind table of one layout, for people and for tests. Must not know
//! bytes.

use alloc::vec::Vec;
use core::fmt;

use super::changes::{Change, ENTRY_CFA, ENTRY_RIP, changes};
use super::options::Options;
use crate::unwind_info::{FrameLayout, Gpr, Xmm};

/// How the canonical frame address (CFA) is found: what the caller's RSP is after the
/// return, in frames that a call has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CfaRule {
    /// `reg + offset`.
    Register {
        /// Which register.
        reg: Gpr,
        /// Bytes above it.
        offset: u64,
    },
    /// `[reg + offset] + record`: a fiber's link leads to the record of whoever resumed it.
    Link {
        /// Which register.
        reg: Gpr,
        /// Where the link lies, in bytes from it.
        offset: i64,
        /// Size of the record.
        record: u64,
    },
}

/// What a row has a rule for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Column {
    /// A general-purpose register.
    Gpr(Gpr),
    /// The return address.
    Rip,
    /// An SSE register.
    Xmm(Xmm),
}

impl Column {
    /// Its number in DWARF (System V AMD64 ABI, figure 3.36).
    pub const fn dwarf(self) -> u16 {
        match self {
            Column::Gpr(reg) => reg.dwarf(),
            Column::Rip => 16,
            Column::Xmm(reg) => reg.dwarf(),
        }
    }
}

/// Where the caller's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// In memory, so many bytes from the CFA.
    At(i64),
    /// Nowhere: a walk ends here.
    Undefined,
}

/// What holds in a range of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it begins, in bytes from the start of the function.
    pub start: u32,
    /// Where it ends: the first byte that does not belong to it.
    pub end: u32,
    /// How the CFA is found.
    pub cfa: CfaRule,
    /// Whatever is not in its register, by register. `Gpr(Rsp)` is missing where it is the CFA.
    pub rules: Vec<(Column, Rule)>,
}

impl Row {
    /// The rule for `column`; `None` says that the register still has its caller's value.
    pub fn rule(&self, column: Column) -> Option<Rule> {
        let found = self.rules.binary_search_by_key(&column, |rule| rule.0);
        found.ok().map(|index| self.rules[index].1)
    }

    fn set(&mut self, column: Column, rule: Rule) {
        match self.rules.binary_search_by_key(&column, |rule| rule.0) {
            Ok(index) => self.rules[index].1 = rule,
            Err(index) => self.rules.insert(index, (column, rule)),
        }
    }
}

/// The unwind table of `layout`, from its first byte to its last, with
/// XMM registers and epilogues. No row is empty and no two neighbours are equal.
///
/// ```
/// use switch_asm::unwind_info::dwarf::rows;
/// use switch_asm::unwind_info::{Epilogue, EpilogueOp, FrameLayout, Gpr, Op};
///
/// // 0: push rbx; 1: <body>; 8: pop rbx; 9: ret
/// let layout = FrameLayout::builder()
///     .op(1, Op::Push(Gpr::Rbx))
///     .code_len(10)
///     .epilogue(Epilogue::new(8, 10).step(9, EpilogueOp::Pop(Gpr::Rbx)))
///     .finish()?;
/// let table: Vec<String> = rows(&layout).iter().map(|row| row.to_string()).collect();
/// assert_eq!(table, [
///     "0..1: cfa=rsp+8 rip=[cfa-8]",
///     "1..9: cfa=rsp+16 rbx=[cfa-16] rip=[cfa-8]",
///     "9..10: cfa=rsp+8 rip=[cfa-8]",
/// ]);
/// # Ok::<(), switch_asm::unwind_info::LayoutError>(())
/// ```
pub fn rows(layout: &FrameLayout) -> Vec<Row> {
    let mut now = Row {
        start: 0,
        end: layout.code_len(),
        cfa: ENTRY_CFA,
        rules: [(Column::Rip, ENTRY_RIP)].into(),
    };
    let mut remembered = now.clone();
    let mut rows = Vec::new();
    changes(layout, Options::default().xmm(true), |offset, change| {
        if offset > now.start {
            push(
                &mut rows,
                Row {
                    end: offset,
                    ..now.clone()
                },
            );
            now.start = offset;
        }
        match change {
            Change::Cfa(cfa) => now.cfa = cfa,
            Change::Rule(column, rule) => now.set(column, rule),
            Change::Restored(column) => now.rules.retain(|rule| rule.0 != column),
            Change::Remember => remembered = now.clone(),
            Change::Recall => {
                now = Row {
                    start: now.start,
                    ..remembered.clone()
                };
            }
        }
    });
    if now.start < now.end {
        push(&mut rows, now);
    }
    rows
}

/// Adds a row, or length to an equal one.
fn push(rows: &mut Vec<Row>, row: Row) {
    match rows.last_mut() {
        Some(last) if last.cfa == row.cfa && last.rules == row.rules => last.end = row.end,
        _ => rows.push(row),
    }
}

impl fmt::Display for CfaRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            CfaRule::Register { reg, offset } => write!(f, "{}{offset:+}", Column::Gpr(reg)),
            CfaRule::Link {
                reg,
                offset,
                record,
            } => write!(f, "[{}{offset:+}]{record:+}", Column::Gpr(reg)),
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 16] = [
            "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
            "r12", "r13", "r14", "r15",
        ];
        match *self {
            Column::Gpr(reg) => f.write_str(NAMES[usize::from(reg.number())]),
            Column::Rip => f.write_str("rip"),
            Column::Xmm(reg) => write!(f, "xmm{}", reg.number()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Rule::At(offset) => write!(f, "[cfa{offset:+}]"),
            Rule::Undefined => f.write_str("?"),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}: cfa={}", self.start, self.end, self.cfa)?;
        for (column, rule) in &self.rules {
            write!(f, " {column}={rule}")?;
        }
        Ok(())
    }
}
