//! Pipes: those of `io::pipe`, and those to child processes.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::{Errno, ioctl_fionbio};

use super::ready::{For, ready};
use crate::current::{self, ThreadState};

/// One end of a pipe, in non-blocking mode.
pub(crate) struct Pipe {
    fd: OwnedFd,
    /// Clones share the non-blocking mode.
    clones: Arc<()>,
    /// For the panic on a worker's own stack (S10): the call, and what to do instead.
    names: (&'static str, &'static str),
}

impl Pipe {
    /// # Errors
    /// The operating system's.
    pub(crate) fn new(fd: OwnedFd, names: (&'static str, &'static str)) -> io::Result<Pipe> {
        ioctl_fionbio(&fd, true)?;
        Ok(Pipe {
            fd,
            clones: Arc::default(),
            names,
        })
    }

    /// [`new`](Self::new), for conversions, which have no room for an error: of an open descriptor there is none.
    pub(crate) fn from_fd(fd: OwnedFd, names: (&'static str, &'static str)) -> Pipe {
        let _ = ioctl_fionbio(&fd, true);
        Pipe {
            fd,
            clones: Arc::default(),
            names,
        }
    }

    /// For others, who expect that it blocks. What clones of ours need non-blocking stays so: others get the end anew.
    pub(crate) fn into_fd(self) -> OwnedFd {
        let fd = match Arc::into_inner(self.clones) {
            Some(()) => self.fd,
            None => match reopened(&self.fd) {
                Ok(anew) => anew,
                Err(_) => return self.fd, // as sockets: the clones come first
            },
        };
        let _ = ioctl_fionbio(&fd, false);
        fd
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn try_clone(&self) -> io::Result<Pipe> {
        Ok(Pipe {
            fd: self.fd.try_clone()?,
            clones: Arc::clone(&self.clones),
            names: self.names,
        })
    }

    /// Repeats `attempt` until it does something else than find nothing.
    #[track_caller]
    fn io<R>(
        &self,
        what: For,
        mut attempt: impl FnMut(&OwnedFd) -> Result<R, Errno>,
    ) -> io::Result<R> {
        match current::state() {
            ThreadState::Fiber(running) => running.pace(),
            ThreadState::Worker => current::refuse_worker(self.names.0, self.names.1),
            ThreadState::Plain => {}
        }
        loop {
            match attempt(&self.fd) {
                Ok(done) => return Ok(done),
                Err(Errno::AGAIN) => ready(&[self.fd.as_fd()], what)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[track_caller]
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.io(For::Reading, |fd| rustix::io::read(fd, &mut *buf))
    }

    #[track_caller]
    pub(crate) fn read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFS);
        self.io(For::Reading, |fd| rustix::io::readv(fd, &mut bufs[..count]))
    }

    #[track_caller]
    pub(crate) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        self.io(For::Writing, |fd| rustix::io::write(fd, buf))
    }

    #[track_caller]
    pub(crate) fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(MAX_BUFS)];
        self.io(For::Writing, |fd| rustix::io::writev(fd, bufs))
    }

    /// Reads two pipes to their ends, as they come.
    #[track_caller]
    pub(crate) fn read_both(a: (Pipe, &mut Vec<u8>), b: (Pipe, &mut Vec<u8>)) -> io::Result<()> {
        let ((a, to_a), (b, to_b)) = (a, b);
        let (mut a_open, mut b_open) = (true, true);
        loop {
            a_open = a_open && a.read_what_is_there(to_a)?;
            b_open = b_open && b.read_what_is_there(to_b)?;
            match (a_open, b_open) {
                (true, true) => ready(&[a.fd.as_fd(), b.fd.as_fd()], For::Reading)?,
                (true, false) => ready(&[a.fd.as_fd()], For::Reading)?,
                (false, true) => ready(&[b.fd.as_fd()], For::Reading)?,
                (false, false) => return Ok(()),
            }
        }
    }

    /// Whether more may come.
    fn read_what_is_there(&self, to: &mut Vec<u8>) -> io::Result<bool> {
        /// A pipe holds 64 KiB; not all of it on the stack.
        const PIECE: usize = 4096;
        let mut buf = [0; PIECE];
        loop {
            match rustix::io::read(&self.fd, &mut buf[..]) {
                Ok(0) => return Ok(false),
                Ok(n) => to.extend_from_slice(&buf[..n]),
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if let ThreadState::Fiber(running) = current::state() {
                running.pace();
            }
        }
    }
}

/// The same end with a mode of its own.
fn reopened(fd: &OwnedFd) -> io::Result<OwnedFd> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = rustix::fs::fcntl_getfl(fd)?;
    let mut how = std::fs::OpenOptions::new();
    how.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()); // so that a fifo's open does not wait
    match flags & rustix::fs::OFlags::RWMODE {
        rustix::fs::OFlags::WRONLY => how.write(true),
        rustix::fs::OFlags::RDWR => how.read(true).write(true),
        _ => how.read(true),
    };
    Ok(how.open(path)?.into())
}

/// The system takes no more buffers at once (`UIO_MAXIOV`). As in std, the rest is for the next call.
const MAX_BUFS: usize = 1024;

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fd.fmt(f)
    }
}

const NAMES: (&str, &str) = ("sisal::io::pipe", "use `tokio::net::unix::pipe` there");

/// A pipe: what is written to the second comes out of the first. See [`std::io::pipe`].
///
/// # Errors
/// The operating system's: no descriptor is left.
///
/// ```
/// use std::io::{Read, Write};
///
/// # fn main() -> std::io::Result<()> {
/// let (mut reader, mut writer) = sisal::io::pipe()?;
/// let text = sisal::run(|| -> std::io::Result<String> {
///     let writes = sisal::spawn(move || writer.write_all(b"through"));
///     let mut text = String::new();
///     reader.read_to_string(&mut text)?;
///     writes.join().unwrap()?;
///     Ok(text)
/// })?;
/// assert_eq!(text, "through");
/// # Ok(())
/// # }
/// ```
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    Ok((
        PipeReader(Pipe::new(reader.into(), NAMES)?),
        PipeWriter(Pipe::new(writer.into(), NAMES)?),
    ))
}

/// The reading end of a [`pipe`], as [`std::io::PipeReader`].
///
/// The descriptor is in non-blocking mode, which it loses when it becomes a [`Stdio`](std::process::Stdio) or an `OwnedFd`.
///
/// # Panics
/// Reads, on a worker's own stack: use `tokio::net::unix::pipe` there.
///
/// # Cancellation
/// A read is a suspension point while it waits. A byte that was taken was returned.
#[derive(Debug)]
pub struct PipeReader(Pipe);

/// The writing end of a [`pipe`], as [`std::io::PipeWriter`].
///
/// The descriptor is in non-blocking mode, which it loses when it becomes a [`Stdio`](std::process::Stdio) or an `OwnedFd`.
///
/// # Panics
/// Writes, on a worker's own stack: use `tokio::net::unix::pipe` there.
///
/// # Cancellation
/// A write is a suspension point while it waits.
#[derive(Debug)]
pub struct PipeWriter(Pipe);

impl PipeReader {
    /// Another handle to the same end.
    ///
    /// # Errors
    /// The operating system's: no descriptor is left.
    pub fn try_clone(&self) -> io::Result<PipeReader> {
        self.0.try_clone().map(PipeReader)
    }
}

impl PipeWriter {
    /// Another handle to the same end: readers meet the end when all are dropped.
    ///
    /// # Errors
    /// The operating system's: no descriptor is left.
    pub fn try_clone(&self) -> io::Result<PipeWriter> {
        self.0.try_clone().map(PipeWriter)
    }
}

/// `Read` for some types over a `Pipe` in their first field.
macro_rules! reads {
    ($($Type:ty),*) => {$(
        impl std::io::Read for $Type {
            #[track_caller]
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.0.read(buf)
            }

            #[track_caller]
            fn read_vectored(&mut self, bufs: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                self.0.read_vectored(bufs)
            }
        }
    )*};
}

/// The same with `Write`.
macro_rules! writes {
    ($($Type:ty),*) => {$(
        impl std::io::Write for $Type {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
                self.0.write(buf)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.0.write_vectored(bufs)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    )*};
}

/// The descriptor of a type over a `Pipe`, as std's type has it.
macro_rules! descriptor_of {
    ($($Type:ident, $names:expr;)*) => {$(
        impl std::os::fd::AsFd for $Type {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.0.fd()
            }
        }

        impl std::os::fd::AsRawFd for $Type {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                std::os::fd::AsRawFd::as_raw_fd(&self.0.fd())
            }
        }

        impl std::os::fd::IntoRawFd for $Type {
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                std::os::fd::IntoRawFd::into_raw_fd(self.0.into_fd())
            }
        }

        impl From<$Type> for std::os::fd::OwnedFd {
            fn from(end: $Type) -> std::os::fd::OwnedFd {
                end.0.into_fd()
            }
        }

        impl From<std::os::fd::OwnedFd> for $Type {
            fn from(fd: std::os::fd::OwnedFd) -> $Type {
                $Type($crate::io::Pipe::from_fd(fd, $names))
            }
        }

        impl From<$Type> for std::process::Stdio {
            fn from(end: $Type) -> std::process::Stdio {
                end.0.into_fd().into()
            }
        }
    )*};
}

pub(crate) use {descriptor_of, reads, writes};

reads!(PipeReader, &PipeReader);
writes!(PipeWriter, &PipeWriter);
descriptor_of! {
    PipeReader, NAMES;
    PipeWriter, NAMES;
}

impl FromRawFd for PipeReader {
    unsafe fn from_raw_fd(fd: RawFd) -> PipeReader {
        // SAFETY: by contract, which is std's.
        unsafe { OwnedFd::from_raw_fd(fd) }.into()
    }
}

impl FromRawFd for PipeWriter {
    unsafe fn from_raw_fd(fd: RawFd) -> PipeWriter {
        // SAFETY: by contract, which is std's.
        unsafe { OwnedFd::from_raw_fd(fd) }.into()
    }
}
