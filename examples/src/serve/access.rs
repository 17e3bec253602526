//! The access log: one event a request, when its last byte is out or its client is gone.

use std::net::SocketAddr;
use std::time::Instant;

use super::head::Head;
use super::respond::Status;

/// A request being answered; logged when dropped, so that no way out forgets it.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    peer: SocketAddr,
    head: Option<&'a Head>,
    begun: Instant,
    pub(crate) status: Option<Status>,
    /// Bytes of body handed to the kernel.
    pub(crate) bytes: u64,
    pub(crate) complete: bool,
}

impl<'a> Access<'a> {
    pub(crate) fn new(peer: SocketAddr, head: Option<&'a Head>, begun: Instant) -> Access<'a> {
        Access {
            peer,
            head,
            begun,
            status: None,
            bytes: 0,
            complete: false,
        }
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        tracing::info!(
            target: "access",
            peer = %self.peer,
            method = self.head.map_or("-", |head| head.method.name()),
            // The Debug form: a target is the client's text and may hold anything.
            path = self.head.map_or("-", |head| &head.target),
            status = self.status.map_or(0, Status::code),
            bytes = self.bytes,
            micros = self.begun.elapsed().as_micros() as u64,
            aborted = (!self.complete).then_some(true),
        );
    }
}
