//! When a coroutine faults: which stack overflowed, and a way out.
//!
//! A fault (an overflow that meets the guard, a bad address) arrives as a signal
//! on the thread that ran the coroutine. Three things a signal handler can use,
//! together or alone:
//!
//! - `locate` tells what an address is: in the guard of a stack, inside of one,
//!   or foreign. It knows all stacks of this crate, and takes constant time.
//! - [`Coroutine::trap_handler`](crate::Coroutine::trap_handler) gives a
//!   [`CoroutineTrapHandler`], with which the handler can make the coroutine end,
//!   with a value or a panic, instead of the process.
//! - `install` is a signal handler, for those who have none: it calls a hook
//!   with the `Fault`, and passes on to the handler that was there before what
//!   the hook does not want.
//!
//! Ending a coroutine that way is unsafe, and rarely right: no destructor runs
//! on the stack that faulted, and whatever it was changing stays half changed.
//! To *report* an overflow is always right.

#[cfg(feature = "default-stack")]
mod alternate;
#[cfg(feature = "default-stack")]
mod fault;
mod handler;
#[cfg(feature = "default-stack")]
mod signal;

pub use crate::arch::TrapHandlerRegs;
#[cfg(feature = "default-stack")]
pub use crate::stack::{Extent, Verdict};
#[cfg(feature = "default-stack")]
pub use alternate::AlternateStack;
#[cfg(feature = "default-stack")]
pub use fault::Fault;
pub use handler::CoroutineTrapHandler;
#[cfg(feature = "default-stack")]
pub use signal::{Hook, Outcome, install};

/// What `address` is, among all `DefaultStack`s and the stacks of all `Slab`s
/// that live, whoever has them.
///
/// Takes a bounded number of steps, no lock and no memory, so that a signal
/// handler can call it.
///
/// ```
/// use switch_asm::stack::{Slab, Stack};
/// use switch_asm::trap::{self, Verdict};
///
/// let slab = Slab::new(64 * 1024, 4096, 1000)?;
/// let stack = slab.take()?.expect("a thousand of them");
/// let Verdict::Guard(whose) = trap::locate(stack.limit().get()) else {
///     panic!("the guard is at the limit")
/// };
/// assert_eq!((whose.limit, whose.base), (stack.limit(), stack.base()));
///
/// drop((stack, slab));
/// assert_eq!(trap::locate(whose.limit.get()), Verdict::Foreign);
/// # Ok::<(), std::io::Error>(())
/// ```
#[cfg(feature = "default-stack")]
pub fn locate(address: usize) -> Verdict {
    crate::stack::locate(address)
}
