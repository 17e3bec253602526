//! Reads request bodies and throws them away, so that the next request starts where it should.
//!
//! Nothing here looks at a body; a file server needs none.

use std::io;
use std::time::Instant;

use super::framing::Framing;
use super::input::{Filled, Input};
use super::respond::{Refusal, Status};
use super::rt::net::TcpStream;

/// A chunk-size line or a trailer line longer than this is no honest one.
const MAX_LINE: usize = 4 * 1024;

/// A body being discarded.
#[derive(Debug)]
pub(crate) struct Body<'a> {
    pub(crate) input: &'a mut Input,
    pub(crate) stream: &'a TcpStream,
    pub(crate) deadline: Instant,
    /// How much may still come, the lines between chunks included.
    pub(crate) allowance: u64,
}

/// Why a body could not be discarded.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The client is to be told.
    Refused(Refusal),
    /// There is nobody left to tell.
    Gone(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Gone(error)
    }
}

impl Body<'_> {
    pub(crate) fn discard(mut self, framing: Framing) -> Result<(), Trouble> {
        match framing {
            Framing::Sized(len) => self.skip(len),
            Framing::Chunked => self.skip_chunks(),
        }
    }

    fn skip(&mut self, mut len: u64) -> Result<(), Trouble> {
        self.spend(len)?;
        loop {
            let have = self.input.data().len();
            let step = usize::try_from(len).map_or(have, |len| len.min(have));
            self.input.consume(step);
            len -= step as u64;
            if len == 0 {
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn skip_chunks(&mut self) -> Result<(), Trouble> {
        loop {
            let size = self.chunk_size()?;
            if size == 0 {
                return self.skip_trailers();
            }
            self.skip(size)?;
            while self.input.data().len() < 2 {
                self.fill()?;
            }
            if !self.input.data().starts_with(b"\r\n") {
                return Err(bad("a chunk is longer than its size"));
            }
            self.skip(2)?;
        }
    }

    /// Reads the line before a chunk: hexadecimal digits, then perhaps an extension, which means
    /// nothing to us. Strict, because a line that two readers take for different sizes is how
    /// requests are smuggled.
    fn chunk_size(&mut self) -> Result<u64, Trouble> {
        let end = self.line()?;
        let line = &self.input.data()[..end];
        let size = line.strip_suffix(b"\r\n").and_then(parse_size);
        let size = size.ok_or_else(|| bad("a chunk size is malformed"))?;
        self.skip(end as u64)?;
        Ok(size)
    }

    fn skip_trailers(&mut self) -> Result<(), Trouble> {
        loop {
            let end = self.line()?;
            let blank = matches!(&self.input.data()[..end], b"\n" | b"\r\n");
            self.skip(end as u64)?;
            if blank {
                return Ok(());
            }
        }
    }

    /// Has a whole line in the input; gives its length.
    fn line(&mut self) -> Result<usize, Trouble> {
        loop {
            let data = self.input.data();
            if let Some(end) = data.iter().position(|&b| b == b'\n') {
                return Ok(end + 1);
            }
            if data.len() > MAX_LINE {
                return Err(bad("a line between chunks is too long"));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Trouble> {
        match self.input.fill_until(self.stream, self.deadline)? {
            Filled::Bytes(_) => Ok(()),
            Filled::End => Err(Trouble::Gone(io::ErrorKind::UnexpectedEof.into())),
            Filled::TimedOut => Err(Trouble::Refused(Refusal::new(
                Status::RequestTimeout,
                "the request body took too long",
            ))),
        }
    }

    fn spend(&mut self, len: u64) -> Result<(), Trouble> {
        let Some(left) = self.allowance.checked_sub(len) else {
            return Err(Trouble::Refused(Refusal::new(
                Status::ContentTooLarge,
                "the request body is too large",
            )));
        };
        self.allowance = left;
        Ok(())
    }
}

fn bad(why: &'static str) -> Trouble {
    Trouble::Refused(Refusal::new(Status::BadRequest, why))
}

/// The number at the front of a chunk-size line; `None` if it is anything but plain digits, or too
/// many.
fn parse_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|&b| b == b';').next()?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) || line.contains(&b'\r') {
        return None;
    }
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes() {
        assert_eq!(parse_size(b"0"), Some(0));
        assert_eq!(parse_size(b"1aF"), Some(0x1af));
        assert_eq!(parse_size(b"3;name=\"value\""), Some(3));
        assert_eq!(parse_size(b"ffffffffffffffff"), Some(u64::MAX));
        for bad in [
            "",
            ";x",
            "+1",
            "-1",
            "0x1",
            "1 ",
            " 1",
            "g",
            "1\r",
            "1;\r",
            "10000000000000000",
        ] {
            assert_eq!(parse_size(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
