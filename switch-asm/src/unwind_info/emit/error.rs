//! What no prologue can be made of.

use core::fmt;

use super::super::error::LayoutError;
use super::super::reg::{Gpr, Xmm};

/// Why there is no such function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmitError {
    /// A register is to be saved twice.
    SavedTwice {
        /// Which.
        reg: Gpr,
    },
    /// An SSE register is to be saved twice.
    XmmSavedTwice {
        /// Which.
        reg: Xmm,
    },
    /// `rsp` cannot be saved. With `mov` neither can a frame register, which is set before, nor what the
    /// probe of a large frame uses.
    BadSave {
        /// Which.
        reg: Gpr,
    },
    /// The frame register must be one that the ABI keeps, and not `rsp` or `r12`.
    BadFrameRegister {
        /// Which.
        reg: Gpr,
    },
    /// The frame register's distance from the frame base is no multiple of 16, more
    /// than 240, or leads out of the frame. With [`Frame::Chain`](super::Frame::Chain) it follows from
    /// what is saved.
    BadFrameOffset {
        /// The distance.
        offset: u32,
    },
    /// RSP moves in the body, and nothing leads back to the frame.
    NoFrameRegister,
    /// Locals must be aligned to 1, 2, 4, 8 or 16 bytes. Whoever needs more allocates more and aligns in the body.
    BadAlignment {
        /// The alignment.
        align: u32,
    },
    /// The frame is larger than instructions can say: 2 GiB less a page.
    FrameTooLarge {
        /// Its size without pushes.
        size: u64,
    },
    /// A frame of a page or more, on Windows, and [`Probe::None`](super::Probe::None).
    NoProbe {
        /// Its size without pushes.
        size: u32,
    },
    /// A jump out of the function through a register that does not survive the epilogue.
    BadTailRegister {
        /// Which.
        reg: Gpr,
    },
    /// The function is longer than 4 GiB, or its code became shorter while it was written.
    BadLength,
    /// What came out is not a layout: an empty function, a prologue of more than 255 bytes.
    Layout(LayoutError),
}

impl fmt::Display for EmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use EmitError as E;
        match *self {
            E::SavedTwice { reg } => write!(f, "{reg:?} is to be saved twice"),
            E::XmmSavedTwice { reg } => write!(f, "{reg:?} is to be saved twice"),
            E::BadSave { reg } => write!(f, "{reg:?} cannot be saved that way"),
            E::BadFrameRegister { reg } => write!(
                f,
                "{reg:?} cannot be the frame register: the ABI must keep it, and it must not be rsp or r12"
            ),
            E::BadFrameOffset { offset } => write!(
                f,
                "a frame register {offset} bytes above the frame base; it must be a multiple of 16, 240 at most, and within the frame"
            ),
            E::NoFrameRegister => {
                f.write_str("RSP moves in the body of a function without a frame register")
            }
            E::BadAlignment { align } => write!(
                f,
                "locals aligned to {align} bytes; it must be 1, 2, 4, 8 or 16"
            ),
            E::FrameTooLarge { size } => {
                write!(f, "a frame of {size} bytes; 2 GiB less a page is the most")
            }
            E::NoProbe { size } => write!(
                f,
                "a frame of {size} bytes on Windows, and nothing that touches its pages"
            ),
            E::BadTailRegister { reg } => write!(
                f,
                "a jump through {reg:?}, which holds the caller's value again by then"
            ),
            E::BadLength => {
                f.write_str("the code became shorter while it was written, or has more than 4 GiB")
            }
            E::Layout(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EmitError {}

impl From<LayoutError> for EmitError {
    fn from(error: LayoutError) -> EmitError {
        EmitError::Layout(error)
    }
}
