//! `UnixStream`.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{self as std_net, SocketAddr};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SocketAddrUnix, SocketFlags,
    SocketType, recvmsg, socket_with,
};

use crate::current::{self, ThreadState};
use crate::net::face::{common_methods, conversions, stream_io, timeout_methods};
use crate::net::socket::{MAX_BUFS, Socket, took, total};
use crate::net::source::{self, Took};
use crate::net::waiting::Pauses;
use crate::time;

/// A stream between two Unix sockets, as [`std::os::unix::net::UnixStream`].
///
/// Several fibers may use one stream at once, through `&UnixStream` or
/// [`try_clone`](Self::try_clone).
///
/// # Cancellation
/// Every operation that waits is a suspension point. A byte that was taken from the socket was
/// returned to the caller: nothing is lost by an unwind, and the socket stays usable.
pub struct UnixStream {
    socket: Socket<std_net::UnixStream>,
}

impl UnixStream {
    /// `io` is in non-blocking mode.
    pub(super) fn from_nonblocking(io: std_net::UnixStream) -> UnixStream {
        let socket = Socket::from_nonblocking(io);
        UnixStream { socket }
    }

    /// Connects to the socket that listens at a path. While its queue is full this waits; in a fiber it looks
    /// again every few milliseconds, because the system tells no one when there is room.
    ///
    /// # Errors
    /// As std's.
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        source::forbid_worker();
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to an address. See [`connect`](Self::connect).
    ///
    /// # Errors
    /// As std's.
    ///
    /// # Panics
    /// On a worker's own stack.
    #[track_caller]
    pub fn connect_addr(socket_addr: &SocketAddr) -> io::Result<UnixStream> {
        source::forbid_worker();
        let ThreadState::Fiber(running) = current::state() else {
            let io = std_net::UnixStream::connect_addr(socket_addr)?;
            io.set_nonblocking(true)?;
            return Ok(UnixStream::from_nonblocking(io));
        };
        let addr = system_addr(socket_addr)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let io = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let mut pauses = Pauses::new();
        running.pace();
        loop {
            match rustix::net::connect(&io, &addr) {
                Ok(()) => return Ok(UnixStream::from_nonblocking(io.into())),
                Err(Errno::AGAIN) => time::sleep_until(pauses.until(None)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Two streams that are connected with each other, and have no address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (a, b) = std_net::UnixStream::pair()?;
        a.set_nonblocking(true)?;
        b.set_nonblocking(true)?;
        Ok((
            UnixStream::from_nonblocking(a),
            UnixStream::from_nonblocking(b),
        ))
    }

    /// The local address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().local_addr()
    }

    /// The remote address.
    ///
    /// # Errors
    /// The operating system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.get().peer_addr()
    }

    /// Shuts down reading, writing or both; whoever waits there sees the end at once.
    ///
    /// # Errors
    /// The operating system's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.get().shutdown(how)
    }

    timeout_methods!();
    common_methods!();

    #[track_caller]
    fn read_some(&self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len();
        self.receive(&mut [IoSliceMut::new(buf)], len)
    }

    #[track_caller]
    fn read_bufs(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = bufs.len().min(MAX_BUFS);
        let bufs = &mut bufs[..count];
        let len = total(bufs.iter().map(|buf| buf.len()));
        if len == 0 {
            return Ok(0); // as readv(2), whatever the socket's state
        }
        self.receive(bufs, len)
    }

    #[track_caller]
    fn receive(&self, bufs: &mut [IoSliceMut<'_>], len: usize) -> io::Result<usize> {
        self.socket.take(|fd| {
            let mut none = RecvAncillaryBuffer::default();
            let got = recvmsg(fd, &mut *bufs, &mut none, RecvFlags::DONTWAIT)?;
            // A read ends at descriptors and credentials that came with the bytes, whatever follows.
            let took = match got.flags.contains(ReturnFlags::CTRUNC) {
                true => Took::All,
                false => took(got.bytes, len),
            };
            Ok::<_, Errno>((got.bytes, took))
        })
    }
}

stream_io!(UnixStream);
conversions!(UnixStream, std_net::UnixStream, tokio::net::UnixStream);

/// As the system calls of [`rustix`] take it.
fn system_addr(addr: &SocketAddr) -> io::Result<SocketAddrUnix> {
    Ok(match (addr.as_pathname(), addr.as_abstract_name()) {
        (Some(path), _) => SocketAddrUnix::new(path)?,
        (None, Some(name)) => SocketAddrUnix::new_abstract_name(name)?,
        (None, None) => SocketAddrUnix::new_unnamed(),
    })
}
