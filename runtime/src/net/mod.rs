//! Sockets, as `std::net`: the same names and signatures; waiting parks the fiber.
//!
//! On a plain thread the same types block the thread. On a worker's own stack they panic: use
//! tokio's sockets in async code.
//!
//! A socket is registered with the reactor of the worker that first waits for it, so an accepted
//! stream that is handed to a new fiber is served where that fiber runs. It outlives its runtime:
//! in the next one it registers anew.

pub(crate) mod face;
mod listener;
mod options;
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
