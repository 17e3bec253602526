//! `Handle`: a runtime to spawn on, and the spawning itself.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{Location, RefUnwindSafe, UnwindSafe};
use std::sync::Arc;

use crate::current::{self, ThreadState};
use crate::driver::Spawner;
use crate::fiber::{Extra, FiberPtr, FiberRef, Lent, Seed, Vtable, make_span, plant};
use crate::join::JoinHandle;
use crate::keep::stays;
use crate::metrics::Metrics;
use crate::runtime;
use crate::sched::{Here, Shared};
use crate::scope::scope_on;

/// A reference to a runtime: clone it, send it, spawn with it.
///
/// It does not keep the runtime going. On a runtime that has ended, spawned fibers end at once with
/// a [`JoinError`](crate::fiber::JoinError) that is cancelled.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

// Nothing that a panic could leave half done is seen through it.
impl UnwindSafe for Handle {}
impl RefUnwindSafe for Handle {}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Handle {
        Handle { shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// At most so many fibers of this runtime run at a time.
    pub(crate) fn workers(&self) -> usize {
        self.shared.config.workers
    }

    pub(crate) fn blocking(&self) -> &Spawner {
        &self.shared.blocking
    }

    /// The runtime that the caller runs on.
    ///
    /// # Panics
    /// Off a runtime's workers; [`try_current`](Self::try_current) does not.
    ///
    /// ```
    /// let handle = sisal::run(sisal::Handle::current);
    /// assert_eq!(handle.run(|| 5), 5);
    /// ```
    #[track_caller]
    pub fn current() -> Handle {
        match Handle::try_current() {
            Some(handle) => handle,
            None => panic!(
                "`Handle::current` off a runtime: call it in a fiber, or use `Runtime::handle`"
            ),
        }
    }

    /// The runtime that the caller runs on, if any.
    pub fn try_current() -> Option<Handle> {
        let shared = current::runtime()?.cast::<Shared>();
        // SAFETY: a worker's context holds `Arc::as_ptr` of its runtime, and the worker holds a
        // count for as long as the context is entered.
        let shared = unsafe {
            Arc::increment_strong_count(shared);
            Arc::from_raw(shared)
        };
        Some(Handle { shared })
    }

    /// Calls `f` with the caller's runtime, or with the default one.
    #[track_caller]
    pub(crate) fn with_current_or_default<R>(f: impl FnOnce(&Handle) -> R) -> R {
        match Handle::borrow_current() {
            Some(handle) => f(&handle),
            None => f(runtime::default()),
        }
    }

    /// Calls `f` with the caller's runtime, if the caller is on a worker.
    pub(crate) fn with_current<R>(f: impl FnOnce(&Handle) -> R) -> Option<R> {
        Handle::borrow_current().map(|handle| f(&handle))
    }

    fn borrow_current() -> Option<ManuallyDrop<Handle>> {
        let shared = current::runtime()?.cast::<Shared>();
        // SAFETY: as in `try_current`; the count stays the worker's, which is not over before the
        // fiber or the callback that is calling (S7).
        let shared = unsafe { Arc::from_raw(shared) };
        Some(ManuallyDrop::new(Handle { shared }))
    }

    /// Starts a fiber on this runtime. From anywhere: threads, async tasks, fibers of this and of
    /// other runtimes.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> std::io::Result<()> {
    /// let runtime = sisal::Runtime::new()?;
    /// let sum = runtime.handle().spawn(|| (1..=10).sum::<i32>()).await.unwrap();
    /// assert_eq!(sum, 55);
    /// # runtime.shutdown_timeout(std::time::Duration::from_secs(1)).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_at(Location::caller(), f)
    }

    pub(crate) fn spawn_at<F, T>(
        &self,
        spawned_at: &'static Location<'static>,
        f: F,
    ) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: nothing is borrowed, and both types are Send (S2).
        let fiber = unsafe { self.spawn_unchecked(spawned_at, None, f) };
        // SAFETY: made just now with result type `T`.
        unsafe { JoinHandle::new(fiber) }
    }

    /// Runs `f` as a fiber of this runtime, waits for it to end, and returns what it returned. `f` may borrow:
    /// the wait cannot be cut short.
    ///
    /// Called in a fiber it parks that fiber.
    ///
    /// # Cancellation
    /// As for [`scope`](crate::fiber::scope): a fiber that is cancelled in here cancels `f`, waits for its end,
    /// and unwinds.
    ///
    /// # Panics
    /// If `f` does, with the same payload. If the runtime ends before `f` does. On a worker's own
    /// stack, before `f` starts: `spawn` and `.await` there.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let text = String::from("borrowed");
    /// let runtime = sisal::Runtime::new()?;
    /// assert_eq!(runtime.handle().run(|| text.len()), 8);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `f` runs on another thread, so it takes nothing that is not `Send`:
    ///
    /// ```compile_fail,E0277
    /// let rc = std::rc::Rc::new(1);
    /// sisal::Handle::current().run(|| println!("{rc}"));
    /// ```
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let place = Location::caller();
        let result = scope_on(self, "run", |scope| {
            scope.spawn_with(place, Extra::default(), f).join()
        });
        match result {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(payload) => std::panic::resume_unwind(payload),
                Err(error) => {
                    self.unwind_if_closed();
                    panic!("`run` has no result: {error}")
                }
            },
        }
    }

    /// What the runtime did so far, and has now: see [`Metrics`]. From anywhere, also after the runtime's
    /// end; it costs the workers nothing.
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// Unwinds a fiber of this runtime that met the runtime's end in the result of a child (S5).
    pub(crate) fn unwind_if_closed(&self) {
        self.shared.cancel_running_if_closed();
        current::unwind_if_cancelled();
    }

    /// Whether the shutdown of this runtime leaves a scoped child that is spawned now to its owner: if the
    /// spawner is a fiber of this runtime that the shutdown must not unwind just now. It is a live fiber, so
    /// nobody finds the runtime empty meanwhile.
    pub(crate) fn shelters(&self) -> bool {
        let here = current::runtime() == Some(Arc::as_ptr(&self.shared).cast());
        match current::state() {
            ThreadState::Fiber(running) if here => {
                let header = running.header();
                let shielded = header.shield.get() > 0 || header.is_sheltered();
                // Of this fiber or of another of its worker (S9).
                shielded || std::thread::panicking()
            }
            _ => false,
        }
    }

    /// Makes a fiber and hands it to the scheduler.
    ///
    /// # Safety
    /// As for [`FiberRef::make`]; the caller makes at most one join handle of the result.
    pub(crate) unsafe fn spawn_unchecked<F, T>(
        &self,
        spawned_at: &'static Location<'static>,
        extra: Option<Box<Extra>>,
        f: F,
    ) -> FiberRef
    where
        F: FnOnce() -> T,
    {
        let here = self.shared.here();
        // SAFETY: by contract.
        let (fiber, counted) = unsafe {
            let fiber = plant_on(&self.shared, here, spawned_at, extra, Vtable::of::<F, T>());
            FiberRef::fill::<F, T>(fiber, f)
        };
        self.shared.spawn(here, fiber);
        counted
    }

    /// The same on the caller's runtime, or on the default one: one look at where the caller is.
    ///
    /// # Safety
    /// As for [`spawn_unchecked`](Self::spawn_unchecked).
    pub(crate) unsafe fn spawn_on_current<F, T>(
        spawned_at: &'static Location<'static>,
        f: F,
    ) -> FiberRef
    where
        F: FnOnce() -> T,
    {
        // SAFETY: nothing of this leaves this call, nor does the caller its stack: the closure is moved, not called.
        let Some((shared, here)) = (unsafe { Here::current() }) else {
            // SAFETY: by contract.
            return unsafe { runtime::default().spawn_unchecked(spawned_at, None, f) };
        };
        // SAFETY: by contract.
        let (fiber, counted) = unsafe {
            let fiber = plant_on(shared, here, spawned_at, None, Vtable::of::<F, T>());
            FiberRef::fill::<F, T>(fiber, f)
        };
        shared.spawn(here, fiber);
        counted
    }

    /// Makes a fiber that stays with the calling worker, which is one of this runtime's.
    ///
    /// # Safety
    /// The caller makes at most one join handle of the result.
    pub(crate) unsafe fn spawn_local_unchecked<F, T>(
        &self,
        spawned_at: &'static Location<'static>,
        extra: Option<Box<Extra>>,
        f: F,
    ) -> FiberRef
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let here = self.shared.here();
        // SAFETY: nothing is borrowed, and the fiber goes to this thread's worker alone (S2).
        let (fiber, counted) = unsafe {
            let fiber = plant_on(&self.shared, here, spawned_at, extra, Vtable::of::<F, T>());
            FiberRef::fill::<F, T>(fiber, f)
        };
        self.shared.spawn_local(here, fiber);
        counted
    }
}

/// A record without its closure, for `FiberRef::fill`.
#[inline(never)]
#[unsafe(link_section = "sisal_keep")] // see `overflow::kill`
fn plant_on(
    shared: &Arc<Shared>,
    here: Here<'_>,
    spawned_at: &'static Location<'static>,
    extra: Option<Box<Extra>>,
    vtable: &'static Vtable,
) -> FiberPtr {
    let (id, blocks) = here.supplies();
    let seed = Seed {
        id,
        spawned_at,
        scheduler: Lent::new(shared),
        hooked: shared.config.on_switch.is_some(),
        extra: make_span(id, spawned_at, extra, shared.config.stack_size),
    };
    let fiber = plant(seed, blocks, vtable);
    stays();
    fiber
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Handle");
        f.field("thread_name", &self.shared.config.thread_name);
        f.field("workers", &self.shared.config.workers).finish()
    }
}
