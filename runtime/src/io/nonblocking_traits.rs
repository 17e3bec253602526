//! `Nonblocking` as tokio's and futures' traits.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::nonblocking::Nonblocking;

/// So much is read ahead for who reads in a buffer: as std's `BufReader`.
const AHEAD: usize = 8 * 1024;

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

impl<T: Read + Send + 'static> tokio::io::AsyncBufRead for Nonblocking<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_read_ahead(cx, AHEAD))?;
        Poll::Ready(Ok(this.read_ahead()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().take(amount);
    }
}

impl<T: Read + Send + 'static> futures_io::AsyncBufRead for Nonblocking<T> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        ready!(this.poll_read_ahead(cx, AHEAD))?;
        Poll::Ready(Ok(this.read_ahead()))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().take(amount);
    }
}

impl<T: Seek + Send + 'static> tokio::io::AsyncSeek for Nonblocking<T> {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        self.get_mut().begin_seek(to)
    }

    fn poll_complete(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        self.get_mut().poll_sought(cx)
    }
}

impl<T: Seek + Send + 'static> futures_io::AsyncSeek for Nonblocking<T> {
    fn poll_seek(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: SeekFrom,
    ) -> Poll<io::Result<u64>> {
        self.get_mut().poll_seek_to(cx, to)
    }
}
