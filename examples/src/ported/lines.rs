//! Lines in, lines out: what both protocols are made of, and the loop that accepts.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::time::Duration;

use super::rt::net::{TcpListener, TcpStream};
use super::rt::thread;

/// Bytes of a line, its end included. A longer one ends the connection.
const LONGEST: u64 = 4096;

/// After an error of `accept`, which is for want of descriptors or memory: others may give some back.
const REST: Duration = Duration::from_millis(50);

/// Serves each connection on a thread of its own; for ever.
pub(super) fn accept(
    listener: &TcpListener,
    serve: impl Fn(u64, TcpStream) + Clone + Send + 'static,
) -> ! {
    for id in 0.. {
        let stream = loop {
            match listener.accept() {
                Ok((stream, _)) => break stream,
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    thread::sleep(REST);
                }
            }
        };
        let serve = serve.clone();
        let client = thread::Builder::new().name(format!("client {id}"));
        if let Err(error) = client.spawn(move || serve(id, stream)) {
            eprintln!("cannot serve client {id}: {error}");
        }
    }
    unreachable!("2^64 connections")
}

pub(super) struct Input<'a>(BufReader<&'a TcpStream>);

impl<'a> Input<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Input<'a> {
        Input(BufReader::with_capacity(1024, stream))
    }

    /// The next line without its end; `None` at the end of the connection.
    ///
    /// # Errors
    /// `InvalidData` for a line that is too long or not text.
    pub(super) fn line<'l>(&mut self, line: &'l mut String) -> io::Result<Option<&'l str>> {
        line.clear();
        let read = self.0.by_ref().take(LONGEST).read_line(line)?;
        if read == 0 {
            return Ok(None);
        }
        match line.strip_suffix('\n') {
            Some(line) => Ok(Some(line.strip_suffix('\r').unwrap_or(line))),
            // What is cut off by the end of the connection is no line.
            None if read as u64 == LONGEST => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the line is too long",
            )),
            None => Ok(None),
        }
    }

    /// Whether the next line is here already, or part of it.
    pub(super) fn has_more(&self) -> bool {
        !self.0.buffer().is_empty()
    }
}

pub(super) struct Output<'a>(BufWriter<&'a TcpStream>);

impl<'a> Output<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Output<'a> {
        Output(BufWriter::with_capacity(1024, stream))
    }

    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        self.0.write_all(line.as_bytes())?;
        self.0.write_all(b"\n")
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The first word, and what is behind the blank after it.
pub(super) fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

/// A word of a protocol: not empty, no blanks.
pub(super) fn word(text: &str) -> Option<&str> {
    (!text.is_empty() && !text.contains(char::is_whitespace)).then_some(text)
}
