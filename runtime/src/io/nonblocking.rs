//! `Nonblocking`: blocking readers and writers, driven off through the pool.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::resume_unwind;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::offload::{Lost, Offloaded, offload};

/// A blocking [`Read`] or [`Write`] as an async one: as `AsyncRead` and `AsyncWrite`, of tokio and of futures.
///
/// Each operation runs on the blocking pool of the caller's runtime, or of the default one, so it may be awaited
/// anywhere: in async code of any executor, and on a worker's own stack. There is one at a time: a write waits for a read
/// that has begun. Where both are to go on at once make two, by `try_clone`.
///
/// A write is done when its bytes, 64 KiB at most, have been taken over. Whether they arrived is said by the next write, by
/// `flush` or by `shutdown`; so flush before you drop it. As for files, `shutdown` is no more than a flush.
///
/// # Panics
/// A panic of the reader or writer comes out of the operation that finds it.
///
/// # Cancellation
/// A read that is dropped goes on: what it gets is given to the next one, and no byte is lost. A write that has
/// returned is done, whatever is dropped.
///
/// ```
/// use sisal::io::Nonblocking;
/// use tokio::io::AsyncReadExt;
///
/// # #[tokio::main]
/// # async fn main() -> std::io::Result<()> {
/// let mut manifest = Nonblocking::new(std::fs::File::open("Cargo.toml")?);
/// let mut text = String::new();
/// manifest.read_to_string(&mut text).await?;
/// assert!(text.contains("[package]"));
/// # Ok(())
/// # }
/// ```
pub struct Nonblocking<T> {
    state: State<T>,
    /// What was read and not yet taken: from `taken` on.
    read: Vec<u8>,
    taken: usize,
    /// How a read ended that gave nothing, and that nobody has asked about; with `Ok`, at the end.
    read_ended: Option<io::Result<()>>,
    /// Room for a write.
    write: Vec<u8>,
    write_error: Option<io::Error>,
    flushed: bool,
}

enum State<T> {
    Here(T),
    Out(Op, Offloaded<(T, Vec<u8>), io::Result<()>>),
    /// The system had no thread for it, and the pool, which panicked then, has kept it.
    Gone,
}

#[derive(Clone, Copy)]
enum Op {
    Read,
    Write,
    Flush,
}

/// Who waits for the operation: halves of a `split` are tasks of their own.
const READER: usize = 0;
const WRITER: usize = 1;

/// Bytes of one operation, as tokio's files have it: more only takes memory.
const MOST: usize = 64 * 1024;

#[cold]
fn gone() -> ! {
    panic!("a `Nonblocking` that was lost when the system had no thread for it")
}

impl<T> Nonblocking<T> {
    /// Over `io`, which nobody else has to know about.
    pub fn new(io: T) -> Nonblocking<T> {
        Nonblocking {
            state: State::Here(io),
            read: Vec::new(),
            taken: 0,
            read_ended: None,
            write: Vec::new(),
            write_error: None,
            flushed: true,
        }
    }

    /// Waits for the operation that has begun, if any; the reader or writer, and the bytes that were read and not yet
    /// taken. A write's error that nobody has asked about is lost: flush before.
    ///
    /// # Panics
    /// If the operation did.
    pub async fn into_inner(mut self) -> (T, Vec<u8>) {
        poll_fn(|cx| self.poll_here(cx, READER)).await;
        self.read.drain(..self.taken);
        match self.state {
            State::Here(io) => (io, self.read),
            State::Out(..) | State::Gone => gone(),
        }
    }

    /// Ready when no operation is under way.
    fn poll_here(&mut self, cx: &mut Context<'_>, side: usize) -> Poll<()> {
        let State::Out(op, offloaded) = &mut self.state else {
            return Poll::Ready(());
        };
        let op = *op;
        let ((io, buf), result) = ready!(offloaded.poll(cx, side));
        self.state = State::Here(io);
        match op {
            Op::Read => (self.read, self.taken) = (buf, 0),
            Op::Write => self.write = buf,
            Op::Flush => {}
        }
        let result = match result {
            Ok(result) => result,
            Err(Lost::ShutDown) => Err(io::Error::other(
                "the runtime's blocking threads have shut down",
            )),
            Err(Lost::Panicked(payload)) => {
                self.read.clear();
                resume_unwind(payload)
            }
        };
        match op {
            Op::Read if self.read.is_empty() => self.read_ended = Some(result),
            Op::Read => {}
            Op::Write | Op::Flush => self.write_error = result.err(),
        }
        Poll::Ready(())
    }
}

impl<T: Send + 'static> Nonblocking<T> {
    /// `f` gets the reader or writer, which is here, and the buffer.
    fn begin<F>(&mut self, op: Op, buf: Vec<u8>, f: F)
    where
        F: FnOnce(&mut T, &mut Vec<u8>) -> io::Result<()> + Send + 'static,
    {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Here(io) => {
                let offloaded = offload((io, buf), |(io, buf)| f(io, buf));
                self.state = State::Out(op, offloaded);
            }
            State::Out(..) | State::Gone => gone(),
        }
    }
}

impl<T: Read + Send + 'static> Nonblocking<T> {
    /// Reads up to `most` bytes, and gives them to `take`, which says how many it took.
    fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        if most == 0 {
            return Poll::Ready(Ok(0));
        }
        loop {
            if self.taken < self.read.len() {
                let taken = take(&self.read[self.taken..]);
                self.taken += taken;
                return Poll::Ready(Ok(taken));
            }
            ready!(self.poll_here(cx, READER));
            if self.taken < self.read.len() {
                continue;
            }
            match self.read_ended.take() {
                Some(ended) => return Poll::Ready(ended.map(|()| 0)),
                None => self.begin_read(most.min(MOST)),
            }
        }
    }

    fn begin_read(&mut self, most: usize) {
        let mut buf = std::mem::take(&mut self.read);
        self.taken = 0;
        buf.clear();
        buf.resize(most, 0);
        self.begin(Op::Read, buf, |io, buf| {
            let read = loop {
                match io.read(buf) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    read => break read,
                }
            };
            buf.truncate(*read.as_ref().unwrap_or(&0));
            read.map(drop)
        });
    }
}

impl<T: Write + Send + 'static> Nonblocking<T> {
    fn poll_write_from(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_here(cx, WRITER));
        if let Some(error) = self.write_error.take() {
            return Poll::Ready(Err(error));
        }
        let bytes = &bytes[..bytes.len().min(MOST)];
        if !bytes.is_empty() {
            let mut buf = std::mem::take(&mut self.write);
            buf.clear();
            buf.extend_from_slice(bytes);
            self.flushed = false;
            self.begin(Op::Write, buf, |io, buf| io.write_all(buf));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_here(cx, WRITER));
            if let Some(error) = self.write_error.take() {
                return Poll::Ready(Err(error));
            }
            if self.flushed {
                return Poll::Ready(Ok(()));
            }
            self.flushed = true;
            self.begin(Op::Flush, Vec::new(), |io, _| io.flush());
        }
    }
}

impl<T: Read + Send + 'static> tokio::io::AsyncRead for Nonblocking<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        let read = self.get_mut().poll_read_with(cx, room, |bytes| {
            let taken = bytes.len().min(room);
            buf.put_slice(&bytes[..taken]);
            taken
        });
        read.map_ok(drop)
    }
}

impl<T: Read + Send + 'static> futures_io::AsyncRead for Nonblocking<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_read_with(cx, buf.len(), |bytes| {
            let taken = bytes.len().min(buf.len());
            buf[..taken].copy_from_slice(&bytes[..taken]);
            taken
        })
    }
}

impl<T: Write + Send + 'static> tokio::io::AsyncWrite for Nonblocking<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_from(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }
}

impl<T: Write + Send + 'static> futures_io::AsyncWrite for Nonblocking<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_from(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flushed(cx)
    }
}

// It is moved to the pool and back.
impl<T> Unpin for Nonblocking<T> {}

impl<T> fmt::Debug for Nonblocking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let busy = matches!(self.state, State::Out(..));
        f.debug_struct("Nonblocking")
            .field("busy", &busy)
            .finish_non_exhaustive()
    }
}
