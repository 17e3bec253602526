//! `UnixDatagram`.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::net::face::{common_methods, conversions, timeout_methods};
use crate::net::socket::Socket;
use crate::net::source::{self, Source};
use crate::net::waiting::{Deadline, Pauses, Wait};
use crate::time;

/// A Unix socket for datagrams, as [`std::os::unix::net::UnixDatagram`].
///
/// Several fibers may use one socket at once, through `&UnixDatagram` or [`try_clone`](Self::try_clone).
///
/// # Cancellation
/// Every operation that waits is a suspension point. A datagram that was taken from the socket was returned
/// to the caller, one whose sending was cut short was not sent, and the socket stays usable.
pub struct UnixDatagram {
    socket: Socket<std_net::UnixDatagram>,
}

impl UnixDatagram {
    /// A socket at a path, where it makes a file.
    ///
    /// # Errors
    /// As std's: `AddrInUse` if there is something; `InvalidInput` for a path that cannot be an address.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        UnixDatagram::new(std_net::UnixDatagram::bind(path)?)
    }

    /// A socket at an address.
    ///
    /// # Errors
    /// As std's.
    pub fn bind_addr(socket_addr: &SocketAddr) -> io::Result<UnixDatagram> {
        UnixDatagram::new(std_net::UnixDatagram::bind_addr(socket_addr)?)
    }

    /// A socket without an address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::new(std_net::UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected with each other, and have no address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (a, b) = std_net::UnixDatagram::pair()?;
        Ok((UnixDatagram::new(a)?, UnixDatagram::new(b)?))
    }

    fn new(io: std_net::UnixDatagram) -> io::Result<UnixDatagram> {
        io.set_nonblocking(true)?;
        let socket = Socket::from_nonblocking(io);
        Ok(UnixDatagram { socket })
    }

    /// Sets whom [`send`](Self::send) sends to and [`recv`](Self::recv) receives from.
    ///
    /// # Errors
    /// As std's.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.socket.get().connect(path)
    }

    /// As [`connect`](Self::connect), to an address.
    ///
    /// # Errors
    /// As std's.
    pub fn connect_addr(&self, socket_addr: &SocketAddr) -> io::Result<()> {
        self.socket.get().connect_addr(socket_addr)
    }

    /// The local address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// Whom the socket is [connected](Self::connect) to.
    ///
    /// # Errors
    /// The operating system's: `NotConnected`.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().peer_addr()
    }

    /// Waits for a datagram. What does not fit into `buf` is lost.
    ///
    /// # Errors
    /// The operating system's; `WouldBlock` after the [read timeout](Self::set_read_timeout).
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let nobody = || SocketAddr::from_pathname("");
        self.socket
            .receive(|io| io.recv_from(buf), || Ok((0, nobody()?)))
    }

    /// As [`recv_from`](Self::recv_from), without the sender's address.
    ///
    /// # Errors
    /// As for `recv_from`.
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(|io| io.recv(buf), || Ok(0))
    }

    /// Sends a datagram to the socket at a path. It waits while there is no room, here or there.
    ///
    /// # Errors
    /// As std's; `WouldBlock` after the [write timeout](Self::set_write_timeout).
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn send_to<P: AsRef<Path>>(&self, buf: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buf, &SocketAddr::from_pathname(path)?)
    }

    /// As [`send_to`](Self::send_to), to an address.
    ///
    /// # Errors
    /// As for `send_to`.
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn send_to_addr(&self, buf: &[u8], socket_addr: &SocketAddr) -> io::Result<usize> {
        let send = || self.socket.try_send(|io| io.send_to_addr(buf, socket_addr));
        let wait = self.socket.writes();
        if wait == Wait::Never {
            return send();
        }
        source::forbid_worker();
        let mut deadline = Deadline::new(wait.timeout());
        let mut pauses = Pauses::new();
        let mut receiver = None;
        loop {
            if let Some(n) = unless_full(send())? {
                return Ok(n);
            }
            deadline.check()?;
            // Events tell this socket of its own buffer only. One that is connected is told of its receiver's queue.
            let receiver = receiver.get_or_insert_with(|| connected(socket_addr));
            match receiver {
                Ok(receiver) => receiver.wait_for_room(deadline.get())?,
                // It may be gone, which the next attempt shows, or there is no descriptor left.
                Err(_) => time::sleep_until(pauses.until(deadline.get())),
            }
            if let Some(n) = unless_full(send())? {
                return Ok(n);
            }
            // Not for ever: where this socket is connected to a third, that is what is waited for.
            let room = self
                .socket
                .source()
                .wait_for_room(Some(pauses.until(deadline.get())));
            unless_full(room)?;
        }
    }

    /// Sends a datagram to whom the socket is [connected](Self::connect) to. It waits while there is no room.
    ///
    /// # Errors
    /// As std's; `WouldBlock` after the [write timeout](Self::set_write_timeout).
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.send(|io| io.send(buf))
    }

    /// Shuts down reading, writing or both; whoever waits there sees the end at once.
    ///
    /// # Errors
    /// The operating system's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.get().shutdown(how)
    }

    timeout_methods!();
    common_methods!();
}

fn connected(to: &SocketAddr) -> io::Result<Source<std_net::UnixDatagram>> {
    let io = std_net::UnixDatagram::unbound()?;
    io.set_nonblocking(true)?;
    io.connect_addr(to)?;
    Ok(Source::new(io))
}

/// `None` where there was no room, or not in time.
fn unless_full<R>(result: io::Result<R>) -> io::Result<Option<R>> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

conversions!(
    UnixDatagram,
    std_net::UnixDatagram,
    tokio::net::UnixDatagram
);
