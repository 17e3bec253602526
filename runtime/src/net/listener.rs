//! `TcpListener`.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::face::{common_methods, conversions, ttl_methods};
use super::resolve;
use super::socket::Socket;
use super::source::Took;
use super::stream::TcpStream;

/// A TCP socket that accepts connections, as [`std::net::TcpListener`].
///
/// # Cancellation
/// `accept` is a suspension point while it waits. A connection that was taken is returned.
pub struct TcpListener {
    socket: Socket<std::net::TcpListener>,
}

impl TcpListener {
    /// Listens at the first address that can be bound. See [`std::net::TcpListener::bind`].
    ///
    /// In a fiber a host name (a text, or a text and a port) is looked up on another thread.
    ///
    /// # Errors
    /// As std's: the lookup's; of the last address tried; `InvalidInput` if there is none.
    ///
    /// # Panics
    /// On a worker's own stack, if a name is to be looked up.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<TcpListener> {
        let io = resolve::each(addr, std::net::TcpListener::bind)?;
        // Listening anew only sets the queue. std's 128 is soon full when a thousand clients come
        // at once, and who finds it full tries again a second later. As tokio's.
        const BACKLOG: i32 = 1024;
        rustix::net::listen(&io, BACKLOG)?;
        io.set_nonblocking(true)?;
        let socket = Socket::from_nonblocking(io);
        Ok(TcpListener { socket })
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
        let (accepted, addr) = self.socket.take(|fd| {
            let accepted = acceptfrom_with(fd, flags)?;
            Ok::<_, Errno>((accepted, Took::All))
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
        self.socket.get().local_addr()
    }

    /// Sets `IPV6_V6ONLY`, which has no effect any more on a socket that is bound.
    ///
    /// # Errors
    /// The operating system's.
    #[deprecated = "this option can only be set before the socket is bound"]
    pub fn set_only_v6(&self, only_v6: bool) -> io::Result<()> {
        #[allow(deprecated, reason = "std has it, so this has it")]
        self.socket.get().set_only_v6(only_v6)
    }

    /// `IPV6_V6ONLY`.
    ///
    /// # Errors
    /// The operating system's.
    #[deprecated = "this option can only be set before the socket is bound"]
    pub fn only_v6(&self) -> io::Result<bool> {
        #[allow(deprecated, reason = "std has it, so this has it")]
        self.socket.get().only_v6()
    }

    ttl_methods!();
    common_methods!();
}

conversions!(TcpListener, std::net::TcpListener, tokio::net::TcpListener);

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
