//! The one place where the server names its runtime.

pub(crate) use sisal::{Runtime, block_on, fiber, net, unblock};
