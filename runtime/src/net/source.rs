//! A socket that fibers and threads wait for, whoever uses it.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use super::place::{Direction, Gone, Places, Wakeup};
use super::waiting::{Deadline, Failure, Pauses, Reason, Wait, has_room, poll_thread};
use crate::block_on::block_on_until;
use crate::current::{self, ThreadState};
use crate::fiber::Running;
use crate::keep::Kept;
use crate::shim::{AtomicBool, Ordering};
use crate::time;

/// One of std's sockets, in non-blocking mode, and its registrations.
///
/// The first is made by the worker that first waits. When its runtime has gone another serves in its
/// place, and then the next: each keeps a part of its runtime (descriptors too) for as long as it is
/// kept, so of those that are over only the first is.
///
/// Registrations are dropped before the socket is closed: by the order of the fields. The socket
/// is shown by shared reference only, so its descriptor stays what it is.
pub(crate) struct Source<S> {
    /// Kept to the end: its users need not count it.
    first: OnceLock<Registration>,
    /// The runtime of `first` has gone.
    outlived: AtomicBool,
    /// What serves after `first`. Operations under way count what they use.
    later: Mutex<Option<Arc<Registration>>>,
    places: Places,
    /// The last read took all that there was: the next one begins with its wait.
    drained: AtomicBool,
    /// There was urgent data: from then on waits are in the list.
    urgent: AtomicBool,
    socket: S,
}

// As std's sockets: an operation that unwinds leaves behind nothing half done.
impl<S> UnwindSafe for Source<S> {}
impl<S> RefUnwindSafe for Source<S> {}

pub(super) type Registration = AsyncFd<Raw>;

/// A registration in use.
enum Used<'a> {
    First(&'a Registration),
    Later(Arc<Registration>),
}

impl Deref for Used<'_> {
    type Target = Registration;
    fn deref(&self) -> &Registration {
        match self {
            Used::First(registration) => registration,
            Used::Later(registration) => registration,
        }
    }
}

/// The descriptor of a `Source`'s socket.
pub(super) struct Raw(RawFd);

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// What an operation did with what was ready.
pub(crate) enum Took {
    /// As much as it asked for: there may be more.
    All,
    /// Less than it asked for: it used all that there was. (On a stream under edge-triggered epoll;
    /// epoll(7), question 9.) Saves the next operation a system call that finds nothing.
    Less,
}

impl<S: AsFd> Source<S> {
    /// `socket` is in non-blocking mode.
    pub(crate) fn new(socket: S) -> Source<S> {
        Source {
            first: OnceLock::new(),
            outlived: AtomicBool::new(false),
            later: Mutex::new(None),
            places: Places::new(),
            drained: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            socket,
        }
    }

    pub(super) fn socket(&self) -> &S {
        &self.socket
    }

    /// The socket, which no reactor knows any more.
    pub(super) fn into_socket(self) -> S {
        let Source {
            first,
            later,
            socket,
            ..
        } = self;
        // While it is open (see the struct).
        drop((first, later));
        socket
    }

    /// Repeats `attempt`, which does not block, until it does something else than find nothing. It is told whether
    /// the end is known of what can be read: a system call that does not block finds nothing there, for datagrams.
    ///
    /// # Errors
    /// `attempt`'s; `WouldBlock` when the wait is over, as std's sockets on Unix; the operating system's,
    /// for epoll.
    #[inline(always)] // few call it, and each knows its `interest`
    #[track_caller]
    pub(crate) fn io<R, E: Failure>(
        &self,
        interest: Interest,
        wait: Wait,
        attempt: impl FnMut(BorrowedFd<'_>, bool) -> Result<(R, Took), E>,
    ) -> io::Result<R> {
        let state = current::state();
        if wait == Wait::Never {
            return self.once(state, attempt);
        }
        match state {
            ThreadState::Fiber(running) => self.on_fiber(running, interest, wait, attempt),
            ThreadState::Plain => self.on_thread(interest, wait, attempt),
            ThreadState::Worker => refuse(),
        }
    }

    #[inline(never)]
    fn on_thread<R, E: Failure>(
        &self,
        interest: Interest,
        wait: Wait,
        mut attempt: impl FnMut(BorrowedFd<'_>, bool) -> Result<(R, Took), E>,
    ) -> io::Result<R> {
        let mut deadline = Deadline::new(wait.timeout());
        let fd = self.socket.as_fd();
        let mut ended = false;
        loop {
            match attempt(fd, ended) {
                Ok((done, _)) => return Ok(done),
                Err(error) => match error.reason() {
                    Reason::Again => {
                        deadline.check()?;
                        ended = poll_thread(fd, interest, deadline.get())?;
                    }
                    Reason::Interrupted => {}
                    Reason::Other => return Err(error.into()),
                },
            }
        }
    }

    /// Does not wait. What a reactor knows stays as it is: at worst the next wait looks once for nothing.
    #[inline(never)]
    fn once<R, E: Failure>(
        &self,
        state: ThreadState,
        mut attempt: impl FnMut(BorrowedFd<'_>, bool) -> Result<(R, Took), E>,
    ) -> io::Result<R> {
        if let ThreadState::Fiber(running) = state {
            // Who asks again and again lets others run.
            running.pace();
        }
        loop {
            match attempt(self.socket.as_fd(), false) {
                Ok((done, _)) => return Ok(done),
                Err(error) => match error.reason() {
                    Reason::Interrupted => {}
                    Reason::Again | Reason::Other => return Err(error.into()),
                },
            }
        }
    }

    #[inline(always)]
    #[track_caller]
    fn on_fiber<R, E: Failure>(
        &self,
        running: Running,
        interest: Interest,
        wait: Wait,
        mut attempt: impl FnMut(BorrowedFd<'_>, bool) -> Result<(R, Took), E>,
    ) -> io::Result<R> {
        running.pace();
        let direction = Direction::of(interest);
        let mut registration = self.registration()?;
        // Relaxed: at worst there is a look too many, or a wait that ends at once.
        let mut drained = direction == Direction::Read && self.drained.load(Ordering::Relaxed);
        loop {
            if drained {
                drained = false;
                self.drained.store(false, Ordering::Relaxed);
            } else {
                let done = self.try_now(&registration, direction, |fd| attempt(fd, false));
                if let Some(done) = done {
                    return done.map_err(Into::into);
                }
            }
            // Relaxed: set by an earlier read, of whose data it says something.
            if wait != Wait::Ever || interest.is_error() || self.urgent.load(Ordering::Relaxed) {
                break;
            }
            let Some(place) = self.places.claim(direction) else {
                break;
            };
            match place.wait(running, &registration, direction) {
                Ok(Wakeup::LookAgain) => {}
                Ok(Wakeup::Closed) => break,
                Err(Gone) => {
                    self.outlive(&registration);
                    registration = self.registration()?;
                }
            }
        }
        drop(registration);
        match wait {
            Wait::For(timeout) => self.in_time(running, interest, timeout, attempt),
            Wait::Ever | Wait::Never => self.in_list(interest, Deadline::new(None), attempt),
        }
    }

    /// The rest of [`on_fiber`](Self::on_fiber) for a wait with an end, after an attempt that found nothing.
    #[track_caller]
    fn in_time<R, E: Failure>(
        &self,
        running: Running,
        interest: Interest,
        timeout: Duration,
        mut attempt: impl FnMut(BorrowedFd<'_>, bool) -> Result<(R, Took), E>,
    ) -> io::Result<R> {
        let direction = Direction::of(interest);
        let mut deadline = Deadline::new(Some(timeout));
        loop {
            // Relaxed, as in `on_fiber`.
            if interest.is_error() || self.urgent.load(Ordering::Relaxed) {
                break;
            }
            let registration = self.registration()?;
            let Some(place) = self.places.claim(direction) else {
                break;
            };
            if let Some(end) = deadline.get() {
                time::call_at(running, end);
            }
            let ended = place.wait(running, &registration, direction);
            let over = time::is_over(running);
            match ended {
                Ok(Wakeup::LookAgain) => {}
                Ok(Wakeup::Closed) => break,
                Err(Gone) => {
                    self.outlive(&registration);
                    continue;
                }
            }
            let done = self.try_now(&registration, direction, |fd| attempt(fd, false));
            if let Some(done) = done {
                return done.map_err(Into::into);
            }
            if over {
                return self.at_last(interest, attempt);
            }
        }
        self.in_list(interest, deadline, attempt)
    }

    /// Makes an attempt if, as far as the reactor knows, it finds something. `None`: it finds nothing.
    #[inline]
    fn try_now<R, E: Failure>(
        &self,
        registration: &Registration,
        direction: Direction,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> Result<(R, Took), E>,
    ) -> Option<Result<R, E>> {
        let mut done = None;
        // An answer of `WouldBlock` has tokio forget what was ready before the attempt.
        let answer = registration.try_io(direction.interest(), |_| {
            loop {
                match attempt(self.socket.as_fd()) {
                    Ok((result, took)) => {
                        done = Some(Ok(result));
                        return match took {
                            Took::Less if !self.sees_urgent(registration) => {
                                if direction == Direction::Read {
                                    self.drained.store(true, Ordering::Relaxed);
                                }
                                Err(io::ErrorKind::WouldBlock.into())
                            }
                            Took::Less | Took::All => Ok(()),
                        };
                    }
                    Err(error) => match error.reason() {
                        Reason::Again => return Err(io::ErrorKind::WouldBlock.into()),
                        Reason::Interrupted => {}
                        Reason::Other => {
                            done = Some(Err(error));
                            return Ok(());
                        }
                    },
                }
            }
        });
        // It owns nothing, and to drop it costs a call.
        std::mem::forget(answer);
        done
    }

    /// Whether the reactor has told of urgent data (or of the end of what can be read): that ends a read early, whatever comes after it
    /// (tcp(7)), so less is not all. If it tells in the middle of an attempt, that forgets nothing of what was ready.
    #[inline]
    fn sees_urgent(&self, registration: &Registration) -> bool {
        let answer = registration.try_io(Interest::PRIORITY, |_| Ok(()));
        let urgent = answer.is_ok();
        // As above.
        std::mem::forget(answer);
        if urgent {
            self.urgent.store(true, Ordering::Relaxed);
        }
        urgent
    }

    /// The same, for what the place does not do: errors, closed directions, urgent data, timers, and more than one who waits.
    #[track_caller]
    fn in_list<R, E: Failure>(
        &self,
        interest: Interest,
        mut deadline: Deadline,
        mut attempt: impl FnMut(BorrowedFd<'_>, bool) -> Result<(R, Took), E>,
    ) -> io::Result<R> {
        // Urgent data ends a read early, whatever comes after it (tcp(7)): then less is not all.
        let interest = match interest.is_readable() {
            true => interest | Interest::PRIORITY,
            false => interest,
        };
        let mut pauses = Pauses::new();
        loop {
            let registration = self.registration()?;
            let mut ready = match ready(&registration, interest, deadline.get()) {
                Ok(Some(ready)) => ready,
                Ok(None) => {
                    self.outlive(&registration);
                    continue;
                }
                Err(_) => return self.at_last(interest, attempt),
            };
            let ended = ready.ready().is_read_closed();
            let failed = ready.ready().is_write_closed();
            loop {
                match attempt(self.socket.as_fd(), ended) {
                    Ok((done, Took::All)) => {
                        ready.retain_ready();
                        return Ok(done);
                    }
                    Ok((done, Took::Less)) => {
                        if !ready.ready().is_priority() {
                            ready.clear_ready();
                        }
                        return Ok(done);
                    }
                    Err(error) => match error.reason() {
                        Reason::Again => {
                            ready.clear_ready();
                            deadline.check()?;
                            if failed {
                                // For tokio an error closes for good; a datagram's does not, and no event is told apart.
                                time::sleep_until(pauses.until(deadline.get()));
                            }
                            break;
                        }
                        Reason::Interrupted => {}
                        Reason::Other => return Err(error.into()),
                    },
                }
            }
        }
    }

    /// The time is over. The reactor may be another worker's, which is busy and has not looked: what is there is there.
    #[cold]
    fn at_last<R, E: Failure>(
        &self,
        interest: Interest,
        mut attempt: impl FnMut(BorrowedFd<'_>, bool) -> Result<(R, Took), E>,
    ) -> io::Result<R> {
        let ended = poll_thread(self.socket.as_fd(), interest, Some(Instant::now()))?;
        self.once(ThreadState::Plain, |fd, _| attempt(fd, ended))
    }

    /// Waits until poll(2) says that there is room: also if an event that came before was not about that.
    ///
    /// # Errors
    /// As for [`io`](Self::io).
    #[track_caller]
    pub(crate) fn wait_for_room(&self, deadline: Option<Instant>) -> io::Result<()> {
        let fd = self.socket.as_fd();
        match current::state() {
            ThreadState::Fiber(_) => {
                let mut pauses = Pauses::new();
                loop {
                    // This look also makes the next change an event.
                    if has_room(fd)? {
                        return Ok(());
                    }
                    let registration = self.registration()?;
                    let Ok(found) = ready(&registration, Interest::WRITABLE, deadline) else {
                        // As in `at_last`.
                        return match has_room(fd)? {
                            true => Ok(()),
                            false => Err(Errno::AGAIN.into()),
                        };
                    };
                    match found {
                        Some(ready) if ready.ready().is_write_closed() => {
                            time::sleep_until(pauses.until(deadline));
                            if deadline.is_some_and(|at| Instant::now() >= at) {
                                return Err(Errno::AGAIN.into());
                            }
                        }
                        Some(mut ready) => ready.clear_ready(),
                        None => self.outlive(&registration),
                    }
                }
            }
            ThreadState::Plain => poll_thread(fd, Interest::WRITABLE, deadline).map(drop),
            ThreadState::Worker => refuse(),
        }
    }

    /// Waits until the descriptor is ready, once.
    ///
    /// # Errors
    /// As for [`io`](Self::io).
    #[track_caller]
    pub(super) fn wait(&self, interest: Interest, deadline: Option<Instant>) -> io::Result<()> {
        match current::state() {
            ThreadState::Fiber(_) => loop {
                let registration = self.registration()?;
                if ready(&registration, interest, deadline)?.is_some() {
                    return Ok(());
                }
                self.outlive(&registration);
            },
            ThreadState::Plain => poll_thread(self.socket.as_fd(), interest, deadline).map(drop),
            ThreadState::Worker => refuse(),
        }
    }

    /// The registration that serves; if there is none, a new one with the current worker's reactor.
    #[inline]
    fn registration(&self) -> io::Result<Used<'_>> {
        // Relaxed: it saves a step, and carries no data.
        match self.first.get() {
            Some(first) if !self.outlived.load(Ordering::Relaxed) => Ok(Used::First(first)),
            _ => self.registration_made(),
        }
    }

    #[cold]
    fn registration_made(&self) -> io::Result<Used<'_>> {
        // Relaxed as above.
        if !self.outlived.load(Ordering::Relaxed) {
            let first = self.register()?;
            // If a fiber on another worker was faster, its registration serves, and ours is dropped.
            return Ok(Used::First(self.first.get_or_init(|| first)));
        }
        let mut later = self.later.lock();
        let serves = match &*later {
            Some(serves) => serves,
            None => later.insert(Arc::new(self.register()?)),
        };
        Ok(Used::Later(Arc::clone(serves)))
    }

    /// The runtime of `gone` is no more.
    fn outlive(&self, gone: &Used<'_>) {
        match gone {
            Used::First(_) => self.outlived.store(true, Ordering::Relaxed),
            Used::Later(gone) => {
                let mut later = self.later.lock();
                later.take_if(|serves| Arc::ptr_eq(serves, gone));
            }
        }
    }

    fn register(&self) -> io::Result<Registration> {
        let all = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        let raw = Raw(self.socket.as_fd().as_raw_fd());
        let fd = current::with_reactor(|| {
            // SAFETY: the descriptor stays open and the same for as long as this `Source` has its
            // socket, and the registrations go first (see the struct).
            unsafe { AsyncFd::register_with_interest(raw, all) }
        })?;
        Ok(fd)
    }
}

/// Waits until a registered descriptor is ready; `None` if the runtime of its registration is no more.
#[track_caller]
fn ready(
    registration: &Registration,
    interest: Interest,
    deadline: Option<Instant>,
) -> io::Result<Option<AsyncFdReadyGuard<'_, Raw>>> {
    match block_on_until(Kept::new(registration.ready(interest)), deadline) {
        Ok(Ok(ready)) => Ok(Some(ready)),
        // It has no other error.
        Ok(Err(_)) => Ok(None),
        Err(_) => Err(Errno::AGAIN.into()),
    }
}

const CALL: &str = "sisal::net";
const INSTEAD: &str = "use tokio's sockets there";

/// For what does something else before it waits (S10).
#[track_caller]
pub(crate) fn forbid_worker() {
    current::forbid_worker(CALL, INSTEAD);
}

#[cold]
#[track_caller]
fn refuse() -> ! {
    current::refuse_worker(CALL, INSTEAD)
}
