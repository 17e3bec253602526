//! `UnixListener`.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;

use rustix::net::SocketFlags;
use socket2::{SockAddr, SockRef};

use super::stream::UnixStream;
use crate::net::face::{common_methods, conversions};
use crate::net::socket::Socket;
use crate::net::source::Took;

/// A Unix socket that accepts connections, as [`std::os::unix::net::UnixListener`].
///
/// # Cancellation
/// `accept` is a suspension point while it waits. A connection that was taken is returned.
pub struct UnixListener {
    socket: Socket<std_net::UnixListener>,
}

impl UnixListener {
    /// Listens at a path, where it makes a file.
    ///
    /// # Errors
    /// As std's: `AddrInUse` if there is something; `InvalidInput` for a path that cannot be an address.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        UnixListener::new(std_net::UnixListener::bind(path)?)
    }

    /// Listens at an address.
    ///
    /// # Errors
    /// As std's.
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixListener> {
        UnixListener::new(std_net::UnixListener::bind_addr(socket_addr)?)
    }

    fn new(io: std_net::UnixListener) -> io::Result<UnixListener> {
        io.set_nonblocking(true)?;
        let socket = Socket::from_nonblocking(io);
        Ok(UnixListener { socket })
    }

    /// Waits for the next connection. The stream registers with a reactor when it is first waited for.
    ///
    /// # Errors
    /// The operating system's. Most of them say nothing about the next call.
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // socket2's: it reads every address that Linux gives.
        let flags = flags.bits().cast_signed();
        let listener = SockRef::from(self.socket.get());
        let (accepted, addr) = self.socket.take(|_| {
            let accepted = listener.accept4(flags)?;
            Ok::<_, io::Error>((accepted, Took::All))
        })?;
        let stream = std_net::UnixStream::from(accepted);
        let addr = match std_addr(&addr) {
            Some(addr) => addr,
            None => stream.peer_addr()?,
        };
        Ok((UnixStream::from_nonblocking(stream), addr))
    }

    /// Connections without end: `accept` in a loop.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The local address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    common_methods!();
}

conversions!(
    UnixListener,
    std_net::UnixListener,
    tokio::net::UnixListener
);

/// As std has it, if it can be made from outside of std. (A path without room for its NUL cannot.)
fn std_addr(addr: &SockAddr) -> Option<SocketAddr> {
    if let Some(name) = addr.as_abstract_namespace() {
        return SocketAddr::from_abstract_name(name).ok();
    }
    // No path is no name.
    let path = addr.as_pathname().unwrap_or(Path::new(""));
    SocketAddr::from_pathname(path).ok()
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        self.incoming()
    }
}

/// Connections without end: made by [`UnixListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a UnixListener,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<UnixStream>;

    #[track_caller]
    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}
