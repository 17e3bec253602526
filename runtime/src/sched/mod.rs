//! The work-stealing scheduler. Protocols and proof sketches: README.md of this folder.

mod census;
mod idle;
mod inbox;
mod placement;
mod queues;
mod shared;
mod shutdown;
mod start;
mod stats;
mod worker;

#[cfg(all(test, sisal_loom))]
mod loom_inbox;
#[cfg(all(test, sisal_loom))]
mod loom_live;

pub(crate) use shared::{Config, Shared};
pub(crate) use start::Starts;
pub(crate) use worker::main as worker_main;
