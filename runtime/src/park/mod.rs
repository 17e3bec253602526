//! Parking: the user's token, waits of our own, and wakers.

#[cfg(test)]
mod loom_token;
#[cfg(all(test, not(sisal_loom)))]
mod tests;
mod token;
pub(crate) mod waiter;
pub(crate) mod waker;

pub use token::{park, park_timeout};
