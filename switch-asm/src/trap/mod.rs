//! When a coroutine faults: which stack overflowed, and a way out.
//!
//! A fault (an overflow that meets the guard, a bad address) arrives as a signal
//! on the thread that ran the coroutine. The signal handler can make the
//! coroutine end, with a value or a panic, instead of the process:
//! [`Coroutine::trap_handler`](crate::Coroutine::trap_handler) gives it a
//! [`CoroutineTrapHandler`] beforehand.
//!
//! That is unsafe, and rarely right: no destructor runs on the stack that
//! faulted, and whatever it was changing stays half changed.

mod handler;

pub use crate::arch::TrapHandlerRegs;
pub use handler::CoroutineTrapHandler;
