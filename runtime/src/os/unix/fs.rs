//! What Unix has beside `std::fs`, as `std::os::unix::fs`: in a fiber each call runs on the blocking pool, as those of [`sisal::fs`](crate::fs) do, with the same
//! panics and suspension points.
//!
//! The extension traits are std's own: [`OpenOptions`](crate::fs::OpenOptions), [`DirBuilder`](crate::fs::DirBuilder), [`DirEntry`](crate::fs::DirEntry) and
//! [`File`](crate::fs::File) have them, as std's types do.
//!
//! ```
//! use sisal::fs::{self, OpenOptions};
//! use sisal::os::unix::fs::{MetadataExt, OpenOptionsExt, symlink};
//!
//! # fn main() -> std::io::Result<()> {
//! # let folder = std::env::temp_dir().join(format!("sisal-unix-{}", std::process::id()));
//! sisal::run(|| -> std::io::Result<()> {
//!     fs::create_dir(&folder)?;
//!     let key = folder.join("key");
//!     OpenOptions::new().write(true).create_new(true).mode(0o600).open(&key)?;
//!     symlink("key", folder.join("link"))?;
//!     assert_eq!(fs::metadata(folder.join("link"))?.mode() & 0o777, 0o600);
//!     fs::remove_dir_all(&folder)
//! })
//! # }
//! ```

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs as unix;
use std::path::Path;

use crate::fs::on_pool;

pub use std::os::unix::fs::{
    DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};

/// Makes a symbolic link. See [`std::os::unix::fs::symlink`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn symlink<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    on_pool(|| unix::symlink(original, link))
}

/// Gives a file, or the target of a link, to a user and a group; `None` leaves what it is. See [`std::os::unix::fs::chown`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn chown<P: AsRef<Path>>(dir: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let dir = dir.as_ref();
    on_pool(|| unix::chown(dir, uid, gid))
}

/// Gives an open file to a user and a group. See [`std::os::unix::fs::fchown`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn fchown<F: AsFd>(fd: F, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let fd = fd.as_fd();
    on_pool(|| unix::fchown(fd, uid, gid))
}

/// Gives a file, or a link itself, to a user and a group. See [`std::os::unix::fs::lchown`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn lchown<P: AsRef<Path>>(dir: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let dir = dir.as_ref();
    on_pool(|| unix::lchown(dir, uid, gid))
}

/// Makes `dir` the root of all paths, for the whole process. See [`std::os::unix::fs::chroot`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn chroot<P: AsRef<Path>>(dir: P) -> io::Result<()> {
    let dir = dir.as_ref();
    on_pool(|| unix::chroot(dir))
}
