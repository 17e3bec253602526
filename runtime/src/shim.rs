//! The one door to atomics, to the lock of the idle protocol and to the stealing queues: std's,
//! parking_lot's and crossbeam's, or loom's and stand-ins under `--cfg sisal_loom`.
//!
//! (The cfg is our own because tokio gives `--cfg loom` a meaning of its own.)

#[cfg(not(sisal_loom))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// For figures that nobody acts on: std's in a model too, which need not explore their orders.
pub(crate) use std::sync::atomic::AtomicU64 as Figure;
/// Orders this thread's memory operations for a signal handler on it: for the compiler only.
pub(crate) use std::sync::atomic::compiler_fence;

#[cfg(not(sisal_loom))]
pub(crate) use crossbeam_deque as deque;

#[cfg(not(sisal_loom))]
pub(crate) use parking_lot::Mutex;

#[cfg(sisal_loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence};

#[cfg(sisal_loom)]
pub(crate) use atomic::{AtomicBool, AtomicU64, Mutex};

#[cfg(sisal_loom)]
#[path = "loom_atomic.rs"]
mod atomic;

#[cfg(sisal_loom)]
#[path = "loom_deque.rs"]
pub(crate) mod deque;

/// A `const fn`; in a model a plain one, because loom's types are not made at compile time.
macro_rules! const_fn {
    ($(#[$about:meta])* $seen:vis const fn $($rest:tt)*) => {
        #[cfg(not(sisal_loom))]
        $(#[$about])*
        $seen const fn $($rest)*
        #[cfg(sisal_loom)]
        $(#[$about])*
        $seen fn $($rest)*
    };
}
pub(crate) use const_fn;
