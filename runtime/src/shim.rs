//! The one door to atomics and cells: std's, or loom's under `--cfg sisal_loom`.
//!
//! (The cfg is our own because tokio gives `--cfg loom` a meaning of its own.)

#[cfg(not(sisal_loom))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

#[cfg(sisal_loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
