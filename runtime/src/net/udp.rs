//! `UdpSocket`.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::face::{common_methods, conversions, timeout_methods, ttl_methods};
use super::resolve;
use super::socket::Socket;

/// A UDP socket, as [`std::net::UdpSocket`].
///
/// Several fibers may use one socket at once, through `&UdpSocket` or [`try_clone`](Self::try_clone).
///
/// # Cancellation
/// Every operation that waits is a suspension point. A datagram that was taken from the socket was returned
/// to the caller, one whose sending was cut short was not sent, and the socket stays usable.
///
/// ```
/// use sisal::net::UdpSocket;
///
/// sisal::run(|| -> std::io::Result<()> {
///     let server = UdpSocket::bind("127.0.0.1:0")?;
///     let client = UdpSocket::bind("127.0.0.1:0")?;
///     client.send_to(b"hello", server.local_addr()?)?;
///     let mut buf = [0; 16];
///     let (len, from) = server.recv_from(&mut buf)?;
///     assert_eq!(&buf[..len], b"hello");
///     assert_eq!(from, client.local_addr()?);
///     Ok(())
/// })
/// .unwrap();
/// ```
pub struct UdpSocket {
    socket: Socket<std::net::UdpSocket>,
}

/// An option that std's socket has as `$get` and `$set`.
macro_rules! option {
    ($name:literal, $get:ident, $set:ident: $type:ty) => {
        #[doc = concat!("Sets `", $name, "`.")]
        ///
        /// # Errors
        /// The operating system's.
        pub fn $set(&self, $get: $type) -> io::Result<()> {
            self.socket.get().$set($get)
        }

        #[doc = concat!("`", $name, "`.")]
        ///
        /// # Errors
        /// The operating system's.
        pub fn $get(&self) -> io::Result<$type> {
            self.socket.get().$get()
        }
    };
}

impl UdpSocket {
    /// A socket at the first address that can be bound. See [`std::net::UdpSocket::bind`].
    ///
    /// In a fiber a host name (a text, or a text and a port) is looked up on another thread.
    ///
    /// # Errors
    /// As std's: the lookup's; of the last address tried; `InvalidInput` if there is none.
    ///
    /// # Panics
    /// On a worker's own stack, if a name is to be looked up.
    #[track_caller]
    pub fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<UdpSocket> {
        let io = resolve::each(addr, std::net::UdpSocket::bind)?;
        io.set_nonblocking(true)?;
        let socket = Socket::from_nonblocking(io);
        Ok(UdpSocket { socket })
    }

    /// Sets whom [`send`](Self::send) sends to and [`recv`](Self::recv) receives from: the first address that
    /// can be connected to.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    ///
    /// # Panics
    /// On a worker's own stack, if a name is to be looked up.
    #[track_caller]
    pub fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        resolve::each(addr, |addr| self.socket.get().connect(addr))
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
        self.socket
            .receive(|io| io.recv_from(buf), || Err(nobody()))
    }

    /// As [`recv_from`](Self::recv_from), without taking the datagram.
    ///
    /// # Errors
    /// As for `recv_from`.
    #[track_caller]
    pub fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket
            .receive(|io| io.peek_from(buf), || Err(nobody()))
    }

    /// As [`recv_from`](Self::recv_from), for a socket that is [connected](Self::connect).
    ///
    /// # Errors
    /// As for `recv_from`.
    #[track_caller]
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(|io| io.recv(buf), || Ok(0))
    }

    /// As [`recv`](Self::recv), without taking the datagram.
    ///
    /// # Errors
    /// As for `recv_from`.
    #[track_caller]
    pub fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.receive(|io| io.peek(buf), || Ok(0))
    }

    /// Sends a datagram to the first of the addresses. It waits while the socket's buffer is full.
    ///
    /// # Errors
    /// The lookup's; `InvalidInput` if there is no address; the operating system's; `WouldBlock` after the
    /// [write timeout](Self::set_write_timeout).
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let addr = resolve::first(addr)?;
        self.socket.send(|io| io.send_to(buf, addr))
    }

    /// As [`send_to`](Self::send_to), for a socket that is [connected](Self::connect).
    ///
    /// # Errors
    /// The operating system's; `WouldBlock` after the [write timeout](Self::set_write_timeout).
    #[track_caller]
    pub fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.send(|io| io.send(buf))
    }

    /// Whom the socket is [connected](Self::connect) to.
    ///
    /// # Errors
    /// The operating system's: `NotConnected`.
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

    option!("SO_BROADCAST", broadcast, set_broadcast: bool);
    option!("IP_MULTICAST_LOOP", multicast_loop_v4, set_multicast_loop_v4: bool);
    option!("IP_MULTICAST_TTL", multicast_ttl_v4, set_multicast_ttl_v4: u32);
    option!("IPV6_MULTICAST_LOOP", multicast_loop_v6, set_multicast_loop_v6: bool);

    /// Joins a group (`IP_ADD_MEMBERSHIP`), by the interface with that address; unspecified: any.
    ///
    /// # Errors
    /// The operating system's.
    pub fn join_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.get().join_multicast_v4(multiaddr, interface)
    }

    /// Joins a group (`IPV6_ADD_MEMBERSHIP`), by the interface with that index; 0: any.
    ///
    /// # Errors
    /// The operating system's.
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.get().join_multicast_v6(multiaddr, interface)
    }

    /// Leaves a group (`IP_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// The operating system's.
    pub fn leave_multicast_v4(&self, multiaddr: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        self.socket.get().leave_multicast_v4(multiaddr, interface)
    }

    /// Leaves a group (`IPV6_DROP_MEMBERSHIP`).
    ///
    /// # Errors
    /// The operating system's.
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.get().leave_multicast_v6(multiaddr, interface)
    }

    ttl_methods!();
    timeout_methods!();
    common_methods!();
}

/// As in std, where reading was shut down: there is no sender.
fn nobody() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "there is no sender: the socket was shut down",
    )
}

conversions!(UdpSocket, std::net::UdpSocket, tokio::net::UdpSocket);
