//! Parking: the user's token, waits of our own, and wakers.

#[cfg(all(test, sisal_loom))]
mod loom_token;
mod token;
pub(crate) mod waiter;
pub(crate) mod waker;

pub use token::{park, park_timeout};
