//! Stacks: a hot cache for each worker over slabs that the runtime shares; giving memory back; how deep
//! fibers go.
//!
//! | file | what |
//! |---|---|
//! | `pool.rs` | a worker's stacks: given, taken back, tidied when the worker has nothing to run |
//! | `hot.rs` | one size's cache, and which of it was looked at |
//! | `source.rs` | the runtime's slabs, and how many spare stacks they may hold |
//! | `usage.rs` | depths by spawn place |
//!
//! When memory goes back, and why then: docs/tuning.md, "When memory goes back".

mod hot;
mod pool;
mod source;
mod usage;

use std::io;

use switch_asm::stack::Slabs;

pub(crate) use pool::StackPool;
pub(crate) use source::{StackSource, Step};

/// `bytes` rounded up to a size class: stacks of one class share slabs and caches. The classes are those
/// of `Slabs`: whole pages, and eighths of the next power of two.
///
/// # Errors
/// `InvalidInput` if no stack can have that size.
pub(crate) fn check_size(bytes: usize) -> io::Result<usize> {
    const LEAST: usize = 16 * 1024;
    const MOST: usize = 1 << 40;
    if !(LEAST..=MOST).contains(&bytes) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a stack of {bytes} bytes cannot be: give from {LEAST} to {MOST}"),
        ));
    }
    Slabs::size_class(bytes)
}
