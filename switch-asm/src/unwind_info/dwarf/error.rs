//! What a section cannot say.

use core::fmt;

/// Why there is no such section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DwarfError {
    /// Two functions share bytes.
    Overlap {
        /// Where the lower one begins.
        first: u64,
        /// Where the other begins.
        second: u64,
    },
    /// A function ends behind the last address.
    BeyondAddresses {
        /// Where it begins.
        address: u64,
        /// Its length.
        code_len: u32,
    },
    /// A function is longer than 2 GiB, which [`PcRelative`](super::PointerEncoding::PcRelative) cannot say.
    FunctionTooLong {
        /// Its length.
        code_len: u32,
    },
    /// A function is 2 GiB away from where its address is written, or more, which
    /// [`PcRelative`](super::PointerEncoding::PcRelative) cannot say.
    OutOfReach {
        /// Where it begins.
        address: u64,
        /// Where that is written.
        field: u64,
    },
    /// The section would be 2 GiB long, or more.
    SectionTooLong,
}

impl fmt::Display for DwarfError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use DwarfError as E;
        match *self {
            E::Overlap { first, second } => write!(
                f,
                "the function at {first:#x} reaches into the one at {second:#x}"
            ),
            E::BeyondAddresses { address, code_len } => write!(
                f,
                "a function of {code_len} bytes at {address:#x} ends behind the last address"
            ),
            E::FunctionTooLong { code_len } => write!(
                f,
                "a function of {code_len} bytes; relative addresses need less than 2 GiB"
            ),
            E::OutOfReach { address, field } => write!(
                f,
                "the function at {address:#x} is 2 GiB or more from {field:#x}, where its address is to be written"
            ),
            E::SectionTooLong => f.write_str("a section of 2 GiB or more"),
        }
    }
}

impl core::error::Error for DwarfError {}
