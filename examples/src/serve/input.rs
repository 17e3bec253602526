//! What a client has sent and nobody has used yet.
//!
//! Bytes left over after one request are the beginning of the next: that is all there is to
//! pipelining.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::rt::net::TcpStream;

/// Room made for one read. Heads are a few hundred bytes, and ten thousand idle connections each
/// keep this much.
const ROOM: usize = 2 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    start: usize,
    /// The read timeout last set on the socket, so that it is set only when it changes.
    timeout: Option<Duration>,
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    Bytes(usize),
    End,
    TimedOut,
}

impl Input {
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn consume(&mut self, len: usize) {
        self.start += len;
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(ROOM);
            self.start = 0;
        }
    }

    /// Some clients end a body with a line break that belongs to nothing.
    pub(crate) fn skip_blank_lines(&mut self) {
        let blank = self
            .data()
            .iter()
            .take_while(|b| b"\r\n".contains(b))
            .count();
        self.consume(blank);
    }

    /// Reads once, for at most this long.
    pub(crate) fn fill(&mut self, mut stream: &TcpStream, wait: Duration) -> io::Result<Filled> {
        if self.timeout != Some(wait) {
            stream.set_read_timeout(Some(wait))?;
            self.timeout = Some(wait);
        }
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        let len = self.bytes.len();
        self.bytes.resize(len + ROOM, 0);
        let result = retry(|| stream.read(&mut self.bytes[len..]));
        self.bytes
            .truncate(len + result.as_ref().map_or(0, |read| *read));
        match result {
            Ok(0) => Ok(Filled::End),
            Ok(read) => Ok(Filled::Bytes(read)),
            Err(error) if is_timeout(&error) => Ok(Filled::TimedOut),
            Err(error) => Err(error),
        }
    }

    /// Reads once, until this moment at the latest: the way to bound the sum of many reads.
    pub(crate) fn fill_until(
        &mut self,
        stream: &TcpStream,
        deadline: Instant,
    ) -> io::Result<Filled> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Filled::TimedOut);
        }
        self.fill(stream, left)
    }
}

/// What a read or write gives when its time is up: `WouldBlock` here, `TimedOut` on other systems.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
