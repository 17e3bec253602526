//! The peers behind two faces, so that a piece of work is written once for each style and every peer does the same.
//!
//! [`Fibers`] has the shape of std's threads, [`Tasks`] that of async executors. A face adds nothing: each method is one
//! call of the peer's own, the one its documentation recommends, and is inlined.

mod fibers;
mod may;
mod sisal;
mod smol;
mod tasks;
mod threads;
mod tokio;

pub(crate) use fibers::Fibers;
pub(crate) use may::May;
pub(crate) use sisal::Sisal;
pub(crate) use smol::Smol;
pub(crate) use tasks::Tasks;
pub(crate) use threads::Threads;
pub(crate) use tokio::{Current, Multi};
