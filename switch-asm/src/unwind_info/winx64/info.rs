//! An `UNWIND_INFO` that was read.

use super::codes::Codes;
use super::handler::Handler;
use super::runtime_function::RuntimeFunction;
use crate::unwind_info::Gpr;

/// What [`decode`](super::decode) reads: a view of the bytes.
#[derive(Clone, Debug)]
pub struct UnwindInfo<'a> {
    pub(super) prologue_len: u8,
    pub(super) frame: Option<(Gpr, u16)>,
    pub(super) codes: Codes<'a>,
    pub(super) handler: Option<Handler<'a>>,
    pub(super) chain: Option<RuntimeFunction>,
}

impl<'a> UnwindInfo<'a> {
    /// Length of the prologue in bytes.
    pub const fn prologue_len(&self) -> u8 {
        self.prologue_len
    }

    /// The frame register and its distance from the frame base.
    pub const fn frame_register(&self) -> Option<(Gpr, u16)> {
        self.frame
    }

    /// What the prologue does, the last step first.
    pub fn codes(&self) -> Codes<'a> {
        self.codes.clone()
    }

    /// The routine that is asked about exceptions.
    pub const fn handler(&self) -> Option<Handler<'a>> {
        self.handler
    }

    /// The entry that made the frame in which this one only saves: its codes come after these.
    pub const fn chain(&self) -> Option<RuntimeFunction> {
        self.chain
    }
}
