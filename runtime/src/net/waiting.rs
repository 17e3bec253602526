//! How long an operation of a socket waits, and how a thread does it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::Interest;

use crate::time::timer;

/// What an operation does that finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It fails at once: the socket is in non-blocking mode.
    Never,
    /// It waits for so long.
    For(Duration),
    /// It waits.
    Ever,
}

impl Wait {
    pub(crate) fn timeout(self) -> Option<Duration> {
        match self {
            Wait::For(timeout) => Some(timeout),
            Wait::Never | Wait::Ever => None,
        }
    }
}

/// Why an attempt came to nothing.
pub(crate) enum Reason {
    /// There is nothing, or no room.
    Again,
    Interrupted,
    Other,
}

/// An attempt's error: the system's, as rustix or as std has it.
pub(crate) trait Failure: Into<io::Error> {
    fn reason(&self) -> Reason;
}

impl Failure for Errno {
    fn reason(&self) -> Reason {
        match *self {
            Errno::AGAIN => Reason::Again,
            Errno::INTR => Reason::Interrupted,
            _ => Reason::Other,
        }
    }
}

impl Failure for io::Error {
    fn reason(&self) -> Reason {
        match self.kind() {
            io::ErrorKind::WouldBlock => Reason::Again,
            io::ErrorKind::Interrupted => Reason::Interrupted,
            _ => Reason::Other,
        }
    }
}

/// The end of an operation's wait, computed only if it has one.
pub(crate) struct Deadline {
    timeout: Option<Duration>,
    at: Option<Instant>,
}

impl Deadline {
    pub(crate) fn new(timeout: Option<Duration>) -> Deadline {
        Deadline { timeout, at: None }
    }

    pub(crate) fn get(&mut self) -> Option<Instant> {
        let timeout = self.timeout?;
        Some(*self.at.get_or_insert_with(|| timer::after(timeout)))
    }

    /// For waits that end at once, again and again: nobody else would look at the clock.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match self.get() {
            Some(at) if Instant::now() >= at => Err(Errno::AGAIN.into()),
            _ => Ok(()),
        }
    }
}

/// Pauses between looks at what no event tells of, each longer than the one before.
pub(crate) struct Pauses(Duration);

impl Pauses {
    /// A fiber's timers tell no shorter time.
    const FIRST: Duration = Duration::from_millis(1);
    const LONGEST: Duration = Duration::from_millis(32);

    pub(crate) fn new() -> Pauses {
        Pauses(Self::FIRST)
    }

    /// The end of the next pause, and not after `deadline`.
    pub(crate) fn until(&mut self, deadline: Option<Instant>) -> Instant {
        let end = timer::after(self.0);
        self.0 = (self.0 * 2).min(Self::LONGEST);
        deadline.map_or(end, |deadline| deadline.min(end))
    }
}

/// Whether a write would not wait now, or fail.
pub(super) fn has_room(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    loop {
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits with poll(2), for threads that no reactor serves. Whether the end was seen of what can be read.
pub(super) fn poll_thread(
    fd: BorrowedFd<'_>,
    interest: Interest,
    deadline: Option<Instant>,
) -> io::Result<bool> {
    let flags = match interest.is_readable() {
        true => PollFlags::IN | PollFlags::RDHUP,
        false => PollFlags::OUT,
    };
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
        match poll(&mut fds, left.as_ref()) {
            Ok(0) => return Err(Errno::AGAIN.into()),
            Ok(_) => return Ok(fds[0].revents().contains(PollFlags::RDHUP)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
