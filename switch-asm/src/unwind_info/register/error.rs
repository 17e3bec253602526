//! Why code is not registered.

use core::fmt;
use std::io;

use crate::unwind_info::dwarf::DwarfError;
#[cfg(all(windows, target_arch = "x86_64"))]
use crate::unwind_info::winx64::EncodeError;

/// Why there is no such [`Registration`](super::Registration) or [`CodeRegion`](super::CodeRegion).
#[derive(Debug)]
#[non_exhaustive]
pub enum RegisterError {
    /// The unwinder of this process takes no such section.
    Unsupported,
    /// The section is cut off, or has no end.
    BadSection {
        /// The record that reaches beyond the section, or the bytes behind its end: offset in the section.
        at: usize,
    },
    /// The operating system refused the function table.
    Refused,
    /// The region has no room for a function or for what describes it.
    Full {
        /// Bytes that it needs.
        needed: usize,
        /// Bytes that are left.
        left: usize,
    },
    /// Code has another length than its layout.
    CodeLen {
        /// Length of the code.
        code: usize,
        /// What the layout says.
        layout: u32,
    },
    /// The operating system gave no memory, or did not let it be executed.
    Memory {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// The functions cannot be described in an `.eh_frame` section.
    Dwarf(DwarfError),
    /// The functions cannot be described in a function table.
    #[cfg(all(windows, target_arch = "x86_64"))]
    Table(EncodeError),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use RegisterError as E;
        match self {
            E::Unsupported => f.write_str("this process's unwinder takes no such section"),
            E::BadSection { at } => write!(f, "the section is not complete: at byte {at}"),
            E::Refused => f.write_str("the operating system refused the function table"),
            E::Full { needed, left } => {
                write!(f, "the region is full: {needed} bytes needed, {left} left")
            }
            E::CodeLen { code, layout } => {
                write!(f, "{code} bytes of code with a layout for {layout}")
            }
            E::Memory { what, error } => write!(f, "cannot {what}: {error}"),
            E::Dwarf(error) => error.fmt(f),
            #[cfg(all(windows, target_arch = "x86_64"))]
            E::Table(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for RegisterError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            RegisterError::Memory { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<DwarfError> for RegisterError {
    fn from(error: DwarfError) -> RegisterError {
        RegisterError::Dwarf(error)
    }
}

#[cfg(all(windows, target_arch = "x86_64"))]
impl From<EncodeError> for RegisterError {
    fn from(error: EncodeError) -> RegisterError {
        RegisterError::Table(error)
    }
}
