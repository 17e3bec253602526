//! `UnixListener`.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix, SocketFlags, acceptfrom_with};

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
        let (accepted, addr) = self.socket.take(|fd| {
            let accepted = acceptfrom_with(fd, flags)?;
            Ok::<_, Errno>((accepted, Took::All))
        })?;
        let stream = std_net::UnixStream::from(accepted);
        let addr = match addr.and_then(std_addr) {
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
fn std_addr(addr: SocketAddrAny) -> Option<SocketAddr> {
    let addr = SocketAddrUnix::try_from(addr).ok()?;
    if let Some(name) = addr.abstract_name() {
        return SocketAddr::from_abstract_name(name).ok();
    }
    // No path is no name.
    let path = addr.path_bytes().unwrap_or_default();
    SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)).ok()
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
