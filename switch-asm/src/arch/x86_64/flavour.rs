//! The two flavours of the assembly text, one of which is always a comment.
//! Must not contain instructions itself.
//!
//! | | [`cfi!`] | [`seh!`] |
//! |---|---|---|
//! | where | System V: everything but UEFI | UEFI |
//! | unwind information | DWARF call frame information, `.eh_frame` | structured exception handling, `.pdata` and `.xdata` |
//! | arguments | RDI, RSI, RDX | RCX, RDX, R8, and a home area above the return address |
//!
//! Never both: an object file with rows of the other kind is refused by its
//! assembler, and a walker would have two answers. Text that both share is
//! written plainly. Text that is off becomes a comment and not nothing, so that
//! the operands it names count as used.

cfg_if::cfg_if! {
    if #[cfg(target_os = "uefi")] {
        /// Text of the System V flavour: a comment here.
        macro_rules! cfi {
            ($text:literal) => { concat!("/* ", $text, " */") };
        }
        /// Text of the UEFI flavour.
        macro_rules! seh {
            ($text:literal) => { $text };
        }
    } else {
        /// Text of the System V flavour.
        macro_rules! cfi {
            ($text:literal) => { $text };
        }
        /// Text of the UEFI flavour: a comment here.
        macro_rules! seh {
            ($text:literal) => { concat!("/* ", $text, " */") };
        }
    }
}

pub(super) use {cfi, seh};
