//! What a function needs of its frame. Must not know where in the frame that is.

use alloc::vec::Vec;

use super::super::reg::{Abi, Gpr, Xmm};

/// Whether a register leads to the frame while the body runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// None does; `rbp` is a register like others.
    None,
    /// `rbp` points at the caller's `rbp`, which lies right below the return address: what walkers of frame
    /// pointers follow. Unwinders are told of it only if RSP moves in the body.
    Chain,
    /// A register that the ABI keeps points into the frame. It is pushed first, unless another place among the
    /// pushes is said.
    At {
        /// Which: not `rsp`, and not `r12`, whose epilogues Windows does not understand.
        reg: Gpr,
        /// Where it points, in bytes above the frame base, which is RSP after the prologue: a multiple of 16, 240 at most.
        offset: u16,
    },
}

/// How the pages of a large frame are touched, from the top down: one guard
/// page lies below a stack, and Windows moves it when it is touched.
///
/// Frames of less than a page need none of this: what the function pushed or was called with is within
/// a page of what it calls next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Probe {
    /// They are not. On Windows an error for frames of a page or more.
    None,
    /// By the prologue. Uses `r11` if there are many pages.
    Inline,
    /// By a call of a function like Windows' `__chkstk`, which gets the size in
    /// `rax`, moves no RSP and keeps all registers but `r10` and `r11`. What System V passes in `al` and `r10`
    /// (to functions with `...`, to nested ones) is lost. The
    /// call's 32-bit displacement is the caller's to fill in: [`Emitter::probe_call`](super::Emitter::probe_call).
    Call,
    /// The same, for a function at this address, wherever the code goes.
    CallAt(u64),
}

/// What a function's prologue has to do.
///
/// Registers come from the caller's hands in the order in which they are said
/// here. Epilogues give back all that is saved: a function whose result is in `rax`, `rdx`, `xmm0` or `xmm1` must not
/// save that one, or its caller gets its own value instead. Nothing is checked before [`Emitter::begin`](super::Emitter::begin).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "a specification writes no code"]
pub struct PrologueSpec {
    pub(super) abi: Abi,
    pub(super) pushes: Vec<Gpr>,
    pub(super) stores: Vec<Gpr>,
    pub(super) xmms: Vec<Xmm>,
    pub(super) locals: u32,
    pub(super) align: u32,
    pub(super) calls: Option<u32>,
    pub(super) frame: Frame,
    pub(super) dynamic: bool,
    pub(super) probe: Probe,
    pub(super) landing_pad: bool,
}

impl PrologueSpec {
    /// A function that saves nothing, has no locals, calls nothing and has no frame register. What that needs
    /// is no prologue at all.
    pub const fn new(abi: Abi) -> PrologueSpec {
        PrologueSpec {
            abi,
            pushes: Vec::new(),
            stores: Vec::new(),
            xmms: Vec::new(),
            locals: 0,
            align: 1,
            calls: None,
            frame: Frame::None,
            dynamic: false,
            probe: Probe::None,
            landing_pad: false,
        }
    }

    /// Saves `reg` with `push`.
    pub fn push(mut self, reg: Gpr) -> PrologueSpec {
        self.pushes.push(reg);
        self
    }

    /// Saves `reg` with `mov`, after the frame is there.
    pub fn store(mut self, reg: Gpr) -> PrologueSpec {
        self.stores.push(reg);
        self
    }

    /// Saves `reg` with `movaps`. On Linux only an unwinder that asks for such
    /// rules gives it back; most cannot.
    pub fn store_xmm(mut self, reg: Xmm) -> PrologueSpec {
        self.xmms.push(reg);
        self
    }

    /// So many bytes of locals, aligned to `align` (1, 2, 4, 8 or 16) bytes.
    pub fn locals(mut self, bytes: u32, align: u32) -> PrologueSpec {
        (self.locals, self.align) = (bytes, align);
        self
    }

    /// It calls functions, with at most so many bytes of arguments on the
    /// stack: RSP is a multiple of 16 after the prologue, and the arguments go to `[rsp]`. On Windows the
    /// 32 bytes that every callee may use lie there and the arguments above them.
    pub fn calls(mut self, stack_arguments: u32) -> PrologueSpec {
        self.calls = Some(stack_arguments);
        self
    }

    /// Its frame register.
    pub fn frame(mut self, frame: Frame) -> PrologueSpec {
        self.frame = frame;
        self
    }

    /// Its body moves RSP further down, as `alloca` does, by multiples of 16. Needs a frame register.
    ///
    /// The callees' area moves with it: what was at `[rsp]` (on Windows the 32 bytes of every callee, then the arguments on
    /// the stack) is at the new `[rsp]`. So an `alloca` must leave as many bytes free there, rounded up to a multiple of 16:
    /// the memory that it gives out begins above them.
    pub fn dynamic(mut self) -> PrologueSpec {
        self.dynamic = true;
        self
    }

    /// How the pages of its frame are touched, if there is more than one.
    pub fn probe(mut self, probe: Probe) -> PrologueSpec {
        self.probe = probe;
        self
    }

    /// It begins with `endbr64`, so that indirect calls may land there where the processor checks that.
    pub fn landing_pad(mut self) -> PrologueSpec {
        self.landing_pad = true;
        self
    }
}
