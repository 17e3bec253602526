//! Parking: the user's token, waits of our own, and wakers.

mod token;
pub(crate) mod waiter;
pub(crate) mod waker;

pub use token::{park, park_timeout};
