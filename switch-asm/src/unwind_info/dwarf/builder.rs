//! `.eh_frame` sections: common information, one entry per function, an end.
//! Must not know what entries say.

use alloc::vec::Vec;

use super::changes::{ENTRY_CFA, ENTRY_RIP, changes};
use super::encode::{DATA_ALIGN, DEF_CFA, Program, sleb, uleb, write_rule};
use super::error::DwarfError;
use super::options::Options;
use super::rows::{CfaRule, Column};
use crate::unwind_info::{FrameLayout, Op};

/// How a section writes addresses of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PointerEncoding {
    /// As they are, in eight bytes. What registration wants.
    Absolute,
    /// In four bytes, from where they are written: for sections that travel with the code, within 2 GiB of it.
    PcRelative,
}

impl PointerEncoding {
    /// `DW_EH_PE_absptr`; `DW_EH_PE_pcrel | DW_EH_PE_sdata4`.
    const fn code(self) -> u8 {
        match self {
            PointerEncoding::Absolute => 0x00,
            PointerEncoding::PcRelative => 0x1b,
        }
    }
}

/// Entries begin at multiples of this.
const ALIGN: usize = 8;
/// A length of zero ends the section.
const END: [u8; 4] = [0; 4];
/// Distances within a section are signed 32-bit numbers.
const MAX_LEN: usize = i32::MAX as usize;

/// Writes an `.eh_frame` section.
///
/// ```
/// use switch_asm::unwind_info::dwarf::{EhFrameBuilder, Options, PointerEncoding};
/// use switch_asm::unwind_info::FrameLayout;
///
/// let mut builder = EhFrameBuilder::new(PointerEncoding::Absolute, Options::default());
/// builder.add(0x1000, &FrameLayout::leaf(16)?)?;
/// builder.add(0x1010, &FrameLayout::leaf(32)?)?;
/// let section = builder.finish(0)?;
/// assert_eq!(section[section.len() - 4..], [0; 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct EhFrameBuilder {
    encoding: PointerEncoding,
    options: Options,
    bytes: Vec<u8>,
    /// Where the common information of ordinary and of signal frames is, once it is needed.
    common: [Option<usize>; 2],
    /// Addresses that are still to be written, and where.
    fields: Vec<(usize, u64)>,
    /// Where functions begin and end.
    ranges: Vec<(u64, u64)>,
}

impl EhFrameBuilder {
    /// A section without functions.
    pub const fn new(encoding: PointerEncoding, options: Options) -> EhFrameBuilder {
        EhFrameBuilder {
            encoding,
            options,
            bytes: Vec::new(),
            common: [None; 2],
            fields: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// Describes the function at `address`. They may come in any order; in that of their addresses is fastest.
    ///
    /// # Errors
    /// [`BeyondAddresses`](DwarfError::BeyondAddresses), [`FunctionTooLong`](DwarfError::FunctionTooLong) and
    /// [`SectionTooLong`](DwarfError::SectionTooLong); the section is then as it was.
    pub fn add(&mut self, address: u64, layout: &FrameLayout) -> Result<(), DwarfError> {
        let code_len = layout.code_len();
        let end = address
            .checked_add(code_len.into())
            .ok_or(DwarfError::BeyondAddresses { address, code_len })?;
        if self.encoding == PointerEncoding::PcRelative && i32::try_from(code_len).is_err() {
            return Err(DwarfError::FunctionTooLong { code_len });
        }
        let (before, common_before) = (self.bytes.len(), self.common);
        let signal = self.options.signal || is_signal(layout);
        let common = self.common(signal);
        let start = self.open();
        // Counts back from where it is itself.
        let distance = (self.bytes.len() - common) as u32;
        self.bytes.extend(distance.to_le_bytes());
        let field = self.bytes.len();
        match self.encoding {
            PointerEncoding::Absolute => {
                self.bytes.extend(address.to_le_bytes());
                self.bytes.extend(u64::from(code_len).to_le_bytes());
            }
            PointerEncoding::PcRelative => {
                self.bytes.extend([0; 4]);
                self.bytes.extend(code_len.to_le_bytes());
            }
        }
        // No augmentation data.
        self.bytes.push(0);
        let mut program = Program::new(&mut self.bytes);
        changes(layout, self.options, |offset, change| {
            program.write(offset, change);
        });
        self.close(start);
        if self.section_len() > MAX_LEN {
            self.bytes.truncate(before);
            self.common = common_before;
            return Err(DwarfError::SectionTooLong);
        }
        if self.encoding == PointerEncoding::PcRelative {
            self.fields.push((field, address));
        }
        self.ranges.push((address, end));
        Ok(())
    }

    /// Length in bytes of the section as it is now, its end included.
    pub const fn section_len(&self) -> usize {
        self.bytes.len() + END.len()
    }

    /// The section, for this address; [`Absolute`](PointerEncoding::Absolute) ones can lie anywhere. It is to be aligned to 8.
    ///
    /// # Errors
    /// [`Overlap`](DwarfError::Overlap) and [`OutOfReach`](DwarfError::OutOfReach).
    pub fn finish(mut self, section_address: u64) -> Result<Vec<u8>, DwarfError> {
        if !self.ranges.is_sorted() {
            self.ranges.sort_unstable();
        }
        for pair in self.ranges.windows(2) {
            let ((first, end), (second, _)) = (pair[0], pair[1]);
            if second < end {
                return Err(DwarfError::Overlap { first, second });
            }
        }
        for &(at, address) in &self.fields {
            let field = section_address.wrapping_add(at as u64);
            let relative = i128::from(address) - i128::from(field);
            let relative =
                i32::try_from(relative).map_err(|_| DwarfError::OutOfReach { address, field })?;
            self.bytes[at..at + 4].copy_from_slice(&relative.to_le_bytes());
        }
        self.bytes.extend(END);
        Ok(self.bytes)
    }

    /// Where the common information of this kind is.
    fn common(&mut self, signal: bool) -> usize {
        if let Some(start) = self.common[usize::from(signal)] {
            return start;
        }
        let start = self.open();
        // It is one, not an entry; version 1.
        self.bytes.extend([0, 0, 0, 0, 1]);
        self.bytes
            .extend(if signal { "zRS\0" } else { "zR\0" }.bytes());
        // Code is counted in bytes.
        uleb(&mut self.bytes, 1);
        sleb(&mut self.bytes, DATA_ALIGN);
        self.bytes.push(Column::Rip.dwarf() as u8);
        // Augmentation data: one byte.
        self.bytes.extend([1, self.encoding.code()]);
        if let CfaRule::Register { reg, offset } = ENTRY_CFA {
            self.bytes.extend([DEF_CFA, reg.dwarf() as u8]);
            uleb(&mut self.bytes, offset);
        }
        write_rule(&mut self.bytes, Column::Rip, ENTRY_RIP);
        self.close(start);
        self.common[usize::from(signal)] = Some(start);
        start
    }

    /// Begins a record: with its length, to be written by [`close`](Self::close).
    fn open(&mut self) -> usize {
        let start = self.bytes.len();
        self.bytes.extend([0; 4]);
        start
    }

    /// Ends it, with as many `DW_CFA_nop` as it takes.
    fn close(&mut self, start: usize) {
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        let len = (self.bytes.len() - start - 4) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// Whether walkers must take it for a signal's frame: it may lead to another
/// stack, or it returns to an instruction that was no call.
fn is_signal(layout: &FrameLayout) -> bool {
    layout
        .steps()
        .iter()
        .any(|step| matches!(step.op, Op::LoadSp { .. } | Op::MachineFrame { .. }))
}
