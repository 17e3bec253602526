//! `File`.

use std::fmt;
use std::fs::{self, FileTimes, Metadata, Permissions, TryLockError};
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::SystemTime;

use super::on_pool;
use super::options::OpenOptions;

/// An open file, as [`std::fs::File`].
///
/// Reading, writing and seeking go through `&File` too, so fibers can share one. `read_to_end`, `read_exact` and `write_all` are
/// one trip to the pool each. std's `FileExt` (`read_at`, `write_at`) is there. Where std lets an `Arc<File>` read and write,
/// write `&*file`. Closing (by `drop`) is done on the calling thread.
///
/// ```
/// use std::io::{Read, Seek, Write};
/// use sisal::fs::{self, File};
///
/// # fn main() -> std::io::Result<()> {
/// let path = std::env::temp_dir().join(format!("sisal-file-{}", std::process::id()));
/// let text = sisal::run(|| -> std::io::Result<String> {
///     let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
///     file.write_all(b"to be kept")?;
///     file.sync_all()?;
///     file.rewind()?;
///     let mut text = String::new();
///     file.read_to_string(&mut text)?;
///     fs::remove_file(&path)?;
///     Ok(text)
/// })?;
/// assert_eq!(text, "to be kept");
/// # Ok(())
/// # }
/// ```
pub struct File(fs::File);

impl File {
    /// Opens a file for reading. See [`std::fs::File::open`].
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        let path = path.as_ref();
        on_pool(|| fs::File::open(path)).map(File)
    }

    /// Opens a file for writing: empty, and made if it is missing. See [`std::fs::File::create`].
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        let path = path.as_ref();
        on_pool(|| fs::File::create(path)).map(File)
    }

    /// Makes a file, which must not be there before, for reading and writing. See [`std::fs::File::create_new`].
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        let path = path.as_ref();
        on_pool(|| fs::File::create_new(path)).map(File)
    }

    /// [`OpenOptions::new`].
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// Waits until the contents and all that is known of the file are on the disk.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn sync_all(&self) -> io::Result<()> {
        on_pool(|| self.0.sync_all())
    }

    /// Waits until the contents are on the disk.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn sync_data(&self) -> io::Result<()> {
        on_pool(|| self.0.sync_data())
    }

    /// Cuts the file off, or extends it by zeros. The position stays.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn set_len(&self, size: u64) -> io::Result<()> {
        on_pool(|| self.0.set_len(size))
    }

    /// What the system knows of the file.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn metadata(&self) -> io::Result<Metadata> {
        on_pool(|| self.0.metadata())
    }

    /// Another handle to the same open file: the position is shared.
    ///
    /// # Errors
    /// The operating system's: no descriptor is left.
    pub fn try_clone(&self) -> io::Result<File> {
        self.0.try_clone().map(File)
    }

    /// Sets the permissions.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        on_pool(|| self.0.set_permissions(permissions))
    }

    /// Sets the times of access and modification.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn set_times(&self, times: FileTimes) -> io::Result<()> {
        on_pool(|| self.0.set_times(times))
    }

    /// Sets the time of modification.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        on_pool(|| self.0.set_modified(time))
    }

    /// Waits for the exclusive lock of the file (flock(2)): of the open file, so clones share it. Not of the fiber.
    ///
    /// The wait cannot be cut short, and holds a thread of the pool: [`try_lock`](Self::try_lock) in a loop with
    /// [`sleep`](crate::fiber::sleep) can. If as many wait as the pool has threads (512 by default), whoever has the lock finds none to
    /// give it up by, and all wait for ever.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn lock(&self) -> io::Result<()> {
        on_pool(|| self.0.lock())
    }

    /// Waits for a shared lock of the file: see [`lock`](Self::lock).
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn lock_shared(&self) -> io::Result<()> {
        on_pool(|| self.0.lock_shared())
    }

    /// Takes the exclusive lock if it is free.
    ///
    /// # Errors
    /// As std's: `TryLockError::WouldBlock` if it is not.
    #[track_caller]
    pub fn try_lock(&self) -> Result<(), TryLockError> {
        on_pool(|| self.0.try_lock())
    }

    /// Takes a shared lock if nobody has the exclusive one.
    ///
    /// # Errors
    /// As std's: `TryLockError::WouldBlock` if somebody has.
    #[track_caller]
    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        on_pool(|| self.0.try_lock_shared())
    }

    /// Gives up all locks of the file.
    ///
    /// # Errors
    /// As std's.
    #[track_caller]
    pub fn unlock(&self) -> io::Result<()> {
        on_pool(|| self.0.unlock())
    }
}

impl Read for &File {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        on_pool(|| (&self.0).read(buf))
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        on_pool(|| (&self.0).read_vectored(bufs))
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        on_pool(|| (&self.0).read_to_end(buf))
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        on_pool(|| (&self.0).read_to_string(buf))
    }

    #[track_caller]
    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        on_pool(|| (&self.0).read_exact(buf))
    }
}

impl Write for &File {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        on_pool(|| (&self.0).write(buf))
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        on_pool(|| (&self.0).write_vectored(bufs))
    }

    #[track_caller]
    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        on_pool(|| (&self.0).write_all(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        // As std's: nothing is buffered.
        Ok(())
    }
}

impl Seek for &File {
    #[track_caller]
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        on_pool(|| (&self.0).seek(to))
    }
}

impl Read for File {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buf)
    }

    #[track_caller]
    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        (&*self).read_exact(buf)
    }
}

impl Write for File {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    #[track_caller]
    fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
        (&*self).write_all(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self).flush()
    }
}

impl Seek for File {
    #[track_caller]
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self).seek(to)
    }
}

impl FileExt for File {
    #[track_caller]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        on_pool(|| self.0.read_at(buf, offset))
    }

    #[track_caller]
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        on_pool(|| self.0.read_exact_at(buf, offset))
    }

    #[track_caller]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        on_pool(|| self.0.write_at(buf, offset))
    }

    #[track_caller]
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        on_pool(|| self.0.write_all_at(buf, offset))
    }
}

impl From<fs::File> for File {
    fn from(file: fs::File) -> File {
        File(file)
    }
}

impl From<File> for fs::File {
    fn from(file: File) -> fs::File {
        file.0
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> File {
        File(fd.into())
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> OwnedFd {
        file.0.into()
    }
}

impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        file.0.into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        self.0.into_raw_fd()
    }
}

impl FromRawFd for File {
    unsafe fn from_raw_fd(fd: RawFd) -> File {
        // SAFETY: by contract, which is std's.
        File(unsafe { fs::File::from_raw_fd(fd) })
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
