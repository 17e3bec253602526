//! `Blocking`, and its impls over tokio's traits.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};

use crate::block_on::block_on;
use crate::current;

/// An async reader or writer as a blocking one: `AsyncRead`, `AsyncWrite`, `AsyncSeek` and `AsyncBufRead`, tokio's or futures',
/// as [`Read`], [`Write`], [`Seek`] and [`BufRead`].
///
/// Made by [`Blocking::tokio`] or [`Blocking::futures`], for which the second type parameter stands. What is not
/// `Unpin` goes in as `Box::pin(value)`. In a fiber an operation parks the fiber; on a plain thread it blocks the
/// thread, while somebody else drives the runtime that the value belongs to.
///
/// # Panics
/// Operations, on a worker's own stack: await the value inside there.
///
/// # Cancellation
/// Operations are suspension points while they wait. One that is left has not taken or given a byte; a seek may
/// take place later.
///
/// ```
/// use std::io::{BufRead, BufReader, Write};
/// use sisal::io::Blocking;
///
/// sisal::run(|| -> std::io::Result<()> {
///     let (near, far) = tokio::io::duplex(16); // any tokio stream: TLS, a pipe, a test's
///     let echo = sisal::spawn(move || -> std::io::Result<()> {
///         let mut far = BufReader::new(Blocking::tokio(far));
///         let mut line = String::new();
///         far.read_line(&mut line)?;
///         far.get_mut().write_all(line.to_uppercase().as_bytes())
///     });
///     let mut near = BufReader::new(Blocking::tokio(near));
///     writeln!(near.get_mut(), "hello")?;
///     let mut line = String::new();
///     near.read_line(&mut line)?;
///     assert_eq!(line, "HELLO\n");
///     echo.join().unwrap()
/// })
/// .unwrap();
/// ```
pub struct Blocking<T, Family = Tokio> {
    pub(super) inner: T,
    family: PhantomData<fn() -> Family>,
}

/// The async traits of tokio: `tokio::io`.
#[derive(Debug)]
pub enum Tokio {}

/// The async traits of futures: `futures::io`.
#[derive(Debug)]
pub enum Futures {}

impl<T> Blocking<T, Tokio> {
    /// Over tokio's traits.
    pub fn tokio(inner: T) -> Blocking<T, Tokio> {
        let family = PhantomData;
        Blocking { inner, family }
    }
}

impl<T> Blocking<T, Futures> {
    /// Over futures' traits.
    pub fn futures(inner: T) -> Blocking<T, Futures> {
        let family = PhantomData;
        Blocking { inner, family }
    }
}

impl<T, Family> Blocking<T, Family> {
    /// The async value.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// The async value.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// The async value.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: fmt::Debug, Family> fmt::Debug for Blocking<T, Family> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocking").field(&self.inner).finish()
    }
}

impl<T: Clone, Family> Clone for Blocking<T, Family> {
    fn clone(&self) -> Blocking<T, Family> {
        Blocking {
            inner: self.inner.clone(),
            family: PhantomData,
        }
    }
}

/// Waits until `poll` is ready.
#[track_caller]
pub(super) fn wait<R>(poll: impl FnMut(&mut Context<'_>) -> Poll<R>) -> R {
    current::forbid_worker("io::Blocking", "await the value inside there");
    block_on(poll_fn(poll))
}

/// What a `poll_fill_buf` that was ready, with something in its buffer, gives when it is asked again.
pub(super) fn filled<'a>(
    poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<&'a [u8]>>,
) -> io::Result<&'a [u8]> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(filled) => filled,
        // Not what it should say. Callers ask again after this one.
        Poll::Pending => Err(ErrorKind::Interrupted.into()),
    }
}

impl<T: AsyncRead + Unpin> Read for Blocking<T, Tokio> {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        wait(|cx| {
            let mut read = ReadBuf::new(buf);
            let polled = Pin::new(&mut self.inner).poll_read(cx, &mut read);
            polled.map_ok(|()| read.filled().len())
        })
    }
}

impl<T: AsyncBufRead + Unpin> BufRead for Blocking<T, Tokio> {
    #[track_caller]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let at_end = wait(|cx| {
            let polled = Pin::new(&mut self.inner).poll_fill_buf(cx);
            polled.map_ok(<[u8]>::is_empty)
        })?;
        match at_end {
            true => Ok(&[]),
            false => filled(|cx| Pin::new(&mut self.inner).poll_fill_buf(cx)),
        }
    }

    fn consume(&mut self, amount: usize) {
        Pin::new(&mut self.inner).consume(amount);
    }
}

impl<T: AsyncWrite + Unpin> Write for Blocking<T, Tokio> {
    #[track_caller]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        wait(|cx| Pin::new(&mut self.inner).poll_write(cx, buf))
    }

    #[track_caller]
    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        wait(|cx| Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))
    }

    #[track_caller]
    fn flush(&mut self) -> io::Result<()> {
        wait(|cx| Pin::new(&mut self.inner).poll_flush(cx))
    }
}

impl<T: AsyncWrite + Unpin> Blocking<T, Tokio> {
    /// Ends the writing side: flushes it, and tells the peer, if there is one, that no more will come.
    ///
    /// # Errors
    /// Those of its `poll_shutdown`.
    #[track_caller]
    pub fn shutdown(&mut self) -> io::Result<()> {
        wait(|cx| Pin::new(&mut self.inner).poll_shutdown(cx))
    }
}

impl<T: AsyncSeek + Unpin> Seek for Blocking<T, Tokio> {
    #[track_caller]
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        // One that was left in the middle has to be over before the next begins.
        wait(|cx| Pin::new(&mut self.inner).poll_complete(cx))?;
        Pin::new(&mut self.inner).start_seek(to)?;
        wait(|cx| Pin::new(&mut self.inner).poll_complete(cx))
    }
}
