//! Waiting for descriptors that are seldom waited for: pipes, and the ends of child processes.
//!
//! Each wait registers anew with the reactor of the worker that it is on, and deregisters when it is over. That is two
//! system calls more than a socket pays, and nothing is kept that could outlive its runtime.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::task::Poll;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::block_on::block_on;
use crate::current::{self, ThreadState};
use crate::keep::keep;

/// How a descriptor is to be ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    Reading,
    Writing,
}

/// Waits until one of the descriptors is ready, or has an error to tell. In a fiber, or on a plain thread: whoever calls
/// has looked (S10).
///
/// # Errors
/// The operating system's: none is left for the reactor.
#[track_caller]
pub(crate) fn ready(fds: &[BorrowedFd<'_>], what: For) -> io::Result<()> {
    match current::state() {
        ThreadState::Plain => poll_thread(fds, what),
        ThreadState::Fiber(_) | ThreadState::Worker => {
            let registered: Vec<_> = fds
                .iter()
                .map(|fd| Registered::new(*fd, what))
                .collect::<io::Result<_>>()?;
            block_on(poll_fn(|cx| {
                for fd in &registered {
                    let polled = keep(|| match what {
                        For::Reading => fd.0.poll_read_ready(cx).map_ok(drop),
                        For::Writing => fd.0.poll_write_ready(cx).map_ok(drop),
                    });
                    if polled.is_ready() {
                        return polled;
                    }
                }
                Poll::Pending
            }))
        }
    }
}

/// Registered with the reactor of this worker.
struct Registered<'a>(AsyncFd<Either<'a>>);

/// epoll knows a descriptor once: for a second fiber that waits for it, it takes another.
enum Either<'a> {
    Itself(BorrowedFd<'a>),
    Another(OwnedFd),
}

impl AsRawFd for Either<'_> {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Either::Itself(fd) => fd.as_raw_fd(),
            Either::Another(fd) => fd.as_raw_fd(),
        }
    }
}

impl<'a> Registered<'a> {
    fn new(fd: BorrowedFd<'a>, what: For) -> io::Result<Registered<'a>> {
        let interest = match what {
            For::Reading => Interest::READABLE,
            For::Writing => Interest::WRITABLE,
        };
        // SAFETY: either is open, and the same descriptor, for as long as the registration has it.
        let register =
            |fd| unsafe { current::with_reactor(|| AsyncFd::register_with_interest(fd, interest)) };
        let error = match register(Either::Itself(fd)) {
            Ok(registered) => return Ok(Registered(registered)),
            Err(error) => io::Error::from(error),
        };
        if error.kind() != ErrorKind::AlreadyExists {
            return Err(error);
        }
        let another = Either::Another(fd.try_clone_to_owned()?);
        Ok(Registered(register(another)?))
    }
}

fn poll_thread(fds: &[BorrowedFd<'_>], what: For) -> io::Result<()> {
    let flags = match what {
        For::Reading => PollFlags::IN,
        For::Writing => PollFlags::OUT,
    };
    let mut fds: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, flags))
        .collect();
    loop {
        match poll(&mut fds, None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
