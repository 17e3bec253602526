//! A socket that fibers and threads wait for, whoever uses it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use crate::block_on::block_on_until;
use crate::current::{self, ThreadState};
use crate::fiber::Running;
use crate::shim::{AtomicBool, Ordering};
use crate::time::timer;

/// So many operations that are ready at once, then the fiber yields: as tokio's budget.
const READY_OPS: u32 = 128;

/// One of std's sockets, in non-blocking mode, and its registrations.
///
/// The first is made by the worker that first waits. Another is added when the runtime of the one
/// before has gone; the list only grows, so operations under way keep what they use.
///
/// Registrations are dropped before the socket is closed: by the order of the fields. The socket
/// is shown by shared reference only, so its descriptor stays what it is.
pub(super) struct Source<S> {
    first: OnceLock<Box<Registration>>,
    socket: S,
}

struct Registration {
    fd: AsyncFd<Raw>,
    gone: AtomicBool,
    next: OnceLock<Box<Registration>>,
}

/// The descriptor of a `Source`'s socket.
struct Raw(RawFd);

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// What an operation did with what was ready.
pub(super) enum Took {
    /// As much as it asked for: there may be more.
    All,
    /// Less than it asked for: it used all that there was. (On a stream under edge-triggered epoll;
    /// epoll(7), question 9.) Saves the next operation a system call that finds nothing.
    Less,
}

impl<S: AsFd> Source<S> {
    /// `socket` is in non-blocking mode.
    pub(super) fn new(socket: S) -> Source<S> {
        let first = OnceLock::new();
        Source { first, socket }
    }

    pub(super) fn socket(&self) -> &S {
        &self.socket
    }

    /// Repeats `attempt`, which does not block, until it does something else than find nothing.
    ///
    /// # Errors
    /// `attempt`'s; `WouldBlock` after `timeout`, as std's sockets on Unix; the operating system's,
    /// for epoll.
    #[track_caller]
    pub(super) fn io<R>(
        &self,
        interest: Interest,
        timeout: Option<Duration>,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> Result<(R, Took), Errno>,
    ) -> io::Result<R> {
        let mut deadline = Deadline::new(timeout);
        match current::state() {
            ThreadState::Fiber(running) => {
                pace(running);
                self.on_fiber(interest, deadline, attempt)
            }
            ThreadState::Plain => {
                let fd = self.socket.as_fd();
                loop {
                    match attempt(fd) {
                        Ok((done, _)) => return Ok(done),
                        Err(Errno::AGAIN) => poll_thread(fd, interest, deadline.get())?,
                        Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            ThreadState::Worker => refuse(),
        }
    }

    #[track_caller]
    fn on_fiber<R>(
        &self,
        interest: Interest,
        mut deadline: Deadline,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> Result<(R, Took), Errno>,
    ) -> io::Result<R> {
        loop {
            let mut ready = self.ready(interest, deadline.get())?;
            loop {
                match attempt(self.socket.as_fd()) {
                    Ok((done, Took::All)) => {
                        ready.retain_ready();
                        return Ok(done);
                    }
                    Ok((done, Took::Less)) => {
                        ready.clear_ready();
                        return Ok(done);
                    }
                    Err(Errno::AGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    /// Waits until the descriptor is ready, once.
    ///
    /// # Errors
    /// As for [`io`](Self::io).
    #[track_caller]
    pub(super) fn wait(&self, interest: Interest, deadline: Option<Instant>) -> io::Result<()> {
        match current::state() {
            ThreadState::Fiber(_) => self.ready(interest, deadline).map(drop),
            ThreadState::Plain => poll_thread(self.socket.as_fd(), interest, deadline),
            ThreadState::Worker => refuse(),
        }
    }

    #[track_caller]
    fn ready(
        &self,
        interest: Interest,
        deadline: Option<Instant>,
    ) -> io::Result<AsyncFdReadyGuard<'_, Raw>> {
        let mut place = &self.first;
        loop {
            let registration = self.register(place)?;
            // Relaxed: it saves a step, and carries no data.
            if !registration.gone.load(Ordering::Relaxed) {
                match block_on_until(registration.fd.ready(interest), deadline) {
                    Ok(Ok(ready)) => return Ok(ready),
                    // The only error of `ready`: its runtime is no more. On to the next.
                    Ok(Err(_)) => registration.gone.store(true, Ordering::Relaxed),
                    Err(_) => return Err(Errno::AGAIN.into()),
                }
            }
            place = &registration.next;
        }
    }

    /// The registration at `place`; if there is none yet, with the current worker's reactor.
    fn register<'a>(&self, place: &'a OnceLock<Box<Registration>>) -> io::Result<&'a Registration> {
        if let Some(registration) = place.get() {
            return Ok(registration);
        }
        let both = Interest::READABLE | Interest::WRITABLE;
        let raw = Raw(self.socket.as_fd().as_raw_fd());
        let fd = current::with_reactor(|| {
            // SAFETY: the descriptor stays open and the same for as long as this `Source` has its
            // socket, and the registrations go first (see the struct).
            unsafe { AsyncFd::register_with_interest(raw, both) }
        })?;
        let registration = Registration {
            fd,
            gone: AtomicBool::new(false),
            next: OnceLock::new(),
        };
        // If a fiber on another worker was faster, its registration serves, and ours is dropped.
        Ok(place.get_or_init(|| Box::new(registration)))
    }
}

/// A fiber whose operations are always ready yields now and then: timers, I/O and other fibers of
/// its worker go on. These operations do not spend tokio's budget.
fn pace(running: Running) {
    let ready_ops = &running.header().ready_ops;
    if ready_ops.get() >= READY_OPS {
        running.yield_now();
    }
    ready_ops.set(ready_ops.get() + 1);
}

/// The end of an operation's wait, computed only if it has one.
struct Deadline {
    timeout: Option<Duration>,
    at: Option<Instant>,
}

impl Deadline {
    fn new(timeout: Option<Duration>) -> Deadline {
        Deadline { timeout, at: None }
    }

    fn get(&mut self) -> Option<Instant> {
        let timeout = self.timeout?;
        Some(*self.at.get_or_insert_with(|| timer::after(timeout)))
    }
}

/// Waits with poll(2), for threads that no reactor serves.
fn poll_thread(
    fd: BorrowedFd<'_>,
    interest: Interest,
    deadline: Option<Instant>,
) -> io::Result<()> {
    let flags = match interest.is_readable() {
        true => PollFlags::IN,
        false => PollFlags::OUT,
    };
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], left.as_ref()) {
            Ok(0) => return Err(Errno::AGAIN.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cold]
#[track_caller]
fn refuse() -> ! {
    current::refuse_worker("sisal::net", "use tokio's sockets there")
}
