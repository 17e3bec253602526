//! `Fiber`: a fiber, or a thread that calls like one, as others see it.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread::Thread;

use super::id::FiberId;
use super::record::FiberRef;
use super::state::TOKEN;

/// A handle to a fiber, as `std::thread::Thread` is to a thread.
///
/// [`fiber::current`](super::current) gives one anywhere; on a plain thread it stands for the
/// thread, so that `park` and `unpark` work between fibers and threads.
#[derive(Clone)]
pub struct Fiber(Kind);

#[derive(Clone)]
enum Kind {
    Fiber(FiberRef),
    Thread(Thread),
}

// As std's `Thread`.
impl UnwindSafe for Fiber {}
impl RefUnwindSafe for Fiber {}

impl Fiber {
    pub(crate) fn from_ref(fiber: FiberRef) -> Fiber {
        Fiber(Kind::Fiber(fiber))
    }

    pub(crate) fn from_thread(thread: Thread) -> Fiber {
        Fiber(Kind::Thread(thread))
    }

    /// The record of a handle that was made by `from_ref`.
    #[inline(always)]
    pub(crate) fn record(&self) -> &FiberRef {
        match &self.0 {
            Kind::Fiber(fiber) => fiber,
            Kind::Thread(_) => unreachable!("a thread has no record"),
        }
    }

    /// Its number, unique in the process.
    pub fn id(&self) -> FiberId {
        match &self.0 {
            Kind::Fiber(fiber) => fiber.id,
            Kind::Thread(thread) => FiberId::of_thread(thread.id()),
        }
    }

    /// The name given to [`Builder::name`](super::Builder::name), if any.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::Fiber(fiber) => fiber.name(),
            Kind::Thread(thread) => thread.name(),
        }
    }

    /// Gives the fiber its park token: its current or next [`park`](super::park) returns.
    ///
    /// From any thread, at any time, before its first run and after its end too. Calls do not add
    /// up: there is one token. Everything before this call happens before the `park` returns.
    pub fn unpark(&self) {
        match &self.0 {
            Kind::Fiber(fiber) => fiber.wake(TOKEN),
            Kind::Thread(thread) => thread.unpark(),
        }
    }
}

impl fmt::Debug for Fiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Fiber");
        f.field("id", &self.id()).field("name", &self.name());
        match &self.0 {
            Kind::Fiber(fiber) => f.field("spawned_at", &fiber.spawned_at.to_string()),
            Kind::Thread(thread) => f.field("thread", &thread.id()),
        };
        f.finish()
    }
}
