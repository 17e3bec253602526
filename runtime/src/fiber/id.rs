//! Names for fibers that outlive them: ids and spawn places.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;

/// A number that no other fiber of this process has, has had or will have.
///
/// ```
/// let (a, b) = sisal::run(|| {
///     let a = sisal::fiber::current().id();
///     let b = sisal::fiber::spawn(|| sisal::fiber::current().id()).join().unwrap();
///     (a, b)
/// });
/// assert_ne!(a, b);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FiberId(Kind);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Fiber(NonZeroU64),
    Thread(ThreadId),
}

impl FiberId {
    /// The first of `count` numbers that nobody else gets.
    fn take(count: u64) -> u64 {
        // An id has to be unique in the process, as `std::thread::ThreadId` is, so the counter is
        // the process's. Relaxed: only uniqueness matters.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(count, Ordering::Relaxed)
    }

    /// Of a fiber, for `tracing`; 0 of a plain thread.
    pub(super) fn number(self) -> u64 {
        match self.0 {
            Kind::Fiber(id) => id.get(),
            Kind::Thread(_) => 0,
        }
    }

    fn from_number(number: u64) -> FiberId {
        FiberId(Kind::Fiber(
            NonZeroU64::new(number).expect("2^64 fiber ids are used up"),
        ))
    }

    /// An id for a fiber spawned off any worker.
    pub(crate) fn next() -> FiberId {
        FiberId::from_number(FiberId::take(1))
    }

    /// Of a plain thread, which `fiber::current` lets stand for itself.
    pub(super) fn of_thread(thread: ThreadId) -> FiberId {
        FiberId(Kind::Thread(thread))
    }
}

impl fmt::Debug for FiberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Fiber(id) => write!(f, "FiberId({id})"),
            Kind::Thread(id) => write!(f, "FiberId({id:?})"),
        }
    }
}

/// A worker's supply of ids: it goes to the process's counter for many at a time.
#[derive(Default)]
pub(crate) struct IdSupply {
    next: Cell<u64>,
    end: Cell<u64>,
}

impl IdSupply {
    pub(crate) fn next(&self) -> FiberId {
        const BLOCK: u64 = 256;
        if self.next.get() == self.end.get() {
            let first = FiberId::take(BLOCK);
            self.next.set(first);
            self.end.set(first + BLOCK);
        }
        FiberId::from_number(self.next.replace(self.next.get() + 1))
    }
}

/// What every message about a fiber says: id, name, spawn place.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) id: FiberId,
    pub(crate) name: Option<Box<str>>,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// An identity that is still in its fiber's record: nothing is copied, so a signal handler can show it.
pub(crate) struct Named<'a> {
    pub(crate) id: FiberId,
    pub(crate) name: Option<&'a str>,
    pub(crate) spawned_at: &'static Location<'static>,
}

impl Identity {
    pub(crate) fn named(&self) -> Named<'_> {
        Named {
            id: self.id,
            name: self.name.as_deref(),
            spawned_at: self.spawned_at,
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.named(), f)
    }
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "fiber '{name}' ({:?}, ", self.id)?,
            None => write!(f, "fiber ({:?}, ", self.id)?,
        }
        write!(f, "spawned at {})", self.spawned_at)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
