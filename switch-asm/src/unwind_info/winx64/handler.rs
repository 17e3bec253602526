//! The language's own routine for a frame.

use super::format::{EHANDLER, UHANDLER};

/// A routine that Windows calls about exceptions that come through a frame
/// (`__C_specific_handler` is one), with bytes of its own. A frame is asked only
/// from its body: neither from the prologue nor from an epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handler<'a> {
    rva: u32,
    flags: u8,
    data: &'a [u8],
}

impl<'a> Handler<'a> {
    /// The routine at `rva`, counted from the table's base; asked about exceptions as about unwinds, without data.
    pub const fn new(rva: u32) -> Handler<'a> {
        Handler {
            rva,
            flags: EHANDLER | UHANDLER,
            data: &[],
        }
    }

    /// Asked only what to do about an exception.
    #[must_use]
    pub const fn only_for_exceptions(mut self) -> Handler<'a> {
        self.flags = EHANDLER;
        self
    }

    /// Called only when the frame is left by an unwind.
    #[must_use]
    pub const fn only_for_unwinds(mut self) -> Handler<'a> {
        self.flags = UHANDLER;
        self
    }

    /// With these bytes after its address. The format has no length for them: the routine has to know.
    #[must_use]
    pub const fn with_data(mut self, data: &'a [u8]) -> Handler<'a> {
        self.data = data;
        self
    }

    pub(super) const fn from_parts(rva: u32, flags: u8, data: &'a [u8]) -> Handler<'a> {
        Handler { rva, flags, data }
    }

    pub(super) const fn flags(&self) -> u8 {
        self.flags
    }

    /// Where the routine is, counted from the table's base.
    pub const fn rva(&self) -> u32 {
        self.rva
    }

    /// Whether it is asked what to do about an exception.
    pub const fn is_for_exceptions(&self) -> bool {
        self.flags & EHANDLER != 0
    }

    /// Whether it is called when the frame is left by an unwind.
    pub const fn is_for_unwinds(&self) -> bool {
        self.flags & UHANDLER != 0
    }

    /// Its bytes. After [`decode`](super::decode): everything up to the end of what was decoded.
    pub const fn data(&self) -> &'a [u8] {
        self.data
    }
}
