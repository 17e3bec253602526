//! Parking: the user's token, waits of our own, and wakers.

#[cfg(test)]
mod loom_token;
#[cfg(all(test, not(sisal_loom)))]
mod tests;
mod token;
pub(crate) mod waiter;
pub(crate) mod waker;

#[expect(deprecated, reason = "std has it, and deprecates it")]
pub use token::park_timeout_ms;
pub use token::{park, park_timeout};
