//! `Blocking` over futures' traits.

use std::io::{self, BufRead, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write};
use std::pin::Pin;

use futures_io::{AsyncBufRead, AsyncRead, AsyncSeek, AsyncWrite};

use super::blocking::{Blocking, Futures, filled, wait};

impl<T: AsyncRead + Unpin> Read for Blocking<T, Futures> {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        wait(|cx| Pin::new(&mut self.inner).poll_read(cx, buf))
    }

    #[track_caller]
    fn read_vectored(&mut self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        wait(|cx| Pin::new(&mut self.inner).poll_read_vectored(cx, bufs))
    }
}

impl<T: AsyncBufRead + Unpin> BufRead for Blocking<T, Futures> {
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

impl<T: AsyncWrite + Unpin> Write for Blocking<T, Futures> {
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

impl<T: AsyncWrite + Unpin> Blocking<T, Futures> {
    /// Ends the writing side: flushes it, and tells the peer, if there is one, that no more will come.
    ///
    /// # Errors
    /// Those of its `poll_close`.
    #[track_caller]
    pub fn close(&mut self) -> io::Result<()> {
        wait(|cx| Pin::new(&mut self.inner).poll_close(cx))
    }
}

impl<T: AsyncSeek + Unpin> Seek for Blocking<T, Futures> {
    #[track_caller]
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        wait(|cx| Pin::new(&mut self.inner).poll_seek(cx, to))
    }
}
