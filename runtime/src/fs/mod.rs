//! Files, as `std::fs`: the same names, signatures and errors. The system has no files that can be waited for, so in a
//! fiber each call runs on the runtime's pool of blocking threads, and the fiber parks; on a plain thread it is std's.
//!
//! A trip to the pool costs ten to thirty microseconds, whatever the call does: wrap a [`File`] that is read or written in small
//! pieces in a [`BufReader`](crate::io::BufReader) or a [`BufWriter`](crate::io::BufWriter), or do all of it in one
//! [`unblock`](crate::unblock()).
//!
//! The methods of `Path` that ask the system (`exists`, `is_dir`, `metadata`, `read_dir` and others) are std's: they block the worker. Here are
//! functions of the same names.
//!
//! Links, owners and what else Unix has are in [`os::unix::fs`](crate::os::unix::fs). Types that only hold data ([`Metadata`], [`Permissions`], [`FileType`], [`FileTimes`]) are std's own.
//!
//! # Panics
//! On a worker's own stack: use `tokio::fs` there.
//!
//! # Cancellation
//! Each call is a suspension point as it begins. One that has begun is waited for, and what it gives is returned: a cancel, or the
//! deadline of a [`timeout`](crate::timeout()), is met at the next one. So no byte is lost, and nothing is left borrowed.
//!
//! ```
//! use sisal::fs;
//!
//! sisal::run(|| -> std::io::Result<()> {
//!     let manifest = fs::read_to_string("Cargo.toml")?;
//!     assert_eq!(fs::metadata("Cargo.toml")?.len(), manifest.len() as u64);
//!     Ok(())
//! })
//! .unwrap();
//! ```

mod dir;
mod file;
mod functions;
mod options;

pub use dir::{DirBuilder, DirEntry, ReadDir, read_dir};
pub use file::File;
#[expect(deprecated, reason = "std has it")]
pub use functions::{
    canonicalize, copy, create_dir, create_dir_all, exists, hard_link, metadata, read, read_link,
    read_to_string, remove_dir, remove_dir_all, remove_file, rename, set_permissions, soft_link,
    symlink_metadata, write,
};
pub use options::OpenOptions;

pub use std::fs::{FileTimes, FileType, Metadata, Permissions, TryLockError};

/// A call of std's where it may block.
#[track_caller]
pub(crate) fn on_pool<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    crate::unblock::unblock_call("sisal::fs", "use `tokio::fs` there", call)
}
