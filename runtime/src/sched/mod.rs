//! The work-stealing scheduler. Protocols and proof sketches: README.md of this folder.

mod census;
mod fresh;
mod idle;
mod inbox;
mod placement;
mod queues;
mod ready;
mod shared;
mod shutdown;
mod start;
mod stats;
mod ticks;
mod worker;

#[cfg(test)]
mod loom_inbox;
#[cfg(test)]
mod loom_live;

pub(crate) use shared::{Config, Here, Shared};
pub(crate) use start::Starts;
pub(crate) use worker::main as worker_main;
