//! The work-stealing scheduler. Protocols and proof sketches: README.md of this folder.

mod idle;
mod inbox;
mod placement;
mod queues;
mod shared;
mod shutdown;
mod stats;
mod worker;

#[cfg(all(test, sisal_loom))]
mod loom_inbox;

pub(crate) use shared::{Config, Shared};
pub(crate) use shutdown::Leftover;
pub(crate) use worker::main as worker_main;
