//! `TcpListener`.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;

use super::source::{Source, Took};
use super::stream::TcpStream;

/// A TCP socket that accepts connections, as [`std::net::TcpListener`].
///
/// # Cancellation
/// `accept` is a suspension point while it waits. A connection that was taken is returned.
pub struct TcpListener {
    source: Source<std::net::TcpListener>,
}

impl TcpListener {
    /// Listens at the first address that can be bound. See [`std::net::TcpListener::bind`].
    ///
    /// # Errors
    /// As std's: of the last address tried; `InvalidInput` if there is none.
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        let io = std::net::TcpListener::bind(addr)?;
        // Listening anew only sets the queue. std's 128 is soon full when a thousand clients come
        // at once, and who finds it full tries again a second later. As tokio's.
        const BACKLOG: i32 = 1024;
        rustix::net::listen(&io, BACKLOG)?;
        io.set_nonblocking(true)?;
        Ok(TcpListener {
            source: Source::new(io),
        })
    }

    fn socket(&self) -> &std::net::TcpListener {
        self.source.socket()
    }

    /// Waits for the next connection.
    ///
    /// The stream registers with a reactor when it is first waited for: give it to a fiber, and
    /// it is served where that fiber runs.
    ///
    /// # Errors
    /// The operating system's. Most of them (`ConnectionAborted`, no descriptor left) say nothing
    /// about the next call.
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (accepted, addr) = self.source.io(Interest::READABLE, None, |fd| {
            let accepted = acceptfrom_with(fd, flags)?;
            Ok((accepted, Took::All))
        })?;
        let stream = std::net::TcpStream::from(accepted);
        let addr = match addr.and_then(|addr| SocketAddr::try_from(addr).ok()) {
            Some(addr) => addr,
            None => stream.peer_addr()?,
        };
        Ok((TcpStream::from_nonblocking(stream), addr))
    }

    /// Connections without end: `accept` in a loop.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The local address: of interest after binding to port 0.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr()
    }

    /// Another handle to the same socket, with a descriptor of its own.
    ///
    /// # Errors
    /// The operating system's: no descriptor is left.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener {
            source: Source::new(self.socket().try_clone()?),
        })
    }

    /// Sets `IP_TTL` of connections to come.
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
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket().fmt(f)
    }
}

/// Connections without end: made by [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    #[track_caller]
    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl FusedIterator for Incoming<'_> {}
