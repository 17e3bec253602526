//! What all types of sockets have in common.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SendFlags, send};
use socket2::SockRef;
use tokio::io::Interest;

use super::options::Options;
use super::source::{Source, Took};
use super::waiting::{Failure, Wait};

/// One of std's sockets, where it is registered, and what its clones share.
pub(crate) struct Socket<S> {
    source: Source<S>,
    options: Arc<Options>,
}

impl<S: AsFd + From<OwnedFd>> Socket<S> {
    /// `io` is in non-blocking mode, and new.
    pub(crate) fn from_nonblocking(io: S) -> Socket<S> {
        Socket {
            source: Source::new(io),
            options: Arc::new(Options::new()),
        }
    }

    /// A socket from elsewhere, with the mode and the timeouts that it has.
    ///
    /// What may fail here fails for what is no open socket: then so does everything later on.
    pub(crate) fn adopt(io: S) -> Socket<S> {
        let options = Options::new();
        let socket = SockRef::from(&io);
        options.set_nonblocking(socket.nonblocking().unwrap_or(false));
        let _ = options.read.set(socket.read_timeout().unwrap_or(None));
        let _ = options.write.set(socket.write_timeout().unwrap_or(None));
        let _ = socket.set_nonblocking(true);
        Socket {
            source: Source::new(io),
            options: Arc::new(options),
        }
    }

    /// std's socket, with the mode and the timeouts that this one had for its user. If it has clones the
    /// descriptor stays in non-blocking mode, which they share.
    pub(crate) fn release(self) -> S {
        let io = self.source.into_socket();
        let socket = SockRef::from(&io);
        // As in `adopt`: these do not fail for an open socket.
        let _ = socket.set_read_timeout(self.options.read.get());
        let _ = socket.set_write_timeout(self.options.write.get());
        // Of two that go at once one is the last: a count that is only looked at may say 2 to both.
        if Arc::into_inner(self.options).is_some_and(|options| !options.nonblocking()) {
            let _ = socket.set_nonblocking(false);
        }
        io
    }

    /// std's socket as it is: in non-blocking mode.
    pub(crate) fn release_nonblocking(self) -> S {
        self.source.into_socket()
    }

    pub(crate) fn try_clone(&self) -> io::Result<Socket<S>> {
        let io = self.get().as_fd().try_clone_to_owned()?;
        Ok(Socket {
            source: Source::new(S::from(io)),
            options: Arc::clone(&self.options),
        })
    }

    pub(crate) fn get(&self) -> &S {
        self.source.socket()
    }

    pub(crate) fn source(&self) -> &Source<S> {
        &self.source
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        self.options.set_nonblocking(nonblocking);
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.options.read.set(timeout)
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.options.write.set(timeout)
    }

    pub(crate) fn read_timeout(&self) -> Option<Duration> {
        self.options.read.get()
    }

    pub(crate) fn write_timeout(&self) -> Option<Duration> {
        self.options.write.get()
    }

    pub(crate) fn writes(&self) -> Wait {
        self.options.writes()
    }

    /// Takes something in, by `attempt`, which does not block.
    #[track_caller]
    pub(crate) fn take<R, E: Failure>(
        &self,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> Result<(R, Took), E>,
    ) -> io::Result<R> {
        self.source
            .io(Interest::READABLE, self.options.reads(), |fd, _| {
                attempt(fd)
            })
    }

    /// Gives something out.
    #[track_caller]
    pub(crate) fn give<R, E: Failure>(
        &self,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> Result<(R, Took), E>,
    ) -> io::Result<R> {
        self.source
            .io(Interest::WRITABLE, self.options.writes(), |fd, _| {
                attempt(fd)
            })
    }

    /// Receives one datagram: there may be more. `end` is for what was shut down.
    #[track_caller]
    pub(crate) fn receive<R>(
        &self,
        mut from: impl FnMut(&S) -> io::Result<R>,
        mut end: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        // That a datagram of ours was refused makes nothing readable, but is what receiving gives.
        let interest = Interest::READABLE | Interest::ERROR;
        self.source.io(interest, self.options.reads(), |_, ended| {
            let got = match from(self.get()) {
                Err(error) if ended && error.kind() == io::ErrorKind::WouldBlock => end()?,
                got => got?,
            };
            Ok::<_, io::Error>((got, Took::All))
        })
    }

    /// Sends one datagram: there may be room for more.
    #[track_caller]
    pub(crate) fn send<R>(&self, mut to: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        self.give(|_| Ok::<_, io::Error>((to(self.get())?, Took::All)))
    }

    /// Sends one datagram if there is room.
    pub(crate) fn try_send<R>(&self, mut to: impl FnMut(&S) -> io::Result<R>) -> io::Result<R> {
        let attempt = |_: BorrowedFd<'_>, _| Ok::<_, io::Error>((to(self.get())?, Took::All));
        self.source.io(Interest::WRITABLE, Wait::Never, attempt)
    }

    /// Writes to a stream.
    #[track_caller]
    pub(crate) fn write(&self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            // As in std, no room is needed for nothing.
            return Ok(send(
                self.get(),
                buf,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            )?);
        }
        self.give(|fd| {
            let n = send(fd, buf, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
            Ok::<_, rustix::io::Errno>((n, took(n, buf.len())))
        })
    }

    #[track_caller]
    pub(crate) fn write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(MAX_BUFS)];
        let len = total(bufs.iter().map(|buf| buf.len()));
        if len == 0 {
            return Ok(0); // as writev(2), whatever the socket's state
        }
        self.give(|fd| {
            let mut none = Default::default();
            let n = rustix::net::sendmsg(
                fd,
                bufs,
                &mut none,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            )?;
            Ok::<_, rustix::io::Errno>((n, took(n, len)))
        })
    }
}

/// The system takes no more buffers at once (`UIO_MAXIOV`). As in std, the rest is for the next call.
pub(crate) const MAX_BUFS: usize = 1024;

/// The same bytes may be named by many buffers, so their sum may be anything.
pub(crate) fn total(lens: impl Iterator<Item = usize>) -> usize {
    lens.fold(0, usize::saturating_add)
}

/// How an operation on `len` bytes used what was ready. 0 is the end of the stream: it stays.
pub(crate) fn took(n: usize, len: usize) -> Took {
    if 0 < n && n < len {
        Took::Less
    } else {
        Took::All
    }
}
