//! `TcpStream`.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::Interest;

use super::face::{common_methods, conversions, stream_io, timeout_methods, ttl_methods};
use super::resolve;
use super::socket::{MAX_BUFS, Socket, took, total};
use super::source::{self, Took};
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
    socket: Socket<std::net::TcpStream>,
}

impl TcpStream {
    /// `io` is in non-blocking mode.
    pub(super) fn from_nonblocking(io: std::net::TcpStream) -> TcpStream {
        let socket = Socket::from_nonblocking(io);
        TcpStream { socket }
    }

    /// Connects to the first address that answers. See [`std::net::TcpStream::connect`].
    ///
    /// In a fiber a host name (a text, or a text and a port) is looked up on another thread, and the wait for
    /// it can be cut short. What other types than std's do to find their addresses is done where they are called.
    ///
    /// # Errors
    /// As std's: the lookup's; of the last address tried; `InvalidInput` if there is none.
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<TcpStream> {
        source::forbid_worker();
        resolve::each(addr, |addr| connect_to(addr, None))
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
        self.socket.get().peer_addr()
    }

    /// The local address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// Shuts down reading, writing or both; whoever waits there sees the end at once.
    ///
    /// # Errors
    /// The operating system's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.get().shutdown(how)
    }

    /// Reads without taking: the next read sees the same bytes.
    ///
    /// # Errors
    /// As for reads.
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        // What was peeked is still there, so nothing was used up.
        self.receive(buf, RecvFlags::PEEK | RecvFlags::DONTWAIT, |_, _| Took::All)
    }

    /// Sets `TCP_NODELAY`: small writes are sent at once.
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket.get().set_nodelay(nodelay)
    }

    /// Whether `TCP_NODELAY` is set.
    ///
    /// # Errors
    /// The operating system's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.get().nodelay()
    }

    /// Sets `SO_LINGER`: how long the close of the socket, by the drop of its last handle, waits for what was not sent yet. With
    /// zero it is thrown away, and the connection is reset. (std: unstable.)
    ///
    /// That wait is the system's, in non-blocking mode too: it blocks the worker. So with more than zero, call
    /// [`shutdown`](Self::shutdown) and read to the end before the drop, or drop the stream in [`unblock`](crate::unblock()).
    ///
    /// # Errors
    /// The operating system's.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        SockRef::from(self.socket.get()).set_linger(linger)
    }

    /// `SO_LINGER`, in whole seconds.
    ///
    /// # Errors
    /// The operating system's.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        SockRef::from(self.socket.get()).linger()
    }

    ttl_methods!();
    timeout_methods!();
    common_methods!();

    #[track_caller]
    fn read_some(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.receive(buf, RecvFlags::DONTWAIT, took)
    }

    #[track_caller]
    fn read_bufs(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFS);
        let bufs = &mut bufs[..count];
        let len = total(bufs.iter().map(|buf| buf.len()));
        if len == 0 {
            return Ok(0); // as readv(2), whatever the socket's state
        }
        self.socket.take(|fd| {
            let n = rustix::io::readv(fd, bufs)?;
            Ok::<_, Errno>((n, took(n, len)))
        })
    }

    #[track_caller]
    fn receive(
        &self,
        buf: &mut [u8],
        flags: RecvFlags,
        took: impl Fn(usize, usize) -> Took,
    ) -> io::Result<usize> {
        let len = buf.len();
        self.socket.take(|fd| {
            let (_, n) = recv(fd, &mut *buf, flags)?;
            Ok::<_, Errno>((n, took(n, len)))
        })
    }
}

stream_io!(TcpStream);
conversions!(TcpStream, std::net::TcpStream, tokio::net::TcpStream);

#[track_caller]
fn connect_to(addr: SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
    source::forbid_worker();
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    let begun = socket.connect(&addr.into());
    let stream = TcpStream::from_nonblocking(socket.into());
    match begun {
        Ok(()) => return Ok(stream),
        // EINTR too leaves the connection on its way: connect(2).
        Err(error) if in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    match stream.socket.source().wait(Interest::WRITABLE, deadline) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "connection timed out",
            ));
        }
        Err(error) => return Err(error),
    }
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

fn in_progress(error: &io::Error) -> bool {
    [Errno::INPROGRESS, Errno::INTR]
        .map(|e| Some(e.raw_os_error()))
        .contains(&error.raw_os_error())
}
