//! Unix sockets, as `std::os::unix::net`: the same names and signatures; waiting parks the fiber.
//!
//! What is said of [`sisal::net`](crate::net) holds for them. The addresses are std's, so abstract names are
//! made by [`std::os::linux::net::SocketAddrExt`].
//!
//! ```
//! use std::io::{Read, Write};
//! use std::os::linux::net::SocketAddrExt;
//! use sisal::os::unix::net::{SocketAddr, UnixListener, UnixStream};
//!
//! sisal::run(|| -> std::io::Result<()> {
//!     let addr = SocketAddr::from_abstract_name(format!("example {}", std::process::id()))?;
//!     let listener = UnixListener::bind_addr(&addr)?;
//!     let server = sisal::spawn(move || listener.accept()?.0.write_all(b"hello"));
//!     let mut text = String::new();
//!     UnixStream::connect_addr(&addr)?.read_to_string(&mut text)?;
//!     assert_eq!(text, "hello");
//!     server.join().unwrap()
//! })
//! .unwrap();
//! ```

mod datagram;
mod listener;
mod stream;

pub use datagram::UnixDatagram;
pub use listener::{Incoming, UnixListener};
pub use stream::UnixStream;

pub use std::os::unix::net::SocketAddr;
