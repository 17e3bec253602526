//! From bytes to an `UNWIND_INFO`. Total: no input makes it panic.

use core::fmt;

use super::codes::Codes;
use super::format;
use super::handler::Handler;
use super::info::UnwindInfo;
use super::runtime_function::RuntimeFunction;
use crate::unwind_info::Gpr;

/// Reads an `UNWIND_INFO` of version 1 at the start of `bytes`; what is behind it does
/// not matter, except that it is taken for the handler's data if there is one.
///
/// Codes are taken as they come, in an order no prologue has too. Does not allocate.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(bytes: &[u8]) -> Result<UnwindInfo<'_>, DecodeError> {
    let (&[first, prologue_len, slots, frame], rest) =
        bytes.split_first_chunk().ok_or(DecodeError::Short)?;
    let (version, flags) = (first & 7, first >> 3);
    if version != format::VERSION {
        return Err(DecodeError::Version { version });
    }
    let handled = flags & (format::EHANDLER | format::UHANDLER) != 0;
    let chained = flags & format::CHAININFO != 0;
    if flags > format::CHAININFO || chained && handled {
        return Err(DecodeError::Flags { flags });
    }
    let slots = usize::from(slots);
    let codes = rest.get(..slots * format::SLOT).ok_or(DecodeError::Short)?;
    let frame = frame_register(frame);
    let codes = Codes::check(codes, frame)?;
    // The slot that makes their number even may be missing where nothing follows.
    let trailer = rest.get(format::padded(slots)..).unwrap_or_default();
    let handler = if handled {
        let (&rva, data) = trailer.split_first_chunk().ok_or(DecodeError::Short)?;
        Some(Handler::from_parts(u32::from_le_bytes(rva), flags, data))
    } else {
        None
    };
    let chain = if chained {
        let (&parent, _) = trailer.split_first_chunk().ok_or(DecodeError::Short)?;
        Some(RuntimeFunction::from_bytes(parent))
    } else {
        None
    };
    Ok(UnwindInfo {
        prologue_len,
        frame,
        codes,
        handler,
        chain,
    })
}

/// Number 0, which is `rax`, says that there is none.
fn frame_register(byte: u8) -> Option<(Gpr, u16)> {
    match Gpr::ALL[usize::from(byte & 15)] {
        Gpr::Rax => None,
        reg => Some((reg, u16::from(byte >> 4) * 16)),
    }
}

/// Why bytes are no `UNWIND_INFO` of version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// They end before it does.
    Short,
    /// Of another version.
    Version {
        /// Which: 0 to 7.
        version: u8,
    },
    /// Flags that nobody knows, or a chain with a handler.
    Flags {
        /// The five bits.
        flags: u8,
    },
    /// A code that version 1 does not have.
    UnknownCode {
        /// The byte: the number below, what it says above.
        code: u8,
    },
    /// The last code needs more slots than there are.
    CutOff,
    /// A code sets the frame register, of which the header knows nothing.
    NoFrameRegister,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use DecodeError as E;
        match *self {
            E::Short => f.write_str("the bytes end before the unwind information does"),
            E::Version { version } => write!(f, "unwind information of version {version}, not 1"),
            E::Flags { flags } => write!(f, "unwind information with the flags {flags:#x}"),
            E::UnknownCode { code } => write!(f, "the unwind code {code:#04x}"),
            E::CutOff => f.write_str("the last unwind code needs more slots than there are"),
            E::NoFrameRegister => f.write_str("a frame register is set, but there is none"),
        }
    }
}

impl core::error::Error for DecodeError {}
