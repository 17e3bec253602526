//! `TcpStream`.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use super::source::{self, Source, Took};
use super::timeouts::Timeout;
use crate::time::timer;

/// A TCP connection, as [`std::net::TcpStream`].
///
/// Several fibers may use one stream at once, through `&TcpStream` or
/// [`try_clone`](Self::try_clone).
///
/// # Cancellation
/// Every operation that waits is a suspension point. A byte that was taken from the socket was
/// returned to the caller: nothing is lost by an unwind, and the socket stays usable.
pub struct TcpStream {
    source: Source<std::net::TcpStream>,
    timeouts: Arc<Timeouts>,
}

struct Timeouts {
    read: Timeout,
    write: Timeout,
}

impl TcpStream {
    /// `io` is in non-blocking mode.
    pub(super) fn from_nonblocking(io: std::net::TcpStream) -> TcpStream {
        TcpStream {
            source: Source::new(io),
            timeouts: Arc::new(Timeouts {
                read: Timeout::none(),
                write: Timeout::none(),
            }),
        }
    }

    fn socket(&self) -> &std::net::TcpStream {
        self.source.socket()
    }

    /// Connects to the first address that answers. See [`std::net::TcpStream::connect`].
    ///
    /// A host *name* is looked up on the calling thread, which blocks a worker: use
    /// [`unblock`](crate::unblock()) for `to_socket_addrs`, and connect to what it gives.
    ///
    /// # Errors
    /// As std's: of the last address tried; `InvalidInput` if there is none.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address to connect to");
        for addr in addr.to_socket_addrs()? {
            match connect_to(addr, None) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to one address within `timeout`.
    ///
    /// # Errors
    /// `InvalidInput` for a zero timeout, `TimedOut` when it has passed; else as
    /// [`connect`](Self::connect).
    #[track_caller]
    pub fn connect_timeout(addr: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        if timeout.is_zero() {
            let zero = "a connection cannot be made in no time: give a timeout above zero";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, zero));
        }
        connect_to(*addr, Some(timer::after(timeout)))
    }

    /// The remote address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr()
    }

    /// The local address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }

    /// Shuts down reading, writing or both; whoever waits there sees the end at once.
    ///
    /// # Errors
    /// The operating system's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket().shutdown(how)
    }

    /// Another handle to the same socket, with a descriptor of its own. Timeouts are shared.
    ///
    /// # Errors
    /// The operating system's: no descriptor is left.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        Ok(TcpStream {
            source: Source::new(self.socket().try_clone()?),
            timeouts: Arc::clone(&self.timeouts),
        })
    }

    /// Lets reads fail with `WouldBlock` after `timeout`; `None` lets them wait for ever.
    ///
    /// # Errors
    /// `InvalidInput` for a zero timeout.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.read.set(timeout)
    }

    /// Lets writes fail with `WouldBlock` after `timeout`; `None` lets them wait for ever.
    ///
    /// # Errors
    /// `InvalidInput` for a zero timeout.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.write.set(timeout)
    }

    /// The read timeout.
    ///
    /// # Errors
    /// None; the signature is std's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.read.get())
    }

    /// The write timeout.
    ///
    /// # Errors
    /// None; the signature is std's.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.write.get())
    }

    /// Reads without taking: the next read sees the same bytes.
    ///
    /// # Errors
    /// As for reads.
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        // What was peeked is still there, so nothing was used up.
        self.receive(buf, RecvFlags::PEEK, |_, _| Took::All)
    }

    /// Sets `TCP_NODELAY`: small writes are sent at once.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket().set_nodelay(nodelay)
    }

    /// Whether `TCP_NODELAY` is set.
    ///
    /// # Errors
    /// The operating system's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket().nodelay()
    }

    /// Sets `IP_TTL`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket().set_ttl(ttl)
    }

    /// `IP_TTL`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket().ttl()
    }

    /// Takes the socket's pending error (`SO_ERROR`).
    ///
    /// # Errors
    /// The operating system's.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.socket().take_error()
    }

    #[track_caller]
    fn receive(
        &self,
        buf: &mut [u8],
        flags: RecvFlags,
        took: impl Fn(usize, usize) -> Took,
    ) -> io::Result<usize> {
        let len = buf.len();
        let timeout = self.timeouts.read.get();
        self.source.io(Interest::READABLE, timeout, |fd| {
            let (_, n) = recv(fd, &mut *buf, flags)?;
            Ok((n, took(n, len)))
        })
    }
}

/// The system takes no more buffers at once (`UIO_MAXIOV`). As in std, the rest is for the next call.
const MAX_BUFS: usize = 1024;

/// The same bytes may be named by many buffers, so their sum may be anything.
fn total(lens: impl Iterator<Item = usize>) -> usize {
    lens.fold(0, usize::saturating_add)
}

/// How an operation on `len` bytes used what was ready. 0 is the end of the stream: it stays.
fn took(n: usize, len: usize) -> Took {
    if 0 < n && n < len {
        Took::Less
    } else {
        Took::All
    }
}

#[track_caller]
fn connect_to(addr: SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
    source::forbid_worker();
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    let begun = socket.connect(&addr.into());
    let stream = TcpStream::from_nonblocking(socket.into());
    match begun {
        Ok(()) => return Ok(stream),
        // EINTR too leaves the connection on its way: connect(2).
        Err(error) if in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    match stream.source.wait(Interest::WRITABLE, deadline) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "connection timed out",
            ));
        }
        Err(error) => return Err(error),
    }
    match stream.socket().take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

fn in_progress(error: &io::Error) -> bool {
    [Errno::INPROGRESS, Errno::INTR]
        .map(|e| Some(e.raw_os_error()))
        .contains(&error.raw_os_error())
}

impl Read for &TcpStream {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.receive(buf, RecvFlags::empty(), took)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFS);
        let bufs = &mut bufs[..count];
        let len = total(bufs.iter().map(|buf| buf.len()));
        if len == 0 {
            return Ok(0); // as readv(2), whatever the socket's state
        }
        let timeout = self.timeouts.read.get();
        self.source.io(Interest::READABLE, timeout, |fd| {
            let n = rustix::io::readv(fd, bufs)?;
            Ok((n, took(n, len)))
        })
    }
}

impl Write for &TcpStream {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.is_empty() {
            // As in std, no room is needed for nothing.
            return Ok(send(self, buf, SendFlags::NOSIGNAL)?);
        }
        let timeout = self.timeouts.write.get();
        self.source.io(Interest::WRITABLE, timeout, |fd| {
            let n = send(fd, buf, SendFlags::NOSIGNAL)?;
            Ok((n, took(n, buf.len())))
        })
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let bufs = &bufs[..bufs.len().min(MAX_BUFS)];
        let len = total(bufs.iter().map(|buf| buf.len()));
        if len == 0 {
            return Ok(0); // as writev(2), whatever the socket's state
        }
        let timeout = self.timeouts.write.get();
        self.source.io(Interest::WRITABLE, timeout, |fd| {
            let mut none = Default::default();
            let n = rustix::net::sendmsg(fd, bufs, &mut none, SendFlags::NOSIGNAL)?;
            Ok((n, took(n, len)))
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(bufs)
    }
}

impl Write for TcpStream {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().fmt(f)
    }
}
