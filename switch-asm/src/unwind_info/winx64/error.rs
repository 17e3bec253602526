//! What Windows' format cannot say.

use core::fmt;

use super::format::MAX_SLOTS;
use crate::unwind_info::Op;

/// Why a layout has no `UNWIND_INFO`, or functions no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The codes need more than 255 slots.
    TooManySlots {
        /// How many.
        slots: usize,
    },
    /// A further region of a function has a handler of its own, or steps other than saves.
    FlagConflict {
        /// What it has.
        why: &'static str,
    },
    /// An address below the base, or 4 GiB or more above it.
    RvaRange {
        /// The address.
        address: u64,
        /// The base.
        base: u64,
    },
    /// The base or the place of the unwind information is no multiple of 4.
    Unaligned {
        /// The address, or the distance from the base.
        address: u64,
    },
    /// Two functions overlap.
    Overlap {
        /// Where the second begins.
        address: u64,
    },
    /// A function ends before it has begun.
    Empty {
        /// Where it begins, counted from the base.
        begin: u32,
    },
    /// The format has nothing like it.
    Unsupported {
        /// What.
        op: Op,
    },
    /// The builder does not have that many functions: it is another's.
    NoSuchFunction,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use EncodeError as E;
        match *self {
            E::TooManySlots { slots } => write!(
                f,
                "the unwind codes need {slots} slots; {MAX_SLOTS} is the most"
            ),
            E::FlagConflict { why } => write!(f, "a further region of a function has {why}"),
            E::RvaRange { address, base } => write!(
                f,
                "{address:#x} is not in the 4 GiB that begin at {base:#x}"
            ),
            E::Unaligned { address } => write!(f, "{address:#x} is no multiple of 4"),
            E::Overlap { address } => write!(
                f,
                "the function at {address:#x} begins before the one before it has ended"
            ),
            E::Empty { begin } => write!(f, "the function at {begin:#x} has no code"),
            E::Unsupported { op } => {
                write!(f, "{op:?} cannot be said in Windows' unwind information")
            }
            E::NoSuchFunction => f.write_str("that function was added to another table"),
        }
    }
}

impl core::error::Error for EncodeError {}
