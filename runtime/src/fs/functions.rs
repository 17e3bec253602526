//! The functions of `std::fs`.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::path::{Path, PathBuf};

use super::on_pool;

/// The whole of a file. See [`std::fs::read`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    on_pool(|| fs::read(path))
}

/// The whole of a file, which must be UTF-8. See [`std::fs::read_to_string`].
///
/// # Errors
/// As std's: `InvalidData` if it is not UTF-8.
#[track_caller]
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    let path = path.as_ref();
    on_pool(|| fs::read_to_string(path))
}

/// Makes `contents` the whole of a file, new or not. See [`std::fs::write`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let (path, contents) = (path.as_ref(), contents.as_ref());
    on_pool(|| fs::write(path, contents))
}

/// What the system knows of a file; of its target, if it is a symbolic link. See [`std::fs::metadata`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    on_pool(|| fs::metadata(path))
}

/// What the system knows of a file; of the link itself, if it is one. See [`std::fs::symlink_metadata`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    on_pool(|| fs::symlink_metadata(path))
}

/// Sets a file's permissions. See [`std::fs::set_permissions`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    on_pool(|| fs::set_permissions(path, permissions))
}

/// Whether there is something at `path`. See [`std::fs::exists`].
///
/// # Errors
/// As std's: if that cannot be found out.
#[track_caller]
pub fn exists<P: AsRef<Path>>(path: P) -> io::Result<bool> {
    let path = path.as_ref();
    on_pool(|| fs::exists(path))
}

/// Makes a directory. See [`std::fs::create_dir`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn create_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    on_pool(|| fs::create_dir(path))
}

/// Makes a directory, and those above it that are missing. See [`std::fs::create_dir_all`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn create_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    on_pool(|| fs::create_dir_all(path))
}

/// Removes an empty directory. See [`std::fs::remove_dir`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn remove_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    on_pool(|| fs::remove_dir(path))
}

/// Removes a directory and all that is in it. See [`std::fs::remove_dir_all`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn remove_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    on_pool(|| fs::remove_dir_all(path))
}

/// Removes a file. See [`std::fs::remove_file`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn remove_file<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    on_pool(|| fs::remove_file(path))
}

/// Gives a file another name, in the place of what had it. See [`std::fs::rename`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn rename<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    on_pool(|| fs::rename(from, to))
}

/// Copies a file's contents and permissions; the number of bytes. See [`std::fs::copy`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn copy<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<u64> {
    let (from, to) = (from.as_ref(), to.as_ref());
    on_pool(|| fs::copy(from, to))
}

/// Gives a file one more name. See [`std::fs::hard_link`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn hard_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    on_pool(|| fs::hard_link(original, link))
}

/// Makes a symbolic link. See [`std::fs::soft_link`].
///
/// # Errors
/// As std's.
#[deprecated(note = "as std's: use `os::unix::fs::symlink`")]
#[track_caller]
pub fn soft_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    on_pool(|| std::os::unix::fs::symlink(original, link))
}

/// The absolute path, without symbolic links. See [`std::fs::canonicalize`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn canonicalize<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    on_pool(|| fs::canonicalize(path))
}

/// Where a symbolic link points to. See [`std::fs::read_link`].
///
/// # Errors
/// As std's.
#[track_caller]
pub fn read_link<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    on_pool(|| fs::read_link(path))
}
