//! What had not ended when the time for a shutdown was up.

use std::fmt;
use std::panic::Location;

use crate::fiber::{FiberId, Identity};

/// What had not ended when the time given to [`Runtime::shutdown_timeout`](crate::Runtime::shutdown_timeout)
/// was up.
///
/// It is a snapshot. What is in it goes on: a fiber unwinds when it next waits, a closure returns, and
/// then the worker threads that were kept for it end too. Only threads with a retired fiber stay for as long
/// as the process lives.
///
/// The text says all of it in words, with the first ten fibers.
///
/// ```
/// use std::time::Duration;
/// # fn main() -> std::io::Result<()> {
/// let runtime = sisal::Runtime::new()?;
/// let (release, wait) = std::sync::mpsc::channel::<()>();
/// let fiber = runtime.spawn(move || sisal::unblock(move || wait.recv()));
/// # sisal::fiber::sleep(Duration::from_millis(20));
/// if let Err(unfinished) = runtime.shutdown_timeout(Duration::from_millis(20)) {
///     for fiber in unfinished.fibers() {
///         eprintln!("{fiber} is still there");
///     }
/// }
/// drop(release); // the closure returns, and all of it ends
/// # let _ = fiber.join();
/// # Ok(())
/// # }
/// ```
pub struct Unfinished {
    /// Boxed: a shutdown rarely fails.
    inner: Box<Parts>,
}

/// What a report is made of.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) fibers: Vec<UnfinishedFiber>,
    /// Live fibers that nobody could name.
    pub(crate) unnamed: usize,
    pub(crate) stuck: Vec<usize>,
    pub(crate) workers: usize,
    pub(crate) async_tasks: usize,
    pub(crate) closures: usize,
    /// Worker threads of which only destructors of thread-locals are left.
    pub(crate) leaving: usize,
}

impl Unfinished {
    pub(crate) fn new(parts: Parts) -> Unfinished {
        let inner = Box::new(parts);
        Unfinished { inner }
    }

    /// Fibers that did not end, as far as their workers could tell.
    pub fn fibers(&self) -> &[UnfinishedFiber] {
        &self.inner.fibers
    }

    /// Fibers that did not end beside [`fibers`](Self::fibers): never started, or parked on a worker of
    /// [`stuck_workers`](Self::stuck_workers).
    pub fn unnamed_fibers(&self) -> usize {
        self.inner.unnamed
    }

    /// Workers that have been inside one fiber or async task since before the shutdown, so that of their fibers at
    /// most the one that they are in is known. (They are asked by a signal, as for
    /// [`stall_warning`](crate::Builder::stall_warning).) By their numbers, from 0, which end their threads' names.
    pub fn stuck_workers(&self) -> &[usize] {
        &self.inner.stuck
    }

    /// Worker threads that did not end.
    pub fn worker_threads(&self) -> usize {
        self.inner.workers
    }

    /// Async tasks on the workers whose destructors did not end, or did not begin behind those.
    pub fn async_tasks(&self) -> usize {
        self.inner.async_tasks
    }

    /// Blocking closures that did not end, of [`unblock`](crate::unblock()) and of tokio's own calls.
    /// (Those of tokio's that were begun on a worker which still has fibers or async tasks are not
    /// counted.)
    pub fn blocking_closures(&self) -> usize {
        self.inner.closures
    }
}

/// A fiber that did not end before its runtime's shutdown was given up.
pub struct UnfinishedFiber {
    identity: Identity,
    retired: bool,
}

impl UnfinishedFiber {
    pub(crate) fn new(identity: Identity, retired: bool) -> UnfinishedFiber {
        UnfinishedFiber { identity, retired }
    }

    /// Its id.
    pub fn id(&self) -> FiberId {
        self.identity.id
    }

    /// The name that it was given.
    pub fn name(&self) -> Option<&str> {
        self.identity.name.as_deref()
    }

    /// Where it was spawned.
    pub fn spawned_at(&self) -> &'static Location<'static> {
        self.identity.spawned_at
    }

    /// Whether it was ended without being unwound. Its frames stay as they are, and its worker's thread
    /// is kept for as long as the process lives.
    pub fn is_retired(&self) -> bool {
        self.retired
    }
}

/// So many fibers are named in the text.
const NAMED: usize = 10;

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &*self.inner;
        let fibers = parts.fibers.len() + parts.unnamed;
        let counts = [
            (fibers, "fiber"),
            (parts.async_tasks, "async task"),
            (parts.closures, "blocking closure"),
        ];
        let mut any = false;
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            let comma = if any { ", " } else { "" };
            write!(f, "{comma}{}", Counted(count, what))?;
            any = true;
        }
        match (any, parts.leaving) {
            (true, _) => {}
            (false, 0) => f.write_str("what the workers still had to do")?,
            (false, _) => f.write_str("destructors of thread-locals of the workers")?,
        }
        f.write_str(" did not end before the deadline")?;
        for (at, fiber) in parts.fibers.iter().take(NAMED).enumerate() {
            let before = if at == 0 { ": " } else { ", " };
            write!(f, "{before}{fiber}")?;
        }
        match (fibers, fibers.saturating_sub(NAMED.min(parts.fibers.len()))) {
            (_, 0) => {}
            (all, more) if all == more => write!(f, ": {more} that could not be named")?,
            (_, more) => write!(f, ", and {more} more")?,
        }
        for worker in &parts.stuck {
            write!(
                f,
                "; worker {worker} has been inside one fiber or async task since before the shutdown"
            )?;
        }
        write!(f, "; worker threads kept: {}", parts.workers)?;
        if fibers > 0 {
            f.write_str(
                ". A fiber ends at its next wait: one that computes for long has to call `yield_now`, one \
                 that blocks its thread `unblock`, and one that catches unwinds has to let this one go on",
            )?;
        }
        if parts.async_tasks > 0 {
            f.write_str(". A destructor of an async task must not block")?;
        }
        if parts.closures > 0 {
            f.write_str(". Nothing ends a blocking closure: it has to be told to return")?;
        }
        Ok(())
    }
}

/// `1 fiber`, `2 fibers`.
struct Counted(usize, &'static str);

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counted(count, what) = self;
        write!(f, "{count} {what}{}", if *count == 1 { "" } else { "s" })
    }
}

impl fmt::Display for UnfinishedFiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let retired = if self.retired { "retired " } else { "" };
        write!(f, "{retired}{}", self.identity)
    }
}

impl fmt::Debug for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unfinished({self})")
    }
}

impl fmt::Debug for UnfinishedFiber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnfinishedFiber({self})")
    }
}

impl std::error::Error for Unfinished {}
