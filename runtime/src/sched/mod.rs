//! The work-stealing scheduler. Protocols and proof sketches: README.md of this folder.

mod idle;
mod inbox;
mod queues;
mod shared;
mod shutdown;
mod stats;
mod worker;

#[cfg(test)]
mod loom_inbox;
#[cfg(test)]
mod loom_live;

pub(crate) use shared::{Config, Shared};
pub(crate) use shutdown::Leftover;
pub(crate) use worker::main as worker_main;
