//! When a fiber overflows its stack: a message and the end of the process, or the end of just the fiber.
//!
//! | file | what |
//! |---|---|
//! | `handler.rs` | the signal handler's part: whose stack it was, and what follows |
//! | `kill.rs` | whether just the fiber may be ended |
//! | `message.rs` | text, written without allocating |
//!
//! Everything here but the installing runs in a signal handler that interrupted any code of this thread. So it allocates
//! nothing, takes no lock, and reads of a record only what does not change or is this thread's own.
//!
//! Must not know the scheduler.

mod handler;
mod kill;
mod message;

pub(crate) use handler::install;
pub(crate) use kill::{Grounds, Killer};
pub(crate) use switch_asm::trap::AlternateStack;
