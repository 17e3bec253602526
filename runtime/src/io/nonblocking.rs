//! `Nonblocking`: blocking readers and writers, driven off through the pool.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::panic::resume_unwind;
use std::task::{Context, Poll, ready};

use super::offload::{Lost, Offloaded, offload};

/// A blocking [`Read`], [`Write`] or [`Seek`] as an async one: as `AsyncRead`, `AsyncBufRead`, `AsyncWrite` and `AsyncSeek`, of tokio and
/// of futures.
///
/// Each operation runs on the blocking pool of the caller's runtime, or of the default one, so it may be awaited
/// anywhere: in async code of any executor, and on a worker's own stack. There is one at a time: a write waits for a read
/// that has begun. Where both are to go on at once make two, by `try_clone`.
///
/// A write is done when its bytes, 64 KiB at most, have been taken over. Whether they arrived is said by the next write, by
/// `flush` or by `shutdown`; so flush before you drop it. As for files, `shutdown` is no more than a flush.
///
/// `AsyncBufRead` reads 8 KiB ahead. `SeekFrom::Current` is relative to what was taken, not to what was read ahead. But a write goes where the
/// reader or writer is: where both share a position seek before you write, by `Current(0)` if need be, after a read that was dropped or
/// read ahead. A seek comes after the writes before it, and fails with their error, if there is one, without a step.
///
/// # Panics
/// A panic of the reader or writer comes out of the operation that finds it.
///
/// # Cancellation
/// A read that is dropped goes on: what it gets is given to the next one, and no byte is lost. A write that has
/// returned is done, whatever is dropped. A seek that is dropped takes place, if it has begun. If it is followed by another one tokio's `seek` fails with its
/// error, if it had one; futures' `seek` to the same is then that one.
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
    /// Where a seek was to go, and how it ended, if nobody has asked, and it was the last operation.
    sought: Option<(SeekFrom, io::Result<u64>)>,
}

enum State<T> {
    Here(T),
    Out(Op, Offloaded<(T, Vec<u8>), io::Result<u64>>),
    /// The system had no thread for it, and the pool, which panicked then, has kept it.
    Gone,
}

#[derive(Clone, Copy)]
enum Op {
    Read,
    Write,
    Flush,
    Seek(SeekFrom),
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
            sought: None,
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

    pub(super) fn read_ahead(&self) -> &[u8] {
        &self.read[self.taken..]
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
            // Without what was read ahead, or, if it failed, with it.
            Op::Seek(_) => self.read = buf,
            Op::Flush => {}
        }
        if let (Op::Read, Err(_)) = (op, &result) {
            // It is room, and no bytes.
            self.read.clear();
        }
        let result = match result {
            Ok(result) => result,
            Err(Lost::ShutDown) => Err(io::Error::other(
                "the runtime's blocking threads have shut down",
            )),
            Err(Lost::Panicked(payload)) => resume_unwind(payload),
        };
        match op {
            Op::Read if self.read.is_empty() => self.read_ended = Some(result.map(drop)),
            Op::Read => {}
            Op::Write | Op::Flush => self.write_error = result.err(),
            Op::Seek(to) => {
                if result.is_ok() {
                    // An end that was met at the old place.
                    self.read_ended = None;
                }
                self.sought = Some((to, result));
            }
        }
        Poll::Ready(())
    }
}

impl<T: Send + 'static> Nonblocking<T> {
    /// `f` gets the reader or writer, which is here, and the buffer.
    fn begin<F>(&mut self, op: Op, buf: Vec<u8>, f: F)
    where
        F: FnOnce(&mut T, &mut Vec<u8>) -> io::Result<u64> + Send + 'static,
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
    pub(super) fn poll_read_with(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        if most == 0 {
            return Poll::Ready(Ok(0));
        }
        if ready!(self.poll_read_ahead(cx, most.min(MOST)))? {
            let taken = take(self.read_ahead());
            self.taken += taken;
            return Poll::Ready(Ok(taken));
        }
        Poll::Ready(Ok(0))
    }

    /// Ready when something was read and not taken: true; or at the end.
    pub(super) fn poll_read_ahead(
        &mut self,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<bool>> {
        loop {
            // A seek takes them along.
            if self.read_ahead().is_empty() {
                ready!(self.poll_here(cx, READER));
            }
            self.sought = None;
            if !self.read_ahead().is_empty() {
                return Poll::Ready(Ok(true));
            }
            match self.read_ended.take() {
                Some(ended) => return Poll::Ready(ended.map(|()| false)),
                None => self.begin_read(most),
            }
        }
    }

    /// # Panics
    /// If that is more than is there.
    pub(super) fn take(&mut self, amount: usize) {
        let there = self.read_ahead().len();
        assert!(amount <= there, "consumed {amount} of {there} bytes");
        self.taken += amount;
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
            read.map(|_| 0)
        });
    }
}

impl<T: Write + Send + 'static> Nonblocking<T> {
    pub(super) fn poll_write_from(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_here(cx, WRITER));
        self.sought = None;
        if let Some(error) = self.write_error.take() {
            return Poll::Ready(Err(error));
        }
        let bytes = &bytes[..bytes.len().min(MOST)];
        if !bytes.is_empty() {
            let mut buf = std::mem::take(&mut self.write);
            buf.clear();
            buf.extend_from_slice(bytes);
            self.flushed = false;
            self.begin(Op::Write, buf, |io, buf| io.write_all(buf).map(|()| 0));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    pub(super) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_here(cx, WRITER));
            self.sought = None;
            if let Some(error) = self.write_error.take() {
                return Poll::Ready(Err(error));
            }
            if self.flushed {
                return Poll::Ready(Ok(()));
            }
            self.flushed = true;
            self.begin(Op::Flush, Vec::new(), |io, _| io.flush().map(|()| 0));
        }
    }
}

impl<T: Seek + Send + 'static> Nonblocking<T> {
    /// Ready when the seek that [`begin_seek`](Self::begin_seek) began is over, or nothing is under way: then 0.
    pub(super) fn poll_sought(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        ready!(self.poll_here(cx, WRITER));
        Poll::Ready(match (self.write_error.take(), self.sought.take()) {
            (Some(error), _) => Err(error),
            (None, Some((_, result))) => result,
            (None, None) => Ok(0),
        })
    }

    /// # Errors
    /// Of a write before it; and if something is under way.
    pub(super) fn begin_seek(&mut self, to: SeekFrom) -> io::Result<()> {
        if let State::Out(..) = self.state {
            let text = "an operation is under way: `poll_complete` comes before `start_seek`";
            return Err(io::Error::other(text));
        }
        if let Some(error) = self.write_error.take() {
            return Err(error);
        }
        let mut read = std::mem::take(&mut self.read);
        read.drain(..std::mem::take(&mut self.taken));
        let ahead = read.len() as i64;
        self.begin(Op::Seek(to), read, move |io, read| {
            let to = match to {
                SeekFrom::Current(by) => match by.checked_sub(ahead) {
                    Some(by) => SeekFrom::Current(by),
                    None => {
                        io.seek(SeekFrom::Current(-ahead))?;
                        read.clear();
                        to
                    }
                },
                to => to,
            };
            let at = io.seek(to)?;
            read.clear();
            Ok(at)
        });
        Ok(())
    }

    /// futures' way: the same seek is asked for until it is over.
    pub(super) fn poll_seek_to(
        &mut self,
        cx: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        loop {
            ready!(self.poll_here(cx, WRITER));
            match self.sought.take() {
                Some((asked, result)) if asked == to => return Poll::Ready(result),
                // One that was left.
                _ => self.begin_seek(to)?,
            }
        }
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
