//! Directories: what is in them, and how they are made.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};

use super::on_pool;

/// The entries of a directory. See [`std::fs::read_dir`].
///
/// # Errors
/// As std's.
///
/// ```
/// let names = sisal::run(|| -> std::io::Result<Vec<_>> {
///     sisal::fs::read_dir("src")?.map(|entry| Ok(entry?.file_name())).collect()
/// });
/// assert!(names.unwrap().contains(&"lib.rs".into()));
/// ```
#[track_caller]
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    let path = path.as_ref();
    let (dir, read) = on_pool(|| -> io::Result<_> {
        let mut dir = fs::read_dir(path)?;
        let read = some(&mut dir);
        Ok((dir, read))
    })?;
    Ok(ReadDir { dir, read })
}

/// Some more entries; none at the end.
fn some(dir: &mut fs::ReadDir) -> VecDeque<io::Result<DirEntry>> {
    /// For as many one trip to the pool is made.
    const MOST: usize = 64;
    let entry = |entry: io::Result<fs::DirEntry>| {
        // The directory tells it for most file systems; where it does not, this asks the system.
        entry.map(|entry| DirEntry {
            file_type: entry.file_type().ok(),
            entry,
        })
    };
    dir.take(MOST).map(entry).collect()
}

/// The entries of a directory, as [`std::fs::ReadDir`]: made by [`read_dir`].
///
/// Entries are read ahead: what changes in the directory meanwhile may be seen or not, as with std's.
pub struct ReadDir {
    dir: fs::ReadDir,
    read: VecDeque<io::Result<DirEntry>>,
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    #[track_caller]
    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.read.is_empty() {
            let dir = &mut self.dir;
            self.read = on_pool(|| some(dir));
        }
        self.read.pop_front()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dir.fmt(f)
    }
}

/// One entry of a directory, as [`std::fs::DirEntry`].
pub struct DirEntry {
    entry: fs::DirEntry,
    /// `None` if it could not be had.
    file_type: Option<FileType>,
}

impl DirEntry {
    /// The path given to [`read_dir`] with the name.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// The name alone.
    #[must_use]
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// What the system knows of it; of the link itself, if it is one.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        on_pool(|| self.entry.metadata())
    }

    /// File, directory, link or something else. As it was when the directory was read.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn file_type(&self) -> io::Result<FileType> {
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => on_pool(|| self.entry.file_type()),
        }
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.entry.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.fmt(f)
    }
}

/// How to make a directory, as [`std::fs::DirBuilder`]. Its `mode` is in std's `DirBuilderExt`.
#[derive(Debug)]
pub struct DirBuilder(fs::DirBuilder);

impl DirBuilder {
    /// For one directory, whose parent is there.
    #[expect(clippy::new_without_default, reason = "std's has none either")]
    #[must_use]
    pub fn new() -> DirBuilder {
        DirBuilder(fs::DirBuilder::new())
    }

    /// Directories above it that are missing are made too, and it is no error if it is there.
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.0.recursive(recursive);
        self
    }

    /// Makes it. See [`std::fs::DirBuilder::create`].
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let path = path.as_ref();
        on_pool(|| self.0.create(path))
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.0.mode(mode);
        self
    }
}
