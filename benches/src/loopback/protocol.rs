//! What client and server say to each other, and who serves it.

use std::io;

use super::server::Serve;
use super::{echo, http};

/// What is said over a connection. One request at a time, and each is answered before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// 64 bytes to and fro.
    Echo,
    /// A GET of HTTP/1.1 on a connection that is kept, answered with a short text.
    Http,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 2] = [Protocol::Echo, Protocol::Http];

    /// What its rows' names begin with, and what it is called on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Echo => "echo",
            Protocol::Http => "http",
        }
    }

    /// Numbers of connections.
    pub(super) fn sizes(self) -> &'static [u64] {
        match self {
            Protocol::Echo => &[1, 50, 1_000, 10_000],
            Protocol::Http => &[1, 50, 1_000],
        }
    }

    /// Ours first.
    pub(super) fn servers(self) -> &'static [(&'static str, Serve)] {
        match self {
            Protocol::Echo => echo::SERVERS,
            Protocol::Http => http::SERVERS,
        }
    }

    pub(super) fn note(self) -> &'static str {
        match self {
            Protocol::Echo => {
                "64 bytes to and fro, each connection with one request under way; server and client on a processor each"
            }
            Protocol::Http => {
                "GET, answered with \"Hello, World!\" and a date, each connection kept and with one request under way; server and client on a processor each; ours is a loop of blocking calls around httparse, which refuses bodies; hyper's knows all of HTTP/1"
            }
        }
    }

    /// The request of this number.
    pub(super) fn request(self, number: u64, into: &mut Vec<u8>) {
        into.clear();
        match self {
            Protocol::Echo => {
                into.extend(number.to_le_bytes());
                into.resize(echo::MESSAGE, 0);
            }
            Protocol::Http => into.extend_from_slice(http::REQUEST),
        }
    }

    /// Whether what has come is the whole answer to the request of this number. If it is not even the beginning of it, that
    /// is an error.
    pub(super) fn is_answered(self, number: u64, received: &[u8]) -> io::Result<bool> {
        match self {
            Protocol::Echo => echo::is_answered(number, received),
            Protocol::Http => http::is_answered(received),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_what_was_sent() {
        let mut request = Vec::new();
        Protocol::Echo.request(7, &mut request);
        assert_eq!(request.len(), 64);
        assert!(Protocol::Echo.is_answered(7, &request).unwrap());
        assert!(!Protocol::Echo.is_answered(7, &request[..63]).unwrap());
        Protocol::Echo.is_answered(8, &request).unwrap_err();
    }

    #[test]
    fn our_side_is_first() {
        for protocol in Protocol::ALL {
            assert_eq!(protocol.servers()[0].0, "sisal");
        }
    }
}
