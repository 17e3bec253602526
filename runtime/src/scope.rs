//! Fibers that borrow: `fiber::scope`.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::current;
use crate::error::JoinError;
use crate::fiber::{CANCEL, Extra, Fiber, FiberRef, OnEnd, caught};
use crate::handle::Handle;
use crate::join::RawJoin;
use crate::park::waiter::{self, Waiter};
use crate::shim::{AtomicUsize, Ordering};

#[cfg(test)]
#[path = "loom_scope.rs"]
mod loom_scope;

/// Makes fibers that may borrow from the caller's frame: all of them have ended when `scope`
/// returns, also when it unwinds.
///
/// As [`std::thread::scope`]. In a fiber the children go to its runtime and the wait parks the
/// fiber; on a plain thread they go to the default runtime and the wait blocks the thread.
///
/// # Panics
/// If a child gave no result (it panicked, or there was no stack for it) and nobody joined it. If `f`
/// panics, with that. On a worker's own stack,
/// before `f` is called: `spawn` and `.await` there.
///
/// # Cancellation
/// The call is a suspension point, but the wait for the children cannot be cut short. A fiber that is cancelled, whose
/// [`timeout`](crate::timeout()) is over, or that meets the shutdown of its runtime while it waits cancels its children, and
/// unwinds after they have ended. Children that were cancelled by their own handle are no reason for a panic.
///
/// In a destructor that runs in an unwind, and inside [`shield`](crate::fiber::shield), children run even though the runtime
/// shuts down: what the destructor has begun it may finish.
///
/// ```
/// let mut words = vec!["one", "two", "three"];
/// let lengths = sisal::run(|| {
///     sisal::fiber::scope(|s| {
///         let all: Vec<_> = words.iter().map(|w| s.spawn(|| w.len())).collect();
///         all.into_iter().map(|child| child.join().unwrap()).sum::<usize>()
///     })
/// });
/// words.clear();
/// assert_eq!(lengths, 11);
/// ```
///
/// What is lent stays lent until the scope has ended, and nothing of the closure's own is:
///
/// ```compile_fail,E0506
/// let mut word = "one";
/// sisal::fiber::scope(|s| {
///     s.spawn(|| println!("{word}"));
///     word = "two";
/// });
/// ```
///
/// ```compile_fail,E0373
/// sisal::fiber::scope(|s| {
///     let word = String::from("one");
///     s.spawn(|| println!("{word}"));
/// });
/// ```
#[track_caller]
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    current::forbid_worker("scope", INSTEAD);
    // Cloned: the scope waits, and keeps its handle meanwhile.
    let handle = Handle::with_current_or_default(Handle::clone);
    scope_on(&handle, "scope", f)
}

const INSTEAD: &str = "`spawn` the work and `.await` its handle there";

#[track_caller]
#[inline(never)]
#[unsafe(link_section = "sisal_lend")] // see `overflow::kill`
pub(crate) fn scope_on<'env, F, T>(handle: &Handle, call: &str, f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    // On entry, before any child exists (S10).
    let (waiting, waiter) = waiter::caller(call, INSTEAD);
    current::unwind_if_cancelled();
    let scope = Scope {
        handle: handle.clone(),
        children: Arc::new(Children::of(waiter)),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = caught(|| f(&scope));
    // S5: nothing of the frame may go before the last child has ended.
    waiting.until_or(|| scope.children.have_ended(), || scope.children.cancel());
    // They hold `Children`, which holds them.
    let all = std::mem::take(&mut *scope.children.all.lock());
    drop(all);
    let value = result.unwrap_or_else(|payload| resume_unwind(payload));
    // As with threads, a scope that returns says that every child did, or was joined.
    match scope.children.unseen.lock().take() {
        None => value,
        Some(unseen) => {
            // What ended a child ends its owner after it (S5).
            if unseen.cancelled {
                handle.unwind_if_closed();
            }
            panic!(
                "a scoped fiber gave no result, and nobody joined it: {}",
                unseen.text
            )
        }
    }
}

/// The children of one scope; passed to the closure of [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    handle: Handle,
    children: Arc<Children>,
    /// Invariant, as std's: a longer or shorter `'scope` would let borrows escape.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

struct Children {
    live: AtomicUsize,
    unseen: Mutex<Option<Unseen>>,
    /// Whom to pass a cancellation on to. The lock is taken once for a child.
    all: Mutex<All>,
    owner: Waiter,
}

/// The children of a scope, and of those that have ended at most as many again.
#[derive(Default)]
struct All {
    fibers: Vec<FiberRef>,
    /// At so many, those that have ended are dropped.
    purge_at: usize,
    cancelled: bool,
}

impl Children {
    fn remember(&self, child: FiberRef) {
        const FEW: usize = 16;
        let mut all = self.all.lock();
        // By a child, while the owner waits.
        let late = all.cancelled.then(|| child.clone());
        let mut ended = Vec::new();
        if all.fibers.len() >= all.purge_at {
            ended = all.fibers.extract_if(.., |child| child.is_done()).collect();
            all.purge_at = FEW.max(2 * all.fibers.len());
        }
        all.fibers.push(child);
        drop(all);
        // With a record may go a waker, and a wake is told to a subscriber: anybody's code, which may wait.
        drop(ended);
        if let Some(child) = late {
            child.wake(CANCEL);
        }
    }

    fn cancel(&self) {
        let children = {
            let mut all = self.all.lock();
            all.cancelled = true;
            all.fibers.clone()
        };
        for child in children {
            child.wake(CANCEL);
        }
    }
}

/// Of the first child that gave no result and was not joined.
struct Unseen {
    cancelled: bool,
    text: String,
}

impl Children {
    fn of(owner: Waiter) -> Children {
        Children {
            live: AtomicUsize::new(0),
            unseen: Mutex::new(None),
            all: Mutex::new(All::default()),
            owner,
        }
    }

    /// Another one. By the owner, or by a child, which has not ended meanwhile: the count does not
    /// come to 0 before.
    fn add(&self) {
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    fn have_ended(&self) -> bool {
        // Acquire pairs with the Release in `ended`.
        self.live.load(Ordering::Acquire) == 0
    }
}

impl OnEnd for Children {
    fn unseen(&self, error: &JoinError) {
        self.unseen.lock().get_or_insert_with(|| Unseen {
            cancelled: error.is_cancelled(),
            text: error.to_string(),
        });
    }

    fn ended(&self) {
        // Release pairs with the Acquire of `have_ended`: what the child did comes before the
        // owner's return.
        if self.live.fetch_sub(1, Ordering::Release) == 1 {
            self.owner.wake();
        }
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts a fiber that may borrow what outlives the scope.
    #[track_caller]
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_with(Location::caller(), Extra::default(), f)
    }

    pub(crate) fn spawn_with<F, T>(
        &'scope self,
        spawned_at: &'static Location<'static>,
        mut extra: Extra,
        f: F,
    ) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.children.add();
        extra.sheltered = self.handle.shelters();
        extra.on_end = Some(Arc::<Children>::clone(&self.children));
        let extra = Some(Box::new(extra));
        // SAFETY: `scope_on` does not return or unwind before every child has ended (S5), and both
        // types are Send (S2).
        let fiber = unsafe { self.handle.spawn_unchecked(spawned_at, extra, f) };
        self.children.remember(fiber.clone());
        ScopedJoinHandle {
            // SAFETY: made just now with result type `T`.
            raw: unsafe { RawJoin::new(fiber) },
            scope: PhantomData,
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live = self.children.live.load(Ordering::Relaxed);
        f.debug_struct("Scope").field("live", &live).finish()
    }
}

/// The right to a scoped fiber's result.
pub struct ScopedJoinHandle<'scope, T> {
    raw: RawJoin<T>,
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the fiber to end and returns what its closure returned: see
    /// [`JoinHandle::join`](crate::fiber::JoinHandle::join).
    ///
    /// # Errors
    /// [`JoinError`] if the fiber panicked, was cancelled, found no stack to start on, or is the one that
    /// joins.
    ///
    /// # Panics
    /// On a worker's own stack.
    ///
    /// # Cancellation
    /// A suspension point, as `JoinHandle::join` is.
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        self.raw.join()
    }

    /// Whether the fiber has ended.
    pub fn is_finished(&self) -> bool {
        self.raw.is_finished()
    }

    /// Asks the fiber to unwind: see [`JoinHandle::cancel`](crate::fiber::JoinHandle::cancel). The
    /// scope does not panic over a child that was cancelled so.
    pub fn cancel(&self) {
        self.raw.cancel();
    }

    /// The fiber itself.
    pub fn fiber(&self) -> &Fiber {
        &self.raw.fiber
    }

    /// [`fiber`](Self::fiber), under the name that code from `std::thread` knows.
    pub fn thread(&self) -> &Fiber {
        self.fiber()
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScopedJoinHandle")
            .field(self.fiber())
            .finish()
    }
}
