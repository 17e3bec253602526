//! Sockets, as `std::net`: the same names and signatures; waiting parks the fiber.
//!
//! On a plain thread the same types block the thread. On a worker's own stack they panic: use
//! tokio's sockets in async code.
//!
//! Host names that are given to `connect`, `bind` and `send_to` as a text, or as a text and a port, are looked up on a
//! thread of the runtime's pool, so a slow server of names holds no worker. [`ToSocketAddrs`] itself is std's, and
//! called by hand it blocks: use [`unblock`](crate::unblock()).
//!
//! All descriptors are in non-blocking mode; `set_nonblocking` says what the user of a socket sees. Sockets that come
//! from std or from a descriptor are put into it, and get back what their user sees when they go there.
//!
//! A socket is registered with the reactor of the worker that first waits for it, so an accepted
//! stream that is handed to a new fiber is served where that fiber runs. It outlives its runtime:
//! in the next one it registers anew.

pub(crate) mod face;
mod listener;
mod options;
mod place;
mod resolve;
pub(crate) mod socket;
pub(crate) mod source;
mod stream;
mod udp;
pub(crate) mod waiting;

pub use listener::{Incoming, TcpListener};
pub use stream::TcpStream;
pub use udp::UdpSocket;

pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
    ToSocketAddrs,
};
