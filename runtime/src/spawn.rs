//! Spawning as `std::thread` spells it: `fiber::spawn`, `fiber::Builder`, `fiber::current`.

use std::io;
use std::num::NonZero;
use std::panic::Location;

use crate::current::{self, ThreadState};
use crate::fiber::{Extra, Fiber};
use crate::handle::Handle;
use crate::join::JoinHandle;
use crate::runtime;
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
///
/// What is not `Send` stays on its thread:
///
/// ```compile_fail,E0277
/// let rc = std::rc::Rc::new(1);
/// sisal::fiber::spawn(move || drop(rc));
/// ```
///
/// and a fiber may outlive what its spawner owns ([`scope`](crate::fiber::scope) lends it):
///
/// ```compile_fail,E0373
/// let text = String::from("borrowed");
/// sisal::fiber::spawn(|| println!("{text}"));
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: nothing is borrowed, and both types are Send (S2).
    let fiber = unsafe { Handle::spawn_on_current(Location::caller(), f) };
    // SAFETY: made just now with result type `T`.
    unsafe { JoinHandle::new(fiber) }
}

/// Starts a fiber on the calling worker, which nobody takes from it: nothing has to be `Send`.
///
/// Works in a fiber and on a worker's own stack, so in an async task that a fiber spawned. The closure
/// is called and dropped on this thread only, also if the fiber is cancelled before it starts or the
/// runtime is closed. So is the result; one that is `Send` goes where its handle goes.
///
/// The new fiber waits for its first run as one made by [`spawn`] does, but no other worker helps out
/// with it: while this one is held by a fiber that does not wait, it waits.
///
/// # Panics
/// Off a worker. [`Builder::spawn_local`] gives an error there.
///
/// ```
/// use std::rc::Rc;
///
/// let sum = sisal::run(|| {
///     let numbers = Rc::new(vec![1, 2, 3]);
///     let theirs = Rc::clone(&numbers);
///     let child = sisal::fiber::spawn_local(move || Rc::new(theirs.iter().sum::<i32>()));
///     *child.join().unwrap()
/// });
/// assert_eq!(sum, 6);
/// ```
///
/// A handle to a result that is not `Send` is not `Send` either:
///
/// ```compile_fail,E0277
/// use std::rc::Rc;
///
/// sisal::run(|| {
///     let child = sisal::fiber::spawn_local(|| Rc::new(1));
///     std::thread::spawn(move || drop(child));
/// });
/// ```
///
/// nor `Sync`, so it is not polled elsewhere by reference:
///
/// ```compile_fail,E0277
/// use std::rc::Rc;
///
/// sisal::run(|| {
///     let child = sisal::fiber::spawn_local(|| Rc::new(1));
///     sisal::fiber::scope(|s| {
///         s.spawn(|| child.is_finished());
///     });
/// });
/// ```
#[track_caller]
pub fn spawn_local<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    match spawn_local_at(Location::caller(), None, f) {
        Some(handle) => handle,
        None => panic!("{OFF_A_WORKER}"),
    }
}

const OFF_A_WORKER: &str = "`spawn_local` off a worker: call it in a fiber, or in an async task that \
                            runs on a worker";

/// `None` off a worker.
fn spawn_local_at<F, T>(
    place: &'static Location<'static>,
    extra: Option<Box<Extra>>,
    f: F,
) -> Option<JoinHandle<T>>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Handle::with_current(|handle| {
        // SAFETY: the one join handle is made below, with result type `T`.
        unsafe { JoinHandle::new(handle.spawn_local_unchecked(place, extra, f)) }
    })
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
    match current::running() {
        Some(running) => running.yield_now(),
        None => yield_thread(),
    }
}

/// Not on a fiber.
#[cold]
#[track_caller]
fn yield_thread() {
    current::forbid_worker("yield_now", "await `tokio::task::yield_now` there");
    std::thread::yield_now();
}

/// How many fibers can run at the same time: the workers of the caller's runtime; off a runtime, those that the
/// default one has or will have.
///
/// What [`std::thread::available_parallelism`] is to threads, so code that sizes a pool by it makes as many fibers
/// as can be busy. It does not change while a runtime is there.
///
/// # Errors
/// On a worker none. Off a runtime std's, and `InvalidInput` if `SISAL_WORKERS` is no number.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = sisal::Runtime::builder().workers(3).build()?;
/// assert_eq!(runtime.run(sisal::fiber::available_parallelism)?.get(), 3);
/// # Ok(())
/// # }
/// ```
pub fn available_parallelism() -> io::Result<NonZero<usize>> {
    match Handle::with_current(Handle::workers).and_then(NonZero::new) {
        Some(workers) => Ok(workers),
        None => runtime::default_parallelism(),
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
    untracked: bool,
}

impl Builder {
    /// Without a name, with the runtime's stack size.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A name for messages about the fiber. It must not contain a NUL, as with std's threads.
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name);
        self
    }

    /// Bytes of stack, rounded up to pages.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// The fiber is not reported to `tracing`: it gets no span of its own (`runtime.spawn`), so
    /// tokio-console, which keeps some 50 KiB for each fiber that it sees, does not show it. What it
    /// logs, and the spans that its code enters, are as without this.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let fiber = sisal::fiber::Builder::new().untracked().spawn(|| tracing::info!("heard"))?;
    /// fiber.join().unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn untracked(mut self) -> Builder {
        self.untracked = true;
        self
    }

    /// Starts the fiber: see [`spawn`].
    ///
    /// # Errors
    /// `InvalidInput` for a stack size that cannot be. (A stack is taken at the first run; if there is
    /// none then, `join` says so.)
    ///
    /// # Panics
    /// If the name contains a NUL.
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

    /// Starts a fiber that may borrow, with nobody who sees to it that it ends in time: see
    /// [`std::thread::Builder::spawn_unchecked`]. [`scope`](crate::fiber::scope) does.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// If the name contains a NUL.
    ///
    /// # Safety
    /// What `f` borrows stays borrowable until the fiber has ended, and what its result borrows until the
    /// result was dropped. So the caller joins the handle before, on every path: a [`join`](JoinHandle::join)
    /// is a suspension point, which a cancelled fiber or one whose [`timeout`](crate::timeout()) is over leaves by an
    /// unwind, so it is made inside [`shield`](crate::fiber::shield).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use sisal::fiber;
    ///
    /// let text = String::from("borrowed");
    /// // SAFETY: it is joined in the next line, which nothing cuts short.
    /// let child = unsafe { fiber::Builder::new().spawn_unchecked(|| text.len()) }?;
    /// let len = fiber::shield(|| child.join()).unwrap();
    /// assert_eq!(len, 8);
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub unsafe fn spawn_unchecked<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let (place, extra) = (Location::caller(), Some(Box::new(self.extra()?)));
        let fiber = Handle::with_current_or_default(|handle| {
            // SAFETY: the caller answers for what is borrowed; both types are Send (S2).
            unsafe { handle.spawn_unchecked(place, extra, f) }
        });
        // SAFETY: made just now with result type `T`.
        Ok(unsafe { JoinHandle::new(fiber) })
    }

    /// Starts the fiber on the calling worker: see [`spawn_local`].
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn), and off a worker.
    ///
    /// # Panics
    /// If the name contains a NUL.
    #[track_caller]
    pub fn spawn_local<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let extra = Some(Box::new(self.extra()?));
        spawn_local_at(Location::caller(), extra, f).ok_or_else(|| io::Error::other(OFF_A_WORKER))
    }

    /// Starts the fiber in a scope: see [`Scope::spawn`].
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// If the name contains a NUL.
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

    #[track_caller]
    fn extra(self) -> io::Result<Extra> {
        if let Some(name) = &self.name {
            assert!(
                !name.contains('\0'),
                "a fiber's name must not contain a NUL"
            );
        }
        Ok(Extra {
            name: self.name.map(String::into_boxed_str),
            stack_size: self
                .stack_size
                .map(crate::stack_pool::check_size)
                .transpose()?,
            untracked: self.untracked,
            ..Extra::default()
        })
    }
}
