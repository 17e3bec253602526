//! The place that a registration has for one waker of each direction: a wait there costs half of one in its list.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{Interest, Ready};
use tokio::task::coop::unconstrained;

use super::source::Registration;
use crate::fiber::Running;
use crate::keep::keep;
use crate::park::waker;
use crate::shim::{AtomicBool, Ordering};

#[cfg(test)]
#[path = "loom_place.rs"]
mod loom_place;

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

impl Direction {
    #[inline]
    pub(super) fn of(interest: Interest) -> Direction {
        match interest.is_readable() {
            true => Direction::Read,
            false => Direction::Write,
        }
    }

    #[inline]
    pub(super) fn interest(self) -> Interest {
        match self {
            Direction::Read => Interest::READABLE,
            Direction::Write => Interest::WRITABLE,
        }
    }
}

/// Whether somebody has the place of a direction. tokio keeps the last waker only, so one at a time uses it.
#[derive(Debug)]
pub(super) struct Places {
    read: AtomicBool,
    write: AtomicBool,
}

impl Places {
    pub(super) fn new() -> Places {
        Places {
            read: AtomicBool::new(false),
            write: AtomicBool::new(false),
        }
    }

    /// The place, if nobody has it.
    #[inline]
    pub(super) fn claim(&self, direction: Direction) -> Option<Claim<'_>> {
        let taken = match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        };
        // Acquire pairs with the Release of `Claim::drop`: the place is left as its holder before this one left it.
        let others = taken.swap(true, Ordering::Acquire);
        // Lazily: a claim that is dropped frees the place.
        (!others).then(|| Claim { taken })
    }
}

/// The right to a place. If its holder's frame is left for good (`overflow::kill`) the place stays taken, and later waits are in the list.
pub(super) struct Claim<'a> {
    taken: &'a AtomicBool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire of `Places::claim`.
        self.taken.store(false, Ordering::Release);
    }
}

impl Claim<'_> {
    /// Waits in the place of `registration`, which is not ready.
    #[inline(always)]
    pub(super) fn wait(
        &self,
        running: Running,
        registration: &Registration,
        direction: Direction,
    ) -> Result<Wakeup, Gone> {
        // SAFETY: used in this frame only, and clones count.
        let waker = unsafe { waker::borrowed_plain(running) };
        let mut cx = Context::from_waker(&waker);
        match keep(|| poll(registration, direction, &mut cx)) {
            Poll::Ready(Ok(ready)) if ready.is_read_closed() || ready.is_write_closed() => {
                Ok(Wakeup::Closed)
            }
            Poll::Ready(Ok(_)) => Ok(Wakeup::LookAgain),
            Poll::Ready(Err(gone)) => Err(gone),
            Poll::Pending => {
                let left = Left {
                    registration,
                    direction,
                };
                running.park();
                // Whoever called took the waker out. If it was called by somebody else it stays for a while, and may call once for
                // nothing.
                std::mem::forget(left);
                Ok(Wakeup::LookAgain)
            }
        }
    }
}

/// How a wait in a place ended.
pub(super) enum Wakeup {
    /// By an event or for no reason: the caller looks again.
    LookAgain,
    /// The direction is closed: it is ready for ever, and no wait ends by anything else.
    Closed,
}

/// The runtime of a registration is no more.
pub(super) struct Gone;

fn poll(
    registration: &Registration,
    direction: Direction,
    cx: &mut Context<'_>,
) -> Poll<Result<Ready, Gone>> {
    let ready = match direction {
        Direction::Read => registration.poll_read_ready(cx),
        Direction::Write => registration.poll_write_ready(cx),
    };
    // It has no other error.
    ready.map(|ready| ready.map(|ready| ready.ready()).map_err(|_| Gone))
}

/// A fiber that unwinds from its wait takes its waker along: it counts the fiber.
struct Left<'a> {
    registration: &'a Registration,
    direction: Direction,
}

impl Drop for Left<'_> {
    #[cold]
    fn drop(&mut self) {
        let replace = poll_fn(|cx| poll(self.registration, self.direction, cx).map(drop));
        // Without a budget it would not get as far as the place.
        let replace = pin!(unconstrained(replace));
        let mut cx = Context::from_waker(Waker::noop());
        let _ = keep(|| replace.poll(&mut cx));
    }
}
