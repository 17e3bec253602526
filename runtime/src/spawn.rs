//! Spawning as `std::thread` spells it: `fiber::spawn`, `fiber::Builder`, `fiber::current`.

use std::io;
use std::panic::Location;

use crate::current::{self, ThreadState};
use crate::fiber::{Extra, Fiber};
use crate::handle::Handle;
use crate::join::JoinHandle;
use crate::scope::{Scope, ScopedJoinHandle};

/// Starts a fiber: on the caller's runtime, or on the default one if the caller is on none.
///
/// The fiber gets a stack when it first runs. Until then any worker may take it; from then on it
/// stays on that worker's thread until it ends, so thread-locals, `Rc`s and guards inside it are
/// safe.
///
/// A panic of `f` ends the fiber alone; [`JoinHandle::join`] gives it. If the handle was dropped it
/// becomes a `tracing` ERROR event.
///
/// ```
/// let sum = sisal::run(|| {
///     let fibers: Vec<_> = (0..10).map(|n| sisal::fiber::spawn(move || n * n)).collect();
///     fibers.into_iter().map(|fiber| fiber.join().unwrap()).sum::<i32>()
/// });
/// assert_eq!(sum, 285);
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let place = Location::caller();
    Handle::with_current_or_default(|handle| handle.spawn_at(place, f))
}

/// The calling fiber; on a plain thread, a stand-in for the thread.
///
/// ```
/// let name = sisal::run(|| {
///     let named = sisal::fiber::Builder::new().name("nib".into());
///     let fiber = named.spawn(|| sisal::fiber::current().name().map(String::from)).unwrap();
///     fiber.join().unwrap()
/// });
/// assert_eq!(name.as_deref(), Some("nib"));
/// ```
pub fn current() -> Fiber {
    match current::state() {
        ThreadState::Fiber(running) => Fiber::from_ref(running.count()),
        ThreadState::Worker | ThreadState::Plain => Fiber::from_thread(std::thread::current()),
    }
}

/// Lets other fibers run. On a plain thread: [`std::thread::yield_now`].
///
/// Other runnable fibers of this worker go first, and I/O and timers are looked at now and then.
///
/// # Panics
/// On a worker's own stack: await `tokio::task::yield_now` there.
///
/// # Cancellation
/// A suspension point: a cancelled fiber unwinds from here.
///
/// ```
/// sisal::run(|| {
///     let other = sisal::fiber::spawn(|| "ran");
///     while !other.is_finished() {
///         sisal::fiber::yield_now();
///     }
/// });
/// ```
#[inline(always)] // see `Running::suspend`
#[track_caller]
pub fn yield_now() {
    match current::state() {
        ThreadState::Fiber(running) => running.yield_now(),
        ThreadState::Worker => {
            current::refuse_worker("yield_now", "await `tokio::task::yield_now` there")
        }
        ThreadState::Plain => std::thread::yield_now(),
    }
}

/// Name and stack size of a fiber to be, as `std::thread::Builder`.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let fiber = sisal::fiber::Builder::new()
///     .name("deep".into())
///     .stack_size(4 << 20)
///     .spawn(|| { /* recurse */ })?;
/// fiber.join().unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder makes nothing until `spawn`"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// Without a name, with the runtime's stack size.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A name for messages about the fiber.
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name);
        self
    }

    /// Bytes of stack, rounded up to pages.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Starts the fiber: see [`spawn`].
    ///
    /// # Errors
    /// `InvalidInput` for a stack size that cannot be. (A stack is taken at the first run; if there is
    /// none then, `join` says so.)
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let (place, extra) = (Location::caller(), Some(Box::new(self.extra()?)));
        let fiber = Handle::with_current_or_default(|handle| {
            // SAFETY: nothing is borrowed, and both types are Send (S2).
            unsafe { handle.spawn_unchecked(place, extra, f) }
        });
        // SAFETY: made just now with result type `T`.
        Ok(unsafe { JoinHandle::new(fiber) })
    }

    /// Starts the fiber in a scope: see [`Scope::spawn`].
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    #[track_caller]
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        Ok(scope.spawn_with(Location::caller(), self.extra()?, f))
    }

    fn extra(self) -> io::Result<Extra> {
        Ok(Extra {
            name: self.name.map(String::into_boxed_str),
            stack_size: self
                .stack_size
                .map(crate::stack_pool::check_size)
                .transpose()?,
            ..Extra::default()
        })
    }
}
