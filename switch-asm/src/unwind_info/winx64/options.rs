//! What Windows wants to know of a function besides its frame.

use super::handler::Handler;
use super::runtime_function::RuntimeFunction;
use crate::unwind_info::{FrameLayout, Gpr};

/// What [`encode`](super::encode) is told besides the frame. Either of both, not together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a> {
    handler: Option<Handler<'a>>,
    chain: Option<Chain>,
}

impl<'a> Options<'a> {
    /// Neither a handler nor a chain.
    pub const fn new() -> Options<'a> {
        Options {
            handler: None,
            chain: None,
        }
    }

    /// With a routine that is asked about exceptions.
    #[must_use]
    pub const fn with_handler(mut self, handler: Handler<'a>) -> Options<'a> {
        self.handler = Some(handler);
        self
    }

    /// What is encoded is a further region of a function, in whose frame it saves registers.
    #[must_use]
    pub const fn with_chain(mut self, chain: Chain) -> Options<'a> {
        self.chain = Some(chain);
        self
    }

    /// The routine.
    pub const fn handler(&self) -> Option<Handler<'a>> {
        self.handler
    }

    /// The chain.
    pub const fn chain(&self) -> Option<Chain> {
        self.chain
    }
}

/// Where the frame of a further region of a function was made.
///
/// A function may lie in several places, and may save a register only where it
/// needs it. Each further region has an entry of its own, chained to the one that made the
/// frame, or to another such region. Its layout has nothing but saves, whose
/// offsets count from the frame base of that function; or nothing at all.
///
/// ```
/// use switch_asm::unwind_info::winx64::{Chain, Options, RuntimeFunction, encode};
/// use switch_asm::unwind_info::{FrameLayout, Gpr, Op};
///
/// // push rbx; sub rsp, 48; …
/// let parent = FrameLayout::builder().op(1, Op::Push(Gpr::Rbx)).op(5, Op::Alloc(48)).code_len(0x20).finish()?;
/// let parent_function = RuntimeFunction { begin: 0x1000, end: 0x1020, unwind: 0x8000 };
///
/// // Elsewhere: mov [rsp + 32], rsi; …
/// let region = FrameLayout::builder().op(5, Op::SaveGpr { reg: Gpr::Rsi, offset: 32 }).code_len(0x18).finish()?;
/// let chain = Chain::new(&parent, parent_function);
/// let bytes = encode(&region, &Options::new().with_chain(chain))?;
/// assert_eq!(bytes[..8], [0x21, 5, 2, 0, 5, 0x64, 4, 0]);
/// assert_eq!(bytes[8..], parent_function.to_bytes());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    pub(super) frame: Option<(Gpr, u16)>,
    pub(super) parent: RuntimeFunction,
}

impl Chain {
    /// In the frame that `frame` describes, chained to the entry `parent`: that function's, or the one of another
    /// further region of it. All entries of a chain name the same frame register.
    pub fn new(frame: &FrameLayout, parent: RuntimeFunction) -> Chain {
        Chain {
            frame: frame.frame_register(),
            parent,
        }
    }

    /// The entry that the region is chained to.
    pub const fn parent(&self) -> RuntimeFunction {
        self.parent
    }
}
