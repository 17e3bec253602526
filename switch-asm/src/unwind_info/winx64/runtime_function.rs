//! An entry of a function table.

use super::format::RUNTIME_FUNCTION;

/// `RUNTIME_FUNCTION`: where a function is and where its unwind information
/// is, all counted from the table's base. In memory as Windows has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RuntimeFunction {
    /// Its first byte.
    pub begin: u32,
    /// The byte after its last.
    pub end: u32,
    /// Its `UNWIND_INFO`: a multiple of 4.
    pub unwind: u32,
}

impl RuntimeFunction {
    /// As it stands in a table: three little-endian words.
    ///
    /// ```
    /// use switch_asm::unwind_info::winx64::RuntimeFunction;
    ///
    /// let function = RuntimeFunction { begin: 0x1000, end: 0x1020, unwind: 0x8000 };
    /// assert_eq!(function.to_bytes(), [0, 0x10, 0, 0, 0x20, 0x10, 0, 0, 0, 0x80, 0, 0]);
    /// assert_eq!(RuntimeFunction::from_bytes(function.to_bytes()), function);
    /// ```
    pub const fn to_bytes(self) -> [u8; RUNTIME_FUNCTION] {
        let ([a, b, c, d], [e, f, g, h], [i, j, k, l]) = (
            self.begin.to_le_bytes(),
            self.end.to_le_bytes(),
            self.unwind.to_le_bytes(),
        );
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// From what stands in a table.
    pub const fn from_bytes(bytes: [u8; RUNTIME_FUNCTION]) -> RuntimeFunction {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        RuntimeFunction {
            begin: u32::from_le_bytes([a, b, c, d]),
            end: u32::from_le_bytes([e, f, g, h]),
            unwind: u32::from_le_bytes([i, j, k, l]),
        }
    }

    /// Whether `rva`, counted from the table's base, is in the function.
    pub const fn contains(self, rva: u32) -> bool {
        self.begin <= rva && rva < self.end
    }
}
