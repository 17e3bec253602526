//! What a section says about its functions. Must not know how.

/// What a section says about its functions: no XMM registers, epilogues, and
/// that they are called like any function.
///
/// ```
/// use switch_asm::unwind_info::dwarf::Options;
///
/// let for_readelf = Options::default().xmm(true);
/// assert_ne!(for_readelf, Options::default());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub(super) xmm: bool,
    pub(super) epilogues: bool,
    pub(super) signal: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// What is said if nothing else is asked for.
    pub const fn new() -> Options {
        Options {
            xmm: false,
            epilogues: true,
            signal: false,
        }
    }

    /// Whether it says where XMM registers are saved. Not for sections that are registered: libgcc
    /// ignores it, so they are not restored in any case, and LLVM's libunwind refuses to walk through such a frame.
    #[must_use]
    pub const fn xmm(mut self, xmm: bool) -> Options {
        self.xmm = xmm;
        self
    }

    /// Whether it has rows for epilogues. Without, a walk that begins in one (a signal handler's, a
    /// profiler's, a debugger's) goes wrong; panics and backtraces do not begin there.
    #[must_use]
    pub const fn epilogues(mut self, epilogues: bool) -> Options {
        self.epilogues = epilogues;
        self
    }

    /// Whether all its functions are entered as signal handlers are: walkers look up the address that
    /// such a frame returns to itself, not the byte before, and let it change stacks. Frames with
    /// [`LoadSp`](crate::unwind_info::Op::LoadSp) or [`MachineFrame`](crate::unwind_info::Op::MachineFrame) always are.
    #[must_use]
    pub const fn signal(mut self, signal: bool) -> Options {
        self.signal = signal;
        self
    }
}
