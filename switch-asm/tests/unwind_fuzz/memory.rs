//! Stacks. Must not know who uses them.

use switch_asm::unwind_info::winx64;

/// Where they lie, and how long they are together.
const BASE: u64 = 0x7000_0000_0000;
const LEN: usize = 4 << 20;

/// RSP of the callers of functions is somewhat below this.
pub(crate) const TOP: u64 = BASE + LEN as u64 - 4096;
/// The same on another stack.
pub(crate) const OTHER_TOP: u64 = BASE + (1 << 20);

pub(crate) struct Stacks(Vec<u8>);

impl Stacks {
    pub(crate) fn new() -> Stacks {
        Stacks(vec![0x5a; LEN])
    }

    fn at(address: u64, len: usize) -> Option<usize> {
        let offset = usize::try_from(address.checked_sub(BASE)?).ok()?;
        (offset.checked_add(len)? <= LEN).then_some(offset)
    }

    pub(crate) fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let at = Stacks::at(address, N)?;
        self.0[at..at + N].try_into().ok()
    }

    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        let at = Stacks::at(address, bytes.len());
        let at = at.unwrap_or_else(|| panic!("a write to {address:#x}"));
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Spoils what lies between: a signal handler's frame might.
    pub(crate) fn spoil(&mut self, from: u64, to: u64, with: u8) {
        let len = usize::try_from(to - from).expect("stacks are short");
        let at = Stacks::at(from, len).expect("spoils stacks only");
        self.0[at..at + len].fill(with);
    }
}

impl winx64::Memory for Stacks {
    fn read_u64(&self, address: u64) -> Option<u64> {
        self.read(address).map(u64::from_le_bytes)
    }
}
